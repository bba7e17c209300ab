package fetch

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/fetch/fetchtest"
	"github.com/sluice-gateway/sluice/internal/model"
)

const module = "\x00asm\x01\x00\x00\x00"

// secured runs a registry over TLS and returns its host and the certificate to trust.
func secured(t *testing.T, r *fetchtest.Registry) (host, ca string) {
	t.Helper()
	server := httptest.NewTLSServer(r)
	t.Cleanup(server.Close)
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	return strings.TrimPrefix(server.URL, "https://"), string(pem.EncodeToMemory(block))
}

// liar is an archive whose file claims to be much larger than it is.
func liar(t *testing.T) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	if err := archive.WriteHeader(&tar.Header{Name: "plugin.wasm", Size: 1 << 30, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err == nil {
		t.Fatal("the archive is complete")
	}
	if err := zipped.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// TestImage says which images have a module, and what is refused.
func TestImage(t *testing.T) {
	t.Parallel()
	registry := &fetchtest.Registry{}
	host, ca := secured(t, registry)
	raw := fetchtest.Layer{Type: fetchtest.ModuleType, Data: []byte(module)}
	archive := func(files ...[2]string) fetchtest.Layer {
		return fetchtest.Layer{Type: fetchtest.ArchiveType, Data: fetchtest.Archive(files...)}
	}
	config := fetchtest.Layer{Type: "application/vnd.module.wasm.config.v1+json", Data: []byte("{}")}
	whole := archive([2]string{"./plugin.wasm", module})
	digest := registry.Push("a/raw", "v1", config, raw)
	registry.PushIndex("a/raw", "index", digest)
	registry.Push("a/archive", "v1", whole)
	registry.Push("a/docker", "latest", fetchtest.Layer{
		Type: "application/vnd.docker.image.rootfs.diff.tar.gzip", Data: whole.Data,
	})
	registry.Push("a/empty", "v1", archive([2]string{"README", "no module"}))
	registry.Push("a/none", "v1")
	registry.Push("a/other", "v1", config)
	registry.Push("a/damaged", "v1", fetchtest.Layer{Type: fetchtest.ArchiveType, Data: []byte("no archive")})
	spoiled := strings.Repeat("0", 64)
	for name, test := range map[string]struct{ url, sha256, err string }{
		"raw":              {url: "a/raw:v1"},
		"by digest":        {url: "a/raw@sha256:" + digest},
		"tag and digest":   {url: "a/raw:v1@sha256:" + digest},
		"index":            {url: "a/raw:index", sha256: digest},
		"checksum":         {url: "a/raw:v1", sha256: strings.ToUpper(digest)},
		"archive":          {url: "a/archive:v1"},
		"docker":           {url: "a/docker"},
		"wrong checksum":   {url: "a/raw:v1", sha256: spoiled, err: "the digest of the image is sha256:" + digest},
		"no such tag":      {url: "a/raw:v2", err: "the server answers 404 Not Found"},
		"no module":        {url: "a/empty:v1", err: "there is no plugin.wasm"},
		"no layers":        {url: "a/none:v1", err: "the image has no layers"},
		"other layers":     {url: "a/other:v1", err: "neither a Wasm module nor an archive with plugin.wasm"},
		"damaged":          {url: "a/damaged:v1", err: "not compressed as it says"},
		"invalid digest":   {url: "a/raw@sha256:00", err: "is not the digest of an image"},
		"invalid tag":      {url: "a/raw:-", err: "is not the tag of an image"},
		"upper case":       {url: "a/RAW:v1", err: "is not the name of a repository"},
		"path in the name": {url: "a/../raw:v1", err: "is not the name of a repository"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := New(Options{Local: true}).attempt(t.Context(), model.FetchSpec{
				Kind: model.FetchWasmImage, URL: host + "/" + test.url, SHA256: test.sha256, CA: ca, Limit: limit,
			}, "")
			if test.err == "" && (err != nil || string(got.data) != module) ||
				test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %q, %v, want %q", got.data, err, test.err)
			}
		})
	}
	registry.Spoil()
	for _, url := range []string{"a/raw@sha256:" + digest, "a/archive:v1"} {
		if _, err := New(Options{Local: true}).attempt(t.Context(), model.FetchSpec{
			Kind: model.FetchWasmImage, URL: host + "/" + url, CA: ca, Limit: limit,
		}, ""); err == nil {
			t.Errorf("%s: content that is not what its digest says is taken", url)
		}
	}
}

// TestA40BombsInImages has modules and archives that are larger than is allowed, as they are and once they are
// unpacked, or claim to be: no more than the limit is read.
func TestA40BombsInImages(t *testing.T) {
	t.Parallel()
	registry := &fetchtest.Registry{}
	host, ca := secured(t, registry)
	registry.Push("a/large", "v1", fetchtest.Layer{Type: fetchtest.ModuleType, Data: make([]byte, limit+1)})
	registry.Push("a/bomb", "v1", fetchtest.Layer{Type: fetchtest.ArchiveType, Data: fetchtest.Archive(
		[2]string{"padding", strings.Repeat("x", 200*limit)}, [2]string{"plugin.wasm", module},
	)})
	registry.Push("a/inside", "v1", fetchtest.Layer{Type: fetchtest.ArchiveType, Data: fetchtest.Archive(
		[2]string{"plugin.wasm", strings.Repeat("x", 200*limit)},
	)})
	registry.Push("a/liar", "v1", fetchtest.Layer{Type: fetchtest.ArchiveType, Data: liar(t)})
	for name, want := range map[string]string{
		"large": "it is larger than 1000 bytes", "bomb": "in the first 1000 bytes",
		"inside": "plugin.wasm in the image is damaged, or larger than 1000 bytes",
		"liar":   "plugin.wasm in the image is damaged, or larger than 1000 bytes",
	} {
		_, err := New(Options{Local: true}).attempt(t.Context(), model.FetchSpec{
			Kind: model.FetchWasmImage, URL: host + "/a/" + name + ":v1", CA: ca, Limit: limit,
		}, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", name, err, want)
		}
	}
}

func dockerConfig(host, auth string) string {
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, host, base64.StdEncoding.EncodeToString([]byte(auth)))
}

// TestRegistryLogin says that credentials are sent to the registry that they are for, and over TLS alone.
func TestRegistryLogin(t *testing.T) {
	t.Parallel()
	registry := &fetchtest.Registry{User: "anna", Password: "secret"}
	registry.Push("private", "v1", fetchtest.Layer{Type: fetchtest.ModuleType, Data: []byte(module)})
	host, ca := secured(t, registry)
	plain := httptest.NewServer(registry)
	t.Cleanup(plain.Close)
	insecure := strings.TrimPrefix(plain.URL, "http://")
	for name, test := range map[string]struct{ host, ca, credentials, err string }{
		"right":       {host: host, ca: ca, credentials: dockerConfig("https://"+host+"/v1/", "anna:secret")},
		"on loopback": {host: insecure, credentials: dockerConfig(insecure, "anna:secret")},
		"wrong":       {host: host, ca: ca, credentials: dockerConfig(host, "anna:guess"), err: "refuses the login"},
		"of others": {host: host, ca: ca, credentials: dockerConfig("example.com", "anna:secret"),
			err: "refuses the login"},
		"none":           {host: host, ca: ca, err: "refuses the login"},
		"no JSON":        {host: host, ca: ca, credentials: "{", err: "not a Docker config.json"},
		"no credentials": {host: host, ca: ca, credentials: dockerConfig(host, "anna"), err: "not USER:PASSWORD in base64"},
		"untrusted":      {host: host, credentials: dockerConfig(host, "anna:secret"), err: "certificate"},
	} {
		got, err := New(Options{Local: true}).attempt(t.Context(), model.FetchSpec{
			Kind: model.FetchWasmImage, URL: "oci://" + test.host + "/private:v1", CA: test.ca, Credentials: test.credentials,
			Limit: limit,
		}, "")
		if test.err == "" && (err != nil || string(got.data) != module) ||
			test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) {
			t.Errorf("%s: got %q, %v, want %q", name, got.data, err, test.err)
		}
		if err != nil && strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v says too much", name, err)
		}
	}
	in := image{registry: "registry.local", logins: logins{"registry.local": {user: "anna"}}}
	s := &session{image: in, scheme: "http"}
	if err := s.login(t.Context(), []string{`Basic realm="r"`}); err == nil || s.authorization != "" {
		t.Errorf("credentials go out over plain HTTP: %v", err)
	}
}

// TestImageRefresh says that an image is pulled again when its tag is another, and then alone.
func TestImageRefresh(t *testing.T) {
	t.Parallel()
	registry := &fetchtest.Registry{}
	registry.Push("app", "latest", fetchtest.Layer{Type: fetchtest.ModuleType, Data: []byte(module + "1")})
	host, ca := secured(t, registry)
	f := run(t, Options{Local: true})
	f.Want(model.NewFetch(model.FetchSpec{
		Kind: model.FetchWasmImage, URL: host + "/app", CA: ca, Limit: limit, Every: time.Millisecond,
	}), true)
	if got := f.next(t); string(got.Data) != module+"1" {
		t.Errorf("got %q, %s", got.Data, got.Error)
	}
	registry.Push("app", "latest", fetchtest.Layer{Type: fetchtest.ModuleType, Data: []byte(module + "2")})
	if got := f.next(t); string(got.Data) != module+"2" || registry.Pulls() != 2 {
		t.Errorf("got %q, %s after %d pulls", got.Data, got.Error, registry.Pulls())
	}
}

// TestChoose says which image of an index is taken.
func TestChoose(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ platforms, want, err string }{
		"one":                            {platforms: "linux/arm64", want: "linux/arm64"},
		"one without a platform":         {platforms: "-", want: "-"},
		"amd64":                          {platforms: "linux/arm64 linux/amd64", want: "linux/amd64"},
		"wasm":                           {platforms: "linux/amd64 wasi/wasm", want: "wasi/wasm"},
		"arm64 and how it was built":     {platforms: "linux/arm64 unknown/unknown", want: "linux/arm64"},
		"how it was built comes first":   {platforms: "unknown/unknown linux/arm64", want: "linux/arm64"},
		"amd64 and how it was built":     {platforms: "unknown/unknown linux/amd64 unknown/unknown", want: "linux/amd64"},
		"no platform and how it is made": {platforms: "- unknown/unknown", want: "-"},
		"two":                            {platforms: "linux/arm64 linux/s390x", err: "for 2 platforms"},
		"two and how each was built": {
			platforms: "linux/arm64 linux/s390x unknown/unknown unknown/unknown", err: "for 2 platforms",
		},
		"an unknown system":      {platforms: "unknown/arm64 linux/arm64", err: "for 2 platforms"},
		"only how it was built":  {platforms: "unknown/unknown", err: "for 0 platforms"},
		"none":                   {err: "for 0 platforms"},
		"amd64 of other systems": {platforms: "windows/amd64 linux/arm64", err: "for 2 platforms"},
	} {
		var list []descriptor
		digests := map[string]string{}
		for i, platform := range strings.Fields(test.platforms) {
			d := descriptor{Digest: fmt.Sprintf("sha256:%064d", i)}
			if os, architecture, ok := strings.Cut(platform, "/"); ok {
				text := fmt.Sprintf(`{"platform": {"os": %q, "architecture": %q}}`, os, architecture)
				if err := json.Unmarshal([]byte(text), &d); err != nil {
					t.Fatal(err)
				}
			}
			list = append(list, d)
			digests[d.Digest] = platform
		}
		before := slices.Clone(list)
		got, err := choose(list)
		if digests[got.Digest] != test.want || (err == nil) != (test.err == "") ||
			err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: got %q, %v", name, digests[got.Digest], err)
		}
		if !slices.Equal(list, before) {
			t.Errorf("%s: the index is another one now", name)
		}
	}
}

// TestImageName says where images are looked for.
func TestImageName(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"nginx":                           "https://registry-1.docker.io/v2/library/nginx/manifests/latest",
		"team/app:1":                      "https://registry-1.docker.io/v2/team/app/manifests/1",
		"docker.io/team/app":              "https://registry-1.docker.io/v2/team/app/manifests/latest",
		"oci://ghcr.io/team/app:1":        "https://ghcr.io/v2/team/app/manifests/1",
		"localhost/app":                   "https://localhost/v2/app/manifests/latest",
		"registry.default.svc:5000/a/b/c": "https://registry.default.svc:5000/v2/a/b/c/manifests/latest",
	} {
		i, err := parseImage(model.FetchSpec{URL: name})
		if got := i.url("https", "manifests", i.reference); err != nil || got != want {
			t.Errorf("%s is at %s (%v), want %s", name, got, err, want)
		}
	}
	for _, name := range []string{"", "me@ghcr.io/app", "ghcr.io/", "a b.c/d", "ghcr.io/a?b", "http://ghcr.io/app"} {
		if i, err := parseImage(model.FetchSpec{URL: name}); err == nil {
			t.Errorf("%q is taken for an image at %s", name, i.url("https", "manifests", i.reference))
		}
	}
}

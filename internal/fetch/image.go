package fetch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// maxManifest is the size above which registries refuse manifests (OCI distribution specification, "Pushing
// Manifests").
const maxManifest = 4 << 20

// The media types of manifests, and of indexes of several.
var (
	manifestTypes = []string{
		"application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json",
	}
	indexTypes = []string{
		"application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json",
	}
)

// image is an image in a registry that speaks the OCI distribution specification.
type image struct {
	registry, repository string
	// reference is a tag or a digest.
	reference string
	spec      model.FetchSpec
	logins    logins
}

// What Docker Hub is called in the names of images, and where it is.
const (
	hubName = "docker.io"
	hubHost = "registry-1.docker.io"
)

var (
	repositoryPattern = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	tagPattern        = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
	digestPattern     = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// parseImage reads the name of an image, [oci://][REGISTRY/]REPOSITORY[:TAG][@DIGEST]. Without a registry it is in
// Docker Hub, without a tag and a digest it is the one tagged latest.
func parseImage(spec model.FetchSpec) (image, error) {
	name := strings.TrimPrefix(spec.URL, "oci://")
	out := image{registry: hubName, repository: name, reference: "latest", spec: spec}
	if first, rest, ok := strings.Cut(name, "/"); ok && (strings.ContainsAny(first, ".:") || first == "localhost") {
		out.registry, out.repository = first, rest
	}
	if repository, digest, ok := strings.Cut(out.repository, "@"); ok {
		out.repository, out.reference = repository, digest
		if !digestPattern.MatchString(digest) {
			return image{}, fmt.Errorf("%q is not the digest of an image: it is sha256: and 64 hexadecimal digits", digest)
		}
	}
	if repository, tag, ok := strings.Cut(out.repository, ":"); ok {
		out.repository = repository
		if out.reference == "latest" {
			out.reference = tag
		}
		if !tagPattern.MatchString(tag) {
			return image{}, fmt.Errorf("%q is not the tag of an image", tag)
		}
	}
	if out.registry == hubName && !strings.Contains(out.repository, "/") {
		out.repository = "library/" + out.repository
	}
	if u, err := url.Parse("https://" + out.registry); err != nil || u.Host != out.registry || u.User != nil {
		return image{}, errors.New("its name has no registry that can be asked: it is REGISTRY/REPOSITORY:TAG")
	}
	if !repositoryPattern.MatchString(out.repository) {
		return image{}, fmt.Errorf("%q is not the name of a repository", out.repository)
	}
	var err error
	out.logins, err = parseLogins(spec.Credentials)
	return out, err
}

func (i image) host() string {
	if i.registry == hubName {
		return hubHost + ":443"
	}
	return hostPort(&url.URL{Scheme: "https", Host: i.registry})
}

// url returns where something of the repository is.
func (i image) url(scheme, kind, reference string) string {
	host := i.registry
	if host == hubName {
		host = hubHost
	}
	return fmt.Sprintf("%s://%s/v2/%s/%s/%s", scheme, host, i.repository, kind, reference)
}

// plain says whether a registry may be one without TLS: one of this machine or of the cluster, or at a private address.
// TLS is tried first.
func (i image) plain() bool {
	host := (&url.URL{Host: i.registry}).Hostname()
	if host == "localhost" || strings.HasSuffix(host, ".local") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && (ip.IsLoopback() || ip.IsPrivate())
}

// onLoopback says whether what is sent to the registry does not leave the machine.
func (i image) onLoopback() bool {
	host := (&url.URL{Host: i.registry}).Hostname()
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// manifest is a manifest, or an index of several.
type manifest struct {
	MediaType string       `json:"mediaType"`
	Layers    []descriptor `json:"layers"`
	Manifests []descriptor `json:"manifests"`
}

// descriptor names a part of an image.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
	Platform  *struct {
		Architecture string `json:"architecture"`
		OS           string `json:"os"`
	} `json:"platform"`
}

func (i image) fetch(ctx context.Context, c *client, tag string) (found, error) {
	s := &session{client: c, image: i, scheme: "https"}
	body, kind, err := s.manifest(ctx, i.reference)
	if err != nil {
		return found{}, err
	}
	digest := digestOf(body)
	if digest == tag {
		return found{}, errSame
	}
	digests := []string{digest}
	m, err := readManifest(body, kind)
	if err != nil {
		return found{}, err
	}
	if slices.Contains(indexTypes, m.MediaType) {
		chosen, err := choose(m.Manifests)
		if err != nil {
			return found{}, err
		}
		if body, kind, err = s.manifest(ctx, chosen.Digest); err != nil {
			return found{}, err
		}
		if m, err = readManifest(body, kind); err != nil {
			return found{}, err
		}
		digests = append(digests, chosen.Digest)
	}
	if want := "sha256:" + strings.ToLower(i.spec.SHA256); i.spec.SHA256 != "" && !slices.Contains(digests, want) {
		return found{}, fmt.Errorf("the digest of the image is %s, not %s", digest, want)
	}
	layer, err := wasmLayer(m.Layers)
	if err != nil {
		return found{}, err
	}
	blob, err := s.blob(ctx, layer)
	if err != nil {
		return found{}, err
	}
	data, err := unpack(blob, layer.MediaType, c.limit)
	return found{data: data, tag: digest}, err
}

func readManifest(body []byte, kind string) (manifest, error) {
	var out manifest
	if err := json.Unmarshal(body, &out); err != nil {
		return manifest{}, errors.New("the manifest of the image is not JSON")
	}
	if out.MediaType == "" {
		out.MediaType = kind
	}
	return out, nil
}

// choose returns the manifest of an index to go on with: one for Wasm, else the one for Linux on amd64, since a module
// is the same on all machines; else the only one. What Docker pushes beside an image to say how it was built is for the
// platform "unknown/unknown", and is none of them.
func choose(list []descriptor) (descriptor, error) {
	is := func(os, architecture string) func(descriptor) bool {
		return func(d descriptor) bool {
			return d.Platform != nil && (os == "" || d.Platform.OS == os) && d.Platform.Architecture == architecture
		}
	}
	for _, fits := range []func(descriptor) bool{is("", "wasm"), is("linux", "amd64")} {
		if at := slices.IndexFunc(list, fits); at >= 0 {
			return checkDigest(list[at])
		}
	}
	list = slices.DeleteFunc(slices.Clone(list), is("unknown", "unknown"))
	if len(list) != 1 {
		return descriptor{}, fmt.Errorf("the image is for %d platforms, none of them wasm or linux/amd64", len(list))
	}
	return checkDigest(list[0])
}

func checkDigest(d descriptor) (descriptor, error) {
	if !digestPattern.MatchString(d.Digest) {
		return descriptor{}, errors.New("the manifest of the image has a digest that is not sha256")
	}
	return d, nil
}

// session is one attempt to get an image.
type session struct {
	*client
	image
	scheme        string
	authorization string
}

// manifest returns a manifest and its media type. One that is asked for by its digest has it.
func (s *session) manifest(ctx context.Context, reference string) (body []byte, kind string, err error) {
	accept := strings.Join(slices.Concat(manifestTypes, indexTypes), ", ")
	res, err := s.get(ctx, "manifests", reference, accept)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = res.Body.Close() }()
	if body, err = io.ReadAll(io.LimitReader(res.Body, maxManifest)); err != nil {
		return nil, "", err
	}
	if digestPattern.MatchString(reference) && digestOf(body) != reference {
		return nil, "", errors.New("the registry sends another manifest than the one with the digest")
	}
	return body, res.Header.Get("Content-Type"), nil
}

// blob returns the content of a layer, as it is stored.
func (s *session) blob(ctx context.Context, layer descriptor) ([]byte, error) {
	if layer.Size > s.limit {
		return nil, s.tooLarge()
	}
	res, err := s.get(ctx, "blobs", layer.Digest, "*/*")
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	data, err := s.read(res.Body)
	if err == nil && digestOf(data) != layer.Digest {
		err = errors.New("the registry sends another layer than the one with the digest")
	}
	return data, err
}

// get asks the registry, and logs in if it wants that.
func (s *session) get(ctx context.Context, kind, reference, accept string) (*http.Response, error) {
	ask := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url(s.scheme, kind, reference), nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Accept", accept)
		if s.authorization != "" {
			req.Header.Set("Authorization", s.authorization)
		}
		return s.Do(req)
	}
	res, err := ask()
	if err != nil && s.scheme == "https" && s.plain() && speaksPlain(err) {
		s.scheme = "http"
		res, err = ask()
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusUnauthorized && s.authorization == "" {
		_ = res.Body.Close()
		if err := s.login(ctx, res.Header.Values("WWW-Authenticate")); err != nil {
			return nil, err
		}
		if res, err = ask(); err != nil {
			return nil, err
		}
	}
	if res.StatusCode != http.StatusOK {
		_ = res.Body.Close()
		return nil, statusError(res)
	}
	return res, nil
}

// speaksPlain says whether a server answered a TLS handshake with HTTP, as package net/http puts it.
func speaksPlain(err error) bool {
	return bytes.Contains([]byte(err.Error()), []byte("server gave HTTP response to HTTPS client"))
}

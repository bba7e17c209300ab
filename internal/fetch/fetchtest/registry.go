// Package fetchtest has servers for tests of what is fetched: a registry of images.
package fetchtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
)

// The media types that images are made of.
const (
	ManifestType = "application/vnd.oci.image.manifest.v1+json"
	IndexType    = "application/vnd.oci.image.index.v1+json"
	ArchiveType  = "application/vnd.oci.image.layer.v1.tar+gzip"
	ModuleType   = "application/vnd.module.wasm.content.layer.v1+wasm"
)

// Registry serves images as the OCI distribution specification and the token authentication of registries have it. Its
// zero value is empty and lets everybody in.
type Registry struct {
	// User and Password are what a token is given for; without them no token is asked for.
	User, Password string

	mu sync.Mutex
	// contents are manifests and blobs by REPOSITORY@DIGEST and REPOSITORY:TAG.
	contents map[string]content
	pulls    int
}

type content struct {
	kind string
	data []byte
}

// Layer is a layer of an image.
type Layer struct {
	// Type is its media type.
	Type string
	Data []byte
}

// Push stores an image under a tag and returns the hexadecimal digits of its digest.
func (r *Registry) Push(repository, tag string, layers ...Layer) string {
	type descriptor struct {
		MediaType string `json:"mediaType"`
		Digest    string `json:"digest"`
		Size      int    `json:"size"`
	}
	var list []descriptor
	for _, l := range layers {
		digest := r.put(repository, "", content{"application/octet-stream", l.Data})
		list = append(list, descriptor{l.Type, "sha256:" + digest, len(l.Data)})
	}
	return r.put(repository, tag, content{ManifestType, encode(map[string]any{
		"schemaVersion": 2, "mediaType": ManifestType, "layers": list,
	})})
}

// PushIndex stores an index with one image under a tag and returns the hexadecimal digits of its digest.
func (r *Registry) PushIndex(repository, tag, digest string) string {
	return r.put(repository, tag, content{IndexType, encode(map[string]any{
		"schemaVersion": 2, "mediaType": IndexType, "manifests": []any{map[string]any{
			"mediaType": ManifestType, "digest": "sha256:" + digest,
			"platform": map[string]string{"os": "linux", "architecture": "amd64"},
		}},
	})})
}

func encode(v any) []byte {
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // of what is written above
	}
	return out
}

func (r *Registry) put(repository, tag string, c content) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.contents == nil {
		r.contents = map[string]content{}
	}
	sum := sha256.Sum256(c.data)
	digest := hex.EncodeToString(sum[:])
	r.contents[repository+"@sha256:"+digest] = c
	if tag != "" {
		r.contents[repository+":"+tag] = c
	}
	return digest
}

// Spoil changes a byte of everything that is stored, but not its name.
func (r *Registry) Spoil() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, c := range r.contents {
		c.data = bytes.Clone(c.data)
		c.data[len(c.data)-1] ^= 0x20
		r.contents[name] = c
	}
}

// Pulls returns how many blobs were sent.
func (r *Registry) Pulls() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.pulls
}

// token is what the registry gives to those who log in.
const token = "let-me-pull"

// ServeHTTP answers pulls.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if req.URL.Path == "/token" {
		r.logIn(w, req)
		return
	}
	if r.User != "" && req.Header.Get("Authorization") != "Bearer "+token {
		scheme := "http"
		if req.TLS != nil {
			scheme = "https"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s/token",service="test"`, scheme, req.Host))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	path := strings.TrimPrefix(req.URL.Path, "/v2/")
	repository, reference, isManifest := strings.Cut(path, "/manifests/")
	if !isManifest {
		repository, reference, _ = strings.Cut(path, "/blobs/")
	}
	separator := ":"
	if strings.HasPrefix(reference, "sha256:") {
		separator = "@"
	}
	r.mu.Lock()
	c, ok := r.contents[repository+separator+reference]
	if ok && !isManifest {
		r.pulls++
	}
	r.mu.Unlock()
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", c.kind)
	_, _ = w.Write(c.data) // the client notices
}

// logIn gives a token for the right password, and for pulling alone.
func (r *Registry) logIn(w http.ResponseWriter, req *http.Request) {
	user, password, _ := req.BasicAuth()
	scope := req.URL.Query().Get("scope")
	if user != r.User || password != r.Password || !strings.HasPrefix(scope, "repository:") ||
		!strings.HasSuffix(scope, ":pull") {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	_, _ = fmt.Fprintf(w, `{"token": %q}`, token) // the client notices
}

// Archive returns a layer of type [ArchiveType] with files, in order: names and contents.
func Archive(files ...[2]string) []byte {
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, f := range files {
		header := &tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), Typeflag: tar.TypeReg}
		if err := archive.WriteHeader(header); err != nil {
			panic(err) // it is written to memory
		}
		if _, err := archive.Write([]byte(f[1])); err != nil {
			panic(err)
		}
	}
	if err := archive.Close(); err != nil {
		panic(err)
	}
	if err := zipped.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

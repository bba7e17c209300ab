// Package image writes container images from files, without Docker: an archive in the OCI layout, with one layer. The
// same files give the same bytes.
package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
)

// File is one file, or with neither Source nor Text one empty folder, of an image.
type File struct {
	// Path is where it lies in the image. Its folders are made.
	Path string
	// Source is the file to copy from; symbolic links are followed. If it is empty, Text is what the file holds.
	Source string
	Text   string
	// Mode is 0755 if it is 0.
	Mode int64
}

// Image is what an image holds and how it is run.
type Image struct {
	// Name is as people write it, "envoyproxy/envoy:distroless-v1.40.0"; the archive says it in full.
	Name string
	// Aliases are other names of the same image.
	Aliases []string
	// Architecture is Go's name of it: "amd64".
	Architecture string
	Entrypoint   []string
	Cmd          []string
	// User is a number, so that Kubernetes can tell that it is not root; empty for root.
	User   string
	Labels map[string]string
	Files  []File
	// Compress makes the archive smaller and writing and loading it slower.
	Compress bool
}

// The media types of the OCI image specification 1.1.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    map[string]string `json:"platform,omitempty"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        *descriptor  `json:"config,omitempty"`
	Layers        []descriptor `json:"layers,omitempty"`
	Manifests     []descriptor `json:"manifests,omitempty"`
}

// blob is one content of the archive, named by its digest.
type blob struct {
	descriptor
	data []byte
}

func newBlob(mediaType string, data []byte) blob {
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	return blob{descriptor{MediaType: mediaType, Digest: digest, Size: int64(len(data))}, data}
}

func (b blob) path() string { return "blobs/" + strings.Replace(b.Digest, ":", "/", 1) }

// FullName returns the name with the registry and the tag that are understood when they are left out, as container
// runtimes store it: "sluice" is "docker.io/library/sluice:latest".
func FullName(name string) string {
	registry, rest, found := strings.Cut(name, "/")
	switch {
	case !found:
		registry, rest = "docker.io", "library/"+name
	case !strings.ContainsAny(registry, ".:") && registry != "localhost":
		registry, rest = "docker.io", name
	}
	if !strings.Contains(path.Base(rest), ":") && !strings.Contains(rest, "@") {
		rest += ":latest"
	}
	return registry + "/" + rest
}

// Write writes the archive: an OCI layout, which containerd, Podman, Skopeo and Docker from version 25 on load, and the
// file by which older Dockers find the same contents.
func (i Image) Write(w io.Writer) error {
	layer, err := layerOf(i.Files)
	if err != nil {
		return fmt.Errorf("make the image %s: %w", i.Name, err)
	}
	diff, content := newBlob(mediaLayer, layer), newBlob(mediaLayer, layer)
	if i.Compress {
		if layer, err = compressed(layer); err != nil {
			return err
		}
		content = newBlob(mediaLayer+"+gzip", layer)
	}
	config, err := i.config(diff.Digest)
	if err != nil {
		return err
	}
	main, err := encoded(mediaManifest, manifest{
		SchemaVersion: 2, MediaType: mediaManifest, Config: &config.descriptor, Layers: []descriptor{content.descriptor},
	})
	if err != nil {
		return err
	}
	names, manifests := i.names(), []descriptor{}
	for _, name := range names {
		listed := main.descriptor
		listed.Platform = map[string]string{"architecture": i.Architecture, "os": "linux"}
		listed.Annotations = map[string]string{
			"io.containerd.image.name":          name,
			"org.opencontainers.image.ref.name": name[strings.LastIndex(name, ":")+1:],
		}
		manifests = append(manifests, listed)
	}
	index, err := encoded(mediaIndex, manifest{SchemaVersion: 2, MediaType: mediaIndex, Manifests: manifests})
	if err != nil {
		return err
	}
	docker, err := encoded("", []map[string]any{{
		"Config": config.path(), "RepoTags": names, "Layers": []string{content.path()},
	}})
	if err != nil {
		return err
	}
	return archive(w, []entry{
		{"oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", index.data},
		{"manifest.json", docker.data},
		{main.path(), main.data},
		{config.path(), config.data},
		{content.path(), content.data},
	})
}

// names are all names in full.
func (i Image) names() []string {
	out := []string{FullName(i.Name)}
	for _, alias := range i.Aliases {
		out = append(out, FullName(alias))
	}
	return out
}

func (i Image) config(diff string) (blob, error) {
	run := map[string]any{"Env": []string{"PATH=/usr/local/bin:/usr/bin:/bin"}}
	for key, value := range map[string][]string{"Entrypoint": i.Entrypoint, "Cmd": i.Cmd} {
		if len(value) > 0 {
			run[key] = value
		}
	}
	if i.User != "" {
		run["User"] = i.User
	}
	if len(i.Labels) > 0 {
		run["Labels"] = i.Labels
	}
	return encoded(mediaConfig, map[string]any{
		"architecture": i.Architecture, "os": "linux", "config": run,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{diff}},
	})
}

// encoded is deterministic, for JSON objects are written with sorted keys.
func encoded(mediaType string, v any) (blob, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return blob{}, fmt.Errorf("write the image's manifest: %w", err)
	}
	return newBlob(mediaType, data), nil
}

type entry struct {
	name string
	data []byte
}

func archive(w io.Writer, entries []entry) error {
	out := tar.NewWriter(w)
	for _, e := range entries {
		header := &tar.Header{Typeflag: tar.TypeReg, Name: e.name, Size: int64(len(e.data)), Mode: 0o644}
		if err := out.WriteHeader(header); err != nil {
			return fmt.Errorf("write the image: %w", err)
		}
		if _, err := out.Write(e.data); err != nil {
			return fmt.Errorf("write the image: %w", err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the image: %w", err)
	}
	return nil
}

// layerOf returns the files as a tar: sorted, owned by root, without times.
func layerOf(files []File) ([]byte, error) {
	var buf bytes.Buffer
	l := layer{out: tar.NewWriter(&buf), made: map[string]bool{".": true, "": true}}
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for _, file := range sorted {
		if err := l.add(file); err != nil {
			return nil, err
		}
	}
	err := l.out.Close()
	return buf.Bytes(), err
}

type layer struct {
	out *tar.Writer
	// made are the folders that are there.
	made map[string]bool
}

func (l layer) folder(name string, mode int64) error {
	if l.made[name] {
		return nil
	}
	if err := l.folder(path.Dir(name), 0o755); err != nil {
		return err
	}
	l.made[name] = true
	return l.out.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode})
}

func (l layer) add(file File) error {
	name, mode := strings.TrimPrefix(path.Clean("/"+file.Path), "/"), file.Mode
	if mode == 0 {
		mode = 0o755
	}
	if file.Source == "" && file.Text == "" {
		return l.folder(name, mode)
	}
	if err := l.folder(path.Dir(name), 0o755); err != nil {
		return err
	}
	data := []byte(file.Text)
	if file.Source != "" {
		var err error
		if data, err = os.ReadFile(file.Source); err != nil {
			return err
		}
	}
	header := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: mode}
	if err := l.out.WriteHeader(header); err != nil {
		return err
	}
	_, err := l.out.Write(data)
	return err
}

func compressed(data []byte) ([]byte, error) {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	if _, err := zip.Write(data); err != nil {
		return nil, fmt.Errorf("compress the image: %w", err)
	}
	if err := zip.Close(); err != nil {
		return nil, fmt.Errorf("compress the image: %w", err)
	}
	return buf.Bytes(), nil
}

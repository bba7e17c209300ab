package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFullName(t *testing.T) {
	for name, want := range map[string]string{
		"sluice":                         "docker.io/library/sluice:latest",
		"sluice-gateway/sluice:dev":      "docker.io/sluice-gateway/sluice:dev",
		"docker.io/envoyproxy/envoy:v1":  "docker.io/envoyproxy/envoy:v1",
		"registry.k8s.io/pause:3.10":     "registry.k8s.io/pause:3.10",
		"localhost/sluice":               "localhost/sluice:latest",
		"localhost:5000/a/b:c":           "localhost:5000/a/b:c",
		"registry.example/a/b@sha256:00": "registry.example/a/b@sha256:00",
	} {
		if got := FullName(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

// entries returns the files of a tar by name, and checks that their order and times are fixed.
func entries(t *testing.T, data []byte) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, contents := map[string]*tar.Header{}, map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(time.Unix(0, 0)) || header.Uid != 0 || header.Uname != "" {
			t.Errorf("%s has the time %v and the owner %d %q", header.Name, header.ModTime, header.Uid, header.Uname)
		}
		content, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name], contents[header.Name] = header, content
	}
}

func written(t *testing.T, i Image) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := i.Write(&out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func sample(t *testing.T, compress bool) Image {
	t.Helper()
	source := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(source, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Image{
		Name: "a/b:c", Aliases: []string{"d"}, Architecture: "amd64", Entrypoint: []string{"/bin/program"}, User: NonRoot,
		Compress: compress, Labels: map[string]string{"x": "y"},
		Files: []File{{Path: "/tmp", Mode: 0o1777}, {Path: "/bin/program", Source: source}, {Path: "/etc/x", Text: "x"}},
	}
}

// decoded follows a digest in an archive, and checks that what is there has it.
func decoded(t *testing.T, contents map[string][]byte, digest string, v any) []byte {
	t.Helper()
	data := contents["blobs/"+strings.Replace(digest, ":", "/", 1)]
	sum := sha256.Sum256(data)
	if "sha256:"+hex.EncodeToString(sum[:]) != digest {
		t.Fatalf("the content of %s has another digest, or is missing", digest)
	}
	if v != nil {
		if err := json.Unmarshal(data, v); err != nil {
			t.Fatal(err)
		}
	}
	return data
}

func TestArchive(t *testing.T) {
	for _, compress := range []bool{false, true} {
		_, contents := entries(t, written(t, sample(t, compress)))
		var index, main manifest
		if err := json.Unmarshal(contents["index.json"], &index); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, m := range index.Manifests {
			names = append(names, m.Annotations["io.containerd.image.name"])
		}
		want := []string{"docker.io/a/b:c", "docker.io/library/d:latest"}
		if diff := cmp.Diff(want, names); diff != "" {
			t.Error(diff)
		}
		decoded(t, contents, index.Manifests[0].Digest, &main)
		var config struct {
			Config struct {
				User       string
				Entrypoint []string
				Labels     map[string]string
			}
			RootFS struct {
				DiffIDs []string `json:"diff_ids"`
			}
		}
		decoded(t, contents, main.Config.Digest, &config)
		run := config.Config
		if run.User != "65532" || run.Entrypoint[0] != "/bin/program" || run.Labels["x"] != "y" {
			t.Errorf("the image is run as %+v", run)
		}
		layer := decoded(t, contents, main.Layers[0].Digest, nil)
		if compress {
			layer = unzipped(t, layer)
		}
		sum := sha256.Sum256(layer)
		if config.RootFS.DiffIDs[0] != "sha256:"+hex.EncodeToString(sum[:]) {
			t.Error("the configuration names another layer")
		}
		headers, files := entries(t, layer)
		if string(files["bin/program"]) != "program" || string(files["etc/x"]) != "x" {
			t.Errorf("the layer has %q", files)
		}
		if headers["bin/program"].Mode != 0o755 || headers["tmp/"].Mode != 0o1777 {
			t.Errorf("the layer has other modes: %v", headers)
		}
		if headers["bin/"] == nil || headers["etc/"] == nil {
			t.Errorf("the layer lacks folders: %v", headers)
		}
	}
}

func unzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	in, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(in)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSameFilesGiveTheSameBytes(t *testing.T) {
	one, other := sample(t, true), sample(t, true)
	if err := os.Chtimes(other.Files[1].Source, time.Unix(1, 0), time.Unix(2, 0)); err != nil {
		t.Fatal(err)
	}
	other.Files[0], other.Files[2] = other.Files[2], other.Files[0]
	if !bytes.Equal(written(t, one), written(t, other)) {
		t.Error("the order or the time of the files changes the archive")
	}
}

// TestA55ImageHasNoShell checks that Sluice's image is run by nobody in particular, and has nothing in it that could be
// run but Sluice.
func TestA55ImageHasNoShell(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "sluice")
	if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	product, err := Product(binary, "v1", "amd64")
	if err != nil {
		t.Fatal(err)
	}
	if product.User != "65532:65532" {
		t.Errorf("it is run as %q", product.User)
	}
	layer, err := layerOf(product.Files)
	if err != nil {
		t.Fatal(err)
	}
	headers, _ := entries(t, layer)
	for name, header := range headers {
		switch {
		case header.Typeflag == tar.TypeDir && (header.Mode&0o022 == 0 || name == "tmp/"):
		case header.Typeflag == tar.TypeReg && header.Mode == 0o644:
		case name == "usr/local/bin/sluice" && header.Mode == 0o755:
		default:
			t.Errorf("%s is in it, of type %c with mode %o", name, header.Typeflag, header.Mode)
		}
	}
}

func TestMissingFile(t *testing.T) {
	i := Image{Name: "x", Files: []File{{Path: "/x", Source: filepath.Join(t.TempDir(), "none")}}}
	if err := i.Write(io.Discard); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "make the image x") {
		t.Errorf("the error is %v", err)
	}
}

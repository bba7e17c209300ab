package local

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fakeEnvoy writes a program that says what Envoy would say when asked for its version, and returns its path.
func fakeEnvoy(t *testing.T, version string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), binaryName)
	script := "#!/bin/sh\necho 'envoy  version: 0a1b/" + version + "/Clean/RELEASE/BoringSSL'\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return path
}

func fakeCatalog() catalog { return catalog{version: "1.40.0", platform: "linux/test"} }

func fill(t *testing.T, root string, content string) cache {
	t.Helper()
	store, err := openCache(root, fakeCatalog().version)
	if err != nil {
		t.Fatal(err)
	}
	release, err := store.acquire(t.Context(), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	file := filepath.Join(store.dir, "download")
	sum, err := writeFile(file, strings.NewReader(content), maxBinary)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.store(file, sum); err != nil {
		t.Fatal(err)
	}
	return store
}

func TestFindOrder(t *testing.T) {
	flag, onPath, old := fakeEnvoy(t, "1.40.0"), fakeEnvoy(t, "1.39.2"), fakeEnvoy(t, "1.35.0")
	root := t.TempDir()
	store := fill(t, root, "binary")
	warning := onPath + " is Envoy 1.39.2; Sluice is tested with 1.40.0"
	tests := map[string]struct {
		options Options
		path    string
		want    Binary
	}{
		"the flag first":    {Options{Path: flag, Cache: root}, onPath, Binary{flag, "1.40.0", OriginFlag, ""}},
		"then PATH":         {Options{Cache: root}, onPath, Binary{onPath, "1.39.2", OriginPath, warning}},
		"then the cache":    {Options{Cache: root}, "", Binary{store.binary(), "1.40.0", OriginCache, ""}},
		"too old a version": {Options{Cache: root}, old, Binary{store.binary(), "1.40.0", OriginCache, ""}},
	}
	shell := filepath.Dir(mustLook(t, "sh"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			if test.path != "" {
				directory = filepath.Dir(test.path)
			}
			isolatePath(t, directory, shell)
			got, err := fakeCatalog().find(t.Context(), test.options)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("binary (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFindUsesTheCacheVariable(t *testing.T) {
	root := t.TempDir()
	store := fill(t, root, "binary")
	t.Setenv(cacheVariable, root)
	isolatePath(t, t.TempDir(), "")
	got, err := fakeCatalog().find(t.Context(), Options{})
	if err != nil || got.Path != store.binary() {
		t.Errorf("found %+v, %v; want %s", got, err, store.binary())
	}
}

func TestFindRefuses(t *testing.T) {
	old := fakeEnvoy(t, "1.35.9")
	other := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(other, []byte("#!/bin/sh\necho hello\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	damaged := t.TempDir()
	store := fill(t, damaged, "binary")
	if err := os.WriteFile(store.binary(), []byte("binarx"), 0o700); err != nil { //nolint:gosec // stands for a program
		t.Fatal(err)
	}
	empty := t.TempDir()
	tests := map[string]struct {
		options Options
		path    string
		is      error
		want    []string
	}{
		"nothing anywhere": {Options{Cache: empty}, "", ErrNotInstalled, []string{"sluice envoy install", "--envoy", empty}},
		"too old by flag":  {Options{Path: old}, "", ErrTooOld, []string{"1.35.9", "1.36.0"}},
		"too old on PATH":  {Options{Cache: empty}, old, ErrNotInstalled, []string{"1.35.9", "sluice envoy install"}},
		"not Envoy":        {Options{Path: other}, "", nil, []string{other, `"hello"`}},
		"no such file":     {Options{Path: empty + "/none"}, "", os.ErrNotExist, []string{empty + "/none"}},
		"damaged":          {Options{Cache: damaged}, "", nil, []string{"damaged", "sluice envoy install"}},
	}
	shell := filepath.Dir(mustLook(t, "sh"))
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			directory := empty
			if test.path != "" {
				directory = filepath.Dir(test.path)
			}
			isolatePath(t, directory, shell)
			got, err := fakeCatalog().find(t.Context(), test.options)
			if err == nil {
				t.Fatalf("found %+v", got)
			}
			if test.is != nil && !errors.Is(err, test.is) {
				t.Errorf("%v is not %v", err, test.is)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

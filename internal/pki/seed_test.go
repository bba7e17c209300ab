package pki

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSeedKey(t *testing.T) {
	seed := NewSeed()
	same, err := ParseSeed(append(seed.Marshal(), '\n'))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(seed.Key("a"), same.Key("a")) {
		t.Error("the same seed makes two keys for one purpose")
	}
	keys := map[string]bool{string(seed.Marshal()): true}
	for _, key := range [][]byte{seed.Key("a"), seed.Key("b"), seed.Key(""), NewSeed().Key("a")} {
		if len(key) < 32 || keys[string(key)] {
			t.Errorf("the key %s is short, or that of another purpose or seed", key)
		}
		keys[string(key)] = true
	}
	for _, text := range []string{"", "abc", strings.Repeat("x", 64), string(seed.Marshal()) + "00"} {
		if _, err := ParseSeed([]byte(text)); err == nil {
			t.Errorf("%q is a seed", text)
		}
	}
}

// TestFileSeed says that instances with one folder have one seed, whichever is first, and that a seed that others know
// is none.
func TestFileSeed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	seeds := make([]Seed, 8)
	var all sync.WaitGroup
	for i := range seeds {
		all.Go(func() {
			var err error
			if seeds[i], err = FileSeed(dir); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, seed := range seeds[1:] {
		if !bytes.Equal(seed.Marshal(), seeds[0].Marshal()) {
			t.Error("two instances have different seeds")
		}
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 1 {
		t.Errorf("there are %v in the folder, %v", files, err)
	}
	path := filepath.Join(dir, seedFile)
	if err := os.Chmod(path, 0o644); err != nil { //nolint:gosec // that is what is tested
		t.Fatal(err)
	}
	if _, err := FileSeed(dir); err == nil || !strings.Contains(err.Error(), "everybody can read") {
		t.Errorf("a seed that everybody can read: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := FileSeed(dir); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a file without a seed: %v", err)
	}
	one, err := FileSeed("")
	if err != nil {
		t.Fatal(err)
	}
	if other, err := FileSeed(""); err != nil || bytes.Equal(one.Marshal(), other.Marshal()) {
		t.Errorf("without a folder two instances have the same seed, or none: %v", err)
	}
}

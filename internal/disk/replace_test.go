package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	for _, parts := range [][][]byte{{[]byte("one"), []byte(" two")}, {[]byte("three")}, {}} {
		if err := Replace(path, parts...); err != nil {
			t.Fatal(err)
		}
		var want string
		for _, part := range parts {
			want += string(part)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != want {
			t.Errorf("the file has %q (%v), want %q", got, err, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v (%v), want 0600", info.Mode(), err)
		}
	}
}

// TestReplaceFails has what cannot be replaced stay, and leaves nothing else.
func TestReplaceFails(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	if err := os.MkdirAll(filepath.Join(path, "inside"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("x")); err == nil {
		t.Error("a folder was replaced")
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("there are %v (%v), want only what was there", files, err)
	}
	if err := Replace(filepath.Join(dir, "nowhere", "file"), nil); err == nil {
		t.Error("a file was written into a folder that is not there")
	}
}

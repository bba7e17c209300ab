package local

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// shortTemp returns a directory whose path leaves room for the names of sockets.
func shortTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fleet")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func open(t *testing.T, base string) *RuntimeDir {
	t.Helper()
	dir, err := OpenRuntimeDir(base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Remove() })
	return dir
}

func mustExist(t *testing.T, path string, want bool) {
	t.Helper()
	if _, err := os.Lstat(path); (err == nil) != want {
		t.Errorf("%s exists: %v, want %v", path, err == nil, want)
	}
}

func TestRuntimeDirIsPrivateAndRemoved(t *testing.T) {
	base := filepath.Join(shortTemp(t), "made")
	first, second := open(t, base), open(t, base)
	if first.Path() == second.Path() {
		t.Errorf("both directories are %s", first.Path())
	}
	info, err := os.Stat(first.Path())
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o700 {
		t.Errorf("permissions %o, want 700", got)
	}
	for range 2 {
		if err := first.Remove(); err != nil {
			t.Errorf("Remove: %v", err)
		}
	}
	mustExist(t, first.Path(), false)
	mustExist(t, second.Path(), true)
}

// deadPid returns the id of a process that has ended.
func deadPid(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("true")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid
}

func TestStaleRuntimeDirsAreRemoved(t *testing.T) {
	base, dead := shortTemp(t), strconv.Itoa(deadPid(t))
	mkdir := func(name string, files ...string) string {
		t.Helper()
		path := filepath.Join(base, name)
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if err := os.WriteFile(filepath.Join(path, file), nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return path
	}
	stale := mkdir("sluice-"+dead+"-1", lockFile, adminSocket, "bootstrap.0.json")
	half := mkdir("sluice-" + dead + "-2")
	own := mkdir("sluice-"+strconv.Itoa(os.Getpid())+"-3", lockFile)
	foreign := mkdir("sluice-notes-"+dead, "todo")
	// The process id is that of another container's Sluice, which lives and holds its lock.
	elsewhere := mkdir("sluice-"+dead+"-4", lockFile)
	held, err := lock(filepath.Join(elsewhere, lockFile))
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // only locked
	target := mkdir("target", "precious")
	link := filepath.Join(base, "sluice-"+dead+"-5")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}

	open(t, base)
	mustExist(t, stale, false)
	mustExist(t, half, false)
	for _, path := range []string{own, foreign, elsewhere, link, filepath.Join(target, "precious")} {
		mustExist(t, path, true)
	}
}

func TestRuntimeDirPathIsTooLong(t *testing.T) {
	long := filepath.Join(shortTemp(t), strings.Repeat("d", 80))
	_, err := OpenRuntimeDir(long)
	if err == nil || !strings.Contains(err.Error(), "too long") || !strings.Contains(err.Error(), "107") {
		t.Errorf("error %v, want one that says how long a path may be", err)
	}
	if entries, err := os.ReadDir(long); err != nil || len(entries) != 0 {
		t.Errorf("left in %s: %v, %v", long, entries, err)
	}
	t.Setenv("XDG_RUNTIME_DIR", long)
	dir := open(t, "")
	if strings.HasPrefix(dir.Path(), long) || len(dir.adminSocketOf(0)) > maxSocketPath {
		t.Errorf("%s is not short enough", dir.adminSocketOf(0))
	}
}

func TestRuntimeDirPrefersXDG(t *testing.T) {
	base := shortTemp(t)
	t.Setenv("XDG_RUNTIME_DIR", base)
	if dir := open(t, ""); filepath.Dir(dir.Path()) != base {
		t.Errorf("%s is not in %s", dir.Path(), base)
	}
}

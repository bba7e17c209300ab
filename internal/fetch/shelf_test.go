package fetch

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
)

// only returns the only file of a folder.
func only(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("the files are %v, %v, want one", files, err)
	}
	return files[0]
}

// TestKeysOutliveTheProcess says that keys which were fetched are there at once in the next process, that they are
// looked for again all the same, and that those which nobody wants go.
func TestKeysOutliveTheProcess(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	var away atomic.Bool
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{"keys":[` + firstKey + `]}`))
	})
	fetch := keysAt(url + "?secret=1")
	first := run(t, Options{Local: true, Dir: dir})
	first.Want(fetch, true)
	had := first.next(t)
	if had.Data == nil {
		t.Fatal(had.Error)
	}
	first.end()
	path := only(t, dir)
	info, err := os.Stat(path)
	text, readErr := os.ReadFile(path)
	if err != nil || readErr != nil || info.Mode().Perm() != 0o600 || strings.Contains(string(text), "secret") {
		t.Errorf("the file has mode %v and the content %s", info.Mode(), text)
	}

	away.Store(true)
	second := run(t, Options{Local: true, Dir: dir})
	second.Want(fetch, true)
	if got := second.next(t); string(got.Data) != string(had.Data) || got.SHA256 != had.SHA256 ||
		got.Stale != (model.Stale{}) {
		t.Errorf("got %q, %q, want what was fetched before", got.Data, got.Error)
	}
	if got := second.next(t); got.Stale.Error != "the server answers 502 Bad Gateway" {
		t.Errorf("it is stale because %q", got.Stale.Error)
	}
	second.Want(fetch, false)
	second.Want(get(url), true) // is tried when the order before has been taken in
	second.Settle(t.Context())
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("%v is left, %v", files, err)
	}
}

// TestShelfRefuses says which files are as good as none, and which of them the next process removes.
func TestShelfRefuses(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	fetch := keysAt("https://a.example/keys")
	keys := []byte(`{"keys":[` + firstKey + `]}`)
	edit := func(old, changed string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			replaced := strings.Replace(string(text), old, changed, 1)
			if err := os.WriteFile(path, []byte(replaced), 0o600); err != nil || replaced == string(text) {
				t.Fatalf("%q is not in %s, %v", old, text, err)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(*testing.T, string)
		later  time.Duration
		good   bool
		stays  bool
	}{
		"untouched":   {later: time.Minute, good: true, stays: true},
		"too old":     {later: time.Hour + time.Second},
		"of tomorrow": {later: -time.Second, stays: true},
		"damaged":     {change: edit(`{"url"`, `{`)},
		"no keys":     {change: edit("OKP", "oct"), stays: true},
		"decorated":   {change: edit(`{"keys":[`, `{"more":1,"keys":[`), stays: true},
		"writable by others": {change: func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o622); err != nil { //nolint:gosec // that is what is tested
				t.Fatal(err)
			}
		}},
		"a link": {change: func(t *testing.T, path string) {
			there := filepath.Join(t.TempDir(), "keys.json")
			if err := os.Rename(path, there); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(there, path); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := shelf{dir: t.TempDir()}
			if err := s.put(fetch, keys, now); err != nil {
				t.Fatal(err)
			}
			if test.change != nil {
				test.change(t, only(t, s.dir))
			}
			data, at, ok := s.get(fetch, now.Add(test.later))
			if ok != test.good || ok && (string(data) != string(keys) || !at.Equal(now)) {
				t.Errorf("got %q of %v, %t, want %t", data, at, ok, test.good)
			}
			if _, _, other := s.get(keysAt("https://b.example/keys"), now); other {
				t.Error("another fetch gets it")
			}
			s.sweep(now.Add(test.later))
			if files, err := os.ReadDir(s.dir); err != nil || (len(files) == 1) != test.stays {
				t.Errorf("left is %v, %v, want one: %t", files, err, test.stays)
			}
		})
	}
	if err := (shelf{}).put(fetch, keys, now); err != nil {
		t.Error(err)
	}
	if err := (shelf{dir: "/dev/null/keys"}).put(fetch, keys, now); err == nil {
		t.Error("it is written where nothing can be")
	}
}

package file

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/source"
)

// restart loads a world once more, as a new process would.
func (w *world) restart(state string) *world {
	w.Helper()
	if w.src != nil {
		w.must(w.src.Flush())
	}
	again := &world{T: w.T, dir: w.dir, live: map[string]source.Object{}, batches: w.batches}
	return again.load(Options{StateDir: state})
}

func TestState(t *testing.T) {
	good := configMap("a", "1") + "---\n" + configMap("b", "1")
	w := newWorld(t, map[string]string{"a.yaml": good, "c.yaml": configMap("c", "1"), "d.yaml": configMap("d", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	w.load(Options{StateDir: state})
	w.must(w.src.Flush())
	saved, err := filepath.Glob(filepath.Join(state, "*"))
	w.must(err)
	if len(saved) != 3 {
		t.Fatalf("got %v in the state folder, want three files", saved)
	}
	for _, name := range saved {
		info, err := os.Stat(name)
		w.must(err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}

	// One object is bad, one file is unreadable as a whole, one is gone.
	w.write("a.yaml", strings.Replace(good, "\ndata", "\ndta", 1))
	w.write("c.yaml", "kind: [")
	w.must(os.Remove(w.path("d.yaml")))
	w = w.restart(state)
	want := []string{"ConfigMap/default/a", "ConfigMap/default/b", "ConfigMap/default/c", "GatewayClass/sluice"}
	if got := w.names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	w.wantProblem(`unknown field "dta"`)
	w.wantNotice("a.yaml:1: ConfigMap/default/a: the last good version stays in use, as saved at 2")
	w.wantNotice("c.yaml: ConfigMap/default/c: the last good version stays in use, as saved at 2")

	// What is bad was not saved; an object that a good file no longer has is not brought back.
	w.write("a.yaml", configMap("b", "2"))
	w = w.restart(state)
	want = []string{"ConfigMap/default/b", "ConfigMap/default/c", "GatewayClass/sluice"}
	if got := w.names(); !slices.Equal(got, want) || w.data("b") != "2" {
		t.Errorf("got %v, want %v", got, want)
	}
	w.must(w.src.Flush())
	if got := w.src.state.paths(); !slices.Equal(got, []string{w.path("a.yaml"), w.path("c.yaml")}) {
		t.Errorf("the state has %v", got)
	}
}

func TestStateWithoutRoot(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "sub/b.yaml": configMap("b", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	w = w.restart(state)
	w.must(w.src.Flush())
	w.must(os.RemoveAll(w.dir))
	w = w.restart(state).watch()
	if w.data("a") != "1" || w.data("b") != "1" {
		t.Fatalf("live %v", w.names())
	}
	w.wantProblem(w.dir + ": cannot be read: no such file or directory; what was last read from it stays in use")
	w.write("a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.untilDeleted("ConfigMap/default/b")
	if len(w.problems) > 0 {
		t.Errorf("problems %v", w.problems)
	}
}

func TestStateDamaged(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	w = w.restart(state)
	w.must(w.src.Flush())
	name := w.src.state.name(w.path("a.yaml"))
	info, err := os.Stat(name)
	w.must(err)
	w.must(os.Truncate(name, info.Size()-1))
	w.write("a.yaml", "kind: [")
	w.write("b.yaml", "kind: [")
	w = w.restart(state)
	if w.data("a") != "" || w.data("b") != "1" {
		t.Errorf("live %v", w.names())
	}
}

// TestStateForgets checks that a file that is deleted while it is watched is not brought back later.
func TestStateForgets(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	w = w.restart(state).watch()
	w.must(os.Remove(w.path("a.yaml")))
	w.untilDeleted("ConfigMap/default/a")
	w.steady()
	w.must(w.src.Flush())
	if got := w.src.state.paths(); slices.Contains(got, w.path("a.yaml")) || !slices.Contains(got, w.path("b.yaml")) {
		t.Errorf("the state has %v", got)
	}
}

// TestStateIsTriedAgain makes the state folder of no use for a while: what could not be kept is kept later, without
// another change.
func TestStateIsTriedAgain(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	told := make(chan error, 10)
	w.load(Options{StateDir: state, Keeping: func(err error) { told <- err }})
	w.must(w.src.Flush())
	w.must(os.Rename(state, state+".away"))
	w.src.state.save(w.path("a.yaml"), []byte(configMap("a", "2")))
	w.src.state.save(w.path("b.yaml"), []byte(configMap("b", "2")))
	if err := <-told; err == nil || !strings.Contains(err.Error(), "keep the last good version of "+w.dir) {
		t.Fatalf("told of %v, want that the state cannot be kept", err)
	}
	if err := w.src.Flush(); err == nil {
		t.Error("Flush has no error while nothing can be kept")
	}
	w.must(os.Rename(state+".away", state))
	if err := <-told; err != nil {
		t.Fatalf("told of %v again, want that all is well", err)
	}
	w.must(w.src.Flush())
	for _, name := range []string{"a", "b"} {
		content, _, ok := w.src.state.load(w.path(name + ".yaml"))
		if !ok || string(content) != configMap(name, "2") {
			t.Errorf("%s.yaml is kept as %q", name, content)
		}
	}
}

// TestStateOfRefused restarts with a version that Envoy refused: the version before is delivered first, and the refused
// one as an edit of it. Versions after it are refused or not by themselves.
func TestStateOfRefused(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	ref := model.Ref{Kind: "ConfigMap", Name: model.Name{Namespace: "default", Name: "a"}}
	w = w.restart(state).watch()
	w.write("a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.src.Refused(ref)
	w.write("b.yaml", configMap("b", "2"))
	w.untilData("b", "2") // By now the word was heard.
	w = w.restart(state)
	if w.data("a") != "1" || w.data("b") != "2" {
		t.Fatalf("a is %s and b %s, want 1 and 2", w.data("a"), w.data("b"))
	}
	w.watch()
	w.write("b.yaml", configMap("b", "3"))
	w.untilData("b", "3")
	if w.data("a") != "1" {
		t.Errorf("a is %s before it is live", w.data("a"))
	}
	w.src.Lives()
	w.untilData("a", "2")
}

// TestStateIsNeverWithout ends between the two steps of saving the next version of a file: the one that was saved is
// still there.
func TestStateIsNeverWithout(t *testing.T) {
	st, err := openState(t.TempDir(), func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	name := st.name("/a.yaml")
	if err := st.write(name, "/a.yaml", job{content: []byte("first")}); err != nil {
		t.Fatal(err)
	}
	if err := st.rotate(name); err != nil {
		t.Fatal(err)
	}
	if content, _, ok := st.load("/a.yaml"); !ok || string(content) != "first" {
		t.Errorf("the saved version is %q", content)
	}
}

// TestStateOfRefusedTwice restarts with a refused version that came after a refused one: the one before both is kept,
// until there is one that was never refused.
func TestStateOfRefusedTwice(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	state := filepath.Join(filepath.Dir(w.dir), "state")
	ref := model.Ref{Kind: "ConfigMap", Name: model.Name{Namespace: "default", Name: "a"}}
	w = w.restart(state).watch()
	for _, version := range []string{"2", "3"} {
		w.write("a.yaml", configMap("a", version))
		w.untilData("a", version)
		w.src.Refused(ref)
		w.write("b.yaml", configMap("b", version))
		w.untilData("b", version) // By now the word was heard.
	}
	w = w.restart(state)
	if w.data("a") != "1" {
		t.Errorf("a is %s, want 1", w.data("a"))
	}
	// One that was written meanwhile is taken as it is.
	w.write("a.yaml", configMap("a", "4"))
	w = w.restart(state)
	if w.data("a") != "4" {
		t.Errorf("a is %s, want 4", w.data("a"))
	}
}

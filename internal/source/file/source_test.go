package file

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

// deadline is how long a test waits for what has to happen.
const deadline = 5 * time.Second

// world is a folder with a source that reads it, and what the source delivered.
type world struct {
	*testing.T
	dir     string
	src     *Source
	batches chan source.Batch
	// live, problems and notices are what all batches so far add up to; deleted are the objects that ever went.
	live     map[string]source.Object
	problems []resource.Problem
	notices  []resource.Notice
	deleted  []string
	last     source.Batch
}

// newWorld makes a folder with files, by name.
func newWorld(t *testing.T, files map[string]string) *world {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		T: t, dir: filepath.Join(dir, "conf"), live: map[string]source.Object{}, batches: make(chan source.Batch, 1000),
	}
	w.mkdir("")
	for name, text := range files {
		w.write(name, text)
	}
	return w
}

// load reads the folder once.
func (w *world) load(opts Options) *world {
	w.Helper()
	if opts.Paths == nil {
		opts.Paths = []string{w.dir}
	}
	src, err := New(opts)
	if err != nil {
		w.Fatal(err)
	}
	w.src = src
	b, err := src.Load(context.Background())
	if err != nil {
		w.Fatal(err)
	}
	w.apply(b)
	return w
}

// watch starts watching, and returns when changes are seen.
func (w *world) watch() *world {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.src.Watch(ctx, func(b source.Batch) { w.batches <- b }) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("Watch: %v", err)
		}
	})
	return w
}

func (w *world) apply(b source.Batch) {
	for _, o := range b.Set {
		w.live[o.Ref.String()] = o
	}
	for _, ref := range b.Delete {
		if _, ok := w.live[ref.String()]; !ok {
			w.Errorf("%s is deleted but was not there", ref)
		}
		delete(w.live, ref.String())
		w.deleted = append(w.deleted, ref.String())
	}
	w.problems, w.notices, w.last = b.Problems, b.Notices, b
}

// until applies batches until cond holds.
func (w *world) until(what string, cond func() bool) {
	w.Helper()
	timeout := time.After(deadline)
	for !cond() {
		select {
		case b := <-w.batches:
			w.apply(b)
		case <-timeout:
			w.Fatalf("waited in vain until %s\nlive: %v\nproblems: %v\nnotices: %v",
				what, w.names()[:min(20, len(w.live))], w.problems, w.notices)
		}
	}
}

// steady changes one more file, which is the proof that what was to come of earlier changes has come, and that
// nothing else was.
func (w *world) steady() {
	w.Helper()
	const ref = "ConfigMap/default/steady"
	w.write("steady.yaml", configMap("steady", fmt.Sprint(time.Now().UnixNano())))
	before := w.live[ref].Object
	w.until("the steady file is read", func() bool { return w.live[ref].Object != before })
}

// gone waits until an object is deleted.
func (w *world) untilDeleted(ref string) {
	w.Helper()
	w.until(ref+" is deleted", func() bool { return slices.Contains(w.deleted, ref) })
}

func (w *world) untilData(name, data string) {
	w.Helper()
	w.until(name+" is "+data, func() bool { return w.data(name) == data })
}

// data is the content of a ConfigMap made by configMap, "" if there is none.
func (w *world) data(name string) string {
	o, ok := w.live["ConfigMap/default/"+name]
	if !ok {
		return ""
	}
	return o.Object.(*corev1.ConfigMap).Data["v"]
}

func (w *world) generation(name string) int64 {
	w.Helper()
	o, ok := w.live["ConfigMap/default/"+name]
	if !ok {
		w.Fatalf("no ConfigMap %s in %v", name, w.names())
	}
	return o.Object.GetGeneration()
}

func (w *world) names() []string {
	var names []string
	for name := range w.live {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (w *world) wantProblem(part string) {
	w.Helper()
	for _, p := range w.problems {
		if strings.Contains(p.String(), part) {
			return
		}
	}
	w.Errorf("no problem with %q in %v", part, w.problems)
}

func (w *world) wantNotice(part string) {
	w.Helper()
	for _, n := range w.notices {
		if strings.Contains(n.String(), part) {
			return
		}
	}
	w.Errorf("no notice with %q in %v", part, w.notices)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) mkdir(name string) {
	w.Helper()
	w.must(os.MkdirAll(w.path(name), 0o700))
}

// write writes a file in place, as a shell does.
func (w *world) write(name, text string) {
	w.Helper()
	w.must(os.MkdirAll(filepath.Dir(w.path(name)), 0o700))
	w.must(os.WriteFile(w.path(name), []byte(text), 0o600))
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func configMap(name, data string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  v: %q\n", name, data)
}

func TestLoad(t *testing.T) {
	w := newWorld(t, map[string]string{
		"b.yaml":            configMap("b", "1") + "---\n" + configMap("c", "1"),
		"sub/deep/a.yml":    configMap("a", "1"),
		"x.json":            `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"j"}}`,
		".hidden.yaml":      configMap("hidden", "1"),
		".git/x.yaml":       configMap("git", "1"),
		"notes.txt":         "not: [read",
		"deployment.yaml":   "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n",
		"sub/bad.yaml":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bad}\ndta: {}\n",
		"sub/backup.yaml~":  configMap("backup", "1"),
		"sub/empty.yaml":    "",
		"sub/comments.yaml": "# nothing\n---\n",
	}).load(Options{})
	want := []string{
		"ConfigMap/default/a", "ConfigMap/default/b", "ConfigMap/default/c", "ConfigMap/default/j", "GatewayClass/sluice",
	}
	if got := w.names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if o := w.live["ConfigMap/default/c"]; o.File != w.path("b.yaml") || o.Line != 8 || o.Object.GetGeneration() != 1 {
		t.Errorf("got %s:%d generation %d, want b.yaml:8 generation 1", o.File, o.Line, o.Object.GetGeneration())
	}
	if o := w.live["GatewayClass/sluice"]; o.File != builtinFile {
		t.Errorf("the class is from %q", o.File)
	}
	if len(w.problems) != 1 {
		t.Errorf("got problems %v, want one", w.problems)
	}
	w.wantProblem(w.path("sub/bad.yaml") + `:4: ConfigMap/default/bad: dta: unknown field "dta"`)
	w.wantNotice("Deployment apps/v1 is not a kind that Sluice reads")
	if !slices.IsSortedFunc(w.last.Set, func(a, b source.Object) int { return a.Ref.Compare(b.Ref) }) {
		t.Error("the batch is not sorted")
	}
}

func TestLoadOrderDoesNotMatter(t *testing.T) {
	w := newWorld(t, map[string]string{
		"a.yaml": configMap("x", "a"), "b/b.yaml": configMap("x", "b"), "c.yaml": configMap("x", "c"),
	})
	for _, paths := range [][]string{
		{w.dir}, {w.path("c.yaml"), w.path("b"), w.path("a.yaml")}, {w.dir, w.path("b")}, {w.path("b"), w.dir, w.dir + "/"},
	} {
		w.load(Options{Paths: paths})
		if w.data("x") != "a" || len(w.problems) != 2 {
			t.Errorf("%v: got %q, problems %v", paths, w.data("x"), w.problems)
		}
	}
}

func TestPathThatDoesNotExist(t *testing.T) {
	w := newWorld(t, nil)
	_, err := New(Options{Paths: []string{w.path("nowhere")}, StateDir: w.path("state")})
	if err == nil || !strings.Contains(err.Error(), "nowhere cannot be read") {
		t.Errorf("got %v", err)
	}
	if _, err := New(Options{}); err == nil {
		t.Error("no path is no error")
	}
}

func TestA54OddFiles(t *testing.T) {
	w := newWorld(t, map[string]string{"good.yaml": configMap("good", "1")})
	mkfifo(t, w.path("pipe.yaml"))
	w.must(os.Symlink("/dev/zero", w.path("device.yaml")))
	w.must(os.Symlink("loop.yaml", w.path("loop.yaml")))
	w.must(os.Symlink("nowhere", w.path("dangling.yaml")))
	w.must(os.Symlink(".", w.path("again")))
	w.must(os.Symlink("..", w.path("up")))
	huge, err := os.Create(w.path("huge.yaml"))
	w.must(err)
	w.must(huge.Truncate(maxSize + 1))
	w.must(huge.Close())
	w.load(Options{Paths: []string{w.dir}})
	if w.data("good") != "1" {
		t.Errorf("the good file is not live: %v", w.names())
	}
	w.wantProblem("pipe.yaml: is not a regular file")
	w.wantProblem("device.yaml: is not a regular file")
	w.wantProblem("loop.yaml: cannot be read: too many levels of symbolic links")
	w.wantProblem("huge.yaml: is larger than 64 MiB")
	if len(w.problems) != 4 {
		t.Errorf("got problems %v, want four", w.problems)
	}
}

// TestDuplicates checks who wins, and that the second takes over.
func TestDuplicates(t *testing.T) {
	w := newWorld(t, map[string]string{
		"a.yaml": configMap("x", "a"), "b.yaml": configMap("z", "b") + "---\n" + configMap("x", "b"),
	}).load(Options{}).watch()
	if w.data("x") != "a" {
		t.Fatalf("got %q, want the first by path", w.data("x"))
	}
	w.wantProblem(w.path("b.yaml") + ":8: ConfigMap/default/x: already defined in " + w.path("a.yaml") + ":1")
	w.must(os.Remove(w.path("a.yaml")))
	w.untilData("x", "b")
	if w.generation("x") != 2 || len(w.problems) != 0 || len(w.deleted) != 0 {
		t.Errorf("generation %d, problems %v, deleted %v", w.generation("x"), w.problems, w.deleted)
	}
}

func TestBuiltinClass(t *testing.T) {
	class := "apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: sluice}\n" +
		"spec: {controllerName: sluice.dev/gateway-controller, description: ours}\n"
	w := newWorld(t, map[string]string{"class.yaml": class}).load(Options{}).watch()
	file := func() string { return w.live["GatewayClass/sluice"].File }
	if file() != w.path("class.yaml") || len(w.problems) > 0 {
		t.Fatalf("the class is from %q, problems %v", file(), w.problems)
	}
	w.must(os.Remove(w.path("class.yaml")))
	w.until("the class is the built in one", func() bool { return file() == builtinFile })
	w.write("class.yaml", class)
	w.until("the class is from the file", func() bool { return file() == w.path("class.yaml") })
	if len(w.deleted) > 0 || w.live["GatewayClass/sluice"].Object.GetGeneration() != 3 {
		t.Errorf("deleted %v, generation %d", w.deleted, w.live["GatewayClass/sluice"].Object.GetGeneration())
	}
}

package file

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/resource"
)

func TestEdit(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1") + "---\n" + configMap("b", "1")})
	// A watch begins with a look at everything. What is written meanwhile counts as noticed when that began.
	start := time.Now()
	w.load(Options{}).watch()
	w.write("a.yaml", configMap("a", "2")+"---\n"+configMap("b", "1"))
	w.untilData("a", "2")
	t.Logf("delivered after %v", time.Since(start))
	if w.generation("a") != 2 || w.generation("b") != 1 {
		t.Errorf("generations %d and %d, want 2 and 1", w.generation("a"), w.generation("b"))
	}
	if len(w.last.Set) != 1 {
		t.Errorf("%d objects in the batch, want the one that changed", len(w.last.Set))
	}
	if w.last.Noticed.Before(start) || w.last.Noticed.After(time.Now()) {
		t.Errorf("noticed at %v, watched since %v", w.last.Noticed, start)
	}
	// Metadata is a change, but not a new generation. A comment is no change.
	w.write("a.yaml", "# comment\n"+strings.Replace(configMap("a", "2"), "name: a", "name: a\n  labels: {tier: gold}", 1)+
		"---\n# comment\n"+configMap("b", "1"))
	w.until("a has a label", func() bool { return w.live["ConfigMap/default/a"].Object.GetLabels()["tier"] == "gold" })
	if w.generation("a") != 2 || len(w.last.Set) != 1 {
		t.Errorf("generation %d, %d in the batch", w.generation("a"), len(w.last.Set))
	}
}

func TestAtomicSave(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1")}).load(Options{}).watch()
	// vim: the old file becomes a backup, a new one is written, the backup removed.
	w.must(os.Rename(w.path("a.yaml"), w.path("a.yaml~")))
	w.write("a.yaml", configMap("a", "2"))
	w.must(os.Remove(w.path("a.yaml~")))
	w.untilData("a", "2")
	// Others: a new file is renamed over the old.
	w.write(".a.yaml.tmp", configMap("a", "3"))
	w.must(os.Rename(w.path(".a.yaml.tmp"), w.path("a.yaml")))
	w.untilData("a", "3")
	if len(w.deleted) > 0 {
		t.Errorf("deleted %v", w.deleted)
	}
}

func TestDeleteAndMove(t *testing.T) {
	w := newWorld(t, map[string]string{
		"a.yaml": configMap("moved", "1") + "---\n" + configMap("gone", "1"),
		"b.yaml": configMap("b", "1"), "c.yaml": configMap("c", "1"),
	}).load(Options{}).watch()
	w.write("a.yaml", configMap("other", "1"))
	w.write("b.yaml", configMap("b", "1")+"---\n"+configMap("moved", "1"))
	w.must(os.Rename(w.path("c.yaml"), w.path("renamed.yaml")))
	start := time.Now()
	w.untilDeleted("ConfigMap/default/gone")
	if took := time.Since(start); took < settle/2 {
		t.Errorf("deleted after %v already", took)
	}
	w.steady()
	if !slices.Equal(w.deleted, []string{"ConfigMap/default/gone"}) {
		t.Errorf("deleted %v, want only the one that is gone", w.deleted)
	}
	if w.generation("moved") != 1 || w.generation("c") != 1 || w.data("other") != "1" {
		t.Errorf("live: %v", w.names())
	}
}

func TestConfigMapMount(t *testing.T) {
	w := newWorld(t, nil)
	version := func(name, data string) {
		w.mkdir(name)
		w.write(name+"/a.yaml", configMap("a", data))
		w.must(os.Symlink(name, w.path("..data_tmp")))
		w.must(os.Rename(w.path("..data_tmp"), w.path("..data")))
	}
	version("..2026_1", "1")
	w.must(os.Symlink("..data/a.yaml", w.path("a.yaml")))
	w.load(Options{}).watch()
	if w.data("a") != "1" || len(w.problems) > 0 {
		t.Fatalf("live %v, problems %v", w.names(), w.problems)
	}
	for i := 2; i < 5; i++ {
		version(fmt.Sprintf("..2026_%d", i), fmt.Sprint(i))
		w.untilData("a", fmt.Sprint(i))
		w.must(os.RemoveAll(w.path(fmt.Sprintf("..2026_%d", i-1))))
	}
	w.steady()
	if len(w.deleted) > 0 || w.data("a") != "4" {
		t.Errorf("deleted %v, a is %q", w.deleted, w.data("a"))
	}
}

func TestSymlinks(t *testing.T) {
	w := newWorld(t, nil)
	outside := filepath.Join(filepath.Dir(w.dir), "outside")
	w.must(os.MkdirAll(filepath.Join(outside, "sub"), 0o700))
	target := filepath.Join(outside, "target.yaml")
	w.must(os.WriteFile(target, []byte(configMap("a", "1")), 0o600))
	w.must(os.Symlink("../outside/target.yaml", w.path("a.yaml")))
	w.must(os.Symlink(filepath.Join(outside, "sub"), w.path("sub")))
	w.load(Options{}).watch()
	w.must(os.WriteFile(target, []byte(configMap("a", "2")), 0o600))
	w.untilData("a", "2")
	w.write("sub/b.yaml", configMap("b", "1"))
	w.untilData("b", "1")
	w.must(os.Remove(target))
	w.untilDeleted("ConfigMap/default/a")
	w.must(os.WriteFile(target, []byte(configMap("a", "3")), 0o600))
	w.untilData("a", "3")
}

// TestHalfWritten writes a file in two parts, as slow programs do: the first ends in the middle of a document.
func TestHalfWritten(t *testing.T) {
	whole := configMap("a", "2") + "---\n" + configMap("b", "2") + "---\n" + configMap("c", "2")
	for _, cut := range []int{0, 20, len(whole) / 2, len(whole) - 4} {
		t.Run(fmt.Sprint(cut), func(t *testing.T) {
			w := newWorld(t, map[string]string{"a.yaml": strings.ReplaceAll(whole, `"2"`, `"1"`)})
			w.load(Options{}).watch()
			f, err := os.Create(w.path("a.yaml"))
			w.must(err)
			_, err = f.WriteString(whole[:cut])
			w.must(err)
			time.Sleep(20 * time.Millisecond) // the writer's pause, long enough for the first part to be read
			_, err = f.WriteString(whole[cut:])
			w.must(err)
			w.must(f.Close())
			w.untilData("a", "2")
			w.untilData("b", "2")
			w.untilData("c", "2")
			w.steady()
			if len(w.deleted) > 0 || len(w.problems) > 0 {
				t.Errorf("deleted %v, problems %v", w.deleted, w.problems)
			}
		})
	}
}

func TestFolders(t *testing.T) {
	w := newWorld(t, map[string]string{"keep.yaml": configMap("keep", "1"), "sub/deep/a.yaml": configMap("a", "1")})
	w.load(Options{}).watch()
	w.must(os.RemoveAll(w.path("sub")))
	w.untilDeleted("ConfigMap/default/a")
	w.write("sub/deep/a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.write("sub/deep/a.yaml", configMap("a", "3"))
	w.untilData("a", "3")
	// A folder that is renamed keeps its objects, and is watched under its new name.
	w.must(os.Rename(w.path("sub"), w.path("new")))
	w.write("new/deep/a.yaml", configMap("a", "4"))
	w.untilData("a", "4")
	w.steady()
	if !slices.Equal(w.deleted, []string{"ConfigMap/default/a"}) {
		t.Errorf("deleted %v", w.deleted)
	}
}

// TestRootRecreated removes the root itself: nothing is deleted until it is back and tells what is left.
func TestRootRecreated(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	w.load(Options{}).watch()
	w.must(os.RemoveAll(w.dir))
	w.until("the problem is reported", func() bool {
		return len(w.problems) == 1 && strings.Contains(w.problems[0].String(), w.dir+": cannot be read: no such file")
	})
	if w.data("a") != "1" || w.data("b") != "1" {
		t.Fatalf("live %v", w.names())
	}
	w.write("a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.untilDeleted("ConfigMap/default/b")
	w.write("a.yaml", configMap("a", "3"))
	w.untilData("a", "3")
	if len(w.problems) > 0 || len(w.notices) > 0 {
		t.Errorf("problems %v, notices %v", w.problems, w.notices)
	}
}

// TestRootLinkSwapped is how git-sync and deployment tools publish a version.
func TestRootLinkSwapped(t *testing.T) {
	w := newWorld(t, map[string]string{"v1/a.yaml": configMap("a", "1"), "v2/a.yaml": configMap("a", "2")})
	w.must(os.Symlink("v1", w.path("current")))
	w.load(Options{Paths: []string{w.path("current")}}).watch()
	w.must(os.Symlink("v2", w.path("tmp")))
	w.must(os.Rename(w.path("tmp"), w.path("current")))
	w.untilData("a", "2")
	w.write("v2/a.yaml", configMap("a", "3"))
	w.untilData("a", "3")
	if len(w.deleted) > 0 {
		t.Errorf("deleted %v", w.deleted)
	}
}

// TestLastGood breaks files in all ways: what was good stays.
func TestLastGood(t *testing.T) {
	a, b := configMap("a", "1"), configMap("b", "1")
	for name, c := range map[string]struct {
		text, problem, notice string
	}{
		"schema": {strings.Replace(a, "\ndata:", "\ndta:", 1) + "---\n" + configMap("b", "2"), `unknown field "dta"`,
			"a.yaml:1: ConfigMap/default/a: the last good version stays in use"},
		"syntax": {"kind: [\n---\n" + configMap("b", "2"), "not valid YAML",
			"a.yaml: ConfigMap/default/a: the last good version stays in use"},
		"no name": {strings.Replace(a, "name: a", "nam: a", 1) + "---\n" + configMap("b", "2"), "metadata.name: Required",
			"ConfigMap/default/a: the last good"},
		"wrong kind": {strings.Replace(a, "ConfigMap", "ConfigMpa", 1) + "---\n" + configMap("b", "2"),
			"did you mean ConfigMap", "ConfigMap/default/a: the last good"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, map[string]string{"a.yaml": a + "---\n" + b}).load(Options{}).watch()
			w.write("a.yaml", c.text)
			w.untilData("b", "2")
			w.wantProblem(c.problem)
			w.wantNotice(c.notice)
			if w.data("a") != "1" {
				t.Errorf("a is %q, live %v", w.data("a"), w.names())
			}
			// It still is when the other document changes, and is replaced when it is good again.
			w.write("a.yaml", strings.Replace(c.text, `"2"`, `"3"`, 1))
			w.untilData("b", "3")
			if w.data("a") != "1" {
				t.Errorf("a is %q after a second change", w.data("a"))
			}
			w.write("a.yaml", configMap("a", "2")+"---\n"+configMap("b", "2"))
			w.untilData("a", "2")
			if len(w.problems)+len(w.notices)+len(w.deleted) > 0 {
				t.Errorf("problems %v, notices %v, deleted %v", w.problems, w.notices, w.deleted)
			}
		})
	}
}

// TestUnsplittable checks that a file of which nothing can be read keeps all its objects, and gives them up once it
// can be read and does not have them.
func TestUnsplittable(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1") + "---\n" + configMap("b", "1")})
	w.load(Options{}).watch()
	w.write("a.yaml", "\xff\xfek\x00i\x00")
	w.until("the problem is reported", func() bool { return len(w.problems) == 1 })
	w.wantProblem("UTF-16")
	w.wantNotice("a.yaml: the last good versions of 2 objects stay in use")
	w.write("a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.untilDeleted("ConfigMap/default/b")
	if len(w.problems)+len(w.notices) > 0 {
		t.Errorf("problems %v, notices %v", w.problems, w.notices)
	}
}

// TestOneBadFile has 200 files of which one is bad.
func TestOneBadFile(t *testing.T) {
	files := map[string]string{}
	for i := range 200 {
		files[fmt.Sprintf("f%03d.yaml", i)] = configMap(fmt.Sprintf("c%03d", i), "1")
	}
	files["f100.yaml"] = "kind: ["
	w := newWorld(t, files).load(Options{}).watch()
	if len(w.live) != 200 || len(w.problems) != 1 {
		t.Fatalf("%d live, problems %v; want 199, the class, and one problem", len(w.live), w.problems)
	}
	decodes := w.src.decodes.Load()
	w.write("f100.yaml", configMap("c100", "1"))
	w.untilData("c100", "1")
	if got := w.src.decodes.Load() - decodes; got != 1 || len(w.last.Set) != 1 || len(w.problems) != 0 {
		t.Errorf("%d decodes, %d set, problems %v", got, len(w.last.Set), w.problems)
	}
}

// TestBigFile edits one document of many, which also moves those behind it.
func TestBigFile(t *testing.T) {
	const n = 5000
	docs := make([]string, n)
	for i := range docs {
		docs[i] = configMap(fmt.Sprintf("c%04d", i), "1")
	}
	w := newWorld(t, map[string]string{"big.yaml": strings.Join(docs, "---\n")}).load(Options{}).watch()
	if got := w.src.decodes.Load(); got != n {
		t.Fatalf("%d decodes to load, want %d", got, n)
	}
	docs[42] = "# a line more\n" + configMap("c0042", "2")
	w.write("big.yaml", strings.Join(docs, "---\n"))
	w.untilData("c0042", "2")
	t.Logf("delivered %v after it was noticed", time.Since(w.last.Noticed))
	// The file may have been read half-written, with a cut document at its end.
	if got := w.src.decodes.Load() - n; got < 1 || got > 5 || len(w.last.Set) != 1 {
		t.Errorf("%d decodes and %d objects for one edit, want 1 and 1", got, len(w.last.Set))
	}
	// An editor that saves by removing the file and writing another is no reason to decode all of it again.
	decodes := w.src.decodes.Load()
	docs[43] = configMap("c0043", "2")
	w.write(".new", strings.Join(docs, "---\n"))
	w.must(os.Rename(w.path("big.yaml"), w.path("big.yaml~")))
	w.must(os.Rename(w.path(".new"), w.path("big.yaml")))
	w.untilData("c0043", "2")
	if got := w.src.decodes.Load() - decodes; got != 1 {
		t.Errorf("%d decodes for a file saved by removing it, want 1", got)
	}
	docs[4000] = strings.Replace(docs[4000], "\ndata", "\ndta", 1)
	w.write("big.yaml", strings.Join(docs, "---\n"))
	w.until("the problem is reported", func() bool { return len(w.problems) == 1 })
	w.wantProblem(fmt.Sprintf("big.yaml:%d: ConfigMap/default/c4000", 4000*7+1+1+4))
}

// TestUnreadableGuard checks that what a policy guards stays known while the policy cannot be read, unless there is a
// good version of it.
func TestUnreadableGuard(t *testing.T) {
	policy := func(field string) string {
		return "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: SecurityPolicy\nmetadata: {name: p}\nspec:\n" +
			"  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]\n  " + field + "\n"
	}
	const good, bad, name = "authorization: {defaultAction: Deny}", "autorization: {}", "SecurityPolicy/default/p"
	w := newWorld(t, map[string]string{"a.yaml": policy(bad)}).load(Options{}).watch()
	unreadable := func() bool { return resource.Unreadable(w.live[name].Object) }
	if w.live[name].Object == nil || !unreadable() {
		t.Fatalf("live: %v", w.names())
	}
	w.wantNotice("a.yaml:1: SecurityPolicy/default/p: it guards requests and has never been good: they are refused")
	w.write("a.yaml", policy(good))
	w.until("the policy is good", func() bool { return !unreadable() })
	if len(w.problems)+len(w.notices) > 0 {
		t.Errorf("problems %v, notices %v", w.problems, w.notices)
	}
	w.write("a.yaml", policy(bad))
	w.until("the problem is reported", func() bool { return len(w.problems) == 1 })
	w.wantNotice("SecurityPolicy/default/p: the last good version stays in use")
	if unreadable() {
		t.Error("the good version is not kept")
	}
	// Another file has a bad version, and this one vanishes: the good one stays.
	w.write("b.yaml", policy(bad))
	w.until("it is defined twice", func() bool { return len(w.problems) == 3 })
	if len(w.notices) != 1 {
		t.Errorf("notices %v, want one of the version that stays", w.notices)
	}
	w.write("a.yaml", configMap("a", "1"))
	w.untilData("a", "1")
	w.steady()
	if unreadable() || len(w.deleted) > 0 {
		t.Errorf("the good version is not kept, deleted %v", w.deleted)
	}
}

// TestHere watches the folder that the program runs in, by its shortest name.
func TestHere(t *testing.T) {
	w := newWorld(t, map[string]string{"a.yaml": configMap("a", "1")})
	t.Chdir(w.path("."))
	w.load(Options{Paths: []string{"."}}).watch()
	w.write("a.yaml", configMap("a", "2"))
	w.untilData("a", "2")
	w.write("b.yaml", configMap("b", "1"))
	w.untilData("b", "1")
	w.must(os.Remove(w.path("b.yaml")))
	w.untilDeleted("ConfigMap/default/b")
}

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// tree knows the folders and links below the roots, which real folders have to be watched for them, and what an event
// in one of these is about.
//
// Paths are either shown, as users wrote them, or real: absolute and without links. Only real folders are watched, each
// once, because a watch under two names reports only one of them.
type tree struct {
	roots map[string]root
	// folders are the shown folders that were read.
	folders map[string]*folder
	// shown says as which folders a real one is shown.
	shown map[string]string
	// concerns are the shown paths that depend on a real path: a link on the way to them, or where it ends.
	concerns map[string]map[string]struct{}
	// links are the real paths that a shown path depends on.
	links map[string][]string
	// uses counts for what a real folder is watched.
	uses map[string]int
	// watch is nil until watching starts; err is the first failure to watch.
	watch watching
	err   error
	// again is set when a folder that was also linked from elsewhere is gone.
	again bool
}

// watching is what a tree needs of a watcher.
type watching interface {
	Add(dir string) error
	Remove(dir string) error
}

type folder struct {
	real     string
	children map[string]struct{}
	// linked says that the folder was also found under another path.
	linked bool
}

// found is what looking at a path brought to light.
type found struct {
	// files are there, gone are not any more.
	files, gone []string
}

func (f *found) add(o found) {
	f.files = append(f.files, o.files...)
	f.gone = append(f.gone, o.gone...)
}

func newTree(roots []root) *tree {
	t := &tree{
		roots: map[string]root{}, folders: map[string]*folder{}, shown: map[string]string{},
		concerns: map[string]map[string]struct{}{}, links: map[string][]string{}, uses: map[string]int{},
	}
	for _, r := range roots {
		t.roots[r.path] = r
	}
	return t
}

// attach starts watching everything known so far.
func (t *tree) attach(w watching) error {
	t.watch = w
	for dir := range t.uses {
		t.add(dir)
	}
	return t.err
}

func (t *tree) add(dir string) {
	if t.watch == nil {
		return
	}
	err := t.watch.Add(dir)
	switch {
	case err == nil, errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrPermission):
		// It is gone again, which will be noticed in the folder above, or reading it fails too, and is reported.
	case t.err != nil:
	case errors.Is(err, syscall.ENOSPC):
		t.err = fmt.Errorf("watch %s: the limit of watches is reached, raise fs.inotify.max_user_watches: %w", dir, err)
	default:
		t.err = fmt.Errorf("watch %s: %w", dir, err)
	}
}

// use watches a real folder. It is asked of the watcher each time, because the folder can be another one of the same
// name.
func (t *tree) use(dir string) {
	t.uses[dir]++
	t.add(dir)
}

func (t *tree) unuse(dir string) {
	if t.uses[dir]--; t.uses[dir] > 0 {
		return
	}
	delete(t.uses, dir)
	if t.watch != nil {
		_ = t.watch.Remove(dir) // it may be gone, and its watch with it
	}
}

// parent returns the folder that a shown path is in, nil if none is known. The folders "." and "/" are in none, though
// they are what is above them.
func (t *tree) parent(path string) *folder {
	dir := filepath.Dir(path)
	if dir == path {
		return nil
	}
	return t.folders[dir]
}

// examine looks at a shown path, and at everything below it.
func (t *tree) examine(path string) found {
	r, isRoot := t.roots[path]
	real := r.abs
	parent := t.parent(path)
	if parent != nil && !isRoot {
		real = filepath.Join(parent.real, filepath.Base(path))
	}
	if real == "" {
		return t.forget(path) // its folder is gone too
	}
	real, steps := follow(real, isRoot)
	t.link(path, steps)
	info, err := os.Stat(real)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR):
		return t.forget(path)
	case err == nil && info.IsDir():
		if parent != nil {
			parent.children[path] = struct{}{}
		}
		return t.scan(path, real)
	}
	out := t.forgetFolder(path)
	if isRoot || wanted(path) {
		if parent != nil {
			parent.children[path] = struct{}{}
		}
		out.files = append(out.files, path)
	}
	return out
}

// scan reads a folder and everything in it.
func (t *tree) scan(path, real string) found {
	out := found{}
	f := t.folders[path]
	if f != nil && f.real != real {
		out = t.forgetFolder(path)
		f = nil
	}
	if f != nil {
		t.add(real)
	} else {
		if other, ok := t.shown[real]; ok {
			// Reading it twice would find each object twice, and a loop of links never end.
			t.folders[other].linked = true
			return out
		}
		f = &folder{real: real, children: map[string]struct{}{}}
		t.folders[path], t.shown[real] = f, path
		t.use(real)
	}
	entries, err := os.ReadDir(real)
	if err != nil {
		if _, isRoot := t.roots[path]; isRoot || !errors.Is(err, fs.ErrNotExist) {
			out.files = append(out.files, path) // reading it as a file fails with the reason
		}
		return out
	}
	out.gone = append(out.gone, path) // what was said of the folder when it could not be read
	out.add(t.members(path, f, entries))
	return out
}

// members looks at what is in a folder, at what is gone first, as [goneFirst] explains.
func (t *tree) members(path string, f *folder, entries []fs.DirEntry) found {
	out := found{}
	before := f.children
	f.children = map[string]struct{}{}
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		if !hidden(name) && (!entry.Type().IsRegular() || wanted(name)) {
			f.children[name] = struct{}{}
		}
	}
	for name := range before {
		if _, ok := f.children[name]; !ok {
			out.add(t.forget(name))
		}
	}
	for _, entry := range entries {
		name := filepath.Join(path, entry.Name())
		if _, ok := f.children[name]; !ok {
			continue
		}
		if entry.Type().IsRegular() {
			out.add(t.forgetFolder(name))
			t.link(name, nil)
			out.files = append(out.files, name)
			continue
		}
		out.add(t.examine(name))
	}
	return out
}

// forget drops what is known of a path that is not there.
func (t *tree) forget(path string) found {
	out := t.forgetFolder(path)
	if parent := t.parent(path); parent != nil {
		delete(parent.children, path)
	}
	if _, isRoot := t.roots[path]; !isRoot {
		// A link whose end is missing is still of interest: the end may come.
		if _, err := os.Lstat(path); err != nil {
			t.link(path, nil)
		}
	}
	out.gone = append(out.gone, path)
	return out
}

func (t *tree) forgetFolder(path string) found {
	f := t.folders[path]
	if f == nil {
		return found{}
	}
	out := found{}
	delete(t.folders, path)
	delete(t.shown, f.real)
	t.unuse(f.real)
	t.again = t.again || f.linked
	for name := range f.children {
		t.link(name, nil)
		out.add(t.forgetFolder(name))
		out.gone = append(out.gone, name)
	}
	return out
}

// link notes the real paths that a shown path depends on, instead of those before.
func (t *tree) link(path string, steps []string) {
	before := t.links[path]
	for _, step := range steps {
		if t.concerns[step] == nil {
			t.concerns[step] = map[string]struct{}{}
		}
		t.concerns[step][path] = struct{}{}
		t.use(filepath.Dir(step))
	}
	for _, step := range before {
		if !slices.Contains(steps, step) {
			delete(t.concerns[step], path)
		}
		if len(t.concerns[step]) == 0 {
			delete(t.concerns, step)
		}
		t.unuse(filepath.Dir(step))
	}
	t.links[path] = steps
	if len(steps) == 0 {
		delete(t.links, path)
	}
}

// affected returns the shown paths that an event at a real path is about.
func (t *tree) affected(real string) []string {
	var out []string
	if path, ok := t.shown[real]; ok {
		out = append(out, path)
	}
	if dir, ok := t.shown[filepath.Dir(real)]; ok && !hidden(real) {
		out = append(out, filepath.Join(dir, filepath.Base(real)))
	}
	for path := range t.concerns[real] {
		out = append(out, path)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// follow returns where a path leads, and what [resolve] met. Of all paths but the roots the folder is a real one.
func follow(path string, isRoot bool) (end string, steps []string) {
	if info, err := os.Lstat(path); !isRoot && (err != nil || info.Mode()&fs.ModeSymlink == 0) {
		return path, nil
	}
	end, steps = resolve(path)
	if isRoot && !leads(path, end) {
		end = path
	}
	return end, steps
}

// leads reports whether a path ends where its links say. Some of those in /proc do not: what they say of a pipe, of a
// file that is deleted or of a folder of another container is not a path of this process.
func leads(path, end string) bool {
	at, err := os.Stat(path)
	if err != nil {
		return true // so it is with the end
	}
	said, err := os.Stat(end)
	return err == nil && os.SameFile(at, said)
}

// maxLinks is how many links are followed, as in the kernel.
const maxLinks = 40

// resolve follows the links in an absolute path. It returns where they lead, or the first place on the way that does
// not exist, and every link it met and that end.
func resolve(path string) (end string, steps []string) {
	rest := strings.Split(path, "/")
	at := ""
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = strings.TrimSuffix(filepath.Dir(at), "/")
			continue
		}
		next := at + "/" + name
		info, err := os.Lstat(next)
		if err != nil {
			return next, append(steps, next)
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			at = next
			continue
		}
		steps = append(steps, next)
		target, err := os.Readlink(next)
		if links++; err != nil || links > maxLinks {
			return next, steps
		}
		if filepath.IsAbs(target) {
			at = ""
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	if at == "" {
		at = "/"
	}
	return at, append(steps, at)
}

package file

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/disk"
)

// state keeps the last good content of files in a folder: one file each, with a line of JSON before the content that
// says whose it is. A goroutine writes while there is something to write; of several versions of a file it may write
// only the last.
type state struct {
	dir string

	mu   sync.Mutex
	idle *sync.Cond
	jobs map[string]job
	// order is in which the jobs came, for the first to be done first.
	order   []string
	running bool
	err     error
	// failed are jobs that could not be done, for example because the disk is full. They are tried again.
	failed map[string]job
	// waiting says that they will be, without anything more having to happen.
	waiting bool
	// changed is told when jobs begin to fail, and, with nil, when none does any more.
	changed func(error)
}

// retryAfter is how long after a failure all that has failed is tried again.
const retryAfter = time.Second

// job is what to do with the saved version of a file.
type job struct {
	content []byte
	// saved is when the content was good. The zero value asks for the removal of what is kept.
	saved time.Time
	// refused says that Envoy refuses the version.
	refused bool
}

// header is the first line of a saved version.
type header struct {
	// Path is the absolute path of the file.
	Path  string    `json:"path"`
	Saved time.Time `json:"saved"`
	// Hash is that of the content: after a crash of the machine a file can be there without its content.
	Hash uint64 `json:"hash,string"`
}

const savedSuffix = ".last-good"

func openState(dir string, changed func(error)) (*state, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state folder: %w", err)
	}
	st := &state{dir: dir, jobs: map[string]job{}, failed: map[string]job{}, changed: changed}
	st.idle = sync.NewCond(&st.mu)
	return st, nil
}

// name is the file in which the last good version of a file is kept.
func (st *state) name(path string) string {
	sum := sha256.Sum256([]byte(path))
	return filepath.Join(st.dir, hex.EncodeToString(sum[:16])+savedSuffix)
}

func (st *state) save(path string, content []byte) {
	st.enqueue(path, job{content: content, saved: time.Now()})
}
func (st *state) forget(path string) { st.enqueue(path, job{}) }

func (st *state) enqueue(path string, j job) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.add(path, j)
}

// add puts a job at the end of the queue. The caller holds the lock.
func (st *state) add(path string, j job) {
	if _, ok := st.jobs[path]; !ok {
		st.order = append(st.order, path)
	}
	st.jobs[path] = j
	if !st.running {
		st.running = true
		go st.work()
	}
}

func (st *state) work() {
	st.mu.Lock()
	defer st.mu.Unlock()
	for len(st.order) > 0 {
		path := st.order[0]
		st.order = st.order[1:]
		j := st.jobs[path]
		delete(st.jobs, path)
		st.mu.Unlock()
		err := st.do(path, j)
		st.mu.Lock()
		if err != nil {
			err = fmt.Errorf("keep the last good version of %s: %w", path, err)
		}
		st.note(path, j, err)
	}
	st.running = false
	st.idle.Broadcast()
	if len(st.failed) > 0 && !st.waiting {
		st.waiting = true
		time.AfterFunc(retryAfter, st.retry)
	}
}

// note takes in what became of a job. The caller holds the lock.
func (st *state) note(path string, j job, err error) {
	before := len(st.failed)
	delete(st.failed, path)
	if err != nil {
		st.failed[path] = j
		if st.err == nil {
			st.err = err
		}
	}
	after := len(st.failed)
	if after == 0 {
		st.err = nil
	}
	if (before == 0) != (after == 0) && st.changed != nil {
		st.changed(err)
	}
}

// retry puts what has failed into the queue again, but for what there is a later version of.
func (st *state) retry() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.waiting = false
	for _, path := range slices.Sorted(maps.Keys(st.failed)) {
		if _, later := st.jobs[path]; !later {
			st.add(path, st.failed[path])
		}
	}
}

// flush waits until all is written.
func (st *state) flush() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	for st.running {
		st.idle.Wait()
	}
	err := st.err
	st.err = nil
	return err
}

func (st *state) do(path string, j job) error {
	name := st.name(path)
	if j.saved.IsZero() && !j.refused {
		return remove(name, beside(name, previousSuffix), beside(name, refusedSuffix))
	}
	if !j.saved.IsZero() {
		if err := st.write(name, path, j); err != nil {
			return err
		}
	}
	if j.refused {
		return st.noteRefused(name)
	}
	return nil
}

func remove(names ...string) error {
	for _, name := range names {
		if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// write saves a version, if it is not the one that is there.
func (st *state) write(name, path string, j job) error {
	h := header{Path: path, Saved: j.saved.UTC().Truncate(time.Second), Hash: xxhash.Sum64(j.content)}
	if have, _, err := readSaved(name, false); err == nil && have.Path == path && have.Hash == h.Hash {
		return nil
	}
	line, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := st.rotate(name); err != nil {
		return err
	}
	return disk.Replace(name, append(line, '\n'), j.content) // the hash tells if the content is not there
}

// readSaved reads a saved version; without its content only the start of the file is read.
func readSaved(name string, content bool) (header, []byte, error) {
	var h header
	f, err := os.Open(name)
	if err != nil {
		return h, nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var r io.Reader = f
	if !content {
		r = io.LimitReader(f, 8<<10)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return h, nil, err
	}
	line, rest, _ := bytes.Cut(data, []byte("\n"))
	if err := json.Unmarshal(line, &h); err != nil {
		return h, nil, fmt.Errorf("%s: %w", name, err)
	}
	if content && xxhash.Sum64(rest) != h.Hash {
		return h, nil, fmt.Errorf("%s is damaged", name)
	}
	return h, rest, nil
}

// load returns the last good content of a file and when it was saved.
func (st *state) load(path string) ([]byte, time.Time, bool) {
	h, content, err := readSaved(st.name(path), true)
	if err != nil || h.Path != path {
		return nil, time.Time{}, false
	}
	return content, h.Saved, true
}

// paths returns the files that something is kept of, in order.
func (st *state) paths() []string {
	names, _ := filepath.Glob(filepath.Join(st.dir, "*"+savedSuffix))
	var paths []string
	for _, name := range names {
		if h, _, err := readSaved(name, false); err == nil && st.name(h.Path) == name {
			paths = append(paths, h.Path)
		}
	}
	slices.Sort(paths)
	return paths
}

// below returns the files that something is kept of and that are, or were, a root or in it.
func (st *state) below(root string) []string {
	return slices.DeleteFunc(st.paths(), func(p string) bool { return p != root && !below(p, root) })
}

// prune forgets the files in some roots that are no longer there.
func (st *state) prune(roots []string, present map[string]bool) {
	for _, path := range st.paths() {
		inside := slices.ContainsFunc(roots, func(r string) bool { return path == r || below(path, r) })
		if inside && !present[path] {
			st.forget(path)
		}
	}
}

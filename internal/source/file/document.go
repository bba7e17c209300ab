package file

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// maxSize is the size in bytes above which a file is not read: the Kubernetes API would not take a fiftieth of it in
// one object, so it is something else that happens to be in the folder.
const maxSize = 64 << 20

// file is one version of a file.
type file struct {
	path string
	sig  signature
	// docs are the documents of the version, ghosts behind them.
	docs []*doc
	// next are the documents of a version that is not in use yet.
	next []placed
	// retired are the documents that the version does not have but ones shortly before had, the first since when: a file
	// that is written slowly has them again in a moment.
	retired      []*doc
	retiredSince time.Time
	// broken says why nothing of the file can be used; empty if it could be read and split.
	broken string
	// gone is set for a file whose root is missing: its objects stay as they are.
	gone bool
	// absent is set when there turned out to be no file.
	absent bool
	// moving is set when the file was written to while it was read.
	moving bool
	// content is the text, until it is kept as the last good.
	content []byte
	// saved is when the content was kept, for a version that is taken from the state.
	saved time.Time
}

// signature tells versions of a file apart without reading it.
type signature struct {
	size     int64
	modified time.Time
	dev, ino uint64
	// read is when the version was read: one that was modified just before can change again without a trace.
	read time.Time
}

// settledFor is the age from which a modification time can be trusted to change with the next write.
const settledFor = 100 * time.Millisecond

func signatureOf(info os.FileInfo) signature {
	sig := signature{size: info.Size(), modified: info.ModTime(), read: time.Now()}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		sig.dev, sig.ino = uint64(st.Dev), uint64(st.Ino) //nolint:unconvert // their types differ between systems
	}
	return sig
}

// same reports whether a file that has the signature now is for sure the version that was read.
func (s signature) same(now signature) bool {
	return s.size == now.size && s.modified.Equal(now.modified) && s.dev == now.dev && s.ino == now.ino &&
		s.modified.Before(s.read.Add(-settledFor))
}

// doc is a document, shared by all versions of its file in which its bytes are the same.
type doc struct {
	path string
	hash uint64
	// index and line are the document's place in the version of the file that is in use.
	index, line int
	entries     []*entry
	// ghost marks what an earlier version of the file held, and the one in use may still hold: it cannot be told.
	ghost bool
	// reused is scratch space of [Source.put].
	reused bool
}

// placed is a document and its place in a version of the file that is not in use yet.
type placed struct {
	*doc
	source resource.Document
}

// entry is an object in a document.
type entry struct {
	resource.Decoded
	doc *doc
	// order is the entry's place in its document.
	order int
	// kept is the last good version of the object, if this one is bad.
	kept resource.Object
	// saved is when kept was saved, if it comes from the state.
	saved time.Time
}

// value returns the object as it should be, nil if it never was good.
func (e *entry) value() resource.Object {
	if e.Object != nil {
		return e.Object
	}
	return e.kept
}

// inForce returns the object as it is used: the last good version, or what is left of one that never was good.
func (e *entry) inForce() resource.Object {
	if obj := e.value(); obj != nil {
		return obj
	}
	return e.Remains
}

// unidentified reports whether the entry is an object with a problem that hides which object it is.
func (e *entry) unidentified() bool { return len(e.Problems) > 0 && e.Ref == (model.Ref{}) }

// read reads files and decodes what is new in them. It changes nothing in the source, so that a version can be
// thrown away.
func (s *Source) read(paths []string) []*file {
	files := make([]*file, len(paths))
	s.parallel(len(paths), func(i int) {
		f := &file{path: paths[i]}
		if content, err := f.load(); err != nil {
			f.broken, f.absent = err.Error(), errors.Is(err, fs.ErrNotExist)
		} else {
			f.split(content, s.before(f.path))
		}
		files[i] = f
	})
	s.decode(files)
	return files
}

// decode decodes the documents of files that are not known from an earlier version.
func (s *Source) decode(files []*file) {
	var fresh []placed
	for _, f := range files {
		for _, p := range f.next {
			if p.entries == nil {
				fresh = append(fresh, p)
			}
		}
	}
	s.parallel(len(fresh), func(i int) {
		p := fresh[i]
		p.entries = []*entry{}
		for n, d := range s.kinds.Decode(p.source) {
			p.entries = append(p.entries, &entry{Decoded: d, doc: p.doc, order: n})
		}
	})
	s.decodes.Add(int64(len(fresh)))
}

// load reads the file. A pipe must not be waited for, and a device not be read at all.
func (f *file) load() ([]byte, error) {
	h, err := os.OpenFile(f.path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", unwrapPath(err))
	}
	defer h.Close() //nolint:errcheck // it was only read
	before, err := h.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", unwrapPath(err))
	}
	f.sig = signatureOf(before)
	switch {
	case !before.Mode().IsRegular():
		return nil, fmt.Errorf("is not a regular file (%s): skipped", before.Mode().Type())
	case before.Size() > maxSize:
		return nil, fmt.Errorf("is larger than %d MiB: skipped", maxSize>>20)
	}
	var text bytes.Buffer
	text.Grow(int(before.Size()) + bytes.MinRead)
	if _, err := text.ReadFrom(io.LimitReader(h, maxSize+1)); err != nil {
		return nil, fmt.Errorf("cannot be read: %w", unwrapPath(err))
	}
	after, err := h.Stat()
	f.moving = err != nil || after.Size() != int64(text.Len()) || !after.ModTime().Equal(before.ModTime())
	return text.Bytes(), nil
}

// split finds the documents of the content; those that the version in use has too are taken from there.
func (f *file) split(content []byte, before *file) {
	docs, err := resource.Split(content, formatOf(f.path, content))
	if err != nil {
		f.broken = err.Error()
		return
	}
	f.content = content
	pool := map[uint64][]*doc{}
	for _, d := range slices.Concat(before.docs, before.retired) {
		if !d.ghost {
			pool[d.hash] = append(pool[d.hash], d)
		}
	}
	f.next = make([]placed, len(docs))
	for i, source := range docs {
		hash := xxhash.Sum64(source.Text)
		if have := pool[hash]; len(have) > 0 {
			f.next[i] = placed{doc: have[0], source: source}
			pool[hash] = have[1:]
			continue
		}
		f.next[i] = placed{doc: &doc{path: f.path, hash: hash}, source: source}
	}
}

// unwrapPath drops operation and path from an error of package os: what it is about is said elsewhere.
func unwrapPath(err error) error {
	if pe, ok := err.(*os.PathError); ok { //nolint:errorlint // package os returns it as it is
		return pe.Err
	}
	return err
}

// parallel calls do for 0 to n-1, on as many goroutines as there are workers.
func (s *Source) parallel(n int, do func(i int)) {
	if n < 2 || s.workers < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, s.workers) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wg.Wait()
}

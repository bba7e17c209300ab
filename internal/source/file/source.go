// Package file reads configuration from files and folders of YAML and JSON, and keeps reading as they change.
//
// A change costs what it touches: only changed files are read again, and of these only changed documents are decoded.
// What is wrong is reported and hurts only itself: the last good version of an object stays in use. What vanishes is
// given a moment to come back, so that renaming files, moving objects between them and an editor's way of saving never
// take an object away.
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

// Options say what to read.
type Options struct {
	// Paths are files and folders; folders are read with everything in them. [Input] is what Input has, if that is set.
	Paths []string
	// Input is read once, by [Source.Load]: it is for sources that are not watched.
	Input io.Reader
	// StateDir is a folder, made if needed, in which the last good content of each file is kept, for a start with
	// files that are then broken. Empty keeps nothing. It can hold secrets: its files are for their owner only.
	StateDir string
	// Keeping is told when that begins to fail, which is then tried again and again, and with nil when everything is kept
	// again. It must not block; it may be nil.
	Keeping func(error)
	// Workers is how many goroutines decode documents; 0 stands for one per CPU.
	Workers int
	// Extensions are the kinds of objects that are for extension servers.
	Extensions resource.Extensions
}

// Source reads files. It is not safe for concurrent use: call [Source.Load] once, then [Source.Watch].
type Source struct {
	workers int
	kinds   resource.Extensions
	roots   []root
	// input is standard input if a path says to read it.
	input   io.Reader
	tree    *tree
	files   map[string]*file
	objects *registry
	state   *state
	// troubled are the files that there is something to say about.
	troubled map[string]struct{}
	// missing are the files that stay in use although their root is gone.
	missing map[string]struct{}
	// dropped are the files that are gone, for as long as forget has them.
	dropped map[string]*file
	// held are the files whose version before is in use until it is live, with the hash of the one that follows.
	held map[string]uint64
	word word
	// forget are the files that are gone, since when: the state forgets them if they do not come back.
	forget map[string]time.Time
	// lastProblems and lastNotices are what was last delivered.
	lastProblems []resource.Problem
	lastNotices  []resource.Notice
	// decodes counts the documents that were decoded rather than found unchanged.
	decodes atomic.Int64
}

// root is a path that the user named.
type root struct {
	// path is as the user wrote it, abs absolute.
	path, abs string
}

// New checks the options. A path that does not exist is an error, unless the state holds what was last read from it.
func New(opts Options) (*Source, error) {
	if len(opts.Paths) == 0 {
		return nil, errors.New("no configuration: name a file or folder to read")
	}
	s := &Source{
		workers: opts.Workers, kinds: opts.Extensions, files: map[string]*file{}, objects: newRegistry(),
		troubled: map[string]struct{}{}, missing: map[string]struct{}{},
		dropped: map[string]*file{}, forget: map[string]time.Time{},
		held: map[string]uint64{}, word: word{came: make(chan struct{}, 1)},
	}
	if s.workers <= 0 {
		s.workers = runtime.GOMAXPROCS(0)
	}
	if opts.StateDir != "" {
		st, err := openState(opts.StateDir, opts.Keeping)
		if err != nil {
			return nil, err
		}
		s.state = st
	}
	for _, path := range opts.Paths {
		if path == Input {
			if s.input = opts.Input; s.input == nil {
				return nil, errInput
			}
			continue
		}
		if err := s.addRoot(path); err != nil {
			return nil, err
		}
	}
	s.tree = newTree(s.roots)
	return s, nil
}

func (s *Source) addRoot(path string) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	r := root{path: filepath.Clean(path), abs: abs}
	if err := readable(abs); err != nil {
		if !errors.Is(err, fs.ErrNotExist) || s.state == nil || len(s.state.below(abs)) == 0 {
			return fmt.Errorf("configuration %s cannot be read: %w", path, err)
		}
	}
	// A root inside another would read its files twice, and find each object twice.
	kept := s.roots[:0]
	for _, other := range s.roots {
		if other.abs == abs || below(abs, other.abs) && wanted(abs) {
			return nil
		}
		if !below(other.abs, abs) || !wanted(other.abs) {
			kept = append(kept, other)
		}
	}
	s.roots = append(kept, r)
	return nil
}

// readable returns why a root cannot be read: it is not there, or is neither a file nor a folder.
func readable(abs string) error {
	info, err := os.Stat(abs)
	if err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		err = fmt.Errorf("it is neither a file nor a folder (%s); \"sluice validate -\" and \"sluice translate -\" read "+
			"standard input", info.Mode().Type())
	}
	return err
}

// below reports whether a path is in a folder, however deep.
func below(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// wanted reports whether a name is one that is read in a folder: YAML or JSON, not hidden.
func wanted(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return !hidden(path)
	}
	return false
}

// hidden reports whether a file or folder is left alone: editors keep their files so, and a mounted ConfigMap its
// versions.
func hidden(path string) bool { return strings.HasPrefix(filepath.Base(path), ".") }

// Load reads everything. The batch has every object there is; what cannot be used is in its problems. It fails only if
// ctx ends.
func (s *Source) Load(ctx context.Context) (source.Batch, error) {
	now := time.Now()
	var found []string
	for _, r := range s.roots {
		found = append(found, s.tree.examine(r.path).files...)
	}
	s.objects.builtin()
	changed := s.read(found)
	if s.input != nil {
		f, err := s.readInput(ctx)
		if err != nil {
			return source.Batch{}, err
		}
		changed = append(changed, f)
	}
	if err := ctx.Err(); err != nil {
		return source.Batch{}, err
	}
	s.recall(changed)
	for _, f := range changed {
		if !f.absent && !s.hold(f) {
			s.put(f)
		}
	}
	s.recallRoots()
	batch, _ := s.batch(now, now)
	return batch, nil
}

// Flush waits until the last good content of everything read so far is on disk. It returns the first error of
// keeping it since the last Flush, if something is still not kept.
func (s *Source) Flush() error {
	if s.state == nil {
		return nil
	}
	return s.state.flush()
}

package file

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/disk"
	"github.com/sluice-gateway/sluice/internal/model"
)

// A file that can be read may still hold what Envoy refuses: then its version before is what is served. For that to be
// so after a restart too, the state keeps the version before, and which version is refused. [Source.Load] delivers the
// version before, and [Source.Watch] the present one as an edit of it, once [Source.Lives] was called.

const (
	previousSuffix = ".previous"
	refusedSuffix  = ".refused"
)

// word is what is said about versions of files from other goroutines.
type word struct {
	mu      sync.Mutex
	refused []model.Ref
	lives   bool
	// came has a value when there is something to take.
	came chan struct{}
}

// Refused says that Envoy refuses an object as it is now, and that the version before it is what is served.
func (s *Source) Refused(ref model.Ref) {
	s.word.say(func(w *word) { w.refused = append(w.refused, ref) })
}

// Lives says that what [Source.Load] delivered is live: versions that were refused may follow.
func (s *Source) Lives() { s.word.say(func(w *word) { w.lives = true }) }

func (w *word) say(what func(*word)) {
	w.mu.Lock()
	what(w)
	w.mu.Unlock()
	select {
	case w.came <- struct{}{}:
	default:
	}
}

func (w *word) take() (refused []model.Ref, lives bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	refused, lives = w.refused, w.lives
	w.refused, w.lives = nil, false
	return refused, lives
}

// listen takes in what was said.
func (w *watcher) listen(now time.Time) {
	refused, lives := w.word.take()
	for _, ref := range refused {
		if e := winner(w.objects.ordered(ref)); e != nil && w.state != nil {
			w.state.refuse(w.absolute(e.doc.path))
		}
	}
	if !lives {
		return
	}
	for path := range w.held {
		delete(w.held, path)
		w.mark(path, now, false)
	}
}

// hold puts the version before in use of a file that Envoy refused as it is. It reports whether there is one.
func (s *Source) hold(f *file) bool {
	if s.state == nil || f.content == nil {
		return false
	}
	hash := xxhash.Sum64(f.content)
	content, saved, ok := s.state.before(s.absolute(f.path), hash)
	if !ok {
		return false
	}
	s.putSaved(f.path, content, saved)
	s.held[f.path] = hash
	return true
}

// holds reports whether a version of a file still waits for the one before it to be live.
func (s *Source) holds(f *file) bool {
	hash, ok := s.held[f.path]
	if ok && f.content != nil && hash == xxhash.Sum64(f.content) {
		return true
	}
	delete(s.held, f.path)
	return false
}

// refuse notes that the version of a file that was saved last, or is about to be, is refused.
func (st *state) refuse(path string) {
	st.mu.Lock()
	j := st.jobs[path]
	st.mu.Unlock()
	j.refused = true
	st.enqueue(path, j)
}

// rotate keeps the saved version of a file as the one before, unless it is refused: then the one before it still is.
// The saved version stays where it is until the next one is in its place, whatever happens meanwhile.
func (st *state) rotate(name string) error {
	have, _, err := readSaved(name, false)
	if err != nil {
		return nil // there is none
	}
	if refused, _, err := readSaved(beside(name, refusedSuffix), false); err == nil && refused.Hash == have.Hash {
		return nil
	}
	content, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return disk.Replace(beside(name, previousSuffix), content)
}

// noteRefused notes which version of a file is refused.
func (st *state) noteRefused(name string) error {
	have, _, err := readSaved(name, false)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	line, err := json.Marshal(have)
	if err != nil {
		return err
	}
	return disk.Replace(beside(name, refusedSuffix), append(line, '\n'))
}

// before returns the version of a file that is live while one with the hash is refused.
func (st *state) before(path string, hash uint64) ([]byte, time.Time, bool) {
	name := st.name(path)
	refused, _, err := readSaved(beside(name, refusedSuffix), false)
	if err != nil || refused.Path != path || refused.Hash != hash {
		return nil, time.Time{}, false
	}
	h, content, err := readSaved(beside(name, previousSuffix), true)
	if err != nil || h.Path != path || h.Hash == hash {
		return nil, time.Time{}, false
	}
	return content, h.Saved, true
}

// beside is the name of what is kept of a file besides its last good version.
func beside(name, suffix string) string {
	return filepath.Join(filepath.Dir(name), strings.TrimSuffix(filepath.Base(name), savedSuffix)+suffix)
}

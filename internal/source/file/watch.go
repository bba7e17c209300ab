package file

import (
	"context"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/internal/source"
)

const (
	// quiet is how long a file must not have been written to before it is read, so that half of it is not.
	quiet = 4 * time.Millisecond
	// patience is how long a file is waited for that is empty or does not stop changing.
	patience = 60 * time.Millisecond
)

// pending is a path that something happened to and that was not looked at yet.
type pending struct {
	// first is when something happened first, written when the file was last written to.
	first, written time.Time
}

// watcher is the state of one [Source.Watch].
type watcher struct {
	*Source
	queue   *queue
	pending map[string]*pending
}

// Watch delivers what changes after [Source.Load], one batch at a time, until ctx ends; then it returns nil. It fails
// if files cannot be watched.
func (s *Source) Watch(ctx context.Context, deliver func(source.Batch)) (err error) {
	q, err := newQueue()
	if err != nil {
		return err
	}
	defer func() {
		if closing := q.close(); err == nil {
			err = closing
		}
		if keeping := s.Flush(); err == nil {
			err = keeping
		}
	}()
	w := &watcher{Source: s, queue: q, pending: map[string]*pending{}}
	if err := s.tree.attach(q); err != nil {
		return err
	}
	w.again(time.Now()) // what happened between Load and now had nobody watching
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-q.ready:
		case <-s.word.came:
		case <-timer.C:
		}
		next, err := w.step(deliver)
		if err != nil {
			return err
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(0, time.Until(next)))
		}
	}
}

// again looks at everything once more.
func (w *watcher) again(now time.Time) {
	for _, r := range w.roots {
		w.mark(r.path, now, false)
	}
}

func (w *watcher) mark(path string, at time.Time, write bool) {
	p := w.pending[path]
	if p == nil {
		p = &pending{first: at}
		w.pending[path] = p
	}
	if write {
		p.written = at
	}
}

// step handles the events so far and delivers what came of them. It returns when to be called again at the latest; the
// zero time leaves that to the next event.
func (w *watcher) step(deliver func(source.Batch)) (time.Time, error) {
	for _, ev := range w.queue.take() {
		if ev.path == "" {
			w.again(ev.at)
			continue
		}
		for _, path := range w.tree.affected(ev.path) {
			w.mark(path, ev.at, ev.write)
		}
	}
	now := time.Now()
	w.listen(now)
	ready, seen := w.ready(now)
	w.apply(ready, now)
	if w.tree.err != nil {
		return time.Time{}, w.tree.err
	}
	if w.tree.again {
		w.tree.again = false
		w.again(now)
	}
	batch, any := w.batch(now, seen)
	if any {
		deliver(batch)
	}
	next := earliest(w.objects.next(), w.forgetGone(now))
	for path, p := range w.pending {
		next = earliest(next, p.readyAt(path))
	}
	return next, nil
}

// earliest returns the first of some times, of which the zero time is none.
func earliest(times ...time.Time) time.Time {
	var first time.Time
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

// ready returns the pending paths that can be looked at now, and when the earliest event behind them was.
func (w *watcher) ready(now time.Time) (paths []string, seen time.Time) {
	seen = now
	for _, path := range slices.Sorted(maps.Keys(w.pending)) {
		p := w.pending[path]
		if !p.readyAt(path).After(now) {
			seen = earliest(seen, p.first)
			paths = append(paths, path)
		}
	}
	return paths, seen
}

// readyAt returns when a path can be looked at, if nothing else happens to it.
func (p *pending) readyAt(path string) time.Time {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return p.first
	}
	limit := p.first.Add(patience)
	if info.Size() == 0 {
		return limit
	}
	at := info.ModTime()
	if p.written.After(at) {
		at = p.written
	}
	return earliest(at.Add(quiet), limit)
}

// apply looks at paths, reads the files among them and in them, and puts these in use.
func (w *watcher) apply(paths []string, now time.Time) {
	var all found
	direct := map[string]bool{}
	since := map[string]*pending{}
	for _, path := range goneFirst(paths) {
		since[path] = w.pending[path]
		delete(w.pending, path)
		direct[path] = true
		all.add(w.tree.examine(path))
	}
	var read []string
	slices.Sort(all.files)
	for _, path := range slices.Compact(all.files) {
		switch {
		case direct[path]:
			read = append(read, path)
		case !w.unchanged(path):
			// It was found in a folder, so nothing is known of when it was written to.
			w.found(path, now, &read, since)
		}
	}
	there := map[string]bool{}
	for _, path := range all.files {
		there[path] = true
	}
	for _, path := range append(all.gone, w.returned()...) {
		if !there[path] {
			w.drop(path, now)
		}
	}
	for _, f := range w.read(read) {
		if f.absent {
			w.drop(f.path, now)
			continue
		}
		if p := since[f.path]; f.moving && p != nil && now.Sub(p.first) < patience {
			p.written = now
			w.pending[f.path] = p
			continue
		}
		if !w.holds(f) {
			w.put(f)
		}
	}
}

// goneFirst puts the paths that do not exist before the others. A folder that was renamed must no longer be watched
// under its old name when it is under the new one: to the kernel it is one watch, and the removal would be of both.
func goneFirst(paths []string) []string {
	var gone, there []string
	for _, path := range paths {
		if _, err := os.Lstat(path); err != nil {
			gone = append(gone, path)
		} else {
			there = append(there, path)
		}
	}
	return append(gone, there...)
}

// found has a file read that was come across in a folder, at once or when it is ready.
func (w *watcher) found(path string, now time.Time, read *[]string, since map[string]*pending) {
	w.mark(path, now, false)
	p := w.pending[path]
	if p.readyAt(path).After(now) {
		return
	}
	since[path] = p
	delete(w.pending, path)
	*read = append(*read, path)
}

// unchanged reports whether a file is for sure the one that is in use.
func (w *watcher) unchanged(path string) bool {
	f := w.files[path]
	if f == nil || f.gone {
		return false
	}
	info, err := os.Stat(path)
	return err == nil && f.sig.same(signatureOf(info))
}

// returned returns the files that were kept in use because their root was missing and that, now that it is back, are
// not in it.
func (w *watcher) returned() []string {
	var gone []string
	for path := range w.missing {
		if !w.rootThere(path) {
			continue
		}
		if _, err := os.Stat(path); err != nil {
			gone = append(gone, path)
		}
	}
	return gone
}

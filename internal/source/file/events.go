package file

import (
	"fmt"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// event is something that happened in a watched folder.
type event struct {
	// path is real; empty says that events were lost.
	path string
	// write is set when the content of a file was written to.
	write bool
	at    time.Time
}

// queue takes the events from the watcher as they come, so that they have the time when they happened and the kernel's
// queue does not fill up while a batch is delivered.
type queue struct {
	watcher *fsnotify.Watcher
	// ready has a value when there are events to take.
	ready chan struct{}

	mu     sync.Mutex
	events []event
}

func newQueue() (*queue, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	q := &queue{watcher: w, ready: make(chan struct{}, 1)}
	go q.pump()
	return q, nil
}

// Add and Remove make the queue what a [tree] watches with.
func (q *queue) Add(dir string) error    { return q.watcher.Add(dir) }
func (q *queue) Remove(dir string) error { return q.watcher.Remove(dir) }

// close stops watching; the pump ends with it.
func (q *queue) close() error { return q.watcher.Close() }

func (q *queue) pump() {
	for {
		select {
		case ev, ok := <-q.watcher.Events:
			if !ok {
				return
			}
			q.put(event{path: ev.Name, write: ev.Has(fsnotify.Write), at: time.Now()})
		case _, ok := <-q.watcher.Errors:
			if !ok {
				return
			}
			// Whatever it was, events may have been lost: everything is looked at again.
			q.put(event{at: time.Now()})
		}
	}
}

func (q *queue) put(ev event) {
	q.mu.Lock()
	q.events = append(q.events, ev)
	q.mu.Unlock()
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

func (q *queue) take() []event {
	q.mu.Lock()
	defer q.mu.Unlock()
	events := q.events
	q.events = nil
	return events
}

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

const (
	// oldest is how old an answer may be: for so long after a change, a route may be served as it was before.
	oldest = 5 * time.Second
	// askEvery is how often a witness asks.
	askEvery = 5 * time.Millisecond
)

// witness asks for routes while they change, and knows which backend each is for.
type witness struct {
	in *instance
	mu sync.Mutex
	// backends are what the routes say, changed when they were written last, due those that were and that are to be
	// asked for when their answers must be new.
	backends []string
	changed  []time.Time
	due      []int

	asked, strict int
	wrong         []string
}

func (w *witness) String() string {
	return fmt.Sprintf("asked for %d of all routes, %d of them long enough after their last change, %d answers wrong",
		w.asked, w.strict, len(w.wrong))
}

// newWitness knows of n routes, all for one backend.
func newWitness(in *instance, n int, backend string) *witness {
	w := &witness{in: in, backends: make([]string, n), changed: make([]time.Time, n)}
	for i := range w.backends {
		w.backends[i] = backend
	}
	return w
}

// writes notes, before it is done, that a route is written.
func (w *witness) writes(i int, backend string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.backends[i] == backend {
		return
	}
	w.backends[i], w.changed[i] = backend, time.Now()
	w.due = append(w.due, i)
}

// start begins to ask. The function that it returns ends that.
func (w *witness) start() (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(askEvery)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				return
			case <-ticker.C:
				w.ask()
			}
		}
	}()
	return sync.OnceFunc(func() {
		close(quit)
		<-done
	})
}

// ask asks for one route: for one whose answer has to be new by now or, if there is none, for any.
func (w *witness) ask() {
	i, want := w.choose()
	conn := load.NewConn(w.in.address())
	defer conn.Close()
	if want != "" {
		conn.Use(nil, `"name":"`+want+`"`)
		w.strict++
	}
	w.asked++
	status, err := conn.Do(load.NewRequest(host(i), "/", nil))
	if err == nil && status == 200 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if errors.Is(err, load.ErrOther) && w.backends[i] != want {
		return // it was changed while it was asked for
	}
	w.wrong = append(w.wrong, fmt.Sprintf("%s, which is for %q: status %d, %v", host(i), want, status, err))
}

// choose returns a route, and the backend that has to answer, or none if it has just changed.
func (w *witness) choose() (i int, want string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.due) > 0 && time.Since(w.changed[w.due[0]]) > oldest {
		i, w.due = w.due[0], w.due[1:]
		return i, w.backends[i]
	}
	if i = rand.IntN(len(w.backends)); time.Since(w.changed[i]) > oldest {
		return i, w.backends[i]
	}
	return i, ""
}

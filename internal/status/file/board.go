// Package file keeps the statuses of objects that came from files, where there is no API server to hold them.
package file

import (
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Object is an object with its status, in the form that kubectl prints.
type Object struct {
	APIVersion string   `json:"apiVersion"`
	Kind       string   `json:"kind"`
	Metadata   Metadata `json:"metadata"`
	Status     any      `json:"status"`
}

// Metadata is the part of an object's metadata that belongs to its status.
type Metadata struct {
	Name       string `json:"name"`
	Namespace  string `json:"namespace,omitempty"`
	Generation int64  `json:"generation"`
}

// Board holds the current status of every object. It is safe for concurrent use.
type Board struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[model.Ref]entry
	changed chan struct{}
}

type entry struct {
	version    string
	generation int64
	status     any
}

// NewBoard returns an empty board that takes the time of transitions from now.
func NewBoard(now func() time.Time) *Board {
	return &Board{now: now, entries: map[model.Ref]entry{}, changed: make(chan struct{})}
}

// Put stores a status: a *gwv1.GatewayStatus, *gwv1.GatewayClassStatus, *gwv1.RouteStatus or *egv1a1.BackendStatus that
// the board may change. A condition whose status did not change keeps its transition time, as the API server's clients
// keep it.
func (b *Board) Put(ref model.Ref, version string, generation int64, st any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stamp(b.entries[ref].status, st, metav1.NewTime(b.now().UTC().Truncate(time.Second)))
	b.entries[ref] = entry{version: version, generation: generation, status: st}
	b.notify()
}

// Delete forgets an object.
func (b *Board) Delete(ref model.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, ref)
	b.notify()
}

func (b *Board) notify() {
	close(b.changed)
	b.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (b *Board) Changed() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.changed
}

// List returns the objects that match, sorted by kind, namespace and name; a nil match takes all of them.
func (b *Board) List(match func(model.Ref) bool) []Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	refs := make([]model.Ref, 0, len(b.entries))
	for ref := range b.entries {
		if match == nil || match(ref) {
			refs = append(refs, ref)
		}
	}
	slices.SortFunc(refs, model.Ref.Compare)
	out := make([]Object, len(refs))
	for i, ref := range refs {
		e := b.entries[ref]
		out[i] = Object{
			APIVersion: ref.Group + "/" + e.version, Kind: ref.Kind, Status: e.status,
			Metadata: Metadata{Name: ref.Name.Name, Namespace: ref.Namespace, Generation: e.generation},
		}
	}
	return out
}

// stamp sets the transition times of the fresh status' conditions.
func stamp(old, fresh any, now metav1.Time) {
	before := map[string]metav1.Condition{}
	status.EachCondition(old, func(section string, c *metav1.Condition) { before[section+"\x00"+c.Type] = *c })
	status.EachCondition(fresh, func(section string, c *metav1.Condition) {
		c.LastTransitionTime = now
		if was, ok := before[section+"\x00"+c.Type]; ok && was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
	})
}

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
}

type entry struct {
	version    string
	generation int64
	status     any
	// times are when the conditions last changed, in the order of [status.EachCondition], in seconds since 1970. They
	// are kept apart so that the status itself can be shared with whoever made it.
	times []int64
}

// NewBoard returns an empty board that takes the time of transitions from now.
func NewBoard(now func() time.Time) *Board {
	return &Board{now: now, entries: map[model.Ref]entry{}}
}

// Put stores a status, of a type that [status.EachCondition] knows, that nobody changes any more. A condition whose
// status did not change keeps its transition time, as the API server's clients keep it.
func (b *Board) Put(ref model.Ref, version string, generation int64, st any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[ref] = entry{
		version: version, generation: generation, status: st, times: times(b.entries[ref], st, b.now().Unix()),
	}
}

// Delete forgets an object.
func (b *Board) Delete(ref model.Ref) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.entries, ref)
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
			APIVersion: ref.Group + "/" + e.version, Kind: ref.Kind, Status: e.stamped(),
			Metadata: Metadata{Name: ref.Name.Name, Namespace: ref.Namespace, Generation: e.generation},
		}
	}
	return out
}

// times returns when the conditions of a fresh status changed, given what was there before.
func times(old entry, fresh any, now int64) []int64 {
	type change struct {
		status metav1.ConditionStatus
		at     int64
	}
	before, i := map[string]change{}, 0
	status.EachCondition(old.status, func(section string, c *metav1.Condition) {
		before[section+"\x00"+c.Type] = change{c.Status, old.times[i]}
		i++
	})
	var out []int64
	status.EachCondition(fresh, func(section string, c *metav1.Condition) {
		at := now
		if was, ok := before[section+"\x00"+c.Type]; ok && was.status == c.Status {
			at = was.at
		}
		out = append(out, at)
	})
	return slices.Clip(out)
}

// stamped returns a copy of the status with its transition times.
func (e entry) stamped() any {
	out := status.Copy(e.status)
	i := 0
	status.EachCondition(out, func(_ string, c *metav1.Condition) {
		c.LastTransitionTime = metav1.Unix(e.times[i], 0)
		i++
	})
	return out
}

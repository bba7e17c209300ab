package incr

import (
	"fmt"
	"time"
)

// Key is what a table can be keyed by: comparable, and with a total order, so that nothing observable depends on the
// order of arrival.
type Key[K any] interface {
	comparable
	// Compare returns a negative number, zero or a positive number as the receiver sorts before, equals or sorts
	// after other. It is zero only for equal keys.
	Compare(other K) int
}

// Engine owns a set of tables and runs one transaction at a time. It is not safe for concurrent use: one goroutine
// stages changes, commits and reads.
type Engine struct {
	nodes []node
	// workers is how many goroutines recompute the keys of one table.
	workers int
}

// node is a table, an input or an index as the engine sees it, without its key and value types.
type node interface {
	// name is what faults, metrics and traces call this node.
	name() string
	// settle brings the node up to date with everything before it and marks the readers of what changed.
	settle(c *commit)
	// invalidate marks a slot of the node for recomputation.
	invalidate(slot uint32)
	// addReader and dropReader maintain who has to be told when the slot changes.
	addReader(slot uint32, reader ref)
	dropReader(slot uint32, reader ref)
	// keyName is the key at the slot, for people.
	keyName(slot uint32) string
	// sources are the slots that the value at the slot was derived from.
	sources(slot uint32) []ref
}

// ref points at one slot of one node.
type ref struct {
	node uint32
	slot uint32
}

// New returns an engine without tables that recomputes with up to workers goroutines (at least one).
func New(workers int) *Engine {
	return &Engine{workers: max(1, workers)}
}

// Result says what a commit did.
type Result struct {
	// Tables has an entry for each table in which a key was recomputed, in table order.
	Tables []TableWork
	// Faults are the keys whose function panicked or read what it may not, in table and key order.
	Faults []Fault
}

// TableWork is the work that one table did in one commit.
type TableWork struct {
	// Table is the table's name.
	Table string
	// Recomputed counts the keys whose function ran, Changed those whose value then differed.
	Recomputed, Changed int
	// Elapsed is the wall time spent.
	Elapsed time.Duration
}

// Recomputed returns how many keys were recomputed in all tables together.
func (r Result) Recomputed() int {
	n := 0
	for _, t := range r.Tables {
		n += t.Recomputed
	}
	return n
}

// Fault is a key whose value could not be computed. The key keeps its previous value, if it had one.
type Fault struct {
	Table, Key string
	// Err says what happened; for a panic it ends with the stack.
	Err error
}

// Error makes a Fault usable as an error.
func (f Fault) Error() string { return fmt.Sprintf("%s[%s]: %v", f.Table, f.Key, f.Err) }

// Unwrap returns the cause.
func (f Fault) Unwrap() error { return f.Err }

// commit is the state of one running transaction.
type commit struct {
	engine *Engine
	result Result
}

// Commit applies everything staged in the inputs since the last commit and brings all tables up to date.
func (e *Engine) Commit() Result {
	c := &commit{engine: e}
	for _, n := range e.nodes {
		n.settle(c)
	}
	return c.result
}

// Source names one value that another value was derived from.
type Source struct {
	Table, Key string
}

func (e *Engine) register(n node) uint32 {
	e.nodes = append(e.nodes, n)
	return uint32(len(e.nodes) - 1) //nolint:gosec // a handful of tables
}

// notify marks every reader in the set for recomputation. Readers re-register what they read when they recompute, so
// the set itself stays as it is until then.
func (e *Engine) notify(readers *refSet) {
	readers.each(func(r ref) { e.nodes[r.node].invalidate(r.slot) })
}

func (e *Engine) trace(refs []ref) []Source {
	out := make([]Source, 0, len(refs))
	for _, r := range refs {
		out = append(out, Source{Table: e.nodes[r.node].name(), Key: e.nodes[r.node].keyName(r.slot)})
	}
	return out
}

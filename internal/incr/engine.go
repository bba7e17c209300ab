package incr

import (
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
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
	// running is true from the first commit on.
	running bool
	// scratch is where lists of slots are made before it is known how long they are, numbers what lists of one are cut
	// from: most lists are, and there are very many.
	scratch, numbers []uint32
}

// node is a table, an input or an index as the engine sees it, without its key and value types.
type node interface {
	// name is what faults, metrics and traces call this node.
	name() string
	// begin forgets the changes of the last commit, and frees the cells that it left unused.
	begin()
	// settle brings the node up to date with everything before it and marks the readers of what changed.
	settle(c *commit)
	// invalidate marks a slot of the node for recomputation.
	invalidate(slot uint32)
	// addReader and dropReader maintain who has to be told when the slot changes.
	addReader(slot uint32, reader ref)
	dropReader(slot uint32, reader ref)
	// keyName is the key at the slot, for people.
	keyName(slot uint32) string
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
	// Faults are the keys whose function panicked or read what it may not, in table and key order. A key that was not
	// recomputed in this commit is not among them, even if it still has the value from before an earlier fault.
	Faults []Fault
	// Mended are the keys that were among the Faults of an earlier commit and are no more, without an error: they were
	// computed, or are gone.
	Mended []Fault
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

// Fault is a key whose value (in an [Index], whose groups) could not be computed. The key keeps its previous ones, if
// it had any.
type Fault struct {
	Table, Key string
	// At is the key itself, of the table's type.
	At any
	// Kept says that the key has a value all the same: the one from before, or the one that [Table.OnFault] chose.
	Kept bool
	// Reads is what its function had read until then, as [Table.Sources] has it.
	Reads []Source
	// Err says what happened: it wraps [ErrCycle], or for a panic ends with the stack.
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

// judge notes what has become of a key: an error is a fault, none mends the one that there was. It returns whether the
// key is faulty now.
func (c *commit) judge(f Fault, deps []ref, was bool) bool {
	switch {
	case f.Err != nil:
		f.Reads = c.engine.trace(deps)
		c.result.Faults = append(c.result.Faults, f)
	case was:
		c.result.Mended = append(c.result.Mended, f)
	}
	return f.Err != nil
}

// panicked makes what was recovered from a user's function an error.
func panicked(p any) error {
	if c, ok := p.(cycle); ok {
		return fmt.Errorf("%w: %s", ErrCycle, string(c))
	}
	return fmt.Errorf("panic: %v\n%s", p, debug.Stack())
}

// Commit applies everything staged in the inputs since the last commit and brings all tables up to date.
func (e *Engine) Commit() Result {
	e.running = true
	c := &commit{engine: e}
	for _, n := range e.nodes {
		n.settle(c)
	}
	return c.result
}

// Forget drops what [Table.Changes] tells of the last commit. Of one that took in a whole world that is a good deal of
// memory, which would be kept until the next.
func (e *Engine) Forget() {
	for _, n := range e.nodes {
		n.begin()
	}
}

// Source names one value that another value was derived from.
type Source struct {
	Table, Key string
}

// register gives a node its place in the table order. A collection made later would have missed the changes of the
// commits before it, so it is refused.
func (e *Engine) register(n node) uint32 {
	if e.running {
		panic(fmt.Sprintf("incr: %s is created after the engine's first commit", n.name()))
	}
	e.nodes = append(e.nodes, n)
	return uint32(len(e.nodes) - 1) // a handful of tables
}

// keep returns a list that was made in scratch as one that stays.
func (e *Engine) keep(list []uint32) []uint32 {
	e.scratch = list
	if len(list) != 1 {
		return slices.Clip(append([]uint32(nil), list...))
	}
	n := int(list[0])
	if n >= len(e.numbers) {
		// Lists that were cut from the one before keep it.
		e.numbers = make([]uint32, max(2*n, keep))
		for i := range e.numbers {
			e.numbers[i] = uint32(i)
		}
	}
	return e.numbers[n : n+1 : n+1]
}

// notify marks every reader in the set for recomputation. Readers re-register what they read when they recompute, so
// the set itself stays as it is until then.
func (e *Engine) notify(readers *refSet) {
	readers.each(func(r ref) { e.nodes[r.node].invalidate(r.slot) })
}

func (e *Engine) trace(refs []ref) []Source {
	out := make([]Source, 0, len(refs))
	// refs are sorted by table, but within a table by when its keys were first seen, which must not show.
	for len(refs) > 0 {
		n, start := refs[0].node, len(out)
		for ; len(refs) > 0 && refs[0].node == n; refs = refs[1:] {
			out = append(out, Source{Table: e.nodes[n].name(), Key: e.nodes[n].keyName(refs[0].slot)})
		}
		slices.SortFunc(out[start:], func(a, b Source) int { return strings.Compare(a.Key, b.Key) })
	}
	// The keys and the values of a group are two dependencies but one source.
	return slices.Compact(out)
}

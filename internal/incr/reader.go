package incr

import "fmt"

// Reader is how a table function reads other collections. Every read is recorded: when what was read changes, the
// function runs again. A Reader is valid only while the function runs, and belongs to its goroutine.
type Reader struct {
	self uint32
	deps []ref
	miss []missing
}

// missing is a read of a key that its collection has never seen: it gets a cell once reading is over.
type missing struct {
	from claimer
	key  any
}

type claimer interface {
	nodeID() uint32
	claimMissing(key any) uint32
}

// cycle is what a Reader panics with; the engine turns it into ErrCycle.
type cycle string

// Get returns the value that c has for key, and whether it has one.
func Get[K Key[K], V any](r *Reader, c Collection[K, V], key K) (V, bool) {
	s := c.held()
	r.check(s.id, s.label)
	slot, ok := s.index.find(key)
	if !ok {
		r.miss = append(r.miss, missing{from: s, key: key})
		var zero V
		return zero, false
	}
	r.deps = append(r.deps, ref{node: s.id, slot: slot})
	cell := s.cells.at(slot)
	return cell.value, cell.has
}

func (r *Reader) check(id uint32, label string) {
	if id >= r.self {
		panic(cycle(fmt.Sprintf("table %q", label)))
	}
}

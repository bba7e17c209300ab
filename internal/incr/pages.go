package incr

import "iter"

const (
	pageBits = 8
	pageSize = 1 << pageBits
)

// pages is a list that grows without being copied: a list of tens of thousands of cells is never there twice, and has
// room for no more than a page of them in vain. A list of a few cells takes no more than they do.
type pages[T any] struct {
	list   [][]T
	length int
}

func (p *pages[T]) len() int { return p.length }

// at returns an element. What it points at may move when another is added.
func (p *pages[T]) at(i uint32) *T { return &p.list[i>>pageBits][i%pageSize] }

// add appends a zero element, and returns its number.
func (p *pages[T]) add() uint32 {
	switch {
	case len(p.list) == 0:
		p.list = [][]T{nil} // the first page grows as needed
	case p.length == len(p.list)*pageSize:
		p.list = append(p.list, make([]T, 0, pageSize))
	}
	last := &p.list[len(p.list)-1]
	*last = append(*last, *new(T))
	p.length++
	return uint32(p.length - 1) // fewer than four thousand million objects
}

// all iterates over the elements. None may be added meanwhile.
func (p *pages[T]) all() iter.Seq[*T] {
	return func(yield func(*T) bool) {
		for _, page := range p.list {
			for i := range page {
				if !yield(&page[i]) {
					return
				}
			}
		}
	}
}

// clear removes all elements. Only the room of the first page stays.
func (p *pages[T]) clear() {
	if p.length == 0 {
		return
	}
	clear(p.list[0])
	*p = pages[T]{list: [][]T{p.list[0][:0]}}
}

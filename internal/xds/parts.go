package xds

import (
	"cmp"
	"encoding/binary"
	"iter"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// Parts are the virtual hosts of a RouteConfiguration. They are immutable, and in blocks that versions share: another
// version of one part costs a block and a list of blocks, however many parts there are. The zero value has none.
type Parts struct {
	// blocks are sorted by number. None is empty.
	blocks []*Block
}

// Block is the parts whose names have one [BlockOf].
type Block struct {
	number uint8
	hash   uint64
	parts  []*Part // sorted by name
}

// numBlocks bounds the blocks of one version. Blocks of tens of thousands of parts are some KiB each, as is their list.
// Those of exact hosts are of one scope each, and those of wildcards are in all scopes, so that a scope is blocks.
const (
	blocksPerScope = 4
	exactBlocks    = numScopes * blocksPerScope
	wildBlocks     = 4
	numBlocks      = exactBlocks + wildBlocks
)

// BlockOf returns the number of the block that a part of the name is in. It is the same in all processes, because the
// hash of a route configuration depends on it.
func BlockOf(name string) uint8 {
	h := xxhash.Sum64String(name)
	if isWild(name) {
		return uint8(exactBlocks + h%wildBlocks)
	}
	return scopeOf(name)*blocksPerScope + uint8(h%blocksPerScope)
}

// NewBlock returns a block of parts, at least one, that belong into one block and are sorted by name.
func NewBlock(parts []*Part) *Block {
	d := xxhash.New()
	writeHashes(d, parts, func(p *Part) uint64 { return p.Hash })
	return &Block{number: BlockOf(parts[0].Name), hash: d.Sum64(), parts: parts}
}

// Equal reports whether both have the same parts in the same versions.
func (b *Block) Equal(o *Block) bool {
	return b == o || b.hash == o.hash && slices.EqualFunc(b.parts, o.parts, samePart)
}

func samePart(a, b *Part) bool { return a == b || a.Name == b.Name && a.Hash == b.Hash }

// PartsOf returns the parts in blocks of different numbers, in any order.
func PartsOf(blocks []*Block) Parts {
	slices.SortFunc(blocks, func(a, b *Block) int { return cmp.Compare(a.number, b.number) })
	return Parts{blocks: blocks}
}

// NewParts returns parts, in any order, whose names differ.
func NewParts(parts []*Part) Parts {
	byBlock := map[uint8][]*Part{}
	for _, p := range parts {
		n := BlockOf(p.Name)
		byBlock[n] = append(byBlock[n], p)
	}
	blocks := make([]*Block, 0, len(byBlock))
	for _, list := range byBlock {
		slices.SortFunc(list, comparePart)
		blocks = append(blocks, NewBlock(list))
	}
	return PartsOf(blocks)
}

func comparePart(a, b *Part) int { return strings.Compare(a.Name, b.Name) }

// All iterates over the parts, block by block.
func (p Parts) All() iter.Seq[*Part] {
	return func(yield func(*Part) bool) {
		for _, b := range p.blocks {
			for _, part := range b.parts {
				if !yield(part) {
					return
				}
			}
		}
	}
}

// Sorted returns the parts, sorted by name.
func (p Parts) Sorted() []*Part { return slices.SortedFunc(p.All(), comparePart) }

// Len returns how many parts there are.
func (p Parts) Len() int {
	n := 0
	for _, b := range p.blocks {
		n += len(b.parts)
	}
	return n
}

// count returns how many parts are for exact hosts, and for wildcards.
func (p Parts) count() (exact, wild int) {
	for _, b := range p.blocks {
		if b.number < exactBlocks {
			exact += len(b.parts)
		} else {
			wild += len(b.parts)
		}
	}
	return exact, wild
}

// scope returns the parts that are in a scope.
func (p Parts) scope(n uint8) Parts {
	var out Parts
	for _, b := range p.blocks {
		if b.number/blocksPerScope == n || b.number >= exactBlocks {
			out.blocks = append(out.blocks, b)
		}
	}
	return out
}

// Any reports whether there is a part for which f is true.
func (p Parts) Any(f func(*Part) bool) bool {
	for part := range p.All() {
		if f(part) {
			return true
		}
	}
	return false
}

// Find returns the part with the name, nil if there is none.
func (p Parts) Find(name string) *Part {
	b := p.block(BlockOf(name))
	if b == nil {
		return nil
	}
	i, ok := slices.BinarySearchFunc(b.parts, name, func(p *Part, n string) int { return strings.Compare(p.Name, n) })
	if !ok {
		return nil
	}
	return b.parts[i]
}

func (p Parts) block(number uint8) *Block {
	i, ok := slices.BinarySearchFunc(p.blocks, number, func(b *Block, n uint8) int { return cmp.Compare(b.number, n) })
	if !ok {
		return nil
	}
	return p.blocks[i]
}

// Equal reports whether both have the same parts in the same versions.
func (p Parts) Equal(o Parts) bool { return slices.EqualFunc(p.blocks, o.blocks, (*Block).Equal) }

// Map returns what f makes of each part: another version of it, or nil for none. Blocks in which it changes nothing are
// shared.
func (p Parts) Map(f func(*Part) *Part) Parts { return p.mapFrom(Parts{}, f) }

// mapFrom is Map, but leaves alone, without asking, each block that is one of the others' too.
func (p Parts) mapFrom(others Parts, f func(*Part) *Part) Parts {
	blocks := make([]*Block, 0, len(p.blocks))
	for _, b := range p.blocks {
		if others.block(b.number) != b {
			b = b.mapped(f)
		}
		if b != nil {
			blocks = append(blocks, b)
		}
	}
	return Parts{blocks: blocks}
}

// mapped is the block of what f makes of its parts, nil if that is nothing.
func (b *Block) mapped(f func(*Part) *Part) *Block {
	parts := make([]*Part, 0, len(b.parts))
	for _, p := range b.parts {
		if p = f(p); p != nil {
			parts = append(parts, p)
		}
	}
	switch {
	case len(parts) == 0:
		return nil
	case slices.Equal(parts, b.parts):
		return b
	}
	return NewBlock(parts)
}

// Changed returns the names of the parts in which two versions differ, sorted.
func Changed(before, now Parts) []string {
	var names []string
	for old, p := range Differences(before, now) {
		names = append(names, cmp.Or(p, old).Name)
	}
	slices.Sort(names)
	return names
}

// Differences iterates over the parts in which two versions differ, as they were and as they are; nil is none.
func Differences(before, now Parts) iter.Seq2[*Part, *Part] {
	return func(yield func(before, now *Part) bool) {
		for number := range uint8(numBlocks) {
			a, b := before.block(number), now.block(number)
			if a != b && !a.differences(b, yield) {
				return
			}
		}
	}
}

// differences yields the differences of two blocks, each of which may be nil. It reports whether to go on.
func (b *Block) differences(now *Block, yield func(before, now *Part) bool) bool {
	var left, right []*Part
	if b != nil {
		left = b.parts
	}
	if now != nil {
		right = now.parts
	}
	for len(left) > 0 || len(right) > 0 {
		order := 0
		switch {
		case len(left) == 0:
			order = 1
		case len(right) == 0:
			order = -1
		case left[0] != right[0]:
			order = comparePart(left[0], right[0])
		}
		var before, after *Part
		if order <= 0 {
			before, left = left[0], left[1:]
		}
		if order >= 0 {
			after, right = right[0], right[1:]
		}
		if (before == nil || after == nil || before.Hash != after.Hash) && !yield(before, after) {
			return false
		}
	}
	return true
}

// RoutesHash is the hash of a route configuration of this body and these parts. It depends on what is sent and nothing
// else, so that an Envoy that reconnects is not sent again the mix of versions that it has.
func RoutesHash(body []byte, parts Parts) uint64 {
	d := xxhash.New()
	_, _ = d.Write(body) // never fails
	writeHashes(d, parts.blocks, func(b *Block) uint64 { return b.hash })
	return d.Sum64()
}

func writeHashes[T any](d *xxhash.Digest, list []T, hash func(T) uint64) {
	var b [8]byte
	for _, x := range list {
		binary.LittleEndian.PutUint64(b[:], hash(x))
		_, _ = d.Write(b[:])
	}
}

package envoy

import (
	"cmp"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// blockKey identifies some of the virtual hosts of a route table: those whose names have one [xds.BlockOf].
type blockKey struct {
	table  model.RouteTableKey
	number uint8
}

// Compare orders by table, then number.
func (k blockKey) Compare(o blockKey) int {
	return cmp.Or(k.table.Compare(o.table), cmp.Compare(k.number, o.number))
}

// addBlocks adds the blocks that route tables are put together from, so that a virtual host that changes costs a block
// and not its table.
func (b *builder) addBlocks(e *incr.Engine, hosts incr.Collection[model.HostKey, *xds.Part]) {
	b.hosts = incr.NewIndex(e, "hosts by block", hosts, func(k model.HostKey, _ *xds.Part) []blockKey {
		return []blockKey{{k.Table, xds.BlockOf(k.Domain)}}
	})
	blocks := incr.NewTable(e, "blocks of hosts", b.block, b.hosts).Equal((*xds.Block).Equal)
	b.blocks = incr.NewIndex(e, "blocks by table", blocks, func(k blockKey, _ *xds.Block) []model.RouteTableKey {
		return []model.RouteTableKey{k.table}
	})
}

func (b *builder) block(r *incr.Reader, k blockKey) (*xds.Block, bool) {
	parts := make([]*xds.Part, 0, b.hosts.Len(r, k))
	for _, part := range b.hosts.Values(r, k) {
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return nil, false
	}
	return xds.NewBlock(parts), true
}

// parts are the virtual hosts of a route table. Bytes are not copied, only hashes are.
func (b *builder) parts(r *incr.Reader, k model.RouteTableKey) xds.Parts {
	blocks := make([]*xds.Block, 0, b.blocks.Len(r, k))
	for _, block := range b.blocks.Values(r, k) {
		blocks = append(blocks, block)
	}
	return xds.PartsOf(blocks)
}

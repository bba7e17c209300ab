package xds

import (
	"fmt"
	"math"
	"strconv"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// codec passes responses that are already encoded through gRPC untouched; everything else is encoded by protobuf.
type codec struct{}

// Name is that of gRPC's own codec, because this is the same format on the wire.
func (codec) Name() string { return "proto" }

func (codec) Marshal(v any) (mem.BufferSlice, error) {
	switch v := v.(type) {
	case *response:
		return v.data, nil
	case proto.Message:
		b, err := proto.Marshal(v)
		return mem.BufferSlice{mem.SliceBuffer(b)}, err
	}
	return nil, fmt.Errorf("cannot encode %T", v)
}

func (codec) Unmarshal(data mem.BufferSlice, v any) error {
	m, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("cannot decode into %T", v)
	}
	b := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer b.Free()
	return proto.Unmarshal(b.ReadOnlyData(), m)
}

// response is an encoded DeltaDiscoveryResponse. gRPC frees its buffers once they are written.
type response struct{ data mem.BufferSlice }

// The fields of DeltaDiscoveryResponse, its Resource, and google.protobuf.Any.
const (
	fieldSystemVersion = 1
	fieldResources     = 2
	fieldTypeURL       = 4
	fieldNonce         = 5
	fieldRemoved       = 6

	fieldVersion      = 1
	fieldResource     = 2
	fieldResourceName = 3

	fieldAnyURL   = 1
	fieldAnyValue = 2
)

// shareFrom is the size of a value from which on it is worth a buffer of its own that all streams share.
const shareFrom = 64 << 10

// pieceSize is the size of the largest buffers that the pool keeps apart by their size. Larger ones would be made anew
// for most responses: at 50,000 routes that would be seven megabytes for each change of one.
const pieceSize = 1 << 20

// encode assembles the response of a flight. Every byte of a resource is copied once, into the buffers that gRPC writes
// from; big route tables that several Envoys get are not even that.
func encode(f *flight) *response {
	rest := len(f.typ.URL()) + 64
	for i := range f.entries {
		e := &f.entries[i]
		switch {
		case e.form == delta:
			rest += e.deltaSize()
			continue
		case e.shared == nil:
			rest += e.size()
		}
		rest += entryOverhead(f.typ, e)
	}
	for _, name := range f.removed {
		rest += len(name) + 8
	}
	w := writer{rest: rest}
	w.grow()
	w.field(fieldSystemVersion, strconv.FormatUint(f.version, 10))
	removed := f.removed
	for i := range f.entries {
		e := &f.entries[i]
		if e.form != delta {
			w.entry(f.typ, e)
			continue
		}
		for _, p := range e.changed {
			w.host(e, p)
		}
		removed = e.gone
	}
	w.field(fieldTypeURL, f.url())
	w.field(fieldNonce, f.nonce)
	for _, name := range removed {
		w.field(fieldRemoved, name)
	}
	w.flush()
	f.bytes = w.out.Len()
	return &response{w.out}
}

// entryOverhead bounds the bytes around a value.
func entryOverhead(t Type, e *entry) int { return len(e.name) + len(t.URL()) + 16 + 7*maxVarint }

const maxVarint = 6

// writer appends to pooled buffers and puts shared ones between them.
type writer struct {
	out  mem.BufferSlice
	cur  []byte
	mem  *[]byte
	rest int // bytes still to be written to buffers that are not shared, at most
}

func (w *writer) grow() {
	w.mem = mem.DefaultBufferPool().Get(min(w.rest, pieceSize))
	w.cur = (*w.mem)[:0]
}

// room goes on in another buffer if there is no room for so many bytes.
func (w *writer) room(n int) {
	if len(w.cur) > 0 && len(w.cur)+n > cap(w.cur) {
		w.flush()
		w.grow()
	}
}

func (w *writer) bytes(b []byte) {
	w.room(len(b))
	w.cur = append(w.cur, b...)
}

func (w *writer) flush() {
	w.rest -= len(w.cur)
	*w.mem = w.cur
	w.out = append(w.out, mem.NewBuffer(w.mem, mem.DefaultBufferPool()))
}

func (w *writer) field(n protowire.Number, s string) {
	w.room(len(s) + 2*maxVarint)
	w.cur = protowire.AppendTag(w.cur, n, protowire.BytesType)
	w.cur = protowire.AppendString(w.cur, s)
}

func (w *writer) open(n protowire.Number, size int) {
	w.room(2 * maxVarint)
	w.cur = protowire.AppendTag(w.cur, n, protowire.BytesType)
	w.cur = protowire.AppendVarint(w.cur, uint64(size))
}

func (w *writer) entry(t Type, e *entry) {
	size := e.size()
	anySize := 2 + protowire.SizeBytes(len(t.URL())) + protowire.SizeBytes(size)
	version := e.wireVersion()
	w.open(fieldResources,
		3+protowire.SizeBytes(len(version))+protowire.SizeBytes(anySize)+protowire.SizeBytes(len(e.name)))
	w.field(fieldVersion, version)
	w.field(fieldResourceName, e.name)
	w.open(fieldResource, anySize)
	w.field(fieldAnyURL, t.URL())
	w.open(fieldAnyValue, size)
	if e.shared != nil {
		w.flush()
		w.out = append(w.out, mem.SliceBuffer(e.shared.get(e)))
		w.grow()
		return
	}
	e.pieces(w.bytes)
}

// formatVersion is a resource's version on the wire: its hash, 16 hexadecimal digits.
func formatVersion(hash uint64) string {
	const digits = "0123456789abcdef"
	var b [16]byte
	for i := range b {
		b[i] = digits[hash>>(60-4*i)&15]
	}
	return string(b[:])
}

// parseVersion returns the hash in a version that an Envoy brings along; 0 if it is not one of ours.
func parseVersion(s string) uint64 {
	if len(s) != 16 {
		return 0
	}
	hash, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0
	}
	return hash
}

// maxRequest is the size of a request in bytes, enough for a million names with their versions; a response may be as
// big as gRPC can frame.
const (
	maxRequest  = 256 << 20
	maxResponse = math.MaxInt32
)

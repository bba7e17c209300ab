// Package mmdb writes databases of places in MaxMind's format for tests: the addresses and what is known of them are
// the test's own.
package mmdb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"time"
)

// Record is what is known of an address. Values are strings, bools, uint16, uint32, uint64, Records and lists of these.
type Record = map[string]any

// Write writes a database of a type, such as GeoLite2-City, to a file.
func Write(path, databaseType string, places map[netip.Prefix]Record) error {
	var tree tree
	tree.node() // the root
	var data bytes.Buffer
	for _, prefix := range slices.SortedFunc(maps.Keys(places), netip.Prefix.Compare) {
		if !prefix.Addr().Is4() || prefix.Bits() == 0 {
			return fmt.Errorf("write %s: %s is no range of IPv4 addresses", path, prefix)
		}
		tree.insert(prefix, data.Len())
		if err := encode(&data, places[prefix]); err != nil {
			return fmt.Errorf("write %s: %w", path, err)
		}
	}
	out := tree.bytes()
	out = append(out, make([]byte, separator)...)
	out = append(out, data.Bytes()...)
	var about bytes.Buffer
	err := encode(&about, Record{
		"binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0),
		"build_epoch": uint64(time.Now().Unix()), "database_type": databaseType, "description": Record{"en": "a test's"},
		"ip_version": uint16(4), "languages": []any{"en"}, "node_count": uint32(len(tree.nodes)), "record_size": uint16(24),
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	out = append(append(out, "\xab\xcd\xefMaxMind.com"...), about.Bytes()...)
	return os.WriteFile(path, out, 0o600)
}

// separator is how many zero bytes are between the tree and the data.
const separator = 16

// tree finds the record of an address, bit by bit.
type tree struct {
	nodes [][2]branch
}

// branch leads to another node, or to a record; to nothing if both are 0.
type branch struct {
	node int
	// record is where it is in the data, plus 1.
	record int
}

func (t *tree) node() int {
	t.nodes = append(t.nodes, [2]branch{})
	return len(t.nodes) - 1
}

func (t *tree) insert(prefix netip.Prefix, offset int) {
	address := prefix.Addr().As4()
	at := 0
	for i := range prefix.Bits() {
		bit := address[i/8] >> (7 - i%8) & 1
		if i == prefix.Bits()-1 {
			t.nodes[at][bit] = branch{record: offset + 1}
			return
		}
		if t.nodes[at][bit].node == 0 {
			next := t.node()
			t.nodes[at][bit] = branch{node: next}
		}
		at = t.nodes[at][bit].node
	}
}

// bytes returns the tree in records of 24 bits.
func (t *tree) bytes() []byte {
	var out []byte
	for _, node := range t.nodes {
		for _, b := range node {
			value := len(t.nodes) // nothing is known
			switch {
			case b.node > 0:
				value = b.node
			case b.record > 0:
				value = len(t.nodes) + separator + b.record - 1
			}
			out = append(out, byte(value>>16), byte(value>>8), byte(value))
		}
	}
	return out
}

// The types of data in the format, those above 7 in a byte of their own.
const (
	typeString, typeUint16, typeUint32, typeMap = 2, 5, 6, 7
	typeUint64, typeList, typeBool              = 9, 11, 14
)

// longer is the size from which on the rest of it is in a byte of its own.
const longer = 29

func control(out *bytes.Buffer, typ, size int) error {
	if size > longer+255 {
		return fmt.Errorf("a value of size %d is too long for a test", size)
	}
	first := min(size, longer)
	if typ > typeMap {
		out.Write([]byte{byte(first), byte(typ - typeMap)})
	} else {
		out.WriteByte(byte(typ<<5 | first))
	}
	if size >= longer {
		out.WriteByte(byte(size - longer))
	}
	return nil
}

func encode(out *bytes.Buffer, value any) error {
	switch v := value.(type) {
	case string:
		if err := control(out, typeString, len(v)); err != nil {
			return err
		}
		out.WriteString(v)
	case bool:
		size := 0
		if v {
			size = 1
		}
		return control(out, typeBool, size)
	case uint16:
		return number(out, typeUint16, binary.BigEndian.AppendUint16(nil, v))
	case uint32:
		return number(out, typeUint32, binary.BigEndian.AppendUint32(nil, v))
	case uint64:
		return number(out, typeUint64, binary.BigEndian.AppendUint64(nil, v))
	case Record:
		return record(out, v)
	case []any:
		if err := control(out, typeList, len(v)); err != nil {
			return err
		}
		for _, one := range v {
			if err := encode(out, one); err != nil {
				return err
			}
		}
	default:
		return fmt.Errorf("a %T cannot be written", value)
	}
	return nil
}

func number(out *bytes.Buffer, typ int, digits []byte) error {
	if err := control(out, typ, len(digits)); err != nil {
		return err
	}
	out.Write(digits)
	return nil
}

func record(out *bytes.Buffer, r Record) error {
	if err := control(out, typeMap, len(r)); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(r)) {
		if err := encode(out, key); err != nil {
			return err
		}
		if err := encode(out, r[key]); err != nil {
			return err
		}
	}
	return nil
}

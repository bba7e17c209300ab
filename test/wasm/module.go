// Package wasm makes the Wasm module that tests have Envoy run.
package wasm

import "bytes"

// The codes of the binary format of WebAssembly 1.0 that the module needs.
const (
	i32       = 0x7f
	call      = 0x10
	localGet  = 0x20
	globalGet = 0x23
	globalSet = 0x24
	add       = 0x6a
	drop      = 0x1a
	end       = 0x0b
)

// Module assembles a module of the Proxy-Wasm ABI 0.2.1 that adds the header x-wasm to requests, with its configuration
// as the value. Without a configuration it refuses to start.
func Module() []byte {
	load := []byte{0x28, 2, 0}
	m := assembly{}
	m.WriteString("\x00asm\x01\x00\x00\x00")
	// The types: of the version, of allocating, of starting, of a request, and of what is imported.
	m.section(1, signature(0, 0), signature(1, 1), signature(1, 2), signature(1, 3), signature(1, 5))
	m.section(2, imported("proxy_add_header_map_value", 4), imported("proxy_get_buffer_bytes", 4))
	m.section(3, []byte{0}, []byte{1}, []byte{2}, []byte{3})
	m.section(5, []byte{0, 1})
	m.section(6, bytes.Join([][]byte{{i32, 1}, push(4096), {end}}, nil))
	m.section(7, exported("memory", 2, 0), exported("proxy_abi_version_0_2_1", 0, 2),
		exported("proxy_on_memory_allocate", 0, 3), exported("proxy_on_configure", 0, 4),
		exported("proxy_on_request_headers", 0, 5))
	m.section(10,
		code(),
		code([]byte{globalGet, 0, globalGet, 0, localGet, 0, add, globalSet, 0}),
		// The configuration (buffer 7) is at the address that is put at 32, its size at 36.
		code(push(7), push(0), []byte{localGet, 1}, push(32), push(36), []byte{call, 1, drop, localGet, 1}),
		code(push(0), push(16), push(6), push(32), load, push(36), load, []byte{call, 0, drop}, push(0)),
	)
	m.section(11, bytes.Join([][]byte{{0}, push(16), {end}, text("x-wasm")}, nil))
	return m.Bytes()
}

// assembly is the module so far.
type assembly struct{ bytes.Buffer }

// section appends a section of a kind: a vector of items.
func (a *assembly) section(id byte, items ...[]byte) {
	body := append([]byte{byte(len(items))}, bytes.Join(items, nil)...)
	a.WriteByte(id)
	a.Write(sized(body))
}

// number is signed LEB128.
func number(n int) []byte {
	var out []byte
	for {
		b := byte(n & 0x7f)
		if n >>= 7; n == 0 && b&0x40 == 0 {
			return append(out, b)
		}
		out = append(out, b|0x80)
	}
}

// sized is bytes behind their number in unsigned LEB128; everything is shorter than 16 KiB.
func sized(b []byte) []byte {
	if n := len(b); n >= 0x80 {
		return append([]byte{byte(n&0x7f | 0x80), byte(n >> 7)}, b...)
	}
	return append([]byte{byte(len(b))}, b...)
}

func text(s string) []byte { return append([]byte{byte(len(s))}, s...) }

// signature is the type of a function of numbers.
func signature(results, params int) []byte {
	return bytes.Join([][]byte{{0x60, byte(params)}, bytes.Repeat([]byte{i32}, params), {byte(results)},
		bytes.Repeat([]byte{i32}, results)}, nil)
}

func imported(name string, typ byte) []byte {
	return bytes.Join([][]byte{text("env"), text(name), {0, typ}}, nil)
}

func exported(name string, kind, index byte) []byte { return append(text(name), kind, index) }

// code is a function without variables of its own.
func code(instructions ...[]byte) []byte {
	return sized(append(append([]byte{0}, bytes.Join(instructions, nil)...), end))
}

func push(n int) []byte { return append([]byte{0x41}, number(n)...) }

package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// raw2 is a connection of HTTP/2 on which anything can be written.
type raw2 struct {
	*http2.Framer
	conn net.Conn
	text bytes.Buffer
	pack *hpack.Encoder
}

// dial2 connects to ${HTTP} and says what a client has to say first.
func (in *instance) dial2(t *testing.T, settings ...http2.Setting) *raw2 {
	t.Helper()
	c, err := in.open2(settings...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.conn.Close() })
	return c
}

// open2 is dial2 for what fails in another goroutine than the test's.
func (in *instance) open2(settings ...http2.Setting) (*raw2, error) {
	conn, err := net.Dial("tcp", in.address("HTTP"))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	// What is not read has to wait at the gateway, and not here.
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		return nil, err
	}
	c := &raw2{Framer: http2.NewFramer(conn, conn), conn: conn}
	c.pack = hpack.NewEncoder(&c.text)
	c.AllowIllegalWrites = true
	c.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	return c, c.WriteSettings(settings...)
}

// block returns headers as they are sent.
func (c *raw2) block(fields ...[2]string) []byte {
	c.text.Reset()
	for _, f := range fields {
		_ = c.pack.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) // to a buffer
	}
	return bytes.Clone(c.text.Bytes())
}

// get are the headers of a GET request, which ends with them.
func (c *raw2) get(stream uint32, path string, more ...[2]string) error {
	fields := [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.example"}, {":path", path}}
	return c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: stream, EndStream: true, EndHeaders: true, BlockFragment: c.block(append(fields, more...)...),
	})
}

// outcome reads what becomes of the streams: their statuses, or "reset" with the code, and at last "gone" when the
// connection is closed. It ends when all of them have one.
func (c *raw2) outcome(streams int) map[string]int {
	out := map[string]int{}
	for n := 0; n < streams; {
		frame, err := c.ReadFrame()
		if err != nil {
			out["gone"]++
			return out
		}
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			if status := f.PseudoValue("status"); status != "" && status[0] != '1' {
				out[status]++
				n++
			}
		case *http2.RSTStreamFrame:
			out["reset "+f.ErrCode.String()]++
			n++
		case *http2.GoAwayFrame:
			out["away"]++
		}
	}
	return out
}

// memory is the resident memory of the instance's Envoy in bytes.
func (in *instance) memory(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", in.envoyPID()))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	return kilobytes << 10
}

// flood is a way to keep a gateway busy on one connection.
type flood struct {
	name string
	// send writes the frame or frames of one go. After most of these the connection has to be closed.
	send func(c *raw2, stream uint32) error
	most int
}

// floods are the ways that HTTP/2 has to make a server work, or remember, at little cost.
func floods() []flood {
	var settings [100]http2.Setting
	for i := range settings {
		settings[i] = http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)}
	}
	return []flood{
		{"requests that are taken back", func(c *raw2, stream uint32) error {
			if err := c.get(stream, "/?delay=1s"); err != nil {
				return err
			}
			return c.WriteRSTStream(stream, http2.ErrCodeCancel)
		}, 20_000},
		{"pings", func(c *raw2, _ uint32) error { return c.WritePing(false, [8]byte{}) }, 2_000_000},
		{"settings", func(c *raw2, _ uint32) error { return c.WriteSettings(settings[:]...) }, 100_000},
		{"priorities", func(c *raw2, stream uint32) error {
			return c.WritePriority(stream, http2.PriorityParam{Weight: 1})
		}, 2_000_000},
		{"empty data", func(c *raw2, stream uint32) error {
			if stream == 1 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, EndHeaders: true, BlockFragment: c.block(
					[2]string{":method", "POST"}, [2]string{":scheme", "http"}, [2]string{":authority", "a.example"},
					[2]string{":path", "/"},
				)})
			}
			return c.WriteData(1, false, nil)
		}, 2_000_000},
		{"headers without an end", func(c *raw2, stream uint32) error {
			part := c.block([2]string{"x-padding", strings.Repeat("a", 8<<10)})
			if stream == 1 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: part})
			}
			return c.WriteContinuation(1, false, part)
		}, 10_000},
		{"empty headers without an end", func(c *raw2, stream uint32) error {
			if stream == 1 {
				return c.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})
			}
			return c.WriteContinuation(1, false, nil)
		}, 1_000_000},
		{"unknown frames", func(c *raw2, _ uint32) error { return c.WriteRawFrame(0xbe, 0, 0, make([]byte, 16<<10)) }, 0},
	}
}

// TestA36Floods floods the gateway over HTTP/2. It closes the connection long before all is sent, keeps its memory, and
// answers others meanwhile.
func TestA36Floods(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{proto: "h2c"}, expect{backend: "one"})
	before := in.memory(t)
	for _, f := range floods() {
		t.Run(f.name, func(t *testing.T) {
			c := in.dial2(t)
			sent := 0
			for ; sent < max(f.most, 1000); sent++ {
				if err := f.send(c, uint32(2*sent+1)); err != nil {
					break
				}
			}
			if sent == f.most {
				t.Errorf("the gateway took %d of them", sent)
			}
			t.Logf("%d sent", sent)
			in.must(t, request{}, expect{backend: "one"})
			in.must(t, request{proto: "h2c"}, expect{backend: "one"})
		})
	}
	t.Run("memory", func(t *testing.T) {
		if grown := in.memory(t) - before; grown > 32<<20 {
			t.Errorf("Envoy has grown by %d MiB", grown>>20)
		}
	})
}

// TestA36HeaderBombs sends headers that are small on the wire and large when they are unpacked: one long one, and then
// a byte for each time it is meant again. None gets to a backend, and Envoy does not unpack them all.
func TestA36HeaderBombs(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{proto: "h2c"}, expect{backend: "one"})
	before := in.memory(t)
	path := once("/bomb")
	for name, header := range map[string]string{"header": "x-bomb", "cookie": "cookie"} {
		t.Run(name, func(t *testing.T) {
			const streams = 40
			c := in.dial2(t)
			long := c.block([2]string{":method", "GET"}, [2]string{":scheme", "http"}, [2]string{":authority", "a.example"},
				[2]string{":path", path}, [2]string{header, strings.Repeat("a", 3500)})
			// The last field that was added to the table is 62 in it (RFC 7541, section 2.3.3): 15,000 times 3,500 bytes.
			again := bytes.Repeat([]byte{0x80 | 62}, 15_000)
			for i := range streams {
				first := long
				if i > 0 { // now all of it is in the table
					first = c.block([2]string{":method", "GET"}, [2]string{":scheme", "http"},
						[2]string{":authority", "a.example"}, [2]string{":path", path})
				}
				err := c.WriteHeaders(http2.HeadersFrameParam{
					StreamID: uint32(2*i + 1), EndStream: true, EndHeaders: true, BlockFragment: append(first, again...),
				})
				if err != nil {
					break // sent away already
				}
			}
			got := c.outcome(streams)
			t.Logf("%v", got)
			if got["200"] > 0 || shared.backends["one"].Received(path) > 0 {
				t.Errorf("it reaches the backend: %v", got)
			}
		})
	}
	if grown := in.memory(t) - before; grown > 32<<20 {
		t.Errorf("Envoy has grown by %d MiB", grown>>20)
	}
	in.must(t, request{proto: "h2c"}, expect{backend: "one"})
}

// TestA36Streams opens more streams than a client may have at a time, and takes nothing of what it is sent.
func TestA36Streams(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{proto: "h2c"}, expect{backend: "one"})
	before := in.memory(t)
	t.Run("too many", func(t *testing.T) {
		const streams = 300
		c := in.dial2(t)
		for i := range streams {
			if err := c.get(uint32(2*i+1), "/?delay=300ms"); err != nil {
				break
			}
		}
		if got := c.outcome(streams); got["200"] > 100 || got["200"] == streams {
			t.Errorf("of %d streams at once there became %v, want 100 answers at most", streams, got)
		}
	})
	t.Run("no window", func(t *testing.T) {
		c := in.dial2(t, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
		defer func() { _ = c.conn.Close() }()
		for i := range 100 {
			if err := c.get(uint32(2*i+1), "/stream?n=10000&every=0s"); err != nil {
				t.Fatal(err)
			}
		}
		in.must(t, request{}, expect{backend: "one"})
		in.must(t, request{proto: "h2c"}, expect{backend: "one"})
		if grown := in.memory(t) - before; grown > 32<<20 {
			t.Errorf("Envoy has grown by %d MiB for 100 streams that nobody reads", grown>>20)
		}
	})
}

// TestA36Handshakes sends beginnings of TLS that are cut in small pieces, or are none: whom a listener is for is known
// when all of it has come, and whoever says nothing sensible is sent away.
func TestA36Handshakes(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": httpsGateway([3]string{"one", "one.example", "{name: one}"},
			[3]string{"two", "two.example", "{name: two}"}),
		"backends.yaml": backendsYAML,
		"secrets.yaml":  ca.secret(t, "one", "ecdsa", "one.example") + ca.secret(t, "two", "ecdsa", "two.example"),
		"routes.yaml":   attach("one", "one", "", "one") + attach("two", "two", "", "two"),
	})
	for _, size := range []int{1, 5, 50} {
		for _, host := range []string{"one", "two"} {
			conn, err := net.Dial("tcp", in.address("HTTPS"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
				t.Fatal(err)
			}
			secure := tls.Client(pieces{conn, size}, &tls.Config{ServerName: host + ".example", RootCAs: ca.pool})
			if err := secure.Handshake(); err != nil {
				t.Errorf("%s in pieces of %d bytes: %v", host, size, err)
				continue
			}
			if got := secure.ConnectionState().PeerCertificates[0].Subject.CommonName; got != host {
				t.Errorf("%s in pieces of %d bytes gets the certificate of %s", host, size, got)
			}
		}
	}
	for name, send := range map[string]string{
		"plain HTTP": closing, "nothing sensible": strings.Repeat("\x00", 1000),
		"a record of another version": "\x16\x09\x09\x00\x05hello",
		"a record that is too long":   "\x16\x03\x01\xff\xff" + strings.Repeat("a", 70_000),
	} {
		if got := in.exchangeRaw(t, "HTTPS", []byte(send)); strings.Contains(got, "HTTP/1.1 200") {
			t.Errorf("%s is answered with %q", name, got)
		}
	}
}

// pieces is a connection that writes a few bytes at a time.
type pieces struct {
	net.Conn
	size int
}

func (p pieces) Write(b []byte) (int, error) {
	for sent := 0; sent < len(b); {
		n, err := p.Conn.Write(b[sent:min(len(b), sent+p.size)])
		if sent += n; err != nil {
			return sent, err
		}
	}
	return len(b), nil
}

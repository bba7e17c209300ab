package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// clientDrills are those of hostile clients.
var clientDrills = []drill{
	{id: "F21", fault: "clients that send their headers a byte at a time, never read, or never finish a TLS handshake",
		promise: "0 requests of others fail; the slow ones are cut off; Envoy grows by 500 MiB at most", run: slowClients},
	{id: "F22", fault: "idle connections, as many as this process may have",
		promise: "0 requests of others fail", run: idleClients},
	{id: "F23", fault: "HTTP/2 clients send thousands of cookies and headers, and header blocks without an end",
		promise: "0 requests of others fail; Envoy grows by 100 MiB at most", run: headerBombs},
}

// swarm opens connections, and sends to each of them first what they begin with, and then a byte in each round.
type swarm struct {
	address string
	count   int
	begin   []byte
	// drip is sent once a second; empty sends nothing.
	drip []byte
}

// run lets the swarm live until the context ends, and returns how many of its connections were cut off.
func (s swarm) run(ctx context.Context) (cut int, err error) {
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	for range s.count {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address)
		if err != nil {
			return 0, fmt.Errorf("connection %d: %w", len(conns), err)
		}
		conns = append(conns, conn)
		if _, err := conn.Write(s.begin); err != nil {
			return 0, err
		}
	}
	closed := make(map[net.Conn]bool, len(conns))
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		for _, conn := range conns {
			if closed[conn] {
				continue
			}
			_, err := conn.Write(s.drip)
			if err != nil || hungUp(conn) {
				closed[conn] = true
			}
		}
		select {
		case <-ctx.Done():
			return len(closed), nil
		case <-ticker.C:
		}
	}
}

// hungUp reports whether the other side has closed a connection, which it does not read from.
func hungUp(conn net.Conn) bool {
	_ = conn.SetReadDeadline(time.Now().Add(time.Microsecond))
	n, err := conn.Read(make([]byte, 512))
	timeout, ok := err.(net.Error)
	return n == 0 && err != nil && (!ok || !timeout.Timeout())
}

func slowClients(ctx context.Context, f *field) (string, error) {
	in, err := f.startTLS(ctx, "tls")
	if err != nil {
		return "", err
	}
	if _, err := in.want(ctx, "x.example", "/", 200); err != nil {
		return "", err
	}
	before, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	each := f.size(200, 2000)
	swarms := []swarm{
		{in.address(), each, []byte("GET / HTTP/1.1\r\nhost: x.example\r\nx-slow: "), []byte("a")},
		{in.address(), each, bytes.Repeat([]byte("GET / HTTP/1.1\r\nhost: x.example\r\n\r\n"), 50), nil},
		{fmt.Sprintf("127.0.0.1:%d", in.tlsPort), each, []byte{0x16, 0x03, 0x01}, nil},
	}
	lasting, cancel := context.WithTimeout(ctx, time.Duration(f.size(15, 60))*time.Second)
	defer cancel()
	stop := in.load(float64(f.size(300, 1000)), "x.example")
	cuts, errs := make([]int, len(swarms)), make(chan error, len(swarms))
	for i, s := range swarms {
		go func() {
			var err error
			cuts[i], err = s.run(lasting)
			errs <- err
		}()
	}
	for range swarms {
		if err := <-errs; err != nil {
			return "", err
		}
	}
	after, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("3 x %d connections; cut off: %d with slow headers, %d that do not read, %d without a handshake; "+
		"%v; Envoy from %d to %d MiB", each, cuts[0], cuts[1], cuts[2], result, before.envoy, after.envoy)
	switch {
	case after.envoy > before.envoy+500:
		return seen, broken("Envoy has grown")
	case cuts[0] < each || cuts[2] < each:
		return seen, broken("not all slow clients were cut off")
	}
	return seen, unharmed(result, 500)
}

func idleClients(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(1))
	if err != nil {
		return "", err
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return "", err
	}
	// One address of this machine has some 28,000 ports to connect from.
	count := min(int(limit.Cur)-200, f.size(2000, 20_000)) //nolint:gosec // a few hundred thousand at the most
	lasting, cancel := context.WithTimeout(ctx, time.Duration(f.size(5, 60))*time.Second)
	defer cancel()
	before, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), host(0))
	cut, err := swarm{address: in.address(), count: count}.run(lasting)
	if err != nil {
		return "", err
	}
	peak, err := peakOf(ctx, in.envoyPID)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d connections, %d cut off, %v; Envoy from %d to at most %.0f MiB", count, cut, result,
		before.envoy, peak)
	return seen, unharmed(result, 300)
}

// headerBombs sends three bombs from each of several connections at once: many small cookies, headers that are
// references to one large entry of the table, and a header block that never ends.
func headerBombs(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(1))
	if err != nil {
		return "", err
	}
	before, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(300, 1000)), host(0))
	rounds, sent := f.size(10, 300), 0
	for range rounds {
		for _, bomb := range []func(*http2.Framer) error{cookieBomb, tableBomb, endlessBomb} {
			n, err := in.bomb(ctx, bomb)
			if err != nil {
				return "", err
			}
			sent += n
		}
	}
	peak, err := peakOf(ctx, in.envoyPID)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d bombs, %d KiB, %v; Envoy from %d to at most %.0f MiB", 3*rounds, sent>>10, result,
		before.envoy, peak)
	if int(peak) > before.envoy+100 {
		return seen, broken("Envoy has grown")
	}
	return seen, unharmed(result, 100)
}

// counted counts what is written.
type counted struct {
	net.Conn
	n *int
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	*c.n += n
	return n, err
}

// bomb opens a connection, speaks HTTP/2 on it and sends a bomb. That Envoy hangs up is as good as any other answer.
func (in *instance) bomb(ctx context.Context, send func(*http2.Framer) error) (sent int, err error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", in.address())
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second))
	out := counted{conn, &sent}
	if _, err := out.Write([]byte(http2.ClientPreface)); err != nil {
		return sent, err
	}
	framer := http2.NewFramer(out, conn)
	if err := framer.WriteSettings(); err != nil {
		return sent, err
	}
	if send(framer) == nil {
		// Long enough for what it does to Envoy; a header block without an end has no answer.
		_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		for range 20 {
			if _, err := framer.ReadFrame(); err != nil {
				break // it was cut off
			}
		}
	}
	return sent, nil
}

// headerBlock encodes the headers of a request for the first host, and others.
func headerBlock(others func(write func(name, value string))) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	write := func(name, value string) {
		_ = encoder.WriteField(hpack.HeaderField{Name: name, Value: value}) // a buffer takes everything
	}
	write(":method", "GET")
	write(":scheme", "http")
	write(":path", "/")
	write(":authority", host(0))
	others(write)
	return block.Bytes()
}

// sendHeaders sends a header block on a number of streams, in frames as large as all take.
func sendHeaders(framer *http2.Framer, block []byte, streams int, end bool) error {
	const most = 16 << 10
	for i := range streams {
		id := uint32(2*i + 1) //nolint:gosec // a few
		rest := block
		first := rest[:min(most, len(rest))]
		rest = rest[len(first):]
		err := framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: id, BlockFragment: first, EndStream: true, EndHeaders: end && len(rest) == 0,
		})
		for err == nil && len(rest) > 0 {
			next := rest[:min(most, len(rest))]
			rest = rest[len(next):]
			err = framer.WriteContinuation(id, end && len(rest) == 0, next)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func cookieBomb(framer *http2.Framer) error {
	block := headerBlock(func(write func(name, value string)) {
		for i := range 5000 {
			write("cookie", fmt.Sprintf("c%d=%d", i%10, i%10))
		}
	})
	return sendHeaders(framer, block, 20, true)
}

// tableBomb names a large entry of the compression table again and again: each time costs a byte.
func tableBomb(framer *http2.Framer) error {
	large := string(bytes.Repeat([]byte("x"), 3000))
	block := headerBlock(func(write func(name, value string)) {
		for range 10_000 {
			write("x-large", large)
		}
	})
	return sendHeaders(framer, block, 1, true)
}

func endlessBomb(framer *http2.Framer) error {
	block := headerBlock(func(write func(name, value string)) {
		for i := range 2000 {
			write(fmt.Sprintf("x-%d", i), "value")
		}
	})
	return sendHeaders(framer, block, 1, false)
}

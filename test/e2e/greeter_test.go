package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// greet starts a backend on both transports of one port. To a connection it says its name, and then everything that it
// is told; a datagram it answers with its name. With a certificate its connections are TLS.
func greet(t *testing.T, name string, cert *tls.Certificate) int {
	t.Helper()
	listener, packets := listenBoth(t)
	t.Cleanup(func() { _ = errors.Join(listener.Close(), packets.Close()) })
	port := listener.Addr().(*net.TCPAddr).Port
	if cert != nil {
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{*cert}})
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				if _, err := fmt.Fprintln(conn, name); err == nil {
					_, _ = io.Copy(conn, conn)
				}
			}()
		}
	}()
	go func() {
		buffer := make([]byte, 2048)
		for {
			_, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			_, _ = packets.WriteTo([]byte(name), from)
		}
	}()
	return port
}

// listenBoth listens on a TCP and a UDP port of the same number.
func listenBoth(t *testing.T) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 20 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", listener.Addr().String())
		if err == nil {
			return listener, packets
		}
		_ = listener.Close()
	}
	t.Fatal("no number is free as a TCP and a UDP port")
	return nil, nil
}

// call is an open connection to a greeter, by way of the gateway.
type call struct {
	net.Conn
	lines *bufio.Reader
	// name is who answered.
	name string
	peer *tls.ConnectionState
}

// dial connects to a port of the gateway, by TLS if there is a configuration, and reads who is there. It fails if the
// connection is refused, or ended before that.
func (in *instance) dial(ctx context.Context, port string, config *tls.Config) (*call, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", in.address(port))
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return nil, err
	}
	c := &call{Conn: conn}
	if config != nil {
		secure := tls.Client(conn, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		state := secure.ConnectionState()
		c.Conn, c.peer = secure, &state
	}
	c.lines = bufio.NewReader(c.Conn)
	line, err := c.lines.ReadString('\n')
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("nobody is there: %w", err)
	}
	c.name = strings.TrimSpace(line)
	return c, nil
}

// said sends a line and expects it back: the connection still works.
func (c *call) said(text string) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(c, text); err != nil {
		return err
	}
	line, err := c.lines.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != text {
		err = fmt.Errorf("got %q back, want %q", line, text)
	}
	return err
}

// answers says who answers a new connection, "" if it is refused.
func (in *instance) answers(ctx context.Context, port string, config *tls.Config) string {
	c, err := in.dial(ctx, port, config)
	if err != nil {
		return ""
	}
	_ = c.Close()
	return c.name
}

// wantAnswer connects until the right one answers: a change needs a moment to be live.
func (in *instance) wantAnswer(t *testing.T, port string, config *tls.Config, want string) {
	t.Helper()
	eventually(t, func() error {
		if got := in.answers(t.Context(), port, config); got != want {
			return fmt.Errorf("%q answers, want %q", got, want)
		}
		return nil
	})
}

// unanswered is how long a test waits for an answer to a datagram that may get none: long on one machine.
const unanswered = 50 * time.Millisecond

// datagram sends a datagram from a new socket to the gateway, and says who answers within the time, "" for nobody.
func (in *instance) datagram(port string, patience time.Duration) string {
	conn, err := net.Dial("udp", in.address(port))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	return exchange(conn, patience)
}

func exchange(conn net.Conn, patience time.Duration) string {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err.Error()
	}
	if _, err := conn.Write([]byte("who is there?")); err != nil {
		return err.Error()
	}
	buffer := make([]byte, 2048)
	n, err := conn.Read(buffer)
	if err != nil {
		return ""
	}
	return string(buffer[:n])
}

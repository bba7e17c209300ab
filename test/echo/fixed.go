package echo

import (
	"bytes"
	"errors"
	"net"
)

// fixedReply is the whole answer of [ServeFixed].
var fixedReply = []byte("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n")

var benchmarks = net.IPNet{IP: net.IPv4(198, 18, 0, 0), Mask: net.CIDRMask(15, 32)}

// ServeFixed answers every HTTP/1.1 request on the listener's connections with the same few bytes, without parsing more
// than it must, so that a benchmark measures the gateway and not its backend. Requests must have no body. It takes
// connections on addresses of this machine alone, which are loopback ones and, in a network namespace that has them,
// those that are set aside for benchmarks (198.18.0.0/15, RFC 2544), and returns when the listener is closed.
func ServeFixed(l net.Listener) error {
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if local, ok := conn.LocalAddr().(*net.TCPAddr); ok && !local.IP.IsLoopback() && !benchmarks.Contains(local.IP) {
			_ = conn.Close()
			continue
		}
		go serveFixed(conn)
	}
}

func serveFixed(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	end := []byte("\r\n\r\n")
	buf := make([]byte, 0, 16<<10)
	for {
		n, err := conn.Read(buf[len(buf):cap(buf)])
		if err != nil {
			return
		}
		buf = buf[:len(buf)+n]
		for {
			i := bytes.Index(buf, end)
			if i < 0 {
				break
			}
			buf = append(buf[:0], buf[i+len(end):]...)
			if _, err := conn.Write(fixedReply); err != nil {
				return
			}
		}
		if len(buf) == cap(buf) {
			return // A header block larger than any that the benchmarks send.
		}
	}
}

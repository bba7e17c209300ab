// Package load sends HTTP/1.1 requests and measures what comes of them. It costs little enough that on a small machine
// the gateway is measured and not the client, and it counts every request that is not answered with 200.
package load

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// timeout bounds every request, so that a gateway that stops answering is seen as failures and not as a pause.
const timeout = 10 * time.Second

// Request is a request without a body, as bytes.
type Request []byte

// NewRequest returns a GET request with keep-alive.
func NewRequest(host, path string, header map[string]string) Request {
	var b bytes.Buffer
	fmt.Fprintf(&b, "GET %s HTTP/1.1\r\nhost: %s\r\n", path, host)
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(&b, "%s: %s\r\n", name, header[name])
	}
	b.WriteString("\r\n")
	return b.Bytes()
}

// Conn is one connection to a gateway, reconnected when the gateway ends it in good order.
type Conn struct {
	address string
	conn    net.Conn
	r       *bufio.Reader
}

// NewConn returns a connection to an address, which is dialled at the first request.
func NewConn(address string) *Conn { return &Conn{address: address} }

// Close closes the connection. It can be used again.
func (c *Conn) Close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// Do sends a request and returns the status of the answer, whose body it discards. After an error the connection is
// closed and the next request dials anew.
func (c *Conn) Do(req Request) (int, error) {
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return 0, err
		}
	}
	status, closing, err := c.roundTrip(req)
	if err != nil || closing {
		c.Close()
	}
	return status, err
}

func (c *Conn) dial() error {
	conn, err := net.DialTimeout("tcp", c.address, timeout)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	c.conn = conn
	if c.r == nil {
		c.r = bufio.NewReaderSize(conn, 16<<10)
	}
	c.r.Reset(conn)
	return nil
}

func (c *Conn) roundTrip(req Request) (status int, closing bool, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(timeout)); err != nil {
		return 0, false, err
	}
	if _, err := c.conn.Write(req); err != nil {
		return 0, false, fmt.Errorf("send: %w", err)
	}
	status, length, closing, err := c.head()
	if err != nil {
		return 0, false, fmt.Errorf("receive: %w", err)
	}
	if _, err := c.r.Discard(length); err != nil {
		return 0, false, fmt.Errorf("receive body: %w", err)
	}
	return status, closing, nil
}

// head reads the head of an answer.
func (c *Conn) head() (status, length int, closing bool, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, 0, false, err
	}
	if len(line) < 12 {
		return 0, 0, false, fmt.Errorf("malformed status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, false, fmt.Errorf("malformed status line %q", line)
	}
	length = -1
	if status == 204 || status == 304 {
		length = 0
	}
	for {
		line, err = c.r.ReadSlice('\n')
		if err != nil {
			return 0, 0, false, err
		}
		name, value, ok := strings.Cut(strings.TrimRight(string(line), "\r\n"), ":")
		if !ok {
			break
		}
		switch value = strings.TrimSpace(value); strings.ToLower(name) {
		case "content-length":
			if length, err = strconv.Atoi(value); err != nil {
				return 0, 0, false, fmt.Errorf("malformed content-length %q", value)
			}
		case "connection":
			closing = strings.EqualFold(value, "close")
		}
	}
	if length < 0 {
		return 0, 0, false, errors.New("the answer has no content-length")
	}
	return status, length, closing, nil
}

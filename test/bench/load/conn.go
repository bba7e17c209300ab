// Package load sends HTTP/1.1 requests and measures what comes of them. It costs little enough that on a small machine
// the gateway is measured and not the client, and it counts every request that is not answered with 200.
package load

import (
	"bufio"
	"bytes"
	"context"
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

// Dial connects to an address, as [net.Dialer.DialContext] does.
type Dial func(ctx context.Context, network, address string) (net.Conn, error)

// Conn is one connection to a gateway, reconnected when the gateway ends it in good order.
type Conn struct {
	address string
	open    Dial
	// body is what the body of each answer with status 200 must hold.
	body []byte
	conn net.Conn
	r    *bufio.Reader
}

// ErrOther is the error for an answer with status 200 that another backend gave than was expected.
var ErrOther = errors.New("another backend answered")

// NewConn returns a connection to an address, which is dialled at the first request.
func NewConn(address string) *Conn { return &Conn{address: address, open: new(net.Dialer).DialContext} }

// Use has the connection dialled otherwise than by an ordinary dialer, unless dial is nil, and answers with status 200
// checked for a text that their body must hold, unless it is empty. It must come before the first request.
func (c *Conn) Use(dial Dial, body string) {
	if dial != nil {
		c.open = dial
	}
	c.body = []byte(body)
}

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
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := c.open(ctx, "tcp", c.address)
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
	if len(c.body) == 0 || status != 200 {
		if _, err := c.r.Discard(length); err != nil {
			return 0, false, fmt.Errorf("receive body: %w", err)
		}
		return status, closing, nil
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return 0, false, fmt.Errorf("receive body: %w", err)
	}
	if !bytes.Contains(body, c.body) {
		return 0, false, ErrOther
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

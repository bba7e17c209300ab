package main

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
)

// Statuses tell backends apart: the client reads nothing else of an answer.
const (
	statusOK    = http.StatusOK
	statusOther = http.StatusCreated
)

// backends are HTTP servers in the bench's own process. All Services have their endpoints there.
type backends struct {
	// ok answers with statusOK, other with statusOther; spare are three more that answer with statusOK.
	ok, other int
	spare     []int
	servers   []*http.Server
}

func newBackends(ip string) (*backends, error) {
	b := new(backends)
	for i, status := range []int{statusOK, statusOther, statusOK, statusOK, statusOK} {
		port, err := b.serve(ip, status)
		if err != nil {
			b.close()
			return nil, fmt.Errorf("start a backend: %w", err)
		}
		switch i {
		case 0:
			b.ok = port
		case 1:
			b.other = port
		default:
			b.spare = append(b.spare, port)
		}
	}
	return b, nil
}

func (b *backends) serve(ip string, status int) (port int, err error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return 0, err
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
	})}
	b.servers = append(b.servers, s)
	go func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			panic(err) // the benchmark is nothing without its backends
		}
	}()
	return l.Addr().(*net.TCPAddr).Port, nil
}

func (b *backends) close() {
	for _, s := range b.servers {
		_ = s.Close()
	}
}

// seen counts the statuses that came before the one that was waited for; 0 is a broken connection.
type seen map[int]int

// merge adds another's counts.
func (s seen) merge(o seen) {
	for status, n := range o {
		s[status] += n
	}
}

// unexpected are all but 404, which says that a route is not there yet.
func (s seen) unexpected() int {
	n := 0
	for status, count := range s {
		if status != http.StatusNotFound {
			n += count
		}
	}
	return n
}

func (s seen) String() string {
	var parts []string
	for status := range 600 {
		if n := s[status]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d x %d", n, status))
		}
	}
	if parts == nil {
		return "nothing else"
	}
	return strings.Join(parts, ", ")
}

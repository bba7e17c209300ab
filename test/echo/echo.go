// Package echo is the backend of Sluice's tests, benchmarks and examples: a server that answers each request with what
// it received of it.
//
// One port speaks HTTP/1.1, HTTP/2 with prior knowledge (h2c), WebSocket and gRPC, so that a test chooses the protocol
// by what it asks of the gateway and not by where it sends it.
package echo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"sync"
	"time"

	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
)

// Reply is the JSON body that a request is answered with: the request as the server received it.
type Reply struct {
	// Name is the name of the server, which tells backends apart.
	Name string `json:"name"`
	// Local is the address that the request arrived at: an IP and port, or the path of a Unix socket.
	Local string `json:"local"`
	// Host is the host that the request was for, from Host or :authority.
	Host string `json:"host"`
	// Method is the request's method.
	Method string `json:"method"`
	// Path is the path as sent, still escaped, without the query.
	Path string `json:"path"`
	// Query holds the query parameters.
	Query url.Values `json:"query"`
	// Headers holds the headers by canonical name, without Host.
	Headers http.Header `json:"headers"`
	// Proto is the protocol, "HTTP/1.1" or "HTTP/2.0".
	Proto string `json:"proto"`
	// Body is the request's body, of which at most 1 MiB is kept.
	Body string `json:"body,omitempty"`
}

// Server is a running echo server. Its methods are safe for concurrent use.
type Server struct {
	name     string
	listener net.Listener
	http     *http.Server
	grpc     *grpc.Server
	ws       http.Handler

	mu       sync.Mutex
	received map[string]int
	failures map[string]int
}

// Listen starts a server on a TCP address, for example "127.0.0.1:0". It returns an error if the address cannot be
// listened on.
func Listen(name, address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start echo server %q: %w", name, err)
	}
	return Serve(name, l), nil
}

// ListenUnix starts a server on a Unix socket, in whose place there may be one that an earlier run left behind.
func ListenUnix(name, path string) (*Server, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("start echo server %q: %w", name, err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("start echo server %q: %w", name, err)
	}
	return Serve(name, l), nil
}

// Serve starts a server on a listener, which it closes at [Server.Close].
func Serve(name string, l net.Listener) *Server {
	s := &Server{
		name:     name,
		listener: l,
		grpc:     newGRPC(name),
		ws:       websocket.Server{Handler: echoFrames},
		received: map[string]int{},
		failures: map[string]int{},
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	s.http = &http.Server{Handler: s.handler(), Protocols: protocols, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = s.http.Serve(l) }()
	return s
}

// Name returns the name that the server answers with.
func (s *Server) Name() string { return s.name }

// Addr returns the address that the server listens on.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Port returns the TCP port that the server listens on, 0 for a Unix socket.
func (s *Server) Port() int {
	if a, ok := s.Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Received returns how many requests with a path the server has received: how a test sees what was mirrored.
func (s *Server) Received(path string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.received[path]
}

// Close stops the server at once. Requests in flight are cut.
func (s *Server) Close() error {
	s.grpc.Stop()
	return s.http.Close()
}

// reply describes a request.
func (s *Server) reply(r *http.Request, body string) Reply {
	local := ""
	if a, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		local = a.String()
	}
	return Reply{
		Name: s.name, Local: local, Host: r.Host, Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.Query(),
		Headers: r.Header, Proto: r.Proto, Body: body,
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n'))
}

// sleep waits, unless the client goes away before.
func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

package echo

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
)

func start(t *testing.T) *Server {
	t.Helper()
	s, err := Listen("one", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func get(t *testing.T, client *http.Client, url string, header http.Header) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

func clients() map[string]*http.Client {
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	return map[string]*http.Client{
		"HTTP/1.1": {Timeout: 5 * time.Second},
		"HTTP/2.0": {Timeout: 5 * time.Second, Transport: &http.Transport{Protocols: h2c}},
	}
}

func TestReply(t *testing.T) {
	s := start(t)
	for proto, client := range clients() {
		t.Run(proto, func(t *testing.T) {
			url := fmt.Sprintf("http://%s/a%%2Fb?x=1", s.Addr())
			status, header, body := get(t, client, url, http.Header{
				"X-Custom": {"yes"}, SetHeader: {"x-answer: 42"}, "User-Agent": {"test"}, "Accept-Encoding": {"identity"},
			})
			if status != http.StatusOK || header.Get("X-Answer") != "42" {
				t.Errorf("got status %d and x-answer %q", status, header.Get("X-Answer"))
			}
			var got Reply
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			want := Reply{
				Name: "one", Local: s.Addr().String(), Host: s.Addr().String(), Method: "GET", Path: "/a%2Fb",
				Query: map[string][]string{"x": {"1"}}, Proto: proto,
				Headers: http.Header{
					"X-Custom": {"yes"}, SetHeader: {"x-answer: 42"}, "User-Agent": {"test"}, "Accept-Encoding": {"identity"},
				},
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("reply (-want +got):\n%s", diff)
			}
		})
	}
	if got := s.Received("/a/b"); got != 2 {
		t.Errorf("Received = %d, want 2", got)
	}
}

func TestPaths(t *testing.T) {
	s := start(t)
	bearer := http.Header{"Authorization": {"Bearer let-me-in"}}
	tests := []struct {
		path   string
		header http.Header
		status int
	}{
		{path: "/status/418", status: 418},
		{path: "/status/42", status: 400},
		{path: "/retry/a?succeedAfter=2", status: 503},
		{path: "/retry/a?succeedAfter=2&status=502", status: 502},
		{path: "/retry/a?succeedAfter=2", status: 200},
		{path: "/retry/b?succeedAfter=x", status: 400},
		{path: "/auth/any/path", status: 401},
		{path: "/auth/any/path", header: bearer, status: 200},
		{path: "//double/./path", status: 200},
	}
	for _, tt := range tests {
		status, _, body := get(t, http.DefaultClient, fmt.Sprintf("http://%s%s", s.Addr(), tt.path), tt.header)
		if status != tt.status {
			t.Errorf("GET %s: got %d %s, want %d", tt.path, status, body, tt.status)
		}
	}
}

func TestDelayAndStream(t *testing.T) {
	s := start(t)
	begin := time.Now()
	_, _, body := get(t, http.DefaultClient, fmt.Sprintf("http://%s/stream?n=3&every=20ms&delay=50ms", s.Addr()), nil)
	if want := "one 0\none 1\none 2\n"; body != want {
		t.Errorf("got %q, want %q", body, want)
	}
	if took := time.Since(begin); took < 90*time.Millisecond {
		t.Errorf("took %v, want at least 90ms", took)
	}
}

func TestUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "echo.sock")
	for range 2 { // The second finds the socket of the first.
		s, err := ListenUnix("sock", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		client := &http.Client{Transport: &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) { return net.Dial("unix", path) },
		}}
		if status, _, body := get(t, client, "http://any/", nil); status != 200 || !strings.Contains(body, `"sock"`) {
			t.Errorf("got %d %s", status, body)
		}
	}
}

func TestWebSocket(t *testing.T) {
	s := start(t)
	conn, err := websocket.Dial(fmt.Sprintf("ws://%s/ws", s.Addr()), "", "http://any/")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	var got string
	if err := websocket.Message.Send(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := websocket.Message.Receive(conn, &got); err != nil || got != "hello" {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGRPC(t *testing.T) {
	s := start(t)
	conn, err := grpc.NewClient(s.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	res, err := testpb.NewTestServiceClient(conn).UnaryCall(ctx, &testpb.SimpleRequest{
		Payload: &testpb.Payload{Body: []byte("hi")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if res.GetServerId() != "one" || string(res.GetPayload().GetBody()) != "hi" {
		t.Errorf("got %v", res)
	}
}

func TestServeFixed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- ServeFixed(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nhost: a\r\n\r\n", 2)); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	for range 2 {
		res, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(res.Body); err != nil || string(body) != "ok\n" {
			t.Errorf("got %q, %v", body, err)
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("ServeFixed: %v", err)
	}
}

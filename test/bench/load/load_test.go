package load

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
)

func TestRunCounts(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) {
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 5:
			panic(http.ErrAbortHandler) // Closes the connection without an answer.
		case 7:
			w.Header().Set("Connection", "close")
		case 9:
			w.WriteHeader(http.StatusNoContent)
		}
	}))
	t.Cleanup(server.Close)
	server.Config.ErrorLog = nil
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for n.Load() < 20 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	got := Run(ctx, Config{
		Address: server.Listener.Addr().String(), Requests: []Request{NewRequest("a", "/", nil)}, Conns: 2, Rate: 2000,
	})
	if got.Failed() != 3 || got.Failures["status 503"] != 1 || got.Failures["status 204"] != 1 {
		t.Errorf("got %v, want one 503, one 204 and one cut connection", got)
	}
	if len(got.Latencies) != got.Sent-3 || !slices.IsSorted(got.Latencies) {
		t.Errorf("got %d sorted latencies of %d requests", len(got.Latencies), got.Sent)
	}
}

func TestRequestsInTurn(t *testing.T) {
	s, err := echo.Listen("one", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	stop := Start(Config{
		Address:  s.Addr().String(),
		Requests: []Request{NewRequest("a", "/x", nil), NewRequest("a", "/y", map[string]string{"k": "v"})},
		Conns:    1,
	})
	for s.Received("/y") < 2 {
		time.Sleep(time.Millisecond)
	}
	got := stop()
	if got.Failed() != 0 {
		t.Error(got)
	}
	if x, y := s.Received("/x"), s.Received("/y"); x != y && x != y+1 {
		t.Errorf("got %d requests of /x and %d of /y, want them in turn", x, y)
	}
}

func TestOtherBackend(t *testing.T) {
	s, err := echo.Listen("one", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var dialled atomic.Int64
	config := Config{
		Address: "gateway.example:80", Requests: []Request{NewRequest("a", "/", nil)}, Conns: 1,
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			dialled.Add(1)
			return new(net.Dialer).DialContext(ctx, network, s.Addr().String())
		},
	}
	for body, right := range map[string]bool{`"name":"one"`: true, `"name":"two"`: false} {
		config.Body = body
		before := s.Received("/")
		stop := Start(config)
		for s.Received("/") < before+3 {
			time.Sleep(time.Millisecond)
		}
		got := stop()
		if wrong := got.Failures[ErrOther.Error()]; right && got.Failed() > 0 || !right && wrong != got.Sent {
			t.Errorf("%s: %v", body, got)
		}
	}
	if dialled.Load() < 2 {
		t.Errorf("dialled %d times by the dialer that was given", dialled.Load())
	}
}

func TestRefused(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = NewConn(l.Addr().String()).Do(NewRequest("a", "/", nil))
	if err == nil || !strings.HasPrefix(err.Error(), "connect: ") {
		t.Errorf("got %v, want an error of connect", err)
	}
}

func TestQuantile(t *testing.T) {
	r := Result{Latencies: []time.Duration{1, 2, 3, 4}}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := r.Quantile(q); got != want {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
	if got := (Result{}).Quantile(0.5); got != 0 {
		t.Errorf("Quantile of nothing = %v", got)
	}
}

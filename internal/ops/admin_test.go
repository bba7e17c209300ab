package ops_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/xds"
)

func TestAdmin(t *testing.T) {
	metrics := ops.NewMetrics()
	metrics.Stage("compute", 3*time.Millisecond)
	metrics.Computed(incr.Result{
		Tables: []incr.TableWork{{Table: "routes", Recomputed: 7}}, Faults: []incr.Fault{{Table: "routes", Key: "r"}},
	})
	metrics.Problems(2)
	for _, e := range []xds.Event{
		{Kind: xds.Connected},
		{Kind: xds.Pushed, Type: xds.Routes, Bytes: 100, Resources: 3},
		{Kind: xds.Acked, Type: xds.Routes},
		{Kind: xds.Rejected, Type: xds.Cluster},
		{Kind: xds.Live, Took: time.Millisecond},
	} {
		metrics.Observe(e)
	}
	notReady := errors.New("not yet")
	admin := &ops.Admin{
		Metrics: metrics.Registry(),
		Ready:   func() error { return notReady },
		Status:  func() (any, error) { return []string{"gateway"}, nil },
		Config:  func() (any, error) { return nil, errors.New("broken") },
	}
	tests := []struct {
		path, host string
		code       int
		want       []string
	}{
		{"/healthz", "127.0.0.1:19000", 200, []string{"ok"}},
		{"/readyz", "localhost:19000", 503, []string{"not yet"}},
		{"/status", "[::1]:19000", 200, []string{`"gateway"`}},
		{"/config", "127.0.0.1", 500, []string{"broken"}},
		{"/metrics", "127.0.0.1", 200, []string{
			`sluice_recomputed_keys_total{table="routes"} 7`, "sluice_faults_total 1", "sluice_problems 2",
			`sluice_xds_pushed_bytes_total{type="routes"} 100`, `sluice_xds_pushed_resources_total{type="routes"} 3`,
			`sluice_xds_acks_total{type="routes"} 1`, `sluice_xds_nacks_total{type="cluster"} 1`, "sluice_xds_connected 1",
			`sluice_xds_ack_duration_seconds_count{type="routes"} 1`,
			`sluice_stage_duration_seconds_count{stage="compute"} 1`, "sluice_live_duration_seconds_count 1",
		}},
		{"/nothing", "127.0.0.1", 404, nil},
		// A page in a browser that has its own name resolved to loopback.
		{"/status", "attacker.example:19000", 403, []string{"loopback"}},
		{"/status", "192.0.2.1", 403, []string{"loopback"}},
	}
	for _, tt := range tests {
		t.Run(tt.host+tt.path, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			r.Host = tt.host
			w := httptest.NewRecorder()
			admin.Handler().ServeHTTP(w, r)
			if w.Code != tt.code {
				t.Errorf("answers %d, want %d", w.Code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("the answer lacks %q:\n%s", want, w.Body)
				}
			}
		})
	}
	notReady = nil
	w := httptest.NewRecorder()
	admin.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://localhost/readyz", nil))
	if w.Code != 200 {
		t.Errorf("/readyz answers %d once it is ready", w.Code)
	}
}

// In a cluster the kubelet and Prometheus get in from outside, and nobody else gets at anything else.
func TestA47PublicHealth(t *testing.T) {
	admin := &ops.Admin{
		Metrics: ops.NewMetrics().Registry(), Public: true, Ready: func() error { return nil },
		Config: func() (any, error) { return "secret", nil },
	}
	for _, tt := range []struct {
		path, local string
		code        int
	}{
		{"/healthz", "10.0.0.1", 200}, {"/readyz", "10.0.0.1", 200}, {"/metrics", "10.0.0.1", 200},
		{"/config", "10.0.0.1", 403}, {"/debug/pprof/", "10.0.0.1", 403}, {"//config", "10.0.0.1", 403},
		{"/config", "127.0.0.1", 200},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://localhost"+tt.path, nil)
		at := &net.TCPAddr{IP: net.ParseIP(tt.local)}
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, at))
		w := httptest.NewRecorder()
		admin.Handler().ServeHTTP(w, r)
		if w.Code != tt.code {
			t.Errorf("%s at %s answers %d, want %d", tt.path, tt.local, w.Code, tt.code)
		}
	}
}

func TestA47ListenIsForLoopbackOnly(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.com:0", "127.0.0.1"} {
		if l, err := ops.Listen(address); err == nil {
			_ = l.Close()
			t.Errorf("%s is listened on", address)
		}
	}
}

func TestServeEndsWithItsContext(t *testing.T) {
	l, err := ops.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&ops.Admin{Metrics: ops.NewMetrics().Registry()}).Serve(ctx, l) }()
	resp, err := http.Get("http://" + l.Addr().String() + "/healthz")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "ok\n" {
		t.Errorf("answers %q", body)
	}
	if _, err := ops.Listen(l.Addr().String()); err == nil || !strings.Contains(err.Error(), "--admin-address") {
		t.Errorf("a second one on the address says %v, want what to do", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

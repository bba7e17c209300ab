package ops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Admin is the admin API of a running Sluice. It has no authentication: it is for loopback only, but for health and
// metrics if it is Public.
//
//	GET /healthz   200 while the process works
//	GET /readyz    200 once the first configuration is live in Envoy, else 503 and why not
//	GET /metrics   Prometheus metrics
//	GET /status    the objects and their statuses, as a JSON list
//	GET /config    the xDS resources as they are served, as JSON
//	GET /debug/pprof/  Go's profiles, for go tool pprof
type Admin struct {
	// Metrics are what /metrics answers with; without it, with 404.
	Metrics prometheus.Gatherer
	// Public has /healthz, /readyz and /metrics answered to everybody.
	Public bool
	// Ready returns nil once the first configuration is live.
	Ready func() error
	// Status returns the objects with their statuses, Config the resources. Both are marshalled as JSON. A process that
	// has neither serves neither.
	Status func() (any, error)
	Config func() (any, error)
}

// Handler returns the API as an HTTP handler.
func (a *Admin) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = fmt.Fprintln(w, "ok")
	})
	if a.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(a.Metrics, promhttp.HandlerOpts{}))
	}
	if a.Status != nil {
		mux.HandleFunc("GET /status", serveJSON(a.Status))
	}
	if a.Config != nil {
		mux.HandleFunc("GET /config", serveJSON(a.Config))
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	if a.Public {
		return publicHealth(mux, loopbackOnly(mux))
	}
	return loopbackOnly(mux)
}

// publicHealth serves health and metrics to everybody, and all else to connections over loopback: those of kubectl
// port-forward are.
func publicHealth(health, all http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthz", "/readyz", "/metrics":
			health.ServeHTTP(w, r)
			return
		}
		address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
		if !ok || !address.IP.IsLoopback() {
			http.Error(w, "only health and metrics are answered here; the rest on loopback: use kubectl port-forward",
				http.StatusForbidden)
			return
		}
		all.ServeHTTP(w, r)
	})
}

// loopbackOnly refuses what a browser sends on behalf of a page from elsewhere: a name that resolves to loopback (DNS
// rebinding) carries its own name in Host.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "the admin API answers requests for loopback addresses only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func serveJSON(get func() (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		v, err := get()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v)
	}
}

// Serve answers on the listener until the context ends. It returns nil when it was ended that way.
func (a *Admin) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{Handler: a.Handler(), ReadHeaderTimeout: 5 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin API: %w", err)
	}
	return nil
}

// Listen opens the admin API's socket. An address that is not loopback is refused.
func Listen(address string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("admin address %q: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("admin address %q: must be a loopback address, the admin API has no authentication", address)
	}
	return ListenPublic(address)
}

// ListenPublic opens the socket of an admin API that is [Admin.Public], on any address.
func ListenPublic(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("admin API: %w: is another sluice running? Choose another --admin-address", err)
	}
	return l, nil
}

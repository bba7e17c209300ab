package shutdown_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/fleet/shutdown"
)

const bootstrap = `
node: {id: a, cluster: b}
admin: {address: {pipe: {path: %[1]q}}}
static_resources:
  listeners:
  - name: users
    address: {socket_address: {address: 127.0.0.1, port_value: %[2]d}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: users
          http_filters:
          - name: router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes: [{match: {prefix: /}, route: {cluster: backend, timeout: 0s}}]
  clusters:
  - name: backend
    load_assignment:
      cluster_name: backend
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %[3]d}}}}]}]
`

// envoy is a running Envoy before a backend whose answers to /slow wait.
type envoy struct {
	t       *testing.T
	url     string
	admin   local.Admin
	release chan struct{}
}

func start(t *testing.T) *envoy {
	t.Helper()
	e := &envoy{t: t, release: make(chan struct{})}
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			select {
			case <-e.release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "answer")
	}))
	t.Cleanup(backend.Close)
	// A path of its own: that of a Unix socket must not be long.
	dir, err := os.MkdirTemp("", "sluice")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port := freePort(t)
	e.url, e.admin = fmt.Sprintf("http://127.0.0.1:%d", port), local.Admin{Socket: filepath.Join(dir, "admin.sock")}
	config := filepath.Join(dir, "bootstrap.yaml")
	text := fmt.Sprintf(bootstrap, e.admin.Socket, port, backend.Listener.Addr().(*net.TCPAddr).Port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(envoytest.Binary(t), "--config-path", config, "--disable-hot-restart", "--log-level", "error",
		"--concurrency", "1", "--drain-strategy", "immediate", "--drain-time-s", "30")
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	wait(t, "Envoy is ready", func() bool { return e.admin.Ready(t.Context()) == nil })
	return e
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	return l.Addr().(*net.TCPAddr).Port
}

func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
	}
}

// shut starts a shutdown manager, with somebody waiting at DrainedPath as the preStop hook does. terminate is what
// Kubernetes does; the channels say what came of it.
func (e *envoy) shut(drain fleet.Drain) (terminate func(), drained, ended chan error) {
	e.t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	e.t.Cleanup(cancel)
	drained, ended = make(chan error, 1), make(chan error, 1)
	m := &shutdown.Manager{Admin: e.admin, Drain: drain}
	go func() { ended <- m.Serve(ctx, listener) }()
	go func() {
		response, err := http.Get("http://" + listener.Addr().String() + kube.DrainedPath) //nolint:noctx // as the kubelet
		if err == nil {
			err = response.Body.Close()
		}
		drained <- err
	}()
	return cancel, drained, ended
}

// load sends requests until it is stopped, from clients that keep connections and from ones that do not.
type load struct {
	stop           chan struct{}
	done           sync.WaitGroup
	answered, told atomic.Int64
	mu             sync.Mutex
	lost           []error
}

func (e *envoy) load() *load {
	l := &load{stop: make(chan struct{})}
	for i := range 4 {
		transport := &http.Transport{DisableKeepAlives: i%2 == 1}
		l.done.Go(func() {
			defer transport.CloseIdleConnections()
			for {
				select {
				case <-l.stop:
					return
				default:
					l.one(transport, e.url)
				}
			}
		})
	}
	return l
}

// one sends one request, a POST: clients repeat no POST by themselves, so that none hides what was lost.
func (l *load) one(transport *http.Transport, url string) {
	client := &http.Client{Transport: transport}
	response, err := client.Post(url, "text/plain", strings.NewReader("x")) //nolint:noctx // it ends
	if err == nil {
		_, err = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.Close && !transport.DisableKeepAlives {
			l.told.Add(1)
		}
		if response.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d", response.StatusCode)
		}
	}
	if err != nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lost = append(l.lost, err)
		return
	}
	l.answered.Add(1)
}

// over ends the load.
func (l *load) over() {
	close(l.stop)
	l.done.Wait()
}

func TestNothingIsLost(t *testing.T) {
	e := start(t)
	terminate, drained, ended := e.shut(fleet.Drain{Timeout: 30 * time.Second, Min: time.Second})
	l := e.load()
	slow := make(chan string, 1)
	go func() {
		response, err := http.Get(e.url + "/slow") //nolint:noctx // it ends
		if err != nil {
			slow <- err.Error()
			return
		}
		text, _ := io.ReadAll(response.Body)
		slow <- string(text)
		_ = response.Body.Close()
	}()
	wait(t, "there is traffic", func() bool { return l.answered.Load() > 50 })
	terminate()
	wait(t, "clients with kept connections are asked to close them", func() bool { return l.told.Load() > 10 })
	// The load goes on: nodes that have not heard yet send new connections.
	wait(t, "the drain goes on", func() bool { return l.told.Load() > 100 })
	l.over()
	select {
	case err := <-drained:
		t.Fatalf("Envoy may end while a request is in flight: %v", err)
	case <-time.After(1500 * time.Millisecond):
	}
	close(e.release)
	if err := <-drained; err != nil {
		t.Errorf("the hook: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the manager: %v", err)
	}
	if got := <-slow; got != "answer" {
		t.Errorf("the slow request got %q", got)
	}
	if len(l.lost) > 0 {
		t.Errorf("%d of %d requests were lost: %v", len(l.lost), l.answered.Load(), l.lost[0])
	}
}

// TestOnlyEnvoy drains an Envoy that has no successor for three times as long as a drain takes at least: one connection
// after the other comes, with nothing open between them, and each has its answer.
func TestOnlyEnvoy(t *testing.T) {
	const least, pause = 500 * time.Millisecond, 100 * time.Millisecond
	e := start(t)
	terminate, drained, ended := e.shut(fleet.Drain{Timeout: 30 * time.Second, Min: least})
	terminate()
	l, transport := &load{}, &http.Transport{DisableKeepAlives: true}
	for began := time.Now(); time.Since(began) < 3*least; {
		l.one(transport, e.url)
		select {
		case err := <-drained:
			t.Fatalf("Envoy may end while connections come: %v", err)
		case <-time.After(pause):
		}
	}
	if len(l.lost) > 0 {
		t.Errorf("%d of %d requests were lost: %v", len(l.lost), l.answered.Load(), l.lost[0])
	}
	quiet := time.Now()
	if err := <-drained; err != nil {
		t.Errorf("the hook: %v", err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the manager: %v", err)
	}
	if took := time.Since(quiet); took > 10*time.Second {
		t.Errorf("Envoy stays for %s though no connection comes", took)
	}
}

// TestNobodyTakesOver: the time to drain ends while clients still connect, and the log says so.
func TestNobodyTakesOver(t *testing.T) {
	e := start(t)
	terminate, drained, ended := e.shut(fleet.Drain{Timeout: 2 * time.Second, Min: 2 * time.Second})
	terminate()
	l, transport := &load{}, &http.Transport{DisableKeepAlives: true}
	for {
		l.one(transport, e.url)
		select {
		case <-drained:
			if err := <-ended; err == nil || !strings.Contains(err.Error(), "clients still connect") {
				t.Errorf("the manager says %v", err)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestDrainTimeout(t *testing.T) {
	e := start(t)
	terminate, drained, ended := e.shut(fleet.Drain{Timeout: time.Second})
	go func() {
		if response, err := http.Get(e.url + "/slow"); err == nil { //nolint:noctx // Envoy is killed
			_ = response.Body.Close()
		}
	}()
	wait(t, "the request is in flight", func() bool {
		traffic, err := e.admin.Traffic(t.Context())
		return err == nil && traffic.Requests == 1
	})
	began := time.Now()
	terminate()
	if err := <-drained; err != nil || time.Since(began) < time.Second {
		t.Errorf("the hook: %v after %s", err, time.Since(began))
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "drainTimeout") {
		t.Errorf("the manager says %v", err)
	}
}

func TestWithoutEnvoy(t *testing.T) {
	e := &envoy{t: t, admin: local.Admin{Socket: filepath.Join(t.TempDir(), "none.sock")}}
	terminate, drained, ended := e.shut(kube.DefaultDrain)
	terminate()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "never started") {
		t.Errorf("the manager says %v", err)
	}
	<-drained
}

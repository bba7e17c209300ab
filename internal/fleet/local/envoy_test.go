package local_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// deadline is for what takes milliseconds, on a machine that is busy with something else.
const deadline = 15 * time.Second

// eventually polls a condition until it holds.
func eventually(t *testing.T, within time.Duration, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(start) > within {
			t.Fatalf("not within %s: %s", within, what)
		}
	}
}

func runtimeDir(t *testing.T) *local.RuntimeDir {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "fleet") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	dir, err := local.OpenRuntimeDir(base)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func fleetConfig(dir *local.RuntimeDir) fleet.Config {
	return fleet.Config{
		Node: "test", Cluster: "test", XDSSocket: dir.XDSSocket(), AdminSocket: dir.AdminSocket(),
	}
}

// staticBootstrap is the real bootstrap, but for its resources: with a listener on port that sends all requests to
// upstream, and no xDS.
func staticBootstrap(t *testing.T, config fleet.Config, port uint32, upstream net.Addr) *bootstrapv3.Bootstrap {
	t.Helper()
	bootstrap, err := fleet.Bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}},
				Action: &routev3.Route_Route{Route: &routev3.RouteAction{
					ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "upstream"},
				}},
			}}}},
		}},
	}
	bootstrap.DynamicResources = nil
	bootstrap.StaticResources = &bootstrapv3.Bootstrap_StaticResources{
		Listeners: []*listenerv3.Listener{{
			Name: "test", Address: address("127.0.0.1", port),
			FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
				Name: "http", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, manager)},
			}}}},
		}},
		Clusters: []*clusterv3.Cluster{{
			Name: "upstream",
			LoadAssignment: &endpointv3.ClusterLoadAssignment{
				ClusterName: "upstream",
				Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
					HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
						Address: address("127.0.0.1", uint32(upstream.(*net.TCPAddr).Port)), //nolint:gosec // a port
					}},
				}}}},
			},
		}},
	}
	return bootstrap
}

// marshalled is a bootstrap as Envoy reads it.
func marshalled(t *testing.T, b *bootstrapv3.Bootstrap) []byte {
	t.Helper()
	out, err := fleet.JSON(b)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func address(ip string, port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: ip, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// freePort returns a port that was free a moment ago.
func freePort(t *testing.T) uint32 {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()                             //nolint:errcheck // nothing was sent
	return uint32(listener.Addr().(*net.TCPAddr).Port) //nolint:gosec // a port
}

// slowUpstream answers /slow only once release is closed, and says on arrived that such a request has come.
type slowUpstream struct {
	*httptest.Server
	arrived, release chan struct{}
}

func newSlowUpstream(t *testing.T) *slowUpstream {
	t.Helper()
	u := &slowUpstream{arrived: make(chan struct{}, 1), release: make(chan struct{})}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			u.arrived <- struct{}{}
			select {
			case <-u.release:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, "answer")
	}))
	t.Cleanup(u.Close)
	return u
}

// running is a started Envoy with what is around it.
type running struct {
	*local.Envoy
	dir      *local.RuntimeDir
	upstream *slowUpstream
	url      string
	crashes  chan local.Crash
	mu       sync.Mutex
	lines    []local.Line
}

func start(t *testing.T, drain time.Duration, changes ...func(*fleet.Config)) *running {
	t.Helper()
	binary := envoytest.Binary(t)
	port := freePort(t)
	r := &running{
		dir: runtimeDir(t), upstream: newSlowUpstream(t), crashes: make(chan local.Crash, 10),
		url: "http://127.0.0.1:" + strconv.Itoa(int(port)),
	}
	config := fleetConfig(r.dir)
	for _, change := range changes {
		change(&config)
	}
	envoy, err := local.Start(t.Context(), local.Config{
		Binary: binary, Dir: r.dir, Concurrency: 1, Drain: fleet.Drain{Timeout: drain},
		Bootstrap: marshalled(t, staticBootstrap(t, config, port, r.upstream.Listener.Addr())),
		OnCrash:   func(c local.Crash) { r.crashes <- c },
		OnLine: func(l local.Line) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.lines = append(r.lines, l)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = envoy.Stop(context.Background()) })
	r.Envoy = envoy
	eventually(t, deadline, "Envoy is ready", func() bool { return envoy.Admin().Ready(t.Context()) == nil })
	return r
}

// get makes one request on a connection of its own.
func get(url string) (string, error) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: deadline}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %s: %s", response.Status, body)
	}
	return string(body), err
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

func TestEnvoyServesAndLeavesNothingBehind(t *testing.T) {
	t.Setenv("SLUICE_TEST_SECRET", "not for Envoy")
	r := start(t, time.Second)
	environment, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", r.Pid()))
	if err != nil || strings.Contains(string(environment), "not for Envoy") {
		t.Errorf("Envoy's environment: %q, %v", environment, err)
	}
	if body, err := get(r.url); body != "answer" || err != nil {
		t.Errorf("answer %q, %v", body, err)
	}
	for path, want := range map[string]os.FileMode{
		r.dir.AdminSocket():                0o600 | os.ModeSocket,
		r.dir.Path() + "/bootstrap.0.json": 0o600,
		r.dir.Path():                       0o700 | os.ModeDir,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %v", path, info, err, want)
		}
	}
	pid := r.Pid()
	if err := r.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if !gone(pid) || r.Pid() != 0 {
		t.Errorf("process %d is still there", pid)
	}
	if left, err := filepath.Glob(r.dir.Path() + "/*.[0-9]*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if again, waited := r.Stop(t.Context()), r.Wait(); again != nil || waited != nil {
		t.Errorf("second Stop: %v, Wait: %v", again, waited)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) != 0 || len(r.crashes) != 0 {
		t.Errorf("an uneventful life gave lines %v and %d crashes", r.lines, len(r.crashes))
	}
}

func TestEnvoyIsBackAfterItsDeath(t *testing.T) {
	r := start(t, time.Second)
	for round := 1; round <= 2; round++ {
		pid, killed := r.Pid(), time.Now()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Second, "Envoy serves again", func() bool {
			body, err := get(r.url)
			return err == nil && body == "answer"
		})
		t.Logf("served again after %s", time.Since(killed).Round(time.Millisecond))
		if r.Pid() == pid {
			t.Errorf("process %d again", pid)
		}
		crash := <-r.crashes
		if crash.InARow != round || !strings.Contains(crash.Error(), "signal: killed") {
			t.Errorf("crash %d in a row: %v; want %d", crash.InARow, crash, round)
		}
	}
}

func TestStopWaitsForRequests(t *testing.T) {
	r := start(t, deadline)
	type answer struct {
		body string
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		body, err := get(r.url + "/slow")
		answers <- answer{body, err}
	}()
	<-r.upstream.arrived
	idle, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close() //nolint:errcheck // nothing is sent

	stopped := make(chan error, 1)
	go func() { stopped <- r.Stop(context.Background()) }()
	eventually(t, deadline, "Envoy drains", func() bool {
		return errors.Is(r.Admin().Ready(t.Context()), local.ErrNotReady)
	})
	// Draining, Envoy still takes new connections.
	if body, err := get(r.url); body != "answer" || err != nil {
		t.Errorf("while draining: %q, %v", body, err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request in flight: %v", err)
	default:
	}
	close(r.upstream.release)
	if got := <-answers; got.body != "answer" || got.err != nil {
		t.Errorf("the request in flight: %q, %v", got.body, got.err)
	}
	begun := time.Now()
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
	// The idle connection is not waited for: that would have taken half of the drain timeout.
	if took := time.Since(begun); took > deadline/2 {
		t.Errorf("stopping took %s", took)
	}
}

func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	r := start(t, 400*time.Millisecond)
	failed := make(chan error, 1)
	go func() {
		_, err := get(r.url + "/slow")
		failed <- err
	}()
	<-r.upstream.arrived
	begun := time.Now()
	if err := r.Stop(t.Context()); !errors.Is(err, local.ErrDrainIncomplete) {
		t.Errorf("Stop: %v, want ErrDrainIncomplete", err)
	}
	if took := time.Since(begun); took < 400*time.Millisecond || took > deadline {
		t.Errorf("Stop took %s", took)
	}
	if err := <-failed; err == nil {
		t.Error("the request that was cut off has an answer")
	}
}

func TestStopWhileEnvoyIsDown(t *testing.T) {
	r := start(t, deadline)
	if err := syscall.Kill(r.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-r.crashes
	if err := r.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if _, err := get(r.url); err == nil {
		t.Error("something still listens")
	}
}

func TestStartReportsWhatEnvoyDoesNotLike(t *testing.T) {
	dir := runtimeDir(t)
	upstream := newSlowUpstream(t)
	bootstrap := staticBootstrap(t, fleetConfig(dir), freePort(t), upstream.Listener.Addr())
	bootstrap.StaticResources.Listeners[0].FilterChains[0].Filters[0].ConfigType = nil
	_, err := local.Start(t.Context(), local.Config{
		Binary: envoytest.Binary(t), Dir: dir, Bootstrap: marshalled(t, bootstrap), Concurrency: 1,
	})
	var crash local.Crash
	const words = "registered implementation for 'http'"
	if !errors.As(err, &crash) || len(crash.Tail) == 0 || !strings.Contains(err.Error(), words) {
		t.Errorf("error %v, want a crash with Envoy's own words", err)
	}
	if left, err := filepath.Glob(dir.Path() + "/*.json"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestStartReportsAnUnusableBinary(t *testing.T) {
	for name, binary := range map[string]string{"missing": "/nonexistent/envoy", "silent": "/bin/false"} {
		t.Run(name, func(t *testing.T) {
			dir := runtimeDir(t)
			upstream := newSlowUpstream(t)
			_, err := local.Start(t.Context(), local.Config{
				Binary: binary, Dir: dir,
				Bootstrap: marshalled(t, staticBootstrap(t, fleetConfig(dir), freePort(t), upstream.Listener.Addr())),
			})
			var crash local.Crash
			if !errors.As(err, &crash) {
				t.Errorf("error %v, want a crash", err)
			}
		})
	}
}

func TestStartGivesUpWithItsContext(t *testing.T) {
	silent := t.TempDir() + "/envoy"
	if err := os.WriteFile(silent, []byte("#!/bin/sh\nexec sleep 600\n"), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	dir := runtimeDir(t)
	upstream := newSlowUpstream(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := local.Start(ctx, local.Config{
		Binary: silent, Dir: dir,
		Bootstrap: marshalled(t, staticBootstrap(t, fleetConfig(dir), freePort(t), upstream.Listener.Addr())),
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, want that of the context", err)
	}
}

package xds

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cespare/xxhash/v2"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/model"
)

// findEnvoy returns the Envoy to test with, or skips the test.
func findEnvoy(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLUICE_ENVOY"); path != "" {
		return path
	}
	if path, err := exec.LookPath("envoy"); err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no Envoy found: set SLUICE_ENVOY to the binary, or put it on the PATH")
	}
	t.Skip("no Envoy found: set SLUICE_ENVOY to the binary, or put it on the PATH")
	return ""
}

const bootstrap = `
node: {id: test, cluster: test}
dynamic_resources:
  ads_config:
    api_type: DELTA_GRPC
    transport_api_version: V3
    grpc_services: [{envoy_grpc: {cluster_name: xds}}]
  cds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 5s}
  lds_config: {ads: {}, resource_api_version: V3, initial_fetch_timeout: 5s}
static_resources:
  clusters:
  - name: xds
    type: STATIC
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
    load_assignment:
      cluster_name: xds
      endpoints: [{lb_endpoints: [{endpoint: {address: {pipe: {path: %q}}}}]}]
`

// rig is a real Envoy on a server. Everything but the backends is on Unix sockets.
type rig struct {
	t      *testing.T
	dir    string
	server *Server
	grpc   *grpc.Server
	client *http.Client
	log    *eventLog
	// hostsFrom and scopesFrom are those of the server's options.
	hostsFrom, scopesFrom int
}

// eventLog is what one server reported.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) all() []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

// drainTime is how long a listener that goes is kept for its connections.
const drainTime = time.Second

func newRig(t *testing.T) *rig { return newRigWith(t, -1, -1) }

// newRigWith is a rig whose Envoy gets virtual hosts as resources of their own, and in scopes, from so many on.
func newRigWith(t *testing.T, hostsFrom, scopesFrom int) *rig {
	t.Helper()
	binary := findEnvoy(t)
	dir, err := os.MkdirTemp("", "xds") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, dir: dir, hostsFrom: hostsFrom, scopesFrom: scopesFrom}
	r.client = r.clientOf("http")
	r.serve()
	config := r.path("envoy.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, bootstrap, r.path("xds")), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command(binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warning")
	cmd.Args = append(cmd.Args, "--drain-time-s", fmt.Sprint(drainTime.Seconds()))
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		r.grpc.Stop()
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("Envoy's log:\n%s", log.String())
		}
	})
	return r
}

// clientOf is a client of the listener with the name.
func (r *rig) clientOf(listener string) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		MaxIdleConnsPerHost: 16,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", r.path(listener))
		},
	}}
}

// newcomer is a client that connects for each request: a connection stays with the listener that took it.
func (r *rig) newcomer(listener string) *http.Client {
	client := r.clientOf(listener)
	client.Transport.(*http.Transport).DisableKeepAlives = true
	return client
}

func (r *rig) path(name string) string { return filepath.Join(r.dir, name) }

// serve starts a new server, which knows nothing of the one before.
func (r *rig) serve() {
	if r.grpc != nil {
		r.grpc.Stop()
	}
	r.log = &eventLog{}
	r.server = NewServer(Options{
		Grace:     100 * time.Millisecond,
		Authorize: func(context.Context, *corev3.Node) (model.ProxyName, error) { return testProxy, nil },
		Observer:  r.log.add,
		HostsFrom: r.hostsFrom, ScopesFrom: r.scopesFrom,
	})
	r.grpc = grpc.NewServer(ServerOptions(Connection{})...)
	r.server.Register(r.grpc)
	listen, err := net.Listen("unix", r.path("xds"))
	if err != nil {
		r.t.Fatal(err)
	}
	server := r.grpc
	go func() {
		if err := server.Serve(listen); err != nil {
			r.t.Errorf("Serve: %v", err)
		}
	}()
}

// update makes a change and waits until it is reported to be live: what was rejected on the way is reported before.
func (r *rig) update(changes ...Change) {
	r.t.Helper()
	version := r.server.Update(testProxy, changes)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if slices.ContainsFunc(r.log.all(), func(e Event) bool { return e.Kind == Live && e.Version >= version }) {
			return
		}
	}
	for _, e := range r.log.all() {
		r.t.Logf("%s %s %s %s %s", e.Kind, e.Type, e.Resource, e.Part, e.Message)
	}
	r.t.Fatalf("version %d is not live", version)
}

func (r *rig) rejected() []Event {
	var list []Event
	for _, e := range r.log.all() {
		if e.Kind == Rejected {
			list = append(list, e)
		}
	}
	return list
}

// get returns the status and body of a request to a host.
func (r *rig) get(host string) (int, string) {
	resp, err := r.client.Get("http://" + host + "/")
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// load sends requests to the hosts in turn until it is told to stop; that returns how many there were, and fails the
// test for each that was not answered with 200.
func (r *rig) load(hosts ...string) (stop func() int) {
	var n atomic.Int64
	done := make(chan struct{})
	var wg sync.WaitGroup
	for w := range 3 {
		wg.Go(func() {
			for i := w; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if code, body := r.get(hosts[i%len(hosts)]); code != http.StatusOK {
					r.t.Errorf("request %d to %s: %d %q", n.Load(), hosts[i%len(hosts)], code, body)
				}
				n.Add(1)
			}
		})
	}
	return func() int {
		close(done)
		wg.Wait()
		return int(n.Load())
	}
}

// backend starts a server that answers with its name, and returns its address.
func backend(t *testing.T, name string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, name) }))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func message(t Type, name string, m proto.Message) Change {
	body := mustMarshal(m)
	return Change{Type: t, Name: name, Resource: &Resource{Name: name, Hash: xxhash.Sum64(body), Body: body}}
}

func ads() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ResourceApiVersion:    corev3.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(10 * time.Second),
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
	}
}

func realCluster(name string) Change {
	return message(Cluster, name, &clusterv3.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
	})
}

func realEndpoints(name, address string) Change {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		panic(err)
	}
	var number uint32
	fmt.Sscan(port, &number)
	return message(Endpoints, name, &endpointv3.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: number},
				}}},
			}},
		}}}},
	})
}

// realListener listens on a socket of the name with the route configuration of the name.
func (r *rig) realListener(name string) Change {
	router, err := anypb.New(&routerv3.Router{})
	if err != nil {
		panic(err)
	}
	hcm, err := anypb.New(&hcmv3.HttpConnectionManager{
		StatPrefix: name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_Rds{Rds: &hcmv3.Rds{
			RouteConfigName: name, ConfigSource: ads(),
		}},
		HttpFilters: []*hcmv3.HttpFilter{{
			Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: router},
		}},
	})
	if err != nil {
		panic(err)
	}
	return message(Listener, name, &listenerv3.Listener{
		Name:    name,
		Address: &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: r.path(name)}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name: "hcm", ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: hcm},
		}}}},
	})
}

// realPart routes a host to a cluster. If a regular expression is given, the path has to match it.
func realPart(host, cluster, regex string) *Part {
	match := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}}
	if regex != "" {
		match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: regex}}
	}
	return hostPart(&routev3.VirtualHost{
		Name: host, Domains: []string{host},
		Routes: []*routev3.Route{{Match: match, Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		}}}},
	}, cluster)
}

// hostPart is a virtual host that needs clusters.
func hostPart(host *routev3.VirtualHost, needs ...string) *Part {
	field := protowire.AppendBytes(protowire.AppendTag(nil, 2, protowire.BytesType), mustMarshal(host))
	return &Part{Name: host.GetName(), Hash: xxhash.Sum64(field), Body: field, Needs: needs}
}

// inAllForms runs a test with route configurations in one piece, with virtual hosts as resources of their own, and with
// these in scopes.
func inAllForms(t *testing.T, test func(t *testing.T, r *rig)) {
	t.Run("RDS", func(t *testing.T) { test(t, newRigWith(t, -1, -1)) })
	t.Run("VHDS", func(t *testing.T) { test(t, newRigWith(t, 1, -1)) })
	t.Run("SRDS", func(t *testing.T) { test(t, newRigWith(t, 1, 1)) })
}

func TestEnvoySwitchesBackendsWithoutLoss(t *testing.T) { inAllForms(t, testSwitchesBackends) }

func testSwitchesBackends(t *testing.T, r *rig) {
	addresses := []string{backend(t, "0"), backend(t, "1")}
	cluster := func(i int) string { return fmt.Sprintf("backend-%d", i) }
	r.update(realCluster(cluster(0)), realEndpoints(cluster(0), addresses[0]), r.realListener("http"),
		routes("http", []*Part{realPart("a.test", cluster(0), "")}))
	stop := r.load("a.test")
	for i := 1; i <= 20; i++ {
		r.update(realCluster(cluster(i)), realEndpoints(cluster(i), addresses[i%2]),
			drop(Cluster, cluster(i-1)), drop(Endpoints, cluster(i-1)),
			routes("http", []*Part{realPart("a.test", cluster(i), "")}, "a.test"))
		want := fmt.Sprint(i % 2)
		if !eventually(func() bool { _, body := r.get("a.test"); return body == want }) {
			t.Errorf("switch %d is live, but %s does not answer", i, want)
		}
	}
	time.Sleep(200 * time.Millisecond) // the removal of the last but one is under load too
	t.Logf("%d requests", stop())
}

// eventually allows Envoy's worker the moment that it needs to take over what the main thread has ACKed.
func eventually(ok func() bool) bool {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

func TestEnvoyRefusesOnlyTheBadPart(t *testing.T) { inAllForms(t, testRefusesOnlyTheBadPart) }

func testRefusesOnlyTheBadPart(t *testing.T, r *rig) {
	var parts []*Part
	var hosts []string
	for i := range 50 {
		hosts = append(hosts, fmt.Sprintf("host-%d.test", i))
		parts = append(parts, realPart(hosts[i], "c", ""))
	}
	bad := func(expr string) []*Part {
		return append(append(parts[:20:20], realPart("bad.test", "c", expr)), parts[20:]...)
	}
	all := []Change{
		realCluster("c"), realEndpoints("c", backend(t, "ok")), r.realListener("http"),
		routes("http", bad("(unclosed")),
	}
	r.update(all...)
	check := func(expr string) {
		t.Helper()
		events := r.rejected()
		if len(events) != 1 || events[0].Part != "bad.test" || !strings.Contains(events[0].Message, expr) {
			t.Errorf("rejected %+v, want bad.test because of %s", events, expr)
		}
		for _, host := range hosts {
			if code, body := r.get(host); code != http.StatusOK {
				t.Errorf("%s: %d %q", host, code, body)
			}
		}
	}
	check("unclosed")
	if code, _ := r.get("bad.test"); code != http.StatusNotFound {
		t.Errorf("bad.test: %d, want 404", code)
	}

	stop := r.load(hosts...)
	r.update(routes("http", bad("/.*"), "bad.test"))
	if code, body := r.get("bad.test"); code != http.StatusOK {
		t.Errorf("bad.test healed: %d %q", code, body)
	}
	// A new server knows neither what Envoy runs nor what it refuses, and must not take anything away to find out.
	r.serve()
	all[3] = routes("http", bad("[z-a]"))
	r.update(all...)
	check("z-a")
	t.Logf("%d requests", stop())
}

func TestEnvoyIsNotHeldUp(t *testing.T) { inAllForms(t, testIsNotHeldUp) }

func testIsNotHeldUp(t *testing.T, r *rig) {
	// At its start Envoy gets a listener whose routes do not exist, and a cluster that has no endpoints.
	r.update(r.realListener("no-routes"), realCluster("no-endpoints"),
		realCluster("c"), realEndpoints("c", backend(t, "ok")), r.realListener("http"),
		routes("http", []*Part{realPart("a.test", "c", ""), realPart("b.test", "no-endpoints", "")}))
	if !eventually(func() bool { code, _ := r.get("a.test"); return code == http.StatusOK }) {
		t.Error("a.test does not answer")
	}
	if code, _ := r.get("b.test"); code != http.StatusServiceUnavailable {
		t.Errorf("b.test: %d, want 503", code)
	}
	start := time.Now()
	r.update(realCluster("no-endpoints-2"), realCluster("c2"), realEndpoints("c2", backend(t, "two")),
		routes("http", []*Part{realPart("a.test", "c2", "")}, "a.test"))
	if took := time.Since(start); took > time.Second {
		t.Errorf("a change with a cluster without endpoints took %v", took)
	}
	if !eventually(func() bool { _, body := r.get("a.test"); return body == "two" }) {
		t.Error("a.test is not switched")
	}
}

// TestEnvoyWaitsForNoHealthCheck has clusters whose first health checks take an hour: one that Envoy has when it
// starts, and one that it is told of later. Others come all the same, and what is checked has its endpoints in the end.
func TestEnvoyWaitsForNoHealthCheck(t *testing.T) {
	r := newRig(t)
	checked := func(name string) Change {
		return message(Cluster, name, &clusterv3.Cluster{
			Name: name, ConnectTimeout: durationpb.New(time.Second),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
			EdsClusterConfig:     &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
			HealthChecks: []*corev3.HealthCheck{{
				Timeout: durationpb.New(time.Second), Interval: durationpb.New(time.Second),
				InitialJitter:      durationpb.New(time.Hour),
				HealthyThreshold:   wrapperspb.UInt32(1),
				UnhealthyThreshold: wrapperspb.UInt32(1),
				HealthChecker:      &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{}},
			}},
		})
	}
	slow := func(name string) Change {
		c := checked(name)
		c.Resource.Checked = true
		return c
	}
	r.update(slow("slow"), realEndpoints("slow", backend(t, "slow")), realCluster("c"),
		realEndpoints("c", backend(t, "ok")), r.realListener("http"),
		routes("http", []*Part{realPart("a.test", "c", ""), realPart("b.test", "slow", "")}))
	answers := func(host, want string) {
		t.Helper()
		if !eventually(func() bool { _, body := r.get(host); return body == want }) {
			_, body := r.get(host)
			t.Errorf("%s answers %q, want %q", host, body, want)
		}
	}
	answers("a.test", "ok")
	answers("b.test", "slow") // Envoy panics: it takes any of so many that are not healthy.
	r.update(slow("slow-2"), realEndpoints("slow-2", backend(t, "slow")), realCluster("c2"),
		realEndpoints("c2", backend(t, "two")),
		routes("http", []*Part{realPart("a.test", "c2", ""), realPart("b.test", "slow-2", "")}, "a.test", "b.test"))
	answers("a.test", "two")
	answers("b.test", "slow")
	// A cluster that Envoy has already, and that is to be checked from now on.
	c := slow("c2")
	c.Resource.Hash++
	r.update(c, realCluster("c3"), realEndpoints("c3", backend(t, "three")),
		routes("http", []*Part{realPart("a.test", "c3", ""), realPart("b.test", "c2", "")}, "a.test", "b.test"))
	answers("a.test", "three")
	answers("b.test", "two")
}

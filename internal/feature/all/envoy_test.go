package all

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// patience is how long a test waits for something that is expected to happen at once.
const patience = 20 * time.Second

// scenario is one rule, served on a host of its own, and what requests to it must show.
type scenario struct {
	name string
	// match is the prefix "/" unless set; port is 80 unless set.
	match    model.Match
	port     uint16
	attached []model.Attached
	// before adds filters in front of those of the features.
	before func(*feature.Scope)
	// backend is the name of the upstream, "echo" unless set.
	backend string
	run     func(t *testing.T, g *gateway)
}

// gateway is the running Envoy as one scenario sees it.
type gateway struct {
	client *http.Client
	host   string
	up     *upstreams
}

// request is sent to the scenario's host. Method is GET unless set.
type request struct {
	method, path, body string
	// host replaces the scenario's host if set; a leading colon adds a port to it.
	host   string
	header map[string]string
}

// response is what came back; echo is filled in if an upstream called echo answered.
type response struct {
	status int
	header http.Header
	body   string
	echo   echo
}

// TestEnvoy sends real requests through a real Envoy that serves every scenario at once.
func TestEnvoy(t *testing.T) {
	binary := findEnvoy(t)
	up := startUpstreams(t)
	scenarios := slices.Concat(
		headerScenarios(), redirectScenarios(), rewriteScenarios(), mirrorScenarios(), corsScenarios(),
		authScenarios(), localLimitScenarios(), globalLimitScenarios(), retryScenarios(), timeoutScenarios(),
		sessionScenarios(),
	)
	address := startEnvoy(t, binary, bootstrap(t, scenarios, up))
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	client := &http.Client{
		Transport:     transport,
		Timeout:       patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	for i, s := range scenarios {
		t.Run(s.name, func(t *testing.T) { s.run(t, &gateway{client: client, host: hostOf(i), up: up}) })
	}
}

func hostOf(scenario int) string { return fmt.Sprintf("s%d.test", scenario) }

// do sends a request and reads the response.
func (g *gateway) do(t *testing.T, in request) response {
	t.Helper()
	req, err := http.NewRequest(cmp.Or(in.method, http.MethodGet), "http://"+g.host+cmp.Or(in.path, "/"),
		strings.NewReader(in.body))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = cmp.Or(in.host, g.host)
	if strings.HasPrefix(in.host, ":") {
		req.Host = g.host + in.host
	}
	for name, value := range in.header {
		req.Header.Set(name, value)
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close() //nolint:errcheck // read
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := response{status: res.StatusCode, header: res.Header, body: string(body)}
	_ = json.Unmarshal(body, &out.echo) //nolint:errcheck // not every body is an echo
	return out
}

// expect sends a request and wants a status.
func (g *gateway) expect(t *testing.T, in request, status int) response {
	t.Helper()
	got := g.do(t, in)
	if got.status != status {
		t.Fatalf("%s %s: status %d (%.200s), want %d", cmp.Or(in.method, "GET"), in.path, got.status, got.body, status)
	}
	return got
}

// attach is configuration for a feature as the resolver would attach it. The backends are names of upstreams; an empty
// name is one that does not resolve.
func attach(name string, spec any, backends ...string) model.Attached {
	a := model.Attached{Feature: name, Spec: spec, Path: "spec.rules[0]"}
	for _, b := range backends {
		a.Backends = append(a.Backends, featuretest.Service(b))
	}
	return a
}

// bootstrap is the configuration with a virtual host for each scenario.
func bootstrap(t *testing.T, scenarios []scenario, up *upstreams) []byte {
	t.Helper()
	// Long enough for a busy machine, and no limit is passed over.
	chain := ChainWith(Options{RateLimit: &RateLimit{Timeout: patience, FailClosed: true}})
	var hosts []*routev3.VirtualHost
	for i, s := range scenarios {
		hosts = append(hosts, &routev3.VirtualHost{
			Name: s.name, Domains: []string{hostOf(i)}, Routes: []*routev3.Route{build(t, chain, s)},
		})
	}
	config := &bootstrapv3.Bootstrap{
		Admin: &bootstrapv3.Admin{Address: loopback(0)},
		StaticResources: &bootstrapv3.Bootstrap_StaticResources{
			Listeners: []*listenerv3.Listener{listener(chain, hosts)},
		},
	}
	for name, addresses := range up.addresses {
		config.StaticResources.Clusters = append(config.StaticResources.Clusters, cluster(t, name, addresses))
	}
	limits := cluster(t, "limits-grpc", []string{startRateLimit(t)})
	limits.Name = ratelimit.Cluster
	config.StaticResources.Clusters = append(config.StaticResources.Clusters, limits)
	if err := config.ValidateAll(); err != nil {
		t.Fatal(err)
	}
	text, err := protojson.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func build(t *testing.T, chain *feature.Chain, s scenario) *routev3.Route {
	t.Helper()
	if s.match.Path.Value == "" {
		s.match = featuretest.PrefixMatch("/")
	}
	route := &model.Route{Rules: []model.Rule{{Matches: []model.Match{s.match}, Attached: s.attached}}}
	if report := chain.Check(route); len(report) > 0 {
		t.Fatalf("%s: refused: %v", s.name, report)
	}
	r := featuretest.NewRoute(&route.Rules[0], s.match)
	r.Port = cmp.Or(s.port, r.Port)
	r.Proto.Name = "httproute/test/" + strings.ReplaceAll(s.name, "/", "-") + "/1"
	r.Action().ClusterSpecifier = &routev3.RouteAction_Cluster{
		Cluster: r.Use(featuretest.Service(cmp.Or(s.backend, "echo"))),
	}
	chain.ApplyRoute(r, s.attached)
	scope := &feature.Scope{Route: r}
	if s.before != nil {
		s.before(scope)
	}
	chain.Filters(scope, s.attached)
	r.Proto.TypedPerFilterConfig = scope.Fill(feature.OfRoute, nil)
	return r.Proto
}

// listener has the filters of every listener.
func listener(chain *feature.Chain, hosts []*routev3.VirtualHost) *listenerv3.Listener {
	before, behind := feature.Places(false)
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name: "test", VirtualHosts: hosts, IgnorePortInHostMatching: true,
		}},
	}
	for _, f := range slices.Concat(before, chain.Standing(), behind) {
		manager.HttpFilters = append(manager.HttpFilters, httpFilter(f))
	}
	manager.HttpFilters = append(manager.HttpFilters, httpFilter(feature.HTTPFilter{
		Name: "envoy.filters.http.router", Config: &routerv3.Router{},
	}))
	return &listenerv3.Listener{Name: "test", Address: loopback(0), FilterChains: []*listenerv3.FilterChain{{
		Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: feature.Pack(manager)},
		}},
	}}}
}

func httpFilter(f feature.HTTPFilter) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{
		Name:       f.Name,
		ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(f.Config)},
	}
}

func cluster(t *testing.T, name string, addresses []string) *clusterv3.Cluster {
	t.Helper()
	key := featuretest.Service(name).String()
	endpoints := &endpointv3.LocalityLbEndpoints{}
	for _, a := range addresses {
		host, port := splitAddress(t, a)
		endpoints.LbEndpoints = append(endpoints.LbEndpoints, &endpointv3.LbEndpoint{
			HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
				Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
					Address: host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
				}}},
			}},
		})
	}
	out := &clusterv3.Cluster{
		Name: key, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: key, Endpoints: []*endpointv3.LocalityLbEndpoints{endpoints},
		},
	}
	if strings.HasSuffix(name, "grpc") {
		out.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": feature.Pack(http2Options()),
		}
	}
	return out
}

func http2Options() *upstreamv3.HttpProtocolOptions {
	return &upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: &corev3.Http2ProtocolOptions{},
				},
			},
		},
	}
}

func loopback(port uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
	}}}
}

// findEnvoy returns the path of Envoy, or skips the test; where tests have to be complete it fails instead.
func findEnvoy(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("SLUICE_ENVOY"); path != "" {
		return path
	}
	path, err := exec.LookPath("envoy")
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no envoy: put one on the PATH or name it in SLUICE_ENVOY")
	}
	t.Skip("no envoy: put one on the PATH or name it in SLUICE_ENVOY")
	return ""
}

// startEnvoy runs Envoy until the test ends and returns the address of its only listener.
func startEnvoy(t *testing.T, binary string, config []byte) string {
	t.Helper()
	dir := t.TempDir()
	adminFile := filepath.Join(dir, "admin")
	logs, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "--config-path", file, "--admin-address-path", adminFile,
		"--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warning")
	cmd.Stdout, cmd.Stderr = logs, logs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() //nolint:errcheck // may have exited
		<-exited
		_ = logs.Close() //nolint:errcheck // read only below
		if t.Failed() {
			t.Logf("log of Envoy:\n%s", tail(logs.Name()))
		}
	})
	deadline := time.After(patience)
	for {
		if admin, err := os.ReadFile(adminFile); err == nil {
			if address := listenerAddress(string(admin)); address != "" {
				return address
			}
		}
		select {
		case err := <-exited:
			exited <- err
			t.Fatalf("envoy exited: %v", err)
		case <-deadline:
			t.Fatal("envoy does not listen")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// listenerAddress asks the admin interface where the listener is; it is empty while Envoy starts.
func listenerAddress(admin string) string {
	if ready, err := http.Get("http://" + admin + "/ready"); err != nil || ready.StatusCode != http.StatusOK {
		return ""
	}
	res, err := http.Get("http://" + admin + "/listeners")
	if err != nil {
		return ""
	}
	defer res.Body.Close() //nolint:errcheck // read
	lines := bufio.NewScanner(res.Body)
	for lines.Scan() {
		if _, address, ok := strings.Cut(lines.Text(), "::"); ok {
			return address
		}
	}
	return ""
}

func tail(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

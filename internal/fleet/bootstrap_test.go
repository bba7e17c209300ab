package fleet_test

import (
	"flag"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
)

var update = flag.Bool("update", false, "write the golden files")

func sockets() fleet.Config {
	return fleet.Config{
		Node: "edge-1", Cluster: "edge", XDSSocket: "/run/sluice/xds.sock", AdminSocket: "/run/sluice/admin.sock",
	}
}

func withEverything() fleet.Config {
	c := sockets()
	c.AdminAddress = netip.MustParseAddrPort("127.0.0.1:9901")
	c.RateLimitSocket = "/run/sluice/limit.sock"
	c.MaxConnections = 1000
	c.MaxHeapBytes = 2 << 30
	return c
}

func pod() fleet.Config {
	remote := func(service string, port uint16) *fleet.Remote {
		return &fleet.Remote{
			Host: service + ".sluice-system.svc.cluster.local.", Port: port, Identity: "spiffe://example.com/" + service,
			CertificateSecret: "/etc/sluice/certificate.json", AuthoritySecret: "/etc/sluice/authority.json",
		}
	}
	return fleet.Config{
		Cluster: "default/gw", AdminSocket: "/var/run/sluice/admin.sock", ProbeBind: "0.0.0.0",
		Remote: remote("sluice", 18000), RateLimit: remote("sluice-ratelimit", 18002),
	}
}

// withMetrics compresses its metrics, keeps more than others, and sends them to collectors.
func withMetrics() fleet.Config {
	c := pod()
	c.Metrics = fleet.Metrics{
		Compression: "gzip", CompressFrom: 100,
		More: []*matcherv3.StringMatcher{{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "http."}}},
		Sinks: []fleet.Sink{
			{
				Addresses: []*corev3.Address{fleet.Address("otel.logs.svc.cluster.local.", 4317)}, Names: true,
				Authority: "otel.logs", DeltaCounters: true, DeltaHistograms: true,
				Headers:  []*corev3.HeaderValue{{Key: "x-token", Value: "secret"}},
				Resource: map[string]string{"team": "shop", "region": "north"},
			},
			{
				Addresses: []*corev3.Address{fleet.Address("192.0.2.1", 4317), fleet.Address("192.0.2.2", 4317)},
				Authority: "more.logs",
			},
		},
	}
	return c
}

// unserved serves no metrics.
func unserved() fleet.Config {
	c := pod()
	c.Metrics.Disabled = true
	return c
}

func configs() map[string]fleet.Config {
	return map[string]fleet.Config{
		"sockets": sockets(), "everything": withEverything(), "pod": pod(), "metrics": withMetrics(), "unserved": unserved(),
	}
}

func TestBootstrapGolden(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			bootstrap, err := fleet.Bootstrap(config)
			if err != nil {
				t.Fatal(err)
			}
			got, err := fleet.JSON(bootstrap)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(golden, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)); diff != "" {
				t.Errorf("bootstrap (-want +got):\n%s", diff)
			}
			back := &bootstrapv3.Bootstrap{}
			if err := protojson.Unmarshal(got, back); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(bootstrap, back, protocmp.Transform()); diff != "" {
				t.Errorf("the JSON is not the bootstrap (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBootstrapRefuses(t *testing.T) {
	tests := map[string]struct {
		change func(*fleet.Config)
		want   string
	}{
		"no node":       {func(c *fleet.Config) { c.Node = "" }, "node id"},
		"no cluster":    {func(c *fleet.Config) { c.Cluster = "" }, "cluster"},
		"no xDS socket": {func(c *fleet.Config) { c.XDSSocket = "" }, "xDS socket"},
		"no admin":      {func(c *fleet.Config) { c.AdminSocket = "" }, "admin socket"},
		"open admin": {func(c *fleet.Config) {
			c.AdminAddress = netip.MustParseAddrPort("0.0.0.0:9901")
		}, "0.0.0.0 is not a loopback address"},
		"no control plane": {func(c *fleet.Config) { c.Remote = &fleet.Remote{Host: "a", Port: 1} }, "identity"},
		"negative":         {func(c *fleet.Config) { c.MaxConnections = -1 }, "-1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			config := sockets()
			test.change(&config)
			if _, err := fleet.Bootstrap(config); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %q", err, test.want)
			}
		})
	}
}

// validate lets a real Envoy judge a bootstrap.
func validate(t *testing.T, bootstrap *bootstrapv3.Bootstrap) (output string, err error) {
	t.Helper()
	if bootstrap.Node.Id == "" {
		bootstrap.Node.Id = "as --service-node"
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(envoytest.Binary(t), "--mode", "validate", "--config-path", path,
		"--disable-hot-restart", "--log-level", "warn").CombinedOutput()
	return string(out), err
}

// withSecretFiles gives a pod the SDS files that are mounted into it.
func withSecretFiles(t *testing.T, config *fleet.Config) {
	t.Helper()
	dir := t.TempDir()
	certificate, authority, err := fleet.SecretFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	remote := *config.Remote
	remote.CertificateSecret, remote.AuthoritySecret = dir+"/certificate.json", dir+"/authority.json"
	for path, data := range map[string][]byte{remote.CertificateSecret: certificate, remote.AuthoritySecret: authority} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config.Remote = &remote
	if config.RateLimit != nil {
		limit := *config.RateLimit
		limit.CertificateSecret, limit.AuthoritySecret = remote.CertificateSecret, remote.AuthoritySecret
		config.RateLimit = &limit
	}
}

func TestBootstrapIsValid(t *testing.T) {
	for name, config := range configs() {
		t.Run(name, func(t *testing.T) {
			if config.Remote != nil {
				withSecretFiles(t, &config)
			}
			bootstrap, err := fleet.Bootstrap(config)
			if err != nil {
				t.Fatal(err)
			}
			output, err := validate(t, bootstrap)
			if err != nil {
				t.Errorf("Envoy refuses the bootstrap: %v\n%s", err, output)
			}
			if strings.Contains(output, "[warning]") {
				t.Errorf("Envoy warns of the bootstrap:\n%s", output)
			}
		})
	}
}

func TestBootstrapLimitsRegularExpressions(t *testing.T) {
	tests := map[string]struct{ regex, refusal string }{
		"beyond Envoy's own limit of 100": {regex: ".{400}"},
		"too large":                       {regex: ".{900}", refusal: "max program size of 1000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			bootstrap, err := fleet.Bootstrap(sockets())
			if err != nil {
				t.Fatal(err)
			}
			bootstrap.StaticResources.Listeners = []*listenerv3.Listener{regexListener(t, test.regex)}
			output, err := validate(t, bootstrap)
			if refused := err != nil; refused != (test.refusal != "") || !strings.Contains(output, test.refusal) {
				t.Errorf("Envoy's answer: %v, want %q in it\n%s", err, test.refusal, output)
			}
		})
	}
}

// regexListener returns a listener with one route, which matches a regular expression.
func regexListener(t *testing.T, regex string) *listenerv3.Listener {
	t.Helper()
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: "test",
		HttpFilters: []*hcmv3.HttpFilter{{
			Name:       "router",
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: pack(t, &routerv3.Router{})},
		}},
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			VirtualHosts: []*routev3.VirtualHost{{Name: "all", Domains: []string{"*"}, Routes: []*routev3.Route{{
				Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{
					SafeRegex: &matcherv3.RegexMatcher{Regex: regex},
				}},
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}},
			}}}},
		}},
	}
	return &listenerv3.Listener{
		Name: "test",
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{},
		}}},
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "http",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: pack(t, manager)},
		}}}},
	}
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

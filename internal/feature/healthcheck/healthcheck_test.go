package healthcheck

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.HealthCheck](t, Feature{})
}

// TestNamedEndpoint says that an endpoint found by DNS is checked by its name, unless the policy has one.
func TestNamedEndpoint(t *testing.T) {
	for host, want := range map[*string]string{nil: "shop.example", new("own.example"): ""} {
		endpoint := &endpointv3.Endpoint{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
			SocketAddress: &corev3.SocketAddress{Address: "shop.example"},
		}}}
		c := &clusterv3.Cluster{LoadAssignment: &endpointv3.ClusterLoadAssignment{
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: endpoint},
			}}}},
		}}
		spec := &egv1a1.HealthCheck{Active: &egv1a1.ActiveHealthCheck{
			Type: egv1a1.ActiveHealthCheckerTypeHTTP, HTTP: &egv1a1.HTTPActiveHealthChecker{Path: "/", Hostname: host},
		}}
		cluster := &feature.Cluster{Proto: c, Backend: &model.Backend{Key: featuretest.Service("shop")}}
		Feature{}.ApplyCluster(cluster, model.Attached{Spec: spec})
		if got := endpoint.GetHealthCheckConfig().GetHostname(); got != want {
			t.Errorf("the endpoint is checked as %q, want %q", got, want)
		}
	}
}

func TestCheck(t *testing.T) {
	active := func(a egv1a1.ActiveHealthCheck) egv1a1.HealthCheck { return egv1a1.HealthCheck{Active: &a} }
	http := func(h egv1a1.HTTPActiveHealthChecker) egv1a1.HealthCheck {
		return active(egv1a1.ActiveHealthCheck{Type: "HTTP", HTTP: &h})
	}
	passive := func(p egv1a1.PassiveHealthCheck) egv1a1.HealthCheck { return egv1a1.HealthCheck{Passive: &p} }
	text := &egv1a1.ActiveHealthCheckPayload{Type: "Text", Text: new("a")}
	for _, tt := range []struct {
		spec egv1a1.HealthCheck
		want string
	}{
		{egv1a1.HealthCheck{}, ""},
		{egv1a1.HealthCheck{PanicThreshold: new(uint32(101))}, "more than all"},
		{passive(egv1a1.PassiveHealthCheck{}), ""},
		{passive(egv1a1.PassiveHealthCheck{Interval: new(gwv1.Duration("0s"))}), "at least 1ms"},
		{passive(egv1a1.PassiveHealthCheck{MaxEjectionPercent: new(int32(-1))}), "use 0 to 100"},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC"}), ""},
		{active(egv1a1.ActiveHealthCheck{Type: "PING"}), `no type "PING"`},
		{active(egv1a1.ActiveHealthCheck{Type: "HTTP"}), "The type HTTP needs this field"},
		{active(egv1a1.ActiveHealthCheck{Type: "TCP"}), "The type TCP needs this field"},
		{active(egv1a1.ActiveHealthCheck{Type: "TCP", TCP: &egv1a1.TCPActiveHealthChecker{
			Send: text, Receive: &egv1a1.ActiveHealthCheckPayload{Type: "Binary", Text: new("a")},
		}}), "payload is empty"},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC", HealthyThreshold: new(uint32(0))}), "use 1 or more"},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC", Overrides: &egv1a1.HealthCheckOverrides{Port: 9}}), ""},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC", Overrides: &egv1a1.HealthCheckOverrides{Port: 65536}}), "is no port"},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC", HealthCheckLog: &egv1a1.ProxyHealthCheckLog{
			Sinks: []egv1a1.ProxyHealthCheckLogSink{{Type: "File"}},
		}}), "use one sink"},
		{active(egv1a1.ActiveHealthCheck{Type: "GRPC", HealthCheckLog: &egv1a1.ProxyHealthCheckLog{
			Sinks: []egv1a1.ProxyHealthCheckLogSink{{
				Type: "File", File: &egv1a1.FileEnvoyProxyHealthCheckLog{Path: "/etc/passwd"},
			}},
		}}), "/dev/stdout or /dev/stderr"},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", Method: new("head")}), ""},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", Method: new("put"), RequestBody: text}), ""},
		{http(egv1a1.HTTPActiveHealthChecker{}), "The path is empty"},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", RequestBody: text}), "Only checks by POST and PUT"},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", Method: new("LOOK")}), `method "LOOK" cannot`},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", Method: new("connect")}), `method "connect" cannot`},
		{http(egv1a1.HTTPActiveHealthChecker{Path: "/", ExpectedStatuses: []egv1a1.HTTPStatus{200, 99}}),
			"99 is not a status code"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec, Path: "spec.healthCheck"}, nil), tt.want)
	}
}

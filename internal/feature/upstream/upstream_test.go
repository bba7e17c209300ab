package upstream

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"k8s.io/apimachinery/pkg/api/resource"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.GoldenIn[egv1a1.BackendConnection](t, Connection{}, "testdata/"+Connection{}.Name())
	featuretest.GoldenIn[egv1a1.TCPKeepalive](t, Keepalive{}, "testdata/"+Keepalive{}.Name())
	featuretest.GoldenIn[bool](t, ClientProtocol{}, "testdata/"+ClientProtocol{}.Name())
	featuretest.GoldenIn[egv1a1.HTTP2Settings](t, HTTP2{}, "testdata/"+HTTP2{}.Name())
	featuretest.GoldenIn[egv1a1.DNS](t, DNS{}, "testdata/"+DNS{}.Name())
	featuretest.GoldenIn[egv1a1.ProxyProtocol](t, ProxyProtocol{}, "testdata/"+ProxyProtocol{}.Name())
}

func check[T any](t *testing.T, f feature.Checker, spec T, want string) {
	t.Helper()
	featuretest.Expect(t, f.Check(model.Attached{Spec: &spec}, &model.Rule{}), want)
}

func TestCheckConnection(t *testing.T) {
	size := func(text string) *resource.Quantity {
		q := resource.MustParse(text)
		return &q
	}
	ahead := func(endpoint, predicted uint32) egv1a1.BackendConnection {
		return egv1a1.BackendConnection{Preconnect: &egv1a1.PreconnectPolicy{
			PerEndpointPercent: &endpoint, PredictivePercent: &predicted,
		}}
	}
	check(t, Connection{}, egv1a1.BackendConnection{}, "")
	check(t, Connection{}, egv1a1.BackendConnection{BufferLimit: size("4Gi")}, "out of range")
	check(t, Connection{}, egv1a1.BackendConnection{SocketBufferLimit: size("2Gi")}, "out of range")
	check(t, Connection{}, ahead(99, 100), "use 100 to 300")
	check(t, Connection{}, ahead(100, 99), "use 100 to 300")
	check(t, Connection{}, ahead(100, 100), "")
	check(t, Connection{}, ahead(100, 150), "add that, or remove predictivePercent")
	for kind, want := range map[egv1a1.LoadBalancerType]string{
		"Random": "", "RoundRobin": "", "LeastRequest": "can be foretold only",
	} {
		rule := &model.Rule{Attached: []model.Attached{{Spec: &egv1a1.LoadBalancer{Type: kind}}}}
		spec := ahead(300, 300)
		featuretest.Expect(t, Connection{}.Check(model.Attached{Spec: &spec}, rule), want)
	}
}

func TestCheckKeepalive(t *testing.T) {
	check(t, Keepalive{}, egv1a1.TCPKeepalive{}, "")
	check(t, Keepalive{}, egv1a1.TCPKeepalive{Probes: new(uint32(0))}, "use 1 to 127")
	check(t, Keepalive{}, egv1a1.TCPKeepalive{IdleTime: new(gwv1.Duration("10h"))}, "at most 9h6m7s")
	check(t, Keepalive{}, egv1a1.TCPKeepalive{IdleTime: new(gwv1.Duration("500ms"))}, "at least 1s")
	check(t, Keepalive{}, egv1a1.TCPKeepalive{Interval: new(gwv1.Duration("2500ms"))}, "use whole seconds")
}

func TestCheckProtocol(t *testing.T) {
	check(t, ProxyProtocol{}, egv1a1.ProxyProtocol{Version: "V2"}, "")
	check(t, ProxyProtocol{}, egv1a1.ProxyProtocol{Version: "V3"}, `no version "V3"`)
	check(t, DNS{}, egv1a1.DNS{}, "")
	check(t, DNS{}, egv1a1.DNS{LookupFamily: new(egv1a1.DNSLookupFamily("IPv5"))}, `no family "IPv5"`)
	check(t, DNS{}, egv1a1.DNS{DNSRefreshRate: new(gwv1.Duration("0s"))}, "at least 1ms")
	alive := func(k egv1a1.HTTP2KeepaliveSettings) egv1a1.HTTP2Settings {
		return egv1a1.HTTP2Settings{ConnectionKeepalive: &k}
	}
	second, minute := new(gwv1.Duration("1s")), new(gwv1.Duration("1m"))
	small := resource.MustParse("65534")
	check(t, HTTP2{}, egv1a1.HTTP2Settings{}, "")
	check(t, HTTP2{}, egv1a1.HTTP2Settings{InitialStreamWindowSize: &small}, "use whole bytes, 65535 to 2147483647")
	check(t, HTTP2{}, egv1a1.HTTP2Settings{MaxConcurrentStreams: new(uint32(0))}, "out of range")
	check(t, HTTP2{}, egv1a1.HTTP2Settings{OnInvalidMessage: new(egv1a1.InvalidMessageAction("Wait"))}, `no action "Wait"`)
	check(t, HTTP2{}, alive(egv1a1.HTTP2KeepaliveSettings{Interval: minute, Timeout: second}), "")
	check(t, HTTP2{}, alive(egv1a1.HTTP2KeepaliveSettings{Interval: minute}), "The timeout is missing")
	check(t, HTTP2{}, alive(egv1a1.HTTP2KeepaliveSettings{Timeout: second}), "add interval or idleInterval")
	check(t, HTTP2{}, alive(egv1a1.HTTP2KeepaliveSettings{Interval: second, Timeout: minute}), "make it shorter")
	check(t, HTTP2{}, alive(egv1a1.HTTP2KeepaliveSettings{
		IdleInterval: second, Timeout: minute, IntervalJitter: new(uint32(101)),
	}), "more than all")
}

// TestOwnCluster says that routes whose policy does not ask for the client's protocol share the clusters of others.
func TestOwnCluster(t *testing.T) {
	chain := feature.NewChain(ClientProtocol{})
	for _, yes := range []bool{true, false} {
		if got := chain.Clusters(model.Attached{Feature: ClientProtocol{}.Name(), Spec: &yes}); got != yes {
			t.Errorf("useClientProtocol %v: a cluster of its own is %v", yes, got)
		}
	}
}

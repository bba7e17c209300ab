package clientconnection

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
	featuretest.GoldenIn[egv1a1.ClientConnection](t, Feature{}, "testdata/ClientTrafficPolicy.connection")
	featuretest.GoldenIn[egv1a1.TCPKeepalive](t, Keepalive{}, "testdata/ClientTrafficPolicy.tcpKeepalive")
	featuretest.GoldenIn[egv1a1.ProxyProtocolSettings](t, ProxyProtocol{}, "testdata/ClientTrafficPolicy.proxyProtocol")
	featuretest.GoldenIn[bool](t, EnableProxyProtocol{}, "testdata/ClientTrafficPolicy.enableProxyProtocol")
}

// TestProxyProtocolPrecedence: the newer field says how, and there is one header.
func TestProxyProtocolPrecedence(t *testing.T) {
	chain := feature.NewChain(ProxyProtocol{}, EnableProxyProtocol{})
	attached := []model.Attached{
		{Feature: EnableProxyProtocol{}.Name(), Spec: new(true)},
		{Feature: ProxyProtocol{}.Name(), Spec: &egv1a1.ProxyProtocolSettings{Optional: new(true)}},
	}
	both, one := featuretest.NewPort(), featuretest.NewPort()
	chain.ApplyPort(both, attached)
	chain.ApplyPort(one, attached[1:])
	if got, want := both.Proto.String(), one.Proto.String(); got != want {
		t.Errorf("with both fields\n%s\nwith proxyProtocol alone\n%s", got, want)
	}
	if len(both.Proto.GetListenerFilters()) != 2 || both.Proto.GetListenerFilters()[0].GetName() != proxyFilter {
		t.Errorf("the filters are %v", both.Proto.GetListenerFilters())
	}
}

func TestPortSettings(t *testing.T) {
	quantity := func(s string) *resource.Quantity { return new(resource.MustParse(s)) }
	tests := []struct {
		feature feature.PortApplier
		spec    any
		want    string
	}{
		{EnableProxyProtocol{}, new(false), ""},
		{EnableProxyProtocol{}, new(true), "enabled"},
		{Feature{}, &egv1a1.ClientConnection{MaxAcceptPerSocketEvent: new(uint32(1))}, ""}, // what every port has
		{Feature{}, &egv1a1.ClientConnection{MaxAcceptPerSocketEvent: new(uint32(0))}, "maxAcceptPerSocketEvent 0"},
		{Feature{}, &egv1a1.ClientConnection{BufferLimit: quantity("1Ki")}, "bufferLimit 1024"},
		{Feature{}, &egv1a1.ClientConnection{BufferLimit: quantity("1024")}, "bufferLimit 1024"},
		{Keepalive{}, &egv1a1.TCPKeepalive{IdleTime: new(gwv1.Duration("1m"))}, "probes 0, idle 60 s, interval 0 s"},
	}
	for _, tt := range tests {
		if got := tt.feature.PortSettings(model.Attached{Spec: tt.spec}); got != tt.want {
			t.Errorf("%T asks the port for %q, want %q", tt.feature, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	limit := func(l egv1a1.ConnectionLimit) egv1a1.ClientConnection {
		return egv1a1.ClientConnection{ConnectionLimit: &l}
	}
	size := new(resource.MustParse("8Gi"))
	for _, tt := range []struct {
		spec egv1a1.ClientConnection
		want string
	}{
		{limit(egv1a1.ConnectionLimit{Value: new(int64(1)), CloseDelay: new(gwv1.Duration("1s"))}), ""},
		{limit(egv1a1.ConnectionLimit{Value: new(int64(0))}), "lets nobody connect"},
		{limit(egv1a1.ConnectionLimit{CloseDelay: new(gwv1.Duration("1s"))}), "add value"},
		{limit(egv1a1.ConnectionLimit{MaxRequestsPerConnection: new(uint32(0))}), "use 1 or more"},
		{limit(egv1a1.ConnectionLimit{MaxStreamDuration: new(gwv1.Duration("0s"))}), "too short"},
		{egv1a1.ClientConnection{BufferLimit: size}, "out of range"},
		{egv1a1.ClientConnection{SocketBufferLimit: size}, "out of range"},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
	for _, tt := range []struct {
		spec egv1a1.TCPKeepalive
		want string
	}{
		{egv1a1.TCPKeepalive{Probes: new(uint32(9)), IdleTime: new(gwv1.Duration("2h"))}, ""},
		{egv1a1.TCPKeepalive{Probes: new(uint32(0))}, "use 1 to 127"},
		{egv1a1.TCPKeepalive{IdleTime: new(gwv1.Duration("1500ms"))}, "whole seconds"},
		{egv1a1.TCPKeepalive{Interval: new(gwv1.Duration("10h"))}, "at most 9h6m7s"},
		{egv1a1.TCPKeepalive{Interval: new(gwv1.Duration("100ms"))}, "at least 1s"},
	} {
		featuretest.Expect(t, Keepalive{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
	}
}

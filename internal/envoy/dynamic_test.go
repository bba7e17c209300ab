package envoy

import (
	"testing"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/model"
)

// dynamic returns the cluster of a dynamic resolver.
func dynamic(t *testing.T, tls *model.BackendTLS, attached ...model.Attached) *clusterv3.Cluster {
	t.Helper()
	b := model.Backend{
		Key:     model.BackendKey{Kind: model.KindBackend, Name: model.Name{Namespace: "ns", Name: "any"}},
		Address: model.AddressDynamic, TLS: tls, Attached: attached,
	}
	out := &clusterv3.Cluster{}
	if err := proto.Unmarshal(cluster(all.Chain(), b, nil).Body, out); err != nil {
		t.Fatal(err)
	}
	return out
}

func refreshed(every gwv1.Duration) model.Attached {
	return model.Attached{Feature: "BackendTrafficPolicy.dns", Spec: &egv1a1.DNS{DNSRefreshRate: &every}}
}

// TestDynamicCluster: a dynamic cluster chooses its endpoints itself, whatever policies say, and shares what it has
// resolved only with those that resolve alike: Envoy refuses two caches of one name that differ.
func TestDynamicCluster(t *testing.T) {
	plain, slow := dynamic(t, nil), dynamic(t, nil, refreshed("9s"))
	again := dynamic(t, nil, refreshed("9s"), model.Attached{
		Feature: "BackendTrafficPolicy.loadBalancer", Spec: &egv1a1.LoadBalancer{Type: egv1a1.RandomLoadBalancerType},
	}, model.Attached{Feature: "BackendTrafficPolicy.healthCheck", Spec: &egv1a1.HealthCheck{
		Active: &egv1a1.ActiveHealthCheck{Type: egv1a1.ActiveHealthCheckerTypeTCP, TCP: &egv1a1.TCPActiveHealthChecker{}},
	}})
	if got := again.GetLbPolicy(); got != clusterv3.Cluster_CLUSTER_PROVIDED || again.GetLoadBalancingPolicy() != nil {
		t.Errorf("it balances by %v, %v", got, again.GetLoadBalancingPolicy())
	}
	if len(again.GetHealthChecks()) > 0 {
		t.Errorf("nobody is checked before he is asked for, but it has %v", again.GetHealthChecks())
	}
	if a, b := dnsCache(plain), dnsCache(slow); a.GetName() == b.GetName() {
		t.Errorf("caches with different settings are both named %s", a.GetName())
	}
	if a, b := dnsCache(slow), dnsCache(again); !proto.Equal(a, b) || a.GetDnsRefreshRate().AsDuration() != 9*time.Second {
		t.Errorf("caches with the same settings are %v and %v", a, b)
	}
	if got, want := len(dnsCache(plain).GetResolvedAddressFilter().GetRanges()), len(model.OwnRanges()); got != want {
		t.Errorf("%d ranges of addresses are kept out, want %d", got, want)
	}
}

// TestDynamicTLS: the certificate has to be for the host, unless somebody has said what it has to be for, or that it is
// not to be verified.
func TestDynamicTLS(t *testing.T) {
	for name, tt := range map[string]struct {
		tls       model.BackendTLS
		sni, sans bool
	}{
		"by host":      {model.BackendTLS{Ask: model.AskHost, Trust: model.SystemTrust}, true, true},
		"by endpoint":  {model.BackendTLS{Ask: model.AskEndpoint, Trust: model.SystemTrust}, true, true},
		"by one name":  {model.BackendTLS{SNI: "a.example", Trust: model.SystemTrust}, false, false},
		"not verified": {model.BackendTLS{Ask: model.AskHost, Insecure: true}, true, false},
	} {
		options := &httpv3.HttpProtocolOptions{}
		for _, packed := range dynamic(t, &tt.tls).GetTypedExtensionProtocolOptions() {
			if err := packed.UnmarshalTo(options); err != nil {
				t.Fatal(err)
			}
		}
		got := options.GetUpstreamHttpProtocolOptions()
		if got.GetAutoSni() != tt.sni || got.GetAutoSanValidation() != tt.sans {
			t.Errorf("%s: %v", name, got)
		}
	}
}

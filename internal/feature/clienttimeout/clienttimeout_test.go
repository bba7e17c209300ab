package clienttimeout

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.ClientTimeout](t, Feature{})
}

// TestPassthrough: a connection that the backend decrypts has no TLS handshake here.
func TestPassthrough(t *testing.T) {
	l := featuretest.NewStream()
	l.TLS = nil
	spec := &egv1a1.ClientTimeout{TCP: &egv1a1.TCPClientTimeout{TLSHandshakeTimeout: new(gwv1.Duration("1s"))}}
	Feature{}.ApplyListener(l, model.Attached{Spec: spec})
	if l.Chain.GetTransportSocketConnectTimeout() != nil {
		t.Errorf("the handshake has %v", l.Chain.GetTransportSocketConnectTimeout())
	}
}

func TestPortSettings(t *testing.T) {
	spec := &egv1a1.ClientTimeout{TCP: &egv1a1.TCPClientTimeout{}}
	if got := (Feature{}).PortSettings(model.Attached{Spec: spec}); got != "" {
		t.Errorf("without a timeout it asks the port for %q", got)
	}
	// The same time in other words is the same.
	for _, d := range []gwv1.Duration{"60s", "1m"} {
		spec.TCP.ConnectionInspectionTimeout = &d
		if got := (Feature{}).PortSettings(model.Attached{Spec: spec}); got != "1m0s" {
			t.Errorf("%s asks the port for %q", d, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for d, want := range map[gwv1.Duration]string{"0s": "", "5s": "", "soon": "not a duration"} {
		spec := egv1a1.ClientTimeout{HTTP: &egv1a1.HTTPClientTimeout{IdleTimeout: &d}}
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &spec}, &model.Rule{}), want)
	}
}

package pipeline_test

import (
	"slices"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/proto"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// cluster is a pipeline whose Gateways have fleets, with the last Gateway status and the fleets that it asked for.
type cluster struct {
	*pipeline.Pipeline
	status *gwv1.GatewayStatus
	fleets map[model.ProxyName]*resolve.Fleet
	// served counts how often each proxy was handed a configuration.
	served map[model.ProxyName]int
	// sent is everything that was.
	sent []xds.Change
}

func newCluster() *cluster {
	c := &cluster{fleets: map[model.ProxyName]*resolve.Fleet{}, served: map[model.ProxyName]int{}}
	version := uint64(0)
	c.Pipeline = pipeline.New(pipeline.Options{
		Controllers: []string{"example.com/ours"},
		Proxy:       func(gw model.Name) model.ProxyName { return model.ProxyName(gw.String()) },
		Fleets:      &resolve.FleetOptions{Namespace: "ours"},
		Fleet: func(name model.ProxyName, f *resolve.Fleet) {
			if f == nil {
				delete(c.fleets, name)
				return
			}
			c.fleets[name] = f
		},
		Chain: feature.NewChain(), Bind: "0.0.0.0", Workers: 1,
		Serve: func(name model.ProxyName, changes []xds.Change) uint64 {
			c.served[name]++
			c.sent = append(c.sent, changes...)
			version++
			return version
		},
		Publish: func(s pipeline.Status) {
			if st, ok := s.Status.(*gwv1.GatewayStatus); ok {
				c.status = st
			}
		},
	})
	return c
}

func (c *cluster) programmed() string {
	for _, cond := range c.status.Conditions {
		if cond.Type == string(gwv1.GatewayConditionProgrammed) {
			return string(cond.Status) + "/" + cond.Reason
		}
	}
	return "none"
}

// TestFleetWithNothingToServe hands an empty configuration to the Envoys of a Gateway without a valid listener: without
// any they would never be ready.
func TestFleetWithNothingToServe(t *testing.T) {
	objects := base()
	gw := objects[1].Object.(*gwv1.Gateway)
	gw.Spec.Listeners[0].Protocol = gwv1.HTTPSProtocolType
	gw.Spec.Listeners[0].TLS = &gwv1.ListenerTLSConfig{
		CertificateRefs: []gwv1.SecretObjectReference{{Name: "missing"}},
	}
	c := newCluster()
	c.Apply(objects[:2], nil, nil)
	name := model.ProxyName(gw.Namespace + "/" + gw.Name)
	if c.fleets[name] == nil || c.served[name] != 1 {
		t.Fatalf("fleet %v, served %d times, want once", c.fleets[name], c.served[name])
	}
	c.Apply(objects[2:], nil, nil)
	if c.served[name] != 1 {
		t.Errorf("served %d times, want no more: nothing changed", c.served[name])
	}
}

func TestListenersBindAsTheFleetSays(t *testing.T) {
	objects := base()
	gw := objects[1].Object.(*gwv1.Gateway)
	gw.Spec.Infrastructure = &gwv1.GatewayInfrastructure{ParametersRef: &gwv1.LocalParametersReference{
		Group: model.GroupEnvoyGateway, Kind: model.KindEnvoyProxy, Name: "ep",
	}}
	for family, want := range map[egv1a1.IPFamily]string{
		egv1a1.IPv4: "0.0.0.0", egv1a1.IPv6: "::", egv1a1.DualStack: "::", "": "0.0.0.0",
	} {
		ep := &egv1a1.EnvoyProxy{ObjectMeta: meta("ep")}
		if family != "" {
			ep.Spec.IPFamily = &family
		}
		c := newCluster()
		c.Apply(append(slices.Clip(objects), source.Object{
			Ref: refOf(model.GroupEnvoyGateway, model.KindEnvoyProxy, "ep"), Object: ep,
		}), nil, nil)
		listeners := c.Resources("ns/gw")[xds.Listener]
		if len(listeners) != 1 {
			t.Fatalf("%d listeners", len(listeners))
		}
		got := new(listenerv3.Listener)
		if err := proto.Unmarshal(listeners[0].Body, got); err != nil {
			t.Fatal(err)
		}
		if bound := got.Address.GetSocketAddress().Address; bound != want {
			t.Errorf("family %q binds %q, want %q", family, bound, want)
		}
	}
}

func TestGatewayIsProgrammedWhereItsFleetIs(t *testing.T) {
	c := newCluster()
	c.Apply(base(), nil, nil)
	name := model.ProxyName("ns/gw")
	if f := c.fleets[name]; f == nil || f.Namespace != "ns" || len(f.Ports) != 1 {
		t.Fatalf("fleets: %+v", c.fleets)
	}
	c.Observe(xds.Event{Kind: xds.Live, Proxy: name, Version: 100})
	step := func(what, want string, placed resolve.Placement) {
		t.Helper()
		c.Place(name, placed)
		if got := c.programmed(); got != want || len(c.status.Addresses) != len(placed.Addresses) {
			t.Errorf("%s: Programmed is %s with addresses %v, want %s", what, got, c.status.Addresses, want)
		}
	}
	typ := gwv1.IPAddressType
	addresses := []gwv1.GatewayStatusAddress{{Type: &typ, Value: "192.0.2.1"}}
	step("nothing known", "False/AddressNotAssigned", resolve.Placement{})
	step("no pods", "False/NoResources", resolve.Placement{
		Addresses: addresses, Reason: string(gwv1.GatewayReasonNoResources), Message: "No Envoy is ready",
	})
	step("there", "True/Programmed", resolve.Placement{Addresses: addresses})

	c.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindGateway, "gw")}, nil)
	if len(c.fleets) != 0 {
		t.Errorf("fleets are left: %v", c.fleets)
	}
	c.Apply(base(), nil, nil)
	if got := c.programmed(); got != "False/AddressNotAssigned" || len(c.status.Addresses) != 0 {
		t.Errorf("a Gateway of the same name starts with the placement of the old one: %s %v", got, c.status.Addresses)
	}
}

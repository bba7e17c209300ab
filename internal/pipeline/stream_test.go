package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// passthrough is a class and a Gateway with one TLS listener for every host.
func passthrough() []source.Object {
	objects := base()
	l := &objects[1].Object.(*gwv1.Gateway).Spec.Listeners[0]
	l.Name, l.Port, l.Protocol = "tls", 8443, gwv1.TLSProtocolType
	l.TLS = &gwv1.ListenerTLSConfig{Mode: ptr(gwv1.TLSModePassthrough)}
	return objects
}

func tlsRoute(name, host, to string) source.Object {
	spec := route(name, host, "/", to).Object.(*gwv1.HTTPRoute).Spec
	return source.Object{Ref: refOf(model.GroupGateway, model.KindTLSRoute, name), Object: &gwv1.TLSRoute{
		ObjectMeta: meta(name),
		Spec: gwv1.TLSRouteSpec{
			CommonRouteSpec: spec.CommonRouteSpec, Hostnames: spec.Hostnames,
			Rules: []gwv1.TLSRouteRule{{BackendRefs: []gwv1.BackendRef{spec.Rules[0].BackendRefs[0].BackendRef}}},
		},
	}}
}

func listenerOf(t *testing.T, p *pipeline.Pipeline, name string) *xds.Resource {
	t.Helper()
	for _, r := range p.Resources(proxy)[xds.Listener] {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no listener %s", name)
	return nil
}

// TestListenerWaitsForClusters: a listener names the clusters that its filter chains send connections to, so that no
// Envoy gets it before they are warm.
func TestListenerWaitsForClusters(t *testing.T) {
	p := newPipeline(nil)
	p.Apply(append(passthrough(), backend("a"), backend("b"), tlsRoute("r", "r.example.com", "b"),
		tlsRoute("q", "q.example.com", "a")), nil, nil)
	got := listenerOf(t, p, "tcp/8443").Needs
	if want := []string{"backend/ns/a", "backend/ns/b"}; !slices.Equal(got, want) {
		t.Errorf("the listener needs %v, want %v", got, want)
	}
}

// TestOneEditAmongManyStreams: an edit of one of many routes of a port computes a handful of keys.
func TestOneEditAmongManyStreams(t *testing.T) {
	const routes = 1000
	p := newPipeline(nil)
	objects := append(passthrough(), backend("a"), backend("b"))
	for i := range routes {
		objects = append(objects, tlsRoute(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i), "a"))
	}
	p.Apply(objects, nil, nil)
	out := p.Apply([]source.Object{tlsRoute("r7", "h7.example.com", "b")}, nil, nil)
	computed := 0
	for _, table := range out.Result.Tables {
		computed += table.Recomputed
	}
	if computed > 20 {
		t.Errorf("%d keys were computed, want a handful: %v", computed, out.Result.Tables)
	}
	if body := listenerOf(t, p, "tcp/8443").Body; strings.Count(string(body), "backend/ns/b") != 1 {
		t.Error("the edit is not in the listener")
	}
}

// TestRefusedListenerIsBlamedOnTheRoute: if Envoy refuses a listener that a route has changed, the route stands back
// and says so, and the listener is as it was.
func TestRefusedListenerIsBlamedOnTheRoute(t *testing.T) {
	version := uint64(0)
	statuses := map[string]any{}
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(model.ProxyName, []xds.Change) uint64 { version++; return version }
		o.Publish = func(s pipeline.Status) { statuses[s.Ref.String()] = s.Status }
	})
	live := func() { p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: version}) }
	says := func(ref string) bool {
		return strings.Contains(fmt.Sprintf("%+v", statuses[ref]), "Envoy refused")
	}
	p.Apply(append(passthrough(), backend("a"), backend("b"), tlsRoute("r", "r.example.com", "a"),
		tlsRoute("q", "q.example.com", "a")), nil, nil)
	live()
	good := listenerOf(t, p, "tcp/8443")

	p.Apply([]source.Object{tlsRoute("r", "r.example.com", "b")}, nil, nil)
	bad := listenerOf(t, p, "tcp/8443")
	p.Observe(xds.Event{
		Kind: xds.Rejected, Proxy: proxy, Type: xds.Listener, Version: version, Resource: bad.Name, Hash: bad.Hash,
		Owners: bad.Owners, Message: "no such thing",
	})
	live()
	if got := listenerOf(t, p, "tcp/8443"); got.Hash != good.Hash {
		t.Error("the listener is not what it was before the edit")
	}
	if !says("TLSRoute/ns/r") || says("TLSRoute/ns/q") || says("Gateway/ns/gw") {
		t.Errorf("the wrong object is blamed: %+v", statuses)
	}
	p.Apply([]source.Object{tlsRoute("r", "s.example.com", "b")}, nil, nil)
	live()
	if says("TLSRoute/ns/r") {
		t.Errorf("after it is mended the route still says so: %+v", statuses["TLSRoute/ns/r"])
	}
}

// TestUDPListenerHoldsNoRoute: to edit a UDPRoute changes endpoints and nothing else.
func TestUDPListenerHoldsNoRoute(t *testing.T) {
	udp := func(to string, weight int32) source.Object {
		refs := tlsRoute("r", "h", to).Object.(*gwv1.TLSRoute).Spec
		refs.Rules[0].BackendRefs[0].Weight = &weight
		return source.Object{Ref: refOf(model.GroupGateway, model.KindUDPRoute, "r"), Object: &gwv1.UDPRoute{
			ObjectMeta: meta("r"),
			Spec: gwv1.UDPRouteSpec{
				CommonRouteSpec: refs.CommonRouteSpec, Rules: []gwv1.UDPRouteRule{{BackendRefs: refs.Rules[0].BackendRefs}},
			},
		}}
	}
	objects := base()
	l := &objects[1].Object.(*gwv1.Gateway).Spec.Listeners[0]
	l.Name, l.Protocol = "udp", gwv1.UDPProtocolType
	p := newPipeline(nil)
	p.Apply(append(objects, backend("a"), backend("b"), udp("a", 1)), nil, nil)
	before := contents(p)
	for _, edit := range []source.Object{udp("b", 1), udp("missing", 1), udp("a", 1)} {
		p.Apply([]source.Object{edit}, nil, nil)
		after := contents(p)
		for name, body := range after {
			if changed := before[name] != body; changed != (name == "endpoints udp/8080") {
				t.Errorf("%s: changed is %v", name, changed)
			}
		}
		before = after
	}
}

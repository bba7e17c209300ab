package pipeline_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	pb "github.com/envoyproxy/gateway/proto/extension"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/circuitbreaker"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const stampGroup = "ext.example.com"

// asked is a pipeline with an extension server, and the calls that it wants to be made.
type asked struct {
	*pipeline.Pipeline
	open map[model.Call]bool
	// made counts the calls that were ever wanted, wanted are those that are.
	made   int
	wanted map[model.Call]bool
	// statuses are those that were published last, version is that of the last push, pushed what all pushes had.
	statuses map[model.Ref]any
	version  uint64
	pushed   []xds.Change
}

func newAsked(t *testing.T, managers ...model.ExtensionManager) *asked {
	t.Helper()
	kinds, err := resource.NewExtensions([]schema.GroupVersionKind{{Group: stampGroup, Version: "v1", Kind: "Stamp"}})
	if err != nil {
		t.Fatal(err)
	}
	a := &asked{open: map[model.Call]bool{}, wanted: map[model.Call]bool{}, statuses: map[model.Ref]any{}}
	a.Pipeline = newPipeline(func(o *pipeline.Options) {
		o.Extensions = pipeline.ExtensionOptions{Managers: managers, Kinds: kinds, Call: func(c model.Call, wanted bool) {
			if wanted {
				a.open[c], a.wanted[c] = true, true
				a.made++
			} else {
				delete(a.open, c)
				delete(a.wanted, c)
			}
		}}
		o.Chain = feature.NewChain(circuitbreaker.Feature{})
		o.Publish = func(s pipeline.Status) { a.statuses[s.Ref] = s.Status }
		o.Serve = func(_ model.ProxyName, changes []xds.Change) uint64 {
			a.version++
			a.pushed = append(a.pushed, changes...)
			return a.version
		}
	})
	return a
}

// answer answers all calls that are open, and those that follow from that.
func (a *asked) answer(t *testing.T, reply func(model.CallSpec) model.Answer) {
	t.Helper()
	for len(a.open) > 0 {
		for c := range a.open {
			delete(a.open, c)
			a.Answered(c, reply(c.Spec()))
		}
	}
}

// named has a server append its name to that of a route.
func named(t *testing.T) func(model.CallSpec) model.Answer {
	return func(s model.CallSpec) model.Answer {
		var q pb.PostRouteModifyRequest
		if err := proto.Unmarshal([]byte(s.Request), &q); err != nil {
			t.Fatal(err)
		}
		q.Route.Name += "+" + s.Manager
		data, err := proto.Marshal(q.GetRoute())
		if err != nil {
			t.Fatal(err)
		}
		return model.Answer{Data: data}
	}
}

func stampObject(t *testing.T, name, text string) source.Object {
	t.Helper()
	o := &resource.Extension{Fields: map[string]json.RawMessage{"spec": json.RawMessage(fmt.Sprintf(`{"text":%q}`, text))}}
	o.APIVersion, o.Kind, o.ObjectMeta = stampGroup+"/v1", "Stamp", meta(name)
	return source.Object{Ref: refOf(stampGroup, "Stamp", name), Object: o}
}

// stamped is a route with a Stamp.
func stampedRoute(name, host, backend string) source.Object {
	o := route(name, host, "/", backend)
	o.Object.(*gwv1.HTTPRoute).Spec.Rules[0].Filters = []gwv1.HTTPRouteFilter{{
		Type:         gwv1.HTTPRouteFilterExtensionRef,
		ExtensionRef: &gwv1.LocalObjectReference{Group: stampGroup, Kind: "Stamp", Name: "s"},
	}}
	return o
}

func stamper(name string, open bool) model.ExtensionManager {
	return model.ExtensionManager{
		Name: name, Hooks: []model.Hook{model.HookRoute}, FailOpen: open,
		Resources: []model.GroupKind{{Group: stampGroup, Kind: "Stamp"}},
	}
}

// routes are the routes that an Envoy has, by name, with the cluster or status that they lead to.
func (a *asked) routes(t *testing.T) string {
	t.Helper()
	var out []string
	for _, text := range a.hosts(t) {
		for _, r := range text.GetRoutes() {
			to := r.GetRoute().GetCluster()
			if d := r.GetDirectResponse(); d != nil {
				to = fmt.Sprint(d.GetStatus())
			}
			out = append(out, r.GetName()+"="+to)
		}
	}
	return strings.Join(out, " ")
}

func (a *asked) hosts(t *testing.T) []*routev3.VirtualHost {
	t.Helper()
	var out []*routev3.VirtualHost
	for typ, list := range a.Resources(proxy) {
		if typ.String() != "routes" {
			continue
		}
		for _, r := range list {
			body := append([]byte(nil), r.Body...)
			for _, p := range r.Parts.Sorted() {
				body = append(body, p.Body...)
			}
			var table routev3.RouteConfiguration
			if err := proto.Unmarshal(body, &table); err != nil {
				t.Fatal(err)
			}
			out = append(out, table.GetVirtualHosts()...)
		}
	}
	return out
}

// Editing one of many routes asks about that one, and editing what no server understands asks nobody.
func TestExtensionCallsCostWhatChanged(t *testing.T) {
	const routes = 200
	a := newAsked(t, stamper("x", false))
	set := append(base(), backend("b"), backend("c"), stampObject(t, "s", "text"))
	for i := range routes {
		set = append(set, stampedRoute(fmt.Sprint("r", i), fmt.Sprintf("h%d.test", i), "b"))
	}
	a.Apply(append(set, route("plain", "plain.test", "/", "b")), nil, nil)
	if a.made != routes {
		t.Errorf("%d calls for %d routes", a.made, routes)
	}
	a.answer(t, named(t))
	a.made = 0
	a.Apply([]source.Object{stampedRoute("r7", "h7.test", "c")}, nil, nil)
	if a.made != 1 {
		t.Errorf("%d calls for one route of %d", a.made, routes)
	}
	a.answer(t, named(t))
	a.made = 0
	a.Apply([]source.Object{route("plain", "plain.test", "/", "c")}, nil, nil)
	if a.made != 0 {
		t.Errorf("%d calls for a route without objects of the server", a.made)
	}
}

// Until all servers have answered, each about what the one before made, a route stays what it was.
func TestExtensionServersInOrder(t *testing.T) {
	a := newAsked(t, stamper("x", false), stamper("y", false))
	set := append(base(), backend("b"), backend("c"), stampObject(t, "s", "text"), stampedRoute("r", "h.test", "b"))
	a.Apply(set, nil, nil)
	if got := a.routes(t); got != "" {
		t.Errorf("before an answer there is %q", got)
	}
	a.answer(t, named(t))
	const first = "httproute/ns/r/0+x+y=backend/ns/b"
	if got := a.routes(t); got != first {
		t.Errorf("there is %q, want %q", got, first)
	}
	a.Apply([]source.Object{stampedRoute("r", "h.test", "c")}, nil, nil)
	if got := a.routes(t); got != first {
		t.Errorf("while the servers are asked there is %q, want %q", got, first)
	}
	a.answer(t, func(model.CallSpec) model.Answer { return model.Answer{Error: "no"} })
	if got := a.routes(t); got != first {
		t.Errorf("after they have failed there is %q, want %q", got, first)
	}
	a.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindHTTPRoute, "r")}, nil)
	if got := a.routes(t); got != "" || len(a.open) != 0 {
		t.Errorf("of a route that is gone there is %q, and calls: %v", got, a.open)
	}
}

// A server that fails about a new route leaves it failing, one that fails open leaves it as it is.
func TestExtensionServerFails(t *testing.T) {
	for open, want := range map[bool]string{false: "httproute/ns/r/0=500", true: "httproute/ns/r/0=backend/ns/b"} {
		a := newAsked(t, stamper("x", open))
		a.Apply(append(base(), backend("b"), stampObject(t, "s", "text"), stampedRoute("r", "h.test", "b")), nil, nil)
		a.answer(t, func(model.CallSpec) model.Answer { return model.Answer{Error: "no"} })
		if got := a.routes(t); got != want {
			t.Errorf("failOpen %v: there is %q, want %q", open, got, want)
		}
	}
}

// A Stamp that does not exist fails its rule, as any filter does that cannot be resolved.
func TestExtensionObjectIsMissing(t *testing.T) {
	a := newAsked(t, stamper("x", true))
	a.Apply(append(base(), backend("b"), stampedRoute("r", "h.test", "b")), nil, nil)
	if got := a.routes(t); got != "httproute/ns/r/0=500" || a.made != 0 {
		t.Errorf("there is %q, with %d calls", got, a.made)
	}
}

// A route to a backend that only a server understands stays what it was until the server has said where that is.
func TestRouteWaitsForExtendedCluster(t *testing.T) {
	m := stamper("x", false)
	m.Hooks = []model.Hook{model.HookCluster}
	a := newAsked(t, m)
	set := append(base(), backend("b"), stampObject(t, "s", "text"), route("r", "h.test", "/", "b"))
	a.Apply(set, nil, nil)
	o := route("r", "h.test", "/", "s")
	ref := &o.Object.(*gwv1.HTTPRoute).Spec.Rules[0].BackendRefs[0].BackendObjectReference
	ref.Group, ref.Kind = ptr(gwv1.Group(stampGroup)), ptr(gwv1.Kind("Stamp"))
	a.Apply([]source.Object{o}, nil, nil)
	const before = "httproute/ns/r/0=backend/ns/b"
	if got := a.routes(t); got != before || len(a.open) != 1 {
		t.Errorf("with %d calls there is %q, want %q and one call", len(a.open), got, before)
	}
	a.answer(t, func(model.CallSpec) model.Answer { return model.Answer{} })
	if got := a.routes(t); got == before || strings.Contains(got, "500") {
		t.Errorf("after the answer there is %q", got)
	}
}

// A route that goes takes its clusters along. They are not made anew without the policies that go with it: Envoys keep
// clusters for a while, and one would stand in for what they refuse of the route when it comes back.
func TestRouteTakesItsClustersAlong(t *testing.T) {
	a := newAsked(t, stamper("x", false))
	r, policy := route("r", "h.test", "/", "b"), trafficPolicy("p", 7)
	a.Apply(append(base(), backend("b"), route("other", "other.test", "/", "b"), r, policy), nil, nil)
	a.pushed = nil
	a.Apply(nil, []model.Ref{r.Ref, policy.Ref}, nil)
	gone := 0
	for _, c := range a.pushed {
		switch {
		case c.Type != xds.Cluster:
		case c.Resource != nil:
			t.Errorf("with its route gone, the cluster %s is made anew", c.Name)
		default:
			gone++
		}
	}
	if gone != 1 {
		t.Errorf("%d clusters go with the route, want one", gone)
	}
}

// What a server fails to make of a backend that only it understands is not there, and nor is a route that needs it: a
// new one answers 500, an edited one stays what it was. Both are as they should be once there is an answer.
func TestExtensionServerFailsAboutBackend(t *testing.T) {
	toStamp := func(name string) source.Object {
		o := route(name, name+".test", "/", "s")
		ref := &o.Object.(*gwv1.HTTPRoute).Spec.Rules[0].BackendRefs[0]
		ref.Group, ref.Kind = ptr(gwv1.Group(stampGroup)), ptr(gwv1.Kind("Stamp"))
		return o
	}
	m := stamper("x", false)
	m.Hooks = []model.Hook{model.HookCluster}
	a := newAsked(t, m)
	a.Apply(append(base(), backend("b"), stampObject(t, "s", "text"), route("edited", "edited.test", "/", "b")), nil, nil)
	for _, name := range []string{"edited", "new"} {
		a.Apply([]source.Object{toStamp(name)}, nil, nil)
	}
	var calls []model.Call
	for c := range a.open {
		calls = append(calls, c)
	}
	a.answer(t, func(model.CallSpec) model.Answer { return model.Answer{Error: "no"} })
	if got, want := a.routes(t), "httproute/ns/edited/0=backend/ns/b httproute/ns/new/0=500"; got != want {
		t.Errorf("while the server fails there is %q, want %q", got, want)
	}
	if len(calls) != 1 {
		t.Fatalf("%d calls for one backend", len(calls))
	}
	a.Answered(calls[0], model.Answer{})
	const cluster = "stamp.ext.example.com/ns/s"
	const want = "httproute/ns/edited/0=" + cluster + " httproute/ns/new/0=" + cluster
	if got := a.routes(t); got != want {
		t.Errorf("after an answer there is %q, want %q", got, want)
	}
	// What was complete stays, whatever becomes of the next version.
	a.Apply([]source.Object{stampObject(t, "s", "other")}, nil, nil)
	a.answer(t, func(model.CallSpec) model.Answer { return model.Answer{Error: "no"} })
	if got := a.routes(t); got != want {
		t.Errorf("when it fails again there is %q, want %q", got, want)
	}
}

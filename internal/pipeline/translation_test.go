package pipeline_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// translator is an extension server that is asked about everything.
func translator(name string, open bool, scope model.TranslationScope) model.ExtensionManager {
	return model.ExtensionManager{
		Name: name, Hooks: []model.Hook{model.HookTranslation}, FailOpen: open, Translation: scope,
	}
}

// byDefault is the scope of Envoy Gateway.
var byDefault = model.TranslationScope{Clusters: true, Secrets: true}

// translating is what a server does with all of a proxy.
func translating(t *testing.T, change func(*pb.PostTranslateModifyResponse)) func(model.CallSpec) model.Answer {
	return func(s model.CallSpec) model.Answer {
		q := requestOf(t, s)
		a := &pb.PostTranslateModifyResponse{
			Clusters: q.GetClusters(), Secrets: q.GetSecrets(), Listeners: q.GetListeners(), Routes: q.GetRoutes(),
		}
		change(a)
		data, err := proto.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		return model.Answer{Data: data}
	}
}

func requestOf(t *testing.T, s model.CallSpec) *pb.PostTranslateModifyRequest {
	t.Helper()
	var q pb.PostTranslateModifyRequest
	if err := proto.Unmarshal([]byte(s.Request), &q); err != nil {
		t.Fatal(err)
	}
	return &q
}

// slow has all clusters connect within the time.
func slow(d time.Duration) func(*pb.PostTranslateModifyResponse) {
	return func(a *pb.PostTranslateModifyResponse) {
		for _, c := range a.GetClusters() {
			c.ConnectTimeout = durationpb.New(d)
		}
	}
}

func failing(model.CallSpec) model.Answer { return model.Answer{Error: "it is away"} }

// clusters are what an Envoy has, by name, with their connect timeouts and how many endpoints they are given.
func (a *asked) clusters(t *testing.T) string {
	t.Helper()
	endpoints := map[string]int{}
	var out []string
	all := a.Resources(proxy)
	for _, r := range all[xds.Endpoints] {
		m, err := envoy.Message(xds.Endpoints, r)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range m.(*endpointv3.ClusterLoadAssignment).GetEndpoints() {
			endpoints[r.Name] += len(l.GetLbEndpoints())
		}
	}
	for _, r := range all[xds.Cluster] {
		m, err := envoy.Message(xds.Cluster, r)
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%s %s", r.Name, m.(*clusterv3.Cluster).GetConnectTimeout().AsDuration())
		if n, ok := endpoints[r.Name]; ok {
			text += fmt.Sprint(" ", n)
			delete(endpoints, r.Name)
		}
		out = append(out, text)
	}
	for name := range endpoints {
		out = append(out, "endpoints of nothing: "+name)
	}
	return strings.Join(out, ", ")
}

func (a *asked) wantClusters(t *testing.T, when, want string) {
	t.Helper()
	if got := a.clusters(t); got != want {
		t.Errorf("%s: clusters\n %s, want\n %s", when, got, want)
	}
}

func (a *asked) wantRoutes(t *testing.T, when, want string) {
	t.Helper()
	got := strings.Fields(a.routes(t))
	slices.Sort(got)
	if got := strings.Join(got, " "); got != want {
		t.Errorf("%s: routes\n %s, want\n %s", when, got, want)
	}
}

// moved is a backend with two endpoints.
func moved(name string) source.Object {
	o := backend(name)
	spec := &o.Object.(*egv1a1.Backend).Spec
	spec.Endpoints = append(spec.Endpoints, egv1a1.BackendEndpoint{IP: &egv1a1.IPEndpoint{Address: "192.0.2.2", Port: 80}})
	return o
}

// spoken is a backend that speaks another protocol: another cluster of the same name.
func spoken(name string) source.Object {
	o := backend(name)
	o.Object.(*egv1a1.Backend).Spec.AppProtocols = []egv1a1.AppProtocolType{egv1a1.AppProtocolTypeH2C}
	return o
}

// A server changes, adds and drops clusters. No route leads to a cluster before the server has decided about it.
func TestTranslationDecides(t *testing.T) {
	a := newAsked(t, translator("x", false, byDefault))
	a.Apply(append(base(), backend("b"), backend("c"), route("r", "h.test", "/", "b")), nil, nil)
	a.wantClusters(t, "before the answer", "")
	a.wantRoutes(t, "before the answer", "")
	change := func(a *pb.PostTranslateModifyResponse) {
		slow(7 * time.Second)(a)
		a.Clusters = append(a.Clusters, &clusterv3.Cluster{
			Name: "mine", ConnectTimeout: durationpb.New(time.Second),
			ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		})
	}
	a.answer(t, translating(t, change))
	a.wantClusters(t, "after the answer", "backend/ns/b 7s 1, mine 1s")
	a.wantRoutes(t, "after the answer", "httproute/ns/r/0=backend/ns/b")

	a.Apply([]source.Object{route("r", "h.test", "/", "c")}, nil, nil)
	a.wantRoutes(t, "while it is asked about another cluster", "httproute/ns/r/0=backend/ns/b")
	a.wantClusters(t, "while it is asked about another cluster", "backend/ns/b 7s 1, mine 1s")
	a.answer(t, translating(t, change))
	a.wantRoutes(t, "after the second answer", "httproute/ns/r/0=backend/ns/c")
	a.answer(t, translating(t, change))
	a.wantClusters(t, "after the second answer", "backend/ns/c 7s 1, mine 1s")

	a.Apply([]source.Object{spoken("c")}, nil, nil)
	a.answer(t, translating(t, func(a *pb.PostTranslateModifyResponse) { a.Clusters = nil }))
	a.wantClusters(t, "after all are dropped", "")
	a.wantRoutes(t, "after all are dropped", "httproute/ns/r/0=backend/ns/c")

	a.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindGateway, "gw")}, nil)
	if len(a.open) > 0 {
		t.Errorf("of a proxy without listeners it is asked: %v", a.open)
	}
}

// Endpoints never wait, and nobody is asked about them.
func TestTranslationLeavesEndpoints(t *testing.T) {
	a := newAsked(t, translator("x", false, byDefault))
	a.Apply(append(base(), backend("b"), route("r", "h.test", "/", "b")), nil, nil)
	a.answer(t, translating(t, slow(7*time.Second)))
	made := a.made
	a.Apply([]source.Object{moved("b")}, nil, nil)
	a.wantClusters(t, "after an edit of endpoints", "backend/ns/b 7s 2")
	if a.made != made {
		t.Errorf("%d calls because of endpoints", a.made-made)
	}
	a.Apply([]source.Object{backend("c"), route("s", "s.test", "/", "c")}, nil, nil)
	a.Apply([]source.Object{backend("b")}, nil, nil)
	a.wantClusters(t, "after an edit of endpoints during a call", "backend/ns/b 7s 1")
}

// However much changes while a call is under way, it is one more call.
func TestTranslationCoalesces(t *testing.T) {
	a := newAsked(t, translator("x", false, byDefault), translator("y", false, byDefault))
	set := append(base(), backend("b"))
	for i := range 20 {
		set = append(set, backend(fmt.Sprint("b", i)))
	}
	a.Apply(append(set, route("r", "h.test", "/", "b")), nil, nil)
	if len(a.open) != 1 || a.made != 1 {
		t.Errorf("%d calls at first, %d open: want one, y being asked after x", a.made, len(a.open))
	}
	a.answer(t, translating(t, slow(7*time.Second)))
	made := a.made
	for i := range 20 {
		a.Apply([]source.Object{route(fmt.Sprint("r", i), fmt.Sprintf("h%d.test", i), "/", fmt.Sprint("b", i))}, nil, nil)
		if len(a.open) != 1 {
			t.Fatalf("%d calls are open", len(a.open))
		}
	}
	a.answer(t, translating(t, slow(7*time.Second)))
	if a.made-made != 4 {
		t.Errorf("%d calls for 20 edits during a call, want 2 of each of two servers", a.made-made)
	}
	if got := strings.Count(a.clusters(t), "7s 1"); got != 21 {
		t.Errorf("%d clusters, want 21", got)
	}
}

// A server that is away: what it said stays in force for what it was asked about. What is new waits, or goes without.
func TestTranslationServerFails(t *testing.T) {
	for open, want := range map[bool]struct{ clusters, routes, status string }{
		false: {
			"backend/ns/b 7s 1, backend/ns/d 7s 1", "httproute/ns/new/0=500 httproute/ns/r/0=backend/ns/b",
			`The extension server "x" was asked for the configuration of p and has failed: it is away`,
		},
		true: {
			"backend/ns/b 7s 1, backend/ns/c 10s 1, backend/ns/d 10s 1",
			"httproute/ns/new/0=backend/ns/c httproute/ns/r/0=backend/ns/b", "",
		},
	} {
		a := newAsked(t, translator("x", open, byDefault))
		a.Apply(append(base(), backend("b"), backend("d"), route("r", "h.test", "/", "b"), route("d", "d.test", "/", "d")),
			nil, nil)
		a.answer(t, translating(t, slow(7*time.Second)))
		a.Apply([]source.Object{backend("c"), spoken("d"), route("new", "h.test", "/new", "c")}, nil, nil)
		a.answer(t, failing)
		routes := want.routes
		if a.wantClusters(t, fmt.Sprintf("failOpen %v", open), want.clusters); !strings.Contains(a.routes(t), routes) {
			t.Errorf("failOpen %v: routes %s, want %s", open, a.routes(t), routes)
		}
		if got := a.said("gw"); want.status == "" && strings.Contains(got, "extension server") ||
			!strings.Contains(got, want.status) {
			t.Errorf("failOpen %v: the Gateway says %q, want %q", open, got, want.status)
		}
		if got := a.said("new"); !strings.Contains(got, want.status) {
			t.Errorf("failOpen %v: the new route says %q, want %q", open, got, want.status)
		}
		// When it is back, all is as it says.
		for call := range a.wanted {
			a.Answered(call, translating(t, slow(8*time.Second))(call.Spec()))
		}
		a.wantClusters(t, "after it is back", "backend/ns/b 8s 1, backend/ns/c 8s 1, backend/ns/d 8s 1")
		if got := a.said("gw") + a.said("new"); strings.Contains(got, "extension server") {
			t.Errorf("after it is back, the statuses say %q", got)
		}
	}
}

// Of an answer, what cannot be used hurts nothing else.
func TestTranslationWithBadResources(t *testing.T) {
	a := newAsked(t, translator("x", false, byDefault))
	a.Apply(append(base(), backend("b"), backend("c"), route("r", "h.test", "/", "b"), route("s", "s.test", "/", "c")),
		nil, nil)
	a.answer(t, translating(t, slow(7*time.Second)))
	a.Apply([]source.Object{backend("d"), route("n", "n.test", "/", "d")}, nil, nil)
	a.answer(t, translating(t, func(a *pb.PostTranslateModifyResponse) {
		slow(8 * time.Second)(a)
		for _, c := range a.GetClusters() {
			switch c.GetName() {
			case "backend/ns/b":
				c.ConnectTimeout = durationpb.New(-time.Second)
			case "backend/ns/d":
				c.EdsClusterConfig.ServiceName = "nowhere"
			}
		}
		twice := &clusterv3.Cluster{Name: "twice"}
		a.Clusters = append(a.Clusters, twice, twice, &clusterv3.Cluster{})
	}))
	a.wantClusters(t, "after a bad answer", "backend/ns/b 7s 1, backend/ns/c 8s 1")
	a.wantRoutes(t, "after a bad answer",
		"httproute/ns/n/0=500 httproute/ns/r/0=backend/ns/b httproute/ns/s/0=backend/ns/c")
	for _, words := range []string{
		`What the extension server "x" answers for the cluster "backend/ns/b" cannot be used: invalid Cluster.ConnectTimeout`,
		`for the cluster "backend/ns/d" cannot be used: it asks for the endpoints "nowhere" by EDS`,
		`for the cluster "twice" cannot be used: there are two of this name`,
		`for a cluster without a name cannot be used`,
	} {
		if got := a.said("gw"); !strings.Contains(got, words) {
			t.Errorf("the Gateway says %q, want %q", got, words)
		}
	}
}

// What Envoy refuses of an answer is what it was, and the rest goes on.
func TestTranslationRefusedByEnvoy(t *testing.T) {
	for open, want := range map[bool]string{false: "7s", true: "10s"} {
		a := newAsked(t, translator("x", open, byDefault))
		a.Apply(append(base(), backend("b"), backend("c"), route("r", "h.test", "/", "b"), route("s", "s.test", "/", "c")),
			nil, nil)
		a.answer(t, translating(t, slow(7*time.Second)))
		a.lives()
		a.Apply([]source.Object{spoken("b"), spoken("c")}, nil, nil)
		a.answer(t, translating(t, slow(8*time.Second)))
		a.Observe(xds.Event{
			Kind: xds.Rejected, Proxy: proxy, Type: xds.Cluster, Resource: "backend/ns/b", Message: "no such thing",
			Hash: a.resource(t, xds.Cluster, "backend/ns/b").Hash,
		})
		a.wantClusters(t, "after a refusal", fmt.Sprintf("backend/ns/b %s 1, backend/ns/c 8s 1", want))
		words := `Envoy refuses what the extension server "x" has made of the cluster "backend/ns/b": no such thing`
		if got := a.said("gw"); !strings.Contains(got, words) {
			t.Errorf("the Gateway says %q, want %q", got, words)
		}
		a.Apply([]source.Object{backend("d"), route("n", "n.test", "/", "d")}, nil, nil)
		a.answer(t, translating(t, slow(9*time.Second)))
		a.wantClusters(t, "after another answer", "backend/ns/b 9s 1, backend/ns/c 9s 1, backend/ns/d 9s 1")
		if got := a.said("gw"); strings.Contains(got, "refuses") {
			t.Errorf("after another answer the Gateway says %q", got)
		}
	}
}

// Of a route table, a virtual host that Envoy refuses falls back alone.
func TestTranslatedHostRefusedByEnvoy(t *testing.T) {
	a := newAsked(t, translator("x", false, model.TranslationScope{Routes: true}))
	a.Apply(append(base(), backend("b"), route("r", "h.test", "/", "b"), route("s", "s.test", "/", "b")), nil, nil)
	rename := func(by string) func(*pb.PostTranslateModifyResponse) {
		return func(a *pb.PostTranslateModifyResponse) {
			for _, table := range a.GetRoutes() {
				for _, h := range table.GetVirtualHosts() {
					for _, r := range h.GetRoutes() {
						r.Name += by
					}
				}
			}
		}
	}
	a.answer(t, translating(t, rename("+1")))
	a.lives()
	a.Apply([]source.Object{route("u", "u.test", "/", "b")}, nil, nil)
	a.answer(t, translating(t, rename("+2")))
	table := a.resource(t, xds.Routes, "http/8080")
	part := table.Part("h.test")
	a.Observe(xds.Event{
		Kind: xds.Rejected, Proxy: proxy, Type: xds.Routes, Resource: table.Name, Part: "h.test",
		Hash: part.Hash, Owners: part.Owners, Message: "no such thing",
	})
	a.wantRoutes(t, "after a refusal", "httproute/ns/r/0+1=backend/ns/b httproute/ns/s/0+2=backend/ns/b "+
		"httproute/ns/u/0+2=backend/ns/b")
	if got := a.said("r"); strings.Contains(got, "no such thing") {
		t.Errorf("the route is blamed: %q", got)
	}
}

// A server is given what is in its scope and nothing else, in a fixed order, and decides about nothing else.
func TestTranslationScope(t *testing.T) {
	world := slices.Concat(base(), []source.Object{
		backend("b"), backend("c"), route("r", "h.test", "/", "b"), route("s", "s.test", "/", "c"),
	}, certified(t))
	var requests []string
	for range 2 {
		for _, scope := range []model.TranslationScope{byDefault, {Listeners: true, Routes: true}, {Clusters: true}} {
			a := newAsked(t, translator("x", false, scope))
			slices.Reverse(world)
			a.Apply(world, nil, nil)
			a.answer(t, func(s model.CallSpec) model.Answer {
				requests = append(requests, s.Request)
				q := requestOf(t, s)
				if (len(q.GetClusters()) == 2) != scope.Clusters || (len(q.GetSecrets()) == 1) != scope.Secrets ||
					(len(q.GetListeners()) == 2) != scope.Listeners || (len(q.GetRoutes()) == 2) != scope.Routes {
					t.Errorf("%+v: it is given %v", scope, q)
				}
				if strings.Contains(s.Request, "PRIVATE KEY") != scope.Secrets {
					t.Errorf("%+v: the private key is shown, or not", scope)
				}
				return translating(t, func(a *pb.PostTranslateModifyResponse) {
					a.Secrets = append(a.Secrets, &tlsv3.Secret{Name: "added"})
					a.Routes = append(a.Routes, &routev3.RouteConfiguration{Name: "added"})
				})(s)
			})
			got := a.Resources(proxy)
			named := func(r *xds.Resource) bool { return r.Name == "added" }
			if slices.ContainsFunc(got[xds.Secret], named) != scope.Secrets ||
				slices.ContainsFunc(got[xds.Routes], named) != scope.Routes {
				t.Errorf("%+v: something is added out of the scope, or missing", scope)
			}
		}
	}
	slices.Sort(requests)
	if got := len(slices.Compact(requests)); got != 3 {
		t.Errorf("%d different questions for two orders and three scopes", got)
	}
}

// Who does not use the hook pays nothing for it: there is no table of it.
func TestNoTranslationCostsNothing(t *testing.T) {
	tables := func(managers ...model.ExtensionManager) []string {
		a := newAsked(t, managers...)
		names := map[string]bool{}
		for _, w := range a.Apply(world(), nil, nil).Result.Tables {
			names[w.Table] = true
		}
		return slices.Sorted(maps.Keys(names))
	}
	const own = "translated proxies"
	without, with := tables(), tables(translator("x", true, byDefault))
	if slices.Contains(without, own) || !slices.Contains(with, own) {
		t.Errorf("tables without the hook %v, with it %v", without, with)
	}
}

// certified is an HTTPS Gateway on the same proxy, with its certificate.
func certified(t *testing.T) []source.Object {
	t.Helper()
	gateway := base()[1].Object.(*gwv1.Gateway)
	gateway.Name = "secure"
	l := &gateway.Spec.Listeners[0]
	l.Port, l.Protocol = 8443, gwv1.HTTPSProtocolType
	l.TLS = &gwv1.ListenerTLSConfig{CertificateRefs: []gwv1.SecretObjectReference{{Name: "cert"}}}
	return []source.Object{
		{Ref: refOf(model.GroupGateway, model.KindGateway, "secure"), Object: gateway}, certificate(t),
	}
}

// said is what the conditions of an object say that are not met.
func (a *asked) said(name string) string {
	var out []string
	for ref, st := range a.statuses {
		if ref.Name.Name != name || st == nil {
			continue
		}
		status.EachCondition(st, func(_ string, c *metav1.Condition) {
			if c.Status == metav1.ConditionFalse {
				out = append(out, c.Message)
			}
		})
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// lives has the Envoys of the proxy have everything.
func (a *asked) lives() {
	a.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: a.version})
}

func (a *asked) resource(t *testing.T, typ xds.Type, name string) *xds.Resource {
	t.Helper()
	for _, r := range a.Resources(proxy)[typ] {
		if r.Name == name {
			return r
		}
	}
	t.Fatalf("there is no %s %s", typ, name)
	return nil
}

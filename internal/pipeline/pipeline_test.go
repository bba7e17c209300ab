package pipeline_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/circuitbreaker"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const proxy model.ProxyName = "p"

func ptr[T any](v T) *T { return &v }

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "ns", Name: name, Generation: 1}
}

func refOf(group, kind, name string) model.Ref {
	return model.Ref{Group: group, Kind: kind, Name: model.Name{Namespace: "ns", Name: name}}
}

// base is a class and a Gateway with one HTTP listener.
func base() []source.Object {
	class := refOf(model.GroupGateway, model.KindGatewayClass, "sluice")
	class.Namespace = ""
	return []source.Object{
		{Ref: class, Object: &gwv1.GatewayClass{
			ObjectMeta: metav1.ObjectMeta{Name: "sluice", Generation: 1},
			Spec:       gwv1.GatewayClassSpec{ControllerName: "example.com/ours"},
		}},
		{Ref: refOf(model.GroupGateway, model.KindGateway, "gw"), Object: &gwv1.Gateway{
			ObjectMeta: meta("gw"),
			Spec: gwv1.GatewaySpec{GatewayClassName: "sluice", Listeners: []gwv1.Listener{{
				Name: "http", Port: 8080, Protocol: gwv1.HTTPProtocolType,
				AllowedRoutes: &gwv1.AllowedRoutes{Namespaces: &gwv1.RouteNamespaces{From: ptr(gwv1.NamespacesFromSame)}},
			}}},
		}},
	}
}

func backend(name string) source.Object {
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindBackend, name), Object: &egv1a1.Backend{
		ObjectMeta: meta(name),
		Spec: egv1a1.BackendSpec{
			Type:      ptr(egv1a1.BackendTypeEndpoints),
			Endpoints: []egv1a1.BackendEndpoint{{IP: &egv1a1.IPEndpoint{Address: "192.0.2.1", Port: 80}}},
		},
	}}
}

func route(name, host, path string, backends ...string) source.Object {
	rule := gwv1.HTTPRouteRule{Matches: []gwv1.HTTPRouteMatch{{Path: &gwv1.HTTPPathMatch{
		Type: ptr(gwv1.PathMatchPathPrefix), Value: &path,
	}}}}
	for _, b := range backends {
		rule.BackendRefs = append(rule.BackendRefs, gwv1.HTTPBackendRef{BackendRef: gwv1.BackendRef{
			Weight: ptr[int32](1),
			BackendObjectReference: gwv1.BackendObjectReference{
				Group: ptr(gwv1.Group(model.GroupEnvoyGateway)), Kind: ptr(gwv1.Kind(model.KindBackend)),
				Name: gwv1.ObjectName(b),
			},
		}})
	}
	return source.Object{Ref: refOf(model.GroupGateway, model.KindHTTPRoute, name), Object: &gwv1.HTTPRoute{
		ObjectMeta: meta(name),
		Spec: gwv1.HTTPRouteSpec{
			CommonRouteSpec: gwv1.CommonRouteSpec{ParentRefs: []gwv1.ParentReference{{
				Group: ptr(gwv1.Group(model.GroupGateway)), Kind: ptr(gwv1.Kind(model.KindGateway)), Name: "gw",
			}}},
			Hostnames: []gwv1.Hostname{gwv1.Hostname(host)},
			Rules:     []gwv1.HTTPRouteRule{rule},
		},
	}}
}

func newPipeline(change func(*pipeline.Options)) *pipeline.Pipeline {
	opts := pipeline.Options{
		Controllers: []string{"example.com/ours"},
		Proxy:       func(model.Name) model.ProxyName { return proxy },
		Proxies:     []model.ProxyName{proxy},
		Chain:       feature.NewChain(),
		Bind:        "0.0.0.0", Workers: 2,
	}
	if change != nil {
		change(&opts)
	}
	return pipeline.New(opts)
}

// contents is everything that an Envoy is told, as comparable text.
func contents(p *pipeline.Pipeline) map[string]string {
	out := map[string]string{}
	for typ, list := range p.Resources(proxy) {
		for _, r := range list {
			var b strings.Builder
			fmt.Fprintf(&b, "%x %x needs %v owners %v", r.Hash, r.Body, r.Needs, r.Owners)
			for part := range r.Parts.All() {
				fmt.Fprintf(&b, "\n%s %x needs %v owners %v", part.Name, part.Body, part.Needs, part.Owners)
			}
			out[typ.String()+" "+r.Name] = b.String()
		}
	}
	return out
}

func world() []source.Object {
	objects := base()
	for i := range 20 {
		objects = append(objects, backend(fmt.Sprintf("b%d", i)))
	}
	for i := range 60 {
		objects = append(objects, route(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i%15),
			fmt.Sprintf("/p%d", i), fmt.Sprintf("b%d", i%20), fmt.Sprintf("b%d", i%7)))
	}
	return objects
}

// The same objects give the same bytes, whatever order and batches they arrive in.
func TestOrderOfArrivalDoesNotMatter(t *testing.T) {
	objects := world()
	whole := newPipeline(nil)
	whole.Apply(objects, nil, nil)
	want := contents(whole)
	rng := rand.New(rand.NewPCG(7, 7))
	for range 10 {
		shuffled := slices.Clone(objects)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
		p := newPipeline(nil)
		// An object that comes and goes leaves no trace.
		p.Apply([]source.Object{route("ghost", "h1.example.com", "/", "b1")}, nil, nil)
		for rest := shuffled; len(rest) > 0; {
			n := min(len(rest), 1+rng.IntN(20))
			p.Apply(rest[:n], nil, nil)
			rest = rest[n:]
		}
		p.Apply(nil, []model.Ref{refOf(model.GroupGateway, model.KindHTTPRoute, "ghost")}, nil)
		if diff := cmp.Diff(want, contents(p)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// A change costs what it touches, and hands on what it touches, at any size.
func TestOneEditAmongManyRoutes(t *testing.T) {
	const routes = 10_000
	var pushed []xds.Change
	p := newPipeline(func(o *pipeline.Options) {
		o.Serve = func(_ model.ProxyName, c []xds.Change) uint64 { pushed = c; return 1 }
	})
	objects := base()
	for i := range routes {
		objects = append(objects, backend(fmt.Sprintf("b%d", i)),
			route(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i), "/", fmt.Sprintf("b%d", i)))
	}
	p.Apply(objects, nil, nil)

	cases := map[string]struct {
		set    []source.Object
		remove []model.Ref
		most   int
		pushes []string
	}{
		"another path": {
			set:  []source.Object{route("r77", "h77.example.com", "/new", "b77")},
			most: 20, pushes: []string{"routes http/8080 [h77.example.com]"},
		},
		"another backend": {
			set:  []source.Object{route("r78", "h78.example.com", "/", "b79")},
			most: 20,
			pushes: []string{
				"cluster backend/ns/b78 removed", "endpoints backend/ns/b78 removed", "routes http/8080 [h78.example.com]",
			},
		},
		"another address": {
			set: []source.Object{func() source.Object {
				b := backend("b80")
				b.Object.(*egv1a1.Backend).Spec.Endpoints[0].IP.Address = "192.0.2.2"
				return b
			}()},
			most: 20, pushes: []string{"endpoints backend/ns/b80"},
		},
		"one route less": {
			remove: []model.Ref{refOf(model.GroupGateway, model.KindHTTPRoute, "r81")},
			most:   20,
			pushes: []string{
				"cluster backend/ns/b81 removed", "endpoints backend/ns/b81 removed", "routes http/8080 [h81.example.com]",
			},
		},
		"the same again": {set: []source.Object{route("r82", "h82.example.com", "/", "b82")}, most: 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			pushed = nil
			out := p.Apply(c.set, c.remove, nil)
			if got := out.Result.Recomputed(); got > c.most {
				t.Errorf("%d keys were recomputed, at most %d should be: %+v", got, c.most, out.Result.Tables)
			}
			var got []string
			for _, ch := range pushed {
				text := ch.Type.String() + " " + ch.Name
				if ch.Resource == nil {
					text += " removed"
				}
				if len(ch.Parts) > 0 {
					text += fmt.Sprint(" ", ch.Parts)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.pushes, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A bad object changes nobody else's bytes.
func TestBadObjectHurtsOnlyItself(t *testing.T) {
	p := newPipeline(nil)
	p.Apply(world(), nil, nil)
	before := contents(p)
	bad := map[string]source.Object{
		"no such backend": route("bad", "bad.example.com", "/", "nowhere"),
		"no backends":     route("bad", "bad.example.com", "/"),
		"a parent that is not there": func() source.Object {
			r := route("bad", "bad.example.com", "/", "b1")
			r.Object.(*gwv1.HTTPRoute).Spec.ParentRefs[0].Name = "nowhere"
			return r
		}(),
		"a feature that is not there": func() source.Object {
			r := route("bad", "bad.example.com", "/", "b1")
			r.Object.(*gwv1.HTTPRoute).Spec.Rules[0].Filters = []gwv1.HTTPRouteFilter{{Type: "Nonsense"}}
			return r
		}(),
	}
	for name, o := range bad {
		t.Run(name, func(t *testing.T) {
			out := p.Apply([]source.Object{o}, nil, nil)
			if len(out.Result.Faults) > 0 {
				t.Fatal(out.Result.Faults)
			}
			after := contents(p)
			for key, want := range before {
				got := after[key]
				if strings.HasPrefix(key, "routes ") {
					got = withoutHost(got, "bad.example.com")
					got, want = withoutVersion(got), withoutVersion(want)
				}
				if got != want {
					t.Errorf("%s changed:\n%s", key, cmp.Diff(want, got))
				}
			}
			p.Apply(nil, []model.Ref{o.Ref}, nil)
			if diff := cmp.Diff(before, contents(p)); diff != "" {
				t.Errorf("after it is gone: %s", diff)
			}
		})
	}
}

func withoutHost(table, host string) string {
	lines := strings.Split(table, "\n")
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.HasPrefix(l, host) }), "\n")
}

// withoutVersion drops the hash of the whole, which has to change when a host comes.
func withoutVersion(table string) string {
	_, rest, _ := strings.Cut(table, " ")
	return rest
}

// fakeEnvoy stands for the xDS server and an Envoy that refuses virtual hosts in which it sees certain routes.
type fakeEnvoy struct {
	bad     map[string]bool // names of routes
	refuses string          // or what is in a host
	p       *pipeline.Pipeline
	version uint64
	known   map[uint64]bool
	events  []xds.Event
	serving map[string]*xds.Part
	refused int
}

func (f *fakeEnvoy) serve(_ model.ProxyName, changes []xds.Change) uint64 {
	f.version++
	for _, c := range changes {
		if c.Type != xds.Routes || c.Resource == nil {
			continue
		}
		for part := range c.Resource.Parts.All() {
			if f.accepts(part) {
				f.serving[part.Name] = part
			} else if !f.known[part.Hash] {
				f.known[part.Hash] = true
				f.refused++
				f.events = append(f.events, xds.Event{
					Kind: xds.Rejected, Proxy: proxy, Type: xds.Routes, Resource: c.Name, Part: part.Name,
					Hash: part.Hash, Owners: part.Owners, Message: "no such thing",
				})
			}
		}
	}
	f.events = append(f.events, xds.Event{Kind: xds.Live, Proxy: proxy, Version: f.version})
	return f.version
}

func (f *fakeEnvoy) accepts(part *xds.Part) bool {
	if f.refuses != "" && strings.Contains(string(part.Body), f.refuses) {
		return false
	}
	for _, o := range part.Owners {
		if f.bad[o.Name.Name] && strings.Contains(string(part.Body), "/bad") {
			return false
		}
	}
	return true
}

// settle delivers events until there are none, as the server's queue does.
func (f *fakeEnvoy) settle(t *testing.T) {
	t.Helper()
	for n := 0; len(f.events) > 0; n++ {
		if n > 1000 {
			t.Fatal("the search for the culprit does not end")
		}
		e := f.events[0]
		f.events = f.events[1:]
		f.p.Observe(e)
	}
}

// What Envoy refuses is found and taken out, and nothing else is; mended, it is back.
func TestRefusedRoutesAreFoundAmongOthers(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 40 {
		n := 1 + rng.IntN(9)
		statuses := map[string]pipeline.Status{}
		f := &fakeEnvoy{bad: map[string]bool{}, known: map[uint64]bool{}, serving: map[string]*xds.Part{}}
		f.p = newPipeline(func(o *pipeline.Options) {
			o.Serve = f.serve
			o.Publish = func(s pipeline.Status) { statuses[s.Ref.Name.Name] = s }
		})
		objects := append(base(), backend("b"))
		want := map[string]bool{}
		for i := range n {
			name, path := fmt.Sprintf("r%d", i), fmt.Sprintf("/ok%d", i)
			if rng.IntN(3) == 0 {
				f.bad[name], path = true, fmt.Sprintf("/bad%d", i)
			} else {
				want[path] = true
			}
			objects = append(objects, route(name, "h.example.com", path, "b"))
		}
		f.p.Apply(objects, nil, nil)
		f.settle(t)
		if diff := cmp.Diff(want, servedPaths(f, n)); diff != "" {
			t.Fatalf("bad are %v: %s", slices.Sorted(maps.Keys(f.bad)), diff)
		}
		for name := range f.bad {
			if text := fmt.Sprintf("%+v", statuses[name].Status); !strings.Contains(text, "no such thing") {
				t.Fatalf("the status of %s does not have Envoy's words: %s", name, text)
			}
		}
		for name := range f.bad {
			f.p.Apply([]source.Object{route(name, "h.example.com", "/ok-"+name, "b")}, nil, nil)
			f.settle(t)
		}
		if got := len(servedPaths(f, n)); got != n {
			t.Fatalf("%d of %d routes are served after all were mended", got, n)
		}
	}
}

// servedPaths are the paths that the one host serves.
func servedPaths(f *fakeEnvoy, n int) map[string]bool {
	out := map[string]bool{}
	body := string(f.serving["h.example.com"].Body)
	for i := range n {
		for _, path := range []string{fmt.Sprintf("/ok%d", i), fmt.Sprintf("/bad%d", i), fmt.Sprintf("/ok-r%d", i)} {
			if strings.Contains(body, path) {
				out[path] = true
			}
		}
	}
	return out
}

// The last good version of a route goes on while a new one is refused.
func TestRefusedRouteKeepsItsLastGoodVersion(t *testing.T) {
	f := &fakeEnvoy{bad: map[string]bool{"r": true}, known: map[uint64]bool{}, serving: map[string]*xds.Part{}}
	f.p = newPipeline(func(o *pipeline.Options) { o.Serve = f.serve })
	apply := func(objects ...source.Object) string {
		f.p.Apply(objects, nil, nil)
		f.settle(t)
		return string(f.serving["h.example.com"].Body)
	}
	apply(append(base(), backend("b"),
		route("r", "h.example.com", "/first", "b"), route("s", "h.example.com", "/s1", "b"))...)
	if body := apply(route("r", "h.example.com", "/bad", "b")); !strings.Contains(body, "/first") {
		t.Error("the last good version is gone")
	}
	body := apply(route("s", "h.example.com", "/s2", "b"))
	if !strings.Contains(body, "/first") || !strings.Contains(body, "/s2") {
		t.Error("another route of the host does not go on, or not beside the last good version")
	}
	if body := apply(route("r", "h.example.com", "/third", "b")); !strings.Contains(body, "/third") {
		t.Error("the mended route is not served")
	}
}

// TestLastGoodVersionIsTheLastThatWasLive has versions of routes follow each other faster than Envoy takes them in: the
// one that stays is the last that Envoy had, neither one that it refused nor one of long ago.
func TestLastGoodVersionIsTheLastThatWasLive(t *testing.T) {
	f := &fakeEnvoy{
		bad: map[string]bool{"r": true, "other": true}, known: map[uint64]bool{}, serving: map[string]*xds.Part{},
	}
	f.p = newPipeline(func(o *pipeline.Options) { o.Serve = f.serve })
	f.p.Observe(xds.Event{Kind: xds.Connected, Proxy: proxy})
	n := 0
	step := func(path string) {
		n++
		f.p.Apply([]source.Object{
			route("r", "h.example.com", path, "b"), route("busy", "busy.example.com", fmt.Sprint("/", n), "b"),
		}, nil, nil)
	}
	want := func(path, why string) {
		t.Helper()
		f.settle(t)
		if body := string(f.serving["h.example.com"].Body); !strings.Contains(body, path) {
			t.Errorf("%s: %s is not served", why, path)
		}
	}
	f.p.Apply(append(base(), backend("b"), route("other", "other.example.com", "/bad", "b")), nil, nil)
	step("/first")
	for _, e := range f.events { // the rejection of the other one is followed by a version that is not live yet
		f.p.Observe(e)
		if e.Kind == xds.Live && e.Version == 2 {
			break
		}
	}
	f.events = nil
	step("/bad1")
	want("/first", "the first is live, though another version is under way")
	step("/bad2")
	want("/first", "the version before was refused, too")
	step("/second")
	step("/third")
	step("/bad3")
	want("/third", "versions came in a row")
	step("/bad4")
	step("/bad5")
	want("/third", "only refused ones came in a row")
}

// TestVersionsThatAreNotLiveAreBounded has a route and a policy change a thousand times while no Envoy is there, or it
// takes in nothing: what they were before does not pile up, and the version that was live last still stays.
func TestVersionsThatAreNotLiveAreBounded(t *testing.T) {
	r := newReplica("alone")
	r.Apply(append(base(), backend("b"), route("r", "h.example.com", "/first", "b")), nil, nil)
	r.connect()
	r.ack()
	change := func(n int) {
		r.Apply([]source.Object{
			route("r", "h.example.com", fmt.Sprint("/", n), "b"), btp("p", model.KindHTTPRoute, "r", int64(n)),
		}, nil, nil)
		r.updates = r.updates[max(0, len(r.updates)-10):]
	}
	grown := func(changes int) uint64 {
		for n := range changes {
			change(n)
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := grown(1000)
	if after := grown(3000); after > before+2<<20 {
		t.Errorf("3,000 changes take %d KiB", (after-before)>>10)
	}
	r.nack(t, xds.Routes, "h.example.com")
	r.ack()
	served := ""
	for part := range r.Resources(proxy)[xds.Routes][0].Parts.All() {
		served += string(part.Body)
	}
	if !strings.Contains(served, "/first") {
		t.Errorf("what stays is not what was live: %q", served)
	}
}

// Where there is no other controller, what refers to nothing is said, and said to be mended once it is there.
func TestStrays(t *testing.T) {
	p := newPipeline(func(o *pipeline.Options) { o.Alone = true })
	texts := func(r []string, issues []status.Issue) []string {
		for _, i := range issues {
			r = append(r, i.String())
		}
		return r
	}
	objects := append(base(), backend("b"), route("r", "h.example.com", "/", "b"))
	noGateway := []string{"HTTPRoute/ns/r: spec.parentRefs[0]: There is no Gateway ns/gw (NoMatchingParent)"}
	noClass := []string{
		`Gateway/ns/gw: spec.gatewayClassName: There is no GatewayClass "sluice": use sluice, or write it (NoMatchingParent)`,
	}
	steps := []struct {
		name          string
		set           []source.Object
		remove        []model.Ref
		issues, fixed []string
	}{
		{"a route without its Gateway", objects[2:], nil, noGateway, nil},
		{"the Gateway without its class", objects[1:2], nil, noClass, noGateway},
		{"the class", objects[:1], nil, nil, noClass},
		{"the Gateway goes", nil, []model.Ref{objects[1].Ref}, noGateway, nil},
		{"the route goes", nil, []model.Ref{objects[3].Ref}, nil, noGateway},
	}
	for _, s := range steps {
		out := p.Apply(s.set, s.remove, nil)
		if diff := cmp.Diff(s.issues, texts(nil, out.Issues)); diff != "" {
			t.Errorf("%s: issues: %s", s.name, diff)
		}
		if diff := cmp.Diff(s.fixed, texts(nil, out.Fixed)); diff != "" {
			t.Errorf("%s: fixed: %s", s.name, diff)
		}
	}
	if left := p.Issues(); len(left) > 0 {
		t.Errorf("in the end there are issues: %v", left)
	}
}

// What Envoy refuses besides routes is in the status of the objects that it came from, in Envoy's words, until it is
// something else.
// trafficPolicy is one with settings for the clusters of the route r.
func trafficPolicy(name string, connections int64) source.Object {
	policy := &egv1a1.BackendTrafficPolicy{ObjectMeta: meta(name)}
	policy.Spec.TargetRefs = []gwv1.LocalPolicyTargetReferenceWithSectionName{{
		LocalPolicyTargetReference: gwv1.LocalPolicyTargetReference{Group: gwv1.GroupName, Kind: "HTTPRoute", Name: "r"},
	}}
	policy.Spec.CircuitBreaker = &egv1a1.CircuitBreaker{MaxConnections: &connections}
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, name), Object: policy}
}

func TestRefusedResourcesAreInTheStatus(t *testing.T) {
	cases := map[string]struct {
		refused xds.Event
		object  string
		want    string
		mend    source.Object
	}{
		"cluster": {
			xds.Event{Type: xds.Cluster, Resource: "backend/ns/b", Owners: []model.Ref{backend("b").Ref}},
			"b", "Envoy refused the backend: no such thing",
			func() source.Object {
				b := backend("b")
				b.Object.(*egv1a1.Backend).Spec.AppProtocols = []egv1a1.AppProtocolType{egv1a1.AppProtocolTypeH2C}
				return b
			}(),
		},
		"cluster with settings": {
			xds.Event{
				Type: xds.Cluster, Resource: "backend/ns/b~settings/backendtrafficpolicy/ns/p",
				Owners: []model.Ref{trafficPolicy("p", 1).Ref},
			},
			"p", "Envoy refused backend/ns/b~settings/backendtrafficpolicy/ns/p with these settings: no such thing",
			trafficPolicy("p", 2),
		},
		"listener": {
			xds.Event{Type: xds.Listener, Resource: "tcp/8080", Owners: []model.Ref{base()[1].Ref}},
			"gw", "Envoy refused the listener: no such thing",
			func() source.Object {
				gw := base()[1]
				gw.Object.(*gwv1.Gateway).Spec.Listeners[0].Hostname = ptr(gwv1.Hostname("other.example.com"))
				gw.Object.(*gwv1.Gateway).Spec.Listeners[0].Port = 8081
				return gw
			}(),
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			statuses := map[string]any{}
			p := newPipeline(func(o *pipeline.Options) {
				o.Serve = func(model.ProxyName, []xds.Change) uint64 { return 1 }
				o.Publish = func(s pipeline.Status) { statuses[s.Ref.Name.Name] = s.Status }
				o.Chain = feature.NewChain(circuitbreaker.Feature{})
			})
			p.Apply(append(base(), backend("b"), route("r", "h.example.com", "/", "b")), nil, nil)
			if c.object == "p" {
				p.Apply([]source.Object{trafficPolicy("p", 1)}, nil, nil)
			}
			c.refused.Kind, c.refused.Proxy, c.refused.Message = xds.Rejected, proxy, "no such thing"
			p.Observe(c.refused)
			if text := fmt.Sprintf("%+v", statuses[c.object]); !strings.Contains(text, c.want) {
				t.Errorf("the status lacks %q: %s", c.want, text)
			}
			p.Apply([]source.Object{c.mend}, nil, nil)
			p.Observe(xds.Event{Kind: xds.Live, Proxy: proxy, Version: 1})
			if text := fmt.Sprintf("%+v", statuses[c.object]); strings.Contains(text, "refused") {
				t.Errorf("after it is mended the status still says so: %s", text)
			}
		})
	}
}

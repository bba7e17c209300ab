package pipeline_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// patching is an EnvoyPatchPolicy of the Gateway with the patches, and what changes the rest of its spec.
func patching(t *testing.T, name, patches string, change ...func(*egv1a1.EnvoyPatchPolicy)) source.Object {
	t.Helper()
	p := &egv1a1.EnvoyPatchPolicy{ObjectMeta: meta(name)}
	p.Spec.Type = egv1a1.JSONPatchEnvoyPatchType
	p.Spec.TargetRef = gwv1.LocalPolicyTargetReference{Group: model.GroupGateway, Kind: model.KindGateway, Name: "gw"}
	if err := yaml.Unmarshal([]byte(patches), &p.Spec.JSONPatches); err != nil {
		t.Fatal(err)
	}
	types := map[egv1a1.EnvoyResourceType]egv1a1.EnvoyResourceType{}
	for typ := range xds.Types() {
		types[egv1a1.EnvoyResourceType(typ.String())] = egv1a1.EnvoyResourceType(typ.URL())
	}
	for i := range p.Spec.JSONPatches {
		p.Spec.JSONPatches[i].Type = types[p.Spec.JSONPatches[i].Type]
	}
	for _, c := range change {
		c(p)
	}
	return source.Object{Ref: refOf(model.GroupEnvoyGateway, model.KindEnvoyPatchPolicy, name), Object: p}
}

// buffer has the listener buffer n bytes.
func buffer(n int) string {
	return fmt.Sprintf("[{type: listener, name: ns/gw/http, operation: "+
		"{op: replace, path: /per_connection_buffer_limit_bytes, value: %d}}]", n)
}

// connecting has connections to the backend of a route take so many seconds at most.
func connecting(route string, seconds int) string {
	return fmt.Sprintf("[{type: cluster, name: httproute/ns/%s/rule/0, operation: "+
		"{op: replace, path: /connect_timeout, value: %ds}}]", route, seconds)
}

func allowed(o *pipeline.Options) { o.Patches = true }

// find returns a resource as Envoy gets it.
func find[M proto.Message](t *testing.T, p *pipeline.Pipeline, typ xds.Type, name string, into M) M {
	t.Helper()
	for _, r := range p.Resources(proxy)[typ] {
		if r.Name == name {
			if err := proto.Unmarshal(r.Body, into); err != nil {
				t.Fatal(err)
			}
			return into
		}
	}
	t.Fatalf("there is no %s %s", typ, name)
	return into
}

func bufferOf(t *testing.T, p *pipeline.Pipeline) uint32 {
	t.Helper()
	l := find(t, p, xds.Listener, "tcp/8080", &listenerv3.Listener{})
	return l.GetPerConnectionBufferLimitBytes().GetValue()
}

// programmed returns the Programmed condition of a policy as it was published last.
func (r *replica) programmed(name string) string {
	st, _ := r.statuses[name].Status.(*gwv1.PolicyStatus)
	if st == nil || len(st.Ancestors) == 0 {
		return "none"
	}
	for _, c := range st.Ancestors[0].Conditions {
		if c.Type == "Programmed" {
			return fmt.Sprintf("%s/%s: %s", c.Status, c.Reason, c.Message)
		}
	}
	return "none"
}

func (r *replica) wantProgrammed(t *testing.T, name, want string) {
	t.Helper()
	if got := r.programmed(name); !strings.Contains(got, want) {
		t.Errorf("Programmed of %s is %q at %s, want %q", name, got, r.name, want)
	}
}

// One patch among many routes costs what it names, and a route elsewhere costs no patch.
func TestPatchCostsWhatItNames(t *testing.T) {
	const routes = 3000
	var pushed []string
	p := newPipeline(func(o *pipeline.Options) {
		o.Patches = true
		o.Serve = func(_ model.ProxyName, changes []xds.Change) uint64 {
			for _, c := range changes {
				pushed = append(pushed, c.Type.String()+" "+c.Name)
			}
			return 1
		}
	})
	objects := base()
	for i := range routes {
		objects = append(objects, backend(fmt.Sprintf("b%d", i)),
			route(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i), "/", fmt.Sprintf("b%d", i)))
	}
	p.Apply(append(objects, patching(t, "first", connecting("r1", 3)), patching(t, "port", buffer(4096))), nil, nil)
	for name, c := range map[string]struct {
		set    source.Object
		pushes []string
	}{
		"another patch":       {patching(t, "first", connecting("r1", 4)), []string{"cluster backend/ns/b1"}},
		"one more":            {patching(t, "second", connecting("r2", 3)), []string{"cluster backend/ns/b2"}},
		"of the listener":     {patching(t, "port", buffer(8192)), []string{"listener tcp/8080"}},
		"a route":             {route("r5", "h5.example.com", "/new", "b5"), []string{"routes http/8080"}},
		"the route of one":    {route("r1", "h1.example.com", "/new", "b1"), []string{"routes http/8080"}},
		"what is not there":   {patching(t, "third", connecting("nowhere", 3)), nil},
		"a backend elsewhere": {route("r6", "h6.example.com", "/new", "b6"), []string{"routes http/8080"}},
	} {
		t.Run(name, func(t *testing.T) {
			pushed = nil
			out := p.Apply([]source.Object{c.set}, nil, nil)
			if n := out.Result.Recomputed(); n > 30 {
				t.Errorf("%d keys were recomputed: %+v", n, out.Result.Tables)
			}
			if !slices.Equal(pushed, c.pushes) {
				t.Errorf("pushed %q, want %q", pushed, c.pushes)
			}
		})
	}
}

// Policies come in the order of their priorities, then their names; a policy is applied to a resource as a whole.
func TestPatchesComeInOrder(t *testing.T) {
	r := newReplica("one", allowed)
	of := func(priority int32) func(*egv1a1.EnvoyPatchPolicy) {
		return func(p *egv1a1.EnvoyPatchPolicy) { p.Spec.Priority = priority }
	}
	objects := append(base(), backend("b"), route("r", "h.example.com", "/", "b"),
		patching(t, "a", buffer(1)), patching(t, "b", buffer(2)), patching(t, "early", buffer(3), of(-1)),
		patching(t, "half", `
- {type: listener, name: ns/gw/http, operation: {op: replace, path: /per_connection_buffer_limit_bytes, value: 9}}
- {type: listener, name: ns/gw/http, operation: {op: test, path: /stat_prefix, value: x}}
- {type: cluster, name: httproute/ns/r/rule/0, operation: {op: replace, path: /connect_timeout, value: 3s}}`, of(5)))
	slices.Reverse(objects)
	r.Apply(objects, nil, nil)
	if got := bufferOf(t, r.Pipeline); got != 2 {
		t.Errorf("the listener buffers %d bytes, as the last policy in order does not say", got)
	}
	r.wantProgrammed(t, "half", "False/Invalid: spec.jsonPatches[1]: test /stat_prefix")
	c := find(t, r.Pipeline, xds.Cluster, "backend/ns/b", &clusterv3.Cluster{})
	if c.GetConnectTimeout().GetSeconds() != 3 {
		t.Errorf("a patch of another resource was not applied: %v", c)
	}
	r.Apply(nil, []model.Ref{refOf(model.GroupEnvoyGateway, model.KindEnvoyPatchPolicy, "b")}, nil)
	if got := bufferOf(t, r.Pipeline); got != 1 {
		t.Errorf("the listener buffers %d bytes once the last policy is gone", got)
	}
}

// What Envoy refuses is laid to the policy that is new, which is taken back, and tried again when it is another one.
func TestPatchRefusedByEnvoy(t *testing.T) {
	r := newReplica("one", allowed)
	r.connect()
	r.Apply(append(base(), patching(t, "good", buffer(1))), nil, nil)
	r.wantProgrammed(t, "good", "False/Pending")
	r.ack()
	r.wantProgrammed(t, "good", "True/Programmed: Patches have been successfully applied.")
	r.Apply([]source.Object{patching(t, "bad", buffer(2))}, nil, nil)
	r.nack(t, xds.Listener, "")
	r.ack()
	r.wantProgrammed(t, "bad", "False/Invalid: spec.jsonPatches[0]: Envoy refused the resource that the patch makes: no")
	r.wantProgrammed(t, "good", "True/Programmed")
	r.want(t, "after a patch was refused", "True")
	if got := bufferOf(t, r.Pipeline); got != 1 {
		t.Errorf("the listener buffers %d bytes, want what the good policy says", got)
	}
	r.Apply([]source.Object{patching(t, "bad", buffer(3))}, nil, nil)
	r.wantProgrammed(t, "bad", "False/Pending")
	r.ack()
	r.wantProgrammed(t, "good", "True/Programmed")
	r.wantProgrammed(t, "bad", "True/Programmed")
}

// A virtual host that Envoy refuses is laid to the patch that is new, not to its routes; and to a route that is new,
// not to the patch that was there.
func TestPatchedHostRefusedByEnvoy(t *testing.T) {
	const attempts = "[{type: routes, name: ns/gw/http, operation: " +
		"{op: add, path: /virtual_hosts/0/include_attempt_count_in_response, value: %s}}]"
	r := newReplica("one", allowed)
	r.connect()
	r.Apply(append(base(), backend("b"), route("r", "h.example.com", "/", "b")), nil, nil)
	r.ack()
	r.Apply([]source.Object{patching(t, "p", fmt.Sprintf(attempts, "true"))}, nil, nil)
	r.nack(t, xds.Routes, "h.example.com")
	r.ack()
	r.wantProgrammed(t, "p", "Envoy refused")
	if text := fmt.Sprintf("%+v", r.statuses["r"].Status); strings.Contains(text, "no such thing") {
		t.Errorf("the route is blamed: %s", text)
	}
	r.Apply([]source.Object{patching(t, "p", fmt.Sprintf(attempts, "false"))}, nil, nil)
	r.ack()
	r.wantProgrammed(t, "p", "True/Programmed")
	r.Apply([]source.Object{route("r", "h.example.com", "/new", "b")}, nil, nil)
	r.nack(t, xds.Routes, "h.example.com")
	r.ack()
	r.wantProgrammed(t, "p", "True/Programmed")
	if text := fmt.Sprintf("%+v", r.statuses["r"].Status); !strings.Contains(text, "no such thing") {
		t.Errorf("the route is not blamed: %s", text)
	}
}

// A virtual host that no policy changes is none of a policy's doing, though policies change another host of the table:
// neither of one that is live, nor of one that Envoy is only just told of.
func TestPatchOfAnotherHost(t *testing.T) {
	const attempts = "[{type: routes, name: ns/gw/http, operation: " +
		"{op: add, path: /virtual_hosts/0/include_attempt_count_in_response, value: true}}]"
	for name, live := range map[string]bool{"live": true, "new": false} {
		t.Run(name, func(t *testing.T) {
			r := newReplica("one", allowed)
			r.connect()
			r.Apply(append(base(), backend("b"), route("r", "h.example.com", "/", "b"),
				route("other", "other.example.com", "/", "b")), nil, nil)
			r.ack()
			r.Apply([]source.Object{patching(t, "p", attempts)}, nil, nil)
			if live {
				r.ack()
			}
			r.Apply([]source.Object{route("other", "other.example.com", "/new", "b")}, nil, nil)
			r.nack(t, xds.Routes, "other.example.com")
			r.ack()
			r.wantProgrammed(t, "p", "True/Programmed")
			table := find(t, r.Pipeline, xds.Routes, "http/8080", &routev3.RouteConfiguration{})
			for _, host := range table.VirtualHosts {
				if patched := host.Name == "h.example.com"; host.IncludeAttemptCountInResponse != patched {
					t.Errorf("the host is %v", host)
				}
			}
			if text := fmt.Sprintf("%+v", r.statuses["other"].Status); !strings.Contains(text, "no such thing") {
				t.Errorf("the route is not blamed: %s", text)
			}
			if text := fmt.Sprintf("%+v", r.statuses["r"].Status); strings.Contains(text, "no such thing") {
				t.Errorf("the route of the patched host is blamed: %s", text)
			}
		})
	}
}

// A policy finds routes by their names after others have put theirs before them, and so it does among many.
func TestPatchesOfOneHost(t *testing.T) {
	const first = `[{type: routes, name: ns/gw/http, operation: {op: add, path: /virtual_hosts/0/routes/0, value: ` +
		`{match: {prefix: /mine}, direct_response: {status: 418}}}},
	  {type: routes, name: http-8080, operation: {op: add, path: /virtual_hosts/-, value: ` +
		`{name: added, domains: [added.example.com]}}}]`
	const second = `[{type: routes, name: ns/gw/http, operation: {op: replace, ` +
		`jsonPath: "..routes[?(@.name=='httproute/ns/r70/rule/0/match/0/h_example_com')].route.timeout", value: 7s}},
	  {type: routes, name: http/8080, operation: {op: add, jsonPath: "..virtual_hosts[?(@.name=='added')]", ` +
		`path: include_request_attempt_count, value: true}}]`
	r := newReplica("one", allowed)
	objects := append(base(), backend("b"), patching(t, "p1", first), patching(t, "p2", second))
	for i := range 80 { // enough for a tree
		objects = append(objects, route(fmt.Sprintf("r%d", i), "h.example.com", fmt.Sprintf("/p%d", i), "b"))
	}
	r.Apply(objects, nil, nil)
	for _, name := range []string{"p1", "p2"} {
		r.wantProgrammed(t, name, "True/Programmed")
	}
	m, err := envoy.Message(xds.Routes, r.Resources(proxy)[xds.Routes][0])
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[string]*routev3.VirtualHost{}
	for _, host := range m.(*routev3.RouteConfiguration).VirtualHosts {
		hosts[host.Name] = host
	}
	host := hosts["h.example.com"]
	if host == nil || len(host.Routes) != 81 || host.Routes[0].GetDirectResponse().GetStatus() != 418 {
		t.Fatalf("the host is %v", host)
	}
	for _, route := range host.Routes[1:] {
		want := int64(0)
		if route.Name == "httproute/ns/r70/0" {
			want = 7
		}
		if got := route.GetRoute().GetTimeout().GetSeconds(); got != want || route.GetRoute().GetCluster() != "backend/ns/b" {
			t.Errorf("the route is %v, want a timeout of %d s", route, want)
		}
	}
	if !hosts["added"].GetIncludeRequestAttemptCount() {
		t.Errorf("the host that is added is %v", hosts["added"])
	}
}

// What Envoys of one replica refuse is taken back at all.
func TestPatchRefusedAtAnotherReplica(t *testing.T) {
	leader, other := newReplica("leader", allowed), newReplica("other", allowed)
	for _, r := range []*replica{leader, other} {
		r.Apply(append(base(), patching(t, "good", buffer(1))), nil, nil)
	}
	other.connect()
	other.ack()
	for _, r := range []*replica{leader, other} {
		r.Apply([]source.Object{patching(t, "bad", buffer(2))}, nil, nil)
	}
	other.nack(t, xds.Listener, "")
	said := slices.Clone(other.said)
	other.tell(leader)
	for _, r := range []*replica{leader, other} {
		r.wantProgrammed(t, "bad", "Envoy refused the resource that the patch makes: no such thing")
		if got := bufferOf(t, r.Pipeline); got != 1 {
			t.Errorf("the listener buffers %d bytes at %s", got, r.name)
		}
	}
	leader.wantProgrammed(t, "good", "True/Programmed")
	// One that starts later hears it all, and takes it back as soon as it has it.
	late := newReplica("late", allowed)
	late.Apply(append(base(), patching(t, "good", buffer(1))), nil, nil)
	late.Heard(peer.Report{From: other.name, Build: "1", Statements: said})
	late.Apply([]source.Object{patching(t, "bad", buffer(2))}, nil, nil)
	late.wantProgrammed(t, "bad", "Envoy refused")
}

// What is wrong with a policy is in its status: where it is attached, and patch by patch.
func TestPatchStatus(t *testing.T) {
	to := func(group, kind, name string) func(*egv1a1.EnvoyPatchPolicy) {
		return func(p *egv1a1.EnvoyPatchPolicy) {
			p.Spec.TargetRef = gwv1.LocalPolicyTargetReference{
				Group: gwv1.Group(group), Kind: gwv1.Kind(kind), Name: gwv1.ObjectName(name),
			}
		}
	}
	one := func(typ, name, operation string) string {
		return fmt.Sprintf("[{type: %s, name: %s, operation: %s}]", typ, name, operation)
	}
	listener := func(operation string) string { return one("listener", "ns/gw/http", operation) }
	for name, c := range map[string]struct {
		patches string
		change  func(*egv1a1.EnvoyPatchPolicy)
		want    string
	}{
		"route as a target": {buffer(1), to(model.GroupGateway, "HTTPRoute", "r"), "none"},
		"other kind of a Gateway's name": {
			buffer(1), to(model.GroupGateway, "HTTPRoute", "gw"), "Accepted=False/Invalid: spec.targetRef: A HTTPRoute of group",
		},
		"class that is not merged": {
			buffer(1), to(model.GroupGateway, "GatewayClass", "sluice"), "Accepted=False/Invalid: spec.targetRef: The Gateways",
		},
		"no such Gateway":  {buffer(1), to(model.GroupGateway, "Gateway", "nowhere"), "none"},
		"in the new names": {one("listener", "tcp-8080", "{op: add, path: /stat_prefix, value: a}"), nil, "True/Programmed"},
		"in our names":     {one("listener", "tcp/8080", "{op: add, path: /filter_chains/0/name, value: a}"), nil, "True/"},
		"endpoints": {
			one("endpoints", "httproute/ns/r/rule/0", "{op: add, path: /endpoints/0/priority, value: 0}"), nil, "True/",
		},
		"no such listener": {
			one("listener", "ns/gw/https", "{op: add, path: /a, value: 1}"), nil,
			`False/ResourceNotFound: spec.jsonPatches[0]: There is no listener named "ns/gw/https": there are ns/gw/http`,
		},
		"several clusters": {
			one("cluster", "httproute/ns/two/rule/0", "{op: replace, path: /connect_timeout, value: 1s}"), nil,
			"rule/0 is 2 clusters here, one for each backend: name one, as in httproute/ns/two/rule/0/backend/0",
		},
		"one of several": {
			one("cluster", "httproute/ns/two/rule/0/backend/1", "{op: replace, path: /connect_timeout, value: 1s}"), nil,
			"True/Programmed",
		},
		"bad path":      {listener("{op: remove, path: /a}"), nil, "False/Invalid: spec.jsonPatches[0]: remove /a"},
		"bad JSONPath":  {listener("{op: remove, jsonPath: '$.nowhere'}"), nil, "$.nowhere leads to nothing that is there"},
		"unknown field": {listener("{op: add, path: /nowhere, value: 1}"), nil, `unknown field "nowhere"`},
		"another name":  {listener("{op: replace, path: /name, value: mine}"), nil, "the name of a resource must stay"},
		"against Envoy's rules": {
			listener("{op: replace, path: /default_filter_chain/filters/0/typed_config/stat_prefix, value: ''}"), nil,
			"no valid HttpConnectionManager",
		},
		"a cluster without endpoints": {
			one("cluster", "x", "{op: add, path: '', value: "+
				"{name: mine, type: EDS, eds_cluster_config: {eds_config: {ads: {}}}}}"),
			nil, `there are no endpoints named "mine"`,
		},
		"a name of ours": {
			one("cluster", "x", "{op: add, path: '', value: {name: backend/ns/b}}"), nil, "one that Sluice gives itself",
		},
		"no name":  {one("secret", "x", "{op: add, path: '', value: {}}"), nil, "The value has no name"},
		"no value": {one("secret", "x", "{op: add, path: ''}"), nil, "add needs a value"},
		"secrets stay secret": {
			one("secret", "x", "{op: add, path: '', value: {name: a, generic_secret: hunter2}}"), nil,
			"the result is no envoy.extensions.transport_sockets.tls.v3.Secret",
		},
		"an addition, and a change of it": {
			"[{type: cluster, name: x, operation: {op: add, path: '', value: {name: mine, connect_timeout: 1s}}}, " +
				"{type: cluster, name: mine, operation: {op: replace, path: /connect_timeout, value: 2s}}]",
			nil, "True/Programmed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplica("one", allowed)
			var changes []func(*egv1a1.EnvoyPatchPolicy)
			if c.change != nil {
				changes = append(changes, c.change)
			}
			r.Apply(append(base(), backend("b"), backend("c"), route("r", "h.example.com", "/", "b"),
				route("two", "two.example.com", "/", "b", "c"), patching(t, "p", c.patches, changes...)), nil, nil)
			r.ack()
			got := r.programmed("p")
			if accepted := r.accepted("p"); !strings.HasPrefix(accepted, "Accepted=True") && accepted != "none" {
				got = accepted
			}
			if !strings.Contains(got, c.want) || strings.Contains(got, "hunter2") {
				t.Errorf("the status says %q, want %q", got, c.want)
			}
		})
	}
	r := newReplica("one")
	r.Apply(append(base(), patching(t, "p", buffer(1))), nil, nil)
	const off = "Accepted=False/Disabled: EnvoyPatchPolicy is disabled in the EnvoyGateway configuration"
	got := r.accepted("p")
	if !strings.HasPrefix(got, off) || r.programmed("p") != "none" || bufferOf(t, r.Pipeline) == 1 {
		t.Errorf("without leave the status says %q and %q", got, r.programmed("p"))
	}
}

// accepted returns the Accepted condition of a policy.
func (r *replica) accepted(name string) string {
	st, _ := r.statuses[name].Status.(*gwv1.PolicyStatus)
	if st == nil || len(st.Ancestors) == 0 {
		return "none"
	}
	c := st.Ancestors[0].Conditions[0]
	return fmt.Sprintf("%s=%s/%s: %s", c.Type, c.Status, c.Reason, c.Message)
}

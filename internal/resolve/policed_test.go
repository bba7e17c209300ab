package resolve

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// pretend is a world whose features are stand-ins, with a table of what the policies of each route come to.
type pretend struct {
	*world
	policed *incr.Table[model.RouteKey, string]
	// guarded says who may make the connections of a route.
	guarded *incr.Table[model.RouteKey, guarding]
}

// guarding is the outcome of [Tables.StreamGuards].
type guarding struct {
	features string
	denied   bool
}

// policyOptions are options with features that take the fields of these tests, and refuse a request timeout of 1s.
func policyOptions() Options {
	o := shared()
	known := []string{
		"BackendTrafficPolicy.retry", "BackendTrafficPolicy.timeout", "BackendTrafficPolicy.loadBalancer",
		"BackendTrafficPolicy.circuitBreaker", "BackendTrafficPolicy.rateLimit", "BackendTrafficPolicy.httpUpgrade",
		"SecurityPolicy.cors", "SecurityPolicy.basicAuth", "SecurityPolicy.extAuth", "ClientTrafficPolicy.timeout",
		"ClientTrafficPolicy.clientIPDetection",
	}
	o.CheckAttached = func(list []model.Attached) status.Report {
		var out status.Report
		for _, a := range list {
			if !slices.Contains(known, a.Feature) {
				out = append(out, status.Issue{Path: a.Path, Message: a.Feature + " is not supported"})
			}
			if timeout, ok := a.Spec.(*egv1a1.Timeout); ok && timeout.HTTP != nil &&
				*timeout.HTTP.RequestTimeout == "1s" {
				out = append(out, status.Issue{Path: a.Path + ".http.requestTimeout", Message: "Too short: use more"})
			}
		}
		return out
	}
	o.References = func(a model.Attached) []Reference {
		switch spec := a.Spec.(type) {
		case *egv1a1.BasicAuth:
			ref := &ObjectReference{Name: string(spec.Users.Name), Namespace: string(deref(spec.Users.Namespace, ""))}
			return []Reference{{Path: a.Path + ".users", Object: ref}}
		case *egv1a1.ExtAuth:
			return []Reference{{
				Path: a.Path + ".http.backendRefs[0]", Backend: &spec.HTTP.BackendRefs[0].BackendObjectReference,
				Settings: spec.HTTP.BackendSettings,
			}}
		}
		return nil
	}
	o.Guards = func(feature string) bool {
		return strings.HasPrefix(feature, "SecurityPolicy.") || feature == "BackendTrafficPolicy.rateLimit" ||
			feature == "ClientTrafficPolicy.clientIPDetection"
	}
	o.GuardsStreams = func(feature string) bool { return feature == "SecurityPolicy.cors" }
	o.Clusters = func(a model.Attached) bool {
		return a.Feature == "BackendTrafficPolicy.loadBalancer" || a.Feature == "BackendTrafficPolicy.circuitBreaker"
	}
	return o
}

func newPretend(t testing.TB, manifests ...string) *pretend {
	t.Helper()
	e := incr.New(2)
	store := resource.NewStore(e)
	w := &pretend{world: &world{Tables: New(e, store, policyOptions()), t: t, e: e, store: store}}
	w.policed = incr.NewTable(e, "policed", w.render, w.Routes)
	w.guarded = incr.NewTable(e, "guarded", func(r *incr.Reader, key model.RouteKey) (guarding, bool) {
		bindings, _ := incr.Get(r, w.Bindings, key)
		if len(bindings.Streams) == 0 {
			return guarding{}, false
		}
		list, denied := w.StreamGuards(r, bindings.Streams[0].Above, key, "")
		out := guarding{denied: denied != ""}
		for _, a := range list {
			out.features += a.Feature
		}
		return out, true
	}, w.Routes)
	w.apply(manifests...)
	return w
}

func (w *pretend) guards(key model.RouteKey) string {
	got, _ := w.guarded.Peek(key)
	return got.features
}

func (w *pretend) denies(key model.RouteKey) bool {
	got, _ := w.guarded.Peek(key)
	return got.denied
}

// render says, for each listener of a route and each of its rules, what its policies come to.
func (w *pretend) render(r *incr.Reader, key model.RouteKey) (string, bool) {
	route, _ := incr.Get(r, w.Routes, key)
	bindings, _ := incr.Get(r, w.Bindings, key)
	var lines []string
	for _, b := range bindings.Bound {
		for i := range route.Rules {
			rule := &route.Rules[i]
			policed := w.Policed(r, b.Above, key, rule.Name)
			lines = append(lines, fmt.Sprintf("%s %s: %s", b.Listener, rule.Name, w.line(r, policed)))
		}
	}
	return strings.Join(lines, "\n"), true
}

func (w *pretend) line(r *incr.Reader, p Policed) string {
	var out []string
	for _, a := range p.Attached {
		spec, err := json.Marshal(a.Spec)
		if err != nil {
			w.t.Error(err)
		}
		text := strings.TrimPrefix(strings.TrimPrefix(a.Feature, "BackendTrafficPolicy."), "SecurityPolicy.")
		text += "(" + a.Source.Name.Name + ")" + strings.ReplaceAll(string(spec), `"`, "")
		for _, b := range a.Backends {
			text += " -> " + b.String()
			for _, s := range w.Settings(r, b.Settings) {
				text += " with " + s.Feature + " of " + s.Path
			}
		}
		for _, o := range a.Objects {
			text += fmt.Sprintf(" reads %s %q", o.Ref, o.Data[".htpasswd"])
		}
		out = append(out, text)
	}
	if p.Denied != "" {
		out = append(out, "denied "+p.Denied)
	}
	if p.Own {
		out = append(out, "own")
	}
	if p.Settings != (model.SettingsKey{}) {
		var features []string
		for _, a := range w.Settings(r, p.Settings) {
			features = append(features, a.Feature)
		}
		out = append(out, p.Settings.String()+" ("+strings.Join(features, " ")+")")
	}
	return strings.Join(out, "; ")
}

func (w *pretend) rules(route string) string {
	out, _ := w.policed.Peek(http(route))
	return out
}

// btp is a BackendTrafficPolicy with the given fields, in flow style, one a line.
func btp(name string, fields ...string) string {
	return envoyPolicyYAML(model.KindBackendTrafficPolicy, name, fields...)
}

func security(name string, fields ...string) string {
	return envoyPolicyYAML(model.KindSecurityPolicy, name, fields...)
}

func envoyPolicyYAML(kind, name string, fields ...string) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: %s
metadata: {name: %s, namespace: default}
spec:
  %s
`, kind, name, strings.Join(fields, "\n  "))
}

const (
	toGateway  = `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]`
	toListener = `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw, sectionName: http}]`
	toRoute    = `targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r}]`
	toRule     = `targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: r, sectionName: one}]`
	twoRules   = `{name: one, backendRefs: [{name: svc, port: 80}]}`
	otherRule  = `{name: two, backendRefs: [{name: svc, port: 80}]}`
	retries    = `retry: {numRetries: 3}`
)

func policedBase() []string {
	return []string{classYAML, serviceYAML, gatewayYAML("gw", plainHTTP, `{name: other, port: 81, protocol: HTTP}`),
		strings.Replace(routeYAML("r", "", twoRules, otherRule), "{name: gw}", "{name: gw, sectionName: http}", 1)}
}

// TestPolicyLevels: of the policies of a kind the most specific holds, and each kind by itself.
func TestPolicyLevels(t *testing.T) {
	gateway := btp("gateway", toGateway, `retry: {numRetries: 1}`)
	listener := btp("listener", toListener, `retry: {numRetries: 2}`)
	route, rule := btp("route", toRoute, `retry: {numRetries: 3}`), btp("rule", toRule, `retry: {numRetries: 4}`)
	steps := []struct{ name, apply, want string }{
		{"none", "", "default/gw/http one: \ndefault/gw/http two: "},
		{"Gateway", gateway,
			"default/gw/http one: retry(gateway){numRetries:1}\ndefault/gw/http two: retry(gateway){numRetries:1}"},
		{"listener", listener,
			"default/gw/http one: retry(listener){numRetries:2}\ndefault/gw/http two: retry(listener){numRetries:2}"},
		{"route", route,
			"default/gw/http one: retry(route){numRetries:3}; own\ndefault/gw/http two: retry(route){numRetries:3}; own"},
		{"rule", rule,
			"default/gw/http one: retry(rule){numRetries:4}; own\ndefault/gw/http two: retry(route){numRetries:3}; own"},
		{"another kind", security("s", toGateway, `cors: {maxAge: 5s}`),
			"default/gw/http one: retry(rule){numRetries:4}; cors(s){maxAge:5s}; own\n" +
				"default/gw/http two: retry(route){numRetries:3}; cors(s){maxAge:5s}; own"},
	}
	w := newPretend(t, policedBase()...)
	for _, s := range steps {
		w.apply(s.apply)
		expect(t, s.name, w.rules("r"), s.want)
	}
	w.delete(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, "default", "rule")
	w.delete(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, "default", "route")
	expect(t, "without those of the route", w.rules("r"),
		"default/gw/http one: retry(listener){numRetries:2}; cors(s){maxAge:5s}\n"+
			"default/gw/http two: retry(listener){numRetries:2}; cors(s){maxAge:5s}")
}

// TestPoliciesOfListenerSets: a listener of a ListenerSet has its own policy, that of the set, or that of the Gateway.
func TestPoliciesOfListenerSets(t *testing.T) {
	set := `
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, namespace: default}
spec:
  parentRef: {name: gw}
  listeners: [{name: a, port: 90, protocol: HTTP}, {name: b, port: 91, protocol: HTTP}]
`
	gw := gatewayYAML("gw", plainHTTP) + "  allowedListeners: {namespaces: {from: All}}\n"
	route := strings.Replace(routeYAML("r", "", twoRules), "{name: gw}", "{kind: ListenerSet, name: set}", 1)
	w := newPretend(t, classYAML, serviceYAML, gw, set, route, btp("gateway", toGateway, retries))
	expect(t, "Gateway", w.rules("r"), `
listenerset/default/set/a one: retry(gateway){numRetries:3}
listenerset/default/set/b one: retry(gateway){numRetries:3}`)
	ref := `targetRefs: [{group: gateway.networking.k8s.io, kind: ListenerSet, name: set`
	w.apply(btp("set", ref+`}]`, retries), btp("b", ref+`, sectionName: b}]`, retries))
	expect(t, "ListenerSet", w.rules("r"), `
listenerset/default/set/a one: retry(set){numRetries:3}
listenerset/default/set/b one: retry(b){numRetries:3}`)
}

// TestMergedPolicies: with a mergeType, the policy of a route is merged with the one that holds for the listener.
func TestMergedPolicies(t *testing.T) {
	parent := btp("parent", toGateway, `retry: {numRetries: 1, retryOn: {httpStatusCodes: [503]}}`,
		`httpUpgrade: [{type: websocket}]`, `circuitBreaker: {maxConnections: 5}`)
	own := []string{toRoute, `retry: {numRetries: 2}`, `httpUpgrade: [{type: connect}]`, `loadBalancer: {type: Random}`}
	const alone = "loadBalancer(own){type:Random}; retry(own){numRetries:2}; httpUpgrade(own)[{type:connect}]; own; " +
		"settings/backendtrafficpolicy/default/own (BackendTrafficPolicy.loadBalancer)"
	const together = "loadBalancer(own){type:Random}; retry(own){numRetries:2,retryOn:{httpStatusCodes:[503]}}; " +
		"circuitBreaker(parent){maxConnections:5}; "
	const clusters = "settings/backendtrafficpolicy/default/own+default/parent " +
		"(BackendTrafficPolicy.loadBalancer BackendTrafficPolicy.circuitBreaker)"
	tests := []struct{ merge, want string }{
		{"", alone},
		{"mergeType: Replace", alone},
		{"mergeType: StrategicMerge", together + "httpUpgrade(own)[{type:connect},{type:websocket}]; own; " + clusters},
		{"mergeType: JSONMerge", together + "httpUpgrade(own)[{type:connect}]; own; " + clusters},
	}
	for _, tt := range tests {
		w := newPretend(t, append(policedBase(), parent, btp("own", append(own, tt.merge)...))...)
		expect(t, tt.merge, strings.Split(w.rules("r"), "\n")[0], "default/gw/http one: "+tt.want)
	}
	w := newPretend(t, append(policedBase(), parent, btp("own", toRoute, retries, "mergeType: StrategicMerge"))...)
	want := "settings/backendtrafficpolicy/default/parent (BackendTrafficPolicy.circuitBreaker)"
	if got := w.rules("r"); !strings.Contains(got, want) {
		t.Errorf("settings of the parent alone should be shared with those who have no policy of their own: %s", got)
	}
}

// TestPolicySelectors: a policy can be attached by labels, to another namespace only where that grants it.
func TestPolicySelectors(t *testing.T) {
	selector := func(more string) string {
		return btp("p", `targetSelectors: [{kind: HTTPRoute, matchLabels: {tier: gold}`+more+`}]`, retries)
	}
	label := func(route, labels string) string {
		return strings.Replace(route, "name: r,", "name: r, labels: "+labels+",", 1)
	}
	base := policedBase()
	plain := base[3]
	w := newPretend(t, append(base, selector(""))...)
	check := func(what string, selected bool) {
		t.Helper()
		if got := strings.Contains(w.rules("r"), "retry(p)"); got != selected {
			t.Errorf("%s: selected is %v", what, got)
		}
	}
	check("no labels", false)
	w.apply(label(plain, "{tier: gold}"))
	check("its label", true)
	w.apply(label(plain, "{tier: tin}"))
	check("another label", false)
	in := `{key: tier, operator: In, values: [tin]}`
	w.apply(btp("p", `targetSelectors: [{kind: HTTPRoute, matchExpressions: [`+in+`]}]`, retries))
	check("an expression", true)

	far := strings.Replace(selector(`, namespaces: {from: All}`), "namespace: default", "namespace: far", 1)
	w.delete(model.GroupEnvoyGateway, model.KindBackendTrafficPolicy, "default", "p")
	w.apply(far, label(plain, "{tier: gold}"))
	check("another namespace without a grant", false)
	w.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: default}
spec:
  from: [{group: gateway.envoyproxy.io, kind: BackendTrafficPolicy, namespace: far}]
  to: [{group: gateway.networking.k8s.io, kind: HTTPRoute}]
`)
	check("another namespace with a grant", true)
	named := strings.Replace(far, "{from: All}", "{from: Selector, selector: {matchLabels: {env: prod}}}", 1)
	w.apply(named)
	check("a namespace that is not selected", false)
	w.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {env: prod}}\n")
	check("a namespace that is selected", true)
	w.delete(model.GroupGateway, model.KindReferenceGrant, "default", "g")
	check("the grant is withdrawn", false)
}

// TestPolicyReferences: what a policy refers to is looked up, where its namespace grants it. What guards and cannot be
// applied lets nobody through; the rest is left out.
func TestPolicyReferences(t *testing.T) {
	const users = `
apiVersion: v1
kind: Secret
metadata: {name: users, namespace: default}
stringData: {.htpasswd: abc}
`
	basic := security("s", toRoute, `basicAuth: {users: {name: users}}`)
	ext := func(ref string) string {
		return security("s", toRoute, `extAuth: {http: {backendRefs: [`+ref+`], backendSettings: {`+
			`circuitBreaker: {maxConnections: 1}, retry: {numRetries: 2}}}}`)
	}
	tests := []struct {
		name    string
		objects []string
		want    string
	}{
		{"a Secret", []string{users, basic},
			`basicAuth(s){users:{name:users}} reads Secret/default/users "abc"; own`},
		{"no Secret", []string{basic}, "denied InvalidSecurityPolicy; own"},
		{"another namespace", []string{strings.Replace(users, "default", "far", 1),
			security("s", toRoute, `basicAuth: {users: {name: users, namespace: far}}`)}, "denied InvalidSecurityPolicy; own"},
		{"a backend with settings", []string{ext("{name: svc, port: 80}")},
			"extAuth(s){http:{backendRefs:[{name:svc,port:80}]," +
				"backendSettings:{retry:{numRetries:2},circuitBreaker:{maxConnections:1}}}} -> " +
				"service/default/svc/80~settings/securitypolicy/default/s@spec.extAuth.http.backendRefs[0] with " +
				"BackendTrafficPolicy.circuitBreaker of spec.extAuth.http.backendSettings.circuitBreaker; own"},
		{"no backend", []string{ext("{name: gone, port: 80}")}, "denied InvalidSecurityPolicy; own"},
		{"a field without a feature that may guard", []string{security("s", toRoute, "jwt: {providers: [{name: a}]}")},
			"denied InvalidSecurityPolicy; own"},
		{"a field that does not guard", []string{btp("b", toRoute, "timeout: {http: {requestTimeout: 1s}}", retries)},
			"retry(b){numRetries:3}; own"},
		{"a guard of the listener's", []string{security("s", toGateway, "jwt: {providers: [{name: a}]}")},
			"denied InvalidSecurityPolicy"},
	}
	for _, tt := range tests {
		w := newPretend(t, append(policedBase(), tt.objects...)...)
		expect(t, tt.name, strings.Split(w.rules("r"), "\n")[0], "default/gw/http one: "+tt.want)
	}
	w := newPretend(t, append(policedBase(), ext("{name: svc, port: 81}"))...)
	key := model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: 81}
	if _, ok := w.Backends.Peek(key); !ok {
		t.Error("the backend of a policy has no entry")
	}
	if _, ok := w.Endpoints.Peek(key); !ok {
		t.Error("the backend of a policy has no endpoints")
	}
}

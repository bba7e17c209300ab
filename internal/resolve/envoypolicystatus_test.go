package resolve

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// policyStatus renders the status of a policy: a line for each ancestor.
func (w *pretend) policyStatus(kind, name string) string {
	policy, ok := w.Policies.Peek(envoyPolicyRef(kind, inDefault(name)))
	if !ok {
		return "none"
	}
	var lines []string
	for _, a := range policy.Status.Ancestors {
		section := ""
		if a.AncestorRef.SectionName != nil {
			section = "/" + string(*a.AncestorRef.SectionName)
		}
		line := fmt.Sprintf("%s %s%s: %s", *a.AncestorRef.Kind, a.AncestorRef.Name, section, conditions(a.Conditions))
		for _, c := range a.Conditions {
			if c.Message != "The policy is accepted" {
				line += " | " + c.Message
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TestEnvoyPolicyStatus: each policy says, for each Gateway or listener that it is for, whether it is in force, and
// what takes its place.
func TestEnvoyPolicyStatus(t *testing.T) {
	const b, s = model.KindBackendTrafficPolicy, model.KindSecurityPolicy
	tests := []struct {
		name     string
		policies []string
		// kind and policy are those of the one to look at.
		kind, policy, want string
	}{
		{"a Gateway's", []string{btp("p", toGateway, retries)}, b, "p", "Gateway gw: Accepted"},
		{"a listener's", []string{btp("p", toListener, retries)}, b, "p", "Gateway gw/http: Accepted"},
		{"a route's", []string{btp("p", toRoute, retries)}, b, "p", "Gateway gw/http: Accepted"},
		{"a rule's", []string{btp("p", toRule, retries)}, b, "p", "Gateway gw/http: Accepted"},
		{"no such Gateway", []string{btp("p", strings.Replace(toGateway, "name: gw", "name: gone", 1), retries)}, b, "p", ""},
		{"no such route", []string{btp("p", strings.Replace(toRoute, "name: r", "name: gone", 1), retries)}, b, "p", ""},
		{"no such listener", []string{btp("p", strings.Replace(toListener, "http}", "gone}", 1), retries)}, b, "p",
			"Gateway gw/gone: Accepted=False/TargetNotFound | Gateway/default/gw has no listener or rule named gone"},
		{"no such rule", []string{btp("p", strings.Replace(toRule, "one}", "gone}", 1), retries)}, b, "p",
			"Gateway gw/http: Accepted=False/TargetNotFound | HTTPRoute/default/r has no listener or rule named gone"},
		{"the same Gateway twice", []string{btp("p", toGateway, retries), btp("q", toGateway, retries)}, b, "q",
			"Gateway gw: Accepted=False/Conflicted | BackendTrafficPolicy default/p is attached to Gateway/default/gw too and " +
				"comes first: it is older, or its name is before"},
		{"the older one of a route", []string{btp("p", toRoute, retries), strings.Replace(btp("q", toRoute, retries),
			"name: q,", "name: q, creationTimestamp: 2000-01-01T00:00:00Z,", 1)}, b, "q",
			"Gateway gw/http: Accepted=False/Conflicted | BackendTrafficPolicy default/p is attached to " +
				"HTTPRoute/default/r too and comes first: it is older, or its name is before"},
		{"overridden", []string{btp("p", toGateway, retries), btp("q", toRoute, retries), btp("l", strings.Replace(
			toListener, "http}", "other}", 1), retries)}, b, "p",
			"Gateway gw: Accepted Overridden | This policy is being overridden by other backendTrafficPolicies for " +
				"HTTPRoute/default/r, listener other of Gateway/default/gw"},
		{"overridden by a rule's", []string{btp("p", toRoute, retries), btp("q", toRule, retries)}, b, "p",
			"Gateway gw/http: Accepted Overridden | This policy is being overridden by other backendTrafficPolicies for " +
				"HTTPRoute/default/r/one"},
		{"another kind overrides nothing", []string{
			btp("p", toGateway, retries), security("q", toRoute, `cors: {maxAge: 5s}`),
		}, b, "p", "Gateway gw: Accepted"},
		{"merged", []string{btp("p", toGateway, retries), btp("q", toRoute, "mergeType: JSONMerge", retries)}, b, "q",
			"Gateway gw/http: Accepted Merged | Merged with policy default/p"},
		{"merged with", []string{btp("p", toGateway, retries), btp("q", toRoute, "mergeType: JSONMerge", retries)}, b, "p",
			"Gateway gw: Accepted Merged | This policy is being merged by other backendTrafficPolicies for HTTPRoute/default/r"},
		{"a field that is refused", []string{btp("p", toGateway, `timeout: {http: {requestTimeout: 1s}}`)}, b, "p",
			"Gateway gw: Accepted=False/Invalid | spec.timeout.http.requestTimeout: Too short: use more"},
		{"a field without a feature", []string{security("p", toRoute, "jwt: {providers: [{name: a}]}")}, s, "p",
			"Gateway gw/http: Accepted=False/Invalid | spec.jwt: SecurityPolicy.jwt is not supported"},
		{"a reference that leads nowhere", []string{security("p", toRoute, "basicAuth: {users: {name: gone}}")}, s, "p",
			"Gateway gw/http: Accepted=False/Invalid | spec.basicAuth.users: Secret/default/gone does not exist"},
		{"a reference that is not granted", []string{security("p", toRoute, "basicAuth: {users: {name: a, namespace: far}}")},
			s, "p", "Gateway gw/http: Accepted=False/Invalid | spec.basicAuth.users: No ReferenceGrant in namespace far lets " +
				"a SecurityPolicy of namespace default use Secret/far/a"},
		{"settings beside a reference", []string{security("p", toRoute, `extAuth: {http: {`+
			`backendRefs: [{name: svc, port: 80}], backendSettings: {timeout: {http: {requestTimeout: 1s}}}}}`)}, s, "p",
			"Gateway gw/http: Accepted=False/Invalid | spec.extAuth.http.backendSettings.timeout.http.requestTimeout: " +
				"Too short: use more"},
		{"a ClientTrafficPolicy that shares a port", []string{
			envoyPolicyYAML(model.KindClientTrafficPolicy, "p", toListener, "timeout: {http: {idleTimeout: 5s}}"),
			gatewayYAML("two", `{name: x, port: 80, protocol: HTTP, hostname: x.example}`),
		}, model.KindClientTrafficPolicy, "p",
			"Gateway gw/http: Accepted=False/Conflicted | spec.timeout: It is for the connection manager, which all plain " +
				"HTTP listeners of a port share, and listener default/two/x is on port 80 too and does not ask for the same: " +
				"nobody there gets it; say the same in the policies of both, or use another port"},
	}
	for _, tt := range tests {
		w := newPretend(t, append(policedBase(), tt.policies...)...)
		expect(t, tt.name, w.policyStatus(tt.kind, tt.policy), tt.want)
	}
}

// TestPolicyWithoutTarget: a policy whose target is not there has no ancestor, but says so to who asks.
func TestPolicyWithoutTarget(t *testing.T) {
	lost := btp("p", strings.Replace(toGateway, "name: gw", "name: gone", 1), retries)
	w := newPretend(t, append(policedBase(), lost)...)
	policy, _ := w.Policies.Peek(envoyPolicyRef(model.KindBackendTrafficPolicy, inDefault("p")))
	if got, want := policy.Report.Message(), "spec.targetRefs[0]: Gateway/default/gone does not exist"; got != want {
		t.Errorf("it says %q, want %q", got, want)
	}
}

// TestManyAncestors: a policy for the routes of more Gateways than a status can hold keeps those where it is not in
// force, and says that it left out others.
func TestManyAncestors(t *testing.T) {
	manifests := []string{classYAML, serviceYAML}
	var targets []string
	for i := range 20 {
		name := fmt.Sprintf("g%02d", i)
		manifests = append(manifests, gatewayYAML(name, fmt.Sprintf("{name: http, port: %d, protocol: HTTP}", 8000+i)))
		targets = append(targets, "{group: gateway.networking.k8s.io, kind: Gateway, name: "+name+"}")
	}
	last := btp("first", "targetRefs: ["+targets[19]+"]", retries)
	w := newPretend(t, append(manifests, last, btp("many", "targetRefs: ["+strings.Join(targets, ", ")+"]", retries))...)
	lines := strings.Split(w.policyStatus(model.KindBackendTrafficPolicy, "many"), "\n")
	if len(lines) != 16 || !strings.HasPrefix(lines[0], "Gateway g19: Accepted=False/Conflicted") ||
		!strings.HasPrefix(lines[15], "Gateway g14: Accepted Aggregated") {
		t.Errorf("the ancestors are\n%s", strings.Join(lines, "\n"))
	}
}

// TestBackendsOfPolicies: a Gateway uses the backends of the policies that hold for its routes, so that it is an
// ancestor of what secures them.
func TestBackendsOfPolicies(t *testing.T) {
	w := newPretend(t, append(policedBase(), caYAML(t, "ca"),
		strings.Replace(serviceYAML, "name: svc", "name: s1", 1), fleetPolicy(1, "a.example"),
		security("p", toRoute, `extAuth: {http: {backendRefs: [{name: s1, port: 80}]}}`))...)
	policy, _ := w.Policies.Peek(tlsPolicyRef(inDefault("p1")))
	if a := policy.Status.Ancestors; len(a) != 1 || a[0].AncestorRef.Name != "gw" {
		t.Errorf("the ancestors of the BackendTLSPolicy are %+v", a)
	}
}

// TestPolicyIsolation: a policy that is not valid changes nothing for other routes, which are not even looked at.
func TestPolicyIsolation(t *testing.T) {
	w := newPretend(t, append(policedBase(), routeYAML("other", "o.example", twoRules), btp("p", toGateway, retries))...)
	before := w.rules("other")
	res := w.apply(security("bad", toRoute, "basicAuth: {users: {name: gone}}"))
	if got := w.rules("r"); !strings.Contains(got, "denied InvalidSecurityPolicy") {
		t.Errorf("its own route is served: %s", got)
	}
	if got := w.rules("other"); got != before || !strings.Contains(got, "retry(p)") {
		t.Errorf("another route has\n%s\nand had\n%s", got, before)
	}
	if did := strings.Split(work(res), ", "); !slices.Contains(did, "policed 1/1") {
		t.Errorf("it recomputed %s", did)
	}
}

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// TestPreservedOrder tries rules in the order in which they are written, however many there are and whatever their
// matches say.
func TestPreservedOrder(t *testing.T) {
	t.Parallel()
	rules := [][2]string{
		{"first", `[{path: {value: /api/v1}}]`}, {"wide", `[{path: {value: /api}}]`},
		{"late", `[{path: {type: Exact, value: /api/exact}}]`},
	}
	var many []string
	for i := range 64 { // with the others more than are tried one by one
		many = append(many, fmt.Sprintf("{path: {value: /n/%d}}", i))
	}
	rules = append(rules, [2]string{"many", "[" + strings.Join(many, ", ") + "]"},
		[2]string{"all", `[{path: {value: /}}]`}, [2]string{"never", `[{path: {value: /m}}]`})
	in := start(t, files{
		"gateway.yaml": placedGateway, "backends.yaml": backendsYAML, "routes.yaml": route("all", "", rules...),
		"proxy.yaml": envoyProxy("preserveRouteOrder: true"),
	})
	for path, rule := range map[string]string{
		"/api/v1/a": "first", "/api/exact": "wide", "/n/63": "many", "/m": "all", "/": "all",
	} {
		in.must(t, request{path: path}, expect{header: []string{"x-rule: " + rule}})
	}
	in.write("proxy.yaml", envoyProxy("preserveRouteOrder: false"))
	in.want(t, request{path: "/api/exact"}, expect{header: []string{"x-rule: late"}})
	in.want(t, request{path: "/m"}, expect{header: []string{"x-rule: never"}})
}

// TestFilterOrder has filters decide in the order that the EnvoyProxy says: for routes with policies of their own, and
// for those that have one of the Gateway.
func TestFilterOrder(t *testing.T) {
	t.Parallel()
	const both = `
  basicAuth: {users: {name: users}}
  authorization: {defaultAction: Deny}
`
	before := "filterOrder: [{name: envoy.filters.http.rbac, before: envoy.filters.http.basic_auth}]"
	in := start(t, files{
		"gateway.yaml": placedGateway, "backends.yaml": backendsYAML, "proxy.yaml": envoyProxy(before),
		"routes.yaml": guardedRoute("own", both) + usersOf("users", "a:{SHA}NWoZK3kTsExUV00Ywo1G5jlUKKs=") + route("plain",
			"[plain.example]", [2]string{"plain", `[{path: {value: /}}]`}) +
			policyIn("default", "gateway", "  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]"+both),
	})
	for _, host := range []string{"own.example", "plain.example"} {
		in.want(t, request{host: host}, expect{status: 403}) // it is not asked for a password
	}
	in.write("proxy.yaml", envoyProxy(""))
	for _, host := range []string{"own.example", "plain.example"} {
		in.want(t, request{host: host}, expect{status: 401})
	}
}

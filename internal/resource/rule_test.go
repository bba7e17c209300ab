package resource

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

const (
	routeGroup  = "gateway.networking.k8s.io"
	policyGroup = "gateway.envoyproxy.io"
)

// TestRulesAgree says that rules hold for exactly those objects in which the API server's validator finds nothing.
func TestRulesAgree(t *testing.T) {
	for name, c := range map[string]struct {
		group, kind, spec string
		holds             bool
	}{
		"route":      {routeGroup, "HTTPRoute", `rules: [{matches: [{path: {type: PathPrefix, value: /a}}]}]`, true},
		"no rules":   {routeGroup, "HTTPRoute", `parentRefs: [{name: gw}]`, true},
		"path":       {routeGroup, "HTTPRoute", `rules: [{matches: [{path: {type: PathPrefix, value: a}}]}]`, false},
		"path twice": {routeGroup, "HTTPRoute", `rules: [{matches: [{path: {value: /a//b}}]}]`, false},
		"filter of another type": {
			routeGroup, "HTTPRoute", `rules: [{filters: [{type: CORS, urlRewrite: {hostname: a.b}}]}]`, false,
		},
		"names of rules": {routeGroup, "HTTPRoute", `rules: [{name: a}, {name: a}]`, false},
		"parents":        {routeGroup, "HTTPRoute", `parentRefs: [{name: gw}, {name: gw}]`, false},
		"ports": {
			routeGroup, "HTTPRoute", `parentRefs: [{name: gw, sectionName: a}, {name: gw, sectionName: b}]`, true,
		},
		"timeouts": {
			routeGroup, "HTTPRoute", `rules: [{timeouts: {request: 1s, backendRequest: 2s}}]`, false,
		},
		"listeners": {
			routeGroup, "Gateway", `
gatewayClassName: a
listeners: [{name: a, port: 80, protocol: HTTP}, {name: a, port: 81, protocol: HTTP}]`, false,
		},
		"gateway": {
			routeGroup, "Gateway", `
gatewayClassName: a
listeners: [{name: a, port: 80, protocol: HTTP}, {name: b, port: 81, protocol: HTTP}]`, true,
		},
		"target": {
			policyGroup, "SecurityPolicy",
			`targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: a}]`, true,
		},
		"no target": {policyGroup, "SecurityPolicy", `basicAuth: {users: {name: a}}`, false},
		"kind of a target": {
			policyGroup, "BackendTrafficPolicy", `targetRefs: [{group: a.example, kind: Thing, name: a}]`, false,
		},
		"address": {policyGroup, "Backend", `endpoints: [{ip: {address: 10.0.0.1, port: 80}}]`, true},
		"two addresses": {
			policyGroup, "Backend",
			`endpoints: [{ip: {address: 10.0.0.1, port: 80}, fqdn: {hostname: a.b, port: 80}}]`, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := Find(c.group, c.kind)
			if err := k.crd.compile(k); err != nil {
				t.Fatal(err)
			}
			obj := defaulted(t, k, c.spec)
			budget := int64(celconfig.RuntimeCELCostBudget)
			if got := k.crd.rules.hold(obj, &budget); got != c.holds {
				t.Errorf("rules hold: %v", got)
			}
			errs, left := k.crd.validator().Validate(t.Context(), nil, k.crd.structural, obj, nil,
				celconfig.RuntimeCELCostBudget)
			if c.holds != (len(errs) == 0) {
				t.Errorf("the validator says %v", errs)
			}
			if c.holds && left != budget {
				t.Errorf("the budget left is %d, the validator's %d", budget, left)
			}
		})
	}
}

// TestRulesHaveABudget says that rules are not taken to hold for an object that the API server would not go on with.
func TestRulesHaveABudget(t *testing.T) {
	k := Find(routeGroup, "HTTPRoute")
	if err := k.crd.compile(k); err != nil {
		t.Fatal(err)
	}
	obj := defaulted(t, k, `rules: [{name: a}]`)
	for budget, want := range map[int64]bool{10: false, 10_000: true} {
		if got := k.crd.rules.hold(obj, &budget); got != want {
			t.Errorf("they hold with %d left: %v", budget, got)
		}
	}
}

// defaulted returns an object of a kind with its defaults.
func defaulted(t *testing.T, k *Kind, spec string) map[string]any {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(spec))
	if err != nil {
		t.Fatal(err)
	}
	fields := map[string]any{}
	if err := utiljson.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	obj := map[string]any{"metadata": map[string]any{"name": "a"}, "spec": fields}
	defaulting.Default(obj, k.crd.structural)
	return obj
}

package resolve

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// contentious are objects that interact in every way that the order of arrival could decide: conflicts, isolation,
// grants, shared backends, invalid references.
func contentious(t *testing.T) []object {
	docs := []string{
		classYAML, secretYAML(t, "cert"), serviceYAML,
		gatewayYAML("a", plainHTTP,
			`{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}, {name: gone}]}}`),
		allowing(gatewayYAML("b", plainHTTP, `{name: w, port: 80, protocol: HTTP, hostname: "*.example.com"}`), "from: All"),
		setYAML("apps", "one", "b", plainHTTP, `{name: x, port: 80, protocol: HTTP, hostname: x.example.com}`),
		setYAML("default", "two", "b", `{name: x, port: 80, protocol: HTTP, hostname: x.example.com}`,
			`{name: s, port: 443, protocol: HTTPS, hostname: s.example.com, tls: {certificateRefs: [{name: cert}]}}`),
		setYAML("apps", "three", "a", plainHTTP),
		gatewayYAML("c", `{name: s, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}`,
			`{name: e, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: cert}]}}`,
			`{name: sel, port: 8080, protocol: HTTP,
      allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {team: blue}}}}}`),
		`
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {team: blue}}
`, `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: default}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: apps}], to: [{group: "", kind: Service}]}
`, `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b, namespace: default}
spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}
`,
		parentsYAML("apps", "r", `[{name: c, namespace: default}, {name: a, namespace: default}]`),
	}
	docs = append(docs, caYAML(t, "ca"), policyYAML("x", toSvc, trustsCA),
		policyYAML("y", toSvc, strings.Replace(trustsCA, "name: ca", "name: gone", 1)),
		policyYAML("z", toSvc+", sectionName: h2", trustsCA),
		policyYAML("b", "group: gateway.envoyproxy.io, kind: Backend, name: b", trustsCA),
		frontendYAML(gatewayYAML("t", httpsListener), `default: {validation: {caCertificateRefs: [`+
			`{group: "", kind: ConfigMap, name: ca}, {group: "", kind: ConfigMap, name: gone}]}}`))
	for i := range 3 {
		slice := fleetSlice(i, fmt.Sprintf("10.0.0.%d", i))
		docs = append(docs, strings.Replace(slice, fmt.Sprintf("service-name: s%d", i), "service-name: svc", 1))
		r := routeYAML(fmt.Sprintf("r%d", i), `a.example.com, "*.example.com"`, toService,
			`{matches: [{path: {type: RegularExpression, value: "("}}]}`,
			`{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b},
      {name: gone, port: 1}, {kind: Wrong, name: x}]}`)
		docs = append(docs, strings.Replace(r, "[{name: gw}]",
			"[{name: a}, {name: b}, {name: c}, {name: none}, {kind: ListenerSet, name: two}]", 1))
	}
	docs = append(docs, routeFilterYAML("f", injectsForeign), vaultYAML, vaultGrantYAML,
		routeYAML("filtered", "", filterOfRule))
	return decode(t, append(docs, contentiousPolicies()...)...)
}

// contentiousPolicies are policies that conflict, are merged, select, displace one another, and are not valid.
func contentiousPolicies() []string {
	gateway := func(name, more string) string {
		return `targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: ` + name + more + `}]`
	}
	route := `targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: one}]`
	return []string{
		btp("a", gateway("a", ""), retries, `circuitBreaker: {maxConnections: 5}`), btp("b", gateway("a", ""), retries),
		btp("c", gateway("a", ", sectionName: http"), retries), btp("d", gateway("a", ", sectionName: none"), retries),
		btp("e", route, `mergeType: StrategicMerge`, `retry: {numRetries: 4}`), btp("f", route, retries),
		btp("g", `targetSelectors: [{kind: HTTPRoute}, {kind: Gateway}]`, retries),
		security("a", gateway("b", ""), `cors: {maxAge: 5s}`), security("b", route, `basicAuth: {users: {name: gone}}`),
		security("c", `targetSelectors: [{kind: HTTPRoute, matchExpressions: [{key: a, operator: DoesNotExist}]}]`,
			`extAuth: {http: {backendRefs: [{name: svc, port: 80}]}}`),
		envoyPolicyYAML(model.KindClientTrafficPolicy, "a", gateway("b", ""), `timeout: {http: {idleTimeout: 5s}}`),
		envoyPolicyYAML(model.KindEnvoyExtensionPolicy, "a", gateway("a", ""), `lua: [{type: Inline, inline: x}]`),
	}
}

// TestOrderOfArrivalChangesNothing: whatever the order and the batches, and whatever came and went in between, the same
// objects give the same tables.
func TestOrderOfArrivalChangesNothing(t *testing.T) {
	objects := contentious(t)
	want := newWorld(t, policyOptions())
	for _, o := range objects {
		want.store.Set(o.ref, o.obj)
	}
	want.commit()
	if len(want.hosts()) == 0 || want.Ports.Len() != 3 {
		t.Fatalf("the test data does not do what it is for:\n%s", want.hosts())
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 30 {
		got := newWorld(t, policyOptions())
		for range 2 {
			rng.Shuffle(len(objects), func(i, j int) { objects[i], objects[j] = objects[j], objects[i] })
			for _, o := range objects {
				if rng.IntN(4) == 0 {
					got.store.Delete(o.ref)
					got.commit()
				}
				got.store.Set(o.ref, o.obj)
				if rng.IntN(3) == 0 {
					got.commit()
				}
			}
		}
		got.commit()
		compareWorlds(t, got, want)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
}

func compareWorlds(t *testing.T, got, want *world) {
	t.Helper()
	compareTables(t, "gateways", got.Gateways.All(), want.Gateways.All())
	compareTables(t, "ports", got.Ports.All(), want.Ports.All())
	compareTables(t, "routes", got.Routes.All(), want.Routes.All())
	compareTables(t, "bindings", got.Bindings.All(), want.Bindings.All())
	compareTables(t, "backends", got.Backends.All(), want.Backends.All())
	compareTables(t, "endpoints", got.Endpoints.All(), want.Endpoints.All())
	compareTables(t, "certificates", got.Certificates.All(), want.Certificates.All())
	compareTables(t, "authorities", got.Authorities.All(), want.Authorities.All())
	compareTables(t, "policies", got.Policies.All(), want.Policies.All())
	compareTables(t, "gatewayclass status", got.GatewayClassStatus.All(), want.GatewayClassStatus.All())
	compareTables(t, "gateway status", got.GatewayStatus.All(), want.GatewayStatus.All())
	compareTables(t, "route status", got.RouteStatus.All(), want.RouteStatus.All())
	compareTables(t, "backend status", got.BackendStatus.All(), want.BackendStatus.All())
}

func compareTables[K comparable, V any](t *testing.T, name string, got, want iter.Seq2[K, V]) {
	t.Helper()
	left := map[K]V{}
	for k, v := range got {
		left[k] = v
	}
	for k, v := range want {
		if !reflect.DeepEqual(left[k], v) {
			t.Errorf("%s[%v]:\n%+v\nwant\n%+v", name, k, left[k], v)
		}
		delete(left, k)
	}
	for k := range left {
		t.Errorf("%s[%v] should not be there", name, k)
	}
}

// TestReportsAreAboutTheirObject: every issue names the object in whose report it is.
func TestReportsAreAboutTheirObject(t *testing.T) {
	w := newWorld(t, shared())
	for _, o := range contentious(t) {
		w.store.Set(o.ref, o.obj)
	}
	w.commit()
	issues := 0
	for key, rt := range w.Routes.All() {
		for _, i := range rt.Report {
			issues++
			if i.Object != key.Ref() || i.Section.Rule == 0 || i.Path == "" || i.Message == "" {
				t.Errorf("%+v", i)
			}
		}
	}
	for key, gw := range w.Gateways.All() {
		for _, i := range gw.Report {
			issues++
			want := model.Ref{Group: model.GroupGateway, Kind: model.KindGateway, Name: key}
			if i.Object != want || i.Message == "" {
				t.Errorf("%+v", i)
			}
		}
	}
	if issues < 8 {
		t.Errorf("only %d issues: the test data does not do what it is for", issues)
	}
}

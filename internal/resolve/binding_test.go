package resolve

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// parentsYAML is an HTTPRoute with the given parentRefs.
func parentsYAML(namespace, name, parents string) string {
	route := strings.Replace(routeYAML(name, "", `{backendRefs: [{name: svc, port: 80}]}`), "[{name: gw}]", parents, 1)
	return strings.Replace(route, "namespace: default", "namespace: "+namespace, 1)
}

const isolated = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: default}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: any, port: 80, protocol: HTTP}
  - {name: wide, port: 80, protocol: HTTP, hostname: "*.example.com"}
  - {name: narrow, port: 80, protocol: HTTP, hostname: "*.foo.example.com"}
  - {name: exact, port: 80, protocol: HTTP, hostname: abc.foo.example.com}
`

func TestListenerIsolation(t *testing.T) {
	w := newWorld(t, options(), classYAML, serviceYAML, isolated,
		parentsYAML("default", "any", "[{name: gw, sectionName: any}]"),
		parentsYAML("default", "wide", "[{name: gw, sectionName: wide}]"),
		parentsYAML("default", "narrow", "[{name: gw, sectionName: narrow}]"),
		parentsYAML("default", "exact", "[{name: gw, sectionName: exact}]"))
	expect(t, "hosts", w.hosts(), `
		http/80/*: any
		http/80/*.example.com: wide
		http/80/*.foo.example.com: narrow
		http/80/abc.foo.example.com: exact`)
}

// TestIsolationWithHostnames: a route that names hosts of a more specific listener serves none of them.
func TestIsolationWithHostnames(t *testing.T) {
	route := func(name, section string) string {
		const hosts = `bar.com, "*.example.com", bar.example.com, "*.foo.example.com", bar.foo.example.com, ` +
			`abc.foo.example.com`
		r := routeYAML(name, hosts, toService)
		return strings.Replace(r, "{name: gw}", "{name: gw, sectionName: "+section+"}", 1)
	}
	w := newWorld(t, options(), classYAML, serviceYAML, isolated,
		route("any", "any"), route("wide", "wide"), route("narrow", "narrow"), route("exact", "exact"))
	expect(t, "hosts", w.hosts(), `
		http/80/*.example.com: wide
		http/80/*.foo.example.com: narrow
		http/80/abc.foo.example.com: exact
		http/80/bar.com: any
		http/80/bar.example.com: wide
		http/80/bar.foo.example.com: narrow`)

	w.apply(strings.Replace(isolated, `  - {name: exact, port: 80, protocol: HTTP, hostname: abc.foo.example.com}`, "", 1))
	if !strings.Contains(w.hosts(), "abc.foo.example.com: narrow\n") {
		t.Errorf("the host of a listener that is gone should fall to the next one:\n%s", w.hosts())
	}
}

// TestIsolationNeedsAValidListener: a listener that cannot be programmed takes no host from another.
func TestIsolationNeedsAValidListener(t *testing.T) {
	gw := gatewayYAML("gw",
		`{name: wide, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: cert}]}}`,
		`{name: exact, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: late}]}}`)
	w := newWorld(t, options(), classYAML, serviceYAML, secretYAML(t, "cert"), gw,
		routeYAML("r", "a.example.com, b.example.com", toService))
	expect(t, "hosts while the certificate is missing", w.hosts(), `
		https/443/default/gw/wide/a.example.com: r
		https/443/default/gw/wide/b.example.com: r`)
	w.apply(secretYAML(t, "late"))
	expect(t, "hosts", w.hosts(), `
		https/443/default/gw/exact/a.example.com: r
		https/443/default/gw/wide/b.example.com: r`)
}

func TestConflictedListenerServesNothing(t *testing.T) {
	w := newWorld(t, shared(), classYAML, serviceYAML, gatewayYAML("a", plainHTTP), gatewayYAML("b", plainHTTP),
		parentsYAML("default", "r", "[{name: a}]"), parentsYAML("default", "q", "[{name: b}]"))
	expect(t, "hosts", w.hosts(), "http/80/*: r")
	expect(t, "route of the loser", w.route(http("q")), "b: Accepted ResolvedRefs")
	if m := w.messages(http("q")); !strings.Contains(m, "takes no traffic") {
		t.Errorf("the status does not say that the route takes no traffic: %s", m)
	}
}

func TestHostnameIntersection(t *testing.T) {
	gw := gatewayYAML("gw", `{name: l1, port: 80, protocol: HTTP, hostname: very.specific.com}`,
		`{name: l2, port: 80, protocol: HTTP, hostname: "*.wildcard.io"}`,
		`{name: l3, port: 80, protocol: HTTP, hostname: "*.anotherwildcard.io"}`)
	w := newWorld(t, options(), classYAML, serviceYAML, gw,
		routeYAML("s1", `non.matching.com, "*.nonmatchingwildcard.io", very.specific.com`, toService),
		routeYAML("s2", "wildcard.io, foo.wildcard.io, foo.bar.wildcard.io", toService),
		routeYAML("s3", `"*.specific.com"`, toService),
		routeYAML("s4", `"*.anotherwildcard.io"`, toService),
		routeYAML("s5", "specific.but.wrong.com, wildcard.io", toService))
	expect(t, "hosts", w.hosts(), `
		http/80/*.anotherwildcard.io: s4
		http/80/foo.bar.wildcard.io: s2
		http/80/foo.wildcard.io: s2
		http/80/very.specific.com: s1 s3`)
	expect(t, "no match", w.route(http("s5")), "gw: Accepted=False/NoMatchingListenerHostname ResolvedRefs")
	expect(t, "Gateway", w.gateway(inDefault("gw")), `
		Accepted ResolvedRefs
		l1 [HTTPRoute,GRPCRoute] 2: Accepted ResolvedRefs
		l2 [HTTPRoute,GRPCRoute] 1: Accepted ResolvedRefs
		l3 [HTTPRoute,GRPCRoute] 1: Accepted ResolvedRefs`)
	b, _ := w.Bindings.Peek(http("s3"))
	want := []model.BoundHost{{Domain: "very.specific.com", From: "*.specific.com"}}
	if diff := cmp.Diff(want, b.Bound[0].Hosts); diff != "" {
		t.Errorf("the route's own hostname must be kept for precedence:\n%s", diff)
	}
}

// TestMostSpecificOwnHostname: of two hostnames that mean the same domain of a listener, the more specific one counts.
func TestMostSpecificOwnHostname(t *testing.T) {
	w := newWorld(t, options(), classYAML, serviceYAML,
		gatewayYAML("gw", `{name: l, port: 80, protocol: HTTP, hostname: a.b.com}`),
		routeYAML("r", `"*.com", a.b.com, "*.b.com"`, toService))
	b, _ := w.Bindings.Peek(http("r"))
	if diff := cmp.Diff([]model.BoundHost{{Domain: "a.b.com", From: "a.b.com"}}, b.Bound[0].Hosts); diff != "" {
		t.Error(diff)
	}
}

func TestParentRefs(t *testing.T) {
	gw := gatewayYAML("gw", `{name: http, port: 80, protocol: HTTP}`, `{name: alt, port: 8080, protocol: HTTP}`,
		`{name: grpc, port: 9090, protocol: HTTP, allowedRoutes: {kinds: [{kind: GRPCRoute}]}}`)
	const ok = ": Accepted ResolvedRefs"
	cases := []struct{ name, parents, want, hosts string }{
		{"whole Gateway", "[{name: gw}]", "gw" + ok, "http/80/*: r\nhttp/8080/*: r"},
		{"section", "[{name: gw, sectionName: alt}]", "gw/alt" + ok, "http/8080/*: r"},
		{"port", "[{name: gw, port: 80}]", "gw" + ok, "http/80/*: r"},
		{"section and its port", "[{name: gw, sectionName: alt, port: 8080}]", "gw/alt" + ok, "http/8080/*: r"},
		{"section and another port", "[{name: gw, sectionName: alt, port: 80}]",
			"gw/alt: Accepted=False/NoMatchingParent ResolvedRefs", ""},
		{"no such section", "[{name: gw, sectionName: none}]",
			"gw/none: Accepted=False/NoMatchingParent ResolvedRefs", ""},
		{"no such port", "[{name: gw, port: 81}]", "gw: Accepted=False/NoMatchingParent ResolvedRefs", ""},
		{"kind not let in", "[{name: gw, sectionName: grpc}]",
			"gw/grpc: Accepted=False/NotAllowedByListeners ResolvedRefs", ""},
		{"no such Gateway", "[{name: none}]", "none", ""},
		{"a Service", `[{group: "", kind: Service, name: svc}]`, "none", ""},
		{"another group", "[{group: example.com, kind: Gateway, name: gw}]", "none", ""},
		{"two sections", "[{name: gw, sectionName: alt}, {name: gw, sectionName: none}, {name: gw, sectionName: http}]",
			"gw/alt" + ok + "\ngw/none: Accepted=False/NoMatchingParent ResolvedRefs\ngw/http" + ok,
			"http/80/*: r\nhttp/8080/*: r"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, serviceYAML, gw, parentsYAML("default", "r", tc.parents))
			expect(t, "status", w.route(http("r")), tc.want)
			expect(t, "hosts", w.hosts(), tc.hosts)
		})
	}
}

func TestAllowedNamespaces(t *testing.T) {
	listener := func(from string) string {
		return "{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: " + from + "}}}"
	}
	const namespace = `
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {team: blue}}
`
	cases := []struct {
		name, listener, namespace string
		want                      bool
	}{
		{"by default the same", plainHTTP, "", false},
		{"same", listener("Same"), "", false},
		{"all", listener("All"), "", true},
		{"label", listener("Selector, selector: {matchLabels: {team: blue}}"), namespace, true},
		{"other label", listener("Selector, selector: {matchLabels: {team: red}}"), namespace, false},
		{"name of a namespace that nobody wrote",
			listener("Selector, selector: {matchLabels: {kubernetes.io/metadata.name: apps}}"), "", true},
		{"name of a namespace written without it",
			listener("Selector, selector: {matchLabels: {kubernetes.io/metadata.name: apps}}"), namespace, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			route := parentsYAML("apps", "r", "[{name: gw, namespace: default}]")
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", tc.listener), tc.namespace, route)
			key := model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "apps", Name: "r"}}
			want := "gw: Accepted=False/NotAllowedByListeners ResolvedRefs=False/BackendNotFound"
			if tc.want {
				want = "gw: Accepted ResolvedRefs=False/BackendNotFound"
			}
			expect(t, "status", w.route(key), want)
		})
	}
	t.Run("a label that goes takes the route with it", func(t *testing.T) {
		w := newWorld(t, options(), classYAML, gatewayYAML("gw", cases[3].listener), namespace,
			parentsYAML("apps", "r", "[{name: gw, namespace: default}]"))
		expect(t, "hosts", w.hosts(), "http/80/*: r")
		w.apply(strings.Replace(namespace, "blue", "red", 1))
		expect(t, "hosts", w.hosts(), "")
	})
}

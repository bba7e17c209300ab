package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// soon is how long what somebody may no longer do may go on.
const soon = 2 * time.Second

// ends checks that something that was begun just now has come true soon enough.
func ends(t *testing.T, what string, begun time.Time) {
	t.Helper()
	if took := time.Since(begun); took > soon {
		t.Errorf("%s took %v, want %v at most", what, took, soon)
	}
}

// inNamespace is an object with another namespace.
func inNamespace(namespace, object string) string {
	return strings.Replace(object, "metadata: {", "metadata: {namespace: "+namespace+", ", 1)
}

// teamRoute is an HTTPRoute of a namespace, and the Backend own that it sends requests to.
func teamRoute(namespace, parent, hostnames, backend string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: %[1]s}
spec:
  parentRefs: [{%[2]s}]
  hostnames: [%[3]s]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: own}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: own, namespace: %[1]s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_%[4]s}}}]}
`, namespace, parent, hostnames, backend)
}

// delegatedYAML is a Gateway whose listener for shop.example is for the namespace shop alone, and whose other one is
// for everybody.
const delegatedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: infra}
spec:
  gatewayClassName: sluice
  listeners:
  - name: shop
    protocol: HTTP
    port: ${HTTP}
    hostname: shop.example
    allowedRoutes: {namespaces: {from: Selector, selector: {matchLabels: {kubernetes.io/metadata.name: shop}}}}
  - {name: rest, protocol: HTTP, port: ${HTTP}, hostname: "*.example", allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: anybody}
`

// TestA05HostnameOfAnother has a route that was there first add the host of another namespace's listener, by itself
// and under a wildcard: the owner keeps every request, and the route what is its own.
func TestA05HostnameOfAnother(t *testing.T) {
	t.Parallel()
	const parent = "name: gw, namespace: infra"
	in := start(t, files{
		"gateway.yaml": delegatedYAML, "a.yaml": teamRoute("anybody", parent, "any.example", "two"),
		"shop.yaml": teamRoute("shop", parent, "shop.example", "one"),
	})
	owned := func() {
		t.Helper()
		for _, r := range []request{
			{host: "shop.example"}, {host: "SHOP.example"}, {host: "shop.example:80"}, {host: "shop.example", proto: "h2c"},
		} {
			in.must(t, r, expect{backend: "one"})
		}
	}
	owned()
	in.must(t, request{host: "any.example"}, expect{backend: "two"})
	for _, hostnames := range []string{`any.example, shop.example, new.example`, `any.example, "*.example", new.example`} {
		in.write("a.yaml", teamRoute("anybody", parent, hostnames, "two"))
		in.want(t, request{host: "new.example"}, expect{backend: "two"})
		owned()
		in.write("a.yaml", teamRoute("anybody", parent, "any.example", "two"))
		in.want(t, request{host: "new.example"}, expect{status: 404})
	}
	// Naming the listener does not help, and the route is told.
	in.write("a.yaml", teamRoute("anybody", parent+", sectionName: shop", "shop.example", "two"))
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "anybody/all", condition: "Accepted=False/NotAllowedByListeners",
	})
	owned()
	// Nor does it when the owner is away: nobody stands in for him.
	in.write("shop.yaml", teamRoute("shop", parent, "shop.example", "three"))
	in.want(t, request{host: "shop.example"}, expect{backend: "three"})
	in.write("a.yaml", teamRoute("anybody", parent, `any.example, "*.example", shop.example`, "two"))
	in.want(t, request{host: "any.example"}, expect{backend: "two"})
	in.remove("shop.yaml")
	in.want(t, request{host: "shop.example"}, expect{status: 404})
}

// TestA06ListenersOfListenerSets has a Gateway's listener for all hosts, and a ListenerSet's for one of them, on one
// HTTPS port: routes of the first get nothing of the second, whatever their hostnames say and the client's SNI is.
func TestA06ListenersOfListenerSets(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	secret := func(namespace, host string) string {
		return inNamespace(namespace, ca.secret(t, "own", "ecdsa", host))
	}
	gateway := strings.ReplaceAll(hostGateway, "hostname: gateway.example", `hostname: "*.example"`)
	in := start(t, files{
		"gateway.yaml": gateway + secret("infra", "*.example") +
			teamRoute("infra", "name: gw", `"*.example", shop.example`, "two"),
		"shop.yaml": tenant("shop", "shop.example", "ip: {address: 127.0.0.1, port: ${PORT_one}}") +
			secret("shop", "shop.example"),
	})
	secure := func(sni, host string) request {
		return request{host: host, port: "HTTPS", tls: &tls.Config{ServerName: sni, RootCAs: ca.pool}}
	}
	for name, c := range map[string]check{
		"plain":              {request{host: "shop.example"}, expect{backend: "one"}},
		"plain, the others'": {request{host: "any.example"}, expect{backend: "two"}},
		"its own":            {secure("shop.example", "shop.example"), expect{backend: "one"}},
		"the others'":        {secure("any.example", "any.example"), expect{backend: "two"}},
		// A connection that began at one listener is not for the hosts of the other.
		"through the others'": {secure("any.example", "shop.example"), expect{status: 421}},
		"the others' by its":  {secure("shop.example", "any.example"), expect{status: 421}},
	} {
		t.Run(name, func(t *testing.T) { in.must(t, c.request, c.expect) })
	}
	// Without a route of its own the listener still keeps its requests.
	in.write("shop.yaml", strings.Replace(tenant("shop", "shop.example", "ip: {address: 127.0.0.1, port: ${PORT_one}}"),
		"name: set}]\n  rules", "name: other}]\n  rules", 1)+secret("shop", "shop.example"))
	in.want(t, request{host: "shop.example"}, expect{status: 404})
	in.want(t, secure("shop.example", "shop.example"), expect{status: 404})
}

// TestA08FiltersOfABackendRefStay sends requests by several routes to one Service, at once and on the same connections
// to it: what one route's reference adds, removes and rewrites does no other.
func TestA08FiltersOfABackendRefStay(t *testing.T) {
	t.Parallel()
	rule := func(filters string) string { return "[{backendRefs: [{${one}, filters: [" + filters + "]}]}]" }
	adds := func(value string) string {
		return `{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-tenant, value: ` + value +
			`}], remove: [x-secret]}}`
	}
	in := start(t, files{"routes.yaml": hostRoute("a", rule(adds("a"))) + hostRoute("b", rule(adds("b"))) +
		hostRoute("plain", `[{backendRefs: [{${one}}]}]`) + hostRoute("split",
		`[{backendRefs: [{${one}, weight: 0, filters: [`+adds("never")+`]}, {${one}}]}]`)})
	want := map[string][]string{
		"a": {"x-tenant: a", "x-secret:"}, "b": {"x-tenant: b", "x-secret:"},
		"plain": {"x-tenant: mine", "x-secret: s"}, "split": {"x-tenant: mine", "x-secret: s"},
	}
	var all sync.WaitGroup
	for host, received := range want {
		all.Go(func() {
			for range 50 {
				a, err := in.send(t.Context(), request{
					host: host + ".example", header: []string{"x-tenant: mine", "x-secret: s"},
				})
				if err == nil {
					err = in.check(expect{backend: "one", received: received}, a)
				}
				if err != nil {
					t.Errorf("%s: %v", host, err)
					return
				}
			}
		})
	}
	all.Wait()
}

// TestA09LabelsOfANamespace takes and gives the label by which a listener lets in a namespace's routes.
func TestA09LabelsOfANamespace(t *testing.T) {
	t.Parallel()
	namespace := func(labels string) string {
		return "{apiVersion: v1, kind: Namespace, metadata: {name: team, labels: {" + labels + "}}}"
	}
	in := start(t, files{
		"gateway.yaml": strings.Replace(gatewayYAML, "port: ${HTTP}}", "port: ${HTTP}, allowedRoutes: {namespaces: "+
			"{from: Selector, selector: {matchLabels: {edge: welcome}, matchExpressions: "+
			"[{key: quarantine, operator: DoesNotExist}]}}}}", 1),
		"namespace.yaml": namespace("edge: welcome"),
		"route.yaml":     teamRoute("team", "name: gw, namespace: default", "team.example", "one"),
	})
	r := request{host: "team.example"}
	in.must(t, r, expect{backend: "one"})
	for _, tt := range []struct {
		labels    string
		condition string
		want      expect
	}{
		{"", "Accepted=False/NotAllowedByListeners", expect{status: 404}},
		{"edge: welcome", "Accepted=True/Accepted", expect{backend: "one"}},
		{"edge: welcome, quarantine: now", "Accepted=False/NotAllowedByListeners", expect{status: 404}},
		{"edge: Welcome", "Accepted=False/NotAllowedByListeners", expect{status: 404}},
		{"edge: welcome, other: label", "Accepted=True/Accepted", expect{backend: "one"}},
	} {
		in.write("namespace.yaml", namespace(tt.labels))
		begun := time.Now()
		in.want(t, r, tt.want)
		ends(t, "with the labels {"+tt.labels+"} it", begun)
		in.condition(t, conditionWant{kind: "HTTPRoute", name: "team/all", condition: tt.condition})
	}
}

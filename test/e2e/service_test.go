package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
)

// slice returns an EndpointSlice of the Service shop.
func slice(name, family, port, endpoints string) string {
	return fmt.Sprintf(`
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, labels: {kubernetes.io/service-name: shop}}
addressType: %s
ports: [{name: web, port: %s}, {name: other, port: 1}]
endpoints: %s
`, name, family, port, endpoints)
}

// TestService serves a Service by its EndpointSlices as they come and go.
func TestService(t *testing.T) {
	t.Parallel()
	six, err := echo.Listen("six", "[::1]:0")
	if err != nil {
		t.Skipf("no IPv6 on this machine: %v", err)
	}
	t.Cleanup(func() { _ = six.Close() })
	in := start(t, files{"service.yaml": `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: web, port: 80, targetPort: 8080}, {name: other, port: 81}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: shop}
spec:
  parentRefs: [{name: gw}]
  hostnames: [shop.example]
  rules: [{backendRefs: [{name: shop, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: wrong-port}
spec:
  parentRefs: [{name: gw}]
  hostnames: [wrong.example]
  rules: [{backendRefs: [{name: shop, port: 82}]}]
`})
	shop := request{host: "shop.example"}
	const ready, notReady = `[{addresses: [127.0.0.1], conditions: {ready: true}}]`,
		`[{addresses: [127.0.0.1], conditions: {ready: false}}]`
	const draining = `[{addresses: [127.0.0.1], conditions: {ready: false, serving: true, terminating: true}}]`

	in.must(t, request{host: "wrong.example"}, expect{status: 500})
	in.must(t, shop, expect{status: 503}) // No endpoint yet.

	in.write("a.yaml", slice("a", "IPv4", "${PORT_one}", ready))
	in.want(t, shop, expect{backend: "one"})
	in.write("b.yaml", slice("b", "IPv4", "${PORT_two}", `[{addresses: [127.0.0.1]}]`)) // No condition means ready.
	in.wantAnswers(t, shop, "one", "two")
	in.write("c.yaml", slice("c", "IPv6", fmt.Sprint(six.Port()), `[{addresses: ["::1"], conditions: {ready: true}}]`))
	in.wantAnswers(t, shop, "one", "two", "six")

	in.write("a.yaml", slice("a", "IPv4", "${PORT_one}", notReady))
	in.wantAnswers(t, shop, "two", "six")
	in.write("b.yaml", slice("b", "IPv4", "${PORT_two}", draining))
	in.wantAnswers(t, shop, "six")
	in.remove("c.yaml")
	in.wantAnswers(t, shop, "two") // Draining, but there is no other.
	in.remove("b.yaml")
	in.want(t, shop, expect{status: 503})
	in.write("a.yaml", slice("a", "IPv4", "${PORT_one}", ready))
	in.want(t, shop, expect{backend: "one"})
}

// TestServiceOfNames serves a Service whose EndpointSlices have host names, and says what is wrong if others have IP
// addresses.
func TestServiceOfNames(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"service.yaml": "apiVersion: v1\nkind: Service\nmetadata: {name: shop}\n" +
			"spec: {ports: [{name: web, port: 80}, {name: other, port: 81}]}\n",
		"route.yaml": hostRoute("shop", "[{backendRefs: [{name: shop, port: 80}]}]"),
		"named.yaml": slice("named", "FQDN", "${PORT_one}", "[{addresses: [shop.localhost]}]"),
	})
	shop := request{host: "shop.example"}
	in.want(t, shop, expect{backend: "one"})
	in.write("address.yaml", slice("address", "IPv4", "${PORT_two}", "[{addresses: [127.0.0.1]}]"))
	in.want(t, shop, expect{status: 500})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/shop",
		condition: "ResolvedRefs=False/UnsupportedAddressType", message: "a Service can have one of them"})
	in.remove("named.yaml")
	in.want(t, shop, expect{backend: "two"})
}

// wantAnswers waits until exactly these backends answer.
func (in *instance) wantAnswers(t *testing.T, r request, names ...string) {
	t.Helper()
	const n = 60 // With three backends in turn or at random, one is missed in 1 of 10^10 rounds.
	eventually(t, func() error {
		got := in.shares(t, r, n)
		for _, name := range names {
			if got[name] == 0 {
				return fmt.Errorf("answers came from %v, want %v", got, names)
			}
		}
		if len(got) != len(names) {
			return fmt.Errorf("answers came from %v, want %v", got, names)
		}
		return nil
	})
}

// TestBackendAddress serves Backends of each kind of address.
func TestBackendAddress(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	s, err := echo.ListenUnix("socket", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	backend := func(name, endpoints string) string {
		return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: ` + name + `}
spec: {endpoints: ` + endpoints + `}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ` + name + `}
spec:
  parentRefs: [{name: gw}]
  hostnames: [` + name + `.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ` + name + `}]}]
`
	}
	in := start(t, files{"routes.yaml": backend("ip", `[{ip: {address: 127.0.0.1, port: ${PORT_one}}}]`) +
		backend("fqdn", `[{fqdn: {hostname: localhost, port: ${PORT_two}}}]`) +
		backend("unix", `[{unix: {path: `+socket+`}}]`)})
	for name, want := range map[string]string{"ip": "one", "fqdn": "two", "unix": "socket"} {
		in.want(t, request{host: name + ".example"}, expect{backend: want})
	}
}

// TestA03ReferenceGrant gives and takes the consent to references across namespaces: what is taken ends at once, on
// connections that are open too, and what is for somebody or something else is none.
func TestA03ReferenceGrant(t *testing.T) {
	t.Parallel()
	const grant = `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {namespace: team, name: grant}
spec:
  from: [{${FROM}}]
  to: [{${TO}}]
`
	in := prepare(t, files{"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: across}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, namespace: team, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {namespace: team, name: one}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_one}}}]}
`})
	in.run()
	in.waitReady()
	const route, to = "group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: ",
		"group: gateway.envoyproxy.io, kind: Backend"
	const from = route + "default"
	allow := func(from, to string) {
		in.vars["FROM"], in.vars["TO"] = from, to
		in.write("grant.yaml", grant)
	}
	refused := conditionWant{kind: "HTTPRoute", name: "default/across", condition: "ResolvedRefs=False/RefNotPermitted"}
	resolved := conditionWant{kind: "HTTPRoute", name: "default/across", condition: "ResolvedRefs=True/ResolvedRefs"}
	steps := []struct {
		name   string
		do     func()
		status conditionWant
		want   expect
	}{
		{"no grant", func() {}, refused, expect{status: 500}},
		{"given", func() { allow(from, to) }, resolved, expect{backend: "one"}},
		{"taken", func() { in.remove("grant.yaml") }, refused, expect{status: 500}},
		{"for another namespace", func() { allow(route+"other", to) }, refused, expect{status: 500}},
		{"for this name", func() { allow(from, to+", name: one") }, resolved, expect{backend: "one"}},
		{"for another name", func() { allow(from, to+", name: two") }, refused, expect{status: 500}},
		{"given again", func() { allow(from, to) }, resolved, expect{backend: "one"}},
		{"for another kind of route", func() { allow(strings.Replace(from, "HTTPRoute", "TCPRoute", 1), to) }, refused,
			expect{status: 500}},
		{"for another group of routes", func() { allow(strings.Replace(from, "networking", "example", 1), to) }, refused,
			expect{status: 500}},
		{"for another kind", func() { allow(from, strings.Replace(to, "Backend", "Service", 1)) }, refused,
			expect{status: 500}},
		{"for another group", func() { allow(from, `group: "", kind: Backend`) }, refused, expect{status: 500}},
		{"the other way round", func() { allow(to+", namespace: default", route[:strings.LastIndex(route, ",")]) }, refused,
			expect{status: 500}},
	}
	open := in.client(request{})
	defer open.CloseIdleConnections()
	for _, s := range steps {
		s.do()
		begun := time.Now()
		eventually(t, func() error {
			a, err := in.sendOn(t.Context(), open, request{})
			if err != nil {
				return err
			}
			return in.check(s.want, a)
		})
		ends(t, s.name+": it", begun)
		in.condition(t, s.status)
		in.must(t, request{}, s.want)
	}
}

// TestFallback checks that a fallback backend gets nothing while the other one has an endpoint, and everything when it
// has none.
func TestFallback(t *testing.T) {
	t.Parallel()
	in := start(t, files{"fallback.yaml": `
apiVersion: v1
kind: Service
metadata: {name: main}
spec: {ports: [{name: web, port: 80, targetPort: 8080}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: spare}
spec:
  fallback: true
  endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: fallback}
spec:
  parentRefs: [{name: gw}]
  hostnames: [fallback.example]
  rules:
  - backendRefs:
    - {name: main, port: 80}
    - {group: gateway.envoyproxy.io, kind: Backend, name: spare}
`})
	r := request{host: "fallback.example"}
	in.must(t, r, expect{backend: "two"})
	main := func(ready string) string {
		slice := slice("main", "IPv4", "${PORT_one}", `[{addresses: [127.0.0.1], conditions: {ready: `+ready+`}}]`)
		return strings.ReplaceAll(slice, "service-name: shop", "service-name: main")
	}
	in.write("slice.yaml", main("true"))
	in.want(t, r, expect{backend: "one"})
	for range 20 {
		in.must(t, r, expect{backend: "one"})
	}
	in.write("slice.yaml", main("false"))
	in.want(t, r, expect{backend: "two"})
}

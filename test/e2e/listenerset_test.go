package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// hostGateway is a Gateway of the namespace infra on ${HTTP} and ${HTTPS} that lets in ListenerSets of namespaces with
// the label.
const hostGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: infra}
spec:
  gatewayClassName: sluice
  allowedListeners: {namespaces: {from: Selector, selector: {matchLabels: {listeners: welcome}}}}
  listeners:
  - {name: http, protocol: HTTP, port: ${HTTP}, hostname: gateway.example}
  - {name: https, protocol: HTTPS, port: ${HTTPS}, hostname: gateway.example, tls: {certificateRefs: [{name: own}]}}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {listeners: welcome}}
---
apiVersion: v1
kind: Namespace
metadata: {name: apps, labels: {listeners: welcome}}
`

// tenant is a namespace's ListenerSet with a listener for its host on both ports, a route of it, and a Backend.
func tenant(namespace, host, backend string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, namespace: %[1]s}
spec:
  parentRef: {name: gw, namespace: infra}
  listeners:
  - {name: http, protocol: HTTP, port: ${HTTP}, hostname: %[2]s}
  - {name: https, protocol: HTTPS, port: ${HTTPS}, hostname: %[2]s, tls: {certificateRefs: [{name: own}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all, namespace: %[1]s}
spec:
  parentRefs: [{kind: ListenerSet, name: set}]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: own}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: own, namespace: %[1]s}
spec: {endpoints: [{%[3]s}]}
`, namespace, host, backend)
}

// TestListenerSet sends requests to the listeners that other namespaces add to a Gateway, with certificates of their
// own: those that the Gateway lets in are served, and leave each other and the Gateway alone.
func TestListenerSet(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	secret := func(namespace, host string) string {
		return strings.Replace(ca.secret(t, "own", "ecdsa", host), "{name: own}", "{name: own, namespace: "+namespace+"}", 1)
	}
	endpoint := func(name string) string { return "ip: {address: 127.0.0.1, port: ${PORT_" + name + "}}" }
	in := start(t, files{
		"gateway.yaml": hostGateway + secret("infra", "gateway.example"),
		"shop.yaml":    tenant("shop", "shop.example", endpoint("one")) + secret("shop", "shop.example"),
		"apps.yaml":    tenant("apps", "apps.example", endpoint("two")) + secret("apps", "apps.example"),
		"rude.yaml":    tenant("rude", "rude.example", endpoint("two")) + secret("rude", "rude.example"),
		// The Gateway's route is not that of its ListenerSets, and cannot name their listeners.
		"route.yaml": strings.ReplaceAll(tenant("infra", "unused.example", endpoint("two")),
			"parentRefs: [{kind: ListenerSet, name: set}]", "parentRefs: [{name: gw}]"),
	})
	secure := func(host string) request {
		return request{host: host, port: "HTTPS", tls: &tls.Config{ServerName: host, RootCAs: ca.pool}}
	}
	in.want(t, request{host: "shop.example"}, expect{backend: "one"})
	in.want(t, secure("shop.example"), expect{backend: "one"})
	in.want(t, secure("apps.example"), expect{backend: "two"})
	in.want(t, request{host: "gateway.example"}, expect{backend: "two"})
	in.condition(t, conditionWant{kind: "ListenerSet", name: "shop/set", condition: "Programmed=True/Programmed"})

	// Not let in, so not served.
	in.condition(t, conditionWant{kind: "ListenerSet", name: "rude/set", condition: "Accepted=False/NotAllowed"})
	in.want(t, request{host: "rude.example"}, expect{status: 404})
	if _, err := in.send(t.Context(), secure("rude.example")); err == nil {
		t.Error("a ListenerSet that is not let in is served over HTTPS")
	}

	// Who comes later by name gets nothing of what is taken, and who has it keeps it.
	in.write("apps.yaml", tenant("apps", "gateway.example", endpoint("one"))+secret("apps", "gateway.example"))
	in.condition(t, conditionWant{kind: "ListenerSet", name: "apps/set", listener: "https",
		condition: "Conflicted=True/HostnameConflict", message: "infra/gw/https"})
	in.condition(t, conditionWant{kind: "ListenerSet", name: "apps/set", condition: "Accepted=False/ListenersNotValid"})
	in.want(t, secure("gateway.example"), expect{backend: "two"})
	if _, err := in.send(t.Context(), secure("apps.example")); err == nil {
		t.Error("the listener that the ListenerSet had before is still served")
	}
	in.must(t, secure("shop.example"), expect{backend: "one"})

	in.remove("shop.yaml")
	in.want(t, request{host: "shop.example"}, expect{status: 404})
	in.must(t, secure("gateway.example"), expect{backend: "two"})
}

// TestDefaultGateway sends requests by a route that names no Gateway but asks for the default ones.
func TestDefaultGateway(t *testing.T) {
	t.Parallel()
	const gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  defaultScope: All
  listeners: [{name: http, protocol: HTTP, port: ${HTTP}}]
`
	in := start(t, files{
		"gateway.yaml":  gateway,
		"backends.yaml": backendsYAML,
		"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r}
spec:
  useDefaultGateways: All
  rules: [{backendRefs: [{${one}}]}]
`,
	})
	in.want(t, request{}, expect{backend: "one"})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", condition: "DefaultGateway=True/DefaultGateway"})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/r", condition: "Accepted=True/Accepted",
		message: "default Gateway"})
	in.write("gateway.yaml", strings.Replace(gateway, "defaultScope: All", "defaultScope: None", 1))
	in.want(t, request{}, expect{status: 404})
}

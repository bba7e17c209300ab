package main

import (
	"fmt"
	"strings"
)

// gateway is a Gateway with an HTTP listener on a port, and further ones as they are given.
func gateway(port int, listeners ...string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: http, protocol: HTTP, port: %d}
%s`, port, strings.Join(listeners, ""))
}

// backendsYAML are the Backends one and two.
func (f *field) backendsYAML() string {
	var out strings.Builder
	for _, name := range []string{"one", "two"} {
		out.WriteString("---\n" + backend(name, f.backends[name].Port()))
	}
	return out.String()
}

// backend is a Backend on a port of this machine.
func backend(name string, port int) string {
	return fmt.Sprintf(`apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, name, port)
}

// ref refers to a Backend.
func ref(name string) string {
	return "{group: gateway.envoyproxy.io, kind: Backend, name: " + name + "}"
}

// route is an HTTPRoute for a host, with rules.
func route(name, host string, rules ...string) string {
	return fmt.Sprintf(`apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%s]
  rules: [%s]
`, name, host, strings.Join(rules, ", "))
}

// to is a rule that sends all to a Backend.
func to(name string) string { return "{backendRefs: [" + ref(name) + "]}" }

// routes are n HTTPRoutes, each in a file of its own, for the hosts host(0) and so on.
func routes(n int) map[string]string {
	out := make(map[string]string, n)
	for i := range n {
		name := fmt.Sprintf("r%d", i)
		out[name+".yaml"] = route(name, host(i), to("one"))
	}
	return out
}

func host(i int) string { return fmt.Sprintf("h%d.example", i) }

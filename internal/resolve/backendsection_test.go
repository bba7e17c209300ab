package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// endpointsYAML is the Backend b with an endpoint at each of some ports.
func endpointsYAML(ports ...int) string {
	var endpoints []string
	for i, port := range ports {
		endpoints = append(endpoints, fmt.Sprintf("{ip: {address: 192.0.2.%d, port: %d}}", i+1, port))
	}
	return "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nmetadata: {name: b, namespace: default}\n" +
		"spec: {endpoints: [" + strings.Join(endpoints, ", ") + "]}\n"
}

const (
	toBackend    = "group: gateway.envoyproxy.io, kind: Backend, name: b"
	backendRoute = "{backendRefs: [{" + toBackend + "}]}"
)

// TestSectionOfABackend: a section of a Backend is the number of a port of its endpoints, as Envoy Gateway has it. What
// is meant by a policy has to be clear, or requests fail: they are never sent in clear text to what somebody wants to
// secure.
func TestSectionOfABackend(t *testing.T) {
	const (
		fine    = "gw of " + controller + ": Accepted ResolvedRefs"
		missing = "gw of " + controller + ": Accepted=False/TargetNotFound ResolvedRefs"
		unclear = "gw of " + controller + ": Accepted=False/Invalid ResolvedRefs"
		fails   = "fails"
	)
	section := func(name string) string { return toBackend + `, sectionName: "` + name + `"` }
	both := section("443") + "}, {" + section("8443")
	unix := strings.Replace(endpointsYAML(1), "ip: {address: 192.0.2.1, port: 1}", "unix: {path: /run/b.sock}", 1)
	other := strings.Replace(trustsCA, "a.example", "other.example", 1)
	cases := []struct {
		name, backend, target string
		// more is another policy, which is for other.example.
		more, status, want, message string
	}{
		{"all of it", endpointsYAML(443, 80), toBackend, "", fine, "a.example", ""},
		{"its port", endpointsYAML(443), section("443"), "", fine, "a.example", ""},
		{"the port of all endpoints", endpointsYAML(443, 443), section("443"), "", fine, "a.example", ""},
		{"before all of it", endpointsYAML(443), section("443"), toBackend, fine, "a.example", ""},
		{"another port", endpointsYAML(443), section("8443"), "", missing, fails,
			"has no endpoint at the port 8443: name one of 443, or remove the section name"},
		{"a name", endpointsYAML(443), toBackend + ", sectionName: https", "", missing, fails, "name one of 443"},
		{"another port, and all of it", endpointsYAML(443), section("8443"), toBackend, missing, "other.example", ""},
		{"one of two ports", endpointsYAML(443, 80), section("443"), "", unclear, fails,
			"have the ports 443, 80, and policies do not say the same of all of them"},
		{"each of two ports", endpointsYAML(443, 8443), both, "", fine, "a.example", ""},
		{"one of two ports, and another policy for the other", endpointsYAML(443, 80), section("443"), section("80"),
			unclear, fails, ""},
		{"one of two ports, and all of it", endpointsYAML(443, 80), section("443"), toBackend, unclear, fails, ""},
		{"of a socket", unix, section("443"), "", missing, fails, "remove the section name"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			manifests := []string{classYAML, gatewayYAML("gw", plainHTTP), caYAML(t, "ca"), tc.backend,
				routeYAML("r", "", backendRoute), policyYAML("p", tc.target, trustsCA)}
			if tc.more != "" {
				manifests = append(manifests, policyYAML("q", tc.more, other))
			}
			w := newWorld(t, shared(), manifests...)
			expect(t, "status", w.policy("p"), tc.status)
			route, _ := w.Routes.Peek(http("r"))
			b, _ := w.Backends.Peek(model.BackendKey{Kind: model.KindBackend, Name: inDefault("b")})
			got := "cleartext"
			switch {
			case route.Rules[0].Fault != nil:
				got = fails
			case b.TLS != nil:
				got = b.TLS.SNI
			}
			expect(t, "requests", got, tc.want)
			p, _ := w.Policies.Peek(tlsPolicyRef(inDefault("p")))
			if message := p.Report.Message(); !strings.Contains(message, tc.message) {
				t.Errorf("the message is %q, want %q", message, tc.message)
			}
		})
	}
}

// TestSectionOfAnXBackend: the only section of an XBackend is the number of its port.
func TestSectionOfAnXBackend(t *testing.T) {
	const target = `group: gateway.networking.x-k8s.io, kind: XBackend, name: x, sectionName: `
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), caYAML(t, "ca"),
		policyYAML("p", target+`"443"`, trustsCA),
		routeYAML("r", "", `{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: x}]}`), `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: x, namespace: default}
spec: {type: ExternalHostname, externalHostname: {hostname: x.example}, port: {number: 443}}
`)
	key := model.BackendKey{Kind: model.KindXBackend, Name: inDefault("x")}
	if b, _ := w.Backends.Peek(key); b.TLS == nil {
		t.Error("the policy of its port does not hold")
	}
	w.apply(policyYAML("p", target+`"8443"`, trustsCA))
	expect(t, "status", w.policy("p"), "gw of "+controller+": Accepted=False/TargetNotFound ResolvedRefs")
	if route, _ := w.Routes.Peek(http("r")); route.Rules[0].Fault == nil {
		t.Error("requests do not fail")
	}
}

// TestPortsComeAndGo: a policy for a port that a Service no longer has makes the requests to those ports fail that no
// policy is for, and to no others, until it is clear again what it is for.
func TestPortsComeAndGo(t *testing.T) {
	renamed := strings.Replace(serviceYAML, "name: http,", "name: web,", 1)
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, routeYAML("r", "", bothPorts),
		caYAML(t, "ca"), policyYAML("p", toSvc+", sectionName: http", trustsCA))
	check := func(what, want string) {
		t.Helper()
		expect(t, what, w.secures(80)+", "+w.secures(81), want)
	}
	const secured = "a.example ca:configmap/default/ca a.example"
	check("the port is there", secured+", cleartext")
	w.apply(renamed)
	check("the port has another name", ", ")
	w.apply(policyYAML("q", toSvc+", sectionName: h2", trustsCA))
	check("the other has a policy", ", "+secured)
	w.apply(policyYAML("p", toSvc+", sectionName: web", trustsCA))
	check("the policy follows", secured+", "+secured)
	w.delete(model.GroupGateway, model.KindBackendTLSPolicy, "default", "p")
	check("no policy", "cleartext, "+secured)
}

package resolve

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

func TestListenerStatus(t *testing.T) {
	const (
		fine   = "Accepted ResolvedRefs"
		dead   = " Programmed=False/Invalid"
		noneOK = "Accepted=False/ListenersNotValid ResolvedRefs Programmed=False/Invalid"
	)
	refused := func(reason string) string {
		return "Accepted=False/" + reason + " ResolvedRefs" + dead
	}
	both := " [HTTPRoute,GRPCRoute] 0: "
	cases := []struct {
		name      string
		listeners []string
		want      []string
	}{
		{"plain", []string{plainHTTP}, []string{fine, "http" + both + fine}},
		{"unknown protocol", []string{`{name: x, port: 1111, protocol: INVALID}`},
			[]string{noneOK, "x [] 0: " + refused("UnsupportedProtocol")}},
		{"one of two protocols", []string{plainHTTP, `{name: x, port: 81, protocol: INVALID}`}, []string{
			"Accepted=True/ListenersNotValid ResolvedRefs",
			"http" + both + fine, "x [] 0: " + refused("UnsupportedProtocol")}},
		{"only invalid kinds", []string{
			`{name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: InvalidRoute}]}}`},
			[]string{"Accepted ResolvedRefs=False/ListenersNotResolved",
				"http [] 0: Accepted ResolvedRefs=False/InvalidRouteKinds"}},
		{"some invalid kinds",
			[]string{`{name: http, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: TLSRoute}, {kind: HTTPRoute}]}}`},
			[]string{"Accepted ResolvedRefs=False/ListenersNotResolved",
				"http [HTTPRoute] 0: Accepted ResolvedRefs=False/InvalidRouteKinds"}},
		{"bad selector", []string{`{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces:
      {from: Selector, selector: {matchExpressions: [{key: a, operator: Wrong}]}}}}`},
			[]string{noneOK, "http" + both + refused("UnsupportedValue")}},
		{"selector missing", []string{
			`{name: http, port: 80, protocol: HTTP, allowedRoutes: {namespaces: {from: Selector}}}`},
			[]string{noneOK, "http" + both + refused("UnsupportedValue")}},
		{"a filter of an unknown kind", []string{`{name: http, port: 80, protocol: HTTP,
      filters: {requests: [{type: ExtensionRef, extensionRef: {group: x, kind: Y, name: z}}]}}`},
			[]string{"Accepted ResolvedRefs=False/ListenersNotResolved",
				"http" + both + "Accepted ResolvedRefs=False/InvalidKind"}},
		{"a filter without its backend", []string{`{name: http, port: 80, protocol: HTTP,
      filters: {requests: [{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {},
        backendRef: {name: gone, port: 80}}}]}}`},
			[]string{"Accepted ResolvedRefs=False/ListenersNotResolved",
				"http" + both + "Accepted ResolvedRefs=False/BackendNotFound"}},
		{"a filter with a backend that is not granted", []string{`{name: http, port: 80, protocol: HTTP,
      filters: {requests: [{type: ExternalAuth, externalAuth: {protocol: HTTP, http: {},
        backendRef: {name: gone, namespace: other, port: 80}}}]}}`},
			[]string{"Accepted ResolvedRefs=False/ListenersNotResolved",
				"http" + both + "Accepted ResolvedRefs=False/RefNotPermitted"}},
		{"no certificate", []string{`{name: https, port: 443, protocol: HTTPS}`},
			[]string{"Accepted=False/ListenersNotValid ResolvedRefs=False/ListenersNotResolved Programmed=False/Invalid",
				"https" + both + "Accepted ResolvedRefs=False/InvalidCertificateRef" + dead}},
		{"both protocols on a port: nobody wins", []string{plainHTTP,
			`{name: s, port: 80, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}`}, []string{
			noneOK,
			"http" + both + "Accepted=False/ProtocolConflict ResolvedRefs Conflicted=True/ProtocolConflict " +
				"Programmed=False/ProtocolConflict",
			"s" + both + "Accepted=False/ProtocolConflict ResolvedRefs Conflicted=True/ProtocolConflict " +
				"Programmed=False/ProtocolConflict",
		}},
		{"same hostname twice: nobody wins, others do", []string{
			`{name: a, port: 80, protocol: HTTP, hostname: a.example.com}`,
			`{name: b, port: 80, protocol: HTTP, hostname: A.example.com}`, plainHTTP}, []string{
			"Accepted=True/ListenersNotValid ResolvedRefs",
			"a" + both + "Accepted=False/HostnameConflict ResolvedRefs Conflicted=True/HostnameConflict " +
				"Programmed=False/HostnameConflict",
			"b" + both + "Accepted=False/HostnameConflict ResolvedRefs Conflicted=True/HostnameConflict " +
				"Programmed=False/HostnameConflict",
			"http" + both + fine,
		}},
		{"an invalid listener takes no part in conflicts", []string{plainHTTP, `{name: s, port: 80, protocol: HTTPS}`},
			[]string{"Accepted=True/ListenersNotValid ResolvedRefs=False/ListenersNotResolved", "http" + both + fine,
				"s" + both + "Accepted ResolvedRefs=False/InvalidCertificateRef" + dead}},
		{"overlapping hostnames", []string{
			`{name: a, port: 443, protocol: HTTPS, hostname: a.example.com, tls: {certificateRefs: [{name: cert}]}}`,
			`{name: w, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: cert}]}}`,
			`{name: o, port: 443, protocol: HTTPS, hostname: example.org, tls: {certificateRefs: [{name: cert}]}}`}, []string{
			fine,
			"a" + both + fine + " OverlappingTLSConfig=True/OverlappingHostnames",
			"w" + both + fine + " OverlappingTLSConfig=True/OverlappingHostnames",
			"o" + both + fine,
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), gatewayYAML("gw", tc.listeners...))
			expect(t, "status", w.gateway(inDefault("gw")), strings.Join(tc.want, "\n"))
		})
	}
}

func TestGatewayWideProblems(t *testing.T) {
	usable := options()
	usable.Usable = func(ip netip.Addr) bool { return ip.IsLoopback() }
	cases := []struct {
		name, spec, want string
		opts             Options
	}{
		{"parameters", `infrastructure: {parametersRef: {group: invalid.io, kind: InvalidParameters, name: invalid}}`,
			"Accepted=False/InvalidParameters ResolvedRefs Programmed=False/Invalid", options()},
		{"address type", `addresses: [{type: test/fake, value: x}, {value: 127.0.0.1}]`,
			"Accepted=False/UnsupportedAddress ResolvedRefs Programmed=False/AddressNotUsable", options()},
		{"address that cannot be bound", `addresses: [{value: 127.0.0.1}]`,
			"Accepted ResolvedRefs Programmed=False/AddressNotUsable", options()},
		{"address that can be bound", `addresses: [{value: 127.0.0.1}]`,
			"Accepted ResolvedRefs", usable},
		{"any address", `addresses: [{value: 0.0.0.0}, {type: IPAddress}]`,
			"Accepted ResolvedRefs", options()},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.opts, classYAML, gatewayYAML("gw", plainHTTP)+"  "+tc.spec)
			got, _, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
			expect(t, "conditions", got, tc.want)
			_, serves := w.Ports.Peek(model.PortKey{Proxy: "default/gw", Port: 80})
			if want := tc.want == "Accepted ResolvedRefs"; serves != want {
				t.Errorf("port 80 takes traffic: %t, want %t", serves, want)
			}
		})
	}
}

func TestFrontendValidationFailsClosed(t *testing.T) {
	const https = `, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}`
	gw := gatewayYAML("gw", `{name: a, port: 443`+https, `{name: b, port: 8443`+https, plainHTTP) + `
  tls:
    frontend:
      default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}
      perPort: [{port: 8443, tls: {}}]
`
	w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), gw)
	g, _ := w.Gateways.Peek(inDefault("gw"))
	valid := map[string]bool{}
	for _, l := range g.Listeners {
		valid[l.Key.Name] = l.Valid
	}
	if valid["a"] || !valid["b"] || !valid["http"] {
		t.Errorf("valid listeners: %v; only a asks for client certificates", valid)
	}
}

func TestOnlyOurGateways(t *testing.T) {
	const other = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: other}
spec: {controllerName: example.com/other}
`
	theirs := strings.ReplaceAll(gatewayYAML("theirs", plainHTTP), "gatewayClassName: sluice", "gatewayClassName: other")
	route := strings.ReplaceAll(routeYAML("r", "", toService), "[{name: gw}]", "[{name: theirs}, {name: gw}]")
	w := newWorld(t, options(), classYAML, other, theirs, gatewayYAML("gw", plainHTTP), route, serviceYAML)
	expect(t, "their Gateway", w.gateway(inDefault("theirs")), "none")
	expect(t, "route", w.route(http("r")), "gw: Accepted ResolvedRefs")
	if _, ok := w.GatewayClassStatus.Peek(model.Name{Name: "other"}); ok {
		t.Error("the other controller's class has a status")
	}
	w.apply(strings.ReplaceAll(classYAML, controller, "example.com/other"))
	expect(t, "our Gateway after its class went", w.gateway(inDefault("gw")), "none")
	expect(t, "route after the class went", w.route(http("r")), "none")
	if n := w.Backends.Len() + w.Ports.Len(); n != 0 {
		t.Errorf("%d backends and ports are left without a Gateway", n)
	}
}

func TestGatewayClassStatus(t *testing.T) {
	opts := options()
	opts.Features = []gwv1.FeatureName{"HTTPRouteCORS", "Gateway"}
	w := newWorld(t, opts, classYAML)
	st, _ := w.GatewayClassStatus.Peek(model.Name{Name: "sluice"})
	expect(t, "conditions", conditions(st.Conditions), "Accepted")
	var names []string
	for _, f := range st.SupportedFeatures {
		names = append(names, string(f.Name))
	}
	once := slices.Compact(slices.Clone(names))
	if !slices.IsSorted(names) || !slices.Contains(names, "HTTPRouteCORS") || len(once) != len(names) {
		t.Errorf("supportedFeatures must be sorted, each once, with those of the options: %v", names)
	}
	w.apply(strings.ReplaceAll(classYAML, controller, controller+", parametersRef: {group: x.io, kind: Params, name: p}"),
		gatewayYAML("gw", plainHTTP))
	st, _ = w.GatewayClassStatus.Peek(model.Name{Name: "sluice"})
	expect(t, "with parameters", conditions(st.Conditions), "Accepted=False/InvalidParameters")
	got, _, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
	expect(t, "its Gateway", got,
		"Accepted=False/InvalidParameters ResolvedRefs Programmed=False/Invalid")
}

package resolve

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// streamYAML is a route of a kind that carries no requests: with hostnames if it is a TLSRoute, backends in flow style.
func streamYAML(kind, name, parent, hostnames, backends string) string {
	if hostnames != "" {
		hostnames = "\n  hostnames: [" + hostnames + "]"
	}
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: %s
metadata: {name: %s, namespace: default}
spec:
  parentRefs: [%s]%s
  rules: [{backendRefs: [%s]}]
`, kind, name, parent, hostnames, backends)
}

// made gives an object its time of creation.
func made(created, object string) string {
	if created == "" {
		return object
	}
	return strings.Replace(object, "namespace: default", "namespace: default, creationTimestamp: "+created, 1)
}

const toPort80 = "{name: svc, port: 80}"

// streams renders every stream with the route that has it, sorted.
func (w *world) streams() string {
	found := map[string]string{}
	for key, owner := range w.StreamOwners.All() {
		found[key.String()] = owner.Name.Name
	}
	var lines []string
	for _, key := range slices.Sorted(maps.Keys(found)) {
		lines = append(lines, key+": "+found[key])
	}
	return strings.Join(lines, "\n")
}

func stream(kind, name string) model.RouteKey {
	return model.RouteKey{Kind: kind, Name: inDefault(name)}
}

const (
	passAny  = `{name: any, port: 443, protocol: TLS, tls: {mode: Passthrough}}`
	passWild = `{name: wild, port: 443, protocol: TLS, hostname: "*.example.com", tls: {mode: Passthrough}}`
	passOne  = `{name: one, port: 443, protocol: TLS, hostname: abc.example.com, tls: {mode: Passthrough}}`
	endOne   = `{name: end, port: 443, protocol: TLS, hostname: abc.example.com,
     tls: {mode: Terminate, certificateRefs: [{name: cert}]}}`
	webWild = `{name: web, port: 443, protocol: HTTPS, hostname: "*.example.com", tls: {certificateRefs: [{name: cert}]}}`
)

// TestStreamListeners has the listeners of protocol TLS, TCP and UDP, alone and with others on their port.
func TestStreamListeners(t *testing.T) {
	const fine = ": Accepted ResolvedRefs"
	const conflict = ": Accepted=False/%[1]s ResolvedRefs Conflicted=True/%[1]s Programmed=False/%[1]s"
	lost := func(reason string) string { return fmt.Sprintf(conflict, reason) }
	cases := []struct {
		name      string
		listeners []string
		want      string
	}{
		{"one of each", []string{passAny, `{name: tcp, port: 53, protocol: TCP}`, `{name: udp, port: 53, protocol: UDP}`},
			"any [TLSRoute] 0" + fine + "\ntcp [TCPRoute] 0" + fine + "\nudp [UDPRoute] 0" + fine},
		{"modes mixed with HTTPS", []string{passAny, endOne, webWild},
			"any [TLSRoute] 0" + fine + "\nend [TLSRoute] 0" + fine + "\nweb [HTTPRoute,GRPCRoute] 0" + fine +
				" OverlappingTLSConfig=True/OverlappingHostnames"},
		{"modes with one hostname", []string{passOne, endOne},
			"one [TLSRoute] 0" + lost("HostnameConflict") + "\nend [TLSRoute] 0" + lost("HostnameConflict")},
		{"TLS and HTTPS with one hostname", []string{passWild, webWild},
			"wild [TLSRoute] 0" + lost("HostnameConflict") + "\nweb [HTTPRoute,GRPCRoute] 0" + lost("HostnameConflict")},
		{"TCP and TLS", []string{passAny, `{name: tcp, port: 443, protocol: TCP}`},
			"any [TLSRoute] 0" + lost("ProtocolConflict") + "\ntcp [TCPRoute] 0" + lost("ProtocolConflict")},
		{"HTTP and TLS", []string{passAny, `{name: http, port: 443, protocol: HTTP}`},
			"any [TLSRoute] 0" + lost("ProtocolConflict") + "\nhttp [HTTPRoute,GRPCRoute] 0" + lost("ProtocolConflict")},
		{"terminating without a certificate", []string{`{name: end, port: 443, protocol: TLS, tls: {mode: Terminate}}`},
			"end [TLSRoute] 0: Accepted ResolvedRefs=False/InvalidCertificateRef Programmed=False/Invalid"},
		{"a kind too many", []string{`{name: p, port: 443, protocol: TLS, tls: {mode: Passthrough},
     allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}}`},
			"p [TLSRoute] 0: Accepted ResolvedRefs=False/InvalidRouteKinds"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), gatewayYAML("gw", tc.listeners...))
			_, listeners, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
			expect(t, "listeners", listeners, tc.want)
		})
	}
}

// TestTLSRouteHostnames is the conformance tests TLSRouteHostnameIntersection and
// TLSRouteMultipleRoutesAttachmentSameHostnameIntersection.
func TestTLSRouteHostnames(t *testing.T) {
	route := func(name, created, hostnames string) string {
		return made(created, streamYAML("TLSRoute", name, "{name: gw}", hostnames, toPort80))
	}
	const older, newer = "2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"
	cases := []struct {
		name, listener string
		routes         []string
		want           string
	}{
		{"exact listener", passOne, []string{route("wild", "", `"*.example.com"`)},
			"tcp/443/default/gw/one/abc.example.com: wild"},
		{"wildcard listener", passWild, []string{route("exact", "", "abc.example.com"), route("com", "", `"*.com"`)},
			"tcp/443/default/gw/wild/*.example.com: com\ntcp/443/default/gw/wild/abc.example.com: exact"},
		{"any listener", passAny, []string{route("exact", "", "abc.example.com"), route("com", "", `"*.com"`)},
			"tcp/443/default/gw/any/*.com: com\ntcp/443/default/gw/any/abc.example.com: exact"},
		{"an exact hostname before an older wildcard", passOne,
			[]string{route("wild", older, `"*.example.com"`), route("exact", newer, "abc.example.com")},
			"tcp/443/default/gw/one/abc.example.com: exact"},
		{"a longer wildcard before an older one", passWild,
			[]string{route("com", older, `"*.com"`), route("wild", newer, `"*.example.com"`)},
			"tcp/443/default/gw/wild/*.example.com: wild"},
		{"the older of two", passOne,
			[]string{route("a", newer, "abc.example.com"), route("b", older, "abc.example.com")},
			"tcp/443/default/gw/one/abc.example.com: b"},
		{"the first by name", passOne, []string{route("b", "", "abc.example.com"), route("a", "", "abc.example.com")},
			"tcp/443/default/gw/one/abc.example.com: a"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			gw := []string{classYAML, serviceYAML, gatewayYAML("gw", tc.listener)}
			w := newWorld(t, options(), append(gw, tc.routes...)...)
			expect(t, "streams", w.streams(), tc.want)
		})
	}
}

// TestTLSRouteIsolation: a hostname that a more specific listener owns, of whatever kind, is not the route's.
func TestTLSRouteIsolation(t *testing.T) {
	w := newWorld(t, options(), classYAML, serviceYAML, secretYAML(t, "cert"), gatewayYAML("gw", passAny, webWild),
		streamYAML("TLSRoute", "r", "{name: gw}", "abc.example.com, other.com", toPort80),
		routeYAML("web", "", toService))
	expect(t, "streams", w.streams(), "tcp/443/default/gw/any/other.com: r")
	expect(t, "hosts", w.hosts(), "https/443/default/gw/web/*.example.com: web")
	if !w.deleteListener(t) {
		t.Fatal("the Gateway is not there")
	}
	expect(t, "streams without the HTTPS listener", w.streams(),
		"tcp/443/default/gw/any/abc.example.com: r\ntcp/443/default/gw/any/other.com: r")
}

// deleteListener leaves the Gateway with its first listener only.
func (w *world) deleteListener(t *testing.T) bool {
	t.Helper()
	w.apply(gatewayYAML("gw", passAny))
	_, ok := w.Gateways.Peek(inDefault("gw"))
	return ok
}

// TestOneRouteAPort is the conformance tests TCPRouteMultipleRoutesAttachment and UDPRouteMultipleRoutesAttachment.
func TestOneRouteAPort(t *testing.T) {
	for _, protocol := range []string{"TCP", "UDP"} {
		t.Run(protocol, func(t *testing.T) {
			kind := protocol + "Route"
			service := "{name: dns, port: 53}"
			gw := gatewayYAML("gw", "{name: l, port: 53, protocol: "+protocol+"}")
			older := made("2020-01-01T00:00:00Z", streamYAML(kind, "b", "{name: gw}", "", service))
			w := newWorld(t, options(), classYAML, dnsYAML, gw, older,
				made("2021-01-01T00:00:00Z", streamYAML(kind, "a", "{name: gw, sectionName: l}", "", service)))
			expect(t, "streams", w.streams(), strings.ToLower(protocol)+"/53/default/gw/l/*: b")
			expect(t, "Gateway", w.gateway(inDefault("gw")),
				"Accepted ResolvedRefs\nl ["+kind+"] 2: Accepted ResolvedRefs")
			expect(t, "older", w.route(stream(kind, "b")), "gw: Accepted ResolvedRefs")
			expect(t, "newer", w.route(stream(kind, "a")), "gw/l: Accepted ResolvedRefs")
			const remark = "takes no traffic"
			if m := w.messages(stream(kind, "a")); !strings.Contains(m, remark) || !strings.Contains(m, kind+"/default/b") {
				t.Errorf("the newer route does not say who has its traffic: %s", m)
			}
			if m := w.messages(stream(kind, "b")); strings.Contains(m, remark) {
				t.Errorf("the older route says that it takes no traffic: %s", m)
			}
			w.delete(model.GroupGateway, kind, "default", "b")
			expect(t, "streams without the older", w.streams(), strings.ToLower(protocol)+"/53/default/gw/l/*: a")
			if m := w.messages(stream(kind, "a")); strings.Contains(m, remark) {
				t.Errorf("the route that is left says that it takes no traffic: %s", m)
			}
		})
	}
}

// dnsYAML is a Service with a TCP and a UDP port of one number, which go to different target ports.
const dnsYAML = `
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: default}
spec:
  ports: [{name: tcp, port: 53}, {name: udp, port: 53, protocol: UDP}, {name: log, port: 514, protocol: UDP},
    {name: db, port: 5432, appProtocol: postgres}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: dns, namespace: default, labels: {kubernetes.io/service-name: dns}}
addressType: IPv4
ports: [{name: tcp, port: 1053}, {name: udp, port: 2053, protocol: UDP}]
endpoints: [{addresses: [10.0.0.1]}]
`

// TestTransportOfService: a UDPRoute means the UDP port of a Service, the others the TCP port.
func TestTransportOfService(t *testing.T) {
	w := newWorld(t, options(), classYAML, dnsYAML,
		gatewayYAML("gw", "{name: tcp, port: 53, protocol: TCP}", "{name: udp, port: 53, protocol: UDP}"),
		streamYAML("TCPRoute", "r", "{name: gw}", "", "{name: dns, port: 53}, {name: dns, port: 5432}"),
		streamYAML("UDPRoute", "r", "{name: gw}", "", "{name: dns, port: 53}"),
		streamYAML("TCPRoute", "log", "{name: gw}", "", "{name: dns, port: 514}"),
		streamYAML("UDPRoute", "db", "{name: gw}", "", "{name: dns, port: 5432}"))
	for use, want := range map[model.AppProtocol]uint16{model.AppHTTP: 1053, model.AppUDP: 2053} {
		key := model.BackendKey{Kind: model.KindService, Name: inDefault("dns"), Port: 53, Use: use}
		if list, _ := w.Endpoints.Peek(key); len(list) != 1 || list[0].Port != want {
			t.Errorf("endpoints of %s are %v, want one on port %d", key, list, want)
		}
	}
	const wrong = "gw: Accepted ResolvedRefs=False/UnsupportedProtocol"
	expect(t, "TCP to a UDP port", w.route(stream("TCPRoute", "log")), wrong)
	expect(t, "UDP to a TCP port", w.route(stream("UDPRoute", "db")), wrong)
	expect(t, "any application over TCP", w.route(stream("TCPRoute", "r")), "gw: Accepted ResolvedRefs")
}

// TestUDPNeedsAddresses: UDP is sent to IP addresses only.
func TestUDPNeedsAddresses(t *testing.T) {
	w := newWorld(t, shared(), classYAML, gatewayYAML("gw", "{name: udp, port: 53, protocol: UDP}"), `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: named}
spec: {endpoints: [{fqdn: {hostname: dns.example.com, port: 53}}]}
`, streamYAML("UDPRoute", "r", "{name: gw}", "", "{group: gateway.envoyproxy.io, kind: Backend, name: named}"))
	expect(t, "status", w.route(stream("UDPRoute", "r")), "gw: Accepted ResolvedRefs=False/UnsupportedProtocol")
}

// TestStreamParents is the conformance tests of what these routes may not be attached to.
func TestStreamParents(t *testing.T) {
	gw := gatewayYAML("gw", plainHTTP, passWild,
		`{name: tcp, port: 90, protocol: TCP}`, `{name: udp, port: 90, protocol: UDP}`)
	cases := []struct{ kind, section, hostnames, want string }{
		{"TLSRoute", "http", "a.example.com", "NotAllowedByListeners"},
		{"TLSRoute", "tcp", "a.example.com", "NotAllowedByListeners"},
		{"TLSRoute", "wild", "a.example.org", "NoMatchingListenerHostname"},
		{"TLSRoute", "none", "a.example.com", "NoMatchingParent"},
		{"TCPRoute", "http", "", "NotAllowedByListeners"},
		{"TCPRoute", "udp", "", "NotAllowedByListeners"},
		{"UDPRoute", "wild", "", "NotAllowedByListeners"},
		{"HTTPRoute", "wild", "a.example.com", "NotAllowedByListeners"},
	}
	for _, tc := range cases {
		t.Run(tc.kind+" on "+tc.section, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, dnsYAML, serviceYAML, gw,
				streamYAML(tc.kind, "r", "{name: gw, sectionName: "+tc.section+"}", tc.hostnames, toPort80))
			got := w.route(stream(tc.kind, "r"))
			if want := fmt.Sprintf("gw/%s: Accepted=False/%s", tc.section, tc.want); !strings.HasPrefix(got, want) {
				t.Errorf("status is %q, want %q", got, want)
			}
			if w.streams() != "" {
				t.Errorf("the route takes traffic: %s", w.streams())
			}
		})
	}
}

// TestStreamReferences: what cannot be resolved is refused, and only its share.
func TestStreamReferences(t *testing.T) {
	const other = `
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: other}
spec: {ports: [{name: tcp, port: 80}, {name: udp, port: 80, protocol: UDP}]}
`
	for _, kind := range []string{"TLSRoute", "TCPRoute", "UDPRoute"} {
		hostnames := ""
		if kind == "TLSRoute" {
			hostnames = "abc.example.com"
		}
		grant := fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: %s, namespace: default}]
  to: [{group: "", kind: Service}]
`, kind)
		for name, tc := range map[string]struct{ backend, reason string }{
			"missing":         {"{name: none, port: 80}", "BackendNotFound"},
			"unknown kind":    {"{kind: Pod, name: svc, port: 80}", "InvalidKind"},
			"other namespace": {"{name: svc, namespace: other, port: 80}", "RefNotPermitted"},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				w := newWorld(t, options(), classYAML, other, gatewayYAML("gw", passAny, "{name: tcp, port: 90, protocol: TCP}",
					"{name: udp, port: 90, protocol: UDP}"), streamYAML(kind, "r", "{name: gw}", hostnames, tc.backend))
				expect(t, "status", w.route(stream(kind, "r")), "gw: Accepted ResolvedRefs=False/"+tc.reason)
				route, _ := w.Routes.Peek(stream(kind, "r"))
				if fault := route.Rules[0].Fault; fault == nil {
					t.Error("the rule is not refused")
				}
				if tc.reason != "RefNotPermitted" {
					return
				}
				w.apply(grant)
				expect(t, "status with a grant", w.route(stream(kind, "r")), "gw: Accepted ResolvedRefs")
				w.delete(model.GroupGateway, model.KindReferenceGrant, "other", "g")
				expect(t, "status without it", w.route(stream(kind, "r")), "gw: Accepted ResolvedRefs=False/RefNotPermitted")
			})
		}
	}
}

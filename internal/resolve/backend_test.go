package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

func TestBackendRefs(t *testing.T) {
	const far = `
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {ports: [{port: 80}]}
`
	const ports = `
apiVersion: v1
kind: Service
metadata: {name: ports, namespace: default}
spec:
  ports: [{name: udp, port: 53, protocol: UDP}, {name: tcp, port: 53}, {name: only, port: 54, protocol: UDP},
    {name: ws, port: 55, appProtocol: Kubernetes.io/WS}, {name: tls, port: 56, appProtocol: https},
    {name: odd, port: 57, appProtocol: example.com/odd}, {name: g, port: 58, appProtocol: grpc},
    {name: w, port: 59, appProtocol: http}]
`
	const cname = `
apiVersion: v1
kind: Service
metadata: {name: cname, namespace: default}
spec: {type: ExternalName, externalName: example.com, ports: [{port: 80}]}
`
	cases := []struct {
		ref, want, reason string
		protocol          model.AppProtocol
		grpc              bool
	}{
		{ref: `{name: svc, port: 80}`, want: "service/default/svc/80"},
		{ref: `{name: svc, port: 81}`, want: "service/default/svc/81", protocol: model.AppH2C},
		{ref: `{name: svc, port: 80}`, grpc: true, want: "service/default/svc/80~grpc", protocol: model.AppGRPC},
		{ref: `{name: svc, port: 81}`, grpc: true, want: "service/default/svc/81~grpc", protocol: model.AppH2C},
		{ref: `{name: svc, port: 82}`, reason: "BackendNotFound"},
		{ref: `{name: svc}`, reason: "BackendNotFound"},
		{ref: `{name: gone, port: 80}`, reason: "BackendNotFound"},
		{ref: `{name: cname, port: 80}`, reason: "BackendNotFound"},
		{ref: `{name: far, namespace: other, port: 80}`, reason: "RefNotPermitted"},
		{ref: `{name: gone, namespace: other, port: 80}`, reason: "RefNotPermitted"},
		{ref: `{kind: NonExistent, name: svc, port: 80}`, reason: "InvalidKind"},
		{ref: `{group: multicluster.x-k8s.io, kind: ServiceImport, name: svc, port: 80}`, reason: "InvalidKind"},
		{ref: `{name: ports, port: 53}`, want: "service/default/ports/53"},
		{ref: `{name: ports, port: 54}`, reason: "UnsupportedProtocol"},
		{ref: `{name: ports, port: 55}`, want: "service/default/ports/55", protocol: model.AppWS},
		{ref: `{name: ports, port: 55}`, grpc: true, reason: "UnsupportedProtocol"},
		{ref: `{name: ports, port: 56}`, reason: "UnsupportedProtocol"},
		{ref: `{name: ports, port: 57}`, reason: "UnsupportedProtocol"},
		{ref: `{name: ports, port: 58}`, want: "service/default/ports/58", protocol: model.AppGRPC},
		{ref: `{name: ports, port: 59}`, grpc: true, want: "service/default/ports/59~grpc", protocol: model.AppGRPC},
		{ref: `{group: gateway.envoyproxy.io, kind: Backend, name: gone}`, reason: "BackendNotFound"},
	}
	for _, tc := range cases {
		t.Run(fmt.Sprintf("%s grpc=%t", tc.ref, tc.grpc), func(t *testing.T) {
			route, key := routeYAML("r", "", "{backendRefs: ["+tc.ref+"]}"), http("r")
			if tc.grpc {
				route, key = strings.Replace(route, "HTTPRoute", "GRPCRoute", 1), grpc("r")
			}
			w := newWorld(t, options(), classYAML, serviceYAML, far, ports, cname, gatewayYAML("gw", plainHTTP), route)
			want := fineRoute
			if tc.reason != "" {
				want = "gw: Accepted ResolvedRefs=False/" + tc.reason
			}
			expect(t, "status", w.route(key), want)
			rt, _ := w.Routes.Peek(key)
			got := rt.Rules[0].Backends[0].Backend
			if tc.want == "" {
				if got != (model.BackendKey{}) || w.Backends.Len() != 0 {
					t.Errorf("an invalid reference gave %s and %d backends", got, w.Backends.Len())
				}
				return
			}
			b, ok := w.Backends.Peek(got)
			if got.String() != tc.want || !ok || b.Protocol != tc.protocol {
				t.Errorf("got %s, %t, %+v; want %s with protocol %q", got, ok, b, tc.want, tc.protocol)
			}
		})
	}
}

func TestEndpointsOfServices(t *testing.T) {
	slice := func(name, port, endpoints string) string {
		return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s, namespace: default, labels: {kubernetes.io/service-name: svc}}
addressType: IPv4
ports: [%s]
endpoints: [%s]
`, name, port, endpoints)
	}
	const port = `{name: http, port: 3000}`
	cases := []struct {
		name   string
		slices []string
		want   []model.Endpoint
	}{
		{"no slices", nil, []model.Endpoint{}},
		{"sorted, each once, from all slices", []string{
			slice("b", port, `{addresses: [10.0.0.2, 10.0.0.1], zone: z1}`),
			slice("a", port, `{addresses: [10.0.0.2], zone: z1}, {addresses: [10.0.0.0]}`)},
			[]model.Endpoint{{Address: "10.0.0.0", Port: 3000}, {Address: "10.0.0.1", Port: 3000, Zone: "z1"},
				{Address: "10.0.0.2", Port: 3000, Zone: "z1"}}},
		{"by the name of the port", []string{
			slice("a", `{name: other, port: 1}, {name: http, port: 3001}`, `{addresses: [10.0.0.1]}`)},
			[]model.Endpoint{{Address: "10.0.0.1", Port: 3001}}},
		{"another port only", []string{slice("a", `{name: other, port: 1}`, `{addresses: [10.0.0.1]}`)}, []model.Endpoint{}},
		{"IPv6", []string{strings.Replace(slice("a", port, `{addresses: ["fd00::1"]}`), "IPv4", "IPv6", 1)},
			[]model.Endpoint{{Address: "fd00::1", Port: 3000}}},
		{"names", []string{strings.Replace(slice("a", port, `{addresses: [example.com]}`), "IPv4", "FQDN", 1)},
			[]model.Endpoint{{Address: "example.com", Port: 3000}}},
		{"only ready ones", []string{slice("a", port, `{addresses: [10.0.0.1], conditions: {ready: false}},
      {addresses: [10.0.0.2], conditions: {ready: true}},
      {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}`)},
			[]model.Endpoint{{Address: "10.0.0.2", Port: 3000}}},
		{"all shutting down", []string{slice("a", port, `
      {addresses: [10.0.0.1], conditions: {ready: false, serving: false, terminating: true}},
      {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}`)},
			[]model.Endpoint{{Address: "10.0.0.3", Port: 3000, Draining: true}}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", toService))
			w.apply(tc.slices...)
			got, ok := w.Endpoints.Peek(model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: 80})
			if !ok {
				t.Fatal("no entry")
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBackendObjects(t *testing.T) {
	cluster, local := options(), shared()
	cases := []struct {
		name, spec string
		opts       Options
		want       string
		endpoints  []model.Endpoint
	}{
		{"IP", `{endpoints: [{ip: {address: 10.0.0.2, port: 80}},
  {ip: {address: "::ffff:10.0.0.1", port: 81}, zone: z}]}`, cluster, "",
			[]model.Endpoint{{Address: "10.0.0.1", Port: 81, Zone: "z"}, {Address: "10.0.0.2", Port: 80}}},
		{"FQDN", `{endpoints: [{fqdn: {hostname: Example.com., port: 443}, hostname: a.example.com}]}`, cluster, "",
			[]model.Endpoint{{Address: "example.com", Port: 443, Hostname: "a.example.com"}}},
		{"Unix", `{endpoints: [{unix: {path: /run/app.sock}}]}`, local, "", []model.Endpoint{{Address: "/run/app.sock"}}},
		{"Unix too long", `{endpoints: [{unix: {path: /` + strings.Repeat("a", 107) + `}}]}`, local, "can have 107", nil},
		{"Unix relative", `{endpoints: [{unix: {path: app.sock}}]}`, local, "start it with /", nil},
		{"Unix in a cluster", `{endpoints: [{unix: {path: /run/app.sock}}]}`, cluster,
			"Unix sockets of the proxy's own machine", nil},
		{"loopback", `{endpoints: [{ip: {address: 127.0.0.1, port: 80}}]}`, local, "",
			[]model.Endpoint{{Address: "127.0.0.1", Port: 80}}},
		{"loopback in a cluster", `{endpoints: [{ip: {address: "::ffff:127.0.0.1", port: 80}}]}`, cluster,
			"127.0.0.1 is on the proxy's own", nil},
		{"metadata service", `{endpoints: [{ip: {address: 169.254.169.254, port: 80}}]}`, cluster,
			"169.254.169.254 is on", nil},
		{"localhost", `{endpoints: [{fqdn: {hostname: LOCALHOST, port: 80}}]}`, cluster, "own machine", nil},
		{"all of a machine", `{endpoints: [{ip: {address: 0.0.0.0, port: 80}}, {ip: {address: "::", port: 80}}]}`, local, "",
			[]model.Endpoint{{Address: "127.0.0.1", Port: 80}, {Address: "::1", Port: 80}}},
		{"any address", `{endpoints: [{ip: {address: 0.0.0.0, port: 80}}]}`, cluster, "not the address of a machine", nil},
		{"mixed", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}, {unix: {path: /a}}]}`, local, "cannot be mixed", nil},
		{"port 0", `{endpoints: [{ip: {address: 10.0.0.1, port: 0}}]}`, cluster, "0 is not a port", nil},
		{"nothing", `{}`, cluster, "There are no endpoints", nil},
		{"resolver", `{type: DynamicResolver}`, cluster, "", []model.Endpoint{}},
		{"resolver with endpoints", `{type: DynamicResolver, endpoints: [{ip: {address: 10.0.0.1, port: 80}}]}`, cluster,
			"has no endpoints", nil},
		{"WebSocket over TLS", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {insecureSkipVerify: true},
  appProtocols: [gateway.envoyproxy.io/wss]}`, cluster, "", []model.Endpoint{{Address: "10.0.0.1", Port: 80}}},
		{"TLS without trust", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {sni: a.example}}`, cluster,
			"Nothing says whom to trust", nil},
		{"TLS of no version", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {insecureSkipVerify: true,
  minVersion: "1.3", maxVersion: "1.2"}}`, cluster, "no version is left", nil},
		{"a fingerprint", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {insecureSkipVerify: true,
  fingerprints: [JA3]}}`, cluster, "a backend is none", nil},
		{"the certificate of nobody", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {insecureSkipVerify: true,
  clientCertificateRef: {name: gone}}}`, cluster, "Secret/default/gone does not exist", nil},
		{"the certificate of others", `{endpoints: [{ip: {address: 10.0.0.1, port: 80}}], tls: {insecureSkipVerify: true,
  clientCertificateRef: {name: gone, namespace: other}}}`, cluster, "No ReferenceGrant in namespace other", nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, tc.opts, classYAML, gatewayYAML("gw", plainHTTP), `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b, namespace: default}
spec: `+tc.spec, routeYAML("r", "", "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}"))
			st, _ := w.BackendStatus.Peek(inDefault("b"))
			key := model.BackendKey{Kind: model.KindBackend, Name: inDefault("b")}
			got, ok := w.Endpoints.Peek(key)
			if tc.want != "" {
				expect(t, "status", conditions(st.Conditions), "Accepted=False/Invalid")
				own, route := st.Conditions[0].Message, w.messages(http("r"))
				if ok || !strings.Contains(own, tc.want) || !strings.Contains(route, tc.want) {
					t.Errorf("endpoints: %t; want %q in both statuses:\n%s\n%s", ok, tc.want, own, route)
				}
				return
			}
			expect(t, "status", conditions(st.Conditions), "Accepted")
			if diff := cmp.Diff(tc.endpoints, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReferenceGrantsOfRoutes(t *testing.T) {
	const far = `
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {ports: [{port: 80}]}
`
	grant := func(from, to string) string {
		return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec: {from: [{group: gateway.networking.k8s.io, kind: %s, namespace: default}], to: [{group: "", kind: %s}]}
`, from, to)
	}
	route := routeYAML("r", "", `{backendRefs: [{name: far, namespace: other, port: 80}]}`)
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), far, route)
	const refused = "gw: Accepted ResolvedRefs=False/RefNotPermitted"
	expect(t, "no grant", w.route(http("r")), refused)
	w.apply(grant("GRPCRoute", "Service"))
	expect(t, "grant to another kind of route", w.route(http("r")), refused)
	w.apply(grant("HTTPRoute", "Secret"))
	expect(t, "grant for another kind", w.route(http("r")), refused)
	w.apply(grant("HTTPRoute", "Service"))
	expect(t, "grant", w.route(http("r")), fineRoute)
	w.delete(model.GroupGateway, model.KindReferenceGrant, "other", "g")
	expect(t, "grant withdrawn", w.route(http("r")), refused)
	if w.Backends.Len() != 0 {
		t.Error("the backend is still there after its grant is gone")
	}
}

// TestSecureProtocol: what is to be spoken over TLS is not spoken without.
func TestSecureProtocol(t *testing.T) {
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: b, namespace: default}
spec: {endpoints: [{ip: {address: 10.0.0.1, port: 80}}], appProtocols: [gateway.envoyproxy.io/wss]}
`, routeYAML("r", "", "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: b}]}"))
	expect(t, "route", w.route(http("r")), "gw: Accepted ResolvedRefs=False/UnsupportedProtocol")
	if got := w.messages(http("r")); !strings.Contains(got, "nothing says whom to trust") {
		t.Errorf("the route says %q", got)
	}
}

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// witness is a server that answers every request with 200 after a moment, and remembers its connections.
type witness struct {
	port int

	mu sync.Mutex
	// preambles are the lines "PROXY ..." that connections began with, empty for those without.
	preambles []string
}

func startWitness(t *testing.T) *witness {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	w := &witness{port: listener.Addr().(*net.TCPAddr).Port}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go w.serve(conn)
		}
	}()
	return w
}

// serve notes how a connection begins, and answers the requests on it.
func (w *witness) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReader(conn)
	w.mu.Lock()
	w.preambles = append(w.preambles, "")
	at := len(w.preambles) - 1
	w.mu.Unlock()
	begin, err := in.Peek(5)
	if err != nil {
		return
	}
	preamble := ""
	switch {
	case string(begin) == "PROXY":
		if preamble, err = in.ReadString('\n'); err != nil {
			return
		}
	case string(begin) == "\r\n\r\n\x00": // version 2: 12 bytes of signature, 4 of header, and as many as these say
		head := make([]byte, 16)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		if _, err := in.Discard(int(head[14])<<8 | int(head[15])); err != nil {
			return
		}
		preamble = "v2"
	}
	w.mu.Lock()
	w.preambles[at] = strings.TrimSpace(preamble)
	w.mu.Unlock()
	for {
		req, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, req.Body)
		time.Sleep(50 * time.Millisecond) // so that requests overlap, and connections are made ahead
		if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"); err != nil {
			return
		}
	}
}

func (w *witness) connections() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.preambles...)
}

func (w *witness) backend(name string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, name, w.port)
}

func toBackend(name string) string {
	return `[{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: ` + name + `}]}]`
}

// TestUpstreamConnection has connections to backends made as policies say: ahead of requests, with the PROXY protocol,
// by the client's version of HTTP, to the addresses of a family.
func TestUpstreamConnection(t *testing.T) {
	t.Parallel()
	ahead, v1, v2 := startWitness(t), startWitness(t), startWitness(t)
	in := start(t, files{
		"routes.yaml": hostRoute("ahead", toBackend("ahead")) + hostRoute("v1", toBackend("v1")) +
			hostRoute("v2", toBackend("v2")) + hostRoute("client", `[{backendRefs: [{${one}}]}]`) +
			hostRoute("six", toBackend("named")) + hostRoute("four", toBackend("named")) +
			ahead.backend("ahead") + v1.backend("v1") + v2.backend("v2") + `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: named}
spec: {endpoints: [{fqdn: {hostname: localhost, port: ${PORT_one}}}]}
`,
		"policies.yaml": trafficPolicy("ahead", "ahead", `
  connection: {bufferLimit: 64Ki, socketBufferLimit: 128Ki, preconnect: {perEndpointPercent: 300}}
  tcpKeepalive: {probes: 3, idleTime: 10s, interval: 5s}
`) + trafficPolicy("v1", "v1", "  proxyProtocol: {version: V1}\n") +
			trafficPolicy("v2", "v2", "  proxyProtocol: {version: V2}\n") +
			trafficPolicy("client", "client", `
  useClientProtocol: true
  http2: {initialStreamWindowSize: 128Ki, connectionKeepalive: {interval: 30s, timeout: 5s}}
`) + trafficPolicy("six", "six", "  dns: {lookupFamily: IPv6, dnsRefreshRate: 1s}\n") +
			trafficPolicy("four", "four", "  dns: {lookupFamily: IPv4, respectDnsTtl: false}\n"),
	})
	in.must(t, request{host: "ahead.example"}, expect{})
	eventually(t, func() error {
		if got := len(ahead.connections()); got < 3 {
			return fmt.Errorf("one request made %d connections, want 3", got)
		}
		return nil
	})
	in.must(t, request{host: "v1.example"}, expect{})
	if got := v1.connections(); len(got) != 1 || !strings.HasPrefix(got[0], "PROXY TCP4 127.0.0.1 127.0.0.1 ") {
		t.Errorf("connections begin with %q, want the PROXY protocol with the client's address", got)
	}
	in.must(t, request{host: "v2.example"}, expect{})
	if got := v2.connections(); len(got) != 1 || got[0] != "v2" {
		t.Errorf("connections begin with %q, want version 2 of the PROXY protocol", got)
	}
	in.must(t, request{host: "client.example"}, expect{proto: "HTTP/1.1"})
	in.must(t, request{host: "client.example", proto: "h2c"}, expect{proto: "HTTP/2.0"})
	in.want(t, request{host: "four.example"}, expect{backend: "one"}) // which listens on an IPv4 address alone
	in.must(t, request{host: "six.example"}, expect{status: 503})
}

// TestUpgradeProtocols lets requests be upgraded to the protocols of a policy, and to no others. What is in a CONNECT
// request that is terminated reaches the backend as it is.
func TestUpgradeProtocols(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("connect", `[{matches: [{path: {value: /some}}], backendRefs: [{${one}}]}]`) +
			hostRoute("free", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": trafficPolicy("connect", "connect",
			"  httpUpgrade: [{type: CONNECT, connect: {terminate: true}}]\n"),
	})
	in.must(t, request{host: "connect.example", path: "/some/path"}, expect{backend: "one", path: "/some/path"})
	in.must(t, request{host: "connect.example", path: "/other"}, expect{status: 404})
	if ws, err := in.dialWebSocket("connect.example"); err == nil {
		_ = ws.Close()
		t.Error("a WebSocket opens, which is not among the protocols of the policy")
	}
	if got := in.tunnel(t, "free.example:80"); got != http.StatusNotFound {
		t.Errorf("without a policy CONNECT is answered with %d, want 404", got)
	}
	if got := in.tunnel(t, "connect.example:80"); got != http.StatusOK {
		t.Errorf("CONNECT is answered with %d, want 200", got)
	}
}

// TestA23UpgradeBypass: what keeps requests away from a backend keeps away CONNECT requests and those that are to be
// upgraded too, and a page in the place of the refusal lets none through.
func TestA23UpgradeBypass(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("guarded", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": trafficPolicy("guarded", "guarded", `
  httpUpgrade: [{type: CONNECT, connect: {terminate: true}}, {type: websocket}]
  responseOverride:
  - match: {statusCodes: [{type: Value, value: 403}]}
    response: {statusCode: 451, body: {type: Inline, inline: not for you}}
`) + `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: guarded}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  authorization:
    defaultAction: Deny
    rules: [{action: Allow, principal: {headers: [{name: x-user, values: [me]}]}}]
`,
	})
	in.must(t, request{host: "guarded.example"}, expect{status: 451, body: "not for you"})
	in.must(t, request{host: "guarded.example", header: []string{"x-user: me"}}, expect{backend: "one"})
	if got := in.tunnel(t, "guarded.example:80"); got != http.StatusUnavailableForLegalReasons {
		t.Errorf("CONNECT without a user is answered with %d, want 451", got)
	}
	if ws, err := in.dialWebSocket("guarded.example"); err == nil {
		_ = ws.Close()
		t.Error("a WebSocket opens without a user")
	}
}

// tunnel sends a CONNECT request and returns the status of the answer. If that is 200 the echo server has to be inside.
func (in *instance) tunnel(t *testing.T, authority string) int {
	t.Helper()
	conn, err := net.DialTimeout("tcp", in.address("HTTP"), 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(conn)
	ask := func(text string, method string) *http.Response {
		if _, err := io.WriteString(conn, text); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(out, &http.Request{Method: method})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	res := ask("CONNECT "+authority+" HTTP/1.1\r\nHost: "+authority+"\r\n\r\n", http.MethodConnect)
	if res.StatusCode != http.StatusOK {
		return res.StatusCode
	}
	inside := ask("GET /inside HTTP/1.1\r\nHost: inside.example\r\n\r\n", http.MethodGet)
	body, err := io.ReadAll(inside.Body)
	if err != nil || !strings.Contains(string(body), `"host":"inside.example"`) {
		t.Errorf("%v, what is in the tunnel is answered with %q", err, body)
	}
	return res.StatusCode
}

// TestAdmissionControl refuses a part of the requests to a backend that fails them, before they get there.
func TestAdmissionControl(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("shed", `[{backendRefs: [{${one}}]}]`) + hostRoute("free", `[{backendRefs: [{${one}}]}]`),
		"policies.yaml": trafficPolicy("shed", "shed", `  admissionControl:
    samplingWindow: 30s
    minSuccessRate: 100
    maxRejectionPercent: 100
    successCriteria: {http: {statusCodes: [200]}}
`),
	})
	in.want(t, request{host: "shed.example", path: "/status/418"}, expect{status: 503})
	for range 20 {
		in.must(t, request{host: "free.example", path: "/status/418"}, expect{status: 418})
	}
}

// TestZoneWeight sends requests to the endpoints of a zone as its weight says.
func TestZoneWeight(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"service.yaml": `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {ports: [{name: web, port: 80, targetPort: 8080}, {name: other, port: 81}]}
` + hostRoute("weighted", "[{backendRefs: [{name: shop, port: 80}]}]") +
			hostRoute("free", "[{backendRefs: [{name: shop, port: 80}]}]") +
			slice("a", "IPv4", "${PORT_one}", `[{addresses: [127.0.0.1], zone: a}]`) +
			slice("b", "IPv4", "${PORT_two}", `[{addresses: [127.0.0.1], zone: b}]`),
		"policies.yaml": trafficPolicy("weighted", "weighted", `  loadBalancer:
    type: RoundRobin
    zoneAware: {weightedZones: [{zone: b, weight: 1000000}]}
`),
	})
	in.wantAnswers(t, request{host: "free.example"}, "one", "two")
	if got := in.stays(t, request{host: "weighted.example"}); got != "two" {
		t.Errorf("requests go to %s, want the endpoint of the zone that weighs more", got)
	}
}

// TestOwnZone sends requests to the endpoints of the proxy's own zone, where the Service or a policy says so and there
// are some; all others to all endpoints.
func TestOwnZone(t *testing.T) {
	t.Parallel()
	service := func(name, more string) string {
		named := strings.NewReplacer("name: shop", "name: "+name, "service-name: shop", "service-name: "+name)
		return named.Replace("\n---\napiVersion: v1\nkind: Service\nmetadata: {name: shop}\n"+
			"spec: {"+more+"ports: [{name: web, port: 80}, {name: other, port: 81}]}\n") +
			named.Replace(slice(name+"-one", "IPv4", "${PORT_one}", "[{addresses: [127.0.0.1], zone: here}]")) +
			named.Replace(slice(name+"-two", "IPv4", "${PORT_two}", "[{addresses: [127.0.0.1], zone: there}]")) +
			hostRoute(name, "[{backendRefs: [{name: "+name+", port: 80}]}]")
	}
	in := start(t, files{
		"free.yaml": service("free", ""), "close.yaml": service("close", "trafficDistribution: PreferClose, "),
		"forced.yaml": service("forced", ""), "few.yaml": service("few", "trafficDistribution: PreferSameZone, "),
		"policies.yaml": trafficPolicy("forced", "forced", `  loadBalancer:
    type: RoundRobin
    zoneAware: {preferLocal: {minEndpointsThreshold: 1, force: {minEndpointsInZoneThreshold: 1}}}
`) + trafficPolicy("few", "few", `  loadBalancer:
    type: RoundRobin
    zoneAware: {preferLocal: {minEndpointsThreshold: 1, force: {minEndpointsInZoneThreshold: 2}}}
`),
	}, "--zone=here")
	in.wantAnswers(t, request{host: "free.example"}, "one", "two")
	in.wantAnswers(t, request{host: "few.example"}, "one", "two")
	in.wantAnswers(t, request{host: "close.example"}, "one")
	in.wantAnswers(t, request{host: "forced.example"}, "one")
	moved := strings.Replace(service("close", "trafficDistribution: PreferClose, "), "zone: here", "zone: far", 1)
	in.write("close.yaml", moved)
	in.wantAnswers(t, request{host: "close.example"}, "one", "two")
}

// TestServiceAddress sends requests to the address of a Service, whatever its endpoints are; those of a headless one
// still go to its endpoints.
func TestServiceAddress(t *testing.T) {
	t.Parallel()
	service := func(ip string) string {
		return `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {clusterIP: ` + ip + `, ports: [{name: web, port: ${PORT_two}, targetPort: 8080}, {name: other, port: 81}]}
`
	}
	const rules = "[{backendRefs: [{name: shop, port: ${PORT_two}}]}]"
	in := start(t, files{
		"service.yaml": service("127.0.0.1"),
		"routes.yaml": hostRoute("service", rules) + hostRoute("endpoint", rules) +
			slice("a", "IPv4", "${PORT_one}", `[{addresses: [127.0.0.1]}]`),
		"policies.yaml": trafficPolicy("service", "service", "  routingType: Service\n") +
			trafficPolicy("endpoint", "endpoint", "  routingType: Endpoint\n"),
	})
	in.must(t, request{host: "service.example"}, expect{backend: "two"})
	in.must(t, request{host: "endpoint.example"}, expect{backend: "one"})
	in.write("service.yaml", service("None"))
	in.want(t, request{host: "service.example"}, expect{backend: "one"})
}

// TestProxyServiceAddress has an EnvoyProxy send all requests to the addresses of Services, but where a policy says
// that they go to the endpoints.
func TestProxyServiceAddress(t *testing.T) {
	t.Parallel()
	const rules = "[{backendRefs: [{name: shop, port: ${PORT_two}}]}]"
	in := start(t, files{
		"gateway.yaml": strings.Replace(gatewayYAML, "spec:\n", "spec:\n  infrastructure: {parametersRef: "+
			"{group: gateway.envoyproxy.io, kind: EnvoyProxy, name: settings}}\n", 1),
		"proxy.yaml": envoyProxy("routingType: Service"),
		"service.yaml": `
apiVersion: v1
kind: Service
metadata: {name: shop}
spec: {clusterIP: 127.0.0.1, ports: [{name: web, port: ${PORT_two}, targetPort: 8080}, {name: other, port: 81}]}
`,
		"routes.yaml": hostRoute("service", rules) + hostRoute("endpoint", rules) +
			slice("a", "IPv4", "${PORT_one}", `[{addresses: [127.0.0.1]}]`),
		"policies.yaml": trafficPolicy("endpoint", "endpoint", "  routingType: Endpoint\n"),
	})
	in.must(t, request{host: "service.example"}, expect{backend: "two"})
	in.must(t, request{host: "endpoint.example"}, expect{backend: "one"})
	in.write("proxy.yaml", envoyProxy("routingType: Endpoint"))
	in.want(t, request{host: "service.example"}, expect{backend: "one"})
}

// TestBackendSettings has what a policy asks of its own backend made as the settings beside the reference say.
func TestBackendSettings(t *testing.T) {
	t.Parallel()
	w := startWitness(t)
	in := start(t, files{
		"routes.yaml": hostRoute("app", `[{backendRefs: [{${one}}]}]`) + w.backend("auth"),
		"policies.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: auth}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: app}]
  extAuth:
    http:
      backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: auth}]
      backendSettings:
        proxyProtocol: {version: V1}
        connection: {bufferLimit: 64Ki, preconnect: {perEndpointPercent: 100}}
        tcpKeepalive: {idleTime: 1m}
        http2: {maxConcurrentStreams: 10}
        dns: {lookupFamily: IPv4}
        healthCheck: {active: {type: TCP, tcp: {}, overrides: {port: ${PORT_two}}}}
`,
	})
	in.must(t, request{host: "app.example"}, expect{backend: "one"})
	asked := 0
	for _, preamble := range w.connections() {
		if strings.HasPrefix(preamble, "PROXY TCP4 127.0.0.1 ") {
			asked++
		}
	}
	if asked == 0 {
		t.Errorf("connections begin with %q, want one with the PROXY protocol", w.connections())
	}
}

// TestStreamPolicy applies what a policy says of connections to those of TCPRoutes, and of endpoints to UDPRoutes:
// those that fail their checks, at a port of their own, get no datagrams.
func TestStreamPolicy(t *testing.T) {
	t.Parallel()
	w := startWitness(t)
	health := func(port string) string {
		return `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: udp}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: UDPRoute, name: udp}]
  healthCheck:
    panicThreshold: 0
    active: {type: TCP, tcp: {}, interval: 100ms, unhealthyThreshold: 1, overrides: {port: ` + port + `}}
`
	}
	in := start(t, files{
		"gateway.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners: [{name: tcp, protocol: TCP, port: ${HTTP}}, {name: udp, protocol: UDP, port: ${SPARE}}]
`,
		"routes.yaml": streamYAML("TCPRoute", "tcp", "{name: gw, sectionName: tcp}", "", backend("tcp", 1)) +
			streamYAML("UDPRoute", "udp", "{name: gw, sectionName: udp}", "", backend("udp", 1)) + w.backend("tcp"),
		"backends.yaml": greeterYAML(map[string]int{"udp": greet(t, "udp", nil)}),
		"udp.yaml":      health(fmt.Sprint(freePort(t))),
		"policy.yaml": `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: BackendTrafficPolicy
metadata: {name: tcp}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw, sectionName: tcp}]
  proxyProtocol: {version: V1}
  timeout: {tcp: {connectTimeout: 2s}}
`,
	})
	in.must(t, request{}, expect{})
	if got := w.connections(); len(got) != 1 || !strings.HasPrefix(got[0], "PROXY TCP4 127.0.0.1 ") {
		t.Errorf("connections begin with %q, want the PROXY protocol", got)
	}
	eventually(t, func() error {
		if got := in.datagram("SPARE", unanswered); got != "" {
			return fmt.Errorf("%s answers, and fails its health checks", got)
		}
		return nil
	})
	in.write("udp.yaml", health("${PORT_one}"))
	eventually(t, func() error {
		if got := in.datagram("SPARE", time.Second); got != "udp" {
			return fmt.Errorf("%q answers, want udp", got)
		}
		return nil
	})
}

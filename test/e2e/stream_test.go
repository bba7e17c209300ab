package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// greeterYAML is a Backend for each port.
func greeterYAML(ports map[string]int) string {
	var b strings.Builder
	for name, port := range ports {
		fmt.Fprintf(&b, `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, name, port)
	}
	return b.String()
}

// streamYAML is a route of a kind without HTTP: hostnames and the backends with their weights, in flow style.
func streamYAML(kind, name, parent, hostnames, backends string) string {
	if hostnames != "" {
		hostnames = "\n  hostnames: [" + hostnames + "]"
	}
	return `
---
apiVersion: gateway.networking.k8s.io/v1
kind: ` + kind + `
metadata: {name: ` + name + `}
spec:
  parentRefs: [` + parent + `]` + hostnames + `
  rules: [{backendRefs: [` + backends + `]}]
`
}

func backend(name string, weight int) string {
	return "{group: gateway.envoyproxy.io, kind: Backend, name: " + name + ", weight: " + strconv.Itoa(weight) + "}"
}

// certificate returns a certificate of the authority for use in a server.
func (a *authority) certificate(t *testing.T, hosts ...string) *tls.Certificate {
	t.Helper()
	cert, key := a.issue(t, "backend", "ecdsa", hosts...)
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// sni is a client configuration that trusts an authority.
func sni(host string, a *authority) *tls.Config {
	c := &tls.Config{ServerName: host, RootCAs: x509.NewCertPool()}
	if a != nil {
		c.RootCAs = a.pool
	}
	return c
}

// TestTLSRoute has every kind of listener that SNI can tell apart on one port: passthrough, terminating and HTTPS.
func TestTLSRoute(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	ports := map[string]int{
		"secret": greet(t, "secret", theirs.certificate(t, "pass.example", "a.wild.example", "b.wild.example")),
		"other":  greet(t, "other", theirs.certificate(t, "a.wild.example")),
		"plain":  greet(t, "plain", nil),
	}
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: pass, protocol: TLS, port: ${HTTPS}, hostname: pass.example, tls: {mode: Passthrough}}
  - {name: wild, protocol: TLS, port: ${HTTPS}, hostname: "*.wild.example", tls: {mode: Passthrough}}
  - {name: end, protocol: TLS, port: ${HTTPS}, hostname: end.example,
     tls: {mode: Terminate, certificateRefs: [{name: end}]}}
  - {name: idle, protocol: TLS, port: ${HTTPS}, hostname: idle.example, tls: {mode: Passthrough}}
  - {name: web, protocol: HTTPS, port: ${HTTPS}, tls: {certificateRefs: [{name: web}]}}
`,
		"backends.yaml": backendsYAML,
		"secrets.yaml": ours.secret(t, "end", "ecdsa", "end.example") +
			ours.secret(t, "web", "ecdsa", "web.example", "idle.example"),
		"greeters.yaml": greeterYAML(ports),
		"routes.yaml": streamYAML("TLSRoute", "pass", "{name: gw, sectionName: pass}", "pass.example", backend("secret", 1)) +
			streamYAML("TLSRoute", "wild", "{name: gw, sectionName: wild}", `"*.wild.example"`, backend("secret", 1)) +
			streamYAML("TLSRoute", "exact", "{name: gw, sectionName: wild}", "a.wild.example", backend("other", 1)) +
			streamYAML("TLSRoute", "end", "{name: gw, sectionName: end}", "end.example", backend("plain", 1)),
		"web.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web}
spec:
  parentRefs: [{name: gw, sectionName: web}]
  rules: [{backendRefs: [{${one}}]}]
`,
	})
	for _, tt := range []struct {
		host string
		from *authority
		want string
	}{
		{"pass.example", theirs, "secret"},
		{"pass.example", ours, ""}, // it is the backend's certificate, not the gateway's
		{"b.wild.example", theirs, "secret"},
		{"a.wild.example", theirs, "other"}, // the more specific hostname has precedence
		{"end.example", ours, "plain"},
		{"idle.example", ours, ""}, // it belongs to a listener without routes, not to the one for every host
	} {
		if got := in.answers(t.Context(), "HTTPS", sni(tt.host, tt.from)); got != tt.want {
			t.Errorf("%s: %q answers, want %q", tt.host, got, tt.want)
		}
	}
	in.must(t, request{host: "web.example", port: "HTTPS", tls: sni("web.example", ours)}, expect{backend: "one"})
	in.must(t, request{host: "pass.example", port: "HTTPS", tls: sni("web.example", ours)}, expect{status: 421})
	if got := in.answers(t.Context(), "HTTPS", nil); got != "" {
		t.Errorf("without TLS %s answers", got)
	}
}

// TestStreamEdit changes routes while connections are open: those of other routes never notice, those of the route
// itself have the time to drain.
func TestStreamEdit(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	cert := ca.certificate(t, "a.example", "b.example", "c.example")
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: tls, protocol: TLS, port: ${HTTPS}, tls: {mode: Passthrough}}
  - {name: tcp, protocol: TCP, port: ${SPARE}}
`,
		"backends.yaml": greeterYAML(map[string]int{
			"one": greet(t, "one", cert), "two": greet(t, "two", cert), "db": greet(t, "db", nil),
		}),
		"a.yaml":  streamYAML("TLSRoute", "a", "{name: gw}", "a.example", backend("one", 1)),
		"b.yaml":  streamYAML("TLSRoute", "b", "{name: gw}", "b.example", backend("one", 1)),
		"db.yaml": streamYAML("TCPRoute", "db", "{name: gw}", "", backend("db", 1)),
	})
	open := map[string]*call{}
	for name, dial := range map[string]func() (*call, error){
		"a":  func() (*call, error) { return in.dial(t.Context(), "HTTPS", sni("a.example", ca)) },
		"b":  func() (*call, error) { return in.dial(t.Context(), "HTTPS", sni("b.example", ca)) },
		"db": func() (*call, error) { return in.dial(t.Context(), "SPARE", nil) },
	} {
		c, err := dial()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		t.Cleanup(func() { _ = c.Close() })
		open[name] = c
	}
	check := func(after string) {
		t.Helper()
		for name, c := range open {
			if err := c.said("after " + after); err != nil {
				t.Errorf("after %s the connection of %s: %v", after, name, err)
			}
		}
	}
	in.write("a.yaml", streamYAML("TLSRoute", "a", "{name: gw}", "a.example", backend("two", 1)))
	in.wantAnswer(t, "HTTPS", sni("a.example", ca), "two")
	check("the backend of a changed")
	delete(open, "a") // it is draining

	in.write("c.yaml", streamYAML("TLSRoute", "c", "{name: gw}", "c.example", backend("two", 1)))
	in.wantAnswer(t, "HTTPS", sni("c.example", ca), "two")
	check("a route came")

	in.remove("c.yaml")
	in.wantAnswer(t, "HTTPS", sni("c.example", ca), "")
	check("a route went")

	in.write("db.yaml", streamYAML("TCPRoute", "db", "{name: gw}", "", backend("gone", 1)))
	in.wantAnswer(t, "SPARE", nil, "")
	check("the backend of db became invalid")
	delete(open, "db")
	in.write("db.yaml", streamYAML("TCPRoute", "db", "{name: gw}", "", backend("db", 1)))
	in.wantAnswer(t, "SPARE", nil, "db")
	check("everything")
}

// TestStreamGrant: without a grant for the backend's namespace connections and datagrams are refused.
func TestStreamGrant(t *testing.T) {
	t.Parallel()
	const to = "{group: gateway.envoyproxy.io, kind: Backend, name: one, namespace: other}"
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: tcp, protocol: TCP, port: ${SPARE}}
  - {name: udp, protocol: UDP, port: ${SPARE}}
`,
		"backends.yaml": strings.ReplaceAll(greeterYAML(map[string]int{"one": greet(t, "one", nil)}),
			"{name: one}", "{name: one, namespace: other}"),
		"routes.yaml": streamYAML("TCPRoute", "r", "{name: gw}", "", to) +
			streamYAML("UDPRoute", "r", "{name: gw}", "", to),
	})
	refused := func() {
		t.Helper()
		in.wantAnswer(t, "SPARE", nil, "")
		if got := in.datagram("SPARE", unanswered); got != "" {
			t.Errorf("without a grant %s answers a datagram", got)
		}
	}
	refused()
	in.write("grant.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: routes, namespace: other}
spec:
  from:
  - {group: gateway.networking.k8s.io, kind: TCPRoute, namespace: default}
  - {group: gateway.networking.k8s.io, kind: UDPRoute, namespace: default}
  to: [{group: gateway.envoyproxy.io, kind: Backend}]
`)
	in.wantAnswer(t, "SPARE", nil, "one")
	if got := in.datagram("SPARE", patience); got != "one" {
		t.Errorf("with a grant %q answers a datagram", got)
	}
	in.remove("grant.yaml")
	refused()
}

// TestStreamWeight checks shares of connections and of UDP sessions, those of invalid backends included: see
// TestWeight for what is accepted.
func TestStreamWeight(t *testing.T) {
	t.Parallel()
	const n = 1000
	shares := backend("one", 7) + "," + backend("two", 3) + "," + backend("three", 0)
	tests := []struct {
		name, port, backends string
		want                 map[string]float64
	}{
		{"weighted", "HTTP", shares, map[string]float64{"one": 0.7, "two": 0.3}},
		{"an invalid share", "HTTPS", shares + "," + backend("gone", 10),
			map[string]float64{"one": 0.35, "two": 0.15, "": 0.5}},
		{"all zero", "SPARE", backend("one", 0), map[string]float64{"": 1}},
	}
	gateway := `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners:`
	routes := ""
	for _, tt := range tests {
		for _, protocol := range []string{"TCP", "UDP"} {
			name := strings.ToLower(protocol + "-" + tt.port)
			gateway += fmt.Sprintf("\n  - {name: %s, protocol: %s, port: ${%s}}", name, protocol, tt.port)
			routes += streamYAML(protocol+"Route", name, "{name: gw, sectionName: "+name+"}", "", tt.backends)
		}
	}
	in := start(t, files{"gateway.yaml": gateway, "routes.yaml": routes, "backends.yaml": greeterYAML(map[string]int{
		"one": greet(t, "one", nil), "two": greet(t, "two", nil), "three": greet(t, "three", nil),
	})})
	for _, tt := range tests {
		requests := n
		if len(tt.want) == 1 {
			requests = 20 // there is nothing to count
		}
		t.Run("TCP/"+tt.name, func(t *testing.T) {
			checkShares(t, tally(requests, func() string { return in.answers(t.Context(), tt.port, nil) }), requests, tt.want)
		})
		t.Run("UDP/"+tt.name, func(t *testing.T) {
			wait := patience
			if tt.want[""] > 0 {
				wait = unanswered
			}
			checkShares(t, tally(requests, func() string { return in.datagram(tt.port, wait) }), requests, tt.want)
		})
	}
}

// tally counts who answers.
func tally(n int, ask func() string) map[string]int {
	out := map[string]int{}
	for range n {
		out[ask()]++
	}
	return out
}

// TestUDPSession: a client stays with its backend for as long as its session lasts, also while the route is edited, and
// loses it only with the backend.
func TestUDPSession(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners: [{name: udp, protocol: UDP, port: ${SPARE}}]
`,
		"backends.yaml": greeterYAML(map[string]int{"one": greet(t, "one", nil), "two": greet(t, "two", nil)}),
		"r.yaml":        streamYAML("UDPRoute", "r", "{name: gw}", "", backend("one", 1)),
	})
	conn, err := net.Dial("udp", in.address("SPARE"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if got := exchange(conn, patience); got != "one" {
		t.Fatalf("%s answers, want one", got)
	}
	in.write("r.yaml", streamYAML("UDPRoute", "r", "{name: gw}", "", backend("one", 1)+","+backend("two", 1000)))
	eventually(t, func() error {
		if got := in.datagram("SPARE", time.Second); got != "two" {
			return fmt.Errorf("a new client is answered by %s", got)
		}
		return nil
	})
	if got := exchange(conn, patience); got != "one" {
		t.Errorf("after the route was edited %s answers the old client, want one", got)
	}
	in.write("r.yaml", streamYAML("UDPRoute", "r", "{name: gw}", "", backend("two", 1)))
	eventually(t, func() error {
		if got := exchange(conn, time.Second); got != "two" {
			return fmt.Errorf("without its backend the old client is answered by %s", got)
		}
		return nil
	})
}

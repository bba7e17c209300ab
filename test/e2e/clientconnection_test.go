package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// clientPolicy is a ClientTrafficPolicy for the Gateway, or for one of its listeners.
func clientPolicy(name, listener, fields string) string {
	section := ""
	if listener != "" {
		section = ", sectionName: " + listener
	}
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: ` + name + `}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw` + section + `}]
` + fields
}

// portsGateway has plain HTTP listeners on ${HTTP}, ${HTTPS} and ${SPARE}, which are named after the ports.
const portsGateway = gatewayWith + `
  - {name: http, protocol: HTTP, port: ${HTTP}}
  - {name: https, protocol: HTTP, port: ${HTTPS}}
  - {name: spare, protocol: HTTP, port: ${SPARE}}
`

// exchangeRaw writes bytes to a port and returns what comes back until the other side closes.
func (in *instance) exchangeRaw(t *testing.T, port string, send []byte) string {
	t.Helper()
	conn, err := net.Dial("tcp", in.address(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(send); err != nil {
		return "" // closed already
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // a connection that is reset has said what it had to say
	return string(answer)
}

const closing = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"

// proxyHeader2 is a PROXY protocol header of version 2 for an IPv4 client.
func proxyHeader2(from net.IP) []byte {
	out := append([]byte("\r\n\r\n\x00\r\nQUIT\n"), 0x21, 0x11, 0, 12)
	out = append(out, from.To4()...)
	out = append(out, 127, 0, 0, 1)
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(out, 4711), 80)
}

// TestA26ProxyProtocol: behind a PROXY protocol header of either version a request has the client's address. Without
// one nobody gets in, unless it is optional; and what a client says of itself in X-Forwarded-For stays what it says.
func TestA26ProxyProtocol(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": portsGateway, "backends.yaml": backendsYAML, "route.yaml": everything,
		"policies.yaml": clientPolicy("required", "http", "  proxyProtocol: {}\n") +
			clientPolicy("optional", "https", "  proxyProtocol: {optional: true}\n") +
			clientPolicy("old", "spare", "  enableProxyProtocol: true\n"),
	})
	from := net.IPv4(192, 0, 2, 7)
	version1 := []byte("PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n")
	spoof := strings.Replace(closing, "Host:", "X-Forwarded-For: 203.0.113.9\r\nHost:", 1)
	for _, tt := range []struct {
		name, port string
		header     []byte
		request    string
		want       string // part of the answer, empty for none
	}{
		{"version 1", "HTTP", version1, closing, `"X-Forwarded-For":["192.0.2.7"]`},
		{"version 2", "HTTP", proxyHeader2(from), closing, `"X-Forwarded-For":["192.0.2.7"]`},
		{"with the deprecated field", "SPARE", version1, closing, `"X-Forwarded-For":["192.0.2.7"]`},
		{"none", "HTTP", nil, closing, ""},
		{"optional, but there", "HTTPS", version1, closing, `"X-Forwarded-For":["192.0.2.7"]`},
		{"optional, and not there", "HTTPS", nil, closing, `"X-Envoy-External-Address":["127.0.0.1"]`},
		{"a client that claims another address", "HTTP", version1, spoof, `"X-Forwarded-For":["203.0.113.9,192.0.2.7"]`},
	} {
		got := in.exchangeRaw(t, tt.port, append(tt.header, tt.request...))
		if tt.want == "" && strings.Contains(got, "200 OK") || !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestClientConnectionLimit: beyond the limit connections are closed, those that are there stay, and when one goes
// another one comes.
func TestClientConnectionLimit(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"route.yaml": everything,
		"policy.yaml": clientPolicy("limit", "",
			"  connection: {connectionLimit: {value: 2, maxRequestsPerConnection: 3}}\n"),
	})
	in.want(t, request{}, expect{backend: "one"})
	ask := func(conn net.Conn) (*http.Response, error) {
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil {
			_, err = io.Copy(io.Discard, res.Body)
		}
		return res, err
	}
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", in.address("HTTP"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	var held []net.Conn
	eventually(t, func() error { // the connection of the request before has to be gone
		for len(held) < 2 {
			conn := dial()
			if _, err := ask(conn); err != nil {
				return err
			}
			held = append(held, conn)
		}
		return nil
	})
	if res, err := ask(dial()); err == nil {
		t.Errorf("a third connection is answered with %d", res.StatusCode)
	}
	for i := range 2 { // the third request on the connection is the last
		res, err := ask(held[0])
		if err != nil {
			t.Fatal(err)
		}
		if last := res.Close; last != (i == 1) {
			t.Errorf("after request %d the connection is closed: %t", i+2, last)
		}
	}
	_ = held[0].Close()
	eventually(t, func() error {
		_, err := ask(dial())
		return err
	})
}

// TestA38SlowClients: clients that take too long for the headers of a request, its body or a TLS handshake are sent
// away.
func TestA38SlowClients(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: http, protocol: HTTP, port: ${HTTP}}
  - {name: https, protocol: HTTPS, port: ${HTTPS}, tls: {certificateRefs: [{name: server}]}}
  - {name: tcp, protocol: TCP, port: ${SPARE}}
`,
		"backends.yaml": backendsYAML + greeterYAML(map[string]int{"greeter": greet(t, "greeter", nil)}),
		"secret.yaml":   ca.secret(t, "server", "ecdsa", "a.example"), "route.yaml": everything,
		"tcp.yaml": streamYAML("TCPRoute", "tcp", "{name: gw, sectionName: tcp}", "", backend("greeter", 1)),
		"policy.yaml": clientPolicy("slow", "", `  timeout:
    http: {requestHeadersReceivedTimeout: 300ms, requestReceivedTimeout: 600ms, idleTimeout: 900ms}
    tcp: {tlsHandshakeTimeout: 300ms, connectionInspectionTimeout: 400ms, idleTimeout: 500ms}
`),
	})
	in.want(t, request{}, expect{backend: "one"})
	for _, tt := range []struct{ name, port, send, want string }{
		{"headers that do not end", "HTTP", "GET / HTTP/1.1\r\nHost: a.example\r\n", "408 Request Timeout"},
		{"a body that does not end", "HTTP", "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\nx",
			"408 Request Timeout"},
		{"no request at all", "HTTP", "", ""},
		{"no TLS handshake", "HTTPS", "", ""},
		{"a handshake that does not end", "HTTPS", clientHello(t), "\x16\x03"}, // the server has answered its part
		{"a connection that carries nothing", "SPARE", "", "greeter"},
	} {
		begun := time.Now()
		got := in.exchangeRaw(t, tt.port, []byte(tt.send))
		if !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s: it took %v", tt.name, took)
		}
	}
}

// clientHello is the first message of a TLS client that says nothing more.
func clientHello(t *testing.T) string {
	t.Helper()
	return string(clientHelloFor(t, "a.example"))
}

// clientHelloFor is that of a client that asks for a server name.
func clientHelloFor(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer func() { _ = client.Close() }()
	go func() {
		_ = tls.Client(server, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake()
	}()
	buffer := make([]byte, 4096)
	n, err := client.Read(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return buffer[:n]
}

// TestTCPProxyProtocol: TCP listeners read the header too. The listeners of a port that ask for different things of
// it get nothing of that; their policies say so.
func TestTCPProxyProtocol(t *testing.T) {
	t.Parallel()
	gateway := gatewayWith + `
  - {name: tcp, protocol: TCP, port: ${SPARE}}
  - {name: a, protocol: TLS, port: ${HTTPS}, hostname: a.example, tls: {mode: Passthrough}}
  - {name: b, protocol: TLS, port: ${HTTPS}, hostname: b.example, tls: {mode: Passthrough}}
`
	ca := newAuthority(t)
	in := start(t, files{
		"gateway.yaml": gateway,
		"backends.yaml": greeterYAML(map[string]int{
			"plain": greet(t, "plain", nil), "tls": greet(t, "tls", ca.certificate(t, "a.example", "b.example")),
		}),
		"routes.yaml": streamYAML("TCPRoute", "tcp", "{name: gw, sectionName: tcp}", "", backend("plain", 1)) +
			streamYAML("TLSRoute", "tls", "{name: gw}", "a.example, b.example", backend("tls", 1)),
		"policy.yaml": clientPolicy("tcp", "tcp", "  proxyProtocol: {}\n  tcpKeepalive: {probes: 3, idleTime: 60s}\n") +
			clientPolicy("a", "a", "  proxyProtocol: {}\n"),
	})
	header := "PROXY TCP4 192.0.2.7 127.0.0.1 4711 80\r\n"
	call := func(send string) string {
		conn, err := net.Dial("tcp", in.address("SPARE"))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		_ = conn.SetDeadline(time.Now().Add(patience))
		if _, err := io.WriteString(conn, send); err != nil {
			return ""
		}
		line, _ := bufio.NewReader(conn).ReadString('\n')
		return strings.TrimSpace(line)
	}
	if got := call(header); got != "plain" {
		t.Errorf("with a header %q answers", got)
	}
	if got := call("GET / HTTP/1.1\r\n\r\n"); got != "" {
		t.Errorf("without a header %q answers", got)
	}
	in.wantAnswer(t, "HTTPS", sni("a.example", ca), "tls") // without a header: the port has no such setting
	in.condition(t, conditionWant{kind: "ClientTrafficPolicy", name: "default/a", condition: "Accepted=False/Conflicted"})
	in.write("policy.yaml", clientPolicy("a", "a", "  proxyProtocol: {}\n")+
		clientPolicy("b", "b", "  proxyProtocol: {}\n"))
	in.wantAnswer(t, "HTTPS", sni("a.example", ca), "")
	in.condition(t, conditionWant{kind: "ClientTrafficPolicy", name: "default/a", condition: "Accepted=True/Accepted"})
	conn, err := net.Dial("tcp", in.address("HTTPS"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprint(conn, header); err != nil {
		t.Fatal(err)
	}
	secure := tls.Client(conn, sni("b.example", ca))
	line, err := bufio.NewReader(secure).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "tls" {
		t.Errorf("behind the header %q answers: %v", line, err)
	}
}

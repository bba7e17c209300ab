package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// rawBackend answers each request with its head, byte by byte as it came, and returns its port.
func rawBackend(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				var head strings.Builder
				for lines := bufio.NewReader(conn); !strings.HasSuffix(head.String(), "\r\n\r\n"); {
					line, err := lines.ReadString('\n')
					if err != nil {
						return
					}
					head.WriteString(line)
				}
				_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", head.Len(), &head)
			}()
		}
	}()
	return listener.Addr().(*net.TCPAddr).Port
}

// TestClientHTTP: how HTTP/1, HTTP/2 and gRPC-Web are spoken with clients is what the policy says.
func TestClientHTTP(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": gatewayWith + `
  - {name: http, protocol: HTTP, port: ${HTTP}, hostname: only.example}
  - {name: plain, protocol: HTTP, port: ${HTTPS}}
`,
		"backends.yaml": strings.Replace(backendsYAML, "spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}",
			"spec: {appProtocols: [gateway.envoyproxy.io/h2c], endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}", 1) +
			greeterYAML(map[string]int{"raw": rawBackend(t)}),
		"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec:
  parentRefs: [{name: gw}]
  rules:
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: raw}]
  - {matches: [{path: {value: /grpc.testing.TestService}}], backendRefs: [{${two}}]}
`,
		"policy.yaml": clientPolicy("web", "http", `  http1:
    preserveHeaderCase: true
    http10: {useDefaultHost: true}
    ignoredUpgradeTypes: [{type: Prefix, value: TLS/}]
  http2: {maxConcurrentStreams: 7}
  grpc: {enableWeb: true}
`),
	})
	const odd = "GET / HTTP/1.1\r\nHost: only.example\r\nX-OddCase: 1\r\nConnection: close\r\n\r\n"
	const upgrade = "GET / HTTP/1.1\r\nHost: only.example\r\nUpgrade: TLS/1.2\r\nConnection: Upgrade, close\r\n\r\n"
	const old = "GET / HTTP/1.0\r\n\r\n"
	for _, tt := range []struct{ name, port, request, want string }{
		{"the case of names", "HTTP", odd, "X-OddCase: 1"},
		{"the case of names without a policy", "HTTPS", odd, "x-oddcase: 1"},
		{"an upgrade that is ignored", "HTTP", upgrade, " 200 OK"},
		{"an upgrade without a policy", "HTTPS", upgrade, " 403 "},
		{"HTTP/1.0 without a host", "HTTP", old, "only.example"},
		{"HTTP/1.0 without a policy", "HTTPS", old, " 426 "},
	} {
		if got := in.exchangeRaw(t, tt.port, []byte(tt.request)); !strings.Contains(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	for port, want := range map[string]uint32{"HTTP": 7, "HTTPS": 100} {
		if got := in.maxStreams(t, port); got != want {
			t.Errorf("%s allows %d streams, want %d", port, got, want)
		}
	}
	call := request{
		method: "POST", host: "only.example", path: "/grpc.testing.TestService/UnaryCall", body: "\x00\x00\x00\x00\x00",
		header: []string{"content-type: application/grpc-web+proto"},
	}
	in.must(t, call, expect{header: []string{"content-type: application/grpc-web+proto"}, body: "grpc-status:0"})
	call.port = "HTTPS"
	in.must(t, call, expect{status: 415})
}

// maxStreams returns how many streams a port lets a client of HTTP/2 have at a time.
func (in *instance) maxStreams(t *testing.T, port string) uint32 {
	t.Helper()
	conn, err := net.Dial("tcp", in.address(port))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	frame, err := framer.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	settings, ok := frame.(*http2.SettingsFrame)
	if !ok {
		t.Fatalf("the first frame is %v", frame)
	}
	got, _ := settings.Value(http2.SettingMaxConcurrentStreams)
	return got
}

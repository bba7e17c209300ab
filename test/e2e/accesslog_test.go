package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	servicev3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
)

// loggedYAML is a Gateway whose EnvoyProxy says what is logged, another with the same class and no EnvoyProxy, and a
// route for both.
const loggedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: settings}}
  listeners:
    - {name: http, protocol: HTTP, port: ${HTTP}}
    - {name: tcp, protocol: TCP, port: ${HTTPS}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: quiet}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, protocol: HTTP, port: ${SPARE}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: app}
spec:
  parentRefs: [{name: gw, sectionName: http}, {name: quiet}]
  rules: [{matches: [{path: {value: /a}}], backendRefs: [{${one}}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: TCPRoute
metadata: {name: raw}
spec:
  parentRefs: [{name: gw, sectionName: tcp}]
  rules: [{backendRefs: [{${two}}]}]
`

// envoyProxy is the EnvoyProxy of the Gateway, with fields in flow style.
func envoyProxy(fields string) string {
	return `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: settings}
spec: {` + fields + `}
`
}

// localService is a Backend on a port of this machine.
func localService(name string, port int) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: %s}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, name, port)
}

// onBackend is a reference to a Backend in flow style.
func onBackend(name string) string {
	return "backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: " + name + "}]"
}

// accessLogService is Envoy's access log service: it keeps what it gets.
type accessLogService struct {
	servicev3.UnimplementedAccessLogServiceServer
	mu   sync.Mutex
	http map[string]*accesslogv3.HTTPAccessLogEntry // by the request header x-id
	tcp  int
	name string
}

func startAccessLogService(t *testing.T) (*accessLogService, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &accessLogService{http: map[string]*accesslogv3.HTTPAccessLogEntry{}}
	server := grpc.NewServer()
	servicev3.RegisterAccessLogServiceServer(server, s)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return s, l.Addr().(*net.TCPAddr).Port
}

// StreamAccessLogs takes entries until Envoy hangs up.
func (s *accessLogService) StreamAccessLogs(stream servicev3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		s.mu.Lock()
		if id := m.GetIdentifier().GetLogName(); id != "" {
			s.name = id
		}
		for _, e := range m.GetHttpLogs().GetLogEntry() {
			s.http[e.GetRequest().GetRequestHeaders()["x-id"]] = e
		}
		s.tcp += len(m.GetTcpLogs().GetLogEntry())
		s.mu.Unlock()
	}
}

func (s *accessLogService) entry(id string) (*accesslogv3.HTTPAccessLogEntry, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.http[id], s.name
}

func (s *accessLogService) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tcp
}

// TestAccessLog has requests and connections written to files, an access log service and a collector: those of the
// Gateway whose EnvoyProxy says so, of no other.
func TestAccessLog(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	als, alsPort := startAccessLogService(t)
	dir := t.TempDir()
	file := func(name string) string {
		return "sinks: [{type: File, file: {path: \"" + filepath.Join(dir, name) + "\"}}]"
	}
	read := func(name string) string {
		text, _ := os.ReadFile(filepath.Join(dir, name))
		return string(text)
	}
	settings := "telemetry: {accessLog: {settings: [" +
		"{format: {type: Text, text: \"%REQ(X-ID)% %RESPONSE_CODE% %ROUTE_NAME%\\n\"}, " + file("all") + "}, " +
		"{matches: [\"response.code == 404\"], format: {type: JSON, json: {id: \"%REQ(X-ID)%\", " +
		"code: \"%RESPONSE_CODE%\"}}, " + file("missing") + "}, " +
		"{type: Upstream, format: {type: Text, text: \"%REQ(X-ID)% %UPSTREAM_HOST%\\n\"}, " + file("upstream") + "}, " +
		"{type: Route, sinks: [{type: ALS, als: {type: HTTP, logName: web, " + onBackend("als") + ", " +
		"http: {requestHeaders: [x-id], responseHeaders: [content-type]}}}, " +
		"{type: ALS, als: {type: TCP, " + onBackend("als") + "}}]}, " +
		"{type: Route, format: {text: \"%REQ(:METHOD)%\", json: {id: \"%REQ(X-ID)%\"}}, sinks: [" +
		"{type: OpenTelemetry, openTelemetry: {" + onBackend("otel") + ", headers: [{name: X-Token, value: secret}], " +
		"resourceAttributes: {team: shop}}}, " +
		"{type: OpenTelemetry, openTelemetry: {" + onBackend("gone") + "}}]}]}}"
	in := start(t, files{
		"gateway.yaml": loggedYAML, "backends.yaml": backendsYAML, "proxy.yaml": envoyProxy(settings),
		"services.yaml": localService("otel", c.port) + "---" + localService("als", alsPort),
	})
	in.must(t, request{path: "/a", header: []string{"x-id: first"}}, expect{backend: "one"})
	in.must(t, request{path: "/b", header: []string{"x-id: missing"}}, expect{status: 404})
	in.must(t, request{port: "SPARE", path: "/a", header: []string{"x-id: quiet"}}, expect{backend: "one"})

	t.Run("file", func(t *testing.T) {
		eventually(t, func() error {
			for name, want := range map[string]string{
				"all": "first 200 httproute/default/app/0\n", "upstream": "first 127.0.0.1:" + in.vars["PORT_one"] + "\n",
				"missing": `"id":"missing"`,
			} {
				if got := read(name); !strings.Contains(got, want) {
					return fmt.Errorf("the file %s has %q, want %q in it", name, got, want)
				}
			}
			return nil
		})
		if got := read("missing"); strings.Contains(got, "first") || !strings.Contains(got, `"code":404`) {
			t.Errorf("of requests that are answered with 404 alone was to be written: %q", got)
		}
	})
	t.Run("service", func(t *testing.T) {
		eventually(t, func() error {
			e, name := als.entry("first")
			if e == nil || name == "" {
				return fmt.Errorf("the service has no entry")
			}
			if got := e.GetResponse().GetResponseHeaders()["content-type"]; got != "application/json" {
				return fmt.Errorf("the response header is %q", got)
			}
			if got := e.GetCommonProperties().GetRouteName(); got != "httproute/default/app/0" {
				return fmt.Errorf("the route is %q", got)
			}
			return nil
		})
	})
	t.Run("connection", func(t *testing.T) {
		before := als.connections()
		conn, err := net.Dial("tcp", in.address("HTTPS"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprint(conn, "GET / HTTP/1.0\r\n\r\n")
		_, _ = conn.Read(make([]byte, 1))
		_ = conn.Close()
		eventually(t, func() error {
			if als.connections() <= before {
				return fmt.Errorf("there is no entry of the TCP connection")
			}
			return nil
		})
	})
	t.Run("collector", func(t *testing.T) {
		eventually(t, func() error {
			e, ok := c.entry("first")
			got := fmt.Sprintf("%s %s %s", e.body, e.attributes["resource:team"], e.token)
			if !ok || got != "GET shop secret" {
				return fmt.Errorf("the entry is %q (%+v)", got, e)
			}
			return nil
		})
	})
	t.Run("status", func(t *testing.T) {
		eventually(t, func() error {
			body, err := in.get("/status")
			if err == nil && !strings.Contains(string(body), "Backend/default/gone does not exist") {
				err = fmt.Errorf("the status does not say what is missing: %s", body)
			}
			return err
		})
	})
	t.Run("disabled", func(t *testing.T) {
		if got := read("all") + read("upstream"); strings.Contains(got, "quiet") {
			t.Errorf("a request of another Gateway is in the log: %s", got)
		}
		in.write("proxy.yaml", envoyProxy("telemetry: {accessLog: {disable: true}}"))
		n := 0
		eventually(t, func() error {
			n++
			id := fmt.Sprintf("off-%d", n)
			in.must(t, request{path: "/a", header: []string{"x-id: " + id}}, expect{backend: "one"})
			if written(func() bool { return strings.Contains(read("all"), id) }) {
				return fmt.Errorf("requests are still written: %s", id)
			}
			return nil
		})
	})
}

// written says whether something is written within the time in which Envoy writes what it has.
func written(there func() bool) bool {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if there() {
			return true
		}
	}
	return false
}

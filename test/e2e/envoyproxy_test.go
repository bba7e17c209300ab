package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// zipkin is a Zipkin collector: it keeps the bodies that it gets.
type zipkin struct {
	port int
	mu   sync.Mutex
	text strings.Builder
}

func startZipkin(t *testing.T) *zipkin {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zipkin{port: l.Addr().(*net.TCPAddr).Port}
	take := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		z.mu.Lock()
		defer z.mu.Unlock()
		_, _ = fmt.Fprintf(&z.text, "%s %s\n", r.URL.Path, body)
		w.WriteHeader(http.StatusAccepted)
	}
	s := &http.Server{ReadHeaderTimeout: patience, Handler: http.HandlerFunc(take)}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return z
}

func (z *zipkin) got() string {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.text.String()
}

// TestProxyTracing has spans sent as an EnvoyProxy says, with its names, tags and sampling, until a policy of the
// Gateway says something else.
func TestProxyTracing(t *testing.T) {
	t.Parallel()
	c, z := startCollector(t), startZipkin(t)
	const otel = "telemetry: {tracing: {provider: {type: OpenTelemetry, backendRefs: " +
		"[{group: gateway.envoyproxy.io, kind: Backend, name: otel}], openTelemetry: {" +
		"headers: [{name: x-token, value: secret}], resourceAttributes: {team: shop}%s}}, " +
		"spanName: {client: \"in %%REQ(X-ID)%%\", server: out}, " +
		"tags: {id: \"%%REQ(X-ID)%%\"}, customTags: {kind: {type: Literal, literal: {value: \"100%%\"}}}}}"
	in := start(t, files{
		"gateway.yaml": loggedYAML, "backends.yaml": backendsYAML, "proxy.yaml": envoyProxy(fmt.Sprintf(otel, "")),
		"services.yaml": localService("otel", c.port) + "---" + localService("zipkin", z.port),
	})
	in.must(t, request{path: "/a", header: []string{"x-id: first"}}, expect{backend: "one"})
	in.must(t, request{port: "SPARE", path: "/a", header: []string{"x-id: quiet"}}, expect{backend: "one"})
	eventually(t, func() error {
		var names []string
		for _, s := range c.of("first") {
			if s.attributes["kind"] != "100%" || s.attributes["resource:team"] != "shop" || s.token != "secret" ||
				s.attributes["resource:service.name"] != "gw.default" {
				return fmt.Errorf("the span is %+v", s)
			}
			names = append(names, s.name)
		}
		if got := strings.Join(names, ", "); !strings.Contains(got, "in first") || !strings.Contains(got, "out") {
			return fmt.Errorf("the spans are %q", got)
		}
		return nil
	})
	if got := c.of("quiet"); len(got) > 0 {
		t.Errorf("a request of another Gateway is reported: %+v", got)
	}

	t.Run("sampler", func(t *testing.T) {
		in.write("proxy.yaml", envoyProxy(fmt.Sprintf(otel, ", sampler: {type: ParentBasedAlwaysOff}")))
		traced := func(id string, header ...string) {
			in.must(t, request{path: "/a", header: append(header, "x-id: "+id)}, expect{backend: "one"})
		}
		const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		n := 0
		eventually(t, func() error {
			n++
			id := fmt.Sprintf("off-%d", n)
			traced(id)
			traced("behind "+id, parent) // spans leave in the order of the requests
			eventually(t, func() error {
				if len(c.of("behind "+id)) == 0 {
					return fmt.Errorf("no span of a sampled parent")
				}
				return nil
			})
			if len(c.of(id)) > 0 {
				return fmt.Errorf("a new trace is still reported")
			}
			return nil
		})
	})
	t.Run("host", func(t *testing.T) {
		in.write("proxy.yaml", envoyProxy(fmt.Sprintf("telemetry: {tracing: {provider: {type: OpenTelemetry, "+
			"host: 127.0.0.1, port: %d}, tags: {id: \"%%REQ(X-ID)%%\"}}}", c.port)))
		n := 0
		eventually(t, func() error {
			n++
			id := fmt.Sprintf("host-%d", n)
			in.must(t, request{path: "/a", header: []string{"x-id: " + id}}, expect{backend: "one"})
			if spans := c.of(id); len(spans) == 0 || spans[0].token != "" {
				time.Sleep(100 * time.Millisecond)
				return fmt.Errorf("the spans are %+v, want some without the token of before", spans)
			}
			return nil
		})
	})
	t.Run("Zipkin", func(t *testing.T) {
		in.write("proxy.yaml", envoyProxy("telemetry: {tracing: {samplingRate: 100, tags: {id: \"%REQ(X-ID)%\"}, "+
			"provider: {type: Zipkin, backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: zipkin}], "+
			"zipkin: {enable128BitTraceId: true}}}}"))
		eventually(t, func() error {
			in.must(t, request{path: "/a", header: []string{"x-id: zipkin"}}, expect{backend: "one"})
			if got := z.got(); !strings.Contains(got, "/api/v2/spans") || !strings.Contains(got, `"id":"zipkin"`) {
				time.Sleep(100 * time.Millisecond)
				return fmt.Errorf("Zipkin got %q", got)
			}
			return nil
		})
	})
}

// TestProxyMetrics has more counted, under other names, as an EnvoyProxy asks; it needs no restart.
func TestProxyMetrics(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": strings.Replace(loggedYAML, "metadata: {name: quiet}\nspec:", "metadata: {name: quiet}\nspec:\n"+
			"  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: settings}}", 1),
		"backends.yaml": backendsYAML,
		"proxy.yaml": envoyProxy("telemetry: {metrics: {enableVirtualHostStats: true, enablePerEndpointStats: true, " +
			"enableRequestResponseSizesStats: true, clusterStatName: \"to_%BACKEND_REFS%\"}}"),
	})
	in.must(t, request{path: "/a", host: "shop.example"}, expect{backend: "one"})
	eventually(t, func() error {
		stats := in.askEnvoy(t, "/stats")
		for _, want := range []string{
			"cluster.to_default/one.upstream_rq_total: 1", "cluster.to_default/one.endpoint.127.0.0.1_",
			"upstream_rq_headers_size", "vhost.*.vcluster.*.upstream_rq_total: 1",
		} {
			if !strings.Contains(stats, want) {
				return fmt.Errorf("%q is not among the stats:\n%s", want, stats)
			}
		}
		return nil
	})
	in.write("proxy.yaml", envoyProxy(""))
	eventually(t, func() error {
		in.must(t, request{path: "/a"}, expect{backend: "one"})
		if stats := in.askEnvoy(t, "/stats"); !strings.Contains(stats, "cluster.backend/default/one.upstream_rq_total:") {
			return fmt.Errorf("the cluster has not its own name again:\n%s", stats)
		}
		return nil
	})
}

// adminSocket is the path of the socket of Envoy's admin interface.
func (in *instance) adminSocket(t *testing.T) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(in.root, "run", "*", "admin.sock"))
	if err != nil || len(found) != 1 {
		t.Fatalf("the admin sockets are %q, %v", found, err)
	}
	return found[0]
}

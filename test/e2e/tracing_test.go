package e2e

import (
	"fmt"
	"strings"
	"testing"
)

const tracedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, protocol: HTTP, port: ${HTTP}}]
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
  parentRefs: [{name: gw}, {name: quiet}]
  rules: [{backendRefs: [{${one}}]}]
`

func telemetryPolicy(tracing string) string {
	return `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XTelemetryPolicy
metadata: {name: traces}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  tracing: ` + tracing + `
`
}

// TestTracing has spans sent to a collector: those of the Gateway that the policy is attached to, of no other, with the
// names, attributes and sampling that it asks for.
func TestTracing(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	const provider = "provider: {backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: otel}, " +
		"headers: [{name: x-token, value: \"secret\"}]}"
	const id = "attributes: [{name: id, sourceType: Header, headerName: x-id}"
	in := start(t, files{
		"gateway.yaml": tracedYAML, "backends.yaml": backendsYAML,
		"otel.yaml": fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: otel}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: %d}}]}
`, c.port),
		"policy.yaml": telemetryPolicy("{mode: Enabled, " + provider + ", serviceName: shop, spanName: front door, " + id +
			", {name: team, sourceType: Literal, literalValue: \"50% %REQ(x-id)%\"}" +
			", {name: code, sourceType: Attribute, attributeKey: http.response.status_code}]}"),
	})
	in.must(t, request{path: "/a", header: []string{"x-id: all"}}, expect{backend: "one"})
	other := in.vars["HTTP"]
	in.vars["HTTP"] = in.vars["SPARE"]
	in.must(t, request{path: "/a", header: []string{"x-id: other"}}, expect{backend: "one"})
	in.vars["HTTP"] = other

	t.Run("span", func(t *testing.T) {
		eventually(t, func() error {
			var server *span
			spans := c.of("all")
			for i := range spans {
				if spans[i].kind == 2 {
					server = &spans[i]
				}
			}
			if server == nil || len(spans) < 2 {
				return fmt.Errorf("the spans are %+v: want one of the server and one of the client", spans)
			}
			got := fmt.Sprintf("%s %s %s %s %s", server.name, server.attributes["team"], server.attributes["code"],
				server.attributes["resource:service.name"], server.token)
			if want := "front door 50% %REQ(x-id)% 200 shop secret"; got != want {
				return fmt.Errorf("the span is %q, want %q", got, want)
			}
			return nil
		})
		if got := c.of("other"); len(got) > 0 {
			t.Errorf("another Gateway's request is reported: %+v", got)
		}
	})

	traced := func(name, parent string) {
		in.must(t, request{path: "/a", header: []string{
			"x-id: " + name, "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-" + parent,
		}}, expect{backend: "one"})
	}
	// Spans leave in batches, in the order of the requests: what comes last shows that nothing else will come.
	last := func(t *testing.T, name string) {
		traced(name, "01")
		eventually(t, func() error {
			if len(c.of(name)) == 0 {
				return fmt.Errorf("no span of %s", name)
			}
			return nil
		})
	}
	t.Run("parent", func(t *testing.T) {
		traced("unsampled parent", "00")
		last(t, "sampled parent")
		if got := c.of("unsampled parent"); len(got) > 0 {
			t.Errorf("the parent is not sampled, but %+v", got)
		}
		if got := c.of("sampled parent")[0].trace; got != "0af7651916cd43dd8448eb211c80319c" {
			t.Errorf("the span is of the trace %s, not of its parent's", got)
		}
	})
	t.Run("no new traces", func(t *testing.T) {
		in.write("policy.yaml", telemetryPolicy("{mode: Enabled, "+provider+", samplingRate: {numerator: 0}, "+
			"spanName: none, "+id+"]}"))
		eventually(t, func() error {
			last(t, "probe")
			if spans := c.of("probe"); spans[len(spans)-1].name != "none" {
				return fmt.Errorf("the change is not live: %+v", spans[len(spans)-1])
			}
			return nil
		})
		in.must(t, request{path: "/a", header: []string{"x-id: zero"}}, expect{backend: "one"})
		last(t, "behind zero")
		if got := c.of("zero"); len(got) > 0 {
			t.Errorf("a request without a parent is reported at a rate of 0: %+v", got)
		}
	})
	t.Run("parents ignored", func(t *testing.T) {
		in.write("policy.yaml", telemetryPolicy("{mode: Enabled, "+provider+", parentBasedSampling: {mode: Disabled}, "+
			id+"]}"))
		eventually(t, func() error {
			traced("own decision", "00")
			if len(c.of("own decision")) == 0 {
				return fmt.Errorf("a request whose parent is not sampled is not reported")
			}
			return nil
		})
	})
	t.Run("fewer than the parents", func(t *testing.T) {
		in.write("policy.yaml", telemetryPolicy("{mode: Enabled, "+provider+", samplingRate: {numerator: 0}, "+
			"parentBasedSampling: {mode: Enabled, samplingRate: {numerator: 0}}, "+id+"]}"))
		for i := 0; ; i++ {
			name := fmt.Sprintf("gated %d", i)
			for range 10 { // more than Envoy keeps before it sends a batch
				traced(name, "01")
			}
			if !c.appears(name) {
				break
			}
			if i == 20 {
				t.Fatal("requests are still reported, at a rate of 0")
			}
		}
	})
}

// TestTracingRefused says of a policy what is wrong with it; requests do not mind.
func TestTracingRefused(t *testing.T) {
	t.Parallel()
	in := start(t, files{"gateway.yaml": tracedYAML, "backends.yaml": backendsYAML,
		"policy.yaml": telemetryPolicy("{mode: Enabled, provider: {backendRef: {name: gone, port: 4317}}, " +
			"attributes: [{name: x, sourceType: Attribute, attributeKey: no.such.key}]}")})
	in.must(t, request{path: "/a"}, expect{backend: "one"})
	eventually(t, func() error {
		body, err := in.get("/status")
		if err != nil {
			return err
		}
		for _, want := range []string{"BackendNotFound", "no.such.key", "is not known to Envoy"} {
			if !strings.Contains(string(body), want) {
				return fmt.Errorf("the status does not say %q: %s", want, body)
			}
		}
		return nil
	})
}

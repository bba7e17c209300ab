package resolve

import (
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// observing are options with a feature that takes the sinks of metrics, and others that refer to nothing.
func observing(o Options) Options {
	o.References = func(a model.Attached) []Reference {
		var out []Reference
		if spec, ok := a.Spec.(*egv1a1.ProxyMetrics); ok {
			for i := range spec.Sinks {
				ref := Reference{Path: fmt.Sprintf("%s.sinks[%d].openTelemetry", a.Path, i), Use: model.AppGRPC}
				if to := spec.Sinks[i].OpenTelemetry; len(to.BackendRefs) > 0 {
					ref.Backend = &to.BackendRefs[0].BackendObjectReference
				} else {
					//lint:ignore SA1019 deprecated, but part of the API
					ref.URL = fmt.Sprintf("http://%s:%d", *to.Host, to.Port)
				}
				out = append(out, ref)
			}
		}
		return out
	}
	return o
}

// asked renders what the EnvoyProxies of a Gateway ask for: the field, where it was written, and its backends.
func (w *world) asked(gateway string) string {
	list, _ := w.GatewayPolicies.Peek(inDefault(gateway))
	var out []string
	for _, a := range list {
		text := strings.TrimPrefix(a.Path, "spec.telemetry.") + " of " + a.Source.Name.Name
		for _, b := range a.Backends {
			text += " to " + b.String()
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// said is what the status of an EnvoyProxy says to its last ancestor.
func (w *world) said(proxy string) string {
	st, _ := w.EnvoyProxyStatus.Peek(inDefault(proxy))
	if len(st.Ancestors) == 0 {
		return ""
	}
	c := st.Ancestors[len(st.Ancestors)-1].Conditions
	return conditions(c) + ": " + c[0].Message
}

const (
	quietLog  = "telemetry: {accessLog: {disable: true}}"
	requestID = "telemetry: {requestID: {tracing: Pack}}"
)

// TestProxyFieldLevels: the EnvoyProxy of a Gateway takes the place of that of its class, or is merged with it. In a
// cluster every Gateway has an access log.
func TestProxyFieldLevels(t *testing.T) {
	const merge = ", mergeType: StrategicMerge"
	cases := []struct {
		name, class, own, want string
		opts                   Options
	}{
		{"of the class", requestID, "", "requestID of shared", shared()},
		{"replaced", requestID, quietLog, "accessLog of own", shared()},
		{"merged", requestID, quietLog + merge, "accessLog of own; requestID of shared", shared()},
		{"in a cluster", requestID, "", "requestID of shared; accessLog of ", fleets()},
		{"switched off", quietLog, "", "accessLog of shared", fleets()},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			gw, manifests := gatewayYAML("gw", plainHTTP), []string{classWithParameters, envoyProxyYAML("shared", tc.class)}
			if tc.own != "" {
				gw, manifests = infra(gw, ownParameters), append(manifests, envoyProxyYAML("own", tc.own))
			}
			w := newWorld(t, tc.opts, append(manifests, gw)...)
			expect(t, "asked", w.asked("gw"), tc.want)
		})
	}
}

// TestSharedProxyFields: of Gateways that share a plain HTTP port all have to ask for the same, and the status says
// where they do not.
func TestSharedProxyFields(t *testing.T) {
	other := gatewayYAML("b", strings.Replace(plainHTTP, "http,", "http, hostname: b.example,", 1))
	w := newWorld(t, shared(), classYAML, envoyProxyYAML("own", quietLog),
		infra(gatewayYAML("a", plainHTTP), ownParameters), other)
	if got := w.said("own"); !strings.Contains(got, "accessLog has no effect on port 80, where Gateway/default/b") {
		t.Errorf("the status says %q", got)
	}
	w.apply(infra(other, ownParameters))
	if got := w.said("own"); strings.Contains(got, "no effect") {
		t.Errorf("the status says %q though both ask for it", got)
	}
}

// TestSharedClusters: of Gateways that share clusters all have to ask for what shapes these, and the status says where
// they do not.
func TestSharedClusters(t *testing.T) {
	opts := shared()
	opts.Clusters = func(a model.Attached) bool { return a.Feature == featureOf(model.KindEnvoyProxy, "routingType") }
	other := gatewayYAML("b", strings.Replace(plainHTTP, "port: 80", "port: 81", 1))
	w := newWorld(t, opts, classYAML, envoyProxyYAML("own", "routingType: Service"),
		infra(gatewayYAML("a", plainHTTP), ownParameters), other)
	check := func(what string, effect bool) {
		t.Helper()
		if wide, _ := w.proxyWide.Peek("local"); (len(wide) == 1) != effect {
			t.Errorf("%s: all clusters have %v", what, wide)
		}
		if got := w.said("own"); strings.Contains(got, "routingType has no effect: not all Gateways") == effect {
			t.Errorf("%s: the status says %q", what, got)
		}
	}
	check("one of two", false)
	w.apply(infra(other, ownParameters))
	check("both", true)
}

// TestMetricSinks: sinks need a grant in other namespaces, and none is sent in cleartext what is to go by TLS. What is
// wrong with some is said, and keeps nothing from the others.
func TestMetricSinks(t *testing.T) {
	sink := func(ref string) string {
		return "{type: OpenTelemetry, openTelemetry: {backendRefs: [{" + ref + "}]}}"
	}
	const backend = "group: gateway.envoyproxy.io, kind: Backend, name: "
	w := newWorld(t, observing(fleets()), classWithParameters, serviceYAML, gatewayYAML("gw", plainHTTP),
		envoyProxyYAML("shared", "telemetry: {accessLog: {disable: true}, metrics: {sinks: ["+strings.Join([]string{
			sink("name: svc, port: 80"), sink("name: svc, port: 80, namespace: other"), sink(backend + "plain"),
			sink(backend + "secure"), sink("name: gone, port: 1"),
			"{type: OpenTelemetry, openTelemetry: {host: otel.example, port: 4318}}",
			"{type: OpenTelemetry, openTelemetry: {host: 192.0.2.9, port: 4317}}",
		}, ", ")+"]}}"), `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: plain, namespace: default}
spec: {endpoints: [{ip: {address: 192.0.2.1, port: 4317}}]}
`, `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: secure, namespace: default}
spec: {endpoints: [{ip: {address: 192.0.2.2, port: 4317}}], tls: {insecureSkipVerify: true}}
`)
	var got []string
	for _, s := range w.fleet("default/gw").Sinks {
		got = append(got, fmt.Sprintf("%s %v", s.Backend.Name.Name, s.Endpoints))
	}
	expect(t, "sinks", strings.Join(got, "\n"), "svc []\n []\nplain [{192.0.2.1 4317   false}]\n []\n []"+
		"\notel.example [{otel.example 4318   false}]\n192.0.2.9 [{192.0.2.9 4317   false}]")
	said := w.said("shared")
	for _, want := range []string{
		"Accepted=False/InvalidParameters", "No ReferenceGrant in namespace other", "Service/default/gone does not exist",
		"sinks[3]: Backend/default/secure is to be reached by TLS",
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the status says %q, want %q in it", said, want)
		}
	}
}

package tracing

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestProxyCheck(t *testing.T) {
	const provider = "provider: {type: OpenTelemetry, backendRefs: [{name: otel}]}, "
	tests := []struct{ name, spec, want string }{
		{"fine", provider + "samplingFraction: {numerator: 1, denominator: 3}, tags: {a: '%REQ(x)%'}", ""},
		{"too much", provider + "samplingFraction: {numerator: 101}", "not a part of all requests"},
		{"a tag", provider + "tags: {a: '%NOPE%'}", "knows no command operator"},
		{"a name", provider + "spanName: {client: '100%', server: b}", "begins no command operator"},
		{"a header that is none", provider + "customTags: {a: {type: RequestHeader, requestHeader: {name: 'x y'}}}",
			"Invalid header"},
		{"a tag without a name", provider + "customTags: {'': {type: Literal, literal: {value: a}}}", "A tag has no name"},
		{"a tag without its field", provider + "customTags: {a: {type: Environment}}", "needs the field of that name"},
		{"Zipkin's name", "provider: {type: Zipkin, serviceName: a, backendRefs: [{name: zipkin}]}", "is told the name"},
		{"a header's value", "provider: {type: OpenTelemetry, backendRefs: [{name: otel}], " +
			"openTelemetry: {headers: [{name: x-a, value: '%'}]}}", "percent sign"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var spec egv1a1.ProxyTracing
			if err := yaml.UnmarshalStrict([]byte("{"+tt.spec+"}"), &spec); err != nil {
				t.Fatal(err)
			}
			featuretest.Expect(t, Proxy{}.Check(model.Attached{Spec: &spec}, nil), tt.want)
		})
	}
}

// TestProxySampler: each type is the sampler of OpenTelemetry that has the name.
func TestProxySampler(t *testing.T) {
	const ratio, parents = "trace_id_ratio_based", "parent_based"
	for typ, want := range map[egv1a1.OTelSamplerType]string{
		egv1a1.OTelSamplerTypeAlwaysOn: "always_on", egv1a1.OTelSamplerTypeAlwaysOff: ratio,
		egv1a1.OTelSamplerTypeTraceIDRatio: ratio, egv1a1.OTelSamplerTypeParentBasedAlwaysOn: parents,
		egv1a1.OTelSamplerTypeParentBasedAlwaysOff: parents, egv1a1.OTelSamplerTypeParentBasedTraceIDRatio: parents,
	} {
		got := otelSampler(&egv1a1.OTelSampler{Type: typ}).GetName()
		if got != "envoy.tracers.opentelemetry.samplers."+want {
			t.Errorf("%s is %s, want %s", typ, got, want)
		}
	}
}

package tracing

import (
	"fmt"
	"testing"

	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func of(numerator int32, denominators ...int32) *gwv1.Fraction {
	f := &gwv1.Fraction{Numerator: numerator}
	if len(denominators) > 0 {
		f.Denominator = &denominators[0]
	}
	return f
}

func parents(mode gwxv1a1.ParentBasedSamplingMode, rate *gwv1.Fraction) gwxv1a1.ParentBasedSampling {
	return gwxv1a1.ParentBasedSampling{Mode: mode, SamplingRate: rate}
}

// The gate and the rate behind it together are the rate of new traces; the gate alone is that of sampled parents.
func TestSampling(t *testing.T) {
	const enabled, disabled = gwxv1a1.ParentBasedSamplingModeEnabled, gwxv1a1.ParentBasedSamplingModeDisabled
	tests := []struct {
		spec gwxv1a1.TracingConfig
		want string
	}{
		{gwxv1a1.TracingConfig{}, "gate 100%, parents, then 1000000"},
		{gwxv1a1.TracingConfig{SamplingRate: of(5)}, "gate 100%, parents, then 50000"},
		{gwxv1a1.TracingConfig{SamplingRate: of(1, 3)}, "gate 100%, parents, then 333333"},
		{gwxv1a1.TracingConfig{SamplingRate: of(5), ParentBasedSampling: parents(enabled, of(50))},
			"gate 50%, parents, then 100000"},
		{gwxv1a1.TracingConfig{SamplingRate: of(0), ParentBasedSampling: parents(enabled, of(0))},
			"gate 0%, parents, then 0"},
		{gwxv1a1.TracingConfig{SamplingRate: of(5), ParentBasedSampling: parents(disabled, nil)}, "gate 100%, then 50000"},
	}
	for _, tt := range tests {
		l := &feature.Listener{Manager: &hcmv3.HttpConnectionManager{}}
		collector := featuretest.Service("collector")
		Feature{}.ApplyListener(l, model.Attached{Spec: &tt.spec, Backends: []model.BackendKey{collector}})
		if len(l.Needs) != 1 || l.Needs[0] != collector {
			t.Errorf("the listener needs %v, not the collector", l.Needs)
		}
		if got := describe(t, l.Manager.GetTracing()); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.spec, got, tt.want)
		}
	}
}

func describe(t *testing.T, tracing *hcmv3.HttpConnectionManager_Tracing) string {
	t.Helper()
	config := &tracev3.OpenTelemetryConfig{}
	if err := tracing.GetProvider().GetTypedConfig().UnmarshalTo(config); err != nil {
		t.Fatal(err)
	}
	out := fmt.Sprintf("gate %g%%, ", tracing.GetRandomSampling().GetValue())
	sampler := config.GetSampler().GetTypedConfig()
	if parent := (&samplerv3.ParentBasedSamplerConfig{}); sampler.MessageIs(parent) {
		if err := sampler.UnmarshalTo(parent); err != nil {
			t.Fatal(err)
		}
		out += "parents, "
		sampler = parent.GetWrappedSampler().GetTypedConfig()
	}
	ratio := &samplerv3.TraceIdRatioBasedSamplerConfig{}
	if err := sampler.UnmarshalTo(ratio); err != nil {
		t.Fatal(err)
	}
	return out + fmt.Sprintf("then %d", ratio.GetSamplingPercentage().GetNumerator())
}

// Without a collector there is nobody to tell, and Envoy must not be told to.
func TestWithoutCollector(t *testing.T) {
	l := &feature.Listener{Manager: &hcmv3.HttpConnectionManager{}}
	Feature{}.ApplyListener(l, model.Attached{Spec: &gwxv1a1.TracingConfig{}, Backends: []model.BackendKey{{}}})
	if l.Manager.GetTracing() != nil || len(l.Needs) > 0 {
		t.Errorf("tracing is %v, and needs %v", l.Manager.GetTracing(), l.Needs)
	}
}

func TestCheck(t *testing.T) {
	headers := func(name, value string) gwxv1a1.TracingProvider {
		return gwxv1a1.TracingProvider{Headers: []gwv1.HTTPHeader{{Name: gwv1.HTTPHeaderName(name), Value: value}}}
	}
	attribute := func(source gwxv1a1.AttributeSourceType, header, key string) gwxv1a1.TracingConfig {
		return gwxv1a1.TracingConfig{Attributes: []gwxv1a1.Attribute{{
			SourceType: source, HeaderName: gwv1.HTTPHeaderName(header), AttributeKey: key,
		}}}
	}
	sampled := func(rate, parents *gwv1.Fraction) gwxv1a1.TracingConfig {
		return gwxv1a1.TracingConfig{
			SamplingRate: rate, ParentBasedSampling: gwxv1a1.ParentBasedSampling{Mode: "Enabled", SamplingRate: parents},
		}
	}
	for name, tt := range map[string]struct {
		spec gwxv1a1.TracingConfig
		want string
	}{
		"nothing":           {gwxv1a1.TracingConfig{}, ""},
		"a header":          {gwxv1a1.TracingConfig{Provider: headers("x-token", "Bearer abc")}, ""},
		"no header":         {gwxv1a1.TracingConfig{Provider: headers("x y", "v")}, "Invalid header"},
		"a format":          {gwxv1a1.TracingConfig{Provider: headers("x-token", "%REQ(x)%")}, "percent sign"},
		"a line":            {gwxv1a1.TracingConfig{Provider: headers("x-token", "a\nb")}, "control characters"},
		"more than all":     {sampled(of(101), nil), "not a part of all"},
		"fewer parents":     {sampled(nil, of(50)), "no higher than this"},
		"as many parents":   {sampled(of(5, 10), of(50)), ""},
		"a format as name":  {gwxv1a1.TracingConfig{SpanName: "%REQ(x)%"}, "percent sign"},
		"unknown source":    {attribute("Cookie", "", ""), "not known"},
		"unknown attribute": {attribute("Attribute", "", "db.name"), "not known to Envoy"},
		"known attribute":   {attribute("Attribute", "", "url.path"), ""},
		"pseudo header":     {attribute("Header", ":path", ""), "Invalid header"},
	} {
		t.Run(name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, &model.Rule{}), tt.want)
		})
	}
}

package telemetry

import (
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) { featuretest.Golden[egv1a1.BackendTelemetry](t, Feature{}) }

func TestCheck(t *testing.T) {
	tracing := func(spec egv1a1.Tracing) egv1a1.BackendTelemetry { return egv1a1.BackendTelemetry{Tracing: &spec} }
	custom := func(tag egv1a1.CustomTag) egv1a1.BackendTelemetry {
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		return tracing(egv1a1.Tracing{CustomTags: map[string]egv1a1.CustomTag{"a": tag}})
	}
	stat := func(name string) egv1a1.BackendTelemetry {
		return egv1a1.BackendTelemetry{Metrics: &egv1a1.BackendMetrics{RouteStatName: &name}}
	}
	for _, tt := range []struct {
		spec egv1a1.BackendTelemetry
		want string
	}{
		{egv1a1.BackendTelemetry{}, ""},
		{tracing(egv1a1.Tracing{SamplingFraction: &gwv1.Fraction{Numerator: 101}}), "use 0/100 to 100/100"},
		{tracing(egv1a1.Tracing{OverallSamplingFraction: &gwv1.Fraction{Denominator: new(int32(0))}}), "no part of all"},
		{tracing(egv1a1.Tracing{Tags: map[string]string{"a": "%ENVIRONMENT(HOME)%"}}), "shows too much"},
		{tracing(egv1a1.Tracing{SpanName: &egv1a1.TracingSpanName{Server: "%ENVIRONMENT(HOME)%"}}), "shows too much"},
		{custom(egv1a1.CustomTag{Type: "Literal"}), "needs literal"},
		{custom(egv1a1.CustomTag{Type: "Literal", Literal: &egv1a1.LiteralCustomTag{}}), "The value is empty"},
		{tracing(egv1a1.Tracing{Tags: map[string]string{"": "a"}}), "A tag has no name"},
		{custom(egv1a1.CustomTag{Type: "RequestHeader"}), "needs requestHeader"},
		{custom(egv1a1.CustomTag{
			Type: "RequestHeader", RequestHeader: &egv1a1.RequestHeaderCustomTag{Name: ":path"},
		}), "pseudo header"},
		{custom(egv1a1.CustomTag{
			Type: "Environment", Environment: &egv1a1.EnvironmentCustomTag{Name: "HOME"},
		}), "not shown the environment of the proxy"},
		{custom(egv1a1.CustomTag{Type: "Moon"}), `no type "Moon"`},
		{stat("%ROUTE_NAME%.%ROUTE_RULE_NAME%"), ""},
		{stat("%BACKEND_REFERENCES%"), `no operator "%BACKEND_REFERENCES%"`},
		{stat("half%"), `no operator "%"`},
	} {
		featuretest.Expect(t, Feature{}.Check(model.Attached{Spec: &tt.spec}, nil), tt.want)
	}
}

// TestStatName says what the operators of a name of stats are replaced by: names alone, never what they look like.
func TestStatName(t *testing.T) {
	r := featuretest.NewRoute(&model.Rule{Name: "%ROUTE_KIND%"}, featuretest.PrefixMatch("/"))
	r.Key = model.RouteKey{Kind: "HTTPRoute", Name: model.Name{Namespace: "default", Name: "shop"}}
	const name = "%ROUTE_KIND%/%ROUTE_NAMESPACE%/%ROUTE_NAME%/%ROUTE_RULE_NAME%"
	spec := &egv1a1.BackendTelemetry{Metrics: &egv1a1.BackendMetrics{RouteStatName: new(name)}}
	Feature{}.ApplyRoute(r, model.Attached{Spec: spec})
	if got := r.Proto.GetStatPrefix(); got != "HTTPRoute/default/shop/%ROUTE_KIND%" {
		t.Errorf("the route is counted as %q", got)
	}
}

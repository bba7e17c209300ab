// Package tracing is the field tracing of an XTelemetryPolicy: spans for the requests of a Gateway (Gateway API:
// TracingConfig, GEP-4768).
//
// It is the tracing of the connection manager with the provider envoy.tracers.opentelemetry, which sends spans as OTLP
// over gRPC to the collector's cluster, provider.headers as initial_metadata. Envoy is a hop of its own: each request
// gets a server span and, below it, a client span for what goes to the backend (spawn_upstream_span).
//
// samplingRate, 100 % if it is not set, is the sampler trace_id_ratio_based. By default, and with mode Enabled of
// parentBasedSampling, it is wrapped in the sampler parent_based: requests that bring a traceparent are traced if their
// parent is. With mode Disabled it decides about all requests alike. random_sampling is a gate before the samplers, for
// requests with and without a parent: it is parentBasedSampling.samplingRate, and the rate behind it is set higher by
// as much, so that of new traces samplingRate remains. Clients cannot force a trace (client_sampling is 0).
//
// attributes are custom_tags: a literal, a request header, or one of the attributes of OpenTelemetry that Envoy knows
// the value of. None of what a user wrote becomes a format of Envoy's.
package tracing

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field tracing.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
)

const (
	provider = "envoy.tracers.opentelemetry"
	// serviceName is service.name of the spans' resource if the policy does not say.
	serviceName = "sluice"
	millionths  = 1_000_000
)

// values are the attributes of OpenTelemetry's semantic conventions whose value Envoy can say (its access log formats).
var values = map[string]string{
	"client.address":            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
	"client.port":               "%DOWNSTREAM_REMOTE_PORT%",
	"destination.address":       "%UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
	"destination.port":          "%UPSTREAM_REMOTE_PORT%",
	"http.request.body.size":    "%BYTES_RECEIVED%",
	"http.request.method":       "%REQUEST_HEADER(:METHOD)%",
	"http.response.body.size":   "%BYTES_SENT%",
	"http.response.status_code": "%RESPONSE_CODE%",
	"http.route":                "%ROUTE_NAME%",
	"network.local.address":     "%DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%",
	"network.local.port":        "%DOWNSTREAM_LOCAL_PORT%",
	"network.peer.address":      "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
	"network.protocol.name":     "%PROTOCOL%",
	"server.address":            "%REQUEST_HEADER(:AUTHORITY)%",
	"source.address":            "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
	"source.port":               "%DOWNSTREAM_REMOTE_PORT%",
	"tls.cipher":                "%DOWNSTREAM_TLS_CIPHER%",
	"tls.client.server_name":    "%REQUESTED_SERVER_NAME%",
	"tls.protocol.version":      "%DOWNSTREAM_TLS_VERSION%",
	"url.path":                  "%PATH(NQ)%",
	"url.query":                 "%QUERY_PARAMS%",
	"url.scheme":                "%REQUEST_HEADER(:SCHEME)%",
	"user_agent.original":       "%REQUEST_HEADER(USER-AGENT)%",
}

// Name returns the name of the feature.
func (Feature) Name() string { return "Tracing" }

// Check refuses fractions above one, headers and attributes that are none, and what Envoy cannot do.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwxv1a1.TracingConfig)
	var problems []feature.Problem
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{Reason: "Invalid", Message: fmt.Sprintf(format, args...), Path: path})
	}
	rate := func(path string, f *gwv1.Fraction) {
		if f != nil && (f.Numerator < 0 || denominator(f) < 1 || f.Numerator > denominator(f)) {
			refuse(path, "The rate %d of %d is not a part of all requests: use 0 to %d",
				f.Numerator, denominator(f), denominator(f))
		}
	}
	rate(".samplingRate", spec.SamplingRate)
	rate(".parentBasedSampling.samplingRate", spec.ParentBasedSampling.SamplingRate)
	if len(problems) == 0 && fraction(spec.SamplingRate) > fraction(spec.ParentBasedSampling.SamplingRate) {
		refuse(".parentBasedSampling.samplingRate",
			"Envoy cannot report fewer of the requests with a parent than of new traces: set samplingRate no higher than this")
	}
	for i, h := range spec.Provider.Headers {
		if err := header.CheckMutable(string(h.Name)); err != nil {
			refuse(fmt.Sprintf(".provider.headers[%d].name", i), "Invalid header: %v", err)
		}
		// Envoy reads these values as formats and knows no way to write a percent sign in them.
		if strings.ContainsFunc(h.Value, func(r rune) bool { return r < ' ' || r == 0x7f || r == '%' }) {
			refuse(fmt.Sprintf(".provider.headers[%d].value", i),
				"The value has a percent sign or control characters, which Envoy cannot send: remove them")
		}
	}
	if strings.ContainsRune(spec.SpanName, '%') {
		refuse(".spanName", "The name %q has a percent sign: remove it", spec.SpanName)
	}
	for i := range spec.Attributes {
		path := fmt.Sprintf(".attributes[%d]", i)
		if problem := checkAttribute(&spec.Attributes[i]); problem != "" {
			refuse(path, "%s", problem)
		}
	}
	return problems
}

func checkAttribute(a *gwxv1a1.Attribute) string {
	switch a.SourceType {
	case gwxv1a1.AttributeSourceLiteral:
	case gwxv1a1.AttributeSourceHeader:
		if err := header.CheckName(string(a.HeaderName)); err != nil {
			return fmt.Sprintf("Invalid header: %v", err)
		}
	case gwxv1a1.AttributeSourceAttribute:
		if _, ok := values[a.AttributeKey]; !ok {
			known := make([]string, 0, len(values))
			for key := range values {
				known = append(known, key)
			}
			slices.Sort(known)
			return fmt.Sprintf("The attribute %q is not known to Envoy: use one of %s", a.AttributeKey,
				strings.Join(known, ", "))
		}
	default:
		return fmt.Sprintf("The source %q is not known: use Header, Literal or Attribute", a.SourceType)
	}
	return ""
}

// ApplyListener makes the listener report spans.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	spec := a.Spec.(*gwxv1a1.TracingConfig)
	if l.Manager == nil {
		return // spans are of requests
	}
	if len(a.Backends) == 0 || a.Backends[0] == (model.BackendKey{}) {
		return // nobody to tell, as the policy's status says
	}
	gate := fraction(spec.ParentBasedSampling.SamplingRate)
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:    &typev3.Percent{Value: 0},
		RandomSampling:    &typev3.Percent{Value: 100 * gate},
		SpawnUpstreamSpan: wrapperspb.Bool(true),
		Operation:         spec.SpanName,
	}
	otel := &tracev3.OpenTelemetryConfig{
		GrpcService: collector.GRPC(l.Use(a.Backends[0]), a.Backends[0], spec.Provider.Headers),
		ServiceName: serviceName,
		Sampler:     sampler(spec, gate),
	}
	if spec.ServiceName != "" {
		otel.ServiceName = spec.ServiceName
	}
	out.Provider = &tracev3.Tracing_Http{
		Name: provider, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: feature.Pack(otel)},
	}
	for i := range spec.Attributes {
		out.CustomTags = append(out.CustomTags, tag(&spec.Attributes[i]))
	}
	l.Manager.Tracing = out
}

// sampler decides about the requests that pass the gate.
func sampler(spec *gwxv1a1.TracingConfig, gate float64) *corev3.TypedExtensionConfig {
	rate := 0.0
	if gate > 0 {
		rate = min(1, fraction(spec.SamplingRate)/gate)
	}
	ratio := &corev3.TypedExtensionConfig{
		Name: "envoy.tracers.opentelemetry.samplers.trace_id_ratio_based",
		TypedConfig: feature.Pack(&samplerv3.TraceIdRatioBasedSamplerConfig{SamplingPercentage: &typev3.FractionalPercent{
			Numerator: uint32(math.Round(rate * millionths)), Denominator: typev3.FractionalPercent_MILLION,
		}}),
	}
	if spec.ParentBasedSampling.Mode == gwxv1a1.ParentBasedSamplingModeDisabled {
		return ratio
	}
	return &corev3.TypedExtensionConfig{
		Name:        "envoy.tracers.opentelemetry.samplers.parent_based",
		TypedConfig: feature.Pack(&samplerv3.ParentBasedSamplerConfig{WrappedSampler: ratio}),
	}
}

func tag(a *gwxv1a1.Attribute) *tagv3.CustomTag {
	out := &tagv3.CustomTag{Tag: string(a.Name)}
	switch a.SourceType {
	case gwxv1a1.AttributeSourceHeader:
		out.Type = &tagv3.CustomTag_RequestHeader{RequestHeader: &tagv3.CustomTag_Header{Name: string(a.HeaderName)}}
	case gwxv1a1.AttributeSourceAttribute:
		out.Type = &tagv3.CustomTag_Value{Value: values[a.AttributeKey]}
	default:
		out.Type = &tagv3.CustomTag_Literal_{Literal: &tagv3.CustomTag_Literal{Value: a.LiteralValue}}
	}
	return out
}

// fraction is 1 unless set.
func fraction(f *gwv1.Fraction) float64 {
	if f == nil {
		return 1
	}
	return float64(f.Numerator) / float64(denominator(f))
}

func denominator(f *gwv1.Fraction) int32 {
	if f.Denominator == nil {
		return 100
	}
	return *f.Denominator
}

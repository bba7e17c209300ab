package tracing

import (
	"fmt"
	"maps"
	"math"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tracev3 "github.com/envoyproxy/go-control-plane/envoy/config/trace/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	samplerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/tracers/opentelemetry/samplers/v3"
	tagv3 "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/operator"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Proxy is the feature of the field telemetry.tracing of an EnvoyProxy: spans for the requests of its Gateways, to
// OpenTelemetry (OTLP over gRPC), Zipkin (/api/v2/spans) or Datadog.
//
// samplingRate or samplingFraction is random_sampling, 100 % if neither is set; with an OpenTelemetry sampler that
// decides alone. clientSamplingFraction is client_sampling, 0 if it is not set: clients cannot force a trace.
// overallSamplingFraction is overall_sampling. tags and spanName may have the command operators of access logs:
// whoever writes an EnvoyProxy runs the proxies.
type Proxy struct{}

var (
	_ feature.Checker         = Proxy{}
	_ feature.Referrer        = Proxy{}
	_ feature.ListenerApplier = Proxy{}
)

// zipkinPath is where Zipkin takes spans as JSON.
const zipkinPath = "/api/v2/spans"

// Name returns the name of the field.
func (Proxy) Name() string { return "EnvoyProxy.telemetry.tracing" }

// References returns the collector.
func (Proxy) References(a model.Attached) []resolve.Reference {
	spec := a.Spec.(*egv1a1.ProxyTracing)
	use := model.AppHTTP
	if spec.Provider.Type == egv1a1.TracingProviderTypeOpenTelemetry {
		use = model.AppGRPC
	}
	ref := collector.Reference(&spec.Provider.BackendCluster, address(spec), a.Path+".provider", use)
	if ref == nil {
		return nil
	}
	return []resolve.Reference{*ref}
}

// address is where the collector is without backendRefs.
func address(spec *egv1a1.ProxyTracing) collector.Address {
	//lint:ignore SA1019 deprecated, but part of the API and of objects that people have
	return collector.Address{Host: spec.Provider.Host, Port: spec.Provider.Port}
}

// Check refuses collectors that cannot be reported to, rates above one, and formats that Envoy does not take.
func (Proxy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ProxyTracing)
	var r policy.Refusals
	collector.Check(&r, ".provider", &spec.Provider.BackendCluster, address(spec))
	if otel := spec.Provider.OpenTelemetry; otel != nil {
		collector.CheckHeaders(&r, ".provider.openTelemetry.headers", otel.Headers)
		collector.CheckResource(&r, ".provider.openTelemetry.resourceAttributes", otel.ResourceAttributes)
		if otel.Sampler != nil {
			checkFraction(&r, ".provider.openTelemetry.sampler.samplingPercentage", otel.Sampler.SamplingPercentage)
		}
	}
	if spec.Provider.ServiceName != nil && spec.Provider.Type == egv1a1.TracingProviderTypeZipkin {
		r.Add(".provider.serviceName", "Zipkin is told the name of the Envoy's cluster (--service-cluster): remove it")
	}
	checkFraction(&r, ".samplingFraction", spec.SamplingFraction)
	checkFraction(&r, ".clientSamplingFraction", spec.ClientSamplingFraction)
	checkFraction(&r, ".overallSamplingFraction", spec.OverallSamplingFraction)
	format := func(path, text string) {
		if err := operator.Check(text); err != nil {
			r.Add(path, "Invalid format: %v", err)
		}
	}
	named := func(path, name string) {
		if name == "" {
			r.Add(path, "A tag has no name: give it one")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(spec.Tags)) {
		named(".tags", name)
		format(".tags["+name+"]", spec.Tags[name])
	}
	if spec.SpanName != nil {
		format(".spanName.client", spec.SpanName.Client)
		format(".spanName.server", spec.SpanName.Server)
	}
	//lint:ignore SA1019 deprecated, but part of the API and of objects that people have
	custom := spec.CustomTags
	for _, name := range slices.Sorted(maps.Keys(custom)) {
		named(".customTags", name)
		if problem := checkCustomTag(custom[name]); problem != "" {
			r.Add(".customTags["+name+"]", "%s", problem)
		}
	}
	return r
}

func checkFraction(r *policy.Refusals, path string, f *gwv1.Fraction) {
	if f != nil && (f.Numerator < 0 || denominator(f) < 1 || f.Numerator > denominator(f)) {
		r.Add(path, "The fraction %d of %d is not a part of all requests: use 0 to %d", f.Numerator, denominator(f),
			denominator(f))
	}
}

func checkCustomTag(tag egv1a1.CustomTag) string {
	switch {
	case tag.Type == egv1a1.CustomTagTypeRequestHeader && tag.RequestHeader != nil:
		if err := header.CheckName(tag.RequestHeader.Name); err != nil {
			return fmt.Sprintf("Invalid header: %v", err)
		}
	case tag.Type == egv1a1.CustomTagTypeEnvironment && tag.Environment != nil:
		if tag.Environment.Name == "" {
			return "The variable has no name: give it"
		}
	case tag.Type == egv1a1.CustomTagTypeLiteral && tag.Literal != nil:
		if tag.Literal.Value == "" {
			return "The value is empty: Envoy takes no such tag"
		}
	default:
		return fmt.Sprintf("The type %s needs the field of that name: add it", tag.Type)
	}
	return ""
}

// ApplyListener makes the listener report spans.
func (Proxy) ApplyListener(l *feature.Listener, a model.Attached) {
	spec := a.Spec.(*egv1a1.ProxyTracing)
	if l.Manager == nil || len(a.Backends) == 0 || a.Backends[0] == (model.BackendKey{}) {
		return // nobody to tell, as the status of the EnvoyProxy says
	}
	out := &hcmv3.HttpConnectionManager_Tracing{
		ClientSampling:    percent(spec.ClientSamplingFraction, 0),
		RandomSampling:    percent(spec.SamplingFraction, 1),
		OverallSampling:   percent(spec.OverallSamplingFraction, 1),
		SpawnUpstreamSpan: wrapperspb.Bool(true),
		CustomTags:        proxyTags(spec),
		Provider:          tracer(l, spec, a.Backends[0]),
	}
	if spec.SamplingRate != nil {
		out.RandomSampling = &typev3.Percent{Value: float64(*spec.SamplingRate)}
	}
	if otel := spec.Provider.OpenTelemetry; otel != nil && otel.Sampler != nil {
		out.RandomSampling = &typev3.Percent{Value: 100} // the sampler decides
	}
	if spec.SpanName != nil {
		out.Operation, out.UpstreamOperation = spec.SpanName.Client, spec.SpanName.Server
	}
	l.Manager.Tracing = out
}

// tracer is the provider.
func tracer(l *feature.Listener, spec *egv1a1.ProxyTracing, backend model.BackendKey) *tracev3.Tracing_Http {
	cluster := l.Use(backend)
	service := policy.Or(spec.Provider.ServiceName, l.Name.Source.Name.Name+"."+l.Name.Source.Namespace)
	pack := func(name string, config proto.Message) *tracev3.Tracing_Http {
		return &tracev3.Tracing_Http{
			Name: name, ConfigType: &tracev3.Tracing_Http_TypedConfig{TypedConfig: feature.Pack(config)},
		}
	}
	switch spec.Provider.Type {
	case egv1a1.TracingProviderTypeDatadog:
		return pack("envoy.tracers.datadog", &tracev3.DatadogConfig{
			ServiceName: service, CollectorCluster: cluster, CollectorHostname: backend.Authority(),
		})
	case egv1a1.TracingProviderTypeZipkin:
		config := &tracev3.ZipkinConfig{
			CollectorCluster: cluster, CollectorEndpoint: zipkinPath, CollectorHostname: backend.Authority(),
			CollectorEndpointVersion: tracev3.ZipkinConfig_HTTP_JSON, SharedSpanContext: wrapperspb.Bool(true),
		}
		if z := spec.Provider.Zipkin; z != nil {
			config.TraceId_128Bit = policy.Or(z.Enable128BitTraceID, false)
			config.SharedSpanContext = wrapperspb.Bool(!policy.Or(z.DisableSharedSpanContext, false))
		}
		return pack("envoy.tracers.zipkin", config)
	}
	config := &tracev3.OpenTelemetryConfig{
		GrpcService: collector.GRPC(cluster, backend, nil), ServiceName: service,
	}
	if otel := spec.Provider.OpenTelemetry; otel != nil {
		config.GrpcService = collector.GRPC(cluster, backend, otel.Headers)
		config.ResourceDetectors = collector.Resource(otel.ResourceAttributes)
		config.Sampler = otelSampler(otel.Sampler)
	}
	return pack(provider, config)
}

// otelSampler is the sampler of a type; nil for none.
func otelSampler(spec *egv1a1.OTelSampler) *corev3.TypedExtensionConfig {
	if spec == nil {
		return nil
	}
	extension := func(name string, config proto.Message) *corev3.TypedExtensionConfig {
		return &corev3.TypedExtensionConfig{
			Name: "envoy.tracers.opentelemetry.samplers." + name, TypedConfig: feature.Pack(config),
		}
	}
	ratio := func(share float64) *corev3.TypedExtensionConfig {
		return extension("trace_id_ratio_based", &samplerv3.TraceIdRatioBasedSamplerConfig{
			SamplingPercentage: &typev3.FractionalPercent{
				Numerator: uint32(math.Round(share * millionths)), Denominator: typev3.FractionalPercent_MILLION,
			},
		})
	}
	parents := func(wrapped *corev3.TypedExtensionConfig) *corev3.TypedExtensionConfig {
		return extension("parent_based", &samplerv3.ParentBasedSamplerConfig{WrappedSampler: wrapped})
	}
	always := extension("always_on", &samplerv3.AlwaysOnSamplerConfig{})
	switch spec.Type {
	case egv1a1.OTelSamplerTypeAlwaysOff:
		return ratio(0)
	case egv1a1.OTelSamplerTypeTraceIDRatio:
		return ratio(fraction(spec.SamplingPercentage))
	case egv1a1.OTelSamplerTypeParentBasedAlwaysOn:
		return parents(always)
	case egv1a1.OTelSamplerTypeParentBasedAlwaysOff:
		return parents(ratio(0))
	case egv1a1.OTelSamplerTypeParentBasedTraceIDRatio:
		return parents(ratio(fraction(spec.SamplingPercentage)))
	}
	return always
}

func percent(f *gwv1.Fraction, unset float64) *typev3.Percent {
	if f != nil {
		unset = fraction(f)
	}
	return &typev3.Percent{Value: 100 * unset}
}

// proxyTags returns the tags sorted by name. Of two with one name that of tags is taken.
func proxyTags(spec *egv1a1.ProxyTracing) []*tagv3.CustomTag {
	all := map[string]*tagv3.CustomTag{}
	//lint:ignore SA1019 deprecated, but part of the API and of objects that people have
	for name, from := range spec.CustomTags {
		tag := &tagv3.CustomTag{Tag: name}
		switch from.Type {
		case egv1a1.CustomTagTypeEnvironment:
			tag.Type = &tagv3.CustomTag_Environment_{Environment: &tagv3.CustomTag_Environment{
				Name: from.Environment.Name, DefaultValue: policy.Or(from.Environment.DefaultValue, ""),
			}}
		case egv1a1.CustomTagTypeRequestHeader:
			tag.Type = &tagv3.CustomTag_RequestHeader{RequestHeader: &tagv3.CustomTag_Header{
				Name: from.RequestHeader.Name, DefaultValue: policy.Or(from.RequestHeader.DefaultValue, ""),
			}}
		default:
			tag.Type = &tagv3.CustomTag_Literal_{Literal: &tagv3.CustomTag_Literal{Value: from.Literal.Value}}
		}
		all[name] = tag
	}
	for name, value := range spec.Tags {
		all[name] = &tagv3.CustomTag{Tag: name, Type: &tagv3.CustomTag_Value{Value: value}}
	}
	var out []*tagv3.CustomTag
	for _, name := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[name])
	}
	return out
}

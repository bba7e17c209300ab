package accesslog

import (
	"maps"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	grpcv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	otelv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/open_telemetry/v3"
	queryv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/formatter/req_without_query/v3"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/operator"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// otelLog is the log_name of entries for OpenTelemetry, as Envoy Gateway has it.
const otelLog = "otel_envoy_accesslog"

// podAttributes say which pod an entry comes from, by the environment that Envoys have in pods.
var podAttributes = []struct{ name, value string }{
	{"k8s.namespace.name", "%ENVIRONMENT(ENVOY_POD_NAMESPACE)%"},
	{"k8s.pod.name", "%ENVIRONMENT(ENVOY_POD_NAME)%"},
}

// logger is an access logger of Envoy.
type logger struct {
	name   string
	config *anypb.Any
}

func newLogger(name string, config proto.Message) logger {
	return logger{name: "envoy.access_loggers." + name, config: feature.Pack(config)}
}

// entry is the access logger of a sink. backend is the service that it reports to, if it does.
func (f Feature) entry(l *feature.Logs, s sink, a model.Attached, backend model.BackendKey) logger {
	format := formatOf(s.setting, s.spec.Type)
	switch {
	case s.spec.ALS != nil:
		return service(s.spec.ALS, a.Source.Name.String(), collector.GRPC(l.Use(backend), backend, nil))
	case s.spec.OpenTelemetry != nil:
		grpc := collector.GRPC(l.Use(backend), backend, s.spec.OpenTelemetry.Headers)
		return f.openTelemetry(s.spec.OpenTelemetry, format, grpc)
	}
	return file(s.spec.File.Path, format)
}

func file(path string, f format) logger {
	out := &corev3.SubstitutionFormatString{Formatters: formatters(f)}
	if f.text != "" {
		out.Format = &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: &corev3.DataSource{
			Specifier: &corev3.DataSource_InlineString{InlineString: f.text},
		}}
	} else {
		fields := &structpb.Struct{Fields: map[string]*structpb.Value{}}
		for name, value := range f.fields {
			fields.Fields[name] = structpb.NewStringValue(value)
		}
		out.Format = &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: fields}
	}
	return newLogger("file", &filev3.FileAccessLog{
		Path: path, AccessLogFormat: &filev3.FileAccessLog_LogFormat{LogFormat: out},
	})
}

// formatters are the extensions that a format needs.
func formatters(f format) []*corev3.TypedExtensionConfig {
	if !slices.ContainsFunc(f.texts(), func(text string) bool { return operator.Uses(text, operator.WithoutQuery) }) {
		return nil
	}
	return []*corev3.TypedExtensionConfig{{
		Name: "envoy.formatter.req_without_query", TypedConfig: feature.Pack(&queryv3.ReqWithoutQuery{}),
	}}
}

// service is an access log service, which gets entries as messages rather than formatted.
func service(spec *egv1a1.ALSEnvoyProxyAccessLog, source string, grpc *corev3.GrpcService) logger {
	common := &grpcv3.CommonGrpcAccessLogConfig{
		LogName: policy.Or(spec.LogName, source), GrpcService: grpc, TransportApiVersion: corev3.ApiVersion_V3,
	}
	if spec.Type == egv1a1.ALSEnvoyProxyAccessLogTypeTCP {
		return newLogger("tcp_grpc", &grpcv3.TcpGrpcAccessLogConfig{CommonConfig: common})
	}
	out := &grpcv3.HttpGrpcAccessLogConfig{CommonConfig: common}
	if spec.HTTP != nil {
		out.AdditionalRequestHeadersToLog = spec.HTTP.RequestHeaders
		out.AdditionalResponseHeadersToLog = spec.HTTP.ResponseHeaders
		out.AdditionalResponseTrailersToLog = spec.HTTP.ResponseTrailers
	}
	return newLogger("http_grpc", out)
}

func (f Feature) openTelemetry(
	spec *egv1a1.OpenTelemetryEnvoyProxyAccessLog, format format, grpc *corev3.GrpcService,
) logger {
	out := &otelv3.OpenTelemetryAccessLogConfig{
		LogName: otelLog, GrpcService: grpc, Formatters: formatters(format),
		ResourceAttributes: keyValues(spec.GetResourceAttributes()), Attributes: &commonv1.KeyValueList{},
	}
	if format.text != "" {
		out.Body = text(format.text)
	}
	if f.Pods {
		for _, attribute := range podAttributes {
			out.Attributes.Values = append(out.Attributes.Values, &commonv1.KeyValue{
				Key: attribute.name, Value: text(attribute.value),
			})
		}
	}
	out.Attributes.Values = append(out.Attributes.Values, keyValues(format.fields).GetValues()...)
	return newLogger("open_telemetry", out)
}

// keyValues are the entries of a map, sorted.
func keyValues(m map[string]string) *commonv1.KeyValueList {
	out := &commonv1.KeyValueList{}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out.Values = append(out.Values, &commonv1.KeyValue{Key: name, Value: text(m[name])})
	}
	return out
}

func text(s string) *commonv1.AnyValue {
	return &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: s}}
}

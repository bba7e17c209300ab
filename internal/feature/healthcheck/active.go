package healthcheck

import (
	"cmp"
	"encoding/hex"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	sinkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/health_check/event_sinks/file/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

func applyActive(c *feature.Cluster, spec *egv1a1.ActiveHealthCheck) {
	out := &corev3.HealthCheck{
		Timeout:            length(spec.Timeout, defaultTimeout),
		Interval:           length(spec.Interval, defaultInterval),
		NoTrafficInterval:  length(spec.Interval, defaultInterval),
		InitialJitter:      policy.Duration(spec.InitialJitter),
		UnhealthyThreshold: wrapperspb.UInt32(policy.Or(spec.UnhealthyThreshold, defaultUnhealthy)),
		HealthyThreshold:   wrapperspb.UInt32(policy.Or(spec.HealthyThreshold, defaultHealthy)),
	}
	host := c.Backend.Key.Name.Name + "." + c.Backend.Key.Name.Namespace
	switch spec.Type {
	case egv1a1.ActiveHealthCheckerTypeHTTP:
		out.HealthChecker = &corev3.HealthCheck_HttpHealthCheck_{HttpHealthCheck: httpCheck(c, spec.HTTP, host)}
		if spec.HTTP.Hostname == nil {
			nameEndpoints(c)
		}
	case egv1a1.ActiveHealthCheckerTypeTCP:
		out.HealthChecker = &corev3.HealthCheck_TcpHealthCheck_{TcpHealthCheck: &corev3.HealthCheck_TcpHealthCheck{
			Send: payload(spec.TCP.Send), Receive: payloads(spec.TCP.Receive),
		}}
	case egv1a1.ActiveHealthCheckerTypeGRPC:
		check := &corev3.HealthCheck_GrpcHealthCheck{Authority: host}
		if spec.GRPC != nil {
			check.ServiceName = policy.Or(spec.GRPC.Service, "")
		}
		out.HealthChecker = &corev3.HealthCheck_GrpcHealthCheck_{GrpcHealthCheck: check}
		nameEndpoints(c)
	}
	applyLog(out, spec.HealthCheckLog)
	c.Proto.HealthChecks = []*corev3.HealthCheck{out}
}

func httpCheck(
	c *feature.Cluster, spec *egv1a1.HTTPActiveHealthChecker, host string,
) *corev3.HealthCheck_HttpHealthCheck {
	out := &corev3.HealthCheck_HttpHealthCheck{
		Host:              policy.Or(spec.Hostname, host),
		Path:              spec.Path,
		Method:            method(spec),
		ExpectedStatuses:  ranges(spec.ExpectedStatuses),
		RetriableStatuses: ranges(spec.RetriableStatuses),
		Send:              payload(spec.RequestBody),
		Receive:           payloads(spec.ExpectedResponse),
	}
	if len(out.ExpectedStatuses) == 0 {
		out.ExpectedStatuses = ranges([]egv1a1.HTTPStatus{defaultStatus})
	}
	if c.Backend.Protocol == model.AppH2C || c.Backend.Protocol == model.AppGRPC {
		out.CodecClientType = typev3.CodecClientType_HTTP2
	}
	return out
}

// method returns METHOD_UNSPECIFIED, with which Envoy uses GET, if there is none.
func method(spec *egv1a1.HTTPActiveHealthChecker) corev3.RequestMethod {
	return corev3.RequestMethod(corev3.RequestMethod_value[strings.ToUpper(policy.Or(spec.Method, ""))])
}

// nameEndpoints has endpoints that are names checked by these. Only what is in the cluster itself has names.
func nameEndpoints(c *feature.Cluster) {
	for _, locality := range c.Proto.GetLoadAssignment().GetEndpoints() {
		for _, e := range locality.GetLbEndpoints() {
			if address := e.GetEndpoint().GetAddress().GetSocketAddress(); address != nil {
				e.GetEndpoint().HealthCheckConfig = &endpointv3.Endpoint_HealthCheckConfig{Hostname: address.GetAddress()}
			}
		}
	}
}

// ranges returns the codes as ranges, of which Envoy does not count the end.
func ranges(codes []egv1a1.HTTPStatus) []*typev3.Int64Range {
	codes = slices.Compact(slices.Sorted(slices.Values(codes)))
	var out []*typev3.Int64Range
	for _, code := range codes {
		if last := len(out) - 1; last >= 0 && out[last].End == int64(code) {
			out[last].End++
			continue
		}
		out = append(out, &typev3.Int64Range{Start: int64(code), End: int64(code) + 1})
	}
	return out
}

func payloads(spec *egv1a1.ActiveHealthCheckPayload) []*corev3.HealthCheck_Payload {
	if spec == nil {
		return nil
	}
	return []*corev3.HealthCheck_Payload{payload(spec)}
}

// payload returns the bytes in hexadecimal, as Envoy wants a text.
func payload(spec *egv1a1.ActiveHealthCheckPayload) *corev3.HealthCheck_Payload {
	if spec == nil {
		return nil
	}
	bytes := spec.Binary
	if spec.Type == egv1a1.ActiveHealthCheckPayloadTypeText {
		bytes = []byte(policy.Or(spec.Text, ""))
	}
	return &corev3.HealthCheck_Payload{Payload: &corev3.HealthCheck_Payload_Text{Text: hex.EncodeToString(bytes)}}
}

func applyLog(out *corev3.HealthCheck, spec *egv1a1.ProxyHealthCheckLog) {
	if spec == nil {
		return
	}
	every := func(event egv1a1.ProxyHealthCheckLogEventType) bool {
		return len(spec.Matches) == 0 || slices.Contains(spec.Matches, event)
	}
	out.AlwaysLogHealthCheckFailures = every(egv1a1.ProxyHealthCheckLogEventTypeFailure)
	out.AlwaysLogHealthCheckSuccess = every(egv1a1.ProxyHealthCheckLogEventTypeSuccess)
	path := streams[0]
	if len(spec.Sinks) > 0 {
		path = cmp.Or(spec.Sinks[0].File.Path, path)
	}
	out.EventLogger = []*corev3.TypedExtensionConfig{{
		Name:        "envoy.health_check.event_sinks.file",
		TypedConfig: feature.Pack(&sinkv3.HealthCheckEventFileSink{EventLogPath: path}),
	}}
}

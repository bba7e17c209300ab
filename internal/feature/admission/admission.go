// Package admission is the field admissionControl of a BackendTrafficPolicy: requests to a backend that fails many are
// refused in part, before they are sent.
//
// It is an HTTP filter of the cluster (HttpProtocolOptions.http_filters), envoy.filters.http.admission_control, so it
// counts for the backend whichever routes lead there, and goes on counting when routes change. samplingWindow is
// sampling_window, minSuccessRate sr_threshold, rejectionAggression aggression, minRequestRate rps_threshold and
// maxRejectionPercent max_rejection_probability; what is left out is as Envoy has it: 30s, 95 %, 1, 0 and 80 %.
// successCriteria says which statuses are successes: of HTTP those below 500 by default, of gRPC all but those that
// speak of a failure of the server. A request that is refused is answered with 503.
package admission

import (
	"fmt"
	"slices"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field admissionControl.
type Feature struct{}

var (
	_ feature.Checker        = Feature{}
	_ feature.ClusterApplier = Feature{}
)

// statuses are those of gRPC by their numbers.
var statuses = []egv1a1.GRPCSuccessCode{
	egv1a1.GRPCSuccessCodeOk, egv1a1.GRPCSuccessCodeCancelled, egv1a1.GRPCSuccessCodeUnknown,
	egv1a1.GRPCSuccessCodeInvalidArgument, egv1a1.GRPCSuccessCodeDeadlineExceeded, egv1a1.GRPCSuccessCodeNotFound,
	egv1a1.GRPCSuccessCodeAlreadyExists, egv1a1.GRPCSuccessCodePermissionDenied,
	egv1a1.GRPCSuccessCodeResourceExhausted, egv1a1.GRPCSuccessCodeFailedPrecondition, egv1a1.GRPCSuccessCodeAborted,
	egv1a1.GRPCSuccessCodeOutOfRange, egv1a1.GRPCSuccessCodeUnimplemented, egv1a1.GRPCSuccessCodeInternal,
	egv1a1.GRPCSuccessCodeUnavailable, egv1a1.GRPCSuccessCodeDataLoss, egv1a1.GRPCSuccessCodeUnauthenticated,
}

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.admissionControl" }

// Check refuses what Envoy cannot have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.AdmissionControl)
	var refused policy.Refusals
	if d := refused.Duration(".samplingWindow", spec.SamplingWindow, time.Second); d%time.Second != 0 {
		refused.Add(".samplingWindow", "Envoy counts by whole seconds: use %v, for example", d.Truncate(time.Second))
	}
	if n := spec.MinSuccessRate; n != nil && (*n < 1 || *n > 100) {
		refused.Add(".minSuccessRate", "The rate of %d%% is out of range: use 1 to 100", *n)
	}
	if n := spec.RejectionAggression; n != nil && *n < 1 {
		refused.Add(".rejectionAggression", "The aggression %d is too small: use 1 or more", *n)
	}
	if n := spec.MaxRejectionPercent; n != nil && *n > 100 {
		refused.Add(".maxRejectionPercent", "The share of %d%% is more than all: use 0 to 100", *n)
	}
	if c := spec.SuccessCriteria; c != nil {
		checkCriteria(&refused, c)
	}
	return refused
}

func checkCriteria(refused *policy.Refusals, spec *egv1a1.AdmissionControlSuccessCriteria) {
	const path = ".successCriteria"
	if spec.HTTP != nil {
		for i, code := range spec.HTTP.StatusCodes {
			if code < 100 || code > 599 {
				refused.Add(fmt.Sprintf("%s.http.statusCodes[%d]", path, i),
					"The number %d is not a status code: use 100 to 599", code)
			}
		}
	}
	if spec.GRPC != nil {
		for i, code := range spec.GRPC.StatusCodes {
			if !slices.Contains(statuses, code) {
				refused.Add(fmt.Sprintf("%s.grpc.statusCodes[%d]", path, i), "There is no status %q of gRPC", code)
			}
		}
	}
}

// ApplyCluster has the cluster refuse requests.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	config := filter(a.Spec.(*egv1a1.AdmissionControl))
	policy.ChangeOptions(c, func(o *httpv3.HttpProtocolOptions) {
		if len(o.HttpFilters) == 0 {
			o.HttpFilters = []*hcmv3.HttpFilter{httpFilter("envoy.filters.http.upstream_codec", &codecv3.UpstreamCodec{})}
		}
		// The codec comes last: it sends the request.
		o.HttpFilters = slices.Insert(o.HttpFilters, len(o.HttpFilters)-1, httpFilter("admission_control", config))
	})
}

func httpFilter(name string, config proto.Message) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(config)}}
}

func filter(spec *egv1a1.AdmissionControl) *filterv3.AdmissionControl {
	criteria := &filterv3.AdmissionControl_SuccessCriteria{}
	out := &filterv3.AdmissionControl{
		Enabled:            &corev3.RuntimeFeatureFlag{DefaultValue: wrapperspb.Bool(true)},
		SamplingWindow:     policy.Duration(spec.SamplingWindow),
		EvaluationCriteria: &filterv3.AdmissionControl_SuccessCriteria_{SuccessCriteria: criteria},
	}
	if n := spec.MinSuccessRate; n != nil {
		out.SrThreshold = percent(*n)
	}
	if n := spec.MaxRejectionPercent; n != nil {
		out.MaxRejectionProbability = percent(*n)
	}
	if n := spec.RejectionAggression; n != nil {
		out.Aggression = &corev3.RuntimeDouble{DefaultValue: float64(*n)}
	}
	if n := spec.MinRequestRate; n != nil {
		out.RpsThreshold = &corev3.RuntimeUInt32{DefaultValue: *n}
	}
	success := policy.Or(spec.SuccessCriteria, egv1a1.AdmissionControlSuccessCriteria{})
	if success.HTTP != nil && len(success.HTTP.StatusCodes) > 0 {
		criteria.HttpCriteria = &filterv3.AdmissionControl_SuccessCriteria_HttpCriteria{}
		for _, code := range success.HTTP.StatusCodes {
			criteria.HttpCriteria.HttpSuccessStatus = append(criteria.HttpCriteria.HttpSuccessStatus,
				&typev3.Int32Range{Start: int32(code), End: int32(code) + 1}) //nolint:gosec // checked
		}
	}
	if success.GRPC != nil && len(success.GRPC.StatusCodes) > 0 {
		criteria.GrpcCriteria = &filterv3.AdmissionControl_SuccessCriteria_GrpcCriteria{}
		for _, code := range success.GRPC.StatusCodes {
			criteria.GrpcCriteria.GrpcSuccessStatus = append(criteria.GrpcCriteria.GrpcSuccessStatus,
				uint32(slices.Index(statuses, code))) //nolint:gosec // checked
		}
	}
	return out
}

func percent(n uint32) *corev3.RuntimePercent {
	return &corev3.RuntimePercent{DefaultValue: &typev3.Percent{Value: float64(n)}}
}

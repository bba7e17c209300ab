// Package fault is the field faultInjection of a BackendTrafficPolicy: delays and failures for a share of all requests,
// to see how clients cope.
//
// It is the filter envoy.filters.http.fault: delay.fixedDelay is delay.fixed_delay, abort.httpStatus and
// abort.grpcStatus are abort.http_status and abort.grpc_status. A percentage that is left out is all requests; it is
// kept to a ten-thousandth of a percent. Delay and abort are drawn apart, and a request can have both.
package fault

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field faultInjection.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
)

const (
	// all is the default percentage.
	all = float32(100)
	// The HTTP statuses that Envoy aborts with, and the last status of gRPC.
	lowestStatus, highestStatus, lastGRPCStatus = 200, 599, 16
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.faultInjection" }

// Check refuses what is no share of all requests, and statuses that Envoy cannot abort with. Two policies that are
// merged can have what the schema refuses of one.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.FaultInjection)
	var refused policy.Refusals
	percentage := func(path string, p *float32) {
		if p := policy.Or(p, all); !(p >= 0 && p <= all) {
			refused.Add(path, "The percentage %v is no share of all requests: use 0 to 100", p)
		}
	}
	if d := spec.Delay; d != nil {
		refused.Duration(".delay.fixedDelay", d.FixedDelay, time.Millisecond)
		if d.FixedDelay == nil {
			refused.Add(".delay.fixedDelay", "The delay is missing: say how long requests are held back")
		}
		percentage(".delay.percentage", d.Percentage)
	}
	abort := spec.Abort
	if abort == nil {
		return refused
	}
	percentage(".abort.percentage", abort.Percentage)
	if (abort.HTTPStatus == nil) == (abort.GrpcStatus == nil) {
		refused.Add(".abort", "Requests are aborted with either httpStatus or grpcStatus: write one of them")
	}
	if n := abort.HTTPStatus; n != nil && (*n < lowestStatus || *n > highestStatus) {
		refused.Add(".abort.httpStatus", "The status %d cannot be answered with: use %d to %d", *n, lowestStatus,
			highestStatus)
	}
	if n := abort.GrpcStatus; n != nil && (*n < 0 || *n > lastGRPCStatus) {
		refused.Add(".abort.grpcStatus", "The number %d is no status of gRPC: use 0 to %d", *n, lastGRPCStatus)
	}
	return refused
}

// HTTPFilters adds the filter that delays and aborts.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.FaultInjection)
	out := &filterv3.HTTPFault{}
	if d := spec.Delay; d != nil {
		out.Delay = &commonv3.FaultDelay{
			FaultDelaySecifier: &commonv3.FaultDelay_FixedDelay{FixedDelay: policy.Duration(d.FixedDelay)},
			Percentage:         policy.Share(float64(policy.Or(d.Percentage, all)) / 100),
		}
	}
	if abort := spec.Abort; abort != nil {
		out.Abort = &filterv3.FaultAbort{Percentage: policy.Share(float64(policy.Or(abort.Percentage, all)) / 100)}
		if abort.HTTPStatus != nil {
			out.Abort.ErrorType = &filterv3.FaultAbort_HttpStatus{HttpStatus: policy.Uint32(abort.HTTPStatus).GetValue()}
		} else {
			out.Abort.ErrorType = &filterv3.FaultAbort_GrpcStatus{GrpcStatus: policy.Uint32(abort.GrpcStatus).GetValue()}
		}
	}
	s.Add("fault", out)
}

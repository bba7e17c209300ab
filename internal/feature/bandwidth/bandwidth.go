// Package bandwidth is the field bandwidthLimit of a BackendTrafficPolicy: how many bytes a second requests and
// responses may have.
//
// Each direction is a filter envoy.filters.http.bandwidth_limit: request with enable_mode REQUEST, response with
// RESPONSE. limit is limit_kbps in KiB a second, rounded down; what is less than one is refused. responseTrailers are
// enable_response_trailers, and prefix response_trailer_prefix. Bodies are held back, never refused.
//
// Each Envoy counts for itself. All requests to a match of a route share a limit; each route that a policy of a Gateway
// or listener holds for has a limit of its own.
package bandwidth

import (
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/bandwidth_limit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field bandwidthLimit.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Apart      = Feature{}
)

// kibi is the number of bytes in a KiB.
const kibi = 1024

// seconds are the lengths of the units.
var seconds = map[egv1a1.BandwidthLimitUnit]int64{
	egv1a1.BandwidthLimitUnitSecond: 1, egv1a1.BandwidthLimitUnitMinute: 60, egv1a1.BandwidthLimitUnitHour: 3600,
}

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.bandwidthLimit" }

// Check refuses limits that are less than Envoy can have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.BandwidthLimitSpec)
	var refused policy.Refusals
	check := func(path string, limit egv1a1.BandwidthLimitValue) {
		if seconds[limit.Unit] == 0 {
			refused.Add(path+".unit", "There is no unit %q: use Second, Minute or Hour", limit.Unit)
			return
		}
		if n, ok := limit.Value.AsInt64(); !ok || n/seconds[limit.Unit] < kibi {
			refused.Add(path+".value", "The limit of %s a %s is less than 1 KiB a second: use at least %d", &limit.Value,
				strings.ToLower(string(limit.Unit)), kibi*seconds[limit.Unit])
		}
	}
	if spec.Request == nil && spec.Response == nil {
		refused.Add("", "Nothing is limited: add request or response")
	}
	if spec.Request != nil {
		check(".request.limit", spec.Request.Limit)
	}
	if spec.Response == nil {
		return refused
	}
	check(".response.limit", spec.Response.Limit)
	if t := spec.Response.ResponseTrailers; t != nil && policy.Or(t.Prefix, "") != "" {
		if err := header.CheckName(*t.Prefix); err != nil {
			refused.Add(".response.responseTrailers.prefix", "Invalid prefix: %v", err)
		}
	}
	return refused
}

// IsApart has each route limited by itself.
func (Feature) IsApart() {}

// HTTPFilters adds a filter for each direction.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.BandwidthLimitSpec)
	limited := func(mode filterv3.BandwidthLimit_EnableMode, limit egv1a1.BandwidthLimitValue) *filterv3.BandwidthLimit {
		return &filterv3.BandwidthLimit{
			StatPrefix: "policy", EnableMode: mode,
			LimitKbps: wrapperspb.UInt64(uint64(limit.Value.Value() / seconds[limit.Unit] / kibi)), //nolint:gosec // checked
		}
	}
	if spec.Request != nil {
		s.Add("bandwidth_limit/request", limited(filterv3.BandwidthLimit_REQUEST, spec.Request.Limit))
	}
	if spec.Response != nil {
		config := limited(filterv3.BandwidthLimit_RESPONSE, spec.Response.Limit)
		if t := spec.Response.ResponseTrailers; t != nil {
			config.EnableResponseTrailers = true
			config.ResponseTrailerPrefix = policy.Or(t.Prefix, "")
		}
		s.Add("bandwidth_limit/response", config)
	}
}

// Package buffer is the field requestBuffer of a BackendTrafficPolicy: a backend gets a request only when the whole of
// it is there.
//
// It is the filter envoy.filters.http.buffer: limit is max_request_bytes, and a request with a longer body is answered
// with 413. A request that is upgraded has no end to wait for, so the route does not allow websocket (upgrade_configs
// of the RouteAction); see also the field httpUpgrade.
package buffer

import (
	"math"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/buffer/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field requestBuffer.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
	_ feature.FilterUser   = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.requestBuffer" }

// Check refuses limits that Envoy cannot have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	refused.Bytes(".limit", &a.Spec.(*egv1a1.RequestBuffer).Limit, 1, math.MaxUint32)
	return refused
}

// ApplyRoute switches upgrades off, which the connection manager allows.
func (Feature) ApplyRoute(r *feature.Route, _ model.Attached) {
	if action := r.Action(); action != nil {
		action.UpgradeConfigs = []*routev3.RouteAction_UpgradeConfig{{
			UpgradeType: "websocket", Enabled: wrapperspb.Bool(false),
		}}
	}
}

// HTTPFilters adds the filter that waits.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	s.Add("buffer", &filterv3.Buffer{MaxRequestBytes: policy.Bytes(&a.Spec.(*egv1a1.RequestBuffer).Limit)})
}

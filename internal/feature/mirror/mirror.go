// Package mirror is the filter RequestMirror: send a copy of requests to another backend and ignore its answer (Gateway
// API: HTTPRequestMirrorFilter).
//
// It becomes an entry of request_mirror_policies of the RouteAction; percent and fraction become runtime_fraction.
// Envoy would append "-shadow" to the copy's host, so that a backend that looks at the host would answer 404:
// disable_shadow_host_suffix_append keeps it as it is. A backend that does not resolve is left out, as the
// specification asks; the resolver has said so in the route's ResolvedRefs condition.
package mirror

import (
	"fmt"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter RequestMirror.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

// all is the share of all requests, in millionths: Envoy's finest denominator.
const all = 1_000_000

// Name returns the filter's type.
func (Feature) Name() string { return string(gwv1.HTTPRouteFilterRequestMirror) }

// Check refuses shares that are not between nothing and everything.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.HTTPRequestMirrorFilter)
	problem := func(path, format string, args ...any) []feature.Problem {
		return []feature.Problem{{Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path}}
	}
	switch {
	case spec.Percent != nil && spec.Fraction != nil:
		return problem("", "Both percent and fraction are set: keep one of them")
	case spec.Percent != nil && (*spec.Percent < 0 || *spec.Percent > 100):
		return problem(".percent", "The percentage %d is not between 0 and 100: change it", *spec.Percent)
	case spec.Fraction == nil:
		return nil
	}
	numerator, denominator := fraction(spec.Fraction)
	if denominator <= 0 || numerator < 0 || numerator > denominator {
		return problem(".fraction", "The fraction %d/%d is not between 0 and 1: change it", numerator, denominator)
	}
	return nil
}

// ApplyRoute adds a mirror to the route.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	share := millionths(a.Spec.(*gwv1.HTTPRequestMirrorFilter))
	invalid := len(a.Backends) == 0 || a.Backends[0] == (model.BackendKey{})
	action := r.Action()
	if action == nil || invalid || share == 0 {
		return
	}
	policy := &routev3.RouteAction_RequestMirrorPolicy{
		Cluster:                       r.Use(a.Backends[0]),
		DisableShadowHostSuffixAppend: true,
	}
	if share < all {
		policy.RuntimeFraction = &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
			Numerator: share, Denominator: typev3.FractionalPercent_MILLION,
		}}
	}
	action.RequestMirrorPolicies = append(action.RequestMirrorPolicies, policy)
}

func millionths(spec *gwv1.HTTPRequestMirrorFilter) uint32 {
	numerator, denominator := int64(1), int64(1)
	switch {
	case spec.Percent != nil:
		numerator, denominator = int64(*spec.Percent), 100
	case spec.Fraction != nil:
		numerator, denominator = fraction(spec.Fraction)
	}
	if numerator == 0 {
		return 0
	}
	// Rounded to the nearest, but what a user asked for never becomes nothing.
	return uint32(max(1, (numerator*all+denominator/2)/denominator)) //nolint:gosec // at most all
}

// fraction returns the numerator and the denominator, which is 100 unless given.
func fraction(f *gwv1.Fraction) (int64, int64) {
	if f.Denominator == nil {
		return int64(f.Numerator), 100
	}
	return int64(f.Numerator), int64(*f.Denominator)
}

// Package csrf is SecurityPolicy.csrf: refuse requests that change something if a page of another site sends them in
// the name of its visitors.
//
// It is Envoy's csrf. A request with POST, PUT, DELETE or PATCH needs an Origin (or a Referer) with the host and port
// that it is for, or those of one of additionalOrigins (additional_origins); else it gets 403. The scheme is not looked
// at. shadowFraction is the part of requests that are let in whatever they say and only counted (shadow_enabled); all
// others are what filter_enabled is for.
package csrf

import (
	"fmt"
	"math"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	csrfv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/csrf/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/origin"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of SecurityPolicy.csrf.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
)

const filter = "envoy.filters.http.csrf"

// million is the denominator of Envoy's finest fractions.
const million = 1_000_000

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".csrf" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// Check refuses what is not an origin, and fractions of more than everything.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.CSRF)
	var refused policy.Refusals
	for i, o := range spec.AdditionalOrigins {
		if _, ok := origin.Parse(string(o)); o != origin.Any && !ok {
			refused.Add(fmt.Sprintf(".additionalOrigins[%d]", i), "The origin %q is none: write a scheme like https://, a "+
				"host, which can be * or start with *., and a port if it is not the scheme's own", o)
		}
	}
	if f := spec.ShadowFraction; f != nil {
		if of := policy.Or(f.Denominator, 100); of < 1 || f.Numerator < 0 || f.Numerator > of {
			refused.Add(".shadowFraction", "The fraction %d of %d is not between nothing and everything", f.Numerator, of)
		}
	}
	return refused
}

// HTTPFilters adds the filter.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.CSRF)
	shadow := millionths(spec.ShadowFraction)
	config := &csrfv3.CsrfPolicy{FilterEnabled: fraction(million - shadow)}
	if shadow > 0 {
		config.ShadowEnabled = fraction(million) // of the requests that the filter is not enabled for
	}
	for _, o := range spec.AdditionalOrigins {
		if o == origin.Any {
			config.AdditionalOrigins = append(config.AdditionalOrigins, &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".+"}},
			})
			continue
		}
		parsed, _ := origin.Parse(string(o)) // refused by Check
		config.AdditionalOrigins = append(config.AdditionalOrigins, parsed.MatchHost())
	}
	s.Add(filter, config)
}

// millionths returns a fraction, to the nearest millionth.
func millionths(f *gwv1.Fraction) uint32 {
	if f == nil {
		return 0
	}
	return uint32(math.Round(float64(f.Numerator) * million / float64(policy.Or(f.Denominator, 100))))
}

func fraction(millionths uint32) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
		Numerator: millionths, Denominator: typev3.FractionalPercent_MILLION,
	}}
}

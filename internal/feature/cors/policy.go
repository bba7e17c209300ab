package cors

import (
	"fmt"
	"strconv"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/origin"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Policy is the feature of SecurityPolicy.cors.
//
// Its fields become those of the CorsPolicy of the same names. What is left out is not said to browsers. Origins can
// have any scheme. That responses say Vary: Origin is the work of a header_mutation filter, since the policy of a
// Gateway changes no route.
type Policy struct{}

var (
	_ feature.Checker    = Policy{}
	_ feature.FilterUser = Policy{}
	_ feature.Matcher    = Policy{}
)

// varyFilter says that responses depend on the origin that asks.
const varyFilter = filter + "/vary"

// Name returns the field's name.
func (Policy) Name() string { return model.KindSecurityPolicy + ".cors" }

// Matches adds the preflight of the requests that m takes, as the filter of a rule does.
func (Policy) Matches(a model.Attached, rule *model.Rule, m model.Match) []model.Match {
	return Feature{}.Matches(a, rule, m)
}

// Check refuses what is not an origin, a method or a header name.
func (Policy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.CORS)
	var refused policy.Refusals
	for i, o := range spec.AllowOrigins {
		if _, ok := origin.Parse(string(o)); o != wildcard && !ok {
			refused.Add(fmt.Sprintf(".allowOrigins[%d]", i), "The origin %q is none: write a scheme like https://, a host, "+
				"which can be * or start with *., and a port if it is not the scheme's own", o)
		}
	}
	names := func(path, what string, list []string) {
		for i, name := range list {
			if header.CheckName(name) != nil {
				refused.Add(fmt.Sprintf("%s[%d]", path, i), "The %s %q is none: name one in each entry, or *", what, name)
			}
		}
	}
	names(".allowMethods", "method", spec.AllowMethods)
	names(".allowHeaders", "header", spec.AllowHeaders)
	names(".exposeHeaders", "header", spec.ExposeHeaders)
	refused.Duration(".maxAge", spec.MaxAge, 0)
	return refused
}

// HTTPFilters gives the filter its policy, unless the rule has one.
func (Policy) HTTPFilters(s *feature.Scope, a model.Attached) {
	for _, other := range s.Attached {
		if other.Feature == (Feature{}).Name() {
			return
		}
	}
	spec := a.Spec.(*egv1a1.CORS)
	credentials := policy.Or(spec.AllowCredentials, false)
	out := &corsv3.CorsPolicy{
		AllowMethods:                 join(spec.AllowMethods),
		AllowHeaders:                 join(spec.AllowHeaders),
		ExposeHeaders:                exposed(spec.ExposeHeaders, credentials),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	for _, o := range spec.AllowOrigins {
		out.AllowOriginStringMatch = append(out.AllowOriginStringMatch, matchOrigin(string(o)))
	}
	if spec.MaxAge != nil {
		out.MaxAge = strconv.Itoa(int(duration.MustParse(*spec.MaxAge).Seconds()))
	}
	if credentials {
		out.AllowCredentials = wrapperspb.Bool(true)
	}
	s.Set(filter, out)
	s.Add(varyFilter, &headerv3.HeaderMutation{Mutations: &headerv3.Mutations{
		ResponseMutations: []*mutationv3.HeaderMutation{{
			Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
				Header:       &corev3.HeaderValue{Key: "vary", Value: "Origin"},
				AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
			}},
		}},
	}})
}

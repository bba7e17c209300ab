// Package cors is the filter CORS (Gateway API: HTTPCORSFilter, GEP-1767) and SecurityPolicy.cors: say which pages of
// other origins may read a route's responses. What a rule says replaces what a policy says; what is particular to the
// policy is told at [Policy].
//
// The HTTP filter envoy.filters.http.cors is on every listener, since Envoy reads its CorsPolicy from the route itself.
// Where a match asks for a method or headers, a preflight would not be matched: one that does is added. The filter
// answers preflight requests itself, with 200. One from an origin that is not allowed gets no CORS headers
// (forward_not_matching_preflights false), other requests from there are served without them.
//
// Envoy always answers with the request's Origin, never with "*", so responses say Vary: Origin. It answers a "*" among
// the methods or headers with what the preflight asks for, with and without credentials; both is what the
// specification demands. Only exposeHeaders it would answer with "*", which browsers take literally for requests with
// credentials, so it is left out there.
package cors

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/origin"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter CORS.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
	_ feature.FilterUser   = Feature{}
	_ feature.Stander      = Feature{}
	_ feature.Matcher      = Feature{}
)

const (
	filter   = "envoy.filters.http.cors"
	wildcard = origin.Any
	// defaultMaxAge is how many seconds a preflight's answer may be cached when maxAge is not set.
	defaultMaxAge = 5
)

// Name returns the filter's type.
func (Feature) Name() string { return string(gwv1.HTTPRouteFilterCORS) }

// Standing returns the filter, which does nothing but for routes with a policy.
func (Feature) Standing() []feature.HTTPFilter {
	return []feature.HTTPFilter{{Name: filter, Config: &corsv3.Cors{}}}
}

// Matches adds the preflight of the requests that m takes: it has their path and query, but another method, and it
// only names their headers.
func (Feature) Matches(_ model.Attached, rule *model.Rule, m model.Match) []model.Match {
	if rule.GRPC {
		m.Method = string(gwv1.HTTPMethodPost) // every call is one, and no preflight has the content type of a call
	}
	if m.Method == "" && len(m.Headers) == 0 || len(m.Cookies) > 0 {
		return nil // takes the preflight itself; or nothing tells that one is for the rule, since it has no cookies
	}
	asked := model.NamedMatch{
		Name: "access-control-request-method", ValueMatch: model.ValueMatch{Type: model.Regex, Value: ".+"},
	}
	if m.Method != "" {
		asked.ValueMatch = model.ValueMatch{Type: model.Exact, Value: m.Method}
	}
	return []model.Match{{
		Path: m.Path, Query: m.Query, Method: string(gwv1.HTTPMethodOptions), Headers: []model.NamedMatch{asked},
	}}
}

// Check refuses what is not an origin, a method or a header name.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.HTTPCORSFilter)
	var problems []feature.Problem
	refuse := func(path string, i int, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: fmt.Sprintf("%s[%d]", path, i),
		})
	}
	for i, o := range spec.AllowOrigins {
		if parsed, ok := origin.Parse(string(o)); o != wildcard && (!ok || !parsed.Web()) {
			refuse(".allowOrigins", i, "The origin %q is none: write http:// or https://, a host, which can be * or start "+
				"with *., and a port if it is not the scheme's own", o)
		}
	}
	for i, m := range spec.AllowMethods {
		if header.CheckName(string(m)) != nil {
			refuse(".allowMethods", i, "The method %q is none: use one like GET, or *", m)
		}
	}
	headers := func(path string, names []gwv1.HTTPHeaderName) {
		for i, name := range names {
			if err := header.CheckName(string(name)); err != nil {
				refuse(path, i, "Invalid header: %v", err)
			}
		}
	}
	headers(".allowHeaders", spec.AllowHeaders)
	headers(".exposeHeaders", spec.ExposeHeaders)
	return problems
}

// HTTPFilters gives the filter its policy.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPCORSFilter)
	credentials := spec.AllowCredentials != nil && *spec.AllowCredentials
	policy := &corsv3.CorsPolicy{
		AllowMethods:                 join(spec.AllowMethods),
		AllowHeaders:                 join(spec.AllowHeaders),
		ExposeHeaders:                exposed(spec.ExposeHeaders, credentials),
		MaxAge:                       strconv.Itoa(defaultMaxAge),
		ForwardNotMatchingPreflights: wrapperspb.Bool(false),
	}
	for _, o := range spec.AllowOrigins {
		policy.AllowOriginStringMatch = append(policy.AllowOriginStringMatch, matchOrigin(string(o)))
	}
	if spec.MaxAge > 0 {
		policy.MaxAge = strconv.Itoa(int(spec.MaxAge))
	}
	if credentials {
		policy.AllowCredentials = wrapperspb.Bool(true)
	}
	s.Set(filter, policy)
}

// ApplyRoute says that responses depend on the origin that asks.
func (Feature) ApplyRoute(r *feature.Route, _ model.Attached) {
	r.Proto.ResponseHeadersToAdd = append(r.Proto.ResponseHeadersToAdd, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: "vary", Value: "Origin"},
		AppendAction: corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
	})
}

// matchOrigin returns the matcher of one allowed origin.
func matchOrigin(allowed string) *matcherv3.StringMatcher {
	if allowed == wildcard {
		return origin.MatchAny()
	}
	parsed, _ := origin.Parse(allowed) // refused by Check
	return parsed.Match()
}

// exposed is the value of access-control-expose-headers.
func exposed[S ~string](names []S, credentials bool) string {
	var out []S
	for _, name := range names {
		if name != wildcard || !credentials {
			out = append(out, name)
		}
	}
	return join(out)
}

// join writes a list as Envoy takes it, which knows a wildcard only alone.
func join[S ~string](values []S) string {
	if slices.Contains(values, wildcard) {
		return wildcard
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return strings.Join(out, ", ")
}

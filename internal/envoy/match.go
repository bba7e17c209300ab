package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluice-gateway/sluice/internal/model"
)

// routeMatch is the Envoy form of a match. Prefixes match whole path elements (path_separated_prefix); regular
// expressions match the whole path, as Envoy Gateway has them.
func routeMatch(m model.Match, grpc bool) *routev3.RouteMatch {
	out := &routev3.RouteMatch{}
	switch {
	case m.Path.Type == model.Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Path.Value}
	case m.Path.Type == model.Connect:
		out.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
	case m.Path.Type == model.Regex:
		out.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: regex(m.Path.Value)}
	case m.Path.Value == "/" || m.Path.Value == "":
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: "/"}
	default:
		out.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: m.Path.Value}
	}
	if m.Method != "" {
		out.Headers = append(out.Headers, headerMatch(":method", model.ValueMatch{Value: m.Method}))
	}
	for _, h := range m.Headers {
		out.Headers = append(out.Headers, headerMatch(h.Name, h.ValueMatch))
	}
	for _, q := range m.Query {
		out.QueryParameters = append(out.QueryParameters, &routev3.QueryParameterMatcher{
			Name: q.Name,
			QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{
				StringMatch: stringMatch(q.ValueMatch),
			},
		})
	}
	for _, c := range m.Cookies {
		out.Cookies = append(out.Cookies, &routev3.CookieMatcher{Name: c.Name, StringMatch: stringMatch(c.ValueMatch)})
	}
	if grpc && m.Method == "" { // with a method it is the preflight of a call
		out.Headers = append(out.Headers, contentOfCalls)
	}
	return out
}

// contentOfCalls takes what gRPC and gRPC-Web send. RouteMatch.grpc would take gRPC alone.
var contentOfCalls = &routev3.HeaderMatcher{
	Name: "content-type",
	HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "application/grpc"},
	}},
}

func headerMatch(name string, v model.ValueMatch) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name:                 name,
		HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(v)},
	}
}

func stringMatch(v model.ValueMatch) *matcherv3.StringMatcher {
	if v.Type == model.Regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: regex(v.Value)}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: v.Value}}
}

func regex(expr string) *matcherv3.RegexMatcher { return &matcherv3.RegexMatcher{Regex: expr} }

// fractionUnits is the resolution of a traffic share: Envoy's finest.
const fractionUnits = 1_000_000

// fraction limits a match to a share of the requests, in millionths. Envoy draws one random number per request and
// uses it for every route that it tries, so cumulative fractions split the traffic exactly.
func fraction(millionths uint32) *corev3.RuntimeFractionalPercent {
	return &corev3.RuntimeFractionalPercent{DefaultValue: &typev3.FractionalPercent{
		Numerator: millionths, Denominator: typev3.FractionalPercent_MILLION,
	}}
}

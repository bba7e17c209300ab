package authorization

import (
	"regexp"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature/predicate"
)

// jwtNamespace is where jwt_authn writes the tokens that it verified, each under the name of its provider.
const jwtNamespace = "envoy.filters.http.jwt_authn"

func requestHeader(name string) proto.Message {
	return &matcherv3.HttpRequestHeaderMatchInput{HeaderName: strings.ToLower(name)}
}

// headerValue holds if the header has one of the values.
func headerValue(name string, values []string, ignoreCase bool) *predicate.Predicate {
	var out []*predicate.Predicate
	for _, value := range values {
		out = append(out, predicate.Text("header", requestHeader(name), &xdsmatcherv3.StringMatcher{
			MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: value}, IgnoreCase: ignoreCase,
		}))
	}
	return predicate.Any(out)
}

// headerAmong holds if one of the values is among those of the header, which Envoy joins with commas.
func headerAmong(name string, values []string) *predicate.Predicate {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = regexp.QuoteMeta(value)
	}
	return predicate.Text("header", requestHeader(name),
		predicate.Matching(`(?:.*,)?[ \t]*(?:`+strings.Join(quoted, "|")+`)[ \t]*(?:,.*)?`))
}

// addresses holds if the client's address is in one of the ranges.
func addresses(list []egv1a1.CIDR) *predicate.Predicate {
	out := &ipv3.Ip{StatPrefix: "client"}
	prefixes, _ := ranges(list) // refused by Check
	for _, prefix := range prefixes {
		out.CidrRanges = append(out.CidrRanges, &corev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())), //nolint:gosec // at most 128
		})
	}
	return predicate.Custom("client", &networkv3.SourceIPInput{}, out)
}

// claim holds if a claim of the provider's token, whose name is a path with dots, is what is wanted.
func claim(provider, name string, want *matcherv3.ValueMatcher) *predicate.Predicate {
	input := &networkv3.DynamicMetadataInput{Filter: jwtNamespace}
	for _, key := range append([]string{provider}, strings.Split(name, ".")...) {
		input.Path = append(input.Path, &networkv3.DynamicMetadataInput_PathSegment{
			Segment: &networkv3.DynamicMetadataInput_PathSegment_Key{Key: key},
		})
	}
	return predicate.Custom("claim", input, &metadatav3.Metadata{Value: want})
}

// exactly is a text.
func exactly(value string) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
		StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}},
	}}
}

// inList is a list with a text in it.
func inList(value string) *matcherv3.ValueMatcher {
	return &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_ListMatch{
		ListMatch: &matcherv3.ListMatcher{MatchPattern: &matcherv3.ListMatcher_OneOf{OneOf: exactly(value)}},
	}}
}

package authorization

import (
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	networkv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	ipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/ip/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// predicate is something that a request is or is not.
type predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// jwtNamespace is where jwt_authn writes the tokens that it verified, each under the name of its provider.
const jwtNamespace = "envoy.filters.http.jwt_authn"

// allOf holds if all of a list do. Envoy takes no list of one.
func allOf(list []*predicate) *predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// anyOf holds if one of a list does.
func anyOf(list []*predicate) *predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

func single(name string, input proto.Message, want *xdsmatcherv3.StringMatcher) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   extension(name, input),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: want},
		},
	}}
}

func custom(name string, input, want proto.Message) *predicate {
	return &predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input: extension(name, input),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_CustomMatch{
				CustomMatch: extension(name, want),
			},
		},
	}}
}

func extension(name string, m proto.Message) *xdscorev3.TypedExtensionConfig {
	return &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: feature.Pack(m)}
}

func requestHeader(name string) proto.Message {
	return &matcherv3.HttpRequestHeaderMatchInput{HeaderName: strings.ToLower(name)}
}

// matching matches the whole of a text.
func matching(regex string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{
		SafeRegex: &xdsmatcherv3.RegexMatcher{
			Regex:      regex,
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
		},
	}}
}

// headerValue holds if the header has one of the values.
func headerValue(name string, values []string, ignoreCase bool) *predicate {
	var out []*predicate
	for _, value := range values {
		out = append(out, single("header", requestHeader(name), &xdsmatcherv3.StringMatcher{
			MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: value}, IgnoreCase: ignoreCase,
		}))
	}
	return anyOf(out)
}

// headerAmong holds if one of the values is among those of the header, which Envoy joins with commas.
func headerAmong(name string, values []string) *predicate {
	quoted := make([]string, len(values))
	for i, value := range values {
		quoted[i] = regexp.QuoteMeta(value)
	}
	return single("header", requestHeader(name), matching(`(?:.*,)?[ \t]*(?:`+strings.Join(quoted, "|")+`)[ \t]*(?:,.*)?`))
}

// addresses holds if the client's address is in one of the ranges.
func addresses(list []egv1a1.CIDR) *predicate {
	out := &ipv3.Ip{StatPrefix: "client"}
	prefixes, _ := ranges(list) // refused by Check
	for _, prefix := range prefixes {
		out.CidrRanges = append(out.CidrRanges, &corev3.CidrRange{
			AddressPrefix: prefix.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(prefix.Bits())), //nolint:gosec // at most 128
		})
	}
	return custom("client", &networkv3.SourceIPInput{}, out)
}

// claim holds if a claim of the provider's token, whose name is a path with dots, is what is wanted.
func claim(provider, name string, want *matcherv3.ValueMatcher) *predicate {
	input := &networkv3.DynamicMetadataInput{Filter: jwtNamespace}
	for _, key := range append([]string{provider}, strings.Split(name, ".")...) {
		input.Path = append(input.Path, &networkv3.DynamicMetadataInput_PathSegment{
			Segment: &networkv3.DynamicMetadataInput_PathSegment_Key{Key: key},
		})
	}
	return custom("claim", input, &metadatav3.Metadata{Value: want})
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

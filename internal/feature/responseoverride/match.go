package responseoverride

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/feature/predicate"
)

// condition is what has to be true of a response: its status is one of those, all headers match, and it comes from the
// source.
func condition(o *egv1a1.ResponseOverride) *predicate.Predicate {
	var all []*predicate.Predicate
	if len(o.Match.StatusCodes) > 0 {
		all = append(all, single(&matcherv3.HttpResponseStatusCodeMatchInput{}, statusMatcher(o.Match.StatusCodes)))
	}
	for _, h := range o.Match.ResponseHeaders {
		input := &matcherv3.HttpResponseHeaderMatchInput{HeaderName: strings.ToLower(string(h.Name))}
		all = append(all, single(input, stringMatcher(h.Value)))
	}
	switch policy.Or(o.Source, egv1a1.ResponseOverrideSourceAll) {
	case egv1a1.ResponseOverrideSourceLocal:
		all = append(all, single(&matcherv3.HttpResponseLocalReplyMatchInput{}, predicate.Exactly("true")))
	case egv1a1.ResponseOverrideSourceBackend:
		all = append(all, single(&matcherv3.HttpResponseLocalReplyMatchInput{}, predicate.Exactly("false")))
	case egv1a1.ResponseOverrideSourceAll:
	}
	return predicate.All(all)
}

// single compares one thing about the response.
func single(input proto.Message, with *xdsmatcherv3.StringMatcher) *predicate.Predicate {
	return predicate.Text(string(input.ProtoReflect().Descriptor().Name()), input, with)
}

func stringMatcher(spec egv1a1.StringMatch) *xdsmatcherv3.StringMatcher {
	switch policy.Or(spec.Type, egv1a1.StringMatchExact) {
	case egv1a1.StringMatchPrefix:
		return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Prefix{Prefix: spec.Value}}
	case egv1a1.StringMatchSuffix:
		return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Suffix{Suffix: spec.Value}}
	case egv1a1.StringMatchRegularExpression:
		return predicate.Matching(spec.Value)
	case egv1a1.StringMatchExact:
	}
	return predicate.Exactly(spec.Value)
}

// statusMatcher compares the status with all codes and ranges at once. Envoy compares it as text.
func statusMatcher(spec []egv1a1.StatusCodeMatch) *xdsmatcherv3.StringMatcher {
	var codes []int
	for _, s := range spec {
		first, last := span(s)
		for code := first; code <= last; code++ {
			codes = append(codes, code)
		}
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	if len(codes) == 1 {
		return predicate.Exactly(strconv.Itoa(codes[0]))
	}
	return predicate.Matching(expression(codes))
}

// span returns the first and the last status of a match.
func span(s egv1a1.StatusCodeMatch) (first, last int) {
	if policy.Or(s.Type, egv1a1.StatusCodeValueTypeValue) == egv1a1.StatusCodeValueTypeRange {
		return s.Range.Start, s.Range.End
	}
	return *s.Value, *s.Value
}

// expression matches the sorted codes: those with the same first two digits by a class for the third.
func expression(codes []int) string {
	var parts []string
	for i := 0; i < len(codes); {
		tens, digits := codes[i]/10, ""
		for ; i < len(codes) && codes[i]/10 == tens; i++ {
			digits += strconv.Itoa(codes[i] % 10)
		}
		parts = append(parts, fmt.Sprintf("%d[%s]", tens, digits))
	}
	return strings.Join(parts, "|")
}

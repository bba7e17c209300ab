// Package predicate makes conditions of Envoy's matchers (xds.type.matcher.v3.Matcher), for the features that decide by
// several at once.
package predicate

import (
	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// Predicate is something that a request or a response is or is not.
type Predicate = xdsmatcherv3.Matcher_MatcherList_Predicate

// All holds if all of a list do. Envoy takes no list of one.
func All(list []*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// Any holds if one of a list does.
func Any(list []*Predicate) *Predicate {
	if len(list) == 1 {
		return list[0]
	}
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_PredicateList{Predicate: list},
	}}
}

// Not holds if another does not.
func Not(p *Predicate) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

// Text holds if an input, an extension that goes by a name, is a text as wanted.
func Text(name string, input proto.Message, want *xdsmatcherv3.StringMatcher) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   extension(name, input),
			Matcher: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: want},
		},
	}}
}

// Custom holds if an input is as another extension wants it.
func Custom(name string, input, want proto.Message) *Predicate {
	return &Predicate{MatchType: &xdsmatcherv3.Matcher_MatcherList_Predicate_SinglePredicate_{
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

// Exactly is a text.
func Exactly(text string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_Exact{Exact: text}}
}

// Matching is a text of which a regular expression matches the whole.
func Matching(regex string) *xdsmatcherv3.StringMatcher {
	return &xdsmatcherv3.StringMatcher{MatchPattern: &xdsmatcherv3.StringMatcher_SafeRegex{
		SafeRegex: &xdsmatcherv3.RegexMatcher{
			Regex:      regex,
			EngineType: &xdsmatcherv3.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcherv3.RegexMatcher_GoogleRE2{}},
		},
	}}
}

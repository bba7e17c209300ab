package policy

import (
	"regexp"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Match refuses what no text can be compared with.
func (r *Refusals) Match(path string, m egv1a1.StringMatch) {
	switch Or(m.Type, egv1a1.StringMatchExact) {
	case egv1a1.StringMatchExact, egv1a1.StringMatchPrefix, egv1a1.StringMatchSuffix:
		if m.Value == "" {
			r.Add(path+".value", "The value is empty: say what to compare with")
		}
	case egv1a1.StringMatchRegularExpression:
		if err := resolve.CheckRegex(m.Value); err != nil {
			r.Add(path+".value", "Not usable: %v", err)
		}
	default:
		r.Add(path+".type", "There is no type %q: use Exact, Prefix, Suffix or RegularExpression", *m.Type)
	}
}

// Matcher returns a match that has been checked for Envoy. A regular expression has to match the whole text.
func Matcher(m egv1a1.StringMatch) *matcherv3.StringMatcher {
	out := &matcherv3.StringMatcher{}
	switch Or(m.Type, egv1a1.StringMatchExact) {
	case egv1a1.StringMatchPrefix:
		out.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: m.Value}
	case egv1a1.StringMatchSuffix:
		out.MatchPattern = &matcherv3.StringMatcher_Suffix{Suffix: m.Value}
	case egv1a1.StringMatchRegularExpression:
		out.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.Value}}
	default:
		out.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: m.Value}
	}
	return out
}

// Matches reports whether Envoy would find that a text matches. What cannot be compared with matches everything.
func Matches(m egv1a1.StringMatch, text string) bool {
	switch Or(m.Type, egv1a1.StringMatchExact) {
	case egv1a1.StringMatchPrefix:
		return strings.HasPrefix(text, m.Value)
	case egv1a1.StringMatchSuffix:
		return strings.HasSuffix(text, m.Value)
	case egv1a1.StringMatchRegularExpression:
		expr, err := regexp.Compile(`\A(?:` + m.Value + `)\z`)
		return err != nil || expr.MatchString(text)
	default:
		return text == m.Value
	}
}

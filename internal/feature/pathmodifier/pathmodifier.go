// Package pathmodifier turns the Gateway API's HTTPPathModifier, which redirects and rewrites share, into Envoy's ways
// to change a path.
//
// ReplacePrefixMatch works on whole path elements and ignores a trailing slash on either side, whereas Envoy replaces
// exactly the text that matched. The rows of the table at HTTPPathModifier.replacePrefixMatch fall into four cases:
//
//	match  replacement  Envoy
//	/foo   /xyz         prefix_rewrite /xyz                   /foo/bar -> /xyz/bar, /foo -> /xyz
//	/foo   "" or /      regex_rewrite ^/foo/* by /            /foo/bar -> /bar, /foo -> /
//	/      /xyz         prefix_rewrite /xyz/                  /bar -> /xyz/bar
//	/      "" or /      nothing: the path stays as it is
package pathmodifier

import (
	"fmt"
	"regexp"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// pathChars are those of a URI's path (RFC 3986, section 3.3). A query or fragment in a replacement would end up in
// front of the request's own.
var pathChars = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$`)

// Check returns what is wrong with the path modifier of a filter of the rule. A nil modifier is fine.
func Check(m *gwv1.HTTPPathModifier, rule *model.Rule) []feature.Problem {
	if m == nil {
		return nil
	}
	switch m.Type {
	case gwv1.FullPathHTTPPathModifier:
		return checkPath(m.ReplaceFullPath, ".path.replaceFullPath", false)
	case gwv1.PrefixMatchHTTPPathModifier:
		return append(checkPath(m.ReplacePrefixMatch, ".path.replacePrefixMatch", true), checkMatches(rule)...)
	}
	return []feature.Problem{{
		Reason:  "UnsupportedValue",
		Message: fmt.Sprintf("The path modifier %q is not known: use ReplaceFullPath or ReplacePrefixMatch", m.Type),
		Path:    ".path.type",
	}}
}

func checkPath(value *string, path string, emptyAllowed bool) []feature.Problem {
	problem := func(format string, args ...any) []feature.Problem {
		return []feature.Problem{{Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path}}
	}
	switch {
	case value == nil:
		return problem("The replacement is missing: set the field that goes with the type")
	case *value == "" && emptyAllowed:
		return nil
	case !strings.HasPrefix(*value, "/"):
		return problem("The replacement %q must start with a slash: write %q", *value, "/"+*value)
	case !pathChars.MatchString(*value):
		return problem("The replacement %q has characters that a path cannot have: percent-encode them, "+
			"and leave out query and fragment", *value)
	}
	return nil
}

func checkMatches(rule *model.Rule) []feature.Problem {
	for _, m := range rule.Matches {
		if m.Path.Type != model.Prefix {
			return []feature.Problem{{
				Reason: "UnsupportedValue",
				Message: fmt.Sprintf("ReplacePrefixMatch needs a PathPrefix match, but the rule also matches %q in another "+
					"way: make all its matches PathPrefix, or use ReplaceFullPath", m.Path.Value),
				Path: ".path.type",
			}}
		}
	}
	return nil
}

// Prefix returns how the prefix that a route matches is replaced: the value of Envoy's prefix_rewrite, or if that is
// empty a regex_rewrite. Both are empty if the path stays as it is.
func Prefix(match model.Match, replacement string) (string, *matcherv3.RegexMatchAndSubstitute) {
	from := strings.TrimRight(match.Path.Value, "/")
	to := strings.TrimRight(replacement, "/")
	switch {
	case from == "" && to == "":
		return "", nil
	case to == "":
		return "", substitute("^"+regexp.QuoteMeta(from)+"/*", "/")
	case from == "":
		return to + "/", nil
	}
	return to, nil
}

// Full returns the regex_rewrite that replaces the whole path, whichever way the route matches.
func Full(replacement string) *matcherv3.RegexMatchAndSubstitute {
	return substitute("^.*$", replacement)
}

// substitute needs no escaping of its substitution: a checked path has no backslash, the only special character there.
func substitute(regex, by string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{Pattern: &matcherv3.RegexMatcher{Regex: regex}, Substitution: by}
}

package pathmodifier

import (
	"regexp"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Table is the table in the doc comment of HTTPPathModifier.replacePrefixMatch, and what it implies for "/".
var table = []struct{ request, match, replacement, want string }{
	{"/foo/bar", "/foo", "/xyz", "/xyz/bar"},
	{"/foo/bar", "/foo", "/xyz/", "/xyz/bar"},
	{"/foo/bar", "/foo/", "/xyz", "/xyz/bar"},
	{"/foo/bar", "/foo/", "/xyz/", "/xyz/bar"},
	{"/foo", "/foo", "/xyz", "/xyz"},
	{"/foo/", "/foo", "/xyz", "/xyz/"},
	{"/foo/bar", "/foo", "", "/bar"},
	{"/foo/", "/foo", "", "/"},
	{"/foo", "/foo", "", "/"},
	{"/foo/", "/foo", "/", "/"},
	{"/foo", "/foo", "/", "/"},
	{"/bar", "/", "/xyz", "/xyz/bar"},
	{"/", "/", "/xyz", "/xyz/"},
	{"/bar", "/", "/", "/bar"},
	{"/bar", "/", "", "/bar"},
	{"/a.b+c/d", "/a.b+c", "", "/d"},
}

func TestPrefix(t *testing.T) {
	for _, tt := range table {
		match := model.Match{Path: model.ValueMatch{Type: model.Prefix, Value: tt.match}}
		prefix, regex := Prefix(match, tt.replacement)
		got := tt.request
		switch {
		case prefix != "" && regex != nil:
			t.Errorf("%v: both a prefix and a regex rewrite", tt)
		case prefix != "": // Envoy replaces the text that its matcher has matched
			matched := strings.TrimRight(tt.match, "/")
			if matched == "" {
				matched = "/"
			}
			got = prefix + strings.TrimPrefix(tt.request, matched)
		case regex != nil:
			got = regexp.MustCompile(regex.GetPattern().GetRegex()).ReplaceAllLiteralString(got, regex.GetSubstitution())
		}
		if got != tt.want {
			t.Errorf("%s with prefix %q replaced by %q gives %q, want %q", tt.request, tt.match, tt.replacement, got, tt.want)
		}
	}
}

func TestCheck(t *testing.T) {
	prefix := []model.Match{{Path: model.ValueMatch{Type: model.Prefix, Value: "/"}}}
	mixed := append([]model.Match{{Path: model.ValueMatch{Type: model.Exact, Value: "/x"}}}, prefix...)
	full := func(v string) *gwv1.HTTPPathModifier {
		return &gwv1.HTTPPathModifier{Type: gwv1.FullPathHTTPPathModifier, ReplaceFullPath: &v}
	}
	part := func(v string) *gwv1.HTTPPathModifier {
		return &gwv1.HTTPPathModifier{Type: gwv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &v}
	}
	tests := []struct {
		name    string
		m       *gwv1.HTTPPathModifier
		matches []model.Match
		want    string // part of the only message; empty: accepted
	}{
		{"nil", nil, mixed, ""},
		{"full", full("/a/b%20c"), mixed, ""},
		{"full empty", full(""), mixed, "must start with a slash"},
		{"full relative would join the host", full(".evil.com"), mixed, "must start with a slash"},
		{"query", full("/a?b"), mixed, "percent-encode"},
		{"backslash", full(`/\1`), mixed, "percent-encode"},
		{"line break", full("/a\nb"), mixed, "percent-encode"},
		{"incomplete escape", full("/%2"), mixed, "percent-encode"},
		{"missing", &gwv1.HTTPPathModifier{Type: gwv1.FullPathHTTPPathModifier}, mixed, "is missing"},
		{"unknown", &gwv1.HTTPPathModifier{Type: "Reverse"}, mixed, "not known"},
		{"prefix", part("/a"), prefix, ""},
		{"prefix empty", part(""), prefix, ""},
		{"prefix of other matches", part("/a"), mixed, "needs a PathPrefix match"},
	}
	for _, tt := range tests {
		problems := Check(tt.m, &model.Rule{Matches: tt.matches})
		switch {
		case tt.want == "" && len(problems) > 0:
			t.Errorf("%s: refused: %v", tt.name, problems)
		case tt.want != "" && (len(problems) != 1 || !strings.Contains(problems[0].Message, tt.want)):
			t.Errorf("%s: got %v, want one problem with %q", tt.name, problems, tt.want)
		}
	}
}

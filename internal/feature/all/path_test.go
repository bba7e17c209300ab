package all

import (
	"strconv"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// prefixTable is the table in the doc comment of HTTPPathModifier.replacePrefixMatch, and what it implies for "/" and
// for what is special in a regular expression.
var prefixTable = []struct{ request, match, replacement, want string }{
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
	{"/bar", "/", "", "/bar"},
	{"/v1.0+x/bar", "/v1.0+x", "/", "/bar"},
	{"/foo/foo/a%20b", "/foo", "/1$0", "/1$0/foo/a%20b"},
}

func prefixOf(replacement string) *gwv1.HTTPPathModifier {
	return &gwv1.HTTPPathModifier{Type: gwv1.PrefixMatchHTTPPathModifier, ReplacePrefixMatch: &replacement}
}

func fullOf(replacement string) *gwv1.HTTPPathModifier {
	return &gwv1.HTTPPathModifier{Type: gwv1.FullPathHTTPPathModifier, ReplaceFullPath: &replacement}
}

func rewriteScenarios() []scenario {
	var out []scenario
	add := func(name string, match model.Match, spec gwv1.HTTPURLRewriteFilter, path, want string) {
		out = append(out, scenario{
			name: "rewrite/" + name, match: match, attached: []model.Attached{attach("URLRewrite", &spec)},
			run: func(t *testing.T, g *gateway) {
				got := g.expect(t, request{path: path + "?q=%2F1"}, 200).echo
				wantHost := g.host
				if spec.Hostname != nil {
					wantHost = string(*spec.Hostname)
				}
				if got.Path != want+"?q=%2F1" || got.Host != wantHost {
					t.Errorf("the backend sees %s%s, want %s%s", got.Host, got.Path, wantHost, want+"?q=%2F1")
				}
			},
		})
	}
	for _, row := range prefixTable {
		add("prefix "+row.request+" "+row.match+" "+row.replacement, featuretest.PrefixMatch(row.match),
			gwv1.HTTPURLRewriteFilter{Path: prefixOf(row.replacement)}, row.request, row.want)
	}
	host := gwv1.PreciseHostname("other.test")
	exact := model.Match{Path: model.ValueMatch{Type: model.Exact, Value: "/a"}}
	add("full of a prefix", featuretest.PrefixMatch("/a"),
		gwv1.HTTPURLRewriteFilter{Path: fullOf("/one")}, "/a/b/c", "/one")
	add("full of everything", featuretest.PrefixMatch("/"), gwv1.HTTPURLRewriteFilter{Path: fullOf("/1$0")}, "/", "/1$0")
	add("full of an exact path", exact, gwv1.HTTPURLRewriteFilter{Path: fullOf("/a%20b")}, "/a", "/a%20b")
	add("host", featuretest.PrefixMatch("/"), gwv1.HTTPURLRewriteFilter{Hostname: &host}, "/a", "/a")
	add("host and path", featuretest.PrefixMatch("/a"),
		gwv1.HTTPURLRewriteFilter{Hostname: &host, Path: prefixOf("/b")}, "/a/c", "/b/c")
	return out
}

// redirectScenarios want a Location; HOST in it stands for the scenario's host.
func redirectScenarios() []scenario {
	var out []scenario
	type filter = gwv1.HTTPRequestRedirectFilter
	add := func(name, match string, port uint16, spec filter, in request, status int, want string) {
		out = append(out, scenario{
			name: "redirect/" + name, match: featuretest.PrefixMatch(match), port: port,
			attached: []model.Attached{attach("RequestRedirect", &spec)},
			run: func(t *testing.T, g *gateway) {
				got := g.expect(t, in, status).header.Get("Location")
				if want := strings.ReplaceAll(want, "HOST", g.host); got != want {
					t.Errorf("Location %s, want %s", got, want)
				}
			},
		})
	}
	for _, row := range prefixTable {
		add("prefix "+row.request+" "+row.match+" "+row.replacement, row.match, 80,
			filter{Path: prefixOf(row.replacement)},
			request{path: row.request + "?q=%2F1"}, 302, "http://HOST"+row.want+"?q=%2F1")
	}
	for _, code := range []int{301, 302, 303, 307, 308} {
		add("code "+strconv.Itoa(code), "/", 80, filter{StatusCode: &code, Path: fullOf("/x")},
			request{method: "POST", path: "/a?b=c"}, code, "http://HOST/x?b=c")
	}
	host, https := gwv1.PreciseHostname("www.test"), "https"
	plain := request{path: "/a"}
	withPort := request{path: "/a", host: ":8080"}
	add("nothing asked", "/", 80, filter{}, plain, 302, "http://HOST/a")
	add("host", "/", 80, filter{Hostname: &host}, plain, 302, "http://www.test/a")
	add("scheme", "/", 80, filter{Scheme: &https}, plain, 302, "https://HOST/a")
	add("scheme with its port", "/", 80, filter{Scheme: &https, Port: new(int32(443))}, plain, 302,
		"https://HOST/a")
	add("scheme with a port", "/", 80, filter{Scheme: &https, Port: new(int32(8443))}, plain, 302,
		"https://HOST:8443/a")
	add("port", "/", 80, filter{Port: new(int32(8083))}, plain, 302, "http://HOST:8083/a")
	add("8080", "/", 8080, filter{}, plain, 302, "http://HOST:8080/a")
	add("8080 in the Host", "/", 8080, filter{}, withPort, 302, "http://HOST:8080/a")
	add("8080 to 80", "/", 8080, filter{Port: new(int32(80))}, withPort, 302, "http://HOST:80/a")
	add("8080 to https", "/", 8080, filter{Scheme: &https}, withPort, 302, "https://HOST:443/a")
	add("8080 to a host", "/", 8080, filter{Scheme: &https, Hostname: &host}, withPort, 302,
		"https://www.test/a")
	return out
}

package e2e

import (
	"fmt"
	"strings"
	"testing"
)

// route returns an HTTPRoute on the Gateway. Each rule is a name and its matches as YAML; its answers have the name in
// x-rule.
func route(name, hostnames string, rules ...[2]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s}
spec:
  parentRefs: [{name: gw}]
  hostnames: %s
  rules:
`, name, hostnames)
	for _, r := range rules {
		fmt.Fprintf(&b, `
  - matches: %s
    filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-rule, value: %s}]}}]
    backendRefs: [{${one}}]
`, r[1], r[0])
	}
	return b.String()
}

// ruleCase is a request and the rule that has to serve it, "" for none (404).
type ruleCase struct {
	rule string
	request
}

func (in *instance) checkRules(t *testing.T, cases []ruleCase) {
	t.Helper()
	for _, c := range cases {
		name := strings.TrimSpace(fmt.Sprintf("%s %s%s %s", c.method, c.host, c.path, strings.Join(c.header, ",")))
		t.Run(name, func(t *testing.T) {
			if c.rule == "" {
				in.must(t, c.request, expect{status: 404})
				return
			}
			in.must(t, c.request, expect{backend: "one", header: []string{"x-rule: " + c.rule}})
		})
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": route("matches", "[m.example]",
		[2]string{"exact", `[{path: {type: Exact, value: /exact}}]`},
		[2]string{"exact-slash", `[{path: {type: Exact, value: /slash/}}]`},
		[2]string{"prefix", `[{path: {type: PathPrefix, value: /prefix}}]`},
		[2]string{"prefix-slash", `[{path: {type: PathPrefix, value: /trail/}}]`},
		[2]string{"escaped", `[{path: {type: PathPrefix, value: "/a%20b"}}]`},
		[2]string{"regex", `[{path: {type: RegularExpression, value: "/re/[0-9]+"}}]`},
		[2]string{"method", `[{path: {value: /method}, method: PATCH}]`},
		[2]string{"header", `[{path: {value: /header}, headers: [{name: X-Kind, value: Exact}]}]`},
		[2]string{"header-regex",
			`[{path: {value: /header}, headers: [{name: x-kind, type: RegularExpression, value: "v[0-9]"}]}]`},
		[2]string{"header-both",
			`[{path: {value: /header}, headers: [{name: x-kind, value: Exact}, {name: x-more, value: "1"}]}]`},
		[2]string{"query", `[{path: {value: /query}, queryParams: [{name: q, value: word}]}]`},
		[2]string{"query-regex",
			`[{path: {value: /query}, queryParams: [{name: q, type: RegularExpression, value: "[x-z]+"}]}]`},
		[2]string{"either", `[{path: {type: Exact, value: /either}}, {headers: [{name: x-either, value: "1"}]}]`},
		[2]string{"all", `[{path: {value: /all}, method: PUT, headers: [{name: a, value: "1"}],
		              queryParams: [{name: b, value: "2"}]}]`},
	)})
	in.checkRules(t, []ruleCase{
		{"exact", request{host: "m.example", path: "/exact"}},
		{"exact", request{host: "m.example", path: "/exact?a=b"}},
		{"exact", request{host: "M.Example:8080", path: "/exact"}},
		{"", request{host: "m.example", path: "/exact/"}},
		{"", request{host: "m.example", path: "/exact/more"}},
		{"", request{host: "m.example", path: "/Exact"}},
		{"", request{host: "other.example", path: "/exact"}},
		{"exact-slash", request{host: "m.example", path: "/slash/"}},
		{"", request{host: "m.example", path: "/slash"}},
		{"prefix", request{host: "m.example", path: "/prefix"}},
		{"prefix", request{host: "m.example", path: "/prefix/"}},
		{"prefix", request{host: "m.example", path: "/prefix?x=/"}},
		{"prefix", request{host: "m.example", path: "/prefix/a/b"}},
		{"", request{host: "m.example", path: "/prefixed"}},
		{"", request{host: "m.example", path: "/other?/prefix"}},
		{"prefix-slash", request{host: "m.example", path: "/trail"}},
		{"prefix-slash", request{host: "m.example", path: "/trail/a"}},
		{"", request{host: "m.example", path: "/trails"}},
		{"escaped", request{host: "m.example", path: "/a%20b/c"}},
		{"regex", request{host: "m.example", path: "/re/12"}},
		{"regex", request{host: "m.example", path: "/re/12?q=1"}},
		{"", request{host: "m.example", path: "/re/12/x"}},
		{"", request{host: "m.example", path: "/re/x"}},
		{"method", request{method: "PATCH", host: "m.example", path: "/method"}},
		{"", request{method: "POST", host: "m.example", path: "/method"}},
		{"header", request{host: "m.example", path: "/header", header: []string{"x-kind: Exact"}}},
		{"", request{host: "m.example", path: "/header", header: []string{"x-kind: exact"}}},
		{"header-regex", request{host: "m.example", path: "/header", header: []string{"x-kind: v1"}}},
		{"", request{host: "m.example", path: "/header", header: []string{"x-kind: v12"}}},
		{"header-both", request{host: "m.example", path: "/header", header: []string{"x-kind: Exact", "x-more: 1"}}},
		{"query", request{host: "m.example", path: "/query?q=word"}},
		{"query-regex", request{host: "m.example", path: "/query?q=xyz"}},
		{"", request{host: "m.example", path: "/query?q=xya"}},
		{"", request{host: "m.example", path: "/query?Q=xyz"}},
		{"either", request{host: "m.example", path: "/either"}},
		{"either", request{host: "m.example", path: "/any/path", header: []string{"x-either: 1"}}},
		{"all", request{method: "PUT", host: "m.example", path: "/all?b=2", header: []string{"a: 1"}}},
		{"", request{method: "PUT", host: "m.example", path: "/all?b=3", header: []string{"a: 1"}}},
		{"", request{method: "GET", host: "m.example", path: "/all?b=2", header: []string{"a: 1"}}},
	})
}

// TestPrecedence checks the order that the Gateway API gives matches: exact path, longest prefix, method, most headers,
// most query parameters, then the route's name, then the order in the route; and before all that the hostname.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		// The names of the files and the order of the routes must not matter: the loser of each tie is written first.
		"a.yaml": route("z-late", "[p.example]",
			[2]string{"late", `[{path: {value: /tie}}]`}) +
			route("rules", "[p.example]",
				[2]string{"root", `[{path: {value: /}}]`},
				[2]string{"short", `[{path: {value: /long}, headers: [{name: a, value: "1"}]}]`},
				[2]string{"long", `[{path: {value: /long/path}}]`},
				[2]string{"longest", `[{path: {type: PathPrefix, value: /long/path/exact}}]`},
				[2]string{"exact", `[{path: {type: Exact, value: /long/path/exact}}]`},
				[2]string{"headers", `[{path: {value: /m}, headers: [{name: a, value: "1"}, {name: b, value: "1"}]}]`},
				[2]string{"method", `[{path: {value: /m}, method: GET}]`},
				[2]string{"one-header", `[{path: {value: /m}, headers: [{name: a, value: "1"}]}]`},
				[2]string{"queries", `[{path: {value: /m}, queryParams: [{name: q, value: "1"}, {name: r, value: "1"}]}]`},
				[2]string{"one-query", `[{path: {value: /m}, queryParams: [{name: q, value: "1"}]}]`},
				[2]string{"first", `[{path: {value: /order}}]`},
				[2]string{"second", `[{path: {value: /order}}]`},
			) +
			route("a-early", "[p.example]",
				[2]string{"early", `[{path: {value: /tie}}]`}),
		"b.yaml": route("any", "[]",
			[2]string{"any", `[{path: {type: Exact, value: /host}}]`}) +
			route("wild", `["*.w.example"]`,
				[2]string{"wild", `[{path: {type: Exact, value: /host}}]`}) +
			route("wilder", `["*.b.w.example"]`,
				[2]string{"wilder", `[{path: {value: /host}}]`}) +
			route("exact", "[a.b.w.example]",
				[2]string{"exact-host", `[{path: {value: /}}]`}),
	})
	in.checkRules(t, []ruleCase{
		{"root", request{host: "p.example", path: "/x"}},
		{"long", request{host: "p.example", path: "/long/path", header: []string{"a: 1"}}},
		{"short", request{host: "p.example", path: "/long/pat", header: []string{"a: 1"}}},
		{"root", request{host: "p.example", path: "/long/pat"}},
		{"exact", request{host: "p.example", path: "/long/path/exact"}},
		{"longest", request{host: "p.example", path: "/long/path/exact/"}},
		{"method", request{method: "GET", host: "p.example", path: "/m", header: []string{"a: 1", "b: 1"}}},
		{"headers", request{method: "PUT", host: "p.example", path: "/m?q=1&r=1", header: []string{"a: 1", "b: 1"}}},
		{"one-header", request{method: "PUT", host: "p.example", path: "/m?q=1&r=1", header: []string{"a: 1"}}},
		{"queries", request{method: "PUT", host: "p.example", path: "/m?q=1&r=1"}},
		{"one-query", request{method: "PUT", host: "p.example", path: "/m?q=1"}},
		{"root", request{method: "PUT", host: "p.example", path: "/m"}},
		{"first", request{host: "p.example", path: "/order"}},
		{"early", request{host: "p.example", path: "/tie"}},
		{"any", request{host: "x.example", path: "/host"}},
		{"any", request{host: "w.example", path: "/host"}},
		{"wild", request{host: "a.w.example", path: "/host"}},
		{"wild", request{host: "a.c.w.example", path: "/host"}},
		{"wilder", request{host: "x.b.w.example", path: "/host"}},
		{"wilder", request{host: "x.y.b.w.example", path: "/host"}},
		{"exact-host", request{host: "a.b.w.example", path: "/host"}},
		{"exact-host", request{host: "a.b.w.example", path: "/else"}},
	})
}

// TestManyRoutesOnOneHost has enough routes on one host that Envoy is given a tree instead of a list, which must not
// change what matches.
func TestManyRoutesOnOneHost(t *testing.T) {
	t.Parallel()
	var rules strings.Builder
	for i := range 150 {
		rules.WriteString(route(fmt.Sprintf("r%d", i), "[many.example]",
			[2]string{fmt.Sprintf("prefix-%d", i), fmt.Sprintf(`[{path: {value: /p%d}}]`, i)},
			[2]string{fmt.Sprintf("put-%d", i), fmt.Sprintf(`[{path: {value: /p%d}, method: PUT}]`, i)},
			[2]string{fmt.Sprintf("deep-%d", i), fmt.Sprintf(`[{path: {value: /p%d/deep}, method: POST}]`, i)},
			[2]string{fmt.Sprintf("exact-%d", i), fmt.Sprintf(`[{path: {type: Exact, value: /p%d/deep/e}}]`, i)},
		))
	}
	rules.WriteString(route("rest", "[many.example]", [2]string{"rest", `[{path: {value: /}}]`}))
	in := start(t, files{"routes.yaml": rules.String()})
	for _, i := range []int{0, 1, 77, 149} {
		p := fmt.Sprintf("/p%d", i)
		rule := func(kind string) string { return fmt.Sprintf("%s-%d", kind, i) }
		in.checkRules(t, []ruleCase{
			{rule("prefix"), request{host: "many.example", path: p}},
			{rule("prefix"), request{host: "many.example", path: p + "/x?y=/"}},
			{rule("put"), request{method: "PUT", host: "many.example", path: p + "/x"}},
			{rule("deep"), request{method: "POST", host: "many.example", path: p + "/deep"}},
			{rule("deep"), request{method: "POST", host: "many.example", path: p + "/deep/e/f"}},
			{rule("prefix"), request{method: "GET", host: "many.example", path: p + "/deep"}},
			{rule("put"), request{method: "PUT", host: "many.example", path: p + "/deep"}},
			{rule("exact"), request{method: "PUT", host: "many.example", path: p + "/deep/e?q=1"}},
			{"rest", request{host: "many.example", path: p + "x"}},
		})
	}
	in.checkRules(t, []ruleCase{
		{"rest", request{host: "many.example", path: "/"}},
		{"rest", request{host: "many.example", path: "/p150"}},
		{"", request{host: "few.example", path: "/p1"}},
	})
}

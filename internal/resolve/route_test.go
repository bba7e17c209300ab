package resolve

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// rules renders the rules of a route: matches, backends, attached configuration, fault; a line for each.
func (w *world) rules(key model.RouteKey) string {
	route, ok := w.Routes.Peek(key)
	if !ok {
		return "none"
	}
	var lines []string
	for _, r := range route.Rules {
		var parts []string
		for _, m := range r.Matches {
			parts = append(parts, match(m))
		}
		for _, b := range r.Backends {
			parts = append(parts, fmt.Sprintf("%d*%s", b.Weight, backendName(b.Backend)))
			parts = append(parts, attachedNames(b.Attached)...)
		}
		parts = append(parts, attachedNames(r.Attached)...)
		if r.Fault != nil {
			parts = append(parts, fmt.Sprintf("%d %s", r.Fault.Status, r.Fault.Why))
		}
		lines = append(lines, fmt.Sprintf("%d: %s", r.Index, strings.Join(parts, "; ")))
	}
	return strings.Join(lines, "\n")
}

func match(m model.Match) string {
	types := map[model.MatchType]string{model.Exact: "=", model.Prefix: "^", model.Regex: "~"}
	out := types[m.Path.Type] + m.Path.Value
	if m.Method != "" {
		out = m.Method + " " + out
	}
	for _, h := range m.Headers {
		out += " " + h.Name + types[h.Type] + h.Value
	}
	for _, q := range m.Query {
		out += " ?" + q.Name + types[q.Type] + q.Value
	}
	for _, c := range m.Cookies {
		out += " @" + c.Name + types[c.Type] + c.Value
	}
	return out
}

func backendName(b model.BackendKey) string {
	if b == (model.BackendKey{}) {
		return "invalid"
	}
	return b.String()
}

func attachedNames(list []model.Attached) []string {
	var out []string
	for _, a := range list {
		s := a.Feature + " at " + a.Path
		for _, b := range a.Backends {
			s += " to " + backendName(b)
		}
		for _, o := range a.Objects {
			s += fmt.Sprintf(" from %s%s", o.Ref, slices.Sorted(maps.Keys(o.Data)))
		}
		out = append(out, s)
	}
	return out
}

const fineRoute = "gw: Accepted ResolvedRefs"

func TestHTTPMatches(t *testing.T) {
	cases := []struct{ name, match, want, status string }{
		{"none", ``, "^/", fineRoute},
		{"prefix", `{path: {value: /a}}`, "^/a", fineRoute},
		{"prefix with a slash behind", `{path: {type: PathPrefix, value: /a/}}`, "^/a", fineRoute},
		{"prefix of everything", `{path: {type: PathPrefix, value: /}}`, "^/", fineRoute},
		{"exact keeps the slash", `{path: {type: Exact, value: /a/}}`, "=/a/", fineRoute},
		{"regex", `{path: {type: RegularExpression, value: "/a/[0-9]+"}}`, "~/a/[0-9]+", fineRoute},
		{"method", `{method: POST}`, "POST ^/", fineRoute},
		{"headers: the first of a name wins, whatever its case",
			`{headers: [{name: X-A, value: "1"}, {name: x-a, value: "2"}, {name: B, type: RegularExpression, value: b+}]}`,
			"^/ x-a=1 b~b+", fineRoute},
		{"query: names have a case", `{queryParams: [{name: A, value: "1"}, {name: a, value: "2"}, {name: a, value: "3"}]}`,
			"^/ ?A=1 ?a=2", fineRoute},
		{"an ignored duplicate may be wrong",
			`{headers: [{name: a, value: b}, {name: A, type: RegularExpression, value: "("}]}`, "^/ a=b", fineRoute},
		{"unknown path type", `{path: {type: Glob, value: /a}}`, "", "gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"unknown header type", `{headers: [{name: a, type: Glob, value: b}]}`, "",
			"gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"unknown method", `{method: BREW}`, "", "gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"bad regex", `{path: {type: RegularExpression, value: "/(?=a)"}}`, "",
			"gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"huge regex", `{headers: [{name: a, type: RegularExpression, value: "(.{900}){3}"}]}`, "",
			"gw: Accepted=False/UnsupportedValue ResolvedRefs"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			rule := "{matches: [" + tc.match + "], backendRefs: [{name: svc, port: 80}]}"
			w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", rule))
			want := ""
			if tc.want != "" {
				want = "0: " + tc.want + "; 1*service/default/svc/80"
			}
			expect(t, "rules", w.rules(http("r")), want)
			expect(t, "status", w.route(http("r")), tc.status)
		})
	}
}

func TestRegexes(t *testing.T) {
	for expr, want := range map[string]string{
		`/a/[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`: "",
		`(?i)foo\w+\pL\z`:                    "",
		`(?P<a>x)[[:word:]]\Qa.b\E`:          "",
		`\\x{100}`:                           "",
		`\pL+[é日]{100}`:                      "",
		`[é日]{200}`:                          "too large",
		`a{1001}`:                            "not valid RE2",
		`(a{100}){100}`:                      "not valid RE2",
		`a**`:                                "not valid RE2",
		`é(?!a)`:                             "invalid or unsupported Perl syntax: `(?!`",
		`\x{100}`:                            "matches bytes",
		`((a|b){30}){30}`:                    "too large",
		strings.Repeat("a", maxRegexBytes+1): "longer than",
	} {
		err := CheckRegex(expr)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", expr, err, want)
		}
	}
}

func TestGRPCMatches(t *testing.T) {
	cases := []struct{ name, match, want string }{
		{"none", ``, "^/"},
		{"service and method", `{method: {service: foo.Bar, method: Login}}`, "=/foo.Bar/Login"},
		{"service", `{method: {service: foo.Bar}}`, "^/foo.Bar"},
		{"method", `{method: {method: Lo.gin}}`, `~/[^/]+/Lo\.gin`},
		{"regex", `{method: {type: RegularExpression, service: "foo|bar", method: "L.*"}}`, `~/(?:foo|bar)/(?:L.*)`},
		{"regex of a method", `{method: {type: RegularExpression, method: "L.*"}}`, `~/[^/]+/(?:L.*)`},
		{"a group cannot be closed from inside", `{method: {type: RegularExpression, service: "a)|(b"}}`, ""},
		{"too large together", `{method: {type: RegularExpression, service: "a{300}", method: "a{300}"}}`, ""},
		{"headers", `{method: {service: s}, headers: [{name: Version, value: "2"}]}`, "^/s version=2"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			route := strings.Replace(routeYAML("r", "", "{matches: ["+tc.match+"], backendRefs: [{name: svc, port: 80}]}"),
				"HTTPRoute", "GRPCRoute", 1)
			w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), route)
			want, condition := "", "gw: Accepted=False/UnsupportedValue ResolvedRefs"
			if tc.want != "" {
				want, condition = "0: "+tc.want+"; 1*service/default/svc/80~grpc", fineRoute
			}
			expect(t, "rules", w.rules(grpc("r")), want)
			expect(t, "status", w.route(grpc("r")), condition)
		})
	}
}

func TestRuleFaults(t *testing.T) {
	const unresolved = "gw: Accepted ResolvedRefs=False/"
	cases := []struct{ name, rule, want, status string }{
		{"no backends", `{}`, "^/; 500 NoBackends", fineRoute},
		{"redirect", `{filters: [{type: RequestRedirect, requestRedirect: {scheme: https}}]}`,
			"^/; RequestRedirect at spec.rules[0].filters[0]", fineRoute},
		{"no weight", `{backendRefs: [{name: svc, port: 80, weight: 0}]}`, "^/; 0*service/default/svc/80; 500 NoWeight",
			fineRoute},
		{"only an invalid backend", `{backendRefs: [{name: gone, port: 80}]}`, "^/; 1*invalid; 500 NoValidBackend",
			unresolved + "BackendNotFound"},
		{"one invalid backend", `{backendRefs: [{name: gone, port: 80, weight: 3}, {name: svc, port: 80}]}`,
			"^/; 3*invalid; 1*service/default/svc/80", unresolved + "BackendNotFound"},
		{"all fields", `{backendRefs: [{name: svc, port: 80}], timeouts: {request: 1s}, retry: {attempts: 2},
      sessionPersistence: {}}`, "^/; 1*service/default/svc/80; Timeouts at spec.rules[0].timeouts; " +
			"Retry at spec.rules[0].retry; SessionPersistence at spec.rules[0].sessionPersistence", fineRoute},
		{"mirror", `{backendRefs: [{name: svc, port: 80}], filters: [
      {type: RequestMirror, requestMirror: {backendRef: {name: svc, port: 81}}}]}`, "^/; 1*service/default/svc/80; " +
			"RequestMirror at spec.rules[0].filters[0] to service/default/svc/81", fineRoute},
		{"an invalid mirror is left out", `{backendRefs: [{name: svc, port: 80}], filters: [
      {type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 81}}}]}`, "^/; 1*service/default/svc/80; " +
			"RequestMirror at spec.rules[0].filters[0] to invalid", unresolved + "BackendNotFound"},
		{"external auth speaks gRPC", `{backendRefs: [{name: svc, port: 80}], filters: [
      {type: ExternalAuth, externalAuth: {protocol: GRPC, backendRef: {name: svc, port: 80}}}]}`,
			"^/; 1*service/default/svc/80; ExternalAuth at spec.rules[0].filters[0] to service/default/svc/80~grpc", fineRoute},
		{"external auth without its backend fails", `{backendRefs: [{name: svc, port: 80}], filters: [
      {type: ExternalAuth, externalAuth: {protocol: HTTP, backendRef: {name: gone, port: 80}}}]}`,
			"^/; 1*service/default/svc/80; 500 BackendNotFound", unresolved + "BackendNotFound"},
		{"extension", `{backendRefs: [{name: svc, port: 80}], filters: [
      {type: ExtensionRef, extensionRef: {group: x.io, kind: Thing, name: t}}]}`,
			"^/; 1*service/default/svc/80; 500 InvalidKind", unresolved + "InvalidKind"},
		{"unknown filter", `{backendRefs: [{name: svc, port: 80}], filters: [{type: Shiny}]}`,
			"^/; 1*service/default/svc/80; 500 UnsupportedValue", "gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"filter without its field", `{backendRefs: [{name: svc, port: 80}], filters: [{type: URLRewrite}]}`,
			"^/; 1*service/default/svc/80; 500 UnsupportedValue", "gw: Accepted=False/UnsupportedValue ResolvedRefs"},
		{"filter of a backend", `{backendRefs: [{name: svc, port: 80, filters: [
      {type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}]}]}`, "^/; 1*service/default/svc/80; " +
			"RequestHeaderModifier at spec.rules[0].backendRefs[0].filters[0]", fineRoute},
		{"a backend whose filter cannot be applied fails its share", `{backendRefs: [
      {name: svc, port: 81}, {name: svc, port: 80, filters: [
      {type: ExtensionRef, extensionRef: {group: x.io, kind: Thing, name: t}}]}]}`,
			"^/; 1*service/default/svc/81; 1*invalid", unresolved + "InvalidKind"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", tc.rule))
			expect(t, "rules", w.rules(http("r")), "0: "+tc.want)
			expect(t, "status", w.route(http("r")), tc.status)
		})
	}
}

// TestGRPCFaultsAreUnavailable: Envoy answers gRPC requests with UNAVAILABLE for 503, and with UNKNOWN for 500.
func TestGRPCFaultsAreUnavailable(t *testing.T) {
	opts := options()
	opts.Check = func(r *model.Route) status.Report {
		r.Rules[1].Fault = &model.Fault{Status: 500, Why: "UnsupportedValue"}
		return nil
	}
	route := strings.Replace(routeYAML("r", "", "{}", toService), "HTTPRoute", "GRPCRoute", 1)
	w := newWorld(t, opts, classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), route)
	got := w.rules(grpc("r"))
	if !strings.Contains(got, "503 NoBackends") || !strings.Contains(got, "503 UnsupportedValue") {
		t.Error(got)
	}
}

func TestPartiallyInvalid(t *testing.T) {
	w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "",
		`{matches: [{path: {type: RegularExpression, value: "("}}, {path: {value: /half}}],
      backendRefs: [{name: svc, port: 80}]}`,
		`{matches: [{path: {value: /fine}}], backendRefs: [{name: svc, port: 80}]}`))
	expect(t, "status", w.route(http("r")),
		"gw: Accepted ResolvedRefs PartiallyInvalid=True/UnsupportedValue")
	expect(t, "rules", w.rules(http("r")), `
		0: ^/half; 1*service/default/svc/80; 500 UnsupportedValue
		1: ^/fine; 1*service/default/svc/80`)
	const want = "Dropped Rule(s) 0: spec.rules[0].matches[0].path.value: the regular expression"
	if m := w.messages(http("r")); !strings.Contains(m, want) {
		t.Errorf("messages: %s", m)
	}
}

func TestFeatureChecks(t *testing.T) {
	opts := options()
	opts.Check = func(r *model.Route) status.Report {
		var report status.Report
		for i := range r.Rules {
			for _, a := range r.Rules[i].Attached {
				if _, ok := a.Spec.(*gwv1.HTTPRouteTimeouts); ok {
					r.Rules[i].Fault = &model.Fault{Status: 500, Why: "IncompatibleFilters"}
					report = append(report, status.Issue{
						Object: r.Key.Ref(), Section: status.Section{Rule: r.Rules[i].Index + 1}, Condition: status.Accepted,
						Reason: "IncompatibleFilters", Message: "No timeouts today", Path: a.Path,
					})
				}
			}
		}
		return report
	}
	w := newWorld(t, opts, classYAML, serviceYAML, gatewayYAML("gw", plainHTTP),
		routeYAML("r", "", `{backendRefs: [{name: svc, port: 80}], timeouts: {request: 1s}}`))
	expect(t, "status", w.route(http("r")), "gw: Accepted=False/IncompatibleFilters ResolvedRefs")
	expect(t, "Gateway counts accepted routes only", w.gateway(inDefault("gw")), `
		Accepted ResolvedRefs
		http [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs`)
	expect(t, "its requests fail rather than fall to another route", w.hosts(), "http/80/*: r")
}

func TestRefusedRoute(t *testing.T) {
	good := routeYAML("r", "",
		`{matches: [{path: {value: /good}}], backendRefs: [{name: far, namespace: other, port: 80}]}`)
	bad := strings.Replace(good, "/good", "/bad", 1)
	const far = `
apiVersion: v1
kind: Service
metadata: {name: far, namespace: other}
spec: {ports: [{port: 80}]}
`
	const grant = `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: default}]
  to: [{group: "", kind: Service}]
`
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), good, far, grant)
	last, _ := w.Routes.Peek(http("r"))
	w.apply(bad)
	refused, _ := w.Routes.Peek(http("r"))
	w.Refused.Set(http("r"), Refusal{Message: "too bad", Version: &refused.Route, LastGood: &last.Route})
	w.commit()
	expect(t, "the last good version is live", w.rules(http("r")), "0: ^/good; 1*service/other/far/80")
	expect(t, "status", w.route(http("r")),
		"gw: Accepted ResolvedRefs Programmed=False/Invalid")
	if m := w.messages(http("r")); !strings.Contains(m, "the version before it stays live: too bad") {
		t.Error(m)
	}

	w.delete(model.GroupGateway, model.KindReferenceGrant, "other", "g")
	if got := w.rules(http("r")); strings.Contains(got, "far") {
		t.Errorf("a grant that is gone still lets the last good version through: %s", got)
	}
	w.apply(grant, strings.Replace(good, "/good", "/new", 1))
	expect(t, "another version ends the refusal", w.rules(http("r")), "0: ^/new; 1*service/other/far/80")
	expect(t, "status of the new version", w.route(http("r")), fineRoute)
	if last.Rules[0].Backends[0].Backend == (model.BackendKey{}) {
		t.Error("the last good version was changed")
	}
}

func TestRefusedRouteWithoutAGoodVersion(t *testing.T) {
	w := newWorld(t, options(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", toService))
	w.Refused.Set(http("r"), Refusal{Message: "too bad"})
	w.commit()
	expect(t, "rules", w.rules(http("r")), "")
	expect(t, "status", w.route(http("r")), fineRoute+" Programmed=False/Invalid")
	if w.Backends.Len() != 0 {
		t.Error("a route that is not served keeps its backends")
	}
}

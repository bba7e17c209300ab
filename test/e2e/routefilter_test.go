package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// routeFilter is an HTTPRouteFilter of a name.
func routeFilter(name, spec string) string {
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: ` + name + `}
spec: ` + spec + "\n"
}

// uses is a filter of a rule that refers to the HTTPRouteFilter of a name.
func uses(name string) string {
	return `{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: ` + name + `}}`
}

// filtered is a rule with a match and the HTTPRouteFilter of the same name, which sends what is left to one.
func filtered(name, match string, checks ...check) ruleTest {
	return ruleTest{name: name, checks: checks, rules: `
  - matches: [` + match + `]
    filters: [` + uses(name) + `]
    backendRefs: [{${one}}]
`}
}

// TestRegexRewrite rewrites the path by a regular expression, and the host by a header, the backend's name or the path.
func TestRegexRewrite(t *testing.T) {
	t.Parallel()
	path := func(pattern, substitution string) string {
		return fmt.Sprintf(`{urlRewrite: {path: {type: ReplaceRegexMatch,
  replaceRegexMatch: {pattern: '%s', substitution: '%s'}}}}`, pattern, substitution)
	}
	to := func(path, host, want string) check {
		return check{request{path: path}, expect{backend: "one", host: host, path: want}}
	}
	forwarded := func(host, want string, header ...string) check {
		return check{request{header: header}, expect{backend: "one", host: host, received: []string{want}}}
	}
	runRules(t, []ruleTest{
		filtered("groups", `{path: {value: /service}}`,
			to("/service/foo/v1/api?x=1", "groups.example", "/v1/api/instance/foo"), to("/service", "", "/service")),
		filtered("every", `{}`, to("/xxx/one/yyy/one/zzz", "", "/xxx/two/yyy/two/zzz")),
		filtered("case", `{}`, to("/aaa/XxX/bbb", "", "/aaa/yyy/bbb")),
		filtered("by-header", `{}`, forwarded("real.example", "x-forwarded-host: by-header.example", "x-real: real.example"),
			forwarded("by-header.example", "x-forwarded-host:")),
		filtered("by-path", `{}`, to("/tenant/t1/api", "t1.example.internal", "/tenant/t1/api")),
		{name: "by-backend", rules: `
  - filters: [` + uses("by-backend") + `]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: named}]
`, checks: []check{forwarded("localhost", "x-forwarded-host:")}},
		{name: "of-a-share", rules: `
  - backendRefs:
    - {${one}, weight: 0}
    - {${two}, filters: [` + uses("groups") + `]}
`, checks: []check{{request{path: "/service/foo/v1"}, expect{backend: "two", path: "/v1/instance/foo"}}}},
	}, files{"filters.yaml": routeFilter("groups", path(`^/service/([^/]+)(/.*)$`, `\2/instance/\1`)) +
		routeFilter("every", path("one", "two")) + routeFilter("case", path("(?i)/xxx/", "/yyy/")) +
		routeFilter("by-header", `{urlRewrite: {hostname: {type: Header, header: x-real}}}`) +
		routeFilter("by-path", `{urlRewrite: {hostname: {type: PathRegex,
  pathRegex: {pattern: "^/tenant/([a-z0-9-]+)/.*", substitution: '\1.example.internal'}}}}`) +
		routeFilter("by-backend", `{urlRewrite: {hostname: {type: Backend}, appendXForwardedHost: false}}`) + `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: named}
spec: {endpoints: [{fqdn: {hostname: localhost, port: ${PORT_one}}}]}
`})
}

// TestDirectResponse answers without a backend. Percent signs in a body are text unless they make a command operator,
// and what could show the proxy's environment is refused.
func TestDirectResponse(t *testing.T) {
	t.Parallel()
	answers := func(path string, status int, body string, header ...string) check {
		return check{request{path: path}, expect{status: status, body: body, header: header}}
	}
	const page = 100_000
	runRules(t, []ruleTest{
		filtered("empty", `{}`, answers("/", 200, "", "content-length: 0")),
		filtered("text", `{}`, answers("/", 503, "<p>50% of 100% at %20 %2F%</p>", "content-type: text/html",
			"retry-after: 120", "x-a: 1", "x-b: 1", "x-p: 5% %REQ(a)%")),
		filtered("operators", `{}`, answers("/a?b=c", 200, `{"path": "/a?b=c", "none": "-", "sure": "100%"}`,
			"content-type: application/json")),
		filtered("in-configmap", `{}`, answers("/", 404, strings.Repeat("x", page))),
		filtered("binary", `{}`, answers("/", 200, "\xff\x00%PROTOCOL%", "content-type: image/png")),
		filtered("environment", `{}`, answers("/", 500, "")),
		filtered("gone", `{}`, answers("/", 500, "")),
	}, files{"filters.yaml": routeFilter("empty", `{directResponse: {}}`) +
		routeFilter("text", `{directResponse: {statusCode: 503, contentType: text/html,
  body: {inline: "<p>50% of 100%% at %20 %2F%</p>"}, header: {set: [{name: retry-after, value: "120"}],
  add: [{name: x-a, value: "1"}, {name: x-b, value: "1"}, {name: x-p, value: "5% %REQ(a)%"}]}}}`) +
		routeFilter("operators", `{directResponse: {contentType: application/json,
  body: {inline: '{"path": "%REQ(:path)%", "none": "%REQ(x-none)%", "sure": "100%"}'}}}`) +
		routeFilter("in-configmap", `{directResponse: {statusCode: 404,
  body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: page}}}}`) +
		routeFilter("binary", `{directResponse: {contentType: image/png,
  body: {type: ValueRef, valueRef: {group: "", kind: ConfigMap, name: logo}}}}`) +
		routeFilter("environment", `{directResponse: {body: {inline: "%ENVIRONMENT(PATH)%"}}}`) + `
---
apiVersion: v1
kind: ConfigMap
metadata: {name: page}
data: {response.body: ` + strings.Repeat("x", page) + `, a: other}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: logo}
binaryData: {logo.png: /wAlUFJPVE9DT0wl}
`})
}

// TestCookieMatch chooses a rule by cookies, as one condition more: it wins over the rule without.
func TestCookieMatch(t *testing.T) {
	t.Parallel()
	const rules = `
  - matches: [{path: {value: /}}]
    backendRefs: [{${one}}]
  - matches: [{path: {value: /}}]
    filters: [{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: canary}}]
    backendRefs: [{${two}}]
`
	with := func(backend string, cookies ...string) check {
		r := request{}
		for _, c := range cookies {
			r.header = append(r.header, "cookie: "+c)
		}
		return check{r, expect{backend: backend}}
	}
	runRules(t, []ruleTest{{name: "canary", rules: rules, checks: []check{
		with("one"), with("two", "stage=canary"), with("one", "stage=canary2"), with("one", "STAGE=canary"),
		with("two", "a=b; stage=canary; c=d"), with("one", "a=stage=canary"), with("one", "group=beta"),
		with("two", "group=beta-7; user=7"), with("one", "group=beta-7; user=x"), with("one", "group=beta-7"),
	}}}, files{"filters.yaml": routeFilter("canary", `
  matches:
  - cookies: [{name: stage, value: canary}]
  - cookies: [{name: group, type: RegularExpression, value: "beta-[0-9]+"}, {name: user, value: "7"}]
`)})
}

// TestGRPCRouteFilter has gRPC calls chosen by a cookie, given a credential, and denied by a direct response; one that
// would look like a success is refused.
func TestGRPCRouteFilter(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls}
spec:
  parentRefs: [{name: gw}]
  rules:
  - matches: [{method: {service: grpc.testing.TestService, method: UnaryCall}}]
    filters: [` + uses("inject") + `]
    backendRefs: [{${one}}]
  - matches: [{method: {service: grpc.testing.TestService, method: UnaryCall}}]
    filters: [` + uses("cookie") + `, ` + uses("deny") + `]
  - matches: [{method: {service: grpc.testing.TestService, method: EmptyCall}}]
    filters: [` + uses("fine") + `]
` + routeFilter("inject", `{credentialInjection: {header: x-token, credential: {valueRef: {name: token}}}}`) +
		routeFilter("cookie", `{matches: [{cookies: [{name: user, value: banned}]}]}`) +
		routeFilter("deny", `{directResponse: {statusCode: 403, body: {inline: go away}}}`) +
		routeFilter("fine", `{directResponse: {}}`) + credential("default", "token", "abc")})
	conn, err := grpc.NewClient("passthrough:"+in.address("HTTP"),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client := testpb.NewTestServiceClient(conn)

	var header metadata.MD
	res, err := client.UnaryCall(ctx, &testpb.SimpleRequest{}, grpc.Header(&header))
	if err != nil || res.GetServerId() != "one" || strings.Join(header.Get("echo-x-token"), "") != "abc" {
		t.Errorf("got %v from %v, %v, want the token abc at one", header, res, err)
	}
	banned := metadata.AppendToOutgoingContext(ctx, "cookie", "user=banned")
	if _, err := client.UnaryCall(banned, &testpb.SimpleRequest{}); status.Code(err) != codes.PermissionDenied ||
		!strings.Contains(err.Error(), "go away") {
		t.Errorf("got %v, want PermissionDenied: go away", err)
	}
	if _, err := client.EmptyCall(ctx, &testpb.Empty{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
	in.condition(t, conditionWant{kind: "GRPCRoute", name: "default/calls",
		condition: "PartiallyInvalid=True/UnsupportedValue", message: "means success to a gRPC client"})
}

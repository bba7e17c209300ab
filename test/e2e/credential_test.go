package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// credential is a Secret with a credential.
func credential(namespace, name, value string) string {
	return fmt.Sprintf(`
---
apiVersion: v1
kind: Secret
metadata: {namespace: %s, name: %s}
stringData: {credential: %s}
`, namespace, name, value)
}

// TestCredentialInjection gives backends credentials that clients do not have, and no client a request without.
func TestCredentialInjection(t *testing.T) {
	t.Parallel()
	injects := func(more string) string {
		return `{credentialInjection: {credential: {valueRef: {name: token}}` + more + `}}`
	}
	gets := func(header string, sent ...string) check {
		return check{request{header: sent}, expect{backend: "one", received: []string{header}}}
	}
	const both = `
  - filters: [%s, %s]
    backendRefs:
    - {${one}, weight: 0}
    - {${two}, filters: [%s]}
`
	runRules(t, []ruleTest{
		filtered("default", `{}`, gets("authorization: Bearer abc"), gets("authorization: mine", "authorization: mine")),
		filtered("overwrite", `{}`, gets("authorization: Bearer abc", "authorization: mine")),
		filtered("header", `{}`, gets("x-api-key: Bearer abc", "authorization: mine"),
			gets("authorization: mine", "authorization: mine")),
		{name: "several", rules: fmt.Sprintf(both, uses("default"), uses("header"), uses("other")), checks: []check{{
			request{}, expect{backend: "two", received: []string{"x-api-key: Bearer abc", "authorization: other"}},
		}}},
		filtered("gone", `{}`, check{request{}, expect{status: 500}}),
		filtered("foreign", `{}`, check{request{}, expect{status: 500}}),
		filtered("granted", `{}`, gets("authorization: granted")),
		filtered("broken", `{}`, check{request{}, expect{status: 500}}),
	}, files{"filters.yaml": routeFilter("default", injects("")) + routeFilter("overwrite", injects(", overwrite: true")) +
		routeFilter("header", injects(", header: X-API-Key")) +
		routeFilter("other", strings.Replace(injects(""), "token", "other", 1)) +
		routeFilter("gone", strings.Replace(injects(""), "token", "gone", 1)) +
		routeFilter("foreign", strings.Replace(injects(""), "name: token", "namespace: locked, name: token", 1)) +
		routeFilter("granted", strings.Replace(injects(""), "name: token", "namespace: vault, name: token", 1)) +
		routeFilter("broken", strings.Replace(injects(""), "token", "broken", 1)) + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {namespace: vault, name: grant}
spec:
  from: [{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, namespace: default}]
  to: [{group: "", kind: Secret, name: token}]
` + credential("default", "token", "Bearer abc") + credential("default", "other", "other") +
		credential("locked", "token", "locked") + credential("vault", "token", "granted") +
		credential("default", "broken", `"line\n"`)})
}

// TestCredentialUnderLoad brings filters with Secrets that Envoy has never heard of, one after the other, and changes
// each: no request comes before Envoy has the credential, which would answer it with 401. No configuration shows one.
//
// A filter goes when no route refers to it any more, as everybody has to do it: what is missing for more than the
// 150 ms in which a file source waits for it to come back is gone, and a route that refers to it is answered with 500.
func TestCredentialUnderLoad(t *testing.T) {
	t.Parallel()
	version := func(filter string) string {
		return `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edited}
spec:
  parentRefs: [{name: gw}]
  rules: [{filters: [` + filter + `], backendRefs: [{${one}}]}]
`
	}
	in := start(t, files{"edited.yaml": version("")})
	in.must(t, request{}, expect{backend: "one"})
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 1500, Requests: []load.Request{load.NewRequest("any.example", "/", nil)},
	})
	for i := range 15 {
		name := fmt.Sprintf("token-%d", i)
		filter := routeFilter(name, `{credentialInjection: {credential: {valueRef: {name: `+name+`}}}}`)
		in.write(name+".yaml", filter+credential("default", name, "secret-"+name))
		in.write("edited.yaml", version(uses(name)))
		in.want(t, request{}, expect{received: []string{"authorization: secret-" + name}})
		if i > 0 {
			in.remove(fmt.Sprintf("token-%d.yaml", i-1))
		}
		in.write(name+".yaml", filter+credential("default", name, "new-"+name))
		in.want(t, request{}, expect{received: []string{"authorization: new-" + name}})
	}
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	config, err := in.get("/config")
	if err != nil || !strings.Contains(string(config), "secretvalue/default/token-14/credential") {
		t.Fatalf("the configuration has no secret: %v", err)
	}
	if strings.Contains(string(config), "new-token") || strings.Contains(string(config), "bmV3LXRva2Vu") {
		t.Error("the configuration shows a credential")
	}
}

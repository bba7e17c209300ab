package resolve

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

func routeFilterYAML(name, spec string) string {
	return `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: HTTPRouteFilter
metadata: {name: ` + name + `, namespace: default}
spec: ` + spec + "\n"
}

const (
	useFilter      = `{type: ExtensionRef, extensionRef: {group: gateway.envoyproxy.io, kind: HTTPRouteFilter, name: f}}`
	filterOfRule   = `{filters: [` + useFilter + `], backendRefs: [{name: svc, port: 80}]}`
	injects        = `{credentialInjection: {credential: {valueRef: {name: token}}}}`
	injectsForeign = `{credentialInjection: {credential: {valueRef: {name: token, namespace: vault}}}}`
	tokenYAML      = `
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: default}
data: {credential: QmVhcmVyIGFiYw==}
`
	vaultYAML = `
apiVersion: v1
kind: Secret
metadata: {name: token, namespace: vault}
data: {credential: QmVhcmVyIGFiYw==}
`
	vaultGrantYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: vault}
spec:
  from: [{group: gateway.envoyproxy.io, kind: HTTPRouteFilter, namespace: default}]
  to: [{group: "", kind: Secret}]
`
)

// referring is options with features that refer to the objects of the fields of an HTTPRouteFilter.
func referring() Options {
	opts := options()
	opts.References = func(a model.Attached) []Reference {
		switch spec := a.Spec.(type) {
		case *egv1a1.HTTPDirectResponseFilter:
			if spec.Body != nil && spec.Body.ValueRef != nil {
				return []Reference{{Path: a.Path + ".body.valueRef", Object: &ObjectReference{
					Group: string(spec.Body.ValueRef.Group), Kind: string(spec.Body.ValueRef.Kind),
					Name: string(spec.Body.ValueRef.Name),
				}}}
			}
		case *egv1a1.HTTPCredentialInjectionFilter:
			to := secretRef(spec.Credential.ValueRef, "")
			return []Reference{{Path: a.Path + ".credential.valueRef", Object: &ObjectReference{
				Group: to.Group, Kind: to.Kind, Namespace: to.Namespace, Name: to.Name.Name,
			}}}
		}
		return nil
	}
	return opts
}

func TestHTTPRouteFilter(t *testing.T) {
	const backend = "1*service/default/svc/80"
	const unresolved = "gw: Accepted ResolvedRefs=False/"
	const unsupported = "gw: Accepted=False/UnsupportedValue ResolvedRefs"
	broken := func(reason string) string { return "^/; " + backend + "; 500 " + reason }
	cases := []struct{ name, rule, filter, want, status, message string }{
		{"missing", filterOfRule, "", broken("BackendNotFound"), unresolved + "BackendNotFound",
			"HTTPRouteFilter/default/f does not exist"},
		{"of the same name in another group", strings.Replace(filterOfRule, "gateway.envoyproxy.io", "x.io", 1),
			routeFilterYAML("f", "{}"), broken("InvalidKind"), unresolved + "InvalidKind", "use an HTTPRouteFilter of group"},
		{"without a field", filterOfRule, routeFilterYAML("f", "{}"), "^/; " + backend, fineRoute, ""},
		{"two fields", filterOfRule, routeFilterYAML("f", `{urlRewrite: {hostname: {type: Backend}},
  directResponse: {statusCode: 204}}`), "^/; " + backend +
			"; HTTPRouteFilter.urlRewrite at spec.urlRewrite; HTTPRouteFilter.directResponse at spec.directResponse",
			fineRoute, ""},
		{"a direct response needs no backend", `{filters: [` + useFilter + `]}`, routeFilterYAML("f", `{directResponse: {}}`),
			"^/; HTTPRouteFilter.directResponse at spec.directResponse", fineRoute, ""},
		{"a body that is missing", filterOfRule, routeFilterYAML("f", `{directResponse: {body: {type: ValueRef,
  valueRef: {group: "", kind: ConfigMap, name: page}}}}`), broken("BackendNotFound"), unresolved + "BackendNotFound",
			"HTTPRouteFilter/default/f, spec.directResponse.body.valueRef: ConfigMap/default/page does not exist"},
		{"a credential", filterOfRule, routeFilterYAML("f", injects) + "---" + tokenYAML, "^/; " + backend +
			"; HTTPRouteFilter.credentialInjection at spec.credentialInjection from Secret/default/token[credential]",
			fineRoute, ""},
		{"a credential that is missing", filterOfRule, routeFilterYAML("f", injects), broken("BackendNotFound"),
			unresolved + "BackendNotFound", "spec.credentialInjection.credential.valueRef: Secret/default/token does not exist"},
		{"a credential of another kind", filterOfRule,
			routeFilterYAML("f", strings.Replace(injects, "{name:", "{group: x.io, kind: Vault, name:", 1)),
			broken("InvalidKind"), unresolved + "InvalidKind", `Vault of group "x.io" cannot be read`},
		{"a credential of another namespace", filterOfRule, routeFilterYAML("f", injectsForeign) + "---" + vaultYAML,
			broken("RefNotPermitted"), unresolved + "RefNotPermitted",
			"No ReferenceGrant in namespace vault lets a HTTPRouteFilter of namespace default use Secret/vault/token"},
		{"a credential of another namespace with a grant", filterOfRule,
			routeFilterYAML("f", injectsForeign) + "---" + vaultYAML + "---" + vaultGrantYAML, "^/; " + backend +
				"; HTTPRouteFilter.credentialInjection at spec.credentialInjection from Secret/vault/token[credential]",
			fineRoute, ""},
		{"cookies restrict every match", `{matches: [{path: {value: /a}}, {method: GET}], filters: [` + useFilter +
			`], backendRefs: [{name: svc, port: 80}]}`, routeFilterYAML("f", `{matches: [
  {cookies: [{name: a, value: "1"}, {name: b, type: RegularExpression, value: x+}]},
  {cookies: [{name: C, value: d}]}]}`),
			"^/a @a=1 @b~x+; ^/a @C=d; GET ^/ @a=1 @b~x+; GET ^/ @C=d; " + backend, fineRoute, ""},
		{"a cookie with a bad expression", filterOfRule,
			routeFilterYAML("f", `{matches: [{cookies: [{name: a, type: RegularExpression, value: "("}]}]}`),
			broken("UnsupportedValue"), unsupported, "spec.matches[0].cookies[0].value: the regular expression is not valid"},
		{"two filters with cookies", `{filters: [` + useFilter + `, ` + useFilter +
			`], backendRefs: [{name: svc, port: 80}]}`,
			routeFilterYAML("f", `{matches: [{cookies: [{name: a, value: "1"}]}]}`),
			"^/ @a=1; " + backend + "; 500 UnsupportedValue", unsupported, "keep them in one HTTPRouteFilter"},
		{"cookies for a backend", `{backendRefs: [{name: svc, port: 81},
      {name: svc, port: 80, filters: [` + useFilter + `]}]}`,
			routeFilterYAML("f", `{matches: [{cookies: [{name: a, value: "1"}]}]}`),
			"^/; 1*service/default/svc/81; 1*invalid", unsupported, "can only be a filter of a rule"},
		{"missing for a backend", `{backendRefs: [{name: svc, port: 81}, {name: svc, port: 80, filters: [` + useFilter +
			`, {type: RequestHeaderModifier, requestHeaderModifier: {remove: [a]}}]}]}`, "",
			"^/; 1*service/default/svc/81; 1*invalid", unresolved + "BackendNotFound", "filters[0].extensionRef"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, referring(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", tc.rule),
				tc.filter)
			expect(t, "rules", w.rules(http("r")), "0: "+tc.want)
			expect(t, "status", w.route(http("r")), tc.status)
			if got := w.messages(http("r")); !strings.Contains(got, tc.message) {
				t.Errorf("the messages are %q, want %q", got, tc.message)
			}
		})
	}
}

// A grant that is withdrawn while a route stands back to its last good version holds for that version, too.
func TestLastGoodMayNotReadWhatIsNoLongerGranted(t *testing.T) {
	w := newWorld(t, referring(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", filterOfRule),
		routeFilterYAML("f", injectsForeign), vaultYAML, vaultGrantYAML)
	good, _ := w.Routes.Peek(http("r"))
	w.Refused.Set(http("r"), Refusal{Message: "no", LastGood: &good.Route})
	w.commit()
	const served = "0: ^/; 1*service/default/svc/80; " +
		"HTTPRouteFilter.credentialInjection at spec.credentialInjection from Secret/vault/token[credential]"
	expect(t, "rules", w.rules(http("r")), served)
	w.delete(model.GroupGateway, model.KindReferenceGrant, "vault", "g")
	expect(t, "rules without the grant", w.rules(http("r")), served+"; 500 RefNotPermitted")
}

// A change to what a filter refers to recomputes the filter and the routes that use it; one to another key of a Secret
// or to another filter does not.
func TestRouteFilterCost(t *testing.T) {
	w := newWorld(t, referring(), classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", filterOfRule),
		routeYAML("other", "", toService), routeFilterYAML("f", injects), tokenYAML)
	if got := work(w.apply(strings.Replace(tokenYAML, "FiYw", "RlZg", 1))); !strings.Contains(got, "route filters 1/1") ||
		!strings.Contains(got, "routes 1/1") {
		t.Errorf("a new credential recomputes %s", got)
	}
	if got := work(w.apply(routeFilterYAML("g", injects))); strings.Contains(got, "routes ") {
		t.Errorf("a filter that nobody uses recomputes %s", got)
	}
}

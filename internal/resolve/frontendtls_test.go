package resolve

import (
	"crypto/elliptic"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// frontendYAML adds the configuration of clients, in flow style, to a Gateway.
func frontendYAML(gateway, frontend string) string {
	return gateway + "  tls: {frontend: {" + frontend + "}}\n"
}

// validates renders how the HTTPS listener on a port validates clients: "" if it does not serve.
func (w *world) validates(port uint16) string {
	p, ok := w.Ports.Peek(model.PortKey{Proxy: "default/gw", Port: port})
	if !ok {
		return ""
	}
	switch c := p.Listeners[0].Clients; {
	case c == nil:
		return "nobody"
	case c.Optional:
		return c.Trust.String() + " optional"
	default:
		return c.Trust.String()
	}
}

func TestFrontendValidation(t *testing.T) {
	const (
		fine    = "https [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs"
		refused = "https [HTTPRoute,GRPCRoute] 0: Accepted=False/NoValidCACertificate ResolvedRefs=False/"
		dead    = " Programmed=False/Invalid"
	)
	validation := func(refs, rest string) string {
		return `default: {validation: {caCertificateRefs: [` + refs + `]` + rest + `}}`
	}
	const ca, missing = `{group: "", kind: ConfigMap, name: ca}`, `{group: "", kind: ConfigMap, name: missing}`
	chain, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	cases := []struct{ name, frontend, extra, status, validates string }{
		{"default", validation(ca, ""), "", fine, "ca:configmap/default/ca"},
		{"fallback", validation(ca, ", mode: AllowInsecureFallback"), "", fine, "ca:configmap/default/ca optional"},
		{"another port", `default: {}, perPort: [{port: 444, tls: {validation: {caCertificateRefs: [` + missing + `]}}}]`, "",
			fine, "nobody"},
		{"the port", validation(missing, "") +
			`, perPort: [{port: 443, tls: {validation: {caCertificateRefs: [` + ca + `]}}}]`, "", fine,
			"ca:configmap/default/ca"},
		{"none on the port", validation(missing, "") + `, perPort: [{port: 443, tls: {}}]`, "", fine, "nobody"},
		{"one of two", validation(missing+", "+ca, ""), "",
			"https [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs=False/InvalidCACertificateRef", "ca:configmap/default/ca"},
		{"missing", validation(missing, ""), "", refused + "InvalidCACertificateRef" + dead, ""},
		{"missing, and fallback", validation(missing, ", mode: AllowInsecureFallback"), "",
			refused + "InvalidCACertificateRef" + dead, ""},
		{"wrong kind", validation(`{group: "", kind: Service, name: svc}`, ""), "",
			refused + "InvalidCACertificateKind" + dead, ""},
		{"no grant", validation(`{group: "", kind: ConfigMap, name: ca, namespace: other}`, ""), "",
			refused + "RefNotPermitted" + dead, ""},
		{"grant", validation(`{group: "", kind: ConfigMap, name: ca, namespace: other}`, ""), `
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: other}
spec:
  from: [{group: gateway.networking.k8s.io, kind: Gateway, namespace: default}]
  to: [{group: "", kind: ConfigMap}]
` + strings.Replace(caYAML(t, "ca"), "namespace: default", "namespace: other", 1),
			fine, "ca:configmap/other/ca"},
		{"ClusterTrustBundle", validation(`{group: certificates.k8s.io, kind: ClusterTrustBundle, name: "x:y"}`, ""),
			bundleOf(model.KindClusterTrustBundle, `"x:y"`, "", string(chain)), fine, "ca:clustertrustbundle/x:y"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), caYAML(t, "ca"), tc.extra,
				frontendYAML(gatewayYAML("gw", plainHTTP, httpsListener), tc.frontend))
			lines := strings.Split(w.gateway(inDefault("gw")), "\n")
			expect(t, "plain HTTP", lines[1], "http [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs")
			expect(t, "status", lines[2], tc.status)
			if got := w.validates(443); got != tc.validates {
				t.Errorf("port 443 validates against %q, want %q", got, tc.validates)
			}
			insecure := strings.Contains(lines[0], "InsecureFrontendValidationMode=True/ConfigurationChanged")
			if want := strings.Contains(tc.frontend, "AllowInsecureFallback"); insecure != want {
				t.Errorf("the Gateway's conditions are %s", lines[0])
			}
		})
	}
}

func TestClientCertificate(t *testing.T) {
	const fine, invalid = "Accepted ResolvedRefs", "Accepted ResolvedRefs=False/InvalidClientCertificateRef"
	cases := []struct{ name, ref, want string }{
		{"good", `{name: cert}`, fine},
		{"missing", `{name: missing}`, invalid},
		{"group", `{group: wrong.example, kind: Secret, name: cert}`, invalid},
		{"kind", `{group: "", kind: ConfigMap, name: cert}`, invalid},
		{"malformed", `{name: bad}`, invalid},
		{"no grant", `{name: cert, namespace: other}`, "Accepted ResolvedRefs=False/RefNotPermitted"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, secretYAML(t, "cert"),
				secretOf("default", "bad", []byte("x"), []byte("x")),
				gatewayYAML("gw", plainHTTP)+"  tls: {backend: {clientCertificateRef: "+tc.ref+"}}\n",
				serviceYAML, routeYAML("r", "", aRoute))
			got, _, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
			expect(t, "conditions", got, tc.want)
			b, _ := w.Bindings.Peek(http("r"))
			want := model.ClientCertificate{Broken: true}
			if tc.want == fine {
				want = model.ClientCertificate{Secret: inDefault("cert")}
			}
			if len(b.Bound) != 1 || b.Bound[0].Client != want {
				t.Errorf("the route is bound with %+v, want %+v", b.Bound, want)
			}
			if _, ok := w.Certificates.Peek(inDefault("cert")); ok != (tc.want == fine) {
				t.Errorf("the certificate is there: %t", ok)
			}
		})
	}
}

// TestTLSOfListenerSets: what a Gateway says about clients and backends holds for the listeners of its ListenerSets,
// and it is the Gateway that is granted the CA certificates.
func TestTLSOfListenerSets(t *testing.T) {
	gateway := gatewayYAML("gw", plainHTTP) + `  allowedListeners: {namespaces: {from: All}}
  tls:
    backend: {clientCertificateRef: {name: cert}}
    frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}
`
	w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), caYAML(t, "ca"), gateway, `
apiVersion: gateway.networking.k8s.io/v1
kind: ListenerSet
metadata: {name: set, namespace: team}
spec:
  parentRef: {name: gw, namespace: default}
  listeners: [{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: cert}]}}]
---
`+strings.Replace(secretYAML(t, "cert"), "namespace: default", "namespace: team", 1)+`
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: team}
spec: {parentRefs: [{kind: ListenerSet, name: set}], rules: [{backendRefs: [{name: svc, port: 80}]}]}
`)
	if got := w.validates(443); got != "ca:configmap/default/ca" {
		t.Errorf("port 443 validates against %q", got)
	}
	b, _ := w.Bindings.Peek(model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "team", Name: "r"}})
	if len(b.Bound) != 1 || b.Bound[0].Client.Secret != inDefault("cert") {
		t.Errorf("the route is bound with %+v", b.Bound)
	}
}

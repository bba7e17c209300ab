package resolve

import (
	"crypto/elliptic"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// bundleOf is an object of the namespace default that can hold a CA bundle, holding text under a key.
func bundleOf(kind, name, key, text string) string {
	switch kind {
	case model.KindSecret:
		return fmt.Sprintf("\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: default}\n"+
			"data: {%s: %s}\n", name, key, base64.StdEncoding.EncodeToString([]byte(text)))
	case model.KindClusterTrustBundle:
		return fmt.Sprintf("\n---\napiVersion: certificates.k8s.io/v1\nkind: ClusterTrustBundle\nmetadata: {name: %s}\n"+
			"spec: {trustBundle: %q}\n", name, text)
	}
	return fmt.Sprintf("\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s, namespace: default}\n"+
		"data: {%s: %q}\n", name, key, text)
}

// caYAML is a ConfigMap with a new CA certificate.
func caYAML(t testing.TB, name string) string {
	chain, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	return bundleOf(model.KindConfigMap, name, caKey, string(chain))
}

// policyYAML is a BackendTLSPolicy with a validation and one target, both in flow style.
func policyYAML(name, target, validation string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: %s, namespace: default}
spec:
  targetRefs: [{%s}]
  validation: {%s}
`, name, target, validation)
}

const (
	toSvc     = `group: "", kind: Service, name: svc`
	trustsCA  = `hostname: a.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]`
	aRoute    = `{backendRefs: [{name: svc, port: 80}]}`
	bothPorts = `{backendRefs: [{name: svc, port: 80}, {name: svc, port: 81}]}`
)

// policy renders the status of a BackendTLSPolicy: a line for each ancestor.
func (w *world) policy(name string) string {
	p, ok := w.Policies.Peek(tlsPolicyRef(inDefault(name)))
	if !ok {
		return "none"
	}
	var lines []string
	for _, a := range p.Status.Ancestors {
		lines = append(lines, fmt.Sprintf("%s of %s: %s", a.AncestorRef.Name, a.ControllerName, conditions(a.Conditions)))
	}
	return strings.Join(lines, "\n")
}

// secures renders how a port of the Service svc is connected to: "SNI CA names", "cleartext", or "" if it is not.
func (w *world) secures(port uint16) string {
	b, ok := w.Backends.Peek(model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: port})
	switch {
	case !ok:
		return ""
	case b.TLS == nil:
		return "cleartext"
	}
	out := []string{b.TLS.SNI, b.TLS.Trust.String()}
	for _, n := range b.TLS.Names {
		out = append(out, n.Value)
	}
	return strings.Join(out, " ")
}

func TestBackendTLSPolicy(t *testing.T) {
	const (
		fine    = "gw of " + controller + ": Accepted ResolvedRefs"
		refused = "gw of " + controller + ": Accepted=False/"
		secured = "a.example ca:configmap/default/ca a.example"
	)
	chain, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	refs := func(list string) string { return `hostname: a.example, caCertificateRefs: [` + list + `]` }
	cases := []struct {
		name, target, validation, extra string
		status, secures                 string
	}{
		{"whole Service", toSvc, trustsCA, "", fine, secured},
		{"section", toSvc + ", sectionName: http", trustsCA, "", fine, secured},
		{"another section", toSvc + ", sectionName: h2", trustsCA, "", "", "cleartext"},
		{"no such section", toSvc + ", sectionName: nope", trustsCA, "", refused + "TargetNotFound ResolvedRefs", ""},
		{"the number of a port", toSvc + `, sectionName: "80"`, trustsCA, "", refused + "TargetNotFound ResolvedRefs", ""},
		{"Secret", toSvc, refs(`{group: "", kind: Secret, name: s}`),
			bundleOf(model.KindSecret, "s", caKey, string(chain)), fine, "a.example ca:secret/default/s a.example"},
		{"ClusterTrustBundle", toSvc, refs(`{group: certificates.k8s.io, kind: ClusterTrustBundle, name: x}`),
			bundleOf(model.KindClusterTrustBundle, "x", "", string(chain)), fine,
			"a.example ca:clustertrustbundle/x a.example"},
		{"several, one of them missing", toSvc,
			refs(`{group: "", kind: ConfigMap, name: ca}, {group: "", kind: ConfigMap, name: missing}`), "",
			"gw of " + controller + ": Accepted ResolvedRefs=False/InvalidCACertificateRef", secured},
		{"missing", toSvc, refs(`{group: "", kind: ConfigMap, name: missing}`), "",
			refused + "NoValidCACertificate ResolvedRefs=False/InvalidCACertificateRef", ""},
		{"malformed", toSvc, refs(`{group: "", kind: ConfigMap, name: bad}`),
			bundleOf(model.KindConfigMap, "bad", caKey, "x"),
			refused + "NoValidCACertificate ResolvedRefs=False/InvalidCACertificateRef", ""},
		{"wrong kind", toSvc, refs(`{group: "", kind: Service, name: svc}`), "",
			refused + "NoValidCACertificate ResolvedRefs=False/InvalidKind", ""},
		{"System", toSvc, `hostname: A.example, wellKnownCACertificates: System`, "", fine, "a.example ca:system a.example"},
		{"unknown well-known", toSvc, `hostname: a.example, wellKnownCACertificates: x.example/y`, "",
			refused + "Invalid ResolvedRefs", ""},
		{"names", toSvc, trustsCA +
			`, subjectAltNames: [{type: URI, uri: "spiffe://a/b"}, {type: Hostname, hostname: "*.B"}]`, "", fine,
			"a.example ca:configmap/default/ca spiffe://a/b *.b"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			opts := options()
			opts.SystemCAs = "/ca.pem"
			w := newWorld(t, opts, classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, routeYAML("r", "", aRoute),
				caYAML(t, "ca"), policyYAML("p", tc.target, tc.validation), tc.extra)
			expect(t, "status", w.policy("p"), tc.status)
			expect(t, "backend", w.secures(80), tc.secures)
			route, _ := w.Routes.Peek(http("r"))
			if failed := route.Rules[0].Fault != nil; failed != (tc.secures == "") {
				t.Errorf("requests fail: %t", failed)
			}
			expect(t, "route", w.route(http("r")), "gw: Accepted ResolvedRefs")
		})
	}
}

// TestOptionsOfAPolicy: what an option asks for may be what makes the connection safe.
func TestOptionsOfAPolicy(t *testing.T) {
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, routeYAML("r", "", aRoute),
		caYAML(t, "ca"), policyYAML("p", toSvc, trustsCA)+"  options: {example.com/pin: x}")
	expect(t, "status", w.policy("p"), "gw of "+controller+": Accepted=False/Invalid ResolvedRefs")
	expect(t, "backend", w.secures(80), "")
}

func TestPolicyConflicts(t *testing.T) {
	other := strings.Replace(trustsCA, "a.example", "b.example", 1)
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, routeYAML("r", "", bothPorts),
		caYAML(t, "ca"), policyYAML("b", toSvc, trustsCA), policyYAML("c", toSvc, other))
	const (
		fine = "gw of " + controller + ": Accepted ResolvedRefs"
		lost = "gw of " + controller + ": Accepted=False/Conflicted ResolvedRefs"
	)
	check := func(what string, statuses map[string]string, port80, port81 string) {
		t.Helper()
		for name, want := range statuses {
			expect(t, what+": "+name, w.policy(name), want)
		}
		for port, sni := range map[uint16]string{80: port80, 81: port81} {
			if got, _, _ := strings.Cut(w.secures(port), " "); got != sni {
				t.Errorf("%s: port %d is for %q, want %q", what, port, got, sni)
			}
		}
	}
	check("by name", map[string]string{"b": fine, "c": lost}, "a.example", "a.example")
	w.apply(strings.Replace(policyYAML("b", toSvc, trustsCA), "namespace: default",
		`namespace: default, creationTimestamp: "2026-01-02T00:00:00Z"`, 1))
	check("by age", map[string]string{"b": lost, "c": fine}, "b.example", "b.example")
	w.apply(policyYAML("z", toSvc+", sectionName: h2", strings.Replace(trustsCA, "a.example", "z.example", 1)))
	check("by section", map[string]string{"b": lost, "c": fine, "z": fine}, "b.example", "z.example")
	w.apply(policyYAML("z", toSvc+", sectionName: h2", strings.Replace(trustsCA, "name: ca", "name: none", 1)))
	check("never the general one instead of a broken one", map[string]string{"c": fine}, "b.example", "")
	w.delete(model.GroupGateway, model.KindBackendTLSPolicy, "default", "c")
	check("the next in line", map[string]string{"b": fine, "c": "none"}, "a.example", "")
}

// TestAncestors: a policy has the Gateways as ancestors whose routes use its target, and only those.
func TestAncestors(t *testing.T) {
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), gatewayYAML("b", plainHTTP),
		gatewayYAML("c", plainHTTP), serviceYAML, caYAML(t, "ca"), policyYAML("p", toSvc, trustsCA),
		policyYAML("section", toSvc+", sectionName: h2", trustsCA))
	gateways := func(policy string) string {
		p, _ := w.Policies.Peek(tlsPolicyRef(inDefault(policy)))
		var out []string
		for _, a := range p.Status.Ancestors {
			out = append(out, string(a.AncestorRef.Name))
		}
		return strings.Join(out, " ")
	}
	check := func(what, whole, section string) {
		t.Helper()
		if got := gateways("p") + "/" + gateways("section"); got != whole+"/"+section {
			t.Errorf("%s: ancestors are %s, want %s/%s", what, got, whole, section)
		}
	}
	check("no route", "", "")
	w.apply(routeYAML("r", "", aRoute))
	check("one route", "gw", "")
	second := strings.Replace(routeYAML("s", "", bothPorts), "[{name: gw}]", "[{name: b}, {name: gw}, {name: foreign}]", 1)
	w.apply(second)
	check("two parents", "b gw", "b gw")
	w.apply(strings.Replace(second, "{name: b}", "{name: c, sectionName: none}", 1))
	check("a parent that does not take the route", "gw", "gw")
	mirror := `{filters: [{type: RequestMirror, requestMirror: {backendRef: {name: svc, port: 81}}}], ` +
		`backendRefs: [{name: other, port: 80}]}`
	w.apply(strings.Replace(routeYAML("s", "", mirror), "[{name: gw}]", "[{name: c}]", 1))
	check("a mirror", "c gw", "c")
	w.delete(model.GroupGateway, model.KindHTTPRoute, "default", "r")
	w.delete(model.GroupGateway, model.KindHTTPRoute, "default", "s")
	check("none again", "", "")
}

// TestSecureAppProtocol: a Service that speaks TLS is never spoken to in cleartext.
func TestSecureAppProtocol(t *testing.T) {
	for _, protocol := range []string{"HTTPS", "https", "kubernetes.io/wss"} {
		svc := strings.Replace(serviceYAML, "{name: http, port: 80}", "{name: http, port: 80, appProtocol: "+protocol+"}", 1)
		w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), svc, routeYAML("r", "", aRoute),
			caYAML(t, "ca"))
		expect(t, protocol, w.route(http("r")), "gw: Accepted ResolvedRefs=False/UnsupportedProtocol")
		if !strings.Contains(w.messages(http("r")), "attach a BackendTLSPolicy to it") {
			t.Errorf("the message does not help: %s", w.messages(http("r")))
		}
		w.apply(policyYAML("p", toSvc, trustsCA))
		expect(t, protocol, w.route(http("r")), "gw: Accepted ResolvedRefs")
		expect(t, protocol, w.secures(80), "a.example ca:configmap/default/ca a.example")
	}
}

func TestBundles(t *testing.T) {
	one, key := newCertificate(t, ecKey(t, elliptic.P256()))
	two, _ := newCertificate(t, ecKey(t, elliptic.P224()))
	cut := one[:len(one)/2]
	crl := "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n"
	cases := []struct {
		name, text, want string
		certificates     int
	}{
		{"one", string(one), "", 1},
		{"two, with words between", "# Root\n" + string(one) + "\nAnother\n" + string(two), "", 2},
		{"CRLF", strings.ReplaceAll(string(one), "\n", "\r\n"), "", 1},
		{"a key beside it", string(one) + string(key), "", 1},
		{"nothing", "", "holds no PEM certificate", 0},
		{"only a key", string(key), "holds no PEM certificate", 0},
		{"cut short", string(one) + string(cut), "holds 2 PEM certificates of which 1 are damaged", 0},
		{"no certificate inside", string(one) + "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
			"holds a certificate, number 2, that cannot be parsed", 0},
		{"revocation list", string(one) + crl, "holds a certificate revocation list", 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			got, err := readBundle([]byte(tc.text))
			if len(got) != tc.certificates {
				t.Errorf("got %d certificates, want %d", len(got), tc.certificates)
			}
			if message := fmt.Sprint(err); tc.want == "" && err != nil || !strings.HasPrefix(message, tc.want) && err != nil {
				t.Errorf("got the error %q, want %q", message, tc.want)
			}
			if tc.want != "" && err == nil {
				t.Errorf("no error, want %q", tc.want)
			}
		})
	}
}

// TestAuthority: what several bundles hold is put together, each certificate once.
func TestAuthority(t *testing.T) {
	one, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	two, _ := newCertificate(t, ecKey(t, elliptic.P256()))
	refs := `hostname: a.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: first}, ` +
		`{group: "", kind: Secret, name: second}]`
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, policyYAML("p", toSvc, refs),
		bundleOf(model.KindConfigMap, "first", caKey, string(one)),
		bundleOf(model.KindSecret, "second", caKey, string(two)+string(one)))
	a, ok := w.Authorities.Peek(model.TrustIn([]model.Ref{
		{Kind: model.KindSecret, Name: inDefault("second")}, {Kind: model.KindConfigMap, Name: inDefault("first")},
	}))
	if want := slices.Concat(one, two); !ok || string(a.Bundle) != string(want) {
		t.Errorf("got %s, want %s", a.Bundle, want)
	}
}

// TestPolicyOfAnXBackend: a policy holds for backends of every kind.
func TestPolicyOfAnXBackend(t *testing.T) {
	const target = "group: gateway.networking.x-k8s.io, kind: XBackend, name: x"
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), caYAML(t, "ca"),
		policyYAML("p", target, trustsCA),
		routeYAML("r", "", `{backendRefs: [{group: gateway.networking.x-k8s.io, kind: XBackend, name: x}]}`), `
apiVersion: gateway.networking.x-k8s.io/v1alpha1
kind: XBackend
metadata: {name: x, namespace: default}
spec: {type: ExternalHostname, externalHostname: {hostname: x.example}, port: {number: 443}}
`)
	expect(t, "status", w.policy("p"), "gw of "+controller+": Accepted ResolvedRefs")
	b, ok := w.Backends.Peek(model.BackendKey{Kind: model.KindXBackend, Name: inDefault("x")})
	if !ok || b.TLS == nil || b.TLS.SNI != "a.example" {
		t.Errorf("the backend is %+v, %t, want TLS for a.example", b, ok)
	}
}

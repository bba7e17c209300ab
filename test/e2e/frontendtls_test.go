package e2e

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"
)

// frontendGateway returns a Gateway with an HTTP listener and HTTPS listeners on ${HTTPS} and ${SPARE}, and what it
// asks of clients.
func frontendGateway(frontend string) string {
	return fmt.Sprintf(gatewayWith+`
  - {name: http, protocol: HTTP, port: ${HTTP}}
  - {name: https, protocol: HTTPS, port: ${HTTPS}, tls: {certificateRefs: [{name: server}]}}
  - {name: spare, protocol: HTTPS, port: ${SPARE}, tls: {certificateRefs: [{name: server}]}}
  tls:
    frontend:
      %s
`, strings.ReplaceAll(strings.TrimSpace(frontend), "\n", "\n      "))
}

// validates is the validation by the CA certificates in a ConfigMap.
func validates(configMap, rest string) string {
	return fmt.Sprintf(`{validation: {caCertificateRefs: [{group: "", kind: ConfigMap, name: %s}]%s}}`, configMap, rest)
}

const everything = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: all}
spec: {parentRefs: [{name: gw}], rules: [{backendRefs: [{${one}}]}]}
`

// TestClientValidation sends client certificates that are right, wrong and missing to listeners that ask for one.
func TestClientValidation(t *testing.T) {
	t.Parallel()
	ca, clients, other := newAuthority(t), newAuthority(t), newAuthority(t)
	own, foreign := *clients.certificate(t), *other.certificate(t)
	in := start(t, files{
		"gateway.yaml": frontendGateway("default: " + validates("clients", "") +
			"\nperPort: [{port: ${SPARE}, tls: " + validates("other", ", mode: AllowInsecureFallback") + "}]"),
		"backends.yaml": backendsYAML, "route.yaml": everything, "secret.yaml": ca.secret(t, "server", "ecdsa", "a.example"),
		"clients.yaml": bundle("clients", clients) + bundle("other", other),
	})
	with := func(port string, certificates ...tls.Certificate) request {
		return request{host: "a.example", port: port,
			header: []string{"x-forwarded-client-cert: By=forged"},
			tls:    &tls.Config{ServerName: "a.example", RootCAs: ca.pool, Certificates: certificates}}
	}
	accepted := expect{backend: "one", received: []string{"x-forwarded-client-cert:"}}
	in.must(t, with("HTTPS", own), accepted)
	for name, certificates := range map[string][]tls.Certificate{"another CA": {foreign}, "no certificate": nil} {
		if a, err := in.send(t.Context(), with("HTTPS", certificates...)); err == nil {
			t.Errorf("%s: got %d, want no connection", name, a.status)
		}
	}
	in.must(t, request{host: "a.example"}, expect{backend: "one"})
	in.must(t, with("SPARE", foreign), accepted)
	in.must(t, with("SPARE", own), accepted)
	in.must(t, with("SPARE"), accepted)
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw",
		condition: "InsecureFrontendValidationMode=True/ConfigurationChanged"})

	// Nobody can be validated without CA certificates, and the port must not be open to everybody meanwhile.
	in.remove("clients.yaml")
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "https",
		condition: "Accepted=False/NoValidCACertificate"})
	eventually(t, func() error {
		for _, port := range []string{"HTTPS", "SPARE"} {
			if a, err := in.send(t.Context(), with(port, own)); err == nil {
				return fmt.Errorf("port %s still answers, with %d", port, a.status)
			}
		}
		return nil
	})
	in.must(t, request{host: "a.example"}, expect{backend: "one"})
}

// TestClientCARotation replaces the CA certificates of clients: with both, clients of both are let in.
func TestClientCARotation(t *testing.T) {
	t.Parallel()
	ca, old, renewed := newAuthority(t), newAuthority(t), newAuthority(t)
	in := start(t, files{
		"gateway.yaml":  frontendGateway("default: " + validates("clients", "") + "\nperPort: [{port: ${SPARE}, tls: {}}]"),
		"backends.yaml": backendsYAML, "route.yaml": everything, "secret.yaml": ca.secret(t, "server", "ecdsa", "a.example"),
		"clients.yaml": bundle("clients", old),
	})
	by := func(a *authority) request {
		return request{host: "a.example", port: "HTTPS", tls: &tls.Config{
			ServerName: "a.example", RootCAs: ca.pool, Certificates: []tls.Certificate{*a.certificate(t)},
		}}
	}
	before, after := by(old), by(renewed)
	client := in.client(before)
	defer client.CloseIdleConnections()
	onOpen := func() {
		t.Helper()
		a, err := in.sendOn(t.Context(), client, before)
		if err == nil {
			err = in.check(expect{backend: "one"}, a)
		}
		if err != nil {
			t.Errorf("on the open connection: %v", err)
		}
	}
	onOpen()
	in.rewrite(t, "clients.yaml", bundle("clients", old, renewed), "ConfigMap/default/clients")
	in.want(t, after, expect{backend: "one"})
	in.must(t, before, expect{backend: "one"})
	in.rewrite(t, "clients.yaml", bundle("clients", renewed), "ConfigMap/default/clients")
	eventually(t, func() error {
		if _, err := in.send(t.Context(), before); err == nil {
			return fmt.Errorf("the old CA is still trusted")
		}
		return nil
	})
	in.must(t, after, expect{backend: "one"})
	// A connection that was made before goes on: the listener did not change. A new one could not be made.
	onOpen()
}

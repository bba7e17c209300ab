package resolve

import (
	"slices"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// clientOptions are those of policyOptions with stand-ins for settings of ports, for what some listeners cannot have,
// and for CA certificates of clients.
func clientOptions() Options {
	o := policyOptions()
	check := o.CheckAttached
	o.CheckAttached = func(list []model.Attached) status.Report {
		for _, a := range list {
			if t, ok := a.Spec.(*egv1a1.ClientTLSSettings); ok && t.ClientValidation == nil {
				return status.Report{{Path: a.Path, Message: "It validates nobody: add clientValidation"}}
			}
		}
		return check(slices.DeleteFunc(slices.Clone(list), func(a model.Attached) bool {
			return slices.Contains([]string{
				"ClientTrafficPolicy.tls", "ClientTrafficPolicy.connection", "ClientTrafficPolicy.http1",
			}, a.Feature)
		}))
	}
	o.Guards = func(feature string) bool {
		return feature == "ClientTrafficPolicy.clientIPDetection" || feature == "ClientTrafficPolicy.tls"
	}
	o.References = func(a model.Attached) []Reference {
		spec, ok := a.Spec.(*egv1a1.ClientTLSSettings)
		if !ok || spec.ClientValidation == nil {
			return nil
		}
		var out []Reference
		for _, ref := range spec.ClientValidation.CACertificateRefs {
			out = append(out, Reference{Path: a.Path + ".ca", Authority: SecretReference(ref)})
		}
		if spec.ClientValidation.Crl != nil {
			for _, ref := range spec.ClientValidation.Crl.Refs {
				out = append(out, Reference{Path: a.Path + ".crl", Revoked: SecretReference(ref)})
			}
		}
		return out
	}
	o.PortSettings = func(a model.Attached) string {
		if c, ok := a.Spec.(*egv1a1.ClientConnection); ok && c.BufferLimit != nil {
			return c.BufferLimit.String()
		}
		return ""
	}
	o.CheckListener = func(a model.Attached, _ *model.Listener, hostnames []string) status.Report {
		if a.Feature != "ClientTrafficPolicy.http1" || len(hostnames) > 0 {
			return nil
		}
		return status.Report{{Condition: status.Accepted, Reason: "Invalid", Path: a.Path, Message: "No host: add one"}}
	}
	return o
}

func clientPolicy(name, target string, fields ...string) string {
	return envoyPolicyYAML(model.KindClientTrafficPolicy, name, append([]string{target}, fields...)...)
}

// Fields of ClientTrafficPolicies.
const (
	slow     = `timeout: {http: {requestReceivedTimeout: 5s}}`
	detect   = `clientIPDetection: {directSourceIP: {}}`
	buffer   = `connection: {bufferLimit: 1Ki, connectionLimit: {value: 5}}`
	noClient = `tls: {minVersion: "1.2"}`
)

// clientGateway has plain HTTP listeners on the ports 80 and 81 and, on port 443, one for HTTPS and one that leaves
// TLS to the backend.
func clientGateway(t testing.TB) string {
	return gatewayYAML("gw", plainHTTP, `{name: same, port: 80, protocol: HTTP, hostname: a.example}`,
		`{name: other, port: 81, protocol: HTTP}`, httpsListener,
		`{name: pass, port: 443, protocol: TLS, hostname: p.example, tls: {mode: Passthrough}}`) + "\n---\n" +
		secretYAML(t, "cert")
}

// TestClientPolicies: the ClientTrafficPolicy that holds for a listener is part of what manages it, as far as it means
// something to it. Plain HTTP listeners that share a port have to ask for the same, field by field; what guards lets
// nobody through until they do. Listeners that share only the port have to ask for the same of that.
func TestClientPolicies(t *testing.T) {
	at := func(listener string) string { return strings.Replace(toListener, "http}", listener+"}", 1) }
	tests := []struct {
		name    string
		objects []string
		want    string
	}{
		{"of the Gateway", []string{clientPolicy("c", toGateway, slow)},
			"http: timeout; same: timeout; other: timeout; https: timeout; pass: timeout; 443:"},
		{"of one of two listeners of a port", []string{clientPolicy("c", toListener, slow)},
			"http: ; same: ; other: ; https: ; pass: ; 443:"},
		{"the same in two policies", []string{clientPolicy("c", toListener, slow), clientPolicy("d", at("same"), slow)},
			"http: timeout; same: timeout; other: ; https: ; pass: ; 443:"},
		{"the same but for one field", []string{
			clientPolicy("c", toListener, slow, buffer), clientPolicy("d", at("same"), slow),
		}, "http: timeout; same: timeout; other: ; https: ; pass: ; 443:"},
		{"a guard of one of two listeners of a port", []string{clientPolicy("c", toListener, detect)},
			"http: denied ConflictedClientTrafficPolicy; same: ; other: ; https: ; pass: ; 443:"},
		{"a listener of its own port", []string{clientPolicy("c", at("other"), slow)},
			"http: ; same: ; other: timeout; https: ; pass: ; 443:"},
		{"a guard that cannot be applied, where it means something", []string{clientPolicy("c", toGateway, noClient)},
			"http: ; same: ; other: ; https: denied InvalidClientTrafficPolicy; pass: ; 443:"},
		{"a policy that cannot be read", []string{unreadable(clientPolicy("c", toGateway))},
			"http: denied UnreadableClientTrafficPolicy; same: denied UnreadableClientTrafficPolicy; " +
				"other: denied UnreadableClientTrafficPolicy; https: denied UnreadableClientTrafficPolicy; " +
				"pass: denied UnreadableClientTrafficPolicy; 443:"},
		{"of the port, for one of its listeners", []string{clientPolicy("c", at("https"), buffer)},
			"http: ; same: ; other: ; https: connection; pass: ; 443:"},
		{"of the port, for all", []string{clientPolicy("c", at("https"), buffer), clientPolicy("d", at("pass"), buffer)},
			"http: ; same: ; other: ; https: connection; pass: connection; 443: connection"},
		{"what a listener cannot have", []string{clientPolicy("c", toGateway, "http1: {http10: {}}")},
			"http: http1; same: http1; other: ; https: ; pass: ; 443:"},
	}
	for _, tt := range tests {
		e := incr.New(2)
		store := resource.NewStore(e)
		w := &world{Tables: New(e, store, clientOptions()), t: t, e: e, store: store}
		managed := incr.NewTable(w.e, "managed", func(r *incr.Reader, key model.ListenerKey) (string, bool) {
			seat, ok := incr.Get(r, w.Seats, key)
			if !ok {
				return "", false
			}
			port, _ := incr.Get(r, w.Ports, seat.Port)
			list, denied := w.Managed(r, port, &seat.Listener)
			out := fieldNames(list)
			if denied != "" {
				out = strings.TrimSpace(out + " denied " + denied)
			}
			return out, true
		}, w.Seats)
		ofPort := incr.NewTable(w.e, "of ports", func(r *incr.Reader, key model.PortKey) (string, bool) {
			return fieldNames(w.OfPort(r, key)), true
		}, w.Ports)
		w.apply(append([]string{classYAML, clientGateway(t)}, tt.objects...)...)
		var out []string
		for _, name := range []string{"http", "same", "other", "https", "pass"} {
			text, _ := managed.Peek(model.ListenerKey{Source: gatewayRef(inDefault("gw")), Name: name})
			out = append(out, name+": "+text)
		}
		text, _ := ofPort.Peek(model.PortKey{Proxy: "local", Port: 443})
		expect(t, tt.name, strings.Join(append(out, strings.TrimSpace("443: "+text)), "; "), tt.want)
	}
}

// unreadable marks a policy as what is left of one that could not be read.
func unreadable(policy string) string {
	return strings.Replace(policy, "metadata: {", `metadata: {annotations: {sluice.dev/unreadable: "true"}, `, 1)
}

func fieldNames(list []model.Attached) string {
	var out []string
	for _, a := range list {
		out = append(out, strings.TrimPrefix(a.Feature, "ClientTrafficPolicy."))
	}
	return strings.Join(out, " ")
}

// TestClientPolicyStatus: a policy says which of its fields have no effect on a listener, and why.
func TestClientPolicyStatus(t *testing.T) {
	toOther := strings.Replace(toListener, "http}", "other}", 1)
	tests := []struct{ name, policy, want string }{
		{"a setting of a port", clientPolicy("c", strings.Replace(toListener, "http}", "https}", 1), buffer),
			"Gateway gw/https: Accepted=False/Conflicted | spec.connection: It has settings of the port as a whole, which all " +
				"of its listeners share, and listener default/gw/pass is on port 443 too and does not ask for the same: nobody " +
				"there gets it; say the same in the policies of both, or use another port"},
		{"what a listener cannot have", clientPolicy("c", toOther, "http1: {http10: {}}"),
			"Gateway gw/other: Accepted=False/Invalid | spec.http1: No host: add one"},
		{"nothing that others share", clientPolicy("c", toOther, slow),
			"Gateway gw/other: Accepted"},
		{"CA certificates that are not there", clientPolicy("c", toGateway,
			"tls: {clientValidation: {caCertificateRefs: [{kind: ConfigMap, name: gone}]}}"),
			"Gateway gw: Accepted=False/Invalid | spec.tls.ca: ConfigMap/default/gone does not exist"},
		{"CA certificates that are not granted", clientPolicy("c", toGateway,
			"tls: {clientValidation: {caCertificateRefs: [{name: ca, namespace: far}]}}"),
			"Gateway gw: Accepted=False/Invalid | spec.tls.ca: No ReferenceGrant in namespace far lets a " +
				"ClientTrafficPolicy of namespace default use Secret/far/ca"},
		{"a bundle as a revocation list", clientPolicy("c", toGateway,
			"tls: {clientValidation: {crl: {refs: [{kind: ConfigMap, name: ca}]}}}"),
			"Gateway gw: Accepted=False/Invalid | spec.tls.crl: ConfigMap/default/ca is not valid: it has no key ca.crl"},
	}
	for _, tt := range tests {
		w := newWorld(t, clientOptions(), classYAML, clientGateway(t), caYAML(t, "ca"), tt.policy)
		expect(t, tt.name, (&pretend{world: w}).policyStatus(model.KindClientTrafficPolicy, "c"), tt.want)
	}
}

// TestClientTrust: the CA certificates of clients and what is revoked of them are one trust, whose name stays when they
// change.
func TestClientTrust(t *testing.T) {
	policy := clientPolicy("c", toGateway, "tls: {clientValidation: {caCertificateRefs: [{kind: ConfigMap, name: ca}], "+
		"crl: {refs: [{kind: ConfigMap, name: revoked}]}}}")
	w := newWorld(t, clientOptions(), classYAML, clientGateway(t), caYAML(t, "ca"), crlYAML(t, "revoked", 1), policy)
	trust := model.TrustIn([]model.Ref{{Kind: model.KindConfigMap, Name: inDefault("ca")}}).
		But([]model.Ref{{Kind: model.KindConfigMap, Name: inDefault("revoked")}})
	before, ok := w.Authorities.Peek(trust)
	if !ok || !strings.Contains(string(before.Bundle), "BEGIN CERTIFICATE") ||
		!strings.Contains(string(before.Revoked), "BEGIN X509 CRL") {
		t.Fatalf("the authority is %v: %q and %q", ok, before.Bundle, before.Revoked)
	}
	res := w.apply(crlYAML(t, "revoked", 2))
	after, _ := w.Authorities.Peek(trust)
	if string(after.Revoked) == string(before.Revoked) {
		t.Error("a new list does not reach the authority")
	}
	expect(t, "work", work(res), "revocation lists 1/1, policy fields 1/0, authorities 1/1")
}

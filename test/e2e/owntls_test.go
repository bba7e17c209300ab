package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"
)

// ownTLSCase is a backend that says itself how it is to be connected to.
type ownTLSCase struct {
	name string
	// tls is spec.tls; policy, if not empty, the validation of a BackendTLSPolicy for it.
	tls, policy string
	// hosts are what its certificate is for. It asks clients for a certificate if they have to show one of a CA.
	hosts   []string
	clients *x509.CertPool
	status  int
	// sni is what it is asked for, version what is spoken with it, as far as the case looks at these.
	sni     string
	version uint16
	proto   string
}

// object is the Backend, or XBackend, with its policy and a route to it from the host NAME.test.
func (c ownTLSCase) object(b *secureBackend, kind string) string {
	port := b.Addr().(*net.TCPAddr).Port
	spec := fmt.Sprintf("{endpoints: [{hostname: endpoint.example, ip: {address: 127.0.0.1, port: %d}}], tls: {%s}}",
		port, c.tls)
	api := "gateway.envoyproxy.io"
	if kind == "XBackend" {
		api = "gateway.networking.x-k8s.io"
		spec = fmt.Sprintf("{type: ExternalHostname, externalHostname: {hostname: localhost}, port: {number: %d}, tls: {%s}}",
			port, c.tls)
	}
	out := fmt.Sprintf("\n---\napiVersion: %s/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec: %s\n", api, kind, c.name,
		spec)
	if c.policy != "" {
		out += securedBy(c.name, fmt.Sprintf("group: %s, kind: %s, name: %s", api, kind, c.name), c.policy)
	}
	return out + fmt.Sprintf("\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: %[1]s}\n"+
		"spec: {parentRefs: [{name: gw}], hostnames: [%[1]s.test], rules: [{backendRefs: [{group: %[2]s, kind: %[3]s, "+
		"name: %[1]s}]}]}\n", c.name, api, kind)
}

// check sends a request, and looks at what the backend saw.
func (c ownTLSCase) check(t *testing.T, in *instance, b *secureBackend) {
	want := expect{status: c.status}
	if c.status == 200 {
		want.backend, want.proto = c.name, c.proto
	}
	in.want(t, request{host: c.name + ".test"}, want)
	last := b.last()
	if c.sni != "" && last.ServerName != c.sni {
		t.Errorf("the backend was asked for %q, want %q", last.ServerName, c.sni)
	}
	if c.version != 0 && last.Version != c.version {
		t.Errorf("TLS %x was spoken, want %x", last.Version, c.version)
	}
}

// TestBackendOwnTLS connects to Backends and XBackends as their spec.tls says, with the BackendTLSPolicy coming first
// and the EnvoyProxy of the Gateway last. What cannot be verified gets nothing.
func TestBackendOwnTLS(t *testing.T) {
	t.Parallel()
	ca, foreign := newAuthority(t), newAuthority(t)
	const trust = `caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]`
	validation := func(hostname string) string { return "validation: {" + trusting("ca", hostname) + "}" }
	right := []string{"right.example"}
	backends := []ownTLSCase{
		{name: "sni", tls: trust + ", sni: right.example", hosts: right, status: 200, sni: "right.example"},
		{name: "sni-wrong", tls: trust + ", sni: right.example", hosts: []string{"wrong.example"}, status: 503},
		{name: "host", tls: trust, hosts: []string{"host.test"}, status: 200, sni: "host.test"},
		{name: "host-wrong", tls: trust, hosts: right, status: 503},
		{name: "endpoint", tls: trust + ", autoSNIFromEndpointHostname: true", hosts: []string{"endpoint.example"},
			status: 200, sni: "endpoint.example"},
		{name: "endpoint-wrong", tls: trust + ", autoSNIFromEndpointHostname: true", hosts: right, status: 503},
		{name: "insecure", tls: "insecureSkipVerify: true, sni: right.example", hosts: []string{"wrong.example"},
			status: 200, sni: "right.example"},
		{name: "system", tls: "wellKnownCACertificates: System, sni: right.example", hosts: right, status: 503},
		{name: "nobody", tls: "sni: right.example", hosts: right, status: 500},
		{name: "missing", tls: `caCertificateRefs: [{group: "", kind: ConfigMap, name: gone}], sni: right.example`,
			hosts: right, status: 500},
		{name: "policy", tls: "sni: own.example", policy: trusting("ca", "right.example"), hosts: right, status: 200,
			sni: "right.example"},
		{name: "policy-verifies", tls: "insecureSkipVerify: true", policy: trusting("ca", "right.example"),
			hosts: []string{"wrong.example"}, status: 503},
		{name: "highest", tls: trust + `, sni: right.example, maxVersion: "1.2"`, hosts: right, status: 200,
			version: tls.VersionTLS12},
		{name: "alpn", tls: trust + ", sni: right.example, alpnProtocols: [h2, http/1.1]", hosts: right, status: 200,
			proto: "HTTP/2.0"},
		{name: "client", tls: trust + ", sni: right.example, clientCertificateRef: {name: own}", hosts: right,
			clients: foreign.pool, status: 200},
		{name: "of-proxy", tls: trust + ", sni: right.example", hosts: right, clients: ca.pool, status: 200,
			version: tls.VersionTLS12},
		{name: "over-proxy", tls: trust + `, sni: right.example, maxVersion: "1.3"`, hosts: right, status: 200,
			version: tls.VersionTLS13},
		{name: "no-client", tls: trust + ", sni: right.example, clientCertificateRef: {name: gone}", hosts: right,
			status: 500},
		{name: "no-cipher", tls: trust + ", sni: right.example, ciphers: [NULL-SHA]", hosts: right, status: 500},
	}
	xbackends := []ownTLSCase{
		{name: "x-server", tls: "mode: ServerOnly, " + validation("right.example"), hosts: right, status: 200,
			sni: "right.example"},
		{name: "x-wrong", tls: "mode: ServerOnly, " + validation("right.example"), hosts: []string{"wrong.example"},
			status: 503},
		{name: "x-client", tls: "mode: ClientAndServer, clientCertificateRef: {name: own}, " + validation("right.example"),
			hosts: right, clients: foreign.pool, status: 200},
		{name: "x-missing", tls: "mode: ServerOnly, validation: {" + trusting("gone", "right.example") + "}", hosts: right,
			status: 500},
	}
	f := files{
		"gateway.yaml": loggedYAML, "backends.yaml": backendsYAML, "ca.yaml": bundle("ca", ca),
		"secrets.yaml": foreign.secret(t, "own", "ecdsa", "own.example") + ca.secret(t, "shown", "ecdsa", "shown.example"),
		"proxy.yaml":   envoyProxy(`backendTLS: {clientCertificateRef: {name: shown}, maxVersion: "1.2"}`),
	}
	servers := map[string]*secureBackend{}
	for kind, cases := range map[string][]ownTLSCase{"Backend": backends, "XBackend": xbackends} {
		for _, c := range cases {
			servers[c.name] = serveSecurely(t, c.name, *ca.certificate(t, c.hosts...), c.clients)
			f[c.name+".yaml"] = c.object(servers[c.name], kind)
		}
	}
	in := start(t, f)
	for _, c := range append(backends, xbackends...) {
		t.Run(c.name, func(t *testing.T) { c.check(t, in, servers[c.name]) })
	}
	in.condition(t, conditionWant{kind: "Backend", name: "default/nobody", condition: "Accepted=False/Invalid",
		message: "whom to trust"})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/no-cipher",
		condition: "ResolvedRefs=False/BackendNotFound", message: "is not known to Envoy"})
	in.condition(t, conditionWant{kind: "Backend", name: "default/policy", condition: "Accepted=True/Accepted"})
}

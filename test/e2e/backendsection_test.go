package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// TestBackendTLSSection secures backends by the section of them that a policy names: the number of a Backend's port, as
// Envoy Gateway has it, and the name of a Service's. Where there is no such section, or where it is one of several that
// share a cluster, requests fail: what somebody wants to secure is never sent in clear text.
func TestBackendTLSSection(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	service := func(section string) func(string, *secureBackend) string {
		return func(name string, b *secureBackend) string {
			return b.service(name, "") + securedBy(name, `group: "", kind: Service, name: `+name+", sectionName: "+section,
				trusting("ca", "right.example"))
		}
	}
	backend := func(section string) func(string, *secureBackend) string {
		return func(name string, b *secureBackend) string {
			port := fmt.Sprint(b.Addr().(*net.TCPAddr).Port)
			return b.object(name) + securedBy(name, backendGroup+name+", sectionName: "+
				strings.ReplaceAll(section, "PORT", port), trusting("ca", "right.example"))
		}
	}
	cases := []struct {
		name   string
		object func(name string, b *secureBackend) string
		status int
		// condition is that of the policy, message a part of what it says.
		condition, message string
	}{
		{"backend-port", backend(`"PORT"`), 200, "Accepted=True/Accepted", ""},
		{"backend-other", backend(`"1PORT"`), 500, "Accepted=False/TargetNotFound", "has no endpoint at the port 1"},
		{"backend-two", func(name string, b *secureBackend) string {
			port := b.Addr().(*net.TCPAddr).Port
			return strings.Replace(backend(`"PORT"`)(name, b), "endpoints: [",
				fmt.Sprintf("endpoints: [{ip: {address: 127.0.0.1, port: %d}}, ", port-1), 1)
		}, 500, "Accepted=False/Invalid", "Use a Backend for each port"},
		{"service-port", service("secure"), 200, "Accepted=True/Accepted", ""},
		{"service-typo", service("secured"), 500, "Accepted=False/TargetNotFound", "name one of secure, or remove"},
		{"service-number", service(`"443"`), 500, "Accepted=False/TargetNotFound", "has no port named 443"},
	}
	f := files{"ca.yaml": bundle("ca", ca)}
	backends := map[string]*secureBackend{}
	for _, tc := range cases {
		b := serveMixed(t, tc.name, *ca.certificate(t, "right.example"))
		backends[tc.name] = b
		ref := backendGroup + tc.name
		if strings.HasPrefix(tc.name, "service") {
			ref = "name: " + tc.name + ", port: 443"
		}
		f[tc.name+".yaml"] = tc.object(tc.name, b) + hostRoute(tc.name, "[{backendRefs: [{"+ref+"}]}]")
	}
	in := start(t, f)
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			in.want(t, request{host: tc.name + ".example"}, expect{status: tc.status})
			secure, plain := backends[tc.name].counts()
			if plain > 0 || (secure > 0) != (tc.status == 200) {
				t.Errorf("the backend had %d connections by TLS, and %d in clear text", secure, plain)
			}
			in.condition(t, conditionWant{kind: "BackendTLSPolicy", name: "default/" + tc.name, condition: tc.condition,
				message: tc.message})
		})
	}
}

package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// ownAddresses are addresses by which a proxy reaches its own machine, or what is not meant for users.
var ownAddresses = []string{
	"127.0.0.1", "127.1.2.3", "0.0.0.0", "169.254.169.254", "169.254.0.1", "168.63.129.16", "100.100.100.200", "224.0.0.1",
	"::1", "::", "fe80::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "fd00:ec2::254", "ff02::1",
}

// TestA11BackendsOnTheProxysMachine names the proxy's own machine, its link and metadata services in everything that
// can be a backend: in a cluster none of them becomes an endpoint.
func TestA11BackendsOnTheProxysMachine(t *testing.T) {
	endpoints := map[string]string{
		"fqdn localhost": "fqdn: {hostname: localhost, port: 80}", "fqdn below": "fqdn: {hostname: x.LOCALHOST, port: 80}",
		"fqdn with a dot": "fqdn: {hostname: localhost., port: 80}", "socket": "unix: {path: /run/admin.sock}",
		"abstract socket": `unix: {path: "@admin"}`,
	}
	for _, address := range ownAddresses {
		endpoints["ip "+address] = fmt.Sprintf("ip: {address: %q, port: 80}", address)
	}
	for name, endpoint := range endpoints {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: own, namespace: default}
spec: {endpoints: [{%s}]}
`, endpoint), routeYAML("r", "", "{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: own}]}"))
			expect(t, "status", w.route(http("r")), "gw: Accepted ResolvedRefs=False/BackendNotFound")
			if message := w.messages(http("r")); !strings.Contains(message, "endpoints[0]") {
				t.Errorf("it does not say where the mistake is: %s", message)
			}
			if w.Backends.Len()+w.Endpoints.Len() != 0 {
				t.Errorf("there are %d backends and %d with endpoints", w.Backends.Len(), w.Endpoints.Len())
			}
		})
	}
}

// TestA11SlicesWrittenByHand has EndpointSlices that nobody but their author vouches for.
func TestA11SlicesWrittenByHand(t *testing.T) {
	slice := func(family string, addresses ...string) string {
		return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: by-hand-%s, namespace: default, labels: {kubernetes.io/service-name: svc}}
addressType: %s
ports: [{name: http, port: 19000}]
endpoints: [{addresses: ["%s"]}, {addresses: ["%s"], conditions: {ready: false, serving: true, terminating: true}}]
`, strings.ToLower(family), family, strings.Join(addresses, `", "`), addresses[0])
	}
	key := model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: 80}
	for _, tt := range []struct {
		opts Options
		want int
	}{{options(), 1}, {shared(), 1 + len(ownAddresses)}} {
		w := newWorld(t, tt.opts, classYAML, serviceYAML, gatewayYAML("gw", plainHTTP), routeYAML("r", "", toService),
			slice("IPv4", append([]string{"192.0.2.1"}, ownAddresses[:8]...)...), slice("IPv6", ownAddresses[8:]...))
		got, _ := w.Endpoints.Peek(key)
		// Some are the same once they are written alike.
		if tt.want == 1 {
			if diff := cmp.Diff([]model.Endpoint{{Address: "192.0.2.1", Port: 19000}}, got); diff != "" {
				t.Error(diff)
			}
		} else if len(got) < 10 {
			t.Errorf("on one machine, which is the operator's own, there are %d endpoints", len(got))
		}
	}
}

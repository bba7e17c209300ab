package resolve

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

const fleet = 10_000

// large is a world with as many routes on one Gateway, each with a host and a Service of its own.
func large(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, options(), classYAML, secretYAML(t, "cert"), fleetGateway("cert"))
	route := decodeOne(t, fleetRoute(0, "/")).obj.(*gwv1.HTTPRoute)
	service := decodeOne(t, fleetService(0)).obj.(*corev1.Service)
	slice := decodeOne(t, fleetSlice(0, "10.0.0.1")).obj.(*discoveryv1.EndpointSlice)
	for i := range fleet {
		r, s, sl := route.DeepCopy(), service.DeepCopy(), slice.DeepCopy()
		r.Name, s.Name, sl.Name = fmt.Sprintf("r%d", i), fmt.Sprintf("s%d", i), fmt.Sprintf("s%d", i)
		r.Spec.Hostnames[0] = gwv1.Hostname(fmt.Sprintf("h%d.example.com", i))
		r.Spec.Rules[0].BackendRefs[0].Name = gwv1.ObjectName(s.Name)
		sl.Labels[discoveryv1.LabelServiceName] = s.Name
		w.store.Set(http(r.Name).Ref(), r)
		w.store.Set(model.Ref{Kind: model.KindService, Name: inDefault(s.Name)}, s)
		w.store.Set(model.Ref{Group: model.GroupDiscovery, Kind: model.KindEndpointSlice, Name: inDefault(sl.Name)}, sl)
	}
	w.commit()
	if got, _ := w.GatewayStatus.Peek(inDefault("gw")); got.Listeners[0].AttachedRoutes != fleet {
		t.Fatalf("%d routes are attached", got.Listeners[0].AttachedRoutes)
	}
	return w
}

func fleetGateway(certificate string, more ...string) string {
	return gatewayYAML("gw", append([]string{plainHTTP,
		`{name: https, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: ` + certificate + `}]}}`}, more...)...)
}

func fleetRoute(i int, path string) string {
	r := routeYAML(fmt.Sprintf("r%d", i), fmt.Sprintf("h%d.example.com", i),
		fmt.Sprintf("{matches: [{path: {value: %s}}], backendRefs: [{name: s%d, port: 80}]}", path, i))
	return strings.Replace(r, "{name: gw}", "{name: gw, sectionName: http}", 1)
}

func fleetService(i int) string {
	return strings.Replace(serviceYAML, "name: svc", fmt.Sprintf("name: s%d", i), 1)
}

func fleetSlice(i int, address string) string {
	return fmt.Sprintf(`
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: s%d, namespace: default, labels: {kubernetes.io/service-name: s%d}}
addressType: IPv4
ports: [{name: http, port: 3000}]
endpoints: [{addresses: [%s]}]
`, i, i, address)
}

// fleetPolicy is the BackendTLSPolicy of the i-th Service.
func fleetPolicy(i int, hostname string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata: {name: p%d, namespace: default}
spec:
  targetRefs: [{group: "", kind: Service, name: s%d}]
  validation: {hostname: %s, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}
`, i, i, hostname)
}

// fleetTraffic is a BackendTrafficPolicy.
func fleetTraffic(name, kind, target string, retries int) string {
	return btp(name, fmt.Sprintf("targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s}]", kind, target),
		fmt.Sprintf("retry: {numRetries: %d}", retries))
}

// work renders what was recomputed: "routes 1/1", recomputed and changed, for each table.
func work(res incr.Result) string {
	var out []string
	for _, tw := range res.Tables {
		out = append(out, fmt.Sprintf("%s %d/%d", tw.Table, tw.Recomputed, tw.Changed))
	}
	return strings.Join(out, ", ")
}

// TestCostOfAChange: with 10,000 routes on one Gateway, a change recomputes the keys that it touches and no others.
func TestCostOfAChange(t *testing.T) {
	w := large(t)
	route := fleetRoute(7, "/new")
	steps := []struct {
		name string
		do   func() incr.Result
		want string
	}{
		{"edit a route", func() incr.Result { return w.apply(route) },
			"routes 1/1, bindings 1/0, route status 1/0"},
		{"nothing but the generation", func() incr.Result {
			return w.apply(strings.Replace(route, "namespace: default", "namespace: default, generation: 2", 1))
		}, "routes 1/0, bindings 1/0, route status 1/1"},
		{"endpoints", func() incr.Result { return w.apply(fleetSlice(7, "10.0.0.2")) }, "endpoints 1/1"},
		{"labels of a Service", func() incr.Result {
			return w.apply(strings.Replace(fleetService(7), "namespace: default", "namespace: default, labels: {a: b}", 1))
		}, "service ports 1/0"},
		{"protocol of a Service's port", func() incr.Result {
			return w.apply(strings.Replace(fleetService(7), "http, port: 80}", "http, port: 80, appProtocol: h2c}", 1))
		}, "service ports 1/1, routes 1/0, backends 1/1, endpoints 1/0"},
		{"a new route", func() incr.Result { return w.apply(fleetService(fleet), fleetRoute(fleet, "/")) },
			"service ports 1/1, routes 1/1, selecting policies 1/0, bindings 1/1, backend uses 1/1, backends 1/1, " +
				"endpoints 1/1, gateway status 1/1, " +
				"route status 1/1"},
		{"remove a route", func() incr.Result { return w.delete(model.GroupGateway, model.KindHTTPRoute, "default", "r7") },
			"routes 1/1, selecting policies 1/0, bindings 1/1, backend uses 1/1, backends 1/1, endpoints 1/1, " +
				"gateway status 1/1, route status 1/1"},
		{"rotate a certificate", func() incr.Result { return w.apply(secretYAML(t, "cert")) },
			"certificate pairs 1/1, gateways 1/0, certificates 1/1"},
		{"another certificate", func() incr.Result { return w.apply(secretYAML(t, "new"), fleetGateway("new")) },
			"own gateways 1/1, controllers 1/0, certificate pairs 2/2, gateways 1/1, hosting gateways 1/0, " +
				"doors 2/0, sections 1/0, registries of gateways 1/0, " +
				"gateway policies 1/0, contenders 2/1, arenas 1/0, owners 1/0, seats 1/1, ports 1/1, " +
				"port accords 1/0, " +
				"certificates 2/2, gateway status 1/0"},
		{"a listener with a host of its own", func() incr.Result {
			return w.apply(fleetGateway("new", `{name: other, port: 80, protocol: HTTP, hostname: "*.example.org"}`))
		}, "own gateways 1/1, controllers 1/0, gateways 1/1, hosting gateways 1/0, doors 3/1, sections 1/1, " +
			"registries of gateways 1/0, listener policies 1/0, quic listeners 1/0, gateway policies 1/0, " +
			"contenders 3/1, arenas 1/0, owners 1/1, seats 1/1, ports 1/1, port accords 1/0, gateway status 1/1"},
		{"a policy for a backend", func() incr.Result { return w.apply(fleetPolicy(9, "a.example"), caYAML(t, "ca")) },
			"ca bundles 1/1, backendtlspolicy holders 1/1, backendtlspolicies 1/1, backend guards 1/1, authorities 1/1, " +
				"routes 1/0, backends 1/1, policy status 1/1"},
		{"another host name in the policy", func() incr.Result { return w.apply(fleetPolicy(9, "b.example")) },
			"backendtlspolicy holders 1/0, backendtlspolicies 1/1, backend guards 1/0, backends 1/1, " +
				"policy status 1/0"},
		{"other CA certificates", func() incr.Result { return w.apply(caYAML(t, "ca")) },
			"ca bundles 1/1, backendtlspolicies 1/0, authorities 1/1"},
		{"a policy for a route", func() incr.Result { return w.apply(fleetTraffic("p", "HTTPRoute", "r9", 3)) },
			"policy targets 1/1, policy fields 1/1, route policies 1/1, policy uses of routes 1/1, policy uses 1/1, " +
				"fetches of policies 1/0, backends of policies 1/0, policy status 1/1"},
		{"an edit of it", func() incr.Result { return w.apply(fleetTraffic("p", "HTTPRoute", "r9", 4)) },
			"policy targets 1/0, policy fields 1/1, fetches of policies 1/0, backends of policies 1/0, policy status 1/0"},
		{"an edit of the route that it is for", func() incr.Result { return w.apply(fleetRoute(9, "/newer")) },
			"routes 1/1, bindings 1/0, policy uses of routes 1/0, route status 1/0, policy status 1/0"},
		{"another target", func() incr.Result { return w.apply(fleetTraffic("p", "HTTPRoute", "r10", 4)) },
			"policy targets 1/1, policy fields 1/0, route policies 2/2, policy uses of routes 2/2, policy status 1/0"},
		{"a policy for a listener of the Gateway", func() incr.Result {
			return w.apply(fleetTraffic("g", "Gateway", "gw, sectionName: https", 3))
		}, "policy targets 1/1, policy fields 1/1, policies of listener sources 1/1, listener policies 3/1, " +
			"port accords 2/0, policy uses of routes 1/0, policy uses of listener sources 1/1, policy uses 1/1, " +
			"fetches of policies 1/0, backends of policies 1/0, policy status 1/1"},
		{"an edit of that", func() incr.Result {
			return w.apply(fleetTraffic("g", "Gateway", "gw, sectionName: https", 4))
		}, "policy targets 1/0, policy fields 1/1, fetches of policies 1/0, backends of policies 1/0, policy status 1/0"},
		{"a grant for others", func() incr.Result {
			return w.apply(`
apiVersion: gateway.networking.k8s.io/v1
kind: ReferenceGrant
metadata: {name: g, namespace: default}
spec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: x}], to: [{group: "", kind: Service}]}
`)
		}, ""},
	}
	for _, s := range steps {
		if got := work(s.do()); got != s.want {
			t.Errorf("%s recomputed\n%s\nwant\n%s", s.name, got, s.want)
		}
	}
}

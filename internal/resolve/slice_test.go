package resolve

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// sliceYAML is an EndpointSlice of the Service svc, with endpoints for its port http.
func sliceYAML(name, addressType, endpoints string) string {
	return fmt.Sprintf("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: %s, namespace: default, "+
		"labels: {kubernetes.io/service-name: svc}}\naddressType: %s\nports: [{name: http, port: 8080}]\nendpoints: [%s]\n",
		name, addressType, endpoints)
}

// TestNamedEndpoints: the endpoints of a Service can be host names, which Envoy resolves; but not those of the proxy's
// own machine, and not beside IP addresses.
func TestNamedEndpoints(t *testing.T) {
	names := sliceYAML("names", "FQDN", "{addresses: [B.example.]}, {addresses: [a.example], zone: z}, "+
		"{addresses: [127.0.0.1, localhost, a.localhost, no_name, 192.0.2.7]}, "+
		"{addresses: [c.example], conditions: {ready: false}}")
	const fine = "gw: Accepted ResolvedRefs"
	w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML, names, routeYAML("r", "", aRoute))
	key := model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: 80}
	endpoints := func() string {
		b, _ := w.Backends.Peek(key)
		list, _ := w.Endpoints.Peek(key)
		var out []string
		for _, e := range list {
			out = append(out, fmt.Sprintf("%s:%d@%s", e.Address, e.Port, e.Zone))
		}
		return fmt.Sprintf("kind %d: %s", b.Address, strings.Join(out, " "))
	}
	named := fmt.Sprintf("kind %d: a.example:8080@z b.example:8080@", model.AddressDNS)
	expect(t, "names", endpoints(), named)
	expect(t, "route", w.route(http("r")), fine)
	w.apply(sliceYAML("none", "IPv4", ""))
	expect(t, "beside an empty slice", endpoints(), named)
	w.apply(sliceYAML("addresses", "IPv4", "{addresses: [192.0.2.1]}"))
	expect(t, "beside addresses", w.route(http("r")), "gw: Accepted ResolvedRefs=False/UnsupportedAddressType")
	if message := w.messages(http("r")); !strings.Contains(message, "a Service can have one of them") {
		t.Errorf("the message is %q", message)
	}
	w.delete("discovery.k8s.io", "EndpointSlice", "default", "names")
	expect(t, "addresses", endpoints(), fmt.Sprintf("kind %d: 192.0.2.1:8080@", model.AddressIP))
	expect(t, "route", w.route(http("r")), fine)
}

// TestZonePreference: what Services say of zones, by the field or by the annotation.
func TestZonePreference(t *testing.T) {
	near, spread := model.ZonePreference{MinEndpoints: 1, MinLocal: 1}, model.ZonePreference{MinEndpoints: 3, MinLocal: 3}
	annotated := func(value string) string {
		return strings.Replace(serviceYAML, "namespace: default}", "namespace: default, annotations: "+
			"{service.kubernetes.io/topology-mode: "+value+"}}", 1)
	}
	cases := map[string]struct {
		service string
		want    model.ZonePreference
	}{
		"nothing":        {serviceYAML, model.ZonePreference{}},
		"PreferClose":    {serviceYAML + "  trafficDistribution: PreferClose\n", near},
		"PreferSameNode": {serviceYAML + "  trafficDistribution: PreferSameNode\n", near},
		"Auto":           {annotated("Auto"), spread},
		"auto":           {annotated("auto"), spread},
		"Disabled":       {annotated("Disabled"), model.ZonePreference{}},
		"both":           {annotated("Auto") + "  trafficDistribution: PreferSameZone\n", near},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, options(), classYAML, gatewayYAML("gw", plainHTTP), tc.service, routeYAML("r", "", aRoute))
			b, _ := w.Backends.Peek(model.BackendKey{Kind: model.KindService, Name: inDefault("svc"), Port: 80})
			if b.Prefer != tc.want {
				t.Errorf("got %+v, want %+v", b.Prefer, tc.want)
			}
		})
	}
}

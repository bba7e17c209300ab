package resolve

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-gateway/sluice/internal/model"
)

// fleets are options of a cluster.
func fleets() Options {
	o := options()
	o.Fleets = &FleetOptions{Namespace: "sluice-system", Reserved: map[uint16]string{19001: "metrics"}}
	return o
}

const classWithParameters = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: sluice, uid: class-uid}
spec:
  controllerName: sluice.dev/gateway-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: shared, namespace: default}
`

func envoyProxyYAML(name, spec string) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: %s, namespace: default}
spec: {%s}
`, name, spec)
}

func infra(gateway, fields string) string { return gateway + "  infrastructure: {" + fields + "}\n" }

const ownParameters = `parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: own}`

func (w *world) fleet(name model.ProxyName) *Fleet {
	w.t.Helper()
	f, ok := w.Fleets.Peek(name)
	if !ok {
		w.t.Fatalf("no fleet %s", name)
	}
	return f
}

func TestFleetOfAGateway(t *testing.T) {
	gw := infra(gatewayYAML("gw", plainHTTP, `{name: again, port: 80, protocol: HTTP, hostname: a.example.com}`,
		`{name: https, port: 443, protocol: HTTPS}`, `{name: own, port: 19001, protocol: HTTP}`,
		`{name: odd, port: 7, protocol: example.com/odd}`),
		"labels: {a: b}, annotations: {c: d}")
	w := newWorld(t, fleets(), classYAML, strings.Replace(gw, "{name: gw,", "{name: gw, uid: gw-uid,", 1))
	want := &Fleet{
		Proxy: "default/gw", Class: "sluice", Gateways: []model.Name{inDefault("gw")},
		Owner:     Owner{Kind: model.KindGateway, Name: inDefault("gw"), UID: "gw-uid"},
		Namespace: "default", Name: "gw-sluice",
		Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": "d"},
		Ports: []FleetPort{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 443, Protocol: corev1.ProtocolTCP}},
	}
	if diff := cmp.Diff(want, w.fleet("default/gw")); diff != "" {
		t.Errorf("fleet (-want +got):\n%s", diff)
	}
	if got := w.gateway(inDefault("gw")); !strings.Contains(got, "own [HTTPRoute,GRPCRoute] 0: "+
		"Accepted=False/PortUnavailable") {
		t.Errorf("a reserved port must be refused:\n%s", got)
	}
	w.delete(model.GroupGateway, model.KindGateway, "default", "gw")
	if n := w.Fleets.Len(); n != 0 {
		t.Errorf("%d fleets are left", n)
	}
}

func TestRoutesReachNoFleet(t *testing.T) {
	w := newWorld(t, fleets(), classYAML, gatewayYAML("gw", plainHTTP), serviceYAML)
	res := w.apply(routeYAML("r", "", toService))
	for _, work := range res.Tables {
		if work.Table == "fleets" || work.Table == "parameters" {
			t.Errorf("%d %s were computed for a route", work.Recomputed, work.Table)
		}
	}
}

func TestMergedGateways(t *testing.T) {
	w := newWorld(t, fleets(), classWithParameters, envoyProxyYAML("shared", "mergeGateways: true"),
		gatewayYAML("b", plainHTTP), gatewayYAML("a", `{name: other, port: 81, protocol: HTTP}`))
	f := w.fleet("sluice")
	want := &Fleet{
		Proxy: "sluice", Class: "sluice", Gateways: []model.Name{inDefault("a"), inDefault("b")},
		Owner:     Owner{Kind: model.KindGatewayClass, Name: model.Name{Name: "sluice"}, UID: "class-uid"},
		Namespace: "sluice-system", Name: "gateways-sluice",
		Ports: []FleetPort{{Port: 80, Protocol: corev1.ProtocolTCP}, {Port: 81, Protocol: corev1.ProtocolTCP}},
	}
	want.Spec = f.Spec
	if diff := cmp.Diff(want, f); diff != "" || w.Fleets.Len() != 1 {
		t.Errorf("%d fleets (-want +got):\n%s", w.Fleets.Len(), diff)
	}
	w.apply(infra(gatewayYAML("a", plainHTTP), ownParameters), envoyProxyYAML("own", ""))
	got, _, _ := strings.Cut(w.gateway(inDefault("a")), "\n")
	expect(t, "parameters of a merged Gateway", got,
		"Accepted=False/InvalidParameters ResolvedRefs Programmed=False/Invalid")
	w.apply(envoyProxyYAML("shared", ""))
	if w.Fleets.Len() != 2 {
		t.Errorf("%d fleets without mergeGateways", w.Fleets.Len())
	}
}

func TestInvalidParameters(t *testing.T) {
	picky := fleets()
	picky.Fleets.Check = func(s *egv1a1.EnvoyProxySpec) error {
		if s.Concurrency != nil {
			return errors.New("spec.concurrency: too many")
		}
		return nil
	}
	cases := []struct{ name, class, parameters, infra, want string }{
		{"kind", classYAML, "", "parametersRef: {group: '', kind: ConfigMap, name: own}",
			`ConfigMap of group "" cannot be used as parameters`},
		{"missing", classYAML, "", ownParameters, "EnvoyProxy default/own does not exist"},
		{"refused by the fleet", classYAML, envoyProxyYAML("own", "concurrency: 99"), ownParameters,
			"EnvoyProxy default/own is not valid: spec.concurrency: too many"},
		{"host", classYAML, envoyProxyYAML("own", "provider: {type: Host, host: {}}"), ownParameters, "use Kubernetes"},
		{"a cipher", classYAML, envoyProxyYAML("own", "backendTLS: {ciphers: [NULL-SHA]}"), ownParameters,
			`spec.backendTLS.ciphers[0]: "NULL-SHA" is not known to Envoy`},
		{"class", classWithParameters, "", "", "EnvoyProxy default/shared does not exist"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, picky, tc.class, tc.parameters, infra(gatewayYAML("gw", plainHTTP), tc.infra))
			got, _, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
			expect(t, "conditions", got, "Accepted=False/InvalidParameters ResolvedRefs Programmed=False/Invalid")
			st, _ := w.GatewayStatus.Peek(inDefault("gw"))
			if !strings.Contains(st.Conditions[0].Message, tc.want) {
				t.Errorf("message %q, want one with %q", st.Conditions[0].Message, tc.want)
			}
			if f := w.fleet("default/gw"); !strings.Contains(f.Hold, tc.want) {
				t.Errorf("the fleet is not held: %+v", f)
			}
		})
	}
}

func TestMergeType(t *testing.T) {
	const level, two = "logging: {level: {default: info, http: debug}}", "concurrency: 2"
	cases := []struct{ name, defaults, class, own, want string }{
		{"replaced", "", level, two, "concurrency 2 levels 0"},
		{"strategic", "", level, two + ", mergeType: StrategicMerge", "concurrency 2 levels 2"},
		{"JSON", "", level, two + ", mergeType: JSONMerge", "concurrency 2 levels 2"},
		{"class over the defaults", two, level + ", mergeType: StrategicMerge", "", "concurrency 2 levels 2"},
		{"defaults replaced", two, level, "", "concurrency 0 levels 2"},
		{"the Gateway's type goes all the way", two, level, "mergeType: StrategicMerge", "concurrency 2 levels 2"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			opts := fleets()
			if tc.defaults != "" {
				opts.Fleets.Defaults = &decodeOne(t, envoyProxyYAML("d", tc.defaults)).obj.(*egv1a1.EnvoyProxy).Spec
			}
			gw, manifests := gatewayYAML("gw", plainHTTP), []string{classWithParameters, envoyProxyYAML("shared", tc.class)}
			if tc.own != "" {
				gw, manifests = infra(gw, ownParameters), append(manifests, envoyProxyYAML("own", tc.own))
			}
			spec := newWorld(t, opts, append(manifests, gw)...).fleet("default/gw").Spec
			got := fmt.Sprintf("concurrency %d levels %d", deref(spec.Concurrency, 0), len(spec.Logging.Level))
			expect(t, "merged", got, tc.want)
		})
	}
}

func TestEnvoyProxyStatus(t *testing.T) {
	w := newWorld(t, fleets(), classWithParameters,
		envoyProxyYAML("shared", "telemetry: {}, mergeBackends: {}"),
		infra(gatewayYAML("gw", plainHTTP), strings.ReplaceAll(ownParameters, "own", "shared")),
		envoyProxyYAML("unused", ""))
	st, _ := w.EnvoyProxyStatus.Peek(inDefault("shared"))
	var got []string
	for _, a := range st.Ancestors {
		got = append(got, fmt.Sprintf("%s %s %s: %s", *a.AncestorRef.Kind, a.AncestorRef.Name, conditions(a.Conditions),
			a.Conditions[0].Message))
	}
	const message = "Accepted: The parameters are accepted; these fields have no effect: " +
		"spec.mergeBackends (backends are always merged)"
	expect(t, "ancestors", strings.Join(got, "\n"), "GatewayClass sluice "+message+"\nGateway gw "+message)
	if _, ok := w.EnvoyProxyStatus.Peek(inDefault("unused")); ok {
		t.Error("an EnvoyProxy that nothing of ours uses has a status")
	}
}

func TestFleetAddresses(t *testing.T) {
	const fine = "Accepted ResolvedRefs"
	const unusable = fine + " Programmed=False/AddressNotUsable"
	cases := []struct{ name, addresses, want, fleet string }{
		{"any", "{type: IPAddress}", fine, "invalid IP false"},
		{"static, several", "{value: 192.0.2.9}, {value: 192.0.2.1}", fine, "192.0.2.1 false, 192.0.2.9 false"},
		{"cluster", "{routability: Cluster}", fine, "invalid IP true"},
		{"both", "{routability: Cluster, value: 10.0.0.1}, {value: 192.0.2.1}", fine, "192.0.2.1 false, 10.0.0.1 true"},
		{"unknown routability", "{routability: example.com/private}", unusable, ""},
		{"any address is none", "{value: 0.0.0.0}", unusable, ""},
		{"hostname", "{type: Hostname, value: a.example.com}",
			"Accepted=False/UnsupportedAddress ResolvedRefs Programmed=False/Invalid", ""},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, fleets(), classYAML, gatewayYAML("gw", plainHTTP)+"  addresses: ["+tc.addresses+"]\n")
			got, _, _ := strings.Cut(w.gateway(inDefault("gw")), "\n")
			expect(t, "conditions", got, tc.want)
			var list []string
			for _, a := range w.fleet("default/gw").Addresses {
				list = append(list, fmt.Sprintf("%s %t", a.IP, a.Cluster))
			}
			expect(t, "addresses", strings.Join(list, ", "), tc.fleet)
		})
	}
}

func TestObjectName(t *testing.T) {
	long := strings.Repeat("a", 253)
	cases := []struct{ gateway, class, want string }{
		{"gw", "sluice", "gw-sluice"},
		{"my-gw", "sluice", "my-gw-sluice"},
		{"gw", "my-class", "gw-my-class-d6500e1c"},
		{"a.b", "sluice", "a-b-sluice-8cf16ce2"},
		{"1st", "sluice", "gw-1st-sluice-24c54eb1"},
		{long, "sluice", strings.Repeat("a", 37) + "-e57a1b71"},
	}
	seen := map[string]bool{}
	for _, tc := range cases {
		got := objectName(tc.gateway, tc.class)
		if got != tc.want {
			t.Errorf("%s of class %s: %s, want %s", tc.gateway, tc.class, got, tc.want)
		}
		if errs := validation.IsDNS1035Label(got); len(errs) > 0 || len(got) > maxObjectName || seen[got] {
			t.Errorf("%s is no unique label: %v", got, errs)
		}
		seen[got] = true
	}
	if objectName("a", "b-c") == objectName("a-b", "c") {
		t.Error("two Gateways have one name")
	}
}

// TestFleetPortsOfListenerSets: a ListenerSet opens its ports once the Gateway lets it in, and not before.
func TestFleetPortsOfListenerSets(t *testing.T) {
	gw := gatewayYAML("gw", plainHTTP)
	set := setYAML("default", "set", "gw", `{name: x, port: 8080, protocol: HTTP}`)
	w := newWorld(t, fleets(), classYAML, gw, set)
	closed := []FleetPort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	if diff := cmp.Diff(closed, w.fleet("default/gw").Ports); diff != "" {
		t.Errorf("not let in: %s", diff)
	}
	w.apply(allowing(gw, "from: Same"))
	open := append(closed, FleetPort{Port: 8080, Protocol: corev1.ProtocolTCP})
	if diff := cmp.Diff(open, w.fleet("default/gw").Ports); diff != "" {
		t.Errorf("let in: %s", diff)
	}
}

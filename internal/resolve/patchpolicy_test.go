package resolve

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func patchYAML(name, kind, target string, priority int) string {
	return fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: %s}
spec:
  type: JSONPatch
  priority: %d
  targetRef: {group: gateway.networking.k8s.io, kind: %s, name: %s}
`, name, priority, kind, target)
}

// inForce returns the policies that are in force in order, with what they are for.
func (w *world) inForce() []string {
	var list []*PatchPolicy
	for _, p := range w.PatchPolicies.All() {
		list = append(list, p)
	}
	slices.SortFunc(list, (*PatchPolicy).Compare)
	var out []string
	for _, p := range list {
		out = append(out, fmt.Sprintf("%s proxy %s gateway %s class %s alone %t",
			p.Policy.Name.Name, p.Proxy, p.Gateway, p.Class, p.Alone))
	}
	return out
}

// acceptedPatch returns the Accepted condition of a policy at its first ancestor.
func (w *world) acceptedPatch(name string) string {
	p, _ := w.Policies.Peek(patchPolicyRef(inDefault(name)))
	if len(p.Status.Ancestors) == 0 {
		return "no ancestors"
	}
	a := p.Status.Ancestors[0]
	return fmt.Sprintf("%s %s: %s %s", *a.AncestorRef.Kind, a.AncestorRef.Name, a.Conditions[0].Status,
		a.Conditions[0].Reason)
}

// A policy is for a Gateway, or for a class whose Gateways share their Envoys: never for the one where the other is.
func TestPatchTargets(t *testing.T) {
	opts := fleets()
	opts.Patches = true
	w := newWorld(t, opts, classWithParameters, envoyProxyYAML("shared", "mergeGateways: false"),
		gatewayYAML("gw", plainHTTP), patchYAML("of-gateway", "Gateway", "gw", 1),
		patchYAML("of-class", "GatewayClass", "sluice", 0),
		patchYAML("first", "Gateway", "gw", -5), patchYAML("of-none", "Gateway", "nowhere", 0))
	want := []string{
		"first proxy default/gw gateway default/gw class  alone true",
		"of-gateway proxy default/gw gateway default/gw class  alone true",
	}
	if diff := cmp.Diff(want, w.inForce()); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]string{
		"of-gateway": "Gateway gw: True Accepted", "of-class": "GatewayClass sluice: False Invalid",
		"of-none": "no ancestors",
	} {
		expect(t, name, w.acceptedPatch(name), want)
	}
	w.apply(envoyProxyYAML("shared", "mergeGateways: true"))
	want = []string{"of-class proxy sluice gateway  class sluice alone true"}
	if diff := cmp.Diff(want, w.inForce()); diff != "" {
		t.Error(diff)
	}
	expect(t, "of a merged Gateway", w.acceptedPatch("of-gateway"), "Gateway gw: False Invalid")
	expect(t, "of the merged class", w.acceptedPatch("of-class"), "GatewayClass sluice: True Accepted")
}

// On one machine all Gateways share the Envoy: a policy does not have it for itself.
func TestPatchOnOneMachine(t *testing.T) {
	opts := shared()
	opts.Patches = true
	w := newWorld(t, opts, classYAML, gatewayYAML("gw", plainHTTP), gatewayYAML("other", plainHTTP),
		patchYAML("p", "Gateway", "gw", 0))
	if diff := cmp.Diff([]string{"p proxy local gateway default/gw class  alone false"}, w.inForce()); diff != "" {
		t.Error(diff)
	}
}

package resolve

import (
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

func withScope(gateway, scope string) string {
	return strings.Replace(gateway, "  listeners:", "  defaultScope: "+scope+"\n  listeners:", 1)
}

// defaulted is a route of the namespace default that asks for default Gateways.
func defaulted(name, scope, parents string) string {
	return strings.Replace(parentsYAML("default", name, parents), "  parentRefs:",
		"  useDefaultGateways: "+scope+"\n  parentRefs:", 1)
}

// TestDefaultGateways: a route that asks for it is attached to every default Gateway that lets it in, as if it named
// them; the Gateway says that it is one.
func TestDefaultGateways(t *testing.T) {
	gw := func(name string) string {
		return gatewayYAML(name, host("x", name+".example"), host("z", name+".test"))
	}
	w := newWorld(t, options(), classYAML, serviceYAML,
		strings.Replace(serviceYAML, "namespace: default", "namespace: far", 1), gw("plain"), withScope(gw("none"), "None"),
		defaulted("r", "All", "[]"), defaulted("off", "None", "[]"))
	expect(t, "no default Gateway", w.route(http("r")), "none")

	w.apply(withScope(gw("one"), "All"), withScope(gw("two"), "All"),
		defaulted("both", "All", "[{name: plain}, {name: one, sectionName: x}]"),
		defaulted("named", "All", "[{name: one}]"),
		strings.Replace(defaulted("far", "All", "[]"), "namespace: default", "namespace: far", 1))
	expect(t, "route", w.route(http("r")), "one: Accepted ResolvedRefs\ntwo: Accepted ResolvedRefs")
	expect(t, "None", w.route(http("off")), "none")
	expect(t, "beside parentRefs", w.route(http("both")), `
		plain: Accepted ResolvedRefs
		one/x: Accepted ResolvedRefs
		one: Accepted ResolvedRefs
		two: Accepted ResolvedRefs`)
	expect(t, "one that it names anyway", w.route(http("named")), "one: Accepted ResolvedRefs\ntwo: Accepted ResolvedRefs")
	far := model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "far", Name: "far"}}
	expect(t, "the Gateway's rules hold", w.route(far), "one: Accepted=False/NotAllowedByListeners ResolvedRefs\n"+
		"two: Accepted=False/NotAllowedByListeners ResolvedRefs")
	expect(t, "a default Gateway", w.gateway(inDefault("one")), `
		Accepted ResolvedRefs DefaultGateway
		x [HTTPRoute,GRPCRoute] 3: Accepted ResolvedRefs
		z [HTTPRoute,GRPCRoute] 3: Accepted ResolvedRefs`)
	expect(t, "scope None", w.gateway(inDefault("none")), `
		Accepted ResolvedRefs
		x [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs
		z [HTTPRoute,GRPCRoute] 0: Accepted ResolvedRefs`)
	st, _ := w.RouteStatus.Peek(http("r"))
	if p := st.Parents[0].ParentRef; p.Namespace == nil || *p.Namespace != "default" || p.Name != "one" {
		t.Errorf("the status does not say which Gateway it is: %+v", p)
	}

	w.apply(gw("one"))
	expect(t, "one is no default any more", w.route(http("r")), "two: Accepted ResolvedRefs")
	w.delete(model.GroupGateway, model.KindGateway, "default", "two")
	expect(t, "the last is deleted", w.route(http("r")), "none")
	expect(t, "what it names stays", w.route(http("both")), "plain: Accepted ResolvedRefs\none/x: Accepted ResolvedRefs")
}

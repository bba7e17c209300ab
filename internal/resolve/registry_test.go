package resolve

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// registering is a world with one feature: EnvoyExtensionPolicy.dynamicModule, which needs a module of the name that it
// asks for first. It says for each listener of a route the path of the module that its policy gets there.
func registering(t *testing.T, manifests ...string) *pretend {
	t.Helper()
	pathOf := func(a model.Attached) string {
		proxy, _ := a.Proxy.(*egv1a1.EnvoyProxySpec)
		if proxy == nil || proxy.DynamicModules[0].Name != a.Spec.([]egv1a1.DynamicModule)[0].Name {
			return ""
		}
		return proxy.DynamicModules[0].Source.Local.Path
	}
	o := options()
	o.UsesProxy = func(feature string) bool { return feature == "EnvoyExtensionPolicy.dynamicModule" }
	o.CheckProxy = func(a model.Attached) status.Report {
		if pathOf(a) != "" {
			return nil
		}
		return status.Report{{Path: a.Path, Message: "It is not registered: register it"}}
	}
	e := incr.New(2)
	store := resource.NewStore(e)
	w := &pretend{world: &world{Tables: New(e, store, o), t: t, e: e, store: store}}
	w.policed = incr.NewTable(e, "policed", func(r *incr.Reader, k model.RouteKey) (string, bool) {
		bindings, _ := incr.Get(r, w.Bindings, k)
		var out []string
		for _, b := range bindings.Bound {
			policed := w.Policed(r, b.Above, k, "")
			line := b.Listener.String() + " " + policed.Denied
			for _, a := range policed.Attached {
				line += pathOf(a)
			}
			out = append(out, line)
		}
		return strings.Join(out, "; "), true
	}, w.Routes)
	w.apply(manifests...)
	return w
}

func modules(name, path string) string {
	return envoyProxyYAML("own", "dynamicModules: [{name: "+name+", source: {local: {path: "+path+"}}}]")
}

// TestRegistry: a policy of a route gets what each of its Gateways has registered, and where that is nothing, nobody
// gets in.
func TestRegistry(t *testing.T) {
	bare := gatewayYAML("bare", plainHTTP)
	route := strings.Replace(routeYAML("r", "", toService), "[{name: gw}]", "[{name: gw}, {name: bare}]", 1)
	w := registering(t, classYAML, infra(gatewayYAML("gw", plainHTTP), ownParameters), bare, modules("waf", "/a.so"),
		route, serviceYAML, envoyPolicyYAML(model.KindEnvoyExtensionPolicy, "p", toRoute, "dynamicModule: [{name: waf}]"))
	expected := func(step, want, conditioned string) {
		t.Helper()
		got, _ := w.policed.Peek(http("r"))
		expect(t, step, got, want)
		p, _ := w.Policies.Peek(envoyPolicyRef(model.KindEnvoyExtensionPolicy, inDefault("p")))
		var said []string
		for _, a := range p.Status.Ancestors {
			said = append(said, string(a.AncestorRef.Name)+" "+conditions(a.Conditions))
		}
		expect(t, step+": status", strings.Join(said, "; "), conditioned)
	}
	const denied = "InvalidEnvoyExtensionPolicy"
	const half = "bare Accepted=False/Invalid; gw Accepted"
	const none = "bare Accepted=False/Invalid; gw Accepted=False/Invalid"
	expected("registered by one", "default/bare/http "+denied+"; default/gw/http /a.so", half)

	res := w.apply(modules("waf", "/b.so"))
	expected("another path", "default/bare/http "+denied+"; default/gw/http /b.so", half)
	for _, work := range res.Tables {
		if work.Table == "bindings" {
			t.Errorf("%d bindings were computed for another path", work.Recomputed)
		}
	}
	w.apply(modules("other", "/b.so"))
	expected("another module", "default/bare/http "+denied+"; default/gw/http "+denied, none)
	w.apply(envoyProxyYAML("own", "concurrency: 1"))
	expected("no module", "default/bare/http "+denied+"; default/gw/http "+denied, none)
}

package resolve

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

const controller = "sluice.dev/gateway-controller"

// world is an engine with the tables and the objects of a test.
type world struct {
	*Tables
	t     testing.TB
	e     *incr.Engine
	store *resource.Store
}

// options are those of a cluster with a proxy for each Gateway.
func options() Options {
	return Options{
		Controllers: []string{controller},
		Proxy:       func(gw model.Name) model.ProxyName { return model.ProxyName(gw.String()) },
	}
}

// shared are those of one machine: one proxy for everything.
func shared() Options {
	o := options()
	o.Proxy = func(model.Name) model.ProxyName { return "local" }
	o.LocalBackends = true
	return o
}

func newWorld(t testing.TB, opts Options, manifests ...string) *world {
	t.Helper()
	e := incr.New(2)
	store := resource.NewStore(e)
	w := &world{Tables: New(e, store, opts), t: t, e: e, store: store}
	w.apply(manifests...)
	return w
}

// object is a decoded manifest.
type object struct {
	ref model.Ref
	obj resource.Object
}

func decode(t testing.TB, manifests ...string) []object {
	t.Helper()
	var out []object
	for _, m := range manifests {
		for _, doc := range strings.Split(m, "\n---\n") {
			if strings.TrimSpace(doc) != "" {
				out = append(out, decodeOne(t, doc))
			}
		}
	}
	return out
}

func decodeOne(t testing.TB, doc string) object {
	t.Helper()
	var meta metav1.TypeMeta
	if err := yaml.Unmarshal([]byte(doc), &meta); err != nil {
		t.Fatalf("%v in:\n%s", err, doc)
	}
	group, _, found := strings.Cut(meta.APIVersion, "/")
	if !found {
		group = ""
	}
	for i := range resource.Kinds {
		k := &resource.Kinds[i]
		if k.Group != group || k.Kind != meta.Kind {
			continue
		}
		obj := k.New()
		if err := yaml.UnmarshalStrict([]byte(doc), obj); err != nil {
			t.Fatalf("%v in:\n%s", err, doc)
		}
		if obj.GetGeneration() == 0 {
			obj.SetGeneration(1)
		}
		if obj.GetNamespace() == "" && !k.Cluster {
			obj.SetNamespace("default")
		}
		return object{ref: k.Ref(model.Name{Namespace: obj.GetNamespace(), Name: obj.GetName()}), obj: obj}
	}
	t.Fatalf("no kind %s in group %q:\n%s", meta.Kind, group, doc)
	return object{}
}

// apply sets the objects and commits. A fault of the engine fails the test.
func (w *world) apply(manifests ...string) incr.Result {
	w.t.Helper()
	for _, o := range decode(w.t, manifests...) {
		w.store.Set(o.ref, o.obj)
	}
	return w.commit()
}

func (w *world) delete(group, kind, namespace, name string) incr.Result {
	w.t.Helper()
	w.store.Delete(model.Ref{Group: group, Kind: kind, Name: model.Name{Namespace: namespace, Name: name}})
	return w.commit()
}

func (w *world) commit() incr.Result {
	w.t.Helper()
	res := w.e.Commit()
	for _, f := range res.Faults {
		w.t.Fatal(f)
	}
	return res
}

// http and grpc are the keys of routes in the namespace default.
func http(name string) model.RouteKey {
	return model.RouteKey{Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "default", Name: name}}
}

func grpc(name string) model.RouteKey {
	return model.RouteKey{Kind: model.KindGRPCRoute, Name: model.Name{Namespace: "default", Name: name}}
}

func inDefault(name string) model.Name { return model.Name{Namespace: "default", Name: name} }

// conditions renders conditions as "Type=Status/Reason", one after the other; what one hopes for as "Type", and that
// there is no conflict not at all.
func conditions(list []metav1.Condition) string {
	out := make([]string, 0, len(list))
	for _, c := range list {
		switch {
		case c.Status == metav1.ConditionTrue && c.Reason == c.Type:
			out = append(out, c.Type)
		case c.Reason != "NoConflicts":
			out = append(out, fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason))
		}
	}
	return strings.Join(out, " ")
}

// gateway renders the status of a Gateway: its conditions, then a line for each listener.
func (w *world) gateway(name model.Name) string {
	st, ok := w.GatewayStatus.Peek(name)
	if !ok {
		return "none"
	}
	lines := []string{conditions(st.Conditions)}
	for _, l := range st.Listeners {
		lines = append(lines, listener(l))
	}
	return strings.Join(lines, "\n")
}

func listener(l gwv1.ListenerStatus) string {
	var kinds []string
	for _, k := range l.SupportedKinds {
		kinds = append(kinds, string(k.Kind))
	}
	return fmt.Sprintf("%s [%s] %d: %s", l.Name, strings.Join(kinds, ","), l.AttachedRoutes, conditions(l.Conditions))
}

// route renders the status of a route: a line for each parent.
func (w *world) route(key model.RouteKey) string {
	st, ok := w.RouteStatus.Peek(key)
	if !ok {
		return "none"
	}
	var lines []string
	for _, p := range st.Parents {
		section := ""
		if p.ParentRef.SectionName != nil {
			section = "/" + string(*p.ParentRef.SectionName)
		}
		lines = append(lines, fmt.Sprintf("%s%s: %s", p.ParentRef.Name, section, conditions(p.Conditions)))
	}
	return strings.Join(lines, "\n")
}

// messages joins the messages of a route's conditions.
func (w *world) messages(key model.RouteKey) string {
	st, _ := w.RouteStatus.Peek(key)
	var out []string
	for _, p := range st.Parents {
		for _, c := range p.Conditions {
			out = append(out, c.Message)
		}
	}
	return strings.Join(out, "\n")
}

// hosts renders every virtual host with the routes that serve it, sorted.
func (w *world) hosts() string {
	found := map[string][]string{}
	for key, b := range w.Bindings.All() {
		for _, bound := range b.Bound {
			for _, h := range bound.Hosts {
				host := model.HostKey{Table: bound.Table, Domain: h.Domain}.String()
				found[host] = append(found[host], key.Name.Name)
			}
		}
	}
	var lines []string
	for _, host := range slices.Sorted(maps.Keys(found)) {
		slices.Sort(found[host])
		lines = append(lines, host+": "+strings.Join(found[host], " "))
	}
	return strings.Join(lines, "\n")
}

// text removes the indent and the first and last line break of a raw string.
func text(s string) string {
	lines := strings.Split(strings.Trim(s, "\n\t"), "\n")
	for i := range lines {
		lines[i] = strings.TrimLeft(lines[i], "\t")
	}
	return strings.Join(lines, "\n")
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if want = text(want); got != want {
		t.Errorf("%s:\n%s\nwant:\n%s", what, got, want)
	}
}

const classYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: sluice}
spec: {controllerName: sluice.dev/gateway-controller}
`

// gatewayYAML is a Gateway with the given listeners, in flow style, one a line.
func gatewayYAML(name string, listeners ...string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: default}
spec:
  gatewayClassName: sluice
  listeners:
  - %s
`, name, strings.Join(listeners, "\n  - "))
}

// routeYAML is an HTTPRoute of the Gateway gw with the given rules, in flow style, one a line.
func routeYAML(name, hostnames string, rules ...string) string {
	return fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: default}
spec:
  parentRefs: [{name: gw}]
  hostnames: [%s]
  rules:
  - %s
`, name, hostnames, strings.Join(rules, "\n  - "))
}

const serviceYAML = `
apiVersion: v1
kind: Service
metadata: {name: svc, namespace: default}
spec:
  ports: [{name: http, port: 80}, {name: h2, port: 81, appProtocol: kubernetes.io/h2c}]
`

const plainHTTP = `{name: http, port: 80, protocol: HTTP}`

const toService = `{backendRefs: [{name: svc, port: 80}]}`

package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// watcher is what the API server sends, and what comes out of it.
type watcher struct {
	*gate
	t      *testing.T
	stores map[model.Ref]*store
}

func newWatcher(t *testing.T) *watcher {
	g := newGate(newCollector())
	g.begin()
	return &watcher{gate: g, t: t, stores: map[model.Ref]*store{}}
}

func (w *watcher) store(obj resource.Object) *store {
	kind := obj.GetObjectKind().GroupVersionKind()
	k := resource.Find(kind.Group, kind.Kind)
	ref := k.Ref(model.Name{})
	if w.stores[ref] == nil {
		w.stores[ref] = &store{kind: k, gate: w.gate, known: map[model.Name]resource.Object{}}
	}
	return w.stores[ref]
}

// comes has objects come or change, one after the other.
func (w *watcher) comes(objects ...resource.Object) {
	w.t.Helper()
	for _, o := range objects {
		if err := w.store(o).Add(o.DeepCopyObject()); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *watcher) goes(obj resource.Object) {
	w.t.Helper()
	if err := w.store(obj).Delete(obj); err != nil {
		w.t.Fatal(err)
	}
}

// passed takes the batch that has come out: kind/name of each object, with the label v of those that have one, and a
// minus before those that are gone.
func (w *watcher) passed() string {
	batch := w.out.take()
	var out []string
	for _, o := range batch.Set {
		out = append(out, strings.TrimSuffix(o.Ref.Kind+"/"+o.Ref.Name.Name+"="+o.Object.GetLabels()["v"], "="))
	}
	for _, ref := range batch.Delete {
		out = append(out, "-"+ref.Kind+"/"+ref.Name.Name)
	}
	return strings.Join(out, " ")
}

// expect fails unless this has come out since the last time.
func (w *watcher) expect(when, want string) {
	w.t.Helper()
	if got := w.passed(); got != want {
		w.t.Errorf("%s: %q is passed on, want %q", when, got, want)
	}
}

// idle fails if anything is still kept of routes that were held.
func (w *watcher) idle() {
	w.t.Helper()
	if len(w.held) > 0 || len(w.waiting) > 0 || len(w.leaving) > 0 {
		w.t.Errorf("held %v, waiting %v and leaving %v, want nothing", w.held, w.waiting, w.leaving)
	}
}

func typed(version, kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "ns", Name: name} }

// routeTo is a version of an HTTPRoute to ports of Services: "a:80", or "other/a:80" for one in another namespace.
func routeTo(name, version string, to ...string) *gwv1.HTTPRoute {
	r := &gwv1.HTTPRoute{TypeMeta: typed("gateway.networking.k8s.io/v1", "HTTPRoute"), ObjectMeta: named(name)}
	r.Labels = map[string]string{"v": version}
	for _, target := range to {
		var ref gwv1.HTTPBackendRef
		if ns, rest, ok := strings.Cut(target, "/"); ok {
			namespace := gwv1.Namespace(ns)
			ref.Namespace, target = &namespace, rest
		}
		service, number, _ := strings.Cut(target, ":")
		ref.Name, ref.Port = gwv1.ObjectName(service), new(gwv1.PortNumber)
		if _, err := fmt.Sscan(number, ref.Port); err != nil {
			panic(err)
		}
		r.Spec.Rules = append(r.Spec.Rules, gwv1.HTTPRouteRule{BackendRefs: []gwv1.HTTPBackendRef{ref}})
	}
	return r
}

func serviceWith(name string, ports ...int32) *corev1.Service {
	s := &corev1.Service{TypeMeta: typed("v1", "Service"), ObjectMeta: named(name)}
	for _, p := range ports {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: fmt.Sprint("p", p), Port: p})
	}
	return s
}

// sliceWith is an EndpointSlice of a Service with an endpoint, or without one if there are no ports.
func sliceWith(service string, ports ...int32) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		TypeMeta: typed("discovery.k8s.io/v1", "EndpointSlice"), ObjectMeta: named(service + "-1"),
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, p := range ports {
		name, number := fmt.Sprint("p", p), p+8000
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &number})
	}
	if len(ports) > 0 {
		s.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}}}
	}
	return s
}

func grantFor(namespace string) *gwv1.ReferenceGrant {
	g := &gwv1.ReferenceGrant{
		TypeMeta: typed("gateway.networking.k8s.io/v1", "ReferenceGrant"), ObjectMeta: named("g"),
		Spec: gwv1.ReferenceGrantSpec{
			From: []gwv1.ReferenceGrantFrom{{Group: model.GroupGateway, Kind: model.KindHTTPRoute, Namespace: "ns"}},
			To:   []gwv1.ReferenceGrantTo{{Kind: model.KindService}},
		},
	}
	g.Namespace = namespace
	return g
}

// A new route comes out together with what it refers to, in whatever order they come, and without any delay.
func TestNewRouteWaitsForItsBackend(t *testing.T) {
	objects := []resource.Object{routeTo("r", "1", "a:80"), serviceWith("a", 80), sliceWith("a", 80)}
	for _, order := range permutations(len(objects)) {
		synctest.Test(t, func(t *testing.T) {
			w := newWatcher(t)
			began, all := time.Now(), ""
			for i, k := range order {
				w.comes(objects[k])
				passed := w.passed()
				if i < len(order)-1 && strings.Contains(passed, "HTTPRoute") {
					t.Errorf("%v: the route is passed on before all of its backend is there", order)
				}
				all += passed + " "
			}
			if !strings.Contains(all, "HTTPRoute/r=1") || time.Now() != began {
				t.Errorf("%v: %q is passed on in %v, want all of it at once", order, all, time.Since(began))
			}
			w.idle()
		})
	}
}

// permutations are all orders of n things.
func permutations(n int) [][]int {
	if n == 0 {
		return [][]int{nil}
	}
	var out [][]int
	for _, p := range permutations(n - 1) {
		for at := range n {
			out = append(out, slices.Insert(slices.Clone(p), at, n-1))
		}
	}
	return out
}

// A backend that does not come is missing: the route is passed on when the time is over, and holds up nothing else.
func TestNothingIsHeldForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher(t)
		w.comes(serviceWith("a", 80), sliceWith("a", 80), serviceWith("bare", 80))
		w.passed()
		w.comes(routeTo("r", "1", "gone:80"), routeTo("s", "1", "bare:80"), routeTo("t", "1", "a:80"))
		w.expect("what lacks nothing", "HTTPRoute/t=1")
		time.Sleep(hold / 2)
		w.comes(routeTo("r", "2", "gone:80"), routeTo("u", "1", "a:80", "gone:80"))
		w.expect("half of the time later", "")
		time.Sleep(hold/2 - time.Nanosecond)
		synctest.Wait()
		w.expect("just before the end", "")
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		w.expect("the newest version, in the time of the first", "HTTPRoute/r=2 HTTPRoute/s=1")
		time.Sleep(hold / 2)
		synctest.Wait()
		w.expect("the last", "HTTPRoute/u=1")
		w.idle()

		w.comes(serviceWith("gone", 80))
		w.expect("what comes after all", "Service/gone")
		w.comes(routeTo("r", "3", "gone:80"))
		w.expect("a version without a new reference", "HTTPRoute/r=3")
	})
}

// While an edit waits, the version before it stays; and neither a newer edit nor a deletion waits for it.
func TestEditWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher(t)
		w.comes(serviceWith("a", 80), sliceWith("a", 80), routeTo("r", "1", "a:80"), routeTo("s", "1", "a:80"))
		w.passed()

		w.comes(routeTo("r", "2", "b:80"), routeTo("s", "2", "b:80"))
		w.expect("edits to what is not there", "")
		w.comes(routeTo("r", "3", "a:80"))
		w.expect("an edit back", "HTTPRoute/r=3")
		w.goes(routeTo("s", "2", "b:80"))
		w.expect("a deletion", "-HTTPRoute/s")
		w.comes(serviceWith("b", 80), sliceWith("b", 80))
		w.expect("the backend of versions that are gone", "Service/b EndpointSlice/b-1")
		w.idle()
		time.Sleep(2 * hold)
		synctest.Wait()
		w.expect("later", "")

		w.goes(sliceWith("a", 80))
		w.goes(serviceWith("a", 80))
		w.comes(routeTo("r", "4", "a:80"))
		w.expect("an edit of a route whose backend went", "HTTPRoute/r=4 -EndpointSlice/a-1")
	})
}

// A backend that goes stays for a while, and with it its endpoints; nothing of it goes if it comes back.
func TestRemovalLingers(t *testing.T) {
	backend := &egv1a1.Backend{TypeMeta: typed("gateway.envoyproxy.io/v1alpha1", "Backend"), ObjectMeta: named("b")}
	synctest.Test(t, func(t *testing.T) {
		w := newWatcher(t)
		w.comes(serviceWith("a", 80), sliceWith("a", 80), routeTo("r", "1", "a:80"), serviceWith("c", 80), sliceWith("c", 80),
			backend)
		w.passed()
		w.goes(serviceWith("a", 80))
		w.goes(sliceWith("a", 80))
		w.goes(backend)
		w.comes(routeTo("r", "2", "c:80"))
		w.expect("an edit just behind", "HTTPRoute/r=2")
		w.goes(sliceWith("c", 80))
		w.expect("endpoints of a Service that stays", "-EndpointSlice/c-1")
		time.Sleep(hold / 2)
		w.comes(backend)
		w.expect("what comes back", "Backend/b")
		time.Sleep(hold / 2)
		synctest.Wait()
		w.expect("in the end", "-Service/a -EndpointSlice/a-1")
		time.Sleep(hold)
		synctest.Wait()
		w.expect("later", "")
		w.idle()
	})
}

// What a reference can lack, and what it cannot.
func TestLacking(t *testing.T) {
	external := serviceWith("a")
	external.Spec.Type = corev1.ServiceTypeExternalName
	mirror := routeTo("r", "1")
	mirror.Spec.Rules = []gwv1.HTTPRouteRule{{Filters: []gwv1.HTTPRouteFilter{{
		RequestMirror: &gwv1.HTTPRequestMirrorFilter{BackendRef: routeTo("", "", "a:80").
			Spec.Rules[0].BackendRefs[0].BackendObjectReference},
	}}}}
	kindless := routeTo("r", "1", "a:80")
	kind := gwv1.Kind("ConfigMap")
	kindless.Spec.Rules[0].BackendRefs[0].Kind = &kind
	granted := serviceWith("a", 80)
	granted.Namespace = "other"
	grantedSlice := sliceWith("a", 80)
	grantedSlice.Namespace = "other"

	tests := []struct {
		name        string
		there, then []resource.Object
		route       *gwv1.HTTPRoute
		// free says that the route is not held before what comes then.
		free bool
	}{
		{name: "no slice", there: []resource.Object{serviceWith("a", 80)},
			then: []resource.Object{sliceWith("a", 80)}},
		{name: "a slice without endpoints is one", there: []resource.Object{serviceWith("a", 80), sliceWith("a")},
			free: true},
		{name: "the slice of another Service", there: []resource.Object{serviceWith("a", 80), sliceWith("b", 80)},
			then: []resource.Object{sliceWith("a", 80)}},
		{name: "a slice that becomes the Service's",
			there: []resource.Object{serviceWith("a", 80), relabelled(sliceWith("a", 80), "b")},
			then:  []resource.Object{sliceWith("a", 80)}},
		{name: "no port", there: []resource.Object{serviceWith("a", 81), sliceWith("a", 81)},
			then: []resource.Object{sliceWith("a", 81, 80), serviceWith("a", 81, 80)}},
		{name: "no port in the slice", there: []resource.Object{serviceWith("a", 80, 81), sliceWith("a", 81)},
			then: []resource.Object{sliceWith("a", 80, 81)}},
		{name: "an ExternalName never has slices", there: []resource.Object{external}, free: true},
		{name: "a mirror is a backend", there: []resource.Object{serviceWith("a", 80)}, route: mirror,
			then: []resource.Object{sliceWith("a", 80)}},
		{name: "what cannot be a backend", route: kindless, free: true},
		{name: "no grant", there: []resource.Object{granted, grantedSlice, grantFor("ns")},
			route: routeTo("r", "1", "other/a:80"), then: []resource.Object{grantFor("other")}},
		{name: "a grant, and then the rest", there: []resource.Object{grantFor("other")},
			route: routeTo("r", "1", "other/a:80"), then: []resource.Object{granted, grantedSlice}},
	}
	for _, test := range tests {
		synctest.Test(t, func(t *testing.T) {
			w := newWatcher(t)
			w.comes(test.there...)
			w.passed()
			r := test.route
			if r == nil {
				r = routeTo("r", "1", "a:80")
			}
			w.comes(r)
			if got := strings.Contains(w.passed(), "HTTPRoute"); got != test.free {
				t.Errorf("%s: passed on at once: %v, want %v", test.name, got, test.free)
			}
			w.comes(test.then...)
			if got := strings.Contains(w.passed(), "HTTPRoute"); got == test.free {
				t.Errorf("%s: passed on then: %v, want %v", test.name, got, !test.free)
			}
			w.idle()
		})
	}
}

func relabelled(s *discoveryv1.EndpointSlice, service string) *discoveryv1.EndpointSlice {
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return s
}

// Before everything was read nothing is held: there is nothing yet that would go on being served.
func TestNothingIsHeldAtTheStart(t *testing.T) {
	w := &watcher{gate: newGate(newCollector()), t: t, stores: map[model.Ref]*store{}}
	w.comes(routeTo("r", "1", "a:80"))
	w.expect("before the start", "HTTPRoute/r=1")
	w.idle()
}

// The inventory forgets what goes.
func TestInventoryForgets(t *testing.T) {
	w := newWatcher(t)
	objects := []resource.Object{
		serviceWith("a", 80), sliceWith("a", 80), relabelled(sliceWith("none"), ""), grantFor("ns"),
		&egv1a1.Backend{TypeMeta: typed("gateway.envoyproxy.io/v1alpha1", "Backend"), ObjectMeta: named("b")},
	}
	w.comes(objects...)
	w.comes(sliceWith("a", 80, 81))
	if i := w.inventory; len(i.services) != 1 || len(i.slices) != 1 || len(i.grants) != 1 || len(i.others) != 1 {
		t.Errorf("it knows %+v, want one of each", i)
	}
	for _, o := range objects {
		w.goes(o)
	}
	if diff := cmp.Diff(newInventory(), w.inventory, cmp.AllowUnexported(inventory{})); diff != "" {
		t.Error(diff)
	}
}

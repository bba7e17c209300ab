package kube_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/status/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

const (
	ours    = "sluice.dev/gateway-controller"
	gateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: %s, namespace: ns}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, port: 80, protocol: HTTP}]
`
	route = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: ns}
spec: {parentRefs: [{name: gw}]}
`
)

func resourceNamed(plural string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: model.GroupGateway, Version: "v1", Resource: plural}
}

// counter counts the writes, by path.
type counter struct {
	http.RoundTripper
	mu     sync.Mutex
	writes map[string][]time.Time
	reads  map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	if r.Method == http.MethodGet {
		c.reads[r.URL.Path]++
	} else {
		c.writes[r.URL.Path] = append(c.writes[r.URL.Path], time.Now())
	}
	c.mu.Unlock()
	return c.RoundTripper.RoundTrip(r)
}

func (c *counter) of(name string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, all := range c.writes {
		if strings.HasSuffix(path, "/"+name+"/status") {
			return all
		}
	}
	return nil
}

// total is how often an object was read, and its status written.
func (c *counter) total(name string) (reads, writes int) {
	writes = len(c.of(name))
	c.mu.Lock()
	defer c.mu.Unlock()
	for path, n := range c.reads {
		if strings.HasSuffix(path, "/"+name) {
			reads += n
		}
	}
	return reads, writes
}

// fixture is a cluster with objects, and writers of their statuses.
type fixture struct {
	server  *apiserver.Server
	objects *apiserver.Objects
}

// writer returns a writer and what it sends. It is not the leader yet.
func (f *fixture) writer(t *testing.T) (*kube.Writer, *counter) {
	t.Helper()
	c := &counter{writes: map[string][]time.Time{}, reads: map[string]int{}}
	config := f.server.Config(apiserver.Admin)
	config.Wrap(func(rt http.RoundTripper) http.RoundTripper {
		c.RoundTripper = rt
		return c
	})
	w, err := kube.NewWriter(kube.Options{
		Config: config, Controllers: []string{ours},
		Path: func(ref model.Ref) (string, bool) {
			return fmt.Sprintf("/apis/%s/v1/namespaces/%s/%ss/%s",
				ref.Group, ref.Namespace, strings.ToLower(ref.Kind), ref.Name.Name), true
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return w, c
}

func lead(t *testing.T, w *kube.Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		w.Lead(ctx)
		close(done)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

func ref(kind, name string) model.Ref {
	return model.Ref{Group: model.GroupGateway, Kind: kind, Name: model.Name{Namespace: "ns", Name: name}}
}

func gatewayStatus(attached int32, programmed bool) *gwv1.GatewayStatus {
	condition := status.False(status.Programmed, status.ReasonPending, "not yet", 1)
	if programmed {
		condition = status.True(status.Programmed, status.Programmed, "", 1)
	}
	return &gwv1.GatewayStatus{
		Conditions: []metav1.Condition{status.True(status.Accepted, status.Accepted, "", 1), condition},
		Listeners: []gwv1.ListenerStatus{{
			Name: "http", AttachedRoutes: attached, SupportedKinds: []gwv1.RouteGroupKind{{Kind: "HTTPRoute"}},
			Conditions: []metav1.Condition{status.True(status.Accepted, status.Accepted, "", 1)},
		}},
	}
}

func routeStatus(message string) *gwv1.RouteStatus {
	group, kind := gwv1.Group(model.GroupGateway), gwv1.Kind("Gateway")
	return &gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{{
		ParentRef: gwv1.ParentReference{Group: &group, Kind: &kind, Name: "gw"}, ControllerName: ours,
		Conditions: []metav1.Condition{status.True(status.Accepted, status.Accepted, message, 1)},
	}}}
}

// see shows the writer an object as a source would.
func see(t *testing.T, w *kube.Writer, kind string, u *unstructured.Unstructured, into metav1.Object) {
	t.Helper()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, into); err != nil {
		t.Fatal(err)
	}
	w.Seen(ref(kind, u.GetName()), into)
}

// until waits until something is so of the status of an object.
func (f *fixture) until(
	t *testing.T, plural, name, want string, is func(map[string]any) bool,
) *unstructured.Unstructured {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		u := f.objects.Get(t, resourceNamed(plural), "ns", name)
		st, _, _ := unstructured.NestedMap(u.Object, "status")
		if is(st) {
			return u
		}
		if time.Now().After(end) {
			t.Fatalf("the status of %s never is %s: %v", name, want, st)
		}
	}
}

// condition returns a condition of a list of them.
func condition(from map[string]any, typ string) map[string]any {
	list, _ := from["conditions"].([]any)
	for _, c := range list {
		if c, ok := c.(map[string]any); ok && c["type"] == typ {
			return c
		}
	}
	return nil
}

func has(typ, value string) func(map[string]any) bool {
	return func(st map[string]any) bool { return condition(st, typ)["status"] == value }
}

func foreign(typ string) map[string]any {
	return map[string]any{
		"type": typ, "status": "True", "reason": "Theirs", "message": "theirs", "lastTransitionTime": "2020-01-01T00:00:00Z",
	}
}

func parents(st map[string]any) map[string]map[string]any {
	out := map[string]map[string]any{}
	list, _ := st["parents"].([]any)
	for _, p := range list {
		if p, ok := p.(map[string]any); ok {
			out[p["controllerName"].(string)] = p
		}
	}
	return out
}

func TestWriter(t *testing.T) {
	f := &fixture{server: apiserver.Start(t)}
	f.objects = f.server.Objects(t)
	f.objects.InstallCRDs(t)
	for name, test := range map[string]func(*testing.T, *fixture){
		"foreign conditions stay": testConditions,
		"foreign parents stay":    testParents,
		"a burst is few writes":   testBurst,
		"the next leader":         testHandOver,
		"what is gone":            testGone,
		"nothing to read":         testNothingToRead,
		"what is counted":         testCounted,
	} {
		t.Run(name, func(t *testing.T) { test(t, f) })
	}
}

func testConditions(t *testing.T, f *fixture) {
	u := f.objects.Apply(t, fmt.Sprintf(gateway, "conditions"))
	f.objects.SetStatus(t, u, map[string]any{
		"conditions": []any{foreign("example.com/theirs")},
		"addresses":  []any{map[string]any{"type": "IPAddress", "value": "192.0.2.1"}},
	})
	w, sent := f.writer(t)
	lead(t, w)
	at := ref("Gateway", "conditions")
	w.Put(at, gatewayStatus(1, false))
	u = f.until(t, "gateways", "conditions", "pending", has("Programmed", "False"))
	st, _, _ := unstructured.NestedMap(u.Object, "status")
	if condition(st, "example.com/theirs")["lastTransitionTime"] != "2020-01-01T00:00:00Z" {
		t.Errorf("the condition of another is %v", condition(st, "example.com/theirs"))
	}
	if st["addresses"] != nil {
		t.Errorf("the addresses that it does not have any more are %v", st["addresses"])
	}
	accepted := condition(st, "Accepted")["lastTransitionTime"]
	time.Sleep(time.Second) // the times have no fractions
	w.Put(at, gatewayStatus(1, true))
	u = f.until(t, "gateways", "conditions", "programmed", has("Programmed", "True"))
	st, _, _ = unstructured.NestedMap(u.Object, "status")
	if now := condition(st, "Accepted")["lastTransitionTime"]; now != accepted {
		t.Errorf("a condition that stays has its transition at %v, before %v", now, accepted)
	}
	if now := condition(st, "Programmed")["lastTransitionTime"]; now == accepted {
		t.Error("a condition that changes keeps its time")
	}
	writes := len(sent.of("conditions"))
	see(t, w, "Gateway", u, &gwv1.Gateway{})
	w.Put(at, gatewayStatus(1, true))

	// Someone spoils it: it is put right, and that is the only write.
	st["conditions"] = []any{foreign("Programmed"), foreign("example.com/more")}
	f.objects.SetStatus(t, u, st)
	see(t, w, "Gateway", f.objects.Get(t, resourceNamed("gateways"), "ns", "conditions"), &gwv1.Gateway{})
	u = f.until(t, "gateways", "conditions", "put right", has("Accepted", "True"))
	st, _, _ = unstructured.NestedMap(u.Object, "status")
	if condition(st, "example.com/more") == nil || condition(st, "Programmed")["reason"] != "Programmed" {
		t.Errorf("it is put right to %v", st)
	}
	if more := len(sent.of("conditions")) - writes; more != 1 {
		t.Errorf("%d writes to put one thing right, and nothing else", more)
	}
}

func testParents(t *testing.T, f *fixture) {
	u := f.objects.Apply(t, fmt.Sprintf(route, "parents"))
	f.objects.SetStatus(t, u, map[string]any{"parents": []any{map[string]any{
		"controllerName": "example.com/theirs", "parentRef": map[string]any{"name": "gw"},
		"conditions": []any{foreign("Accepted")},
	}}})
	w, _ := f.writer(t)
	lead(t, w)
	at := ref("HTTPRoute", "parents")
	w.Put(at, routeStatus("x"))
	both := func(st map[string]any) bool { return len(parents(st)) == 2 }
	u = f.until(t, "httproutes", "parents", "of both", both)
	st, _, _ := unstructured.NestedMap(u.Object, "status")
	if condition(parents(st)["example.com/theirs"], "Accepted")["reason"] != "Theirs" {
		t.Errorf("the other's parent is %v", parents(st)["example.com/theirs"])
	}
	w.Put(at, nil)
	f.until(t, "httproutes", "parents", "the other's alone", func(st map[string]any) bool {
		return len(parents(st)) == 1 && parents(st)["example.com/theirs"] != nil
	})
}

// A thousand routes are attached one by one. The first is told at once, the last truly, and between them not each.
func testBurst(t *testing.T, f *fixture) {
	f.objects.Apply(t, fmt.Sprintf(gateway, "burst"))
	w, sent := f.writer(t)
	lead(t, w)
	began := time.Now()
	const n = 1000
	for i := range int32(n) {
		w.Put(ref("Gateway", "burst"), gatewayStatus(i+1, true))
		time.Sleep(time.Millisecond)
	}
	f.until(t, "gateways", "burst", "complete", func(st map[string]any) bool {
		list, _ := st["listeners"].([]any)
		return len(list) == 1 && list[0].(map[string]any)["attachedRoutes"] == int64(n)
	})
	took := time.Since(began)
	writes := sent.of("burst")
	if first := writes[0].Sub(began); first > interval {
		t.Errorf("the first write is after %s", first)
	}
	for i := 1; i < len(writes); i++ {
		if gap := writes[i].Sub(writes[i-1]); gap < interval/2 {
			t.Errorf("two writes within %s", gap)
		}
	}
	if most := int(took/interval) + 2; len(writes) > most {
		t.Errorf("%d writes in %s, at most %d should be", len(writes), took, most)
	}
}

// interval is what the writer keeps between two writes of an object.
const interval = 200 * time.Millisecond

func testHandOver(t *testing.T, f *fixture) {
	f.objects.Apply(t, fmt.Sprintf(route, "kept"))
	f.objects.Apply(t, fmt.Sprintf(route, "missing"))
	f.objects.Apply(t, fmt.Sprintf(route, "left"))
	first, _ := f.writer(t)
	stop := lead(t, first)
	first.Put(ref("HTTPRoute", "kept"), routeStatus("same"))
	first.Put(ref("HTTPRoute", "left"), routeStatus("same"))
	is := func(st map[string]any) bool { return parents(st)[ours] != nil }
	f.until(t, "httproutes", "kept", "written", is)
	f.until(t, "httproutes", "left", "written", is)

	second, sent := f.writer(t)
	for _, name := range []string{"kept", "missing", "left"} {
		u := f.objects.Get(t, resourceNamed("httproutes"), "ns", name)
		see(t, second, "HTTPRoute", u, &gwv1.HTTPRoute{})
	}
	second.Put(ref("HTTPRoute", "kept"), routeStatus("same"))
	second.Put(ref("HTTPRoute", "missing"), routeStatus("same"))
	stop()
	first.Put(ref("HTTPRoute", "kept"), routeStatus("an old leader's"))
	lead(t, second)
	f.until(t, "httproutes", "missing", "written by the second", is)
	f.until(t, "httproutes", "left", "without us", func(st map[string]any) bool { return !is(st) })
	if n := len(sent.of("kept")); n > 0 {
		t.Errorf("the second leader writes %d times what is there already", n)
	}
	u := f.objects.Get(t, resourceNamed("httproutes"), "ns", "kept")
	st, _, _ := unstructured.NestedMap(u.Object, "status")
	if got := condition(parents(st)[ours], "Accepted")["message"]; got != "same" {
		t.Errorf("who does not lead any more has written %q", got)
	}
}

func testGone(t *testing.T, f *fixture) {
	f.objects.Apply(t, fmt.Sprintf(route, "next"))
	w, sent := f.writer(t)
	lead(t, w)
	w.Put(ref("HTTPRoute", "nowhere"), routeStatus("x"))
	w.Put(ref("HTTPRoute", "next"), routeStatus("x"))
	f.until(t, "httproutes", "next", "written", func(st map[string]any) bool { return parents(st)[ours] != nil })
	w.Seen(ref("HTTPRoute", "nowhere"), nil)
	w.Put(ref("HTTPRoute", "nowhere"), nil)
	if n := len(sent.of("nowhere")); n > 0 {
		t.Errorf("an object that is not there is written %d times", n)
	}
}

// What was seen without a status is written without being read, unless somebody else was faster.
func testNothingToRead(t *testing.T, f *fixture) {
	mine := f.objects.Apply(t, fmt.Sprintf(route, "mine"))
	shared := f.objects.Apply(t, fmt.Sprintf(route, "shared"))
	w, sent := f.writer(t)
	see(t, w, "HTTPRoute", mine, &gwv1.HTTPRoute{})
	see(t, w, "HTTPRoute", shared, &gwv1.HTTPRoute{})
	lead(t, w)
	w.Put(ref("HTTPRoute", "mine"), routeStatus("x"))
	f.until(t, "httproutes", "mine", "written", func(st map[string]any) bool { return parents(st)[ours] != nil })
	if reads, writes := sent.total("mine"); reads > 0 || writes != 1 {
		t.Errorf("%d reads and %d writes, want one write", reads, writes)
	}

	f.objects.SetStatus(t, shared, map[string]any{"parents": []any{map[string]any{
		"controllerName": "example.com/theirs", "parentRef": map[string]any{"name": "gw"},
		"conditions": []any{foreign("Accepted")},
	}}})
	w.Put(ref("HTTPRoute", "shared"), routeStatus("x"))
	f.until(t, "httproutes", "shared", "of both", func(st map[string]any) bool { return len(parents(st)) == 2 })
	if reads, writes := sent.total("shared"); reads != 1 || writes != 2 {
		t.Errorf("%d reads and %d writes, want a conflict, a read and a write", reads, writes)
	}
}

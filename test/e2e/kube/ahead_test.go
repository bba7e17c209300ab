package kube

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// behind is how long after a route its Service is made, and longest how long after it the Service may be there for the
// test to say anything: a route waits for a second.
const (
	behind  = 100 * time.Millisecond
	longest = 800 * time.Millisecond
)

// TestRouteAheadOfItsService makes routes a moment before the Services that they name. Requests see what was before,
// and then the Service; a Service that never comes is reported, and requests see that then.
func TestRouteAheadOfItsService(t *testing.T) {
	w := begin(t)
	address := w.quickstart(1)
	w.quiet(w.ns)

	t.Run("a new route", func(t *testing.T) {
		w := w.in(t)
		judged := 0
		for i := range 10 {
			stop := w.keepAsking(address, hostOf(i))
			late := w.ahead(func() { w.post(routePath(w.ns, ""), routeTo(w.ns, i, nameOf(i))) }, nameOf(i))
			w.eventually("the route to be served", func() error { return w.status(address, hostOf(i), 200) })
			seen := stop()
			t.Log(seen)
			if late > longest {
				continue
			}
			judged++
			if delete(seen, 404); len(seen) > 1 || seen[200] == 0 {
				t.Errorf("beside 404 there are %v, want nothing but 200", seen)
			}
		}
		if judged == 0 {
			t.Error("the machine is too slow for this test: no Service was there in time")
		}
	})
	t.Run("an edited route", func(t *testing.T) {
		w := w.in(t)
		stop := w.keepAsking(address, "one.example")
		late := w.ahead(func() {
			w.lead("one", "edited")
		}, "edited")
		w.eventually("the edit to be served", func() error { return w.backendFound("one", true) })
		seen := stop()
		t.Log(seen)
		if late > longest {
			t.Skip("the machine is too slow: the Service was not there in time")
		}
		if len(seen) > 1 || seen[200] == 0 {
			t.Errorf("there are %v, want nothing but 200", seen)
		}
	})
	t.Run("a Service that goes", func(t *testing.T) {
		w := w.in(t)
		w.quiet(w.ns)
		stop := w.keepAsking(address, "one.example")
		began := time.Now()
		if err := w.api.Delete(t.Context(), corePath(w.ns, "services", "edited")); err != nil {
			t.Fatal(err)
		}
		w.lead("one", "one")
		late := time.Since(began)
		w.eventually("the edit to be served", func() error { return w.backendFound("one", true) })
		seen := stop()
		t.Log(seen)
		if late > longest {
			t.Skip("the machine is too slow: the edit was not there in time")
		}
		if len(seen) > 1 || seen[200] == 0 {
			t.Errorf("there are %v, want nothing but 200", seen)
		}
	})
	t.Run("a Service that never comes", func(t *testing.T) {
		w := w.in(t)
		w.post(routePath(w.ns, ""), routeTo(w.ns, 100, "never"))
		w.eventually("the route's status to say so", func() error { return w.backendFound(nameOf(100), false) })
		w.eventually("requests to fail", func() error { return w.status(address, hostOf(100), 500) })
	})
}

// ahead makes a route and, a moment later, a Service of that name for the pods of "one". It returns how long after the
// route all of it was there.
func (w *world) ahead(route func(), service string) time.Duration {
	w.t.Helper()
	pods, err := w.pods(w.ns, "app=one")
	at := slices.IndexFunc(pods, isReady)
	if err != nil || at < 0 {
		w.t.Fatal("no pod is ready: ", err)
	}
	began := time.Now()
	route()
	time.Sleep(behind)
	w.post(corePath(w.ns, "services", ""), map[string]any{
		"apiVersion": "v1", "kind": "Service", "metadata": map[string]any{"name": service},
		"spec": map[string]any{"ports": []any{map[string]any{"name": "http", "port": 80}}},
	})
	w.post("/apis/discovery.k8s.io/v1/namespaces/"+w.ns+"/endpointslices/", map[string]any{
		"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
		"metadata": map[string]any{
			"name": service + "-1", "labels": map[string]any{"kubernetes.io/service-name": service},
		},
		"ports":     []any{map[string]any{"name": "http", "port": 3000, "protocol": "TCP"}},
		"endpoints": []any{map[string]any{"addresses": []string{pods[at].Status.PodIP}}},
	})
	return time.Since(began)
}

// post makes an object in the collection at a path that ends in a slash.
func (w *world) post(path string, object any) {
	w.t.Helper()
	if err := w.api.Post(w.t.Context(), strings.TrimSuffix(path, "/"), object); err != nil {
		w.t.Fatal(err)
	}
}

// keepAsking asks for a host over and over. The function that it returns ends that, and returns how often each status
// came; 0 stands for a broken connection.
func (w *world) keepAsking(address, host string) (stop func() map[int]int) {
	conn := load.NewConn(withPort(address))
	conn.Use(w.Dial, "")
	over, seen := make(chan struct{}), make(chan map[int]int)
	go func() {
		defer conn.Close()
		all := map[int]int{}
		for last := false; ; {
			status, err := conn.Do(load.NewRequest(host, "/", nil))
			if err != nil {
				status = 0
			}
			all[status]++
			if last {
				seen <- all
				return
			}
			select {
			case <-over:
				last = true // once more: whoever stops knows what the answer is now
			case <-time.After(time.Millisecond):
			}
		}
	}()
	return func() map[int]int {
		close(over)
		return <-seen
	}
}

// backendFound says what is wrong with the references of a route, or with their being reported as wrong.
func (w *world) backendFound(name string, want bool) error {
	r := new(gwv1.HTTPRoute)
	if err := w.get(routePath(w.ns, name), r); err != nil {
		return err
	}
	if len(r.Status.Parents) != 1 {
		return fmt.Errorf("it has %d parents in its status", len(r.Status.Parents))
	}
	c := meta.FindStatusCondition(r.Status.Parents[0].Conditions, string(gwv1.RouteConditionResolvedRefs))
	if c == nil || c.ObservedGeneration != r.Generation || (c.Status == "True") != want {
		return fmt.Errorf("ResolvedRefs is %+v at generation %d", c, r.Generation)
	}
	if !want && c.Reason != string(gwv1.RouteReasonBackendNotFound) {
		return fmt.Errorf("ResolvedRefs is %+v", c)
	}
	return nil
}

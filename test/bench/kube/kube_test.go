package main

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/charts"
	"github.com/sluice-gateway/sluice/test/apiserver"
	"github.com/sluice-gateway/sluice/test/bench/load"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args []string
		want options
		err  string
	}{
		{nil, options{cluster: "bench", routes: []int{100, 1000, 5000}}, ""},
		{
			[]string{"-quick", "-only", "loss"},
			options{cluster: "bench", quick: true, only: "loss", routes: []int{50, 200}}, "",
		},
		{[]string{"-peer", "-routes", "7, 3"}, options{cluster: "bench", peer: true, routes: []int{3, 7}}, ""},
		{[]string{"-routes", "0"}, options{}, "not a number of routes"},
		{[]string{"-only", "speed"}, options{}, "there is attach, size"},
	}
	for _, test := range tests {
		got, err := parse(test.args)
		if test.err != "" {
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v: error %v, want one with %q", test.args, err, test.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", test.args, err)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(options{})); diff != "" {
			t.Errorf("%v: %s", test.args, diff)
		}
	}
}

// TestBackends asks each backend, and watches one come after another.
func TestBackends(t *testing.T) {
	b, err := newBackends("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	w := &world{}
	for _, backend := range []struct{ port, status int }{
		{b.ok, statusOK}, {b.other, statusOther}, {b.spare[2], statusOK},
	} {
		conn := load.NewConn(addressOf(backend.port))
		_, before, err := w.answers(t.Context(), conn, load.NewRequest("a", "/", nil), backend.status)
		conn.Close()
		if err != nil || len(before) > 0 {
			t.Errorf("port %d: %v before %d, error %v", backend.port, before, backend.status, err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	conn := load.NewConn(addressOf(b.other))
	defer conn.Close()
	_, before, err := w.answers(ctx, conn, load.NewRequest("a", "/", nil), statusOK)
	if !errors.Is(err, context.DeadlineExceeded) || before[statusOther] == 0 {
		t.Errorf("error %v and %v, want the deadline and answers with %d", err, before, statusOther)
	}
}

func TestSeen(t *testing.T) {
	s := seen{404: 3}
	s.merge(seen{503: 2, 404: 1, 0: 1})
	if got, want := s.String(), "1 x 0, 4 x 404, 2 x 503"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if s.unexpected() != 3 {
		t.Errorf("%d unexpected, want 3", s.unexpected())
	}
	if got := (seen{}).String(); got != "nothing else" {
		t.Errorf("%q", got)
	}
}

// TestObjects has a real API server take every object that the benchmark makes, strictly, and reads statuses as a
// controller writes them.
func TestObjects(t *testing.T) {
	server := apiserver.Start(t)
	api, err := newClient(server.Config(apiserver.Admin))
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	installCRDs(t, api)
	w := &world{client: api}
	edited := []object{editedRoute(1), editedRoute(2)}
	for _, o := range slices.Concat([]object{
		namespaceObject(namespace), gateway("sluice"), service(name(0)), endpoint(name(0), name(0), 8080, true),
		endpoint("going", name(0), 8080, false), route(0, path(0)),
	}, edited) {
		if err := w.apply(ctx, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.listenerSet(ctx, 1, 2); err != nil {
		t.Fatal(err)
	}
	watching, stop := context.WithCancel(ctx)
	defer stop()
	writes, err := w.countWrites(watching)
	if err != nil {
		t.Fatal(err)
	}
	for n := range 4 {
		writeStatus(t, api, gatewayResource, gatewayName, n)
	}
	if err := w.attached(ctx, gatewayResource, gatewayName, 3); err != nil {
		t.Fatal(err)
	}
	g, err := w.get(ctx, gatewayResource, gatewayName)
	if err != nil {
		t.Fatal(err)
	}
	if address, ok := programmed(g); !ok || address != "192.0.2.1:80" {
		t.Errorf("address %q, programmed %v", address, ok)
	}
	if err := w.delete(ctx, 0); err != nil {
		t.Fatal(err)
	}
	if err := w.delete(ctx, 0); err != nil {
		t.Errorf("a second time: %v", err)
	}
	if err := w.remove(ctx, gatewayResource, gatewayName); err != nil {
		t.Fatal(err)
	}
	const four = 4 // statuses, and the deletion
	err = w.until(ctx, "the watch has told of the deletion", func() (bool, error) { return writes.Load() > four, nil })
	if got := writes.Load(); err != nil || got != four+1 {
		t.Errorf("%d writes of the Gateway, want %d; error %v", got, four+1, err)
	}
}

// writeStatus says of a Gateway that it is programmed, and how many routes its listener has.
func writeStatus(t *testing.T, c *client, resource schema.GroupVersionResource, name string, routes int) {
	t.Helper()
	condition := map[string]any{
		"type": "Programmed", "status": "True", "reason": "Programmed", "message": "",
		"lastTransitionTime": metav1.Now().UTC().Format(time.RFC3339),
	}
	data, err := json.Marshal(map[string]any{"status": map[string]any{
		"conditions": []any{condition},
		"addresses":  []any{map[string]any{"type": "IPAddress", "value": "192.0.2.1"}},
		"listeners": []any{map[string]any{
			"name": "http", "attachedRoutes": routes, "supportedKinds": []any{}, "conditions": []any{},
		}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.in(resource).Patch(t.Context(), name, types.MergePatchType, data, metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
}

// installCRDs installs those of the chart, and waits until they are served.
func installCRDs(t *testing.T, c *client) {
	t.Helper()
	m, err := charts.Release{Name: "sluice", Namespace: "sluice-system"}.Render()
	if err != nil {
		t.Fatal(err)
	}
	crds := schema.GroupVersionResource{
		Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
	}
	for _, doc := range m.CRDs {
		o := new(unstructured.Unstructured)
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			t.Fatal(err)
		}
		if o.GetKind() != "CustomResourceDefinition" || !strings.Contains(o.GetName(), "gateway.networking.k8s.io") {
			continue
		}
		if _, err := c.Resource(crds).Create(t.Context(), o, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", o.GetName(), err)
		}
	}
	w := &world{client: c}
	for _, resource := range []schema.GroupVersionResource{gatewayResource, routeResource, listenerSetResource} {
		err := w.until(t.Context(), resource.Resource+" is served", func() (bool, error) {
			_, err := c.Resource(resource).List(t.Context(), metav1.ListOptions{})
			return err == nil, err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func addressOf(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

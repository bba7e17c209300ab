package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/cluster/api"
	"github.com/sluice-gateway/sluice/test/release"
)

// The label of the namespaces that tests make.
const (
	testLabel = "sluice.test"
	testValue = "e2e"
)

// world is a test's view of the cluster.
type world struct {
	*cluster.Cluster

	t   *testing.T
	api *api.Client
	// ns is a namespace of the test's own.
	ns string
}

// begin returns the shared cluster with a namespace for the test, which goes with it.
func begin(t *testing.T) *world {
	t.Helper()
	c := shared(t)
	client, err := c.API()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{Cluster: c, t: t, api: client}
	w.ns = w.namespace("")
	t.Cleanup(func() {
		if t.Failed() {
			w.describe()
		}
	})
	return w
}

// in is the same view for a subtest.
func (w *world) in(t *testing.T) *world {
	out := *w
	out.t = t
	return &out
}

var capitals = regexp.MustCompile(`([a-z0-9])([A-Z])`)

// namespace makes a namespace named after the test, with all privileges of pods withdrawn: nothing that Sluice runs
// needs any.
func (w *world) namespace(suffix string) string {
	w.t.Helper()
	name := strings.ToLower(capitals.ReplaceAllString(strings.TrimPrefix(w.t.Name(), "Test"), "$1-$2")) + suffix
	w.apply(fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %s, labels: {%s: %s, pod-security.kubernetes.io/enforce: baseline}}
`, name, testLabel, testValue))
	w.t.Cleanup(func() {
		ctx := context.WithoutCancel(w.t.Context())
		cmd := w.Command(ctx, "kubectl", "delete", "namespace", name, "--wait=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			w.t.Errorf("delete the namespace: %v: %s", err, out)
		}
	})
	return name
}

// describe logs what a person would look at first after a failure.
func (w *world) describe() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), 20*time.Second)
	defer cancel()
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"-n", w.ns, "get", "gateways,httproutes,services", "-o", "yaml"},
		{"-n", release.Default.Namespace, "logs", "-l", "app.kubernetes.io/name=sluice", "--tail=30", "--prefix"},
	} {
		out, err := w.Command(ctx, append([]string{"kubectl"}, args...)...).CombinedOutput()
		const most = 12 << 10
		w.t.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out[max(0, len(out)-most):])
	}
}

// kubectl runs kubectl and returns what it prints.
func (w *world) kubectl(args ...string) string {
	w.t.Helper()
	out, err := w.Command(w.t.Context(), append([]string{"kubectl"}, args...)...).CombinedOutput()
	if err != nil {
		w.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// apply applies manifests.
func (w *world) apply(manifests string) {
	w.t.Helper()
	if err := release.Apply(w.t.Context(), w.Cluster, manifests); err != nil {
		w.t.Fatal(err)
	}
}

// get reads an object or a list; it may be missing.
func (w *world) get(path string, v any) error { return w.api.Get(w.t.Context(), path, v) }

// patch changes an object with a JSON merge patch.
func (w *world) patch(path, patch string) {
	w.t.Helper()
	if err := w.api.Patch(w.t.Context(), path, json.RawMessage(patch)); err != nil {
		w.t.Fatal(err)
	}
}

// lead leads a route to another backend.
func (w *world) lead(name, service string) {
	w.t.Helper()
	w.patch(routePath(w.ns, name), `{"spec":{"rules":[{"backendRefs":[{"name":"`+service+`","port":80}]}]}}`)
}

// patience is how long anything may take on a machine that is busy.
const patience = 90 * time.Second

// eventually waits until check returns nil.
func (w *world) eventually(what string, check func() error) {
	w.t.Helper()
	w.within(patience, what, check)
}

// within waits until check returns nil, for as long as it may take.
func (w *world) within(limit time.Duration, what string, check func() error) {
	w.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(50 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s: not after %v: %v", what, limit, err)
		}
	}
}

// Paths of objects at the API server.
func gatewayPath(ns, name string) string {
	return "/apis/gateway.networking.k8s.io/v1/namespaces/" + ns + "/gateways/" + name
}

func routePath(ns, name string) string {
	return "/apis/gateway.networking.k8s.io/v1/namespaces/" + ns + "/httproutes/" + name
}

func proxyPath(ns, name string) string {
	return policyPath(ns, "envoyproxies", name)
}

// policyPath is where an object of the API of Envoy Gateway is.
func policyPath(ns, plural, name string) string {
	return "/apis/gateway.envoyproxy.io/v1alpha1/namespaces/" + ns + "/" + plural + "/" + name
}

func corePath(ns, plural, name string) string {
	return "/api/v1/namespaces/" + ns + "/" + plural + "/" + name
}

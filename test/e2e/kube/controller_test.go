package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/test/envoygateway"
	"github.com/sluice-gateway/sluice/test/release"
)

// The controllers of two classes: the chart's own, and Envoy Gateway's, which another release serves in its place.
const (
	ownController   = "sluice.dev/gateway-controller"
	takenController = envoygateway.Controller
)

// TestTwoControllers runs two releases side by side, the second with Envoy Gateway's controller name. Each serves the
// Gateways of its own class and leaves the other's objects and statuses alone, whoever of them starts anew. When the
// second goes, its Envoys stay until the first takes them over with the class.
func TestTwoControllers(t *testing.T) {
	w := begin(t)
	second := release.Release{Name: "second", Namespace: "second-system"}
	w.install(second, "replicas=1", "crds.experimental=false", "crds.policies=false", "gatewayClass.create=false",
		"controllerNames={"+takenController+"}", "resources.requests.cpu=20m")
	w.twoClasses()
	addresses := []string{w.programmed(w.ns, "gateway"), w.programmed(w.ns, "taken")}
	w.eventually("each Gateway to have its Envoy", func() error {
		if err := w.ready(w.ns, "gateway", 1); err != nil {
			return err
		}
		return w.ready(w.ns, "taken", 1)
	})
	w.shift("one", addresses...)
	w.quiet(w.ns)

	seen := w.observe(append(fleetCollections(w.ns), strings.TrimSuffix(gatewayPath(w.ns, ""), "/"), classesPath,
		strings.TrimSuffix(routePath(w.ns, ""), "/"))...)
	w.shift("two", addresses...)
	for _, r := range []release.Release{release.Default, second} {
		// A leader that is new looks at everything there is.
		w.restart(r)
		w.shift("one", addresses...)
		w.shift("two", addresses...)
	}
	// Each of five changes was said to be taken in by both.
	const shifts, writers = 5, 3
	seen.only(map[string]int{"HTTPRoute " + w.ns + "/both": shifts * writers})

	t.Run("one is uninstalled", func(t *testing.T) {
		w := w.in(t)
		if err := second.Uninstall(t.Context(), w.Cluster); err != nil {
			t.Fatal(err)
		}
		w.answers(addresses[1], "any.example", "two")
		w.eventually("the route to be changed for the other", func() error {
			w.lead("both", "one")
			return w.answered(addresses[0], "any.example", "one")
		})
		seen.only(map[string]int{"HTTPRoute " + w.ns + "/both": shifts*writers + writers})
	})
	t.Run("the other takes over", func(t *testing.T) { w.in(t).takeOver(addresses) })
}

// classesPath is where GatewayClasses are.
const classesPath = "/apis/gateway.networking.k8s.io/v1/gatewayclasses"

// install installs a further release until the end of the test.
func (w *world) install(r release.Release, values ...string) {
	w.t.Helper()
	w.t.Cleanup(func() {
		ctx := context.WithoutCancel(w.t.Context())
		// The Gateways first, while there is somebody to remove what was made for them.
		w.remove(ctx, "gateways", "--all", "-n", w.ns)
		if err := r.Uninstall(ctx, w.Cluster); err != nil {
			w.t.Error(err)
		}
		w.remove(ctx, "gatewayclass/eg", "namespace/"+r.Namespace)
	})
	if err := r.Install(w.t.Context(), w.Cluster, values...); err != nil {
		w.t.Fatal(err)
	}
}

// remove removes objects that kubectl is told of so, and returns when they are gone.
func (w *world) remove(ctx context.Context, objects ...string) {
	args := append([]string{"kubectl", "delete", "--ignore-not-found", "--timeout=90s"}, objects...)
	if out, err := w.Command(ctx, args...).CombinedOutput(); err != nil {
		w.t.Errorf("remove %v: %v: %s", objects, err, out)
	}
}

// twoClasses makes what a user of Envoy Gateway has, a class and a Gateway of it, beside a Gateway of Sluice's own
// class, and a route that is attached to both.
func (w *world) twoClasses() {
	w.t.Helper()
	small := fmt.Sprintf("{envoyDeployment: {container: {image: %q}}}", envoygateway.EnvoyImage)
	w.apply(fmt.Sprintf(`
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: eg}
spec: {controllerName: %s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: both, namespace: %s}
spec:
  parentRefs: [{name: gateway}, {name: taken}]
  rules: [{backendRefs: [{name: one, port: 80}]}]
`, takenController, w.ns) + proxy(w.ns, small) + gateway(w.ns, "gateway") +
		strings.Replace(gateway(w.ns, "taken"), "gatewayClassName: "+class, "gatewayClassName: eg", 1) +
		backend(w.ns, "one", 1) + backend(w.ns, "two", 1))
}

// shift leads the route of both Gateways to another backend, and returns when both serve it and have said so.
func (w *world) shift(backend string, addresses ...string) {
	w.t.Helper()
	w.lead("both", backend)
	for _, address := range addresses {
		w.answers(address, "any.example", backend)
	}
	w.eventually("an entry of each controller in the route's status", func() error {
		return w.parents("both", "gateway "+ownController, "taken "+takenController)
	})
}

// parents says what a route's status lacks of exactly these entries, all accepted and of the route as it is now.
func (w *world) parents(name string, want ...string) error {
	r := new(gwv1.HTTPRoute)
	if err := w.get(routePath(w.ns, name), r); err != nil {
		return err
	}
	var got []string
	for _, p := range r.Status.Parents {
		got = append(got, string(p.ParentRef.Name)+" "+string(p.ControllerName))
		for _, c := range p.Conditions {
			if c.ObservedGeneration != r.Generation {
				return fmt.Errorf("%s is of generation %d, not %d", p.ControllerName, c.ObservedGeneration, r.Generation)
			}
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the entries are %q, want %q", got, want)
	}
	return w.accepted(w.ns, name)
}

// restart has all replicas of a release start anew, and returns when one of them leads.
func (w *world) restart(r release.Release) {
	w.t.Helper()
	w.roll(r.Namespace, r.Name)
	if err := r.AwaitLeader(w.t.Context(), w.Cluster); err != nil {
		w.t.Fatal(err)
	}
}

// roll replaces all pods of a Deployment.
func (w *world) roll(ns, name string) {
	w.t.Helper()
	w.kubectl("-n", ns, "rollout", "restart", "deployment/"+name)
	w.kubectl("-n", ns, "rollout", "status", "deployment/"+name, "--timeout=90s")
}

// serveBoth has the shared release serve both classes until the end of the test.
func (w *world) serveBoth() {
	w.t.Helper()
	w.t.Cleanup(func() {
		if err := release.Default.Install(context.WithoutCancel(w.t.Context()), w.Cluster, values...); err != nil {
			w.t.Error(err)
		}
	})
	both := append(slices.Clone(values), "controllerNames={"+ownController+","+takenController+"}")
	if err := release.Default.Install(w.t.Context(), w.Cluster, both...); err != nil {
		w.t.Fatal(err)
	}
}

// takeOver has the shared release serve both classes: it goes on with the Envoys that there are, at the address that
// they have.
func (w *world) takeOver(addresses []string) {
	w.t.Helper()
	fleet := func() (*appsv1.Deployment, error) {
		var list appsv1.DeploymentList
		err := w.get("/apis/apps/v1/namespaces/"+w.ns+"/deployments?labelSelector="+gatewayLabel+"=taken", &list)
		if err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("there are %d Deployments", len(list.Items))
		}
		if err != nil {
			return nil, err
		}
		return &list.Items[0], nil
	}
	before, err := fleet()
	if err != nil {
		w.t.Fatal(err)
	}
	w.serveBoth()
	w.eventually("the fleet to be of the other installation", func() error {
		now, err := fleet()
		if err == nil && (now.UID != before.UID || now.Labels["sluice.dev/installation"] != "sluice-system.sluice") {
			err = fmt.Errorf("it is %s of %s, was %s", now.UID, now.Labels["sluice.dev/installation"], before.UID)
		}
		return err
	})
	w.shift("two", addresses...)
	w.eventually("its Envoy to be ready", func() error { return w.ready(w.ns, "taken", 1) })
	if address := w.programmed(w.ns, "taken"); address != addresses[1] {
		w.t.Errorf("the Gateway has moved from %s to %s", addresses[1], address)
	}
}

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/test/envoygateway"
	"github.com/sluice-gateway/sluice/test/release"
)

// The managers of fields that the two write with.
const (
	ownManager, theirManager = "sluice", "envoy-gateway"
)

// TestBesideEnvoyGateway runs Sluice and Envoy Gateway in one cluster, each with a class of its own. Both serve the one
// route that is attached to a Gateway of each, whoever of them starts anew, and neither writes what is the other's.
// Then Envoy Gateway is removed, and Sluice serves its class.
func TestBesideEnvoyGateway(t *testing.T) {
	w := begin(t)
	w.installEnvoyGateway()
	w.twoClasses()
	addresses := []string{w.programmed(w.ns, "gateway"), w.programmed(w.ns, "taken")}
	w.eventually("each Gateway to have its Envoy", func() error {
		return errors.Join(w.ready(w.ns, "gateway", 1), w.theirs("taken", 1))
	})
	w.shift("one", addresses...)
	w.quiet(w.ns)

	gateways, routes := strings.TrimSuffix(gatewayPath(w.ns, ""), "/"), strings.TrimSuffix(routePath(w.ns, ""), "/")
	proxies := strings.TrimSuffix(proxyPath(w.ns, ""), "/")
	seen := w.observe(append(fleetCollections(w.ns), gateways, routes, proxies, classesPath)...)
	w.shift("two", addresses...)
	w.restart(release.Default)
	w.shift("one", addresses...)
	w.roll(envoygateway.Namespace, envoygateway.Deployment)
	w.shift("two", addresses...)
	// Each of three changes was said to be taken in by both.
	const shifts, writers = 3, 3
	seen.only(map[string]int{
		"HTTPRoute " + w.ns + "/both": shifts * writers,
		// Envoy Gateway writes the status of an EnvoyProxy whole when it starts. Sluice adds its part to it, once.
		"EnvoyProxy " + w.ns + "/proxy": 2,
	})

	w.unwritten(fleetCollections(w.ns), gatewayLabel+"=gateway", ownManager, theirManager)
	w.unwritten(fleetCollections(envoygateway.Namespace), envoygateway.GatewayLabel+"=taken", theirManager, ownManager)
	w.unwritten(fleetCollections(envoygateway.Namespace), "", theirManager, ownManager)
	for name, managers := range map[string][2]string{
		"gateway": {ownManager, theirManager}, "taken": {theirManager, ownManager},
	} {
		w.apart(gatewayPath(w.ns, name), managers[0], managers[1])
	}
	w.apart(classesPath+"/"+class, ownManager, theirManager)
	w.apart(classesPath+"/eg", theirManager, ownManager)

	t.Run("Sluice takes the class over", func(t *testing.T) { w.in(t).succeed(addresses) })
}

// installEnvoyGateway installs Envoy Gateway until the end of the test.
func (w *world) installEnvoyGateway() {
	w.t.Helper()
	w.t.Cleanup(func() {
		ctx := context.WithoutCancel(w.t.Context())
		w.remove(ctx, "gateways", "--all", "-n", w.ns)
		if err := envoygateway.Uninstall(ctx, w.Cluster); err != nil {
			w.t.Error(err)
		}
		// The finalizer that Envoy Gateway keeps a class with, while it has Gateways, has nobody to remove it any more.
		finalizers := json.RawMessage(`{"metadata":{"finalizers":null}}`)
		var class metav1.PartialObjectMetadata
		if err := w.api.Get(ctx, classesPath+"/eg", &class); err == nil {
			if err := w.api.Patch(ctx, classesPath+"/eg", finalizers); err != nil {
				w.t.Error(err)
			}
		}
		w.remove(ctx, "gatewayclass/eg", "namespace/"+envoygateway.Namespace)
	})
	err := envoygateway.Install(w.t.Context(), w.Cluster, "deployment.envoyGateway.resources.requests.cpu=20m")
	if err != nil {
		w.t.Fatal(err)
	}
}

// theirs says what keeps a Gateway of Envoy Gateway from having exactly so many Envoys that are ready.
func (w *world) theirs(gateway string, want int) error {
	pods, err := w.pods(envoygateway.Namespace, envoygateway.GatewayLabel+"="+gateway)
	if err != nil {
		return err
	}
	n := 0
	for _, p := range pods {
		if isReady(p) {
			n++
		}
	}
	if n != want || len(pods) != want {
		return fmt.Errorf("%d of %d Envoys of Envoy Gateway are ready, want %d", n, len(pods), want)
	}
	return nil
}

// unwritten checks that, of the objects of collections that a selector selects, some are written by one manager, none
// by another.
func (w *world) unwritten(collections []string, selector, by, never string) {
	w.t.Helper()
	written := 0
	for _, path := range collections {
		var list struct {
			Items []metav1.PartialObjectMetadata
		}
		if err := w.get(path+"?labelSelector="+selector, &list); err != nil {
			w.t.Fatal(err)
		}
		for _, o := range list.Items {
			managers := managersOf(o)
			if managers[by] {
				written++
			}
			if managers[never] {
				w.t.Errorf("%s/%s, which is of %s, was written by %v", path, o.Name, by, managers)
			}
		}
	}
	if written == 0 {
		w.t.Errorf("nothing in %v with the label %q was written by %s", collections, selector, by)
	}
}

// apart checks that an object is written by one manager, and not by another.
func (w *world) apart(path, by, never string) {
	w.t.Helper()
	var o metav1.PartialObjectMetadata
	if err := w.get(path, &o); err != nil {
		w.t.Fatal(err)
	}
	if managers := managersOf(o); !managers[by] || managers[never] {
		w.t.Errorf("%s was written by %v, want %s and not %s", path, managers, by, never)
	}
}

func managersOf(o metav1.PartialObjectMetadata) map[string]bool {
	out := map[string]bool{}
	for _, f := range o.ManagedFields {
		out[f.Manager] = true
	}
	return out
}

// succeed removes Envoy Gateway and has Sluice serve its class: the Gateway gets Envoys of Sluice, in its own
// namespace, at an address of theirs.
func (w *world) succeed(addresses []string) {
	w.t.Helper()
	if err := envoygateway.Uninstall(w.t.Context(), w.Cluster); err != nil {
		w.t.Fatal(err)
	}
	// Its Envoys go on for now.
	w.answers(addresses[1], "any.example", "two")
	w.serveBoth()
	w.eventually("an Envoy of Sluice", func() error { return w.ready(w.ns, "taken", 1) })
	address := ""
	w.eventually("the address of its Service", func() error {
		var services corev1.ServiceList
		err := w.get("/api/v1/namespaces/"+w.ns+"/services?labelSelector="+gatewayLabel+"=taken", &services)
		if err != nil {
			return err
		}
		if len(services.Items) != 1 || len(services.Items[0].Status.LoadBalancer.Ingress) == 0 {
			return fmt.Errorf("the Services are %+v", services.Items)
		}
		address = services.Items[0].Status.LoadBalancer.Ingress[0].IP
		if now := w.programmed(w.ns, "taken"); now != address {
			return fmt.Errorf("the Gateway is at %s, its Service at %s", now, address)
		}
		return nil
	})
	w.shift("one", addresses[0], address)
}

package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/charts"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/envoygateway"
	"github.com/sluice-gateway/sluice/test/release"
)

// TestChartUpgrade upgrades the release by helm to another image and other values, and rolls it back, under load. With
// the image of the control plane that of the sidecar changes, so that all Envoys are replaced, too; each time nothing
// is lost, the Gateway stays programmed, and the same Deployment and Service are its.
func TestChartUpgrade(t *testing.T) {
	w := begin(t)
	const envoys = 2
	address := w.quickstart(envoys)
	w.apply(backend(w.ns, "two", 1))
	w.running(cluster.ProductTag, envoys)
	fleet := w.fleetIDs()
	stay := w.staysProgrammed()
	traffic := w.load(address, "one.example", "one")
	w.reinstall("image.tag="+cluster.NextTag, "podLabels.tier=edge", "service.annotations.upgraded=yes")
	w.running(cluster.NextTag, envoys)
	w.edit(address, "upgraded")
	if err := release.Default.Rollback(t.Context(), w.Cluster); err != nil {
		t.Fatal(err)
	}
	w.running(cluster.ProductTag, envoys)
	w.edit(address, "rolled-back")
	w.answers(address, "upgraded.example", "two")
	traffic.none()
	stay()
	if now := w.fleetIDs(); now != fleet {
		t.Errorf("the Deployment and the Service of the Gateway are %s, were %s", now, fleet)
	}
}

// running waits until all replicas and Envoys run with the image of a tag, and none with another.
func (w *world) running(tag string, envoys int) {
	w.t.Helper()
	w.eventually("the image "+tag+" everywhere", func() error {
		replicas, err := w.replicas()
		if err != nil {
			return err
		}
		proxies, err := w.envoys(w.ns, "gateway")
		if err != nil {
			return err
		}
		if len(replicas) != controlPlanes || len(proxies) != envoys {
			return fmt.Errorf("there are %d replicas and %d Envoys", len(replicas), len(proxies))
		}
		for _, p := range append(replicas, proxies...) {
			if !isReady(p) || !slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool {
				return strings.HasSuffix(c.Image, ":"+tag)
			}) {
				return fmt.Errorf("%s is not ready with that image", p.Name)
			}
		}
		return nil
	})
}

// fleetIDs are the identities of the Deployment and the Service of the test's Gateway.
func (w *world) fleetIDs() string {
	w.t.Helper()
	d, err := one[appsv1.Deployment](w, "/apis/apps/v1", "deployments")
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := one[corev1.Service](w, "/api/v1", "services")
	if err != nil {
		w.t.Fatal(err)
	}
	return string(d.UID) + " " + string(s.UID)
}

// TestCRDUpgrade serves with the CRDs of Envoy Gateway, which are those of an older Gateway API, and replaces them by
// Sluice's under load, with the objects there. Control planes start with either. No request is lost, and no object.
func TestCRDUpgrade(t *testing.T) {
	w := begin(t)
	manifests, err := charts.Release{Name: release.Default.Name, Namespace: release.Default.Namespace}.Render()
	if err != nil {
		t.Fatal(err)
	}
	own := charts.Manifests{CRDs: manifests.CRDs}.String()
	theirs, err := envoygateway.CRDs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := w.quickstart(2)
	w.apply(backend(w.ns, "two", 1) + w.checkedBy("{type: HTTP, http: {path: /}}"))
	w.answers(address, "cluster.example", "two")
	before := w.specs()
	stay := w.staysProgrammed()
	traffic := w.load(address, "one.example", "one")

	t.Cleanup(func() {
		if err := release.Apply(context.WithoutCancel(t.Context()), w.Cluster, own); err != nil {
			t.Error(err)
		}
	})
	w.apply(theirs)
	w.bundled("v1.6.1")
	w.edit(address, "with-older")
	w.restart(release.Default)
	w.edit(address, "started-with-older")
	for range 2 { // the second time nothing changes
		w.apply(own)
		w.bundled("v1.7.0")
	}
	w.edit(address, "with-newer")
	w.restart(release.Default)
	w.edit(address, "started-with-newer")
	traffic.none()
	stay()
	after := w.specs()
	for object, spec := range before {
		if after[object] != spec {
			t.Errorf("%s is %s, was %s", object, after[object], spec)
		}
	}
	if len(before) < 5 {
		t.Errorf("only %d objects were looked at: %v", len(before), slices.Sorted(maps.Keys(before)))
	}
}

// bundled checks which version of the Gateway API the CRD of routes is of.
func (w *world) bundled(version string) {
	w.t.Helper()
	got := w.kubectl("get", "crd", "httproutes.gateway.networking.k8s.io", "-o",
		`jsonpath={.metadata.annotations.gateway\.networking\.k8s\.io/bundle-version}`)
	if got != version {
		w.t.Errorf("the CRD of routes is of %s, want %s", got, version)
	}
}

// specs are the identity and the spec of each object of the test that CRDs define.
func (w *world) specs() map[string]string {
	w.t.Helper()
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name, UID string }
			Spec     json.RawMessage
		}
	}
	text := w.kubectl("-n", w.ns, "get", "-o", "json",
		"gateways,httproutes,envoyproxies.gateway.envoyproxy.io,backendtrafficpolicies.gateway.envoyproxy.io")
	if err := json.Unmarshal([]byte(text), &list); err != nil {
		w.t.Fatal(err)
	}
	out := map[string]string{}
	for _, o := range list.Items {
		out[o.Kind+" "+o.Metadata.Name] = o.Metadata.UID + " " + string(o.Spec)
	}
	return out
}

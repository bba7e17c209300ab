package kube

import (
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/charts"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

// grant gives the control plane the rights that the chart gives it for the namespaces.
func grant(t *testing.T, s *apiserver.Server, namespaces ...any) {
	t.Helper()
	manifests, err := charts.Release{
		Name: "sluice", Namespace: settings().Namespace, Values: map[string]any{"watchNamespaces": namespaces},
	}.Render()
	if err != nil {
		t.Fatal(err)
	}
	objects, roles := s.Objects(t), 0
	for _, text := range manifests.Objects {
		if mentions(text, "kind: ClusterRole", "kind: ClusterRoleBinding", "kind: Role", "kind: RoleBinding") {
			objects.Apply(t, text)
			roles++
		}
	}
	if roles == 0 {
		t.Fatal("the chart has no roles")
	}
}

// mentions says whether a text has one of the lines.
func mentions(text string, lines ...string) bool {
	for line := range strings.Lines(text) {
		if slices.Contains(lines, strings.TrimSpace(line)) {
			return true
		}
	}
	return false
}

// testRights has the manager keep the fleets of some namespaces with no rights in any other.
func testRights(b *bench) {
	own, merged := b.fleetIn("served", asDeployment), b.fleetIn(settings().Namespace, "{}")
	merged.Proxy = "merged"
	b.apply("{apiVersion: v1, kind: Namespace, metadata: {name: unserved}}")
	grant(b.t, b.server, "served")
	limited := newBench(b.t, b.server, func(config *rest.Config, opts *Options) {
		config.Impersonate.UserName = "system:serviceaccount:" + settings().Namespace + ":sluice"
		opts.Namespaces = []string{"served"}
	})
	limited.Want(own.Proxy, own)
	limited.Want(merged.Proxy, merged)
	limited.work()
	limited.settled(own)
	limited.settled(merged)
	limited.patch("Deployment", "served", own.Name, `{"status": {"replicas": 1, "readyReplicas": 1}}`, "status")
	limited.eventually("changes are seen", func() bool {
		return slices.ContainsFunc(limited.live(own.Proxy), func(o *unstructured.Unstructured) bool {
			return isWorkload(o) && readyPods(o) == 1
		})
	})
	for _, namespace := range []string{"unserved", metav1.NamespaceAll} {
		_, err := limited.opts.Client.Resource(resourceOf("Secret")).Namespace(namespace).
			List(b.t.Context(), metav1.ListOptions{})
		if !apierrors.IsForbidden(err) {
			b.t.Errorf("Secrets of namespace %q can be read: %v", namespace, err)
		}
	}
	for _, name := range []model.ProxyName{own.Proxy, merged.Proxy} {
		limited.Want(name, nil)
		limited.eventually("the objects are gone", func() bool { return len(limited.live(name)) == 0 })
	}
}

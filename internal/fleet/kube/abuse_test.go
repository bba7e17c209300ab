package kube

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gateway/sluice/test/apiserver"
	"github.com/sluice-gateway/sluice/test/podsecurity"
)

// TestA10NamesThatAreTaken has objects of somebody else where those of a fleet are to be, of every kind that a fleet
// has, and objects that claim to be a fleet's: none is touched, taken over or believed, and the user is told.
func TestA10NamesThatAreTaken(t *testing.T) {
	s := apiserver.Start(t)
	t.Run("impostor", func(t *testing.T) { testImpostor(newBench(t, s)) })
	for _, kind := range []string{"ServiceAccount", "ConfigMap", "Secret", "Service", "Deployment", "DaemonSet"} {
		t.Run(kind, func(t *testing.T) { testTaken(newBench(t, s), kind) })
	}
}

// testTaken has an object of a kind that looks like the fleet's own, but for its marks.
func testTaken(b *bench, kind string) {
	spec := asDeployment
	if kind == "DaemonSet" {
		spec = asDaemonSet
	}
	f := b.fleetIn("taken-"+strings.ToLower(kind), spec)
	theirs := b.taken(kind, mustRender(b.t, f), identityName(f.Name))
	before, err := b.objects(kind, f.Namespace).Create(b.t.Context(), theirs, metav1.CreateOptions{})
	if err != nil {
		b.t.Fatal(err)
	}
	b.Want(f.Proxy, f)
	b.work()
	b.eventually("the user is told", func() bool {
		p := b.placement(f.Proxy)
		return p.Reason == "Invalid" && strings.Contains(p.Message, "There is a "+kind+" "+f.Namespace+"/"+before.GetName())
	})
	b.Want(f.Proxy, nil)
	b.eventually("ours are gone", func() bool { return len(b.live(f.Proxy)) == 0 && b.queue.Len() == 0 })
	after := b.get(kind, f.Namespace, before.GetName())
	if after == nil {
		b.t.Fatal("the object of somebody else was deleted")
	}
	if diff := cmp.Diff(before.Object, after.Object); diff != "" {
		b.t.Errorf("the object of somebody else was touched:\n%s", diff)
	}
}

// taken is an object of a kind as the fleet has it, without what marks it as the fleet's.
func (b *bench) taken(kind string, fleet []*unstructured.Unstructured, secret string) *unstructured.Unstructured {
	b.t.Helper()
	if kind == "Secret" {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": kind, "metadata": map[string]any{"name": secret},
			"data": map[string]any{"tls.key": "dGhlaXJz"},
		}}
	}
	o := find(fleet, kind, "")
	if o == nil {
		b.t.Fatalf("a fleet has no %s", kind)
	}
	out := o.DeepCopy()
	labels := out.GetLabels()
	delete(labels, labelManagedBy)
	out.SetLabels(labels)
	out.SetOwnerReferences(nil)
	return out
}

// TestA55FleetsAreRestricted holds the pods of fleets to the restricted level of the Pod Security Standards, and to a
// file system that cannot be written to, whatever kind of workload they are of.
func TestA55FleetsAreRestricted(t *testing.T) {
	specs := map[string]string{
		"nothing said": "{}", "Deployment": asDeployment, "DaemonSet": asDaemonSet,
		"own pods": "{provider: {type: Kubernetes, kubernetes: {envoyDeployment: {pod: {labels: {a: b}}, " +
			"container: {resources: {requests: {cpu: 7m}}, image: \"own:1\"}}}}}",
	}
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		t.Run(name, func(t *testing.T) {
			f := gatewayFleet()
			f.Spec = specOf(t, specs[name])
			objects := mustRender(t, f)
			i := slices.IndexFunc(objects, isWorkload)
			if i < 0 {
				t.Fatal("there are no pods")
			}
			violations, err := podsecurity.Violations(objects[i].Object)
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				t.Error(v)
			}
			containers, _, err := unstructured.NestedSlice(objects[i].Object, "spec", "template", "spec", "containers")
			if err != nil || len(containers) != 2 {
				t.Fatalf("%d containers, %v", len(containers), err)
			}
			for _, c := range containers {
				readOnly, _, _ := unstructured.NestedBool(c.(map[string]any), "securityContext", "readOnlyRootFilesystem")
				if !readOnly {
					t.Errorf("the container %v can write to its file system", c.(map[string]any)["name"])
				}
			}
			token, _, _ := unstructured.NestedBool(objects[i].Object, "spec", "template", "spec", "automountServiceAccountToken")
			if token {
				t.Error("the pods can speak to the API server")
			}
		})
	}
}

package apiserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// Objects are the objects of a server, as a user who may do everything.
type Objects struct {
	client dynamic.Interface
}

// Objects returns the objects of the server.
func (s *Server) Objects(t testing.TB) *Objects {
	t.Helper()
	client, err := dynamic.NewForConfig(s.Config(Admin))
	if err != nil {
		t.Fatal(err)
	}
	return &Objects{client}
}

var crdResource = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// crdFolders are where modules have their CRDs.
var crdFolders = []struct{ module, folder string }{
	{"sigs.k8s.io/gateway-api", "config/crd/experimental"},
	{"github.com/envoyproxy/gateway", "charts/gateway-helm/charts/crds/crds/generated"},
}

// InstallCRDs installs the CRDs of all kinds that Sluice reads but those of the plurals in except, and waits until they
// are served.
func (o *Objects) InstallCRDs(t testing.TB, except ...string) {
	t.Helper()
	wanted := map[string]bool{}
	for i := range resource.Kinds {
		if k := &resource.Kinds[i]; !k.Builtin {
			wanted[k.Plural+"."+k.Group] = true
		}
	}
	for _, plural := range except {
		for name := range wanted {
			if strings.HasPrefix(name, plural+".") {
				delete(wanted, name)
			}
		}
	}
	o.installCRDs(t, wanted)
}

// InstallCRD installs one CRD, by its name, and waits until it is served.
func (o *Objects) InstallCRD(t testing.TB, name string) {
	t.Helper()
	o.installCRDs(t, map[string]bool{name: true})
}

func (o *Objects) installCRDs(t testing.TB, wanted map[string]bool) {
	t.Helper()
	var names []string
	for _, src := range crdFolders {
		dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", src.module).Output()
		if err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), src.folder, "*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			for _, crd := range read(t, file) {
				if wanted[crd.GetName()] {
					o.apply(t, crd, crdResource)
					names = append(names, crd.GetName())
				}
			}
		}
	}
	if len(names) != len(wanted) {
		t.Fatalf("the modules have the CRDs %v of %v", names, wanted)
	}
	for _, name := range names {
		o.established(t, name)
	}
}

// RemoveCRD deletes a CRD with all its objects.
func (o *Objects) RemoveCRD(t testing.TB, name string) {
	t.Helper()
	if err := o.client.Resource(crdResource).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

func (o *Objects) established(t testing.TB, name string) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		crd, err := o.client.Resource(crdResource).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
		for _, c := range conditions {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return
			}
		}
	}
	t.Fatalf("the CRD %s is not served", name)
}

func read(t testing.TB, file string) []*unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, data)
}

func parse(t testing.TB, data []byte) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	dec := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), 4096)
	for {
		u := new(unstructured.Unstructured)
		if err := dec.Decode(&u.Object); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		if len(u.Object) > 0 {
			out = append(out, u)
		}
	}
}

// Apply creates the objects of YAML documents, or replaces their specs. Namespaces are made as they are named. It
// returns the last object as the server has it.
func (o *Objects) Apply(t testing.TB, documents string) *unstructured.Unstructured {
	t.Helper()
	var last *unstructured.Unstructured
	for _, u := range parse(t, []byte(documents)) {
		if ns := u.GetNamespace(); ns != "" {
			o.namespace(t, ns)
		}
		last = o.apply(t, u, resourceOf(t, u))
	}
	return last
}

func (o *Objects) namespace(t testing.TB, name string) {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Namespace")
	u.SetName(name)
	_, err := o.client.Resource(resourceOf(t, u)).Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// resourceOf returns the resource of an object's kind.
func resourceOf(t testing.TB, u *unstructured.Unstructured) schema.GroupVersionResource {
	t.Helper()
	gvk := u.GroupVersionKind()
	if k := resource.Find(gvk.Group, gvk.Kind); k != nil {
		return gvk.GroupVersion().WithResource(k.Plural)
	}
	return gvk.GroupVersion().WithResource(strings.ToLower(gvk.Kind) + "s")
}

func (o *Objects) of(u *unstructured.Unstructured, gvr schema.GroupVersionResource) dynamic.ResourceInterface {
	if ns := u.GetNamespace(); ns != "" {
		return o.client.Resource(gvr).Namespace(ns)
	}
	return o.client.Resource(gvr)
}

func (o *Objects) apply(
	t testing.TB, u *unstructured.Unstructured, gvr schema.GroupVersionResource,
) *unstructured.Unstructured {
	t.Helper()
	client := o.of(u, gvr)
	out, err := client.Create(t.Context(), u, metav1.CreateOptions{})
	for apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		var have *unstructured.Unstructured
		if have, err = client.Get(t.Context(), u.GetName(), metav1.GetOptions{}); err != nil {
			break
		}
		u.SetResourceVersion(have.GetResourceVersion())
		out, err = client.Update(t.Context(), u, metav1.UpdateOptions{})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Delete deletes an object, which is named as in a YAML document: apiVersion, kind and metadata.
func (o *Objects) Delete(t testing.TB, document string) {
	t.Helper()
	for _, u := range parse(t, []byte(document)) {
		err := o.of(u, resourceOf(t, u)).Delete(t.Context(), u.GetName(), metav1.DeleteOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// Get returns an object, nil if there is none.
func (o *Objects) Get(
	t testing.TB, gvr schema.GroupVersionResource, namespace, name string,
) *unstructured.Unstructured {
	t.Helper()
	var client dynamic.ResourceInterface = o.client.Resource(gvr)
	if namespace != "" {
		client = o.client.Resource(gvr).Namespace(namespace)
	}
	u, err := client.Get(context.Background(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// SetStatus replaces the status of an object as another controller would.
func (o *Objects) SetStatus(t testing.TB, u *unstructured.Unstructured, status map[string]any) {
	t.Helper()
	client := o.of(u, resourceOf(t, u))
	for {
		have, err := client.Get(t.Context(), u.GetName(), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		have.Object["status"] = status
		if _, err = client.UpdateStatus(t.Context(), have, metav1.UpdateOptions{}); err == nil {
			return
		}
		if !apierrors.IsConflict(err) {
			t.Fatal(err)
		}
	}
}

package kube_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/labels"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/source/kube"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

const httpRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: %s, namespace: ns, labels: {l: "%s"}}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{name: b, port: 80}]}]
`

// reader is a source whose batches a test waits for.
type reader struct {
	*kube.Source
	batches chan source.Batch
	objects map[model.Ref]resource.Object
}

func read(t *testing.T, o kube.Options) *reader {
	t.Helper()
	src, err := kube.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	loading, stop := context.WithTimeout(ctx, time.Minute)
	defer context.AfterFunc(loading, func() {
		if loading.Err() == context.DeadlineExceeded {
			cancel()
		}
	})()
	defer stop()
	batch, err := src.Load(ctx)
	if err != nil {
		t.Fatal(err, src.Waiting())
	}
	r := &reader{Source: src, batches: make(chan source.Batch, 1000), objects: map[model.Ref]resource.Object{}}
	r.note(batch)
	go func() { _ = src.Watch(ctx, func(b source.Batch) { r.batches <- b }) }()
	return r
}

func (r *reader) note(b source.Batch) {
	for _, o := range b.Set {
		r.objects[o.Ref] = o.Object
	}
	for _, ref := range b.Delete {
		delete(r.objects, ref)
	}
}

// until takes batches until something is so, and returns them.
func (r *reader) until(t *testing.T, what string, is func() bool) []source.Batch {
	t.Helper()
	var out []source.Batch
	timeout := time.After(30 * time.Second)
	for !is() {
		select {
		case b := <-r.batches:
			r.note(b)
			out = append(out, b)
		case <-timeout:
			t.Fatalf("not within 30 s: %s", what)
		}
	}
	return out
}

func routeRef(name string) model.Ref {
	return model.Ref{
		Group: model.GroupGateway, Kind: model.KindHTTPRoute, Name: model.Name{Namespace: "ns", Name: name},
	}
}

func (r *reader) labelled(name, value string) func() bool {
	return func() bool {
		o := r.objects[routeRef(name)]
		return o != nil && o.GetLabels()["l"] == value
	}
}

func TestSource(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.InstallCRDs(t, "grpcroutes")
	objects.Apply(t, fmt.Sprintf(httpRoute, "a", "1"))
	objects.Apply(t, fmt.Sprintf(httpRoute, "b", "1"))
	objects.Apply(t, `
apiVersion: v1
kind: Secret
metadata: {name: release, namespace: ns}
type: helm.sh/release.v1
data: {release: QUFBQQ==}
---
apiVersion: v1
kind: Secret
metadata: {name: plain, namespace: ns}
data: {k: QUFBQQ==}
`)
	seen := make(chan string, 1000)
	r := read(t, kube.Options{
		Config: server.Config(apiserver.Admin),
		Seen: func(ref model.Ref, o resource.Object) {
			if o == nil {
				seen <- ref.Name.Name + " gone"
			} else if ref.Kind == model.KindHTTPRoute {
				seen <- ref.Name.Name + " " + o.GetResourceVersion()
			}
		},
	})

	t.Run("load", func(t *testing.T) {
		if !r.labelled("a", "1")() || !r.labelled("b", "1")() {
			t.Error("the first batch lacks a route")
		}
		for ref := range r.objects {
			if ref.Kind == model.KindSecret && ref.Name.Name == "release" {
				t.Error("a release of Helm is watched")
			}
		}
		if r.objects[(&resource.Kind{Kind: model.KindSecret}).Ref(model.Name{Namespace: "ns", Name: "plain"})] == nil {
			t.Error("a Secret is missing")
		}
		if r.Waiting() != nil {
			t.Error("after Load it still waits:", r.Waiting())
		}
		for range 2 {
			if s := <-seen; strings.HasSuffix(s, " ") || strings.HasSuffix(s, "gone") {
				t.Errorf("seen: %q", s)
			}
		}
	})

	t.Run("change", func(t *testing.T) {
		objects.Apply(t, fmt.Sprintf(httpRoute, "a", "2"))
		batches := r.until(t, "the change arrives", r.labelled("a", "2"))
		if last := batches[len(batches)-1]; len(last.Set) != 1 || last.Noticed.IsZero() {
			t.Errorf("one change is the batch %+v", last)
		}
	})

	t.Run("a status is no change", func(t *testing.T) {
		u := objects.Apply(t, fmt.Sprintf(httpRoute, "a", "2"))
		objects.SetStatus(t, u, map[string]any{"parents": []any{map[string]any{
			"controllerName": "example.com/other", "parentRef": map[string]any{"name": "gw"},
			"conditions": []any{map[string]any{
				"type": "Accepted", "status": "True", "reason": "Accepted", "message": "",
				"lastTransitionTime": "2026-01-01T00:00:00Z",
			}},
		}}})
		objects.Apply(t, fmt.Sprintf(httpRoute, "b", "3"))
		for _, b := range r.until(t, "the change after it arrives", r.labelled("b", "3")) {
			for _, o := range b.Set {
				if o.Ref == routeRef("a") {
					t.Error("a status makes a batch")
				}
			}
		}
	})

	t.Run("a CRD comes and goes", func(t *testing.T) {
		objects.InstallCRD(t, "grpcroutes.gateway.networking.k8s.io")
		objects.Apply(t, strings.Replace(fmt.Sprintf(httpRoute, "g", "1"), "HTTPRoute", "GRPCRoute", 1))
		g := routeRef("g")
		g.Kind = model.KindGRPCRoute
		r.until(t, "the object of the new kind arrives", func() bool { return r.objects[g] != nil })
		objects.RemoveCRD(t, "grpcroutes.gateway.networking.k8s.io")
		r.until(t, "the object goes with its kind", func() bool { return r.objects[g] == nil })
		if !r.labelled("a", "2")() {
			t.Error("other kinds are affected")
		}
		objects.InstallCRD(t, "grpcroutes.gateway.networking.k8s.io")
		objects.Apply(t, strings.Replace(fmt.Sprintf(httpRoute, "g", "2"), "HTTPRoute", "GRPCRoute", 1))
		r.until(t, "the object is back", func() bool { return r.objects[g] != nil })
	})

	t.Run("the API server is away", func(t *testing.T) { away(t, server, objects, r) })
}

// away has the API server go, come back and have edits: these arrive, and nothing else does.
func away(t *testing.T, server *apiserver.Server, objects *apiserver.Objects, r *reader) {
	t.Helper()
	server.Down()
	server.Up(t)
	objects.Delete(t, fmt.Sprintf(httpRoute, "b", ""))
	objects.Apply(t, fmt.Sprintf(httpRoute, "a", "4"))
	batches := r.until(t, "edits on its return arrive", func() bool {
		return r.labelled("a", "4")() && r.objects[routeRef("b")] == nil
	})
	for _, b := range batches {
		for _, ref := range b.Delete {
			if ref != routeRef("b") {
				t.Errorf("%s is deleted because the API server was away", ref)
			}
		}
		for _, o := range b.Set {
			if o.Ref != routeRef("a") && o.Ref.Kind != model.KindConfigMap && o.Ref.Kind != model.KindSecret {
				t.Errorf("%s has not changed and is delivered again", o.Ref)
			}
		}
	}
}

// Without the right to list a kind nobody is served, and it is said why.
func TestForbidden(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	src, err := kube.New(kube.Options{Config: server.Config(apiserver.Nobody)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := src.Load(ctx)
		done <- err
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := src.Waiting()
		if err != nil && strings.Contains(err.Error(), `Secret cannot be listed: secrets is forbidden`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal(src.Waiting())
		}
	}
	select {
	case err := <-done:
		t.Fatal("Load returns though nothing can be read:", err)
	default:
	}
	// The rules are what it takes.
	objects.Apply(t, roles(t, kube.Rules()))
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("with the rules given it is not enough: ", src.Waiting())
	}
}

func TestNamespaces(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	secret := "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: %s}}"
	for _, ns := range []string{"one", "two", "three"} {
		objects.Apply(t, fmt.Sprintf(secret, ns))
	}
	scope := &resource.Scope{Namespaces: []string{"two", "one", "two"}}
	r := read(t, kube.Options{Config: server.Config(apiserver.Admin), Scope: scope})
	has := func(ns string) bool {
		return r.objects[model.Ref{Kind: model.KindSecret, Name: model.Name{Namespace: ns, Name: "s"}}] != nil
	}
	if !has("one") || !has("two") || has("three") {
		t.Errorf("one %v, two %v, three %v: want the first two", has("one"), has("two"), has("three"))
	}
	objects.Delete(t, fmt.Sprintf(secret, "one"))
	r.until(t, "the deletion arrives", func() bool { return !has("one") })
	if !has("two") {
		t.Error("another namespace is affected")
	}
}

// Namespaces are watched as their labels say, also when these change.
func TestNamespaceSelector(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	namespace := func(name, team string) string {
		return fmt.Sprintf("{apiVersion: v1, kind: Namespace, metadata: {name: %s, labels: {team: %s}}}", name, team)
	}
	secret := "{apiVersion: v1, kind: Secret, metadata: {name: s, namespace: %s}}"
	for name, team := range map[string]string{"own": "none", "one": "web", "two": "web", "three": "none"} {
		objects.Apply(t, namespace(name, team))
		objects.Apply(t, fmt.Sprintf(secret, name))
	}
	r := read(t, kube.Options{Config: server.Config(apiserver.Admin), Scope: &resource.Scope{
		Namespaces: []string{"own"}, Selector: labels.SelectorFromSet(labels.Set{"team": "web"}),
	}})
	has := func(ns string) bool {
		return r.objects[model.Ref{Kind: model.KindSecret, Name: model.Name{Namespace: ns, Name: "s"}}] != nil
	}
	if !has("own") || !has("one") || !has("two") || has("three") {
		t.Errorf("own %v, one %v, two %v, three %v: want all but the last", has("own"), has("one"), has("two"), has("three"))
	}
	objects.Apply(t, namespace("three", "web"))
	r.until(t, "a namespace that is selected now is read", func() bool { return has("three") })
	objects.Apply(t, namespace("one", "none"))
	r.until(t, "one that is not any more is forgotten", func() bool { return !has("one") })
	objects.Apply(t, fmt.Sprintf(secret, "one")+"\n---\n"+fmt.Sprintf("{apiVersion: v1, kind: Secret, "+
		"metadata: {name: marker, namespace: %s}}", "two"))
	r.until(t, "others are read on", func() bool {
		return r.objects[model.Ref{Kind: model.KindSecret, Name: model.Name{Namespace: "two", Name: "marker"}}] != nil
	})
	if has("one") || !has("two") || !has("own") {
		t.Errorf("own %v, one %v, two %v: want all but the second", has("own"), has("one"), has("two"))
	}
	if err := r.Waiting(); err != nil {
		t.Errorf("it waits for %v", err)
	}
	objects.Apply(t, namespace("one", "web"))
	r.until(t, "one that is selected again is read again", func() bool { return has("one") })
}

package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-gateway/sluice/test/cluster/api"
)

// observation counts the writes to the objects of some collections, as a watch tells them: two controllers that undo
// what the other does are seen by it, however short the time between.
type observation struct {
	w      *world
	paths  []string
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu sync.Mutex
	// versions are the newest resourceVersions by collection and object, writes the numbers of writes by object.
	versions map[string]map[string]string
	writes   map[string]int
	err      error
}

// observed is what is read of an object.
type observed struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		ResourceVersion string `json:"resourceVersion"`
	} `json:"metadata"`
}

// fleetCollections are the collections of the objects that a fleet in a namespace consists of.
func fleetCollections(ns string) []string {
	var out []string
	for _, plural := range []string{"configmaps", "secrets", "services", "serviceaccounts"} {
		out = append(out, "/api/v1/namespaces/"+ns+"/"+plural)
	}
	return append(out, "/apis/apps/v1/namespaces/"+ns+"/deployments",
		"/apis/policy/v1/namespaces/"+ns+"/poddisruptionbudgets")
}

// observe counts writes to the objects of collections from now on, until the test or what it returns ends it.
func (w *world) observe(collections ...string) *observation {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	o := &observation{
		w: w, paths: collections, cancel: cancel, versions: map[string]map[string]string{}, writes: map[string]int{},
	}
	w.t.Cleanup(func() { cancel(); o.ended.Wait() })
	for _, path := range collections {
		versions, at, err := w.list(path)
		if err != nil {
			w.t.Fatal(err)
		}
		o.versions[path] = versions
		o.ended.Go(func() {
			err := w.api.Watch(ctx, path, at, func(e api.Event) error { return o.note(path, e) })
			if ctx.Err() == nil {
				o.fail(errors.Join(fmt.Errorf("the watch of %s has ended", path), err))
			}
		})
	}
	return o
}

// list returns the resourceVersions of the objects of a collection by their names, and its own.
func (w *world) list(path string) (versions map[string]string, at string, err error) {
	var list struct {
		Metadata struct{ ResourceVersion string }
		Items    []observed
	}
	if err := w.get(path, &list); err != nil {
		return nil, "", err
	}
	versions = map[string]string{}
	for _, o := range list.Items {
		versions[o.Metadata.Namespace+"/"+o.Metadata.Name] = o.Metadata.ResourceVersion
	}
	return versions, list.Metadata.ResourceVersion, nil
}

func (o *observation) note(path string, e api.Event) error {
	var object observed
	if err := json.Unmarshal(e.Object, &object); err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	name := object.Metadata.Namespace + "/" + object.Metadata.Name
	switch e.Type {
	case "BOOKMARK":
		return nil
	case "ERROR":
		return fmt.Errorf("the API server says %s", e.Object)
	case "DELETED":
		delete(o.versions[path], name)
	default:
		o.versions[path][name] = object.Metadata.ResourceVersion
	}
	o.writes[strings.TrimPrefix(object.Kind+" "+name, "/")]++
	return nil
}

func (o *observation) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = errors.Join(o.err, err)
}

// sofar returns the number of writes to each object that was written, when the watches have told all there is.
func (o *observation) sofar() map[string]int {
	o.w.t.Helper()
	for _, path := range o.paths {
		o.w.eventually("the watch of "+path+" to catch up", func() error {
			now, _, err := o.w.list(path)
			if err != nil {
				return err
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.err != nil {
				o.w.t.Fatal(o.err)
			}
			if !maps.Equal(now, o.versions[path]) {
				return fmt.Errorf("there is %v, it told %v", now, o.versions[path])
			}
			return nil
		})
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return maps.Clone(o.writes)
}

// only checks that nothing was written but what may be, and that no more often than it may.
func (o *observation) only(most map[string]int) {
	o.w.t.Helper()
	writes := o.sofar()
	for _, object := range slices.Sorted(maps.Keys(writes)) {
		if n := writes[object]; n > most[object] {
			o.w.t.Errorf("%s was written %d times, want at most %d", object, n, most[object])
		}
	}
}

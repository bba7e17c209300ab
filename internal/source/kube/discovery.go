package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// served returns as what resource the API server serves each of the kinds, without those that it does not serve. An
// error says that it is not known.
func (s *Source) served(ctx context.Context) (map[*resource.Kind]schema.GroupVersionResource, error) {
	resources := map[schema.GroupVersion]map[string]string{}
	out := map[*resource.Kind]schema.GroupVersionResource{}
	for _, k := range s.options.Extensions.All() {
		for _, gv := range k.GroupVersions() {
			plurals, ok := resources[gv]
			if !ok {
				var err error
				if plurals, err = s.resources(ctx, gv); err != nil {
					return nil, err
				}
				resources[gv] = plurals
			}
			if plural, ok := plurals[k.Kind]; ok {
				out[k] = gv.WithResource(plural)
				break
			}
		}
	}
	return out, nil
}

// resources returns the resources of a group and version by their kinds; none if the API server does not have it.
func (s *Source) resources(ctx context.Context, gv schema.GroupVersion) (map[string]string, error) {
	client, err := s.clients.of(schema.GroupVersion{Version: "v1"}, true)
	if err != nil {
		return nil, err
	}
	path := "/apis/" + gv.String()
	if gv.Group == "" {
		path = "/api/" + gv.Version
	}
	data, err := client.Get().AbsPath(path).SetHeader("Accept", runtime.ContentTypeJSON).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the resources of %s: %w", gv, err)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("resources of %s: %w", gv, err)
	}
	out := map[string]string{}
	for _, r := range list.APIResources {
		if !strings.Contains(r.Name, "/") { // a status is none
			out[r.Kind] = r.Name
		}
	}
	return out, nil
}

// crds are CustomResourceDefinitions.
var crds = schema.GroupVersionResource{
	Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions",
}

// watchCRDs calls nudge whenever the CRD of one of the kinds comes, goes or changes. Only their metadata is read.
func (s *Source) watchCRDs(ctx context.Context, nudge func()) error {
	client, err := metadata.NewForConfig(s.clients.config)
	if err != nil {
		return fmt.Errorf("client for the metadata of CRDs: %w", err)
	}
	names, groups := map[string]bool{}, map[string]bool{}
	for i := range resource.Kinds {
		names[resource.Kinds[i].Plural+"."+resource.Kinds[i].Group] = true
	}
	for _, k := range s.options.Extensions {
		groups[k.Group] = true // how they are called in the plural is not known
	}
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return client.Resource(crds).List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return client.Resource(crds).Watch(ctx, o)
		},
	}
	r := newReflector(lw, &metav1.PartialObjectMetadata{}, bell{names: names, groups: groups, ring: nudge}, crds.Resource)
	go r.RunWithContext(ctx)
	return nil
}

// bell is a store that keeps nothing, and rings when something happens to a CRD of certain names, or of a group.
type bell struct {
	names, groups map[string]bool
	ring          func()
}

func (b bell) Add(obj any) error {
	if o, ok := obj.(metav1.Object); ok {
		_, group, _ := strings.Cut(o.GetName(), ".")
		if b.names[o.GetName()] || b.groups[group] {
			b.ring()
		}
	}
	return nil
}

func (b bell) Update(obj any) error        { return b.Add(obj) }
func (b bell) Delete(obj any) error        { return b.Add(obj) }
func (b bell) Replace([]any, string) error { b.ring(); return nil }
func (b bell) Resync() error               { return nil }

// Transformer keeps the names alone.
func (b bell) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		o, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return obj, nil
		}
		return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: o.Name}}, nil
	}
}

const (
	// settleCRD is how often, and leaveCRD for how long, discovery is asked after a CRD changed: it lags behind it.
	settleCRD = 500 * time.Millisecond
	leaveCRD  = 5 * time.Second
	// recheck is how often it is asked without a reason, for clusters that do not let CRDs be watched.
	recheck = time.Minute
)

// discover starts and stops the watching of kinds as their CRDs come and go, until the context ends.
func (s *Source) discover(ctx context.Context, nudged <-chan struct{}) {
	timer := time.NewTimer(recheck)
	defer timer.Stop()
	var busy time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-nudged:
			busy = time.Now().Add(2 * leaveCRD)
		case <-timer.C:
		}
		if err := s.follow(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("The API server does not say which kinds it serves; those that are known are served on", "error", err)
			busy = time.Now().Add(leaveCRD)
		}
		wait := recheck
		if time.Now().Before(busy) {
			wait = settleCRD
		}
		timer.Reset(wait)
	}
}

// follow asks once, and starts and stops what has changed.
func (s *Source) follow(ctx context.Context) error {
	served, err := s.served(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	for _, k := range s.options.Extensions.All() {
		w := s.watched[k]
		gv, ok := served[k]
		switch {
		case ok && w == nil:
			err = s.start(ctx, k, gv, nil)
		case ok && w.version != gv.Version && !s.stillServed(ctx, k, w.version):
			w.stop()
			err = s.start(ctx, k, gv, w.stores)
		case ok:
			w.missing = time.Time{}
		case w != nil && w.missing.IsZero():
			w.missing = now
		case w != nil && now.Sub(w.missing) >= leaveCRD:
			// Only now: an API server that has just started may not know all CRDs yet.
			s.log.Info("A kind is not served any more", "kind", k.Kind)
			for _, namespace := range slices.Sorted(maps.Keys(w.stores)) {
				w.leave(namespace)
			}
			delete(s.watched, k)
		}
		if err != nil {
			return err
		}
	}
	s.out.nudge()
	return nil
}

// stillServed says whether a kind is served in a version, and in doubt that it is.
func (s *Source) stillServed(ctx context.Context, k *resource.Kind, version string) bool {
	plurals, err := s.resources(ctx, schema.GroupVersion{Group: k.Group, Version: version})
	return err != nil || plurals[k.Kind] != ""
}

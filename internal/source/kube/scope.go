package kube

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// roster is the namespaces that a selector selects, as the API server says: it is what a reflector fills. One whose
// labels do not match any more is deleted from what the API server shows.
type roster struct {
	ring func()

	mu      sync.Mutex
	names   map[string]bool
	synced  bool
	trouble error
}

func (r *roster) change(f func()) error {
	r.mu.Lock()
	f()
	r.mu.Unlock()
	r.ring()
	return nil
}

func (r *roster) Add(obj any) error {
	return r.change(func() {
		if o, ok := obj.(metav1.Object); ok {
			r.names[o.GetName()] = true
		}
	})
}

func (r *roster) Update(obj any) error { return r.Add(obj) }

func (r *roster) Delete(obj any) error {
	return r.change(func() {
		if o, ok := obj.(metav1.Object); ok {
			delete(r.names, o.GetName())
		}
	})
}

func (r *roster) Replace(all []any, _ string) error {
	return r.change(func() {
		clear(r.names)
		for _, obj := range all {
			if o, ok := obj.(metav1.Object); ok {
				r.names[o.GetName()] = true
			}
		}
		r.synced = true
	})
}

func (r *roster) Resync() error { return nil }

// attempted records how an attempt to list or watch ended.
func (r *roster) attempted(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trouble = err
}

// waiting says why the namespaces are not known yet; nil if they are.
func (r *roster) waiting() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.synced:
		return nil
	case r.trouble != nil:
		return fmt.Errorf("namespaces cannot be listed: %w", r.trouble)
	}
	return errors.New("namespaces are being listed")
}

func (r *roster) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.names))
}

// namespaces are those whose objects are read, [""] for all of them.
func (s *Source) namespaces(k *resource.Kind) []string {
	scope := s.options.Scope
	if k.Cluster || scope == nil {
		return []string{""}
	}
	out := slices.Clone(scope.Namespaces)
	if s.roster != nil {
		out = append(out, s.roster.list()...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// watchNamespaces learns which namespaces are selected, and returns when they are known. From then on the watching of
// their objects is started and stopped as they come and go, until the context ends.
func (s *Source) watchNamespaces(ctx context.Context) error {
	if s.options.Scope == nil || s.options.Scope.Selector == nil {
		return nil
	}
	client, err := metadata.NewForConfig(s.clients.config)
	if err != nil {
		return fmt.Errorf("client for the metadata of namespaces: %w", err)
	}
	rung := make(chan struct{}, 1)
	r := &roster{names: map[string]bool{}, ring: func() {
		select {
		case rung <- struct{}{}:
		default:
		}
	}}
	s.mu.Lock()
	s.roster = r
	s.mu.Unlock()
	namespaces := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"})
	selector := s.options.Scope.Selector.String()
	lw := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.LabelSelector = selector
			out, err := namespaces.List(ctx, o)
			r.attempted(err)
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.LabelSelector = selector
			out, err := namespaces.Watch(ctx, o)
			r.attempted(err)
			return out, err
		},
	}
	go newReflector(lw, &metav1.PartialObjectMetadata{}, r, "namespaces").RunWithContext(ctx)
	for r.waiting() != nil {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-rung:
		}
	}
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-rung:
				s.rescope(ctx)
			}
		}
	}()
	return nil
}

// rescope starts and stops the watching of namespaces that are selected now, or are not any more.
func (s *Source) rescope(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.options.Extensions.All() {
		w := s.watched[k]
		if w == nil || k.Cluster {
			continue
		}
		want := s.namespaces(w.kind)
		for _, namespace := range slices.Sorted(maps.Keys(w.stores)) {
			if !slices.Contains(want, namespace) {
				w.leave(namespace)
			}
		}
		for _, namespace := range want {
			if w.stores[namespace] == nil {
				w.stores[namespace] = s.newStore(w.kind)
				w.stores[namespace].late = true
				w.follow(ctx, namespace)
			}
		}
	}
	s.out.nudge()
}

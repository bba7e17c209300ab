// Package kube finds the replicas of a control plane in a cluster: they are the endpoints of Sluice's own Service.
package kube

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	discoveryclient "k8s.io/client-go/kubernetes/typed/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// Options say where the replicas are.
type Options struct {
	// Slices are the EndpointSlices of Sluice's namespace.
	Slices discoveryclient.EndpointSliceInterface
	// Service is the name of Sluice's own Service, Port the name of its port for xDS.
	Service, Port string
	// Follow is told the addresses of all replicas, as host:port and in order, whenever they change.
	Follow func(addresses []string)
	// Log is told what keeps the replicas from being found.
	Log *slog.Logger
}

// Watch follows the replicas until the context ends. While the API server is away they are those that were there.
func Watch(ctx context.Context, o Options) {
	w := &watcher{options: o, slices: map[string][]string{}}
	selector := discoveryv1.LabelServiceName + "=" + o.Service
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, list metav1.ListOptions) (runtime.Object, error) {
				list.LabelSelector = selector
				return w.noted(o.Slices.List(ctx, list))
			},
			WatchFuncWithContext: func(ctx context.Context, list metav1.ListOptions) (watch.Interface, error) {
				list.LabelSelector = selector
				return o.Slices.Watch(ctx, list) //nolint:wrapcheck // the informer looks at what kind of error it is
			},
		},
		ObjectType: &discoveryv1.EndpointSlice{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { w.set(obj) },
			UpdateFunc: func(_, obj any) { w.set(obj) },
			DeleteFunc: func(obj any) { w.remove(obj) },
		},
	})
	informer.RunWithContext(ctx)
}

// watcher knows the addresses in each slice.
type watcher struct {
	options Options

	mu     sync.Mutex
	slices map[string][]string
	told   []string
}

func (w *watcher) noted(list *discoveryv1.EndpointSliceList, err error) (runtime.Object, error) {
	if err != nil {
		w.options.Log.Warn("The other replicas cannot be found; trying again", "service", w.options.Service,
			"error", fmt.Errorf("EndpointSlices: %w", err))
	}
	return list, err
}

func (w *watcher) set(obj any) {
	if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
		w.change(slice.Name, addresses(slice, w.options.Port))
	}
}

func (w *watcher) remove(obj any) {
	if key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(obj); err == nil {
		if _, name, err := cache.SplitMetaNamespaceKey(key); err == nil {
			w.change(name, nil)
		}
	}
}

func (w *watcher) change(slice string, to []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.slices[slice] = to
	if len(to) == 0 {
		delete(w.slices, slice)
	}
	var all []string
	for _, list := range w.slices {
		all = append(all, list...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	if !slices.Equal(all, w.told) {
		w.told = all
		w.options.Follow(all)
	}
}

// addresses are those in a slice, ready or not: Envoys stay with a replica that is going for a while.
func addresses(slice *discoveryv1.EndpointSlice, port string) []string {
	if slice.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	var out []string
	for _, p := range slice.Ports {
		if p.Port == nil || p.Name == nil || *p.Name != port {
			continue
		}
		for _, e := range slice.Endpoints {
			if len(e.Addresses) > 0 { // more than one is deprecated, and means the same
				out = append(out, net.JoinHostPort(e.Addresses[0], strconv.Itoa(int(*p.Port))))
			}
		}
	}
	return out
}

package kube

import (
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-gateway/sluice/internal/model"
)

// byProxy is the index of objects by their proxy.
const byProxy = "proxy"

// informer watches our objects of a kind, in one namespace or, if that is empty, in all.
type informer struct {
	cache.SharedIndexInformer
	kind, namespace string
}

// newInformers makes the informers that a manager lives on. With namespaces each has its own: who has rights in some
// namespaces alone may not list in all.
func newInformers(opts Options) []informer {
	namespaces := []string{metav1.NamespaceAll}
	if len(opts.Namespaces) > 0 {
		namespaces = append(slices.Clone(opts.Namespaces), opts.Settings.Namespace)
		slices.Sort(namespaces)
		namespaces = slices.Compact(namespaces)
	}
	selector := labels.SelectorFromSet(labels.Set{
		labelManagedBy: managedBy, labelInstallation: opts.Settings.installation(),
	}).String()
	var out []informer
	for _, namespace := range namespaces {
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(opts.Client, 0, namespace,
			func(o *metav1.ListOptions) { o.LabelSelector = selector })
		for _, k := range kinds {
			out = append(out, informer{factory.ForResource(k.gvr).Informer(), k.kind, namespace})
		}
	}
	return out
}

func (m *Manager) prepare(i informer) error {
	if err := i.SetTransform(stripped); err != nil {
		return err
	}
	err := i.AddIndexers(cache.Indexers{byProxy: func(o any) ([]string, error) {
		return []string{string(m.proxyOf(o.(*unstructured.Unstructured)))}, nil
	}})
	if err != nil {
		return err
	}
	enqueue := func(o any) {
		if gone, ok := o.(cache.DeletedFinalStateUnknown); ok {
			o = gone.Obj
		}
		if u, ok := o.(*unstructured.Unstructured); ok && m.proxyOf(u) != "" {
			m.queue.Add(m.proxyOf(u))
		}
	}
	_, err = i.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: enqueue, DeleteFunc: enqueue,
		UpdateFunc: func(before, after any) {
			// What takes our mark off an object is drift too.
			enqueue(before)
			enqueue(after)
		},
	})
	return err
}

// stripped drops what nobody reads.
func stripped(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return o, nil
}

// namespaceOf is the one namespace in which objects with a proxy's name are its: anybody can write a name on an object.
func (m *Manager) namespaceOf(name model.ProxyName) string {
	if namespace, _, ok := strings.Cut(string(name), "/"); ok {
		return namespace
	}
	return m.opts.Settings.Namespace
}

// live are the objects of a fleet that are in the cluster.
func (m *Manager) live(name model.ProxyName) []*unstructured.Unstructured {
	var out []*unstructured.Unstructured
	namespace := m.namespaceOf(name)
	for _, i := range m.informers {
		if i.namespace != metav1.NamespaceAll && i.namespace != namespace {
			continue
		}
		list, err := i.GetIndexer().ByIndex(byProxy, string(name))
		if err != nil { // there is this index
			continue
		}
		for _, o := range list {
			if u := o.(*unstructured.Unstructured); u.GetNamespace() == namespace {
				out = append(out, u)
			}
		}
	}
	return out
}

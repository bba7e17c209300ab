package kube

import (
	"encoding/json"
	"reflect"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/sluice-gateway/sluice/internal/model"
)

// proxyOf is the proxy that an object in the cluster was made for; empty if it is not of this installation.
func (m *Manager) proxyOf(o *unstructured.Unstructured) model.ProxyName {
	labels := o.GetLabels()
	if labels[labelManagedBy] != managedBy || labels[labelInstallation] != m.opts.Settings.installation() {
		return ""
	}
	return model.ProxyName(o.GetAnnotations()[annotationProxy])
}

// inSync says whether an object in the cluster is as it was rendered. What others have added is theirs.
func inSync(want, live *unstructured.Unstructured) bool {
	return live.GetAnnotations()[annotationHash] == want.GetAnnotations()[annotationHash] &&
		covers(want.Object, live.Object)
}

// covers says whether everything in want is in live. Lists have to be of the same length: who adds a container to a pod
// template makes it another one.
func covers(want, live any) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return len(w) == 0 && live == nil
		}
		for k, v := range w {
			if !covers(v, l[k]) {
				return false
			}
		}
		return true
	case []any:
		l, ok := live.([]any)
		if !ok || len(w) != len(l) {
			return len(w) == 0 && live == nil
		}
		for i := range w {
			if !covers(w[i], l[i]) {
				return false
			}
		}
		return true
	case nil:
		return true
	}
	return reflect.DeepEqual(want, live) || empty(want) && live == nil
}

func empty(v any) bool { return v == nil || reflect.ValueOf(v).IsZero() }

// fingerprint is of all of an object that is not a report of the cluster about it. What comes out of an apply and still
// is not what was applied (a quantity in other words, a container that a webhook adds) is known by it again, so that it
// is not applied over and over.
func fingerprint(o *unstructured.Unstructured) string {
	c := o.DeepCopy()
	delete(c.Object, "status")
	for _, f := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(c.Object, "metadata", f)
	}
	raw, err := json.Marshal(c.Object)
	if err != nil {
		return ""
	}
	return hash(raw)
}

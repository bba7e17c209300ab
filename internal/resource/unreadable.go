package resource

import (
	"encoding/json"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// annotationUnreadable marks what is left of an object that could not be read.
const annotationUnreadable = "sluice.dev/unreadable"

// Unreadable reports whether an object is what is left of one that could not be read: it has its name and the targets
// that it guards, and nothing that could be applied to them.
func Unreadable(o metav1.Object) bool {
	_, ok := o.GetAnnotations()[annotationUnreadable]
	return ok
}

// anyField stands for all fields in [Kind.Guards].
const anyField = "*"

// targets are the fields of a spec that say what a policy is attached to.
var targets = []string{"targetRef", "targetRefs", "targetSelectors"}

// remains returns what is left of an object that is refused, nil if no requests depend on it: then it is as if there
// were no such object.
func (d *decoder) remains() Object {
	spec, ok := d.obj["spec"].(map[string]any)
	if !ok || d.kind == nil || d.out.Ref != d.shown || !d.kind.guarding(spec) {
		return nil
	}
	left := map[string]any{}
	for _, field := range targets {
		if value, ok := spec[field]; ok {
			left[field] = value
		}
	}
	text, err := json.Marshal(map[string]any{"spec": left})
	if err != nil {
		return nil
	}
	out := d.kind.New()
	if json.Unmarshal(text, out) != nil {
		return nil // not even its targets are clear
	}
	out.SetNamespace(d.out.Ref.Name.Namespace)
	out.SetName(d.out.Ref.Name.Name)
	out.SetAnnotations(map[string]string{annotationUnreadable: "true"})
	return out
}

// guarding reports whether a spec has a field that keeps requests away from backends, if it has that kind.
func (k *Kind) guarding(spec map[string]any) bool {
	return slices.ContainsFunc(k.Guards, func(field string) bool { return field == anyField || spec[field] != nil })
}

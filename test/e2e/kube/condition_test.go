package kube

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditioned is the status of an object of any kind, as far as it has conditions.
type conditioned struct {
	Metadata struct{ Name string }
	Status   struct {
		Conditions         []metav1.Condition
		Parents, Ancestors []struct{ Conditions []metav1.Condition }
		Listeners          []struct {
			Name       string
			Conditions []metav1.Condition
		}
	}
}

// conditions are those of the object and of its parents or ancestors.
func (o conditioned) conditions() []metav1.Condition {
	out := o.Status.Conditions
	for _, p := range append(o.Status.Parents, o.Status.Ancestors...) {
		out = append(out, p.Conditions...)
	}
	return out
}

// has says whether a condition TYPE=STATUS with some words in its message is missing.
func (o conditioned) has(condition, words string) error {
	for _, c := range o.conditions() {
		if c.Type+"="+string(c.Status) == condition && strings.Contains(c.Message, words) {
			return nil
		}
	}
	return fmt.Errorf("%s has no condition %s with %q: %+v", o.Metadata.Name, condition, words, o.conditions())
}

// says waits until an object has a condition TYPE=STATUS with some words in its message.
func (w *world) says(path, condition, words string) {
	w.t.Helper()
	w.eventually(path+" to say "+condition, func() error { return w.saysNow(path, condition, words) })
}

func (w *world) saysNow(path, condition, words string) error {
	var o conditioned
	if err := w.get(path, &o); err != nil {
		return err
	}
	return o.has(condition, words)
}

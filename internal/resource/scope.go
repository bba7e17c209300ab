package resource

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"
)

// Scope says which namespaces are read. nil stands for all of them.
type Scope struct {
	// Namespaces are read whatever their labels.
	Namespaces []string
	// Selector selects further ones by their labels, which may change; nil selects none.
	Selector labels.Selector
}

// Covers reports whether a namespace with such labels is read.
func (s *Scope) Covers(namespace string, of labels.Labels) bool {
	return s == nil || slices.Contains(s.Namespaces, namespace) || s.Selector != nil && s.Selector.Matches(of)
}

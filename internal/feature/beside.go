package feature

import (
	"slices"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Beside returns all that is attached where a is: to the rule itself, or to the same backend of it. What is attached to
// a backend is more specific than what is attached to its rule, and no contradiction to it.
func Beside(a model.Attached, rule *model.Rule) []model.Attached {
	here := func(b model.Attached) bool { return Same(a, b) }
	if slices.ContainsFunc(rule.Attached, here) {
		return rule.Attached
	}
	for _, backend := range rule.Backends {
		if slices.ContainsFunc(backend.Attached, here) {
			return backend.Attached
		}
	}
	return nil
}

// Same says whether two attached configurations are one: the same field at the same place.
func Same(a, b model.Attached) bool {
	return a.Feature == b.Feature && a.Path == b.Path && a.Via == b.Via && a.Source == b.Source
}

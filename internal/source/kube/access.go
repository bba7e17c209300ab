package kube

import (
	"maps"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/sluice-gateway/sluice/internal/resource"
)

// Rules are what the source may have to do in the cluster, for the chart's roles: to read all kinds, and to learn which
// are there.
func Rules() []rbacv1.PolicyRule {
	read := []string{"get", "list", "watch"}
	plurals := map[string][]string{crds.Group: {crds.Resource}}
	for i := range resource.Kinds {
		k := &resource.Kinds[i]
		plurals[k.Group] = append(plurals[k.Group], k.Plural)
	}
	var out []rbacv1.PolicyRule
	for _, group := range slices.Sorted(maps.Keys(plurals)) {
		names := slices.Sorted(slices.Values(plurals[group]))
		out = append(out, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: slices.Compact(names), Verbs: read})
	}
	return out
}

package kube

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// kinds are the kinds of objects that fleets are made of.
var kinds = []struct {
	kind string
	gvr  schema.GroupVersionResource
}{
	{"ServiceAccount", schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}},
	{"ConfigMap", schema.GroupVersionResource{Version: "v1", Resource: "configmaps"}},
	{"Secret", schema.GroupVersionResource{Version: "v1", Resource: "secrets"}},
	{"Service", schema.GroupVersionResource{Version: "v1", Resource: "services"}},
	{"Deployment", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}},
	{"DaemonSet", schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}},
	{"HorizontalPodAutoscaler", schema.GroupVersionResource{
		Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers",
	}},
	{"PodDisruptionBudget", schema.GroupVersionResource{
		Group: "policy", Version: "v1", Resource: "poddisruptionbudgets",
	}},
}

var nodeResource = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}

func resourceOf(kind string) schema.GroupVersionResource {
	for _, k := range kinds {
		if k.kind == kind {
			return k.gvr
		}
	}
	return schema.GroupVersionResource{}
}

// Rules are the permissions that a [Manager] needs in every namespace with Gateways.
func Rules() []rbacv1.PolicyRule {
	byGroup := map[string]int{}
	var out []rbacv1.PolicyRule
	for _, k := range kinds {
		i, ok := byGroup[k.gvr.Group]
		if !ok {
			i = len(out)
			byGroup[k.gvr.Group] = i
			out = append(out, rbacv1.PolicyRule{
				APIGroups: []string{k.gvr.Group}, Verbs: []string{"get", "list", "watch", "create", "patch", "delete"},
			})
		}
		out[i].Resources = append(out[i].Resources, k.gvr.Resource)
	}
	return append(out, rbacv1.PolicyRule{
		APIGroups: []string{""}, Resources: []string{nodeResource.Resource}, Verbs: []string{"list", "watch"},
	})
}

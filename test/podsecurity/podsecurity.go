// Package podsecurity judges pods by the Pod Security Standards, as API servers do.
package podsecurity

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
)

// Violations returns what keeps the pods of a workload, the manifest of a Deployment or a DaemonSet, from a namespace
// that enforces the restricted level in its newest version; nothing if they are let in. It returns an error if the
// manifest has no template of pods.
func Violations(workload map[string]any) ([]string, error) {
	var typed struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(workload, &typed); err != nil {
		return nil, fmt.Errorf("read the template of pods: %w", err)
	}
	template := &typed.Spec.Template
	if len(template.Spec.Containers) == 0 {
		return nil, fmt.Errorf("the workload has no containers")
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		return nil, fmt.Errorf("prepare the checks: %w", err)
	}
	var out []string
	newest := api.LevelVersion{Level: api.LevelRestricted, Version: api.LatestVersion()}
	for _, result := range evaluator.EvaluatePod(newest, &template.ObjectMeta, &template.Spec) {
		if !result.Allowed {
			out = append(out, result.ForbiddenReason+": "+result.ForbiddenDetail)
		}
	}
	return out, nil
}

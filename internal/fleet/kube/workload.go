package kube

import (
	"errors"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// workload is the Deployment, or the DaemonSet if the EnvoyProxy asks for one.
func (r *renderer) workload() ([]object, error) {
	if r.provider.EnvoyDaemonSet != nil {
		if r.provider.EnvoyDeployment != nil {
			return nil, errors.New(
				"spec.provider.kubernetes: envoyDeployment and envoyDaemonSet exclude one another: remove one")
		}
		return r.daemonSet(r.provider.EnvoyDaemonSet)
	}
	return r.deployment()
}

func (r *renderer) deployment() ([]object, error) {
	own := r.provider.EnvoyDeployment
	if own == nil {
		own = &egv1a1.KubernetesDeploymentSpec{}
	}
	out := &appsv1.Deployment{
		TypeMeta: typeMeta("apps/v1", "Deployment"), ObjectMeta: r.meta(own.Name),
		Spec: appsv1.DeploymentSpec{
			Replicas: own.Replicas,
			Selector: &metav1.LabelSelector{MatchLabels: r.selector()},
			Template: r.podTemplate(own.Pod, own.InitContainers),
		},
	}
	if r.provider.EnvoyHpa != nil {
		// Theirs alone: to say it would be to take it back.
		out.Spec.Replicas = nil
	} else if out.Spec.Replicas == nil {
		one := int32(1)
		out.Spec.Replicas = &one
	}
	if own.Strategy != nil {
		out.Spec.Strategy = *own.Strategy
	} else {
		// A new pod is ready before an old one goes, so there is never one less.
		none, some := intstr.FromInt32(0), intstr.FromString("25%")
		out.Spec.Strategy = appsv1.DeploymentStrategy{
			Type:          appsv1.RollingUpdateDeploymentStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none, MaxSurge: &some},
		}
	}
	out, err := patched(out, own.Patch, "envoyDeployment")
	if err != nil {
		return nil, err
	}
	r.keepSelector(out.Spec.Selector, &out.Spec.Template)
	return []object{out}, nil
}

func (r *renderer) daemonSet(own *egv1a1.KubernetesDaemonSetSpec) ([]object, error) {
	out := &appsv1.DaemonSet{
		TypeMeta: typeMeta("apps/v1", "DaemonSet"), ObjectMeta: r.meta(own.Name),
		Spec: appsv1.DaemonSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: r.selector()},
			Template: r.podTemplate(own.Pod, nil),
		},
	}
	if own.Strategy != nil {
		out.Spec.UpdateStrategy = *own.Strategy
	} else {
		none, one := intstr.FromInt32(0), intstr.FromInt32(1)
		out.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
			Type:          appsv1.RollingUpdateDaemonSetStrategyType,
			RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &none, MaxSurge: &one},
		}
	}
	out, err := patched(out, own.Patch, "envoyDaemonSet")
	if err != nil {
		return nil, err
	}
	r.keepSelector(out.Spec.Selector, &out.Spec.Template)
	return []object{out}, nil
}

// keepSelector keeps a patch from parting the pods from their workload and their Service.
func (r *renderer) keepSelector(selector *metav1.LabelSelector, pods *corev1.PodTemplateSpec) {
	if selector != nil {
		selector.MatchLabels = merged(selector.MatchLabels, r.selector())
	}
	pods.Labels = merged(pods.Labels, r.selector())
}

func (r *renderer) autoscaler() ([]object, error) {
	own := r.provider.EnvoyHpa
	if own == nil {
		return nil, nil
	}
	if r.provider.EnvoyDaemonSet != nil {
		return nil, errors.New("spec.provider.kubernetes: a DaemonSet cannot be scaled: remove envoyHpa or envoyDaemonSet")
	}
	var target *string
	if r.provider.EnvoyDeployment != nil {
		target = r.provider.EnvoyDeployment.Name
	}
	metrics := own.Metrics
	if len(metrics) == 0 {
		metrics = egv1a1.DefaultEnvoyProxyHpaMetrics()
	}
	out := &autoscalingv2.HorizontalPodAutoscaler{
		TypeMeta: typeMeta("autoscaling/v2", "HorizontalPodAutoscaler"), ObjectMeta: r.meta(own.Name),
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{
				APIVersion: "apps/v1", Kind: "Deployment", Name: r.name(target),
			},
			MinReplicas: own.MinReplicas, Metrics: metrics, Behavior: own.Behavior,
		},
	}
	if own.MaxReplicas != nil {
		out.Spec.MaxReplicas = *own.MaxReplicas
	}
	out, err := patched(out, own.Patch, "envoyHpa")
	return []object{out}, err
}

func (r *renderer) budget() ([]object, error) {
	own := r.provider.EnvoyPDB
	if own == nil {
		return nil, nil
	}
	out := &policyv1.PodDisruptionBudget{
		TypeMeta: typeMeta("policy/v1", "PodDisruptionBudget"), ObjectMeta: r.meta(own.Name),
		Spec: policyv1.PodDisruptionBudgetSpec{
			MinAvailable: own.MinAvailable, MaxUnavailable: own.MaxUnavailable,
			Selector: &metav1.LabelSelector{MatchLabels: r.selector()},
		},
	}
	out, err := patched(out, own.Patch, "envoyPDB")
	return []object{out}, err
}

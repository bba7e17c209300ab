package kube

import (
	"maps"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// strip takes out of an object what nothing reads: there are many objects, and most of what they carry is for others.
// What is left also tells whether a change is one.
func strip(k *resource.Kind, obj resource.Object) {
	if k.Extension {
		stripExtension(obj)
		return
	}
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersions()[0].WithKind(k.Kind))
	obj.SetManagedFields(nil)
	obj.SetResourceVersion("")
	obj.SetSelfLink("")
	obj.SetGenerateName("")
	obj.SetFinalizers(nil)
	obj.SetAnnotations(keepAnnotations(obj.GetAnnotations()))
	if k.Kind != model.KindGateway && k.Kind != model.KindGatewayClass {
		// Those two own what is made for them.
		obj.SetUID("")
		obj.SetOwnerReferences(nil)
	}
	if status := statusOf(obj); status.IsValid() && !k.Status {
		status.SetZero()
	}
	switch o := obj.(type) {
	case *corev1.Pod:
		stripPod(o)
	case *corev1.Service:
		stripService(o)
	case *discoveryv1.EndpointSlice:
		stripEndpointSlice(o)
	case *corev1.Secret:
		stripSecret(o)
	case *corev1.ConfigMap:
		o.Labels = nil
	case *corev1.Namespace:
		o.Spec = corev1.NamespaceSpec{}
	}
}

// stripExtension takes out what the API server keeps for itself, and what kubectl does: of all else only the extension
// server knows whether it means something.
func stripExtension(obj resource.Object) {
	obj.SetManagedFields(nil)
	obj.SetResourceVersion("")
	obj.SetSelfLink("")
	statusOf(obj).SetZero()
	annotations := maps.Clone(obj.GetAnnotations())
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	obj.SetAnnotations(annotations)
}

// statusOf returns the status field of an object, the zero value if it has none.
func statusOf(obj resource.Object) reflect.Value {
	v := reflect.ValueOf(obj).Elem()
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByName("Status")
}

// domains are those whose annotations can mean something to Sluice.
var domains = []string{"sluice.dev", "gateway.networking.k8s.io", "gateway.envoyproxy.io"}

func keepAnnotations(all map[string]string) map[string]string {
	var out map[string]string
	for key, value := range all {
		prefix, _, ok := strings.Cut(key, "/")
		for _, d := range domains {
			if key != corev1.AnnotationTopologyMode && (!ok || prefix != d && !strings.HasSuffix(prefix, "."+d)) {
				continue
			}
			if out == nil {
				out = map[string]string{}
			}
			out[key] = value
		}
	}
	return out
}

func stripService(s *corev1.Service) {
	s.Labels = nil
	s.Spec = corev1.ServiceSpec{
		Type: s.Spec.Type, Ports: s.Spec.Ports, ExternalName: s.Spec.ExternalName,
		ClusterIP: s.Spec.ClusterIP, ClusterIPs: s.Spec.ClusterIPs, IPFamilies: s.Spec.IPFamilies,
		TrafficDistribution: s.Spec.TrafficDistribution, InternalTrafficPolicy: s.Spec.InternalTrafficPolicy,
		PublishNotReadyAddresses: s.Spec.PublishNotReadyAddresses,
	}
	for i := range s.Spec.Ports {
		s.Spec.Ports[i].NodePort = 0
	}
}

// stripPod leaves what makes a Pod an endpoint: its labels, its address, and whether it is ready or over.
func stripPod(p *corev1.Pod) {
	var left corev1.PodStatus
	if p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		left.Phase = p.Status.Phase
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			left.Conditions = []corev1.PodCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	left.PodIP, left.PodIPs = p.Status.PodIP, p.Status.PodIPs
	p.Spec, p.Status = corev1.PodSpec{}, left
}

// yes and no stand for all conditions of endpoints: there are three of them in each.
var yes, no = true, false

func one(b *bool) *bool {
	switch {
	case b == nil:
		return nil
	case *b:
		return &yes
	}
	return &no
}

func stripEndpointSlice(s *discoveryv1.EndpointSlice) {
	labels := map[string]string{discoveryv1.LabelServiceName: s.Labels[discoveryv1.LabelServiceName]}
	if fleet, ok := s.Labels[model.LabelFleet]; ok {
		labels[model.LabelFleet] = fleet
	}
	s.Labels = labels
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		s.Endpoints[i] = discoveryv1.Endpoint{
			Addresses: e.Addresses, Zone: e.Zone, NodeName: e.NodeName, Hints: e.Hints,
			Conditions: discoveryv1.EndpointConditions{
				Ready: one(e.Conditions.Ready), Serving: one(e.Conditions.Serving), Terminating: one(e.Conditions.Terminating),
			},
		}
	}
}

// unread are the types of Secrets that are not for gateways; none is watched.
var unread = []corev1.SecretType{
	"helm.sh/release.v1", corev1.SecretTypeServiceAccountToken, corev1.SecretTypeBootstrapToken,
}

// tlsKeys are what is read of a kubernetes.io/tls Secret.
var tlsKeys = []string{corev1.TLSCertKey, corev1.TLSPrivateKeyKey, "ca.crt", "ca.crl"}

func stripSecret(s *corev1.Secret) {
	s.Labels = nil
	if s.Type != corev1.SecretTypeTLS {
		return
	}
	data := make(map[string][]byte, len(tlsKeys))
	for _, key := range tlsKeys {
		if v, ok := s.Data[key]; ok {
			data[key] = v
		}
	}
	s.Data = data
}

// fieldSelector is what limits the objects of a kind that are watched.
func fieldSelector(k *resource.Kind) string {
	if k.Kind != model.KindSecret {
		return ""
	}
	parts := make([]string, 0, len(unread))
	for _, t := range unread {
		parts = append(parts, "type!="+string(t))
	}
	return strings.Join(parts, ",")
}

// refOf names an object of a kind.
func refOf(k *resource.Kind, obj metav1.Object) model.Ref {
	return k.Ref(model.Name{Namespace: obj.GetNamespace(), Name: obj.GetName()})
}

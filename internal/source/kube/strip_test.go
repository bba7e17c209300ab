package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// full is metadata as an API server sends it.
func full() metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: "n", Namespace: "ns", GenerateName: "n-", UID: "u", ResourceVersion: "7", Generation: 3,
		CreationTimestamp: metav1.Unix(1e9, 0), Labels: map[string]string{"l": "v"}, Finalizers: []string{"f"},
		Annotations: map[string]string{
			corev1.LastAppliedConfigAnnotation: "{}", "sluice.dev/x": "1", "a.gateway.envoyproxy.io/y": "2",
			"notsluice.dev/z": "3", "plain": "4",
		},
		OwnerReferences: []metav1.OwnerReference{{Name: "o"}},
		ManagedFields:   []metav1.ManagedFieldsEntry{{Manager: "m"}},
	}
}

// lean is what is left of it.
func lean(change func(*metav1.ObjectMeta)) metav1.ObjectMeta {
	m := metav1.ObjectMeta{
		Name: "n", Namespace: "ns", Generation: 3, CreationTimestamp: metav1.Unix(1e9, 0),
		Labels:      map[string]string{"l": "v"},
		Annotations: map[string]string{"sluice.dev/x": "1", "a.gateway.envoyproxy.io/y": "2"},
	}
	if change != nil {
		change(&m)
	}
	return m
}

func noLabels(m *metav1.ObjectMeta) { m.Labels = nil }

func TestStrip(t *testing.T) {
	f, tr, zone := false, true, "z"
	typ := func(version, kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: version, Kind: kind} }
	port := corev1.ServicePort{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}
	nodePort := port
	nodePort.NodePort = 30000
	routeSpec := gwv1.HTTPRouteSpec{Hostnames: []gwv1.Hostname{"h"}}
	tests := []struct {
		group, kind string
		in, want    resource.Object
	}{
		{model.GroupGateway, model.KindHTTPRoute,
			&gwv1.HTTPRoute{ObjectMeta: full(), Spec: routeSpec, Status: gwv1.HTTPRouteStatus{
				RouteStatus: gwv1.RouteStatus{Parents: []gwv1.RouteParentStatus{{ControllerName: "c"}}},
			}},
			&gwv1.HTTPRoute{
				TypeMeta: typ("gateway.networking.k8s.io/v1", "HTTPRoute"), ObjectMeta: lean(nil), Spec: routeSpec,
			},
		},
		{model.GroupGateway, model.KindGateway,
			&gwv1.Gateway{ObjectMeta: full(), Status: gwv1.GatewayStatus{Conditions: []metav1.Condition{{Type: "t"}}}},
			&gwv1.Gateway{
				TypeMeta: typ("gateway.networking.k8s.io/v1", "Gateway"), ObjectMeta: lean(func(m *metav1.ObjectMeta) {
					m.UID, m.OwnerReferences = "u", []metav1.OwnerReference{{Name: "o"}}
				}),
			},
		},
		{"", model.KindService,
			&corev1.Service{ObjectMeta: full(), Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{nodePort}, ClusterIP: "10.0.0.1",
				Selector: map[string]string{"a": "b"}, SessionAffinity: corev1.ServiceAffinityNone,
			}, Status: corev1.ServiceStatus{Conditions: []metav1.Condition{{Type: "t"}}}},
			&corev1.Service{TypeMeta: typ("v1", "Service"), ObjectMeta: lean(noLabels), Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{port}, ClusterIP: "10.0.0.1",
			}},
		},
		{model.GroupDiscovery, model.KindEndpointSlice,
			&discoveryv1.EndpointSlice{ObjectMeta: full(), Endpoints: []discoveryv1.Endpoint{{
				Addresses: []string{"10.0.0.2"}, Zone: &zone, Hostname: &zone, TargetRef: &corev1.ObjectReference{Name: "p"},
				Conditions: discoveryv1.EndpointConditions{Ready: &tr, Terminating: &f},
			}}},
			&discoveryv1.EndpointSlice{
				TypeMeta: typ("discovery.k8s.io/v1", "EndpointSlice"), ObjectMeta: lean(func(m *metav1.ObjectMeta) {
					m.Labels = map[string]string{discoveryv1.LabelServiceName: ""}
				}),
				Endpoints: []discoveryv1.Endpoint{{
					Addresses: []string{"10.0.0.2"}, Zone: &zone,
					Conditions: discoveryv1.EndpointConditions{Ready: &tr, Terminating: &f},
				}},
			},
		},
		{"", model.KindService,
			&corev1.Service{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{
				corev1.AnnotationTopologyMode: "Auto", "service.kubernetes.io/other": "a",
			}}},
			&corev1.Service{TypeMeta: typ("v1", "Service"), ObjectMeta: metav1.ObjectMeta{
				Annotations: map[string]string{corev1.AnnotationTopologyMode: "Auto"},
			}},
		},
		{model.GroupDiscovery, model.KindEndpointSlice,
			&discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{
				discoveryv1.LabelServiceName: "s", model.LabelFleet: "f", "other": "a",
			}}},
			&discoveryv1.EndpointSlice{TypeMeta: typ("discovery.k8s.io/v1", "EndpointSlice"), ObjectMeta: metav1.ObjectMeta{
				Labels: map[string]string{discoveryv1.LabelServiceName: "s", model.LabelFleet: "f"},
			}},
		},
		{"", model.KindSecret,
			&corev1.Secret{ObjectMeta: full(), Type: corev1.SecretTypeTLS, Data: map[string][]byte{
				"tls.crt": {1}, "tls.key": {2}, "keystore.jks": {3},
			}},
			&corev1.Secret{
				TypeMeta: typ("v1", "Secret"), ObjectMeta: lean(noLabels), Type: corev1.SecretTypeTLS,
				Data: map[string][]byte{"tls.crt": {1}, "tls.key": {2}},
			},
		},
		{"", model.KindSecret,
			&corev1.Secret{ObjectMeta: full(), Type: corev1.SecretTypeOpaque, Data: map[string][]byte{"any": {1}}},
			&corev1.Secret{
				TypeMeta: typ("v1", "Secret"), ObjectMeta: lean(noLabels), Type: corev1.SecretTypeOpaque,
				Data: map[string][]byte{"any": {1}},
			},
		},
		{"", model.KindPod,
			&corev1.Pod{ObjectMeta: full(), Spec: corev1.PodSpec{NodeName: "n"}, Status: corev1.PodStatus{
				Phase: corev1.PodRunning, HostIP: "10.0.0.3", PodIP: "10.0.0.2", PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}},
				Conditions: []corev1.PodCondition{
					{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
					{Type: corev1.PodReady, Status: corev1.ConditionFalse, Message: "m"},
				},
			}},
			&corev1.Pod{TypeMeta: typ("v1", "Pod"), ObjectMeta: lean(nil), Status: corev1.PodStatus{
				PodIP: "10.0.0.2", PodIPs: []corev1.PodIP{{IP: "10.0.0.2"}},
				Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}},
			}},
		},
		{"", model.KindPod,
			&corev1.Pod{Status: corev1.PodStatus{Phase: corev1.PodFailed}},
			&corev1.Pod{TypeMeta: typ("v1", "Pod"), Status: corev1.PodStatus{Phase: corev1.PodFailed}},
		},
		{"", model.KindNamespace,
			&corev1.Namespace{ObjectMeta: full(), Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"k"}},
				Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
			&corev1.Namespace{TypeMeta: typ("v1", "Namespace"), ObjectMeta: lean(nil)},
		},
	}
	for _, tt := range tests {
		t.Run(tt.kind, func(t *testing.T) {
			strip(resource.Find(tt.group, tt.kind), tt.in)
			if diff := cmp.Diff(tt.want, tt.in); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A burst becomes few batches, a single change one at once, and the last of several changes of an object counts.
func TestCollector(t *testing.T) {
	c := newCollector()
	ref := model.Ref{Kind: model.KindNamespace, Name: model.Name{Name: "a"}}
	other := model.Ref{Kind: model.KindNamespace, Name: model.Name{Name: "b"}}
	first, second := &corev1.Namespace{}, &corev1.Namespace{}
	c.set(other, first)
	c.set(ref, first)
	c.set(ref, second)
	c.remove(other)
	b := c.take()
	if len(b.Set) != 1 || b.Set[0].Object != second || len(b.Delete) != 1 || b.Delete[0] != other || b.Noticed.IsZero() {
		t.Errorf("the batch is %+v", b)
	}
	if b := c.take(); len(b.Set)+len(b.Delete) > 0 {
		t.Errorf("there is more: %+v", b)
	}
}

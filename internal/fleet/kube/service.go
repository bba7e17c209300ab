package kube

import (
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/sluice-gateway/sluice/internal/resolve"
)

// annotationAddress, on a Service, is the address that the Gateway asks for.
const annotationAddress = "sluice.dev/address"

// services are one Service for each address that the Gateway asks for: that is how each can have its own, with every
// load balancer. The name of each depends on its address alone, so that what comes and goes beside it never moves it.
func (r *renderer) services() ([]object, error) {
	if len(r.fleet.Ports) == 0 {
		return nil, errNoPorts
	}
	addresses := r.fleet.Addresses
	if len(addresses) == 0 {
		addresses = []resolve.FleetAddress{{}}
	}
	var out []object
	for _, a := range addresses {
		s, err := r.service(a, len(addresses) == 1)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (r *renderer) service(a resolve.FleetAddress, only bool) (*corev1.Service, error) {
	own := r.provider.EnvoyService
	if own == nil {
		own = &egv1a1.KubernetesServiceSpec{}
	}
	out := &corev1.Service{
		TypeMeta: typeMeta("v1", "Service"), ObjectMeta: r.meta(own.Name),
		Spec: corev1.ServiceSpec{Selector: r.selector(), Type: corev1.ServiceTypeLoadBalancer},
	}
	if !only || own.Name == nil {
		out.Name += suffix(a)
	}
	if own.Type != nil {
		out.Spec.Type = corev1.ServiceType(*own.Type)
	}
	if a.Cluster {
		out.Spec.Type = corev1.ServiceTypeClusterIP
	}
	out.Labels, out.Annotations = merged(own.Labels), merged(own.Annotations)
	for _, p := range r.fleet.Ports {
		out.Spec.Ports = append(out.Spec.Ports, corev1.ServicePort{
			Name: fmt.Sprintf("%s-%d", strings.ToLower(string(p.Protocol)), p.Port), Port: int32(p.Port),
			Protocol: p.Protocol, TargetPort: intstr.FromInt32(int32(p.Port)),
		})
	}
	exposeAs(out, own)
	r.families(out)
	if a.IP.IsValid() {
		request(out, a)
	}
	return patched(out, own.Patch, "envoyService")
}

// suffix is what the name of the Service for an address has behind that of the fleet: nothing if any will do.
func suffix(a resolve.FleetAddress) string {
	switch {
	case a.IP.IsValid() && a.Cluster:
		return "-cluster-" + hash([]byte(a.IP.String()))[:8]
	case a.IP.IsValid():
		return "-" + hash([]byte(a.IP.String()))[:8]
	case a.Cluster:
		return "-cluster"
	}
	return ""
}

// exposeAs fills in what depends on the type of the Service.
func exposeAs(out *corev1.Service, own *egv1a1.KubernetesServiceSpec) {
	if out.Spec.Type == corev1.ServiceTypeClusterIP {
		return
	}
	out.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	if p := own.ExternalTrafficPolicy; p != nil {
		out.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicy(*p)
	}
	if out.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	out.Spec.LoadBalancerClass = own.LoadBalancerClass
	out.Spec.AllocateLoadBalancerNodePorts = own.AllocateLoadBalancerNodePorts
	out.Spec.LoadBalancerSourceRanges = own.LoadBalancerSourceRanges
	if own.LoadBalancerIP != nil {
		out.Spec.LoadBalancerIP = *own.LoadBalancerIP
	}
}

// request asks for an address in the way that the type of the Service has for that. There is none for node ports.
func request(out *corev1.Service, a resolve.FleetAddress) {
	out.Annotations = merged(out.Annotations, map[string]string{annotationAddress: a.IP.String()})
	switch out.Spec.Type {
	case corev1.ServiceTypeClusterIP:
		out.Spec.ClusterIP, out.Spec.ClusterIPs = a.IP.String(), []string{a.IP.String()}
	case corev1.ServiceTypeLoadBalancer:
		out.Spec.LoadBalancerIP = a.IP.String()
	}
}

func (r *renderer) families(out *corev1.Service) {
	if r.spec.IPFamily == nil {
		return
	}
	single, dual := corev1.IPFamilyPolicySingleStack, corev1.IPFamilyPolicyRequireDualStack
	switch *r.spec.IPFamily {
	case egv1a1.IPv6:
		out.Spec.IPFamilyPolicy, out.Spec.IPFamilies = &single, []corev1.IPFamily{corev1.IPv6Protocol}
	case egv1a1.DualStack:
		out.Spec.IPFamilyPolicy = &dual
		out.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}
	}
}

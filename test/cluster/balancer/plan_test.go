package balancer

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func rangeOf(t *testing.T, text string) Range {
	t.Helper()
	var r Range
	if err := r.UnmarshalText([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if back, err := r.MarshalText(); err != nil || string(back) != text {
		t.Fatalf("%s is written as %s: %v", text, back, err)
	}
	return r
}

// service is one that asks for an address and has another, both may be empty, made at a second.
func service(name, asks, has string, second int64) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: name, CreationTimestamp: metav1.NewTime(time.Unix(second, 0)),
		},
		Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerIP: asks},
	}
	if has != "" {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: has}}
	}
	return s
}

func TestAddresses(t *testing.T) {
	other := service("other", "", "10.0.0.1", 1)
	other.Spec.Type = corev1.ServiceTypeClusterIP
	class := "somebody.example/else"
	foreign := service("foreign", "", "", 1)
	foreign.Spec.LoadBalancerClass = &class
	for name, test := range map[string]struct {
		services        []*corev1.Service
		given, problems []string
	}{
		"the oldest first": {
			services: []*corev1.Service{service("a", "", "", 2), service("b", "", "", 1)},
			given:    []string{"10.0.0.2", "10.0.0.1"},
		},
		"what it has it keeps": {
			services: []*corev1.Service{service("a", "", "", 1), service("b", "", "10.0.0.1", 2)},
			given:    []string{"10.0.0.2", "10.0.0.1"},
		},
		"what it asks for": {
			services: []*corev1.Service{service("a", "10.0.1.5", "10.0.0.1", 1), service("b", "10.0.0.1", "", 2)},
			given:    []string{"10.0.1.5", "10.0.0.1"},
		},
		"two for one address": {
			services: []*corev1.Service{service("a", "10.0.1.5", "", 2), service("b", "10.0.1.5", "", 1)},
			given:    []string{"", "10.0.1.5"},
			problems: []string{"ns/a: it asks for 10.0.1.5, which ns/b has"},
		},
		"an address that is not to be had": {
			services: []*corev1.Service{service("a", "10.0.2.1", "10.0.0.1", 1)},
			given:    []string{""},
			problems: []string{"ns/a: it asks for 10.0.2.1, which this load balancer does not have"},
		},
		"none is free": {
			services: []*corev1.Service{service("a", "", "", 1), service("b", "", "", 1), service("c", "", "", 1)},
			given:    []string{"10.0.0.1", "10.0.0.2", ""},
			problems: []string{"ns/c: no address is free"},
		},
		"none of ours": {services: []*corev1.Service{other, foreign}, given: []string{"", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan{
				services: test.services, dynamic: rangeOf(t, "10.0.0.1-10.0.0.2"), static: rangeOf(t, "10.0.1.1-10.0.1.9"),
			}
			given, problems := p.addresses()
			if diff := cmp.Diff(test.given, given) + cmp.Diff(test.problems, problems); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func node(name, ip string, status corev1.ConditionStatus) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: status}},
			Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}},
		},
	}
}

func TestRoutes(t *testing.T) {
	local := service("local", "", "", 1)
	local.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	endpoint := func(on string, ready bool) discoveryv1.Endpoint {
		return discoveryv1.Endpoint{NodeName: &on, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
	}
	p := plan{
		services: []*corev1.Service{service("cluster", "", "", 1), local, service("none", "", "", 1)},
		nodes: []*corev1.Node{
			node("a", "1.1.1.1", corev1.ConditionTrue), node("b", "1.1.1.2", corev1.ConditionUnknown),
			node("c", "1.1.1.3", corev1.ConditionTrue),
		},
		slices: []*discoveryv1.EndpointSlice{
			{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "ns", Labels: map[string]string{discoveryv1.LabelServiceName: "local"},
				},
				Endpoints: []discoveryv1.Endpoint{endpoint("a", false), endpoint("c", true)},
			},
			{
				ObjectMeta: metav1.ObjectMeta{
					Namespace: "other", Labels: map[string]string{discoveryv1.LabelServiceName: "local"},
				},
				Endpoints: []discoveryv1.Endpoint{endpoint("a", true)},
			},
		},
	}
	want := map[string][]string{"10.0.0.1": {"1.1.1.1", "1.1.1.3"}, "10.0.0.2": {"1.1.1.3"}}
	addresses := []string{"10.0.0.1", "10.0.0.2", ""}
	if diff := cmp.Diff(want, p.routes(addresses)); diff != "" {
		t.Error(diff)
	}

	// The last ready endpoint is going: it is used as long as no other is ready, and one that does not serve never is.
	yes := true
	p.slices[0].Endpoints[1] = endpoint("c", false)
	p.slices[0].Endpoints[1].Conditions.Serving, p.slices[0].Endpoints[1].Conditions.Terminating = &yes, &yes
	if diff := cmp.Diff(want, p.routes(addresses)); diff != "" {
		t.Errorf("the last one ends: %s", diff)
	}
	p.slices[0].Endpoints[0] = endpoint("a", true)
	p.pass = func(_ *corev1.Service, hop string) bool { return hop != "1.1.1.1" }
	if diff := cmp.Diff(want, p.routes(addresses)); diff != "" {
		t.Errorf("another is ready, and its node does not know yet: %s", diff)
	}
	p.pass = nil
	want["10.0.0.2"] = []string{"1.1.1.1"}
	if diff := cmp.Diff(want, p.routes(addresses)); diff != "" {
		t.Errorf("another is ready: %s", diff)
	}
}

func TestRangeIsBounded(t *testing.T) {
	r := rangeOf(t, "10.0.0.9-10.0.0.11")
	for address, want := range map[string]bool{
		"10.0.0.8": false, "10.0.0.9": true, "10.0.0.10": true, "10.0.0.11": true, "10.0.0.12": false, "::1": false,
	} {
		if r.Contains(netip.MustParseAddr(address)) != want {
			t.Errorf("%s: want %v", address, want)
		}
	}
	for _, bad := range []string{"", "10.0.0.1", "x-y", "10.0.0.1-"} {
		if new(Range).UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q is taken as a range", bad)
		}
	}
}

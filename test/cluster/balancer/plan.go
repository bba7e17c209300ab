package balancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Range is a range of addresses with both its ends, "172.30.1.10-172.30.1.199" in text.
type Range struct{ First, Last netip.Addr }

// Contains reports whether an address is in the range.
func (r Range) Contains(a netip.Addr) bool {
	return r.First.IsValid() && a.Is4() == r.First.Is4() && !a.Less(r.First) && !r.Last.Less(a)
}

// MarshalText writes FIRST-LAST.
func (r Range) MarshalText() ([]byte, error) {
	if !r.First.IsValid() {
		return nil, nil
	}
	return []byte(r.First.String() + "-" + r.Last.String()), nil
}

// UnmarshalText reads FIRST-LAST.
func (r *Range) UnmarshalText(text []byte) error {
	first, last, found := strings.Cut(string(text), "-")
	var err error
	if r.First, err = netip.ParseAddr(first); err != nil {
		return err
	}
	if r.Last, err = netip.ParseAddr(last); err != nil || !found {
		return fmt.Errorf("%q: want FIRST-LAST", text)
	}
	return nil
}

// plan works out addresses and routes from what the API server says. Everything is sorted.
type plan struct {
	services        []*corev1.Service
	nodes           []*corev1.Node
	slices          []*discoveryv1.EndpointSlice
	dynamic, static Range
	// pass says whether a node that has a ready endpoint passes the health check of a Service; nil for always.
	pass func(service *corev1.Service, hop string) bool
}

// addressOf is the address that a Service's status says, if any.
func addressOf(service *corev1.Service) string {
	if ingress := service.Status.LoadBalancer.Ingress; len(ingress) > 0 {
		return ingress[0].IP
	}
	return ""
}

// ours reports whether a Service wants an address of this load balancer.
func ours(service *corev1.Service) bool {
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.Spec.LoadBalancerClass == nil &&
		service.DeletionTimestamp == nil
}

// addresses returns the address of each Service, empty for none, and why some that want one get none. What a Service
// has it keeps, unless it asks for another or may not have it; who came first has the first choice.
func (p plan) addresses() (given, problems []string) {
	given = make([]string, len(p.services))
	taken := map[string]string{}
	take := func(i int, address string) {
		if address != "" {
			given[i], taken[address] = address, p.services[i].Namespace+"/"+p.services[i].Name
		}
	}
	var waiting []int
	for _, i := range p.byAge() {
		service := p.services[i]
		has, asked := addressOf(service), service.Spec.LoadBalancerIP
		switch {
		case !ours(service):
		case has != "" && taken[has] == "" && p.allowed(has) && (asked == "" || asked == has):
			take(i, has)
		default:
			waiting = append(waiting, i)
		}
	}
	for _, i := range waiting {
		address, problem := p.choose(p.services[i].Spec.LoadBalancerIP, taken)
		take(i, address)
		if problem != "" {
			problems = append(problems, p.services[i].Namespace+"/"+p.services[i].Name+": "+problem)
		}
	}
	return given, problems
}

// byAge returns the indexes of the Services that want an address, the oldest first.
func (p plan) byAge() []int {
	out := make([]int, len(p.services))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int {
		return p.services[a].CreationTimestamp.Compare(p.services[b].CreationTimestamp.Time)
	})
	return out
}

// choose returns a free address for a Service that asks for one, or with none asked for any, or why there is none.
func (p plan) choose(asked string, taken map[string]string) (address, problem string) {
	switch {
	case asked != "" && !p.allowed(asked):
		return "", fmt.Sprintf("it asks for %s, which this load balancer does not have", asked)
	case asked != "" && taken[asked] != "":
		return "", fmt.Sprintf("it asks for %s, which %s has", asked, taken[asked])
	case asked != "":
		return asked, ""
	}
	for a := p.dynamic.First; p.dynamic.Contains(a); a = a.Next() {
		if taken[a.String()] == "" {
			return a.String(), ""
		}
	}
	return "", "no address is free"
}

func (p plan) allowed(address string) bool {
	a, err := netip.ParseAddr(address)
	return err == nil && (p.dynamic.Contains(a) || p.static.Contains(a))
}

// routes returns the nodes' addresses by which each given address is reached.
func (p plan) routes(given []string) map[string][]string {
	out := map[string][]string{}
	for i, address := range given {
		if address == "" {
			continue
		}
		service := p.services[i]
		local := service.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
		if !local {
			out[address] = p.hops(ready)
			continue
		}
		has := func(node *corev1.Node) bool { return p.has(node.Name, service, isReady) }
		hops := p.hops(has)
		if p.pass != nil {
			hops = slices.DeleteFunc(hops, func(hop string) bool { return !p.pass(service, hop) })
		}
		if len(hops) == 0 {
			// Balancers that check the health of nodes send to all when none is healthy. Pods that are going still serve.
			hops = p.hops(func(node *corev1.Node) bool { return !has(node) && p.has(node.Name, service, isServing) })
		}
		out[address] = hops
	}
	return out
}

// hops are the addresses of the nodes that are chosen.
func (p plan) hops(chosen func(*corev1.Node) bool) []string {
	out := []string{}
	for _, node := range p.nodes {
		if ip := internalIP(node); ip != "" && chosen(node) {
			out = append(out, ip)
		}
	}
	return out
}

func ready(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func internalIP(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}

func isReady(c discoveryv1.EndpointConditions) bool { return c.Ready == nil || *c.Ready }

// isServing holds for endpoints that are going, too, as long as they pass their checks.
func isServing(c discoveryv1.EndpointConditions) bool {
	if c.Serving == nil {
		return isReady(c)
	}
	return *c.Serving
}

// has reports whether a node has an endpoint of a Service with such conditions.
func (p plan) has(node string, service *corev1.Service, such func(discoveryv1.EndpointConditions) bool) bool {
	for _, slice := range p.slices {
		if slice.Namespace != service.Namespace || slice.Labels[discoveryv1.LabelServiceName] != service.Name {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			if such(endpoint.Conditions) && endpoint.NodeName != nil && *endpoint.NodeName == node {
				return true
			}
		}
	}
	return false
}

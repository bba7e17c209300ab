package kube

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/status"
)

func samePlacement(a, b resolve.Placement) bool { return reflect.DeepEqual(a, b) }

// place says where a fleet is, as far as the cluster has told. It is not known before all has been read that it
// depends on, and looked for again then.
func (m *Manager) place(name model.ProxyName, s *state) (out resolve.Placement, known bool) {
	known = true
	var missing []string
	ready := int64(0)
	for _, o := range m.live(name) {
		if o.GetKind() == "Service" && !s.wants(o) {
			continue
		}
		if isWorkload(o) {
			ready += readyPods(o)
		}
		if o.GetKind() == "Service" {
			addresses, lacks, read := m.serviceAddresses(o)
			known = known && read
			out.Addresses = append(out.Addresses, addresses...)
			if lacks != "" {
				missing = append(missing, lacks)
			}
		}
	}
	slices.SortFunc(out.Addresses, compareAddresses)
	slices.Sort(missing)
	switch {
	case s.problem != "":
		out.Reason, out.Message = status.ReasonInvalid, s.problem
	case len(missing) > 0:
		out.Reason, out.Message = string(gwv1.GatewayReasonAddressNotUsable), missing[0]
	case len(out.Addresses) > 0 && ready == 0:
		out.Reason = string(gwv1.GatewayReasonNoResources)
		out.Message = fmt.Sprintf("No Envoy of the Gateway is ready yet: see the pods with the label %s=%s in namespace %s",
			labelFleet, s.from.Name, s.from.Namespace)
	}
	return out, known
}

// wants says whether an object is one of the fleet's as it should be, as far as that is known.
func (s *state) wants(o *unstructured.Unstructured) bool {
	return s.rendered == nil || slices.ContainsFunc(s.rendered, func(w *unstructured.Unstructured) bool {
		return id(w) == id(o)
	})
}

func compareAddresses(a, b gwv1.GatewayStatusAddress) int {
	left, err := netip.ParseAddr(a.Value)
	right, other := netip.ParseAddr(b.Value)
	if err == nil && other == nil {
		return left.Compare(right)
	}
	return slices.Compare([]byte(a.Value), []byte(b.Value))
}

// serviceAddresses returns where a Service can be reached, and what it lacks of what was asked for; known is false
// while that has not been read.
func (m *Manager) serviceAddresses(
	o *unstructured.Unstructured,
) (out []gwv1.GatewayStatusAddress, lacks string, known bool) {
	s := new(corev1.Service)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, s); err != nil {
		return nil, err.Error(), true
	}
	known = true
	cluster := gwv1.GatewayAddressRoutabilityCluster
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer:
		for _, i := range s.Status.LoadBalancer.Ingress {
			if i.IP != "" {
				out = append(out, address(gwv1.IPAddressType, i.IP, nil))
			} else if i.Hostname != "" {
				out = append(out, address(gwv1.HostnameAddressType, i.Hostname, nil))
			}
		}
	case corev1.ServiceTypeClusterIP:
		for _, ip := range s.Spec.ClusterIPs {
			if ip != corev1.ClusterIPNone {
				out = append(out, address(gwv1.IPAddressType, ip, &cluster))
			}
		}
	case corev1.ServiceTypeNodePort:
		var ips []string
		ips, known = m.nodeAddresses()
		for _, ip := range ips {
			out = append(out, address(gwv1.IPAddressType, ip, nil))
		}
	}
	asked := o.GetAnnotations()[annotationAddress]
	if asked == "" || !known {
		return out, "", known
	}
	// What came instead of what was asked for is not what the Gateway is to be reached at.
	out = slices.DeleteFunc(out, func(a gwv1.GatewayStatusAddress) bool { return a.Value != asked })
	if len(out) == 0 {
		lacks = fmt.Sprintf("The address %s has not been given to Service %s/%s (of type %s): use one that is free, "+
			"or none to get any", asked, o.GetNamespace(), o.GetName(), s.Spec.Type)
	}
	return out, lacks, true
}

func address(typ gwv1.AddressType, value string, to *gwv1.GatewayAddressRoutabilityType) gwv1.GatewayStatusAddress {
	return gwv1.GatewayStatusAddress{Type: &typ, Value: value, Routability: to}
}

// nodeAddresses are those of the nodes, where node ports are; not known before all nodes have been read. Nodes are
// watched only when some Service has node ports.
func (m *Manager) nodeAddresses() (out []string, known bool) {
	m.mu.Lock()
	started := m.nodes != nil
	if !started && m.running != nil {
		m.nodes = dynamicinformer.NewDynamicSharedInformerFactory(m.opts.Client, 0).ForResource(nodeResource).Informer()
		m.watchNodes(m.nodes)
	}
	informer := m.nodes
	m.mu.Unlock()
	if informer == nil || !informer.HasSynced() {
		return nil, false
	}
	for _, o := range informer.GetStore().List() {
		node := new(corev1.Node)
		u := o.(*unstructured.Unstructured)
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, node); err != nil {
			continue
		}
		out = append(out, reachable(node)...)
	}
	slices.Sort(out)
	return slices.Compact(out), true
}

// reachable are the addresses of a node: those from outside, if it has any.
func reachable(node *corev1.Node) []string {
	for _, typ := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		var out []string
		for _, a := range node.Status.Addresses {
			if a.Type == typ {
				out = append(out, a.Address)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// watchNodes has every fleet looked at when the addresses of the nodes change. The caller holds the lock.
func (m *Manager) watchNodes(informer cache.SharedIndexInformer) {
	// A node reports on itself all the time: only its addresses are kept.
	_ = informer.SetTransform(func(o any) (any, error) { // it has not started
		if u, ok := o.(*unstructured.Unstructured); ok {
			addresses, _, _ := unstructured.NestedSlice(u.Object, "status", "addresses")
			kept := map[string]any{"metadata": map[string]any{
				"name": u.GetName(), "resourceVersion": u.GetResourceVersion(), "uid": string(u.GetUID()),
			}, "status": map[string]any{"addresses": addresses}}
			return &unstructured.Unstructured{Object: kept}, nil
		}
		return o, nil
	})
	all := func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		for name := range m.wanted {
			m.queue.Add(name)
		}
	}
	_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{ // it has not stopped
		AddFunc: func(any) { all() }, DeleteFunc: func(any) { all() },
		UpdateFunc: func(before, after any) {
			b, a := before.(*unstructured.Unstructured), after.(*unstructured.Unstructured)
			if !reflect.DeepEqual(b.Object["status"], a.Object["status"]) {
				all()
			}
		},
	})
	go informer.Run(m.running.Done())
}

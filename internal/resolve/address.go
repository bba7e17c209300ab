package resolve

import (
	"fmt"
	"net/netip"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/status"
)

// addresses resolves spec.addresses. A type that is not supported means that the Gateway is not accepted; an address
// that cannot be had that it is accepted but not programmed. Neither takes traffic: to serve all addresses instead
// would expose more than was asked for.
func (v *gatewayResolver) addresses() {
	for i, a := range v.gw.Spec.Addresses {
		path := fmt.Sprintf("spec.addresses[%d]", i)
		if typ := deref(a.Type, gwv1.IPAddressType); typ != gwv1.IPAddressType {
			v.issue(status.Accepted, string(gwv1.GatewayReasonUnsupportedAddress), path+".type",
				fmt.Sprintf("Addresses of type %q are not supported: use IPAddress", typ))
			continue
		}
		if v.t.opts.Fleets != nil {
			v.fleetAddress(path, a)
		} else {
			v.localAddress(path, a)
		}
	}
}

func (v *gatewayResolver) notUsable(path, message string) {
	v.issue(status.Programmed, string(gwv1.GatewayReasonAddressNotUsable), path, message)
}

// localAddress resolves an address that the proxies on this machine bind.
func (v *gatewayResolver) localAddress(path string, a gwv1.GatewaySpecAddress) {
	if a.Routability != gwv1.GatewayAddressRoutabilityDefault {
		v.notUsable(path+".routability", fmt.Sprintf("Routability %q is not supported: remove it", a.Routability))
		return
	}
	if a.Value == "" {
		return
	}
	ip, err := netip.ParseAddr(strings.TrimSpace(a.Value))
	switch {
	case err == nil && ip.IsUnspecified():
	case err == nil && v.t.opts.Usable != nil && v.t.opts.Usable(ip):
		v.out.Addresses = append(v.out.Addresses, ip)
	default:
		v.notUsable(path+".value",
			fmt.Sprintf("The address %q cannot be bound: remove it to listen on all addresses", a.Value))
	}
}

// fleetAddress resolves an address that a Service is to get. Whether it does is not known before it was asked for.
func (v *gatewayResolver) fleetAddress(path string, a gwv1.GatewaySpecAddress) {
	out := FleetAddress{Cluster: a.Routability == gwv1.GatewayAddressRoutabilityCluster}
	if !out.Cluster && a.Routability != gwv1.GatewayAddressRoutabilityDefault {
		v.notUsable(path+".routability",
			fmt.Sprintf("Routability %q is not known: use Cluster, or remove it", a.Routability))
		return
	}
	if a.Value != "" {
		ip, err := netip.ParseAddr(strings.TrimSpace(a.Value))
		if err != nil || ip.IsUnspecified() || ip.Zone() != "" {
			v.notUsable(path+".value", fmt.Sprintf("%q is not an address that a Service can have: give an IP address, "+
				"or leave the value out to get any", a.Value))
			return
		}
		out.IP = ip.Unmap()
	}
	v.out.infra.Addresses = append(v.out.infra.Addresses, out)
}

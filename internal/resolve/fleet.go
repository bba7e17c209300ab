package resolve

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// FleetOptions are what the resolution of fleets depends on besides the objects.
type FleetOptions struct {
	// Namespace is where the fleets of classes with mergeGateways are: Sluice's own.
	Namespace string
	// Defaults is what the EnvoyProxies of classes and Gateways are merged over; may be nil.
	Defaults *egv1a1.EnvoyProxySpec
	// Reserved are the ports that a fleet keeps for itself, and what for.
	Reserved map[uint16]string
	// Check returns why no fleet can be made from an EnvoyProxy, each problem with its field; may be nil.
	Check func(*egv1a1.EnvoyProxySpec) error
}

// Fleet is the Envoys that a Gateway, or all Gateways of a class with mergeGateways, are to have.
type Fleet struct {
	Proxy model.ProxyName
	// Class is the name of the GatewayClass.
	Class string
	// Gateways are served by the fleet, in order of their names.
	Gateways []model.Name
	// Owner is what the fleet belongs to, and goes with: the Gateway, or the GatewayClass if it is merged.
	Owner Owner
	// Namespace and Name are those of the fleet's objects. The name is a DNS label, unique in the namespace among fleets.
	Namespace, Name string
	// Labels and Annotations are those of spec.infrastructure of the Gateway: for every object of the fleet.
	Labels, Annotations map[string]string
	// Ports are those of the listeners, sorted, each once.
	Ports []FleetPort
	// Addresses are what the Gateways ask for in spec.addresses, sorted. If there are none, any address will do.
	Addresses []FleetAddress
	// Spec is the merged EnvoyProxy; nil for defaults only.
	Spec *egv1a1.EnvoyProxySpec
	// Sinks are where metrics are sent (telemetry.metrics.sinks of Spec), in the order of the spec.
	Sinks []FleetSink
	// Hold is why it is not known what the fleet should be; empty if it is. What is there of it then stays as it is: a
	// slip in an EnvoyProxy must not cost a Gateway its address.
	Hold string
}

// Owner is the object that a fleet belongs to: one of the Gateway API.
type Owner struct {
	// Kind is Gateway or GatewayClass.
	Kind string
	model.Name
	UID types.UID
}

// FleetSink is a backend that an Envoy knows from its start.
type FleetSink struct {
	// Backend is the zero value if it cannot be used.
	Backend model.BackendKey
	// Endpoints are those of a Backend object or of a server. A Service is reached by its name where there is a cluster,
	// and has endpoints too on one machine.
	Endpoints []model.Endpoint
}

// FleetPort is a port that the Envoys of a fleet listen on.
type FleetPort struct {
	Port     uint16
	Protocol corev1.Protocol
}

// FleetAddress is an address that a fleet is to be reached at.
type FleetAddress struct {
	// IP is the zero Addr if any address of the kind will do.
	IP netip.Addr
	// Cluster says that it is for clients within the cluster: the cluster IP of a Service (Gateway API,
	// GatewayAddressRoutabilityCluster).
	Cluster bool
}

// Placement is what has become of a fleet: where its Envoys can be reached. The zero value says that nothing is known
// of it yet.
type Placement struct {
	// Addresses are where the fleet can be reached.
	Addresses []gwv1.GatewayStatusAddress
	// Reason is why the Gateways of the fleet are not programmed, one that the Gateway API has for that (NoResources,
	// AddressNotUsable, AddressNotAssigned, Invalid), and Message what to do about it. Both are empty if nothing is amiss.
	Reason, Message string
}

func (t *Tables) addFleets(e *incr.Engine) {
	byProxy := incr.NewIndex(e, "gateways by proxy", t.Gateways, func(_ model.Name, gw Gateway) []model.ProxyName {
		if t.opts.Fleets == nil {
			return nil
		}
		return []model.ProxyName{gw.Proxy}
	})
	byPort := incr.NewIndex(e, "listeners by proxy", t.doors, func(_ model.ListenerKey, d *door) []model.ProxyName {
		if t.opts.Fleets == nil || d.Foreign {
			return nil
		}
		return []model.ProxyName{d.Port.Proxy}
	})
	t.Fleets = incr.NewTable(e, "fleets", func(r *incr.Reader, key model.ProxyName) (*Fleet, bool) {
		out := &Fleet{Proxy: key}
		ports, addresses := map[FleetPort]bool{}, map[FleetAddress]bool{}
		for name, gw := range byProxy.Values(r, key) {
			if len(out.Gateways) == 0 {
				t.describe(out, gw)
				out.Sinks = t.sinks(r, gw.infra.Key)
			}
			out.Gateways = append(out.Gateways, name)
			if gw.infra.Hold != "" {
				out.Hold = gw.infra.Hold
			}
			for _, a := range gw.infra.Addresses {
				addresses[a] = true
			}
		}
		for _, d := range byPort.Values(r, key) {
			if p, ok := t.fleetPort(d); ok {
				ports[p] = true
			}
		}
		for _, port := range t.quicByProxy.Values(r, key) {
			if _, reserved := t.opts.Fleets.Reserved[port.Port]; !reserved {
				ports[FleetPort{Port: port.Port, Protocol: corev1.ProtocolUDP}] = true
			}
		}
		out.Ports = slices.SortedFunc(maps.Keys(ports), func(a, b FleetPort) int {
			return cmp.Or(cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
		})
		out.Addresses = slices.SortedFunc(maps.Keys(addresses), func(a, b FleetAddress) int {
			if a.Cluster != b.Cluster {
				return cmp.Compare(fmt.Sprint(a.Cluster), fmt.Sprint(b.Cluster))
			}
			return a.IP.Compare(b.IP)
		})
		return out, len(out.Ports) > 0
	}, byProxy)
}

// describe fills in what follows from any Gateway of the fleet.
func (t *Tables) describe(out *Fleet, gw Gateway) {
	infra := gw.infra
	out.Class, out.Spec, out.Owner = infra.Class, infra.Spec, infra.Owner
	if infra.Owner.Kind == model.KindGatewayClass {
		out.Namespace, out.Name = t.opts.Fleets.Namespace, objectName("gateways", infra.Class)
		return
	}
	out.Namespace, out.Name = gw.Name.Namespace, objectName(gw.Name.Name, infra.Class)
	out.Labels, out.Annotations = infra.Labels, infra.Annotations
}

// fleetPort is the port of a listener, valid or not: a certificate that is missing for a moment must not take the port
// out of a load balancer.
func (t *Tables) fleetPort(d *door) (FleetPort, bool) {
	out := FleetPort{Port: d.Port.Port, Protocol: corev1.ProtocolTCP}
	switch d.Protocol {
	case model.HTTP, model.HTTPS, model.TLS, model.TCP:
	case model.UDP:
		out.Protocol = corev1.ProtocolUDP
	default:
		return out, false
	}
	_, reserved := t.opts.Fleets.Reserved[d.Port.Port]
	return out, !reserved
}

// maxObjectName leaves room in the 63 characters of a DNS label for what names of further objects add.
const maxObjectName = 46

// objectName is "<gateway>-<class>" as GEP-1762 has it, and with a hash behind it where that would be no DNS label, too
// long, or could be that of another pair.
func objectName(gateway, class string) string {
	plain := gateway + "-" + class
	if len(plain) <= maxObjectName && !strings.Contains(class, "-") && len(validation.IsDNS1035Label(plain)) == 0 {
		return plain
	}
	sum := fmt.Sprintf("%08x", uint32(xxhash.Sum64String(gateway+"/"+class))) //nolint:gosec // half of it is enough
	readable := strings.ReplaceAll(plain, ".", "-")
	if len(validation.IsDNS1035Label(readable[:1])) > 0 {
		readable = "gw-" + readable
	}
	readable = readable[:min(len(readable), maxObjectName-len(sum)-1)]
	return strings.TrimRight(readable, "-") + "-" + sum
}

// infrastructure is what a Gateway says about its fleet.
type infrastructure struct {
	Class string
	// Spec is the merged EnvoyProxy.
	Spec *egv1a1.EnvoyProxySpec
	// Key names the EnvoyProxies that Spec may come from.
	Key mergedKey
	// ClientSource is the EnvoyProxy that names the certificate in Spec which is shown to backends.
	ClientSource        model.Ref
	Owner               Owner
	Labels, Annotations map[string]string
	Addresses           []FleetAddress
	Hold                string
}

// infrastructure resolves everything that decides which Envoys serve the Gateway, and how they run.
func (v *gatewayResolver) infrastructure(c class) {
	v.out.Proxy = v.t.opts.Proxy(v.ref.Name)
	infra := &v.out.infra
	infra.Class = string(v.gw.Spec.GatewayClassName)
	infra.Key = proxyKey(&ownGateway{Gateway: v.gw, Class: c})
	infra.Owner = Owner{Kind: model.KindGateway, Name: v.ref.Name, UID: v.gw.UID}
	if v.gw.Spec.Infrastructure != nil {
		infra.Labels, infra.Annotations = plain(v.gw.Spec.Infrastructure.Labels), plain(v.gw.Spec.Infrastructure.Annotations)
	}
	v.mergedFleet(c)
	if c.Problem != "" {
		v.issue(status.Accepted, status.ReasonInvalidParameters, "spec.gatewayClassName",
			"The GatewayClass is not accepted: "+c.Problem)
		infra.Hold = c.Problem
		return
	}
	own := v.parameters(c)
	var defaults *egv1a1.EnvoyProxySpec
	if v.t.opts.Fleets != nil {
		defaults = v.t.opts.Fleets.Defaults
	}
	spec, err := mergeEnvoyProxies(defaults, c.Spec, own)
	if err == nil && spec != own && spec != nil {
		err = v.t.startable(spec)
	}
	if err != nil {
		v.badParameters(err.Error())
		return
	}
	infra.Spec, infra.ClientSource = spec, envoyPolicyRef(model.KindEnvoyProxy, c.Params)
	if own != nil && own.BackendTLS != nil && own.BackendTLS.ClientCertificateRef != nil {
		infra.ClientSource.Name, _, _ = gatewayParameters(v.gw)
	}
}

// mergedFleet makes the fleet that of the class, if all Gateways of the class share one.
func (v *gatewayResolver) mergedFleet(c class) {
	if v.t.opts.Fleets != nil && c.Merged {
		infra := &v.out.infra
		v.out.Proxy = model.ProxyName(infra.Class)
		infra.Owner = Owner{Kind: model.KindGatewayClass, Name: model.Name{Name: infra.Class}, UID: c.UID}
	}
}

func (v *gatewayResolver) badParameters(message string) {
	v.issue(status.Accepted, status.ReasonInvalidParameters, "spec.infrastructure.parametersRef", message)
	v.out.infra.Hold = message
}

// parameters returns the Gateway's own EnvoyProxy, nil if it has none or it cannot be used.
func (v *gatewayResolver) parameters(c class) *egv1a1.EnvoyProxySpec {
	name, problem, has := gatewayParameters(v.gw)
	if !has {
		return nil
	}
	var spec *egv1a1.EnvoyProxySpec
	if problem == "" {
		spec, problem = v.t.envoyProxy(v.r, name)
	}
	if problem == "" && c.Merged {
		problem = "A Gateway of a class with mergeGateways shares its Envoys: set the parameters of the GatewayClass"
	}
	if problem != "" {
		v.badParameters(problem)
		return nil
	}
	return spec
}

// gatewayParameters returns the EnvoyProxy that a Gateway refers to, or why it refers to none; has is false if it has
// no reference.
func gatewayParameters(gw *gwv1.Gateway) (name model.Name, problem string, has bool) {
	if gw.Spec.Infrastructure == nil || gw.Spec.Infrastructure.ParametersRef == nil {
		return model.Name{}, "", false
	}
	ref := gw.Spec.Infrastructure.ParametersRef
	name, problem = envoyProxyRef(ref.Group, ref.Kind, model.Name{Namespace: gw.Namespace, Name: ref.Name})
	return name, problem, true
}

// plain returns a map with strings for keys and values; nil for an empty one.
func plain[K, V ~string](in map[K]V) map[string]string {
	if len(in) == 0 {
		return nil
	}
	out := make(map[string]string, len(in))
	for k, v := range in {
		out[string(k)] = string(v)
	}
	return out
}

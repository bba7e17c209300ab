package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// external is what routes and backends need to know of a Backend object: everything but its endpoints.
type external struct {
	// Report is why it cannot be used; empty if it can.
	Report   status.Report
	Protocol model.AppProtocol
	Address  model.AddressKind
	// Ports are those of its endpoints, sorted, each once.
	Ports    []uint16
	Fallback bool
	// Secure says that it is to be spoken to over TLS.
	Secure bool
}

func (t *Tables) external(r *incr.Reader, key model.Name) (*external, bool) {
	b, ok := incr.Get(r, t.in.backends, key)
	if !ok {
		return nil, false
	}
	v := &externalResolver{
		ref: model.BackendKey{Kind: model.KindBackend, Name: key}.Ref(),
		out: &external{Fallback: deref(b.Spec.Fallback, false)}, local: t.opts.LocalBackends,
	}
	v.unsupported(&b.Spec)
	v.protocols(b.Spec.AppProtocols)
	for i := range b.Spec.Endpoints {
		v.endpoint(i, &b.Spec.Endpoints[i])
	}
	slices.Sort(v.out.Ports)
	v.out.Ports = slices.Compact(v.out.Ports)
	return v.out, true
}

// externalResolver checks one Backend object.
type externalResolver struct {
	ref   model.Ref
	out   *external
	local bool
}

func (v *externalResolver) issue(path, message string) {
	v.out.Report = append(v.out.Report, status.Issue{
		Object: v.ref, Condition: status.Accepted, Reason: string(egv1a1.BackendReasonInvalid), Path: path, Message: message,
	})
}

func (v *externalResolver) unsupported(spec *egv1a1.BackendSpec) {
	switch typ := deref(spec.Type, egv1a1.BackendTypeEndpoints); {
	case typ == egv1a1.BackendTypeDynamicResolver:
		v.out.Address = model.AddressDynamic
		if len(spec.Endpoints) > 0 {
			v.issue("spec.endpoints", "A dynamic resolver has no endpoints: remove them, or use the type Endpoints")
		}
	case typ != egv1a1.BackendTypeEndpoints:
		v.issue("spec.type", fmt.Sprintf("There is no type %s: use Endpoints or DynamicResolver", typ))
	case len(spec.Endpoints) == 0:
		v.issue("spec.endpoints", "There are no endpoints: name at least one")
	}
}

func (v *externalResolver) protocols(protocols []egv1a1.AppProtocolType) {
	for i, p := range protocols {
		switch p {
		case egv1a1.AppProtocolTypeH2C:
			v.out.Protocol = model.AppH2C
		case egv1a1.AppProtocolTypeWS, egv1a1.AppProtocolTypeWSS:
			v.out.Secure = v.out.Secure || p == egv1a1.AppProtocolTypeWSS
			if v.out.Protocol == model.AppHTTP {
				v.out.Protocol = model.AppWS
			}
		default:
			v.issue(fmt.Sprintf("spec.appProtocols[%d]", i), fmt.Sprintf("%s is not supported yet", p))
		}
	}
}

func (v *externalResolver) endpoint(index int, e *egv1a1.BackendEndpoint) {
	path := fmt.Sprintf("spec.endpoints[%d]", index)
	kind := model.AddressIP
	switch {
	case e.FQDN != nil:
		kind = model.AddressDNS
		host := strings.TrimSuffix(strings.ToLower(e.FQDN.Hostname), ".")
		if !v.local && localHost(host) {
			v.issue(path+".fqdn.hostname", "The proxy's own machine cannot be a backend")
		}
		v.port(path+".fqdn.port", e.FQDN.Port)
	case e.Unix != nil:
		kind = model.AddressUnix
		if !v.local {
			v.issue(path+".unix", "Unix sockets of the proxy's own machine cannot be backends")
		}
		v.socket(path+".unix.path", e.Unix.Path)
	case e.IP != nil:
		v.ip(path+".ip.address", e.IP.Address)
		v.port(path+".ip.port", e.IP.Port)
	default:
		v.issue(path, "The endpoint has no address: set one of ip, fqdn and unix")
		return
	}
	if index > 0 && kind != v.out.Address {
		v.issue(path, "Endpoints of different kinds cannot be mixed: use a Backend for each kind")
	}
	v.out.Address = kind
}

func (v *externalResolver) ip(path, address string) {
	ip, err := netip.ParseAddr(address)
	ip = ip.Unmap()
	switch {
	case err != nil:
		v.issue(path, fmt.Sprintf("%q is not an IP address", address))
	case ip.IsMulticast() || ip.IsUnspecified() && !v.local:
		v.issue(path, fmt.Sprintf("%s is not the address of a machine", ip))
	case !v.local && model.OwnAddress(ip):
		v.issue(path, fmt.Sprintf("%s is on the proxy's own machine or link, or is the metadata service of its cloud: "+
			"it cannot be a backend", ip))
	}
}

// maxSocketPath is how many bytes the path of a Unix socket can have: what holds it has one more, for its end. The
// CRD's schema allows that one too.
const maxSocketPath = 107

func (v *externalResolver) socket(path, socket string) {
	switch {
	case len(socket) > maxSocketPath:
		v.issue(path, fmt.Sprintf("The path has %d bytes: a socket's can have %d", len(socket), maxSocketPath))
	case !strings.HasPrefix(socket, "/") && !strings.HasPrefix(socket, "@") || strings.Contains(socket, "\x00"):
		v.issue(path, fmt.Sprintf("%q is not the path of a socket: start it with /, or with @ for an abstract one", socket))
	}
}

func (v *externalResolver) port(path string, port int32) {
	if port < 1 || port > 65535 {
		v.issue(path, fmt.Sprintf("%d is not a port: use 1 to 65535", port))
		return
	}
	v.out.Ports = append(v.out.Ports, uint16(port))
}

// connectable is the address to connect to: for the one that stands for all of a machine, as servers listen on it, that
// of the machine itself.
func connectable(ip netip.Addr) netip.Addr {
	switch ip {
	case netip.IPv4Unspecified():
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case netip.IPv6Unspecified():
		return netip.IPv6Loopback()
	}
	return ip
}

// externalEndpoints returns the endpoints of a Backend object that has been checked.
func externalEndpoints(b *egv1a1.Backend) []model.Endpoint {
	var out []model.Endpoint
	for i := range b.Spec.Endpoints {
		e := &b.Spec.Endpoints[i]
		ep := model.Endpoint{Hostname: deref(e.Hostname, ""), Zone: deref(e.Zone, "")}
		switch {
		case e.FQDN != nil:
			ep.Address = strings.TrimSuffix(strings.ToLower(e.FQDN.Hostname), ".")
			ep.Port = uint16(e.FQDN.Port) // checked to be a port
		case e.Unix != nil:
			ep.Address = e.Unix.Path
		case e.IP != nil:
			ep.Address = e.IP.Address
			if ip, err := netip.ParseAddr(ep.Address); err == nil {
				ep.Address = connectable(ip.Unmap()).String()
			}
			ep.Port = uint16(e.IP.Port) // checked to be a port
		}
		out = append(out, ep)
	}
	return out
}

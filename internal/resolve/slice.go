package resolve

import (
	"net/netip"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// addSlices adds the EndpointSlices of Services: those with IP addresses, and those with host names, of which there are
// hardly ever any.
func (t *Tables) addSlices(e *incr.Engine) {
	index := func(name string, named bool) *incr.Index[model.Name, model.Name, *discoveryv1.EndpointSlice] {
		return incr.NewIndex(e, name, t.in.slices, func(key model.Name, s *discoveryv1.EndpointSlice) []model.Name {
			service, ok := s.Labels[discoveryv1.LabelServiceName]
			if !ok || (s.AddressType == discoveryv1.AddressTypeFQDN) != named {
				return nil
			}
			return []model.Name{{Namespace: key.Namespace, Name: service}}
		})
	}
	t.slices, t.namedSlices = index("slices by service", false), index("named slices by service", true)
	t.fleetSlices = incr.NewIndex(e, "slices by fleet", t.in.slices,
		func(key model.Name, s *discoveryv1.EndpointSlice) []model.Name {
			name, ok := s.Labels[model.LabelFleet]
			if !ok || s.AddressType == discoveryv1.AddressTypeFQDN {
				return nil
			}
			return []model.Name{{Namespace: key.Namespace, Name: name}}
		})
}

// Siblings returns the Envoys of a fleet that take requests, with their zones, each once: a Service for each address of
// a fleet, and its ports, have the same. The ports mean nothing.
func (t *Tables) Siblings(r *incr.Reader, proxy model.ProxyName) []model.Endpoint {
	fleet, ok := incr.Get(r, t.Fleets, proxy)
	if !ok {
		return []model.Endpoint{}
	}
	var out []model.Endpoint
	for _, s := range t.fleetSlices.Values(r, model.Name{Namespace: fleet.Namespace, Name: fleet.Name}) {
		for i := range s.Endpoints {
			if e := &s.Endpoints[i]; deref(e.Conditions.Ready, true) {
				out = t.appendAddresses(out, s, e, model.Endpoint{Port: 1})
			}
		}
	}
	return sorted(out)
}

// addressing returns how the endpoints of a Service are written: whether some are host names, and if so, whether others
// are IP addresses.
func (t *Tables) addressing(r *incr.Reader, service model.Name) (named, mixed bool) {
	if t.namedSlices.Len(r, service) == 0 {
		return false, false
	}
	// The slice without endpoints that Kubernetes makes for a Service with a selector says nothing.
	for _, s := range t.slices.Values(r, service) {
		if len(s.Endpoints) > 0 {
			return true, true
		}
	}
	return true, false
}

// appendAddresses adds the addresses of an endpoint of a slice: the EndpointSlice controller writes one, and people who
// write slices by hand may write several. like is all else of the endpoint. What nobody may name in a Backend they may
// not name here either; API servers refuse most of it, but not all (CVE-2021-25740).
func (t *Tables) appendAddresses(
	list []model.Endpoint, s *discoveryv1.EndpointSlice, e *discoveryv1.Endpoint, like model.Endpoint,
) []model.Endpoint {
	like.Zone = deref(e.Zone, "")
	for _, address := range e.Addresses {
		ip, err := netip.ParseAddr(address)
		switch {
		case s.AddressType == discoveryv1.AddressTypeFQDN:
			like.Address = strings.TrimSuffix(strings.ToLower(address), ".")
			if err == nil || len(validation.IsDNS1123Subdomain(like.Address)) > 0 ||
				!t.opts.LocalBackends && localHost(like.Address) {
				continue
			}
		case err != nil || !t.opts.LocalBackends && model.OwnAddress(ip):
			continue
		default:
			like.Address = ip.Unmap().String()
		}
		list = append(list, like)
	}
	return list
}

// localHost reports whether a host name is that of the machine itself (RFC 6761 section 6.3).
func localHost(name string) bool { return name == "localhost" || strings.HasSuffix(name, ".localhost") }

package resolve

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

func (t *Tables) addBackends(e *incr.Engine) {
	listeners := incr.NewIndex(e, "backends of listeners", t.contenders,
		func(_ model.ListenerKey, c *contender) []model.BackendKey { return listenerBackends(&c.Listener) })
	policies := incr.NewIndex(e, "backends that policies use", t.GatewayPolicies,
		func(_ model.Name, list []model.Attached) []model.BackendKey { return attachedBackends(list) })
	fields := incr.NewIndex(e, "backends that policy fields use", t.policyFields,
		func(_ model.Ref, p *policyFields) []model.BackendKey { return attachedBackends(p.Attached) })
	t.Backends = incr.NewTable(e, "backends", t.backend, t.references, listeners, policies, fields)
	t.Endpoints = incr.NewTable(e, "endpoints", t.endpoints, t.references, listeners, policies, fields)
}

func (t *Tables) backend(r *incr.Reader, key model.BackendKey) (model.Backend, bool) {
	if key.Kind == model.KindServer {
		return serverBackend(key), true
	}
	out := model.Backend{Key: key, Attached: t.trafficPolicyOf(r, key.Ref()).Cluster}
	out.TLS, out.Barred = t.backendTLS(r, key)
	if key.Extension() {
		found, ok := incr.Get(r, t.extensions, key.Ref())
		out.Extension = found
		out.Protocol, _ = appProtocol(model.AppHTTP, key.Use)
		return out, ok
	}
	switch key.Kind {
	case model.KindBackend:
		ext, ok := incr.Get(r, t.externals, key.Name)
		if !ok || len(ext.Report) > 0 {
			return model.Backend{}, false
		}
		out.Address, out.Fallback = ext.Address, ext.Fallback
		out.Protocol, _ = appProtocol(ext.Protocol, key.Use)
		return out, true
	case model.KindXBackend:
		b, ok := incr.Get(r, t.xbackends, key.Name)
		if !ok || len(b.Report) > 0 {
			return model.Backend{}, false
		}
		if b.Hostname != "" {
			out.Address = model.AddressDNS
		}
		out.Protocol, _ = appProtocol(b.Protocol, key.Use)
		return out, true
	}
	return t.serviceBackend(r, key, out)
}

// serviceBackend completes the backend that is a port of a Service.
func (t *Tables) serviceBackend(r *incr.Reader, key model.BackendKey, out model.Backend) (model.Backend, bool) {
	svc, ok := incr.Get(r, t.services, key.Name)
	if !ok || svc.External {
		return model.Backend{}, false
	}
	port, ok := svc.port(key.Port, transportOf(key.Use))
	if !ok {
		return model.Backend{}, false
	}
	out.Protocol, _ = appProtocol(appProtocols[port.App], key.Use)
	if svc.IP != "" {
		out.Service = &model.Endpoint{Address: svc.IP, Port: port.Number}
	}
	if named, mixed := t.addressing(r, key.Name); named && !mixed {
		out.Address = model.AddressDNS
	}
	if key.Use != model.AppUDP { // a UDP port is a cluster of its own, in which backends have weights
		out.Prefer = svc.Prefer
	}
	return out, true
}

func (t *Tables) endpoints(r *incr.Reader, key model.BackendKey) ([]model.Endpoint, bool) {
	if key.Extension() {
		return []model.Endpoint{}, true // the extension server says where requests go
	}
	switch key.Kind {
	case model.KindBackend:
		ext, ok := incr.Get(r, t.externals, key.Name)
		if !ok || len(ext.Report) > 0 {
			return nil, false
		}
		b, _ := incr.Get(r, t.in.backends, key.Name)
		return sorted(externalEndpoints(b)), true
	case model.KindXBackend:
		b, ok := incr.Get(r, t.xbackends, key.Name)
		if !ok || len(b.Report) > 0 {
			return nil, false
		}
		return sorted(t.endpointsOf(r, key.Name, b)), true
	case model.KindServer:
		return serverEndpoints(key), true
	}
	return t.serviceEndpoints(r, key)
}

// serviceEndpoints returns the endpoints of a port of a Service: those of its EndpointSlices.
func (t *Tables) serviceEndpoints(r *incr.Reader, key model.BackendKey) ([]model.Endpoint, bool) {
	svc, ok := incr.Get(r, t.services, key.Name)
	if !ok {
		return nil, false
	}
	port, ok := svc.port(key.Port, transportOf(key.Use))
	if !ok {
		return nil, false
	}
	from := t.slices
	if named, mixed := t.addressing(r, key.Name); named && !mixed {
		from = t.namedSlices
	}
	var ready, draining []model.Endpoint
	for _, s := range from.Values(r, key.Name) {
		number, ok := slicePort(s, port)
		if !ok {
			continue
		}
		for i := range s.Endpoints {
			switch e := &s.Endpoints[i]; {
			case deref(e.Conditions.Ready, true):
				ready = t.appendAddresses(ready, s, e, model.Endpoint{Port: number})
			case deref(e.Conditions.Serving, true) && deref(e.Conditions.Terminating, false):
				draining = t.appendAddresses(draining, s, e, model.Endpoint{Port: number, Draining: true})
			}
		}
	}
	// When everything is shutting down, what still serves is better than an error.
	if len(ready) == 0 {
		ready = draining
	}
	return sorted(ready), true
}

// slicePort returns the number that a slice has for a Service port: the target port, resolved. Ports are known by name.
func slicePort(s *discoveryv1.EndpointSlice, port servicePort) (uint16, bool) {
	for _, p := range s.Ports {
		if deref(p.Name, "") == port.Name && p.Port != nil && deref(p.Protocol, corev1.ProtocolTCP) == port.Protocol {
			return uint16(*p.Port), true // 1 to 65535 by the API's validation
		}
	}
	return 0, false
}

// sorted returns the endpoints in order, each address and port once, and never nil: no endpoints is an answer.
func sorted(list []model.Endpoint) []model.Endpoint {
	slices.SortFunc(list, model.Endpoint.Compare)
	list = slices.CompactFunc(list, func(a, b model.Endpoint) bool { return a.Address == b.Address && a.Port == b.Port })
	if list == nil {
		return []model.Endpoint{}
	}
	return list
}

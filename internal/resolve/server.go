package resolve

import (
	"fmt"
	"net/netip"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// server returns the server that the URL of a field names, the zero value if it cannot be used. What route authors may
// not name as a Backend they may not name here either.
func (v *fieldResolver) server(ref Reference) model.BackendKey {
	key, ok := model.Server(ref.URL)
	key.Use = ref.Use
	if !ok {
		v.issue(ref.Path, fmt.Sprintf("The address %q is no URL of an HTTP server: write it like https://issuer.example/keys",
			ref.URL))
		return model.BackendKey{}
	}
	check := &externalResolver{out: &external{}, local: v.t.opts.LocalBackends}
	check.endpoint(0, serverEndpoint(key))
	for _, problem := range check.out.Report {
		v.issue(ref.Path, problem.Message)
	}
	switch {
	case len(check.out.Report) > 0:
		return model.BackendKey{}
	case key.SecureServer() && check.out.Address == model.AddressIP:
		v.issue(ref.Path, fmt.Sprintf("The server %s has no name that its certificate could be for: name it by its host "+
			"name, or name a Backend with a BackendTLSPolicy", key.Name.Name))
		return model.BackendKey{}
	case key.SecureServer() && v.t.opts.SystemCAs == "":
		v.issue(ref.Path, "There are no CA certificates on the proxy's system: install them (ca-certificates), or name a "+
			"Backend with a BackendTLSPolicy")
		return model.BackendKey{}
	}
	return key
}

// serverEndpoint returns where a server is, as a Backend would say it.
func serverEndpoint(key model.BackendKey) *egv1a1.BackendEndpoint {
	host, port := key.Name.Name, int32(key.Port)
	if _, err := netip.ParseAddr(host); err == nil {
		return &egv1a1.BackendEndpoint{IP: &egv1a1.IPEndpoint{Address: host, Port: port}}
	}
	return &egv1a1.BackendEndpoint{FQDN: &egv1a1.FQDNEndpoint{Hostname: host, Port: port}}
}

// serverBackend returns the backend of a server. Its certificate has to be for its host, and signed by an authority
// that the proxy's system trusts.
func serverBackend(key model.BackendKey) model.Backend {
	out := model.Backend{Key: key, Address: model.AddressDNS}
	out.Protocol, _ = appProtocol(model.AppHTTP, key.Use)
	if serverEndpoint(key).IP != nil {
		out.Address = model.AddressIP
	}
	if key.SecureServer() {
		out.TLS = &model.BackendTLS{
			SNI: key.Name.Name, Trust: model.SystemTrust, Names: []model.SubjectName{{Value: key.Name.Name}},
		}
	}
	return out
}

// serverEndpoints returns the only endpoint of a server.
func serverEndpoints(key model.BackendKey) []model.Endpoint {
	return externalEndpoints(&egv1a1.Backend{Spec: egv1a1.BackendSpec{
		Endpoints: []egv1a1.BackendEndpoint{*serverEndpoint(key)},
	}})
}

// trustsOfServers returns what backends among those of policies' fields have to be trusted by, apart from what
// BackendTLSPolicies say.
func trustsOfServers(_ model.Ref, p *policyFields) []model.Trust {
	for _, key := range attachedBackends(p.Attached) {
		if key.SecureServer() {
			return []model.Trust{model.SystemTrust}
		}
	}
	return nil
}

package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// secret returns the SDS resource of a certificate and its key, named as the Kubernetes Secret: namespace/name.
func secret(name model.Name, chain, key []byte) *xds.Resource {
	body := marshal(&tlsv3.Secret{
		Name: name.String(),
		Type: &tlsv3.Secret_TlsCertificate{TlsCertificate: &tlsv3.TlsCertificate{
			CertificateChain: inline(chain), PrivateKey: inline(key),
		}},
	})
	return &xds.Resource{
		Name: name.String(), Body: body, Hash: hash(body),
		Owners: secretOwners(name),
	}
}

func inline(b []byte) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: b}}
}

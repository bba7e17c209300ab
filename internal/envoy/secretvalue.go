package envoy

import (
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	injectorv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/credential_injector/v3"
	codecv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	genericv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/injected_credentials/generic/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// valueUses are the values of Secrets among the clusters.
func valueUses(
	e *incr.Engine, clusters *incr.Table[BackendKey, *xds.Resource],
) incr.KeySource[BackendKey] {
	return incr.NewIndex(e, "secret value uses", clusters, func(k BackendKey, _ *xds.Resource) []BackendKey {
		if !k.Backend.IsValue() {
			return nil
		}
		return []BackendKey{k}
	})
}

// valueOf returns the value, and whom to blame for it.
func (b *builder) valueOf(r *incr.Reader, k model.BackendKey) (value []byte, owners []model.Ref, ok bool) {
	if secret, key, is := k.SecretValue(); is {
		value, ok = b.in.SecretValue(r, secret, key)
		return value, secretOwners(secret), ok
	}
	if b.opts.SessionKey == nil {
		return nil, nil, false
	}
	return b.opts.SessionKey(k.String()), nil, true
}

// value returns a value as a generic secret.
func (b *builder) value(r *incr.Reader, k BackendKey) (*xds.Resource, bool) {
	value, owners, ok := b.valueOf(r, k.Backend)
	if !ok {
		return nil, false
	}
	name := k.Backend.String()
	body := marshal(&tlsv3.Secret{Name: name, Type: &tlsv3.Secret_GenericSecret{
		GenericSecret: &tlsv3.GenericSecret{Secret: inline(value)},
	}})
	return &xds.Resource{Name: name, Body: body, Hash: hash(body), Owners: owners}, true
}

// valueCluster returns the cluster of a value. It has no endpoints and takes no requests: Envoy asks for a secret only
// when a configuration names it, and of what can name a generic secret only a cluster, by a filter for its requests,
// waits until the secret is there. A route that came first would use a value that Envoy does not have yet.
func (b *builder) valueCluster(r *incr.Reader, k BackendKey) (*xds.Resource, bool) {
	_, owners, ok := b.valueOf(r, k.Backend)
	if !ok {
		return nil, false
	}
	injector := &injectorv3.CredentialInjector{Credential: &corev3.TypedExtensionConfig{
		Name:        "envoy.http.injected_credentials.generic",
		TypedConfig: toAny(&genericv3.Generic{Credential: feature.ValueConfig(k.Backend)}),
	}}
	options := &httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{},
			},
		},
		HttpFilters: []*hcmv3.HttpFilter{
			upstreamFilter("envoy.filters.http.credential_injector", toAny(injector)),
			upstreamFilter("envoy.filters.http.upstream_codec", toAny(&codecv3.UpstreamCodec{})),
		},
	}
	name := k.Backend.String()
	body := marshal(&clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": toAny(options),
		},
	})
	return &xds.Resource{Name: name, Body: body, Hash: hash(body), Owners: owners}, true
}

func upstreamFilter(name string, config *anypb.Any) *hcmv3.HttpFilter {
	return &hcmv3.HttpFilter{Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: config}}
}

func secretOwners(secret model.Name) []model.Ref {
	return []model.Ref{{Kind: model.KindSecret, Name: secret}}
}

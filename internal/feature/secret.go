package feature

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/model"
)

// secretTimeout bounds how long what is new waits for a value, or for CA certificates: without these nobody gets in.
const secretTimeout = 5 * time.Second

// Secret returns how a filter gets the value that a Secret has under a key, and notes that it is needed. Envoy has it
// as a generic secret, by SDS: it is in no configuration that Envoy shows, and a new value changes no route. That the
// Secret may be referred to and has the key has to be checked before.
func (s *Scope) Secret(secret model.Name, key string) *tlsv3.SdsSecretConfig {
	value := model.SecretValue(secret, key)
	s.Needs = append(s.Needs, value)
	return ValueConfig(value)
}

// SessionKey is [Scope.Secret] for the key of the sessions that a policy begins: see [model.SessionKey].
func (s *Scope) SessionKey(policy model.Name, of string) *tlsv3.SdsSecretConfig {
	value := model.SessionKey(policy, of)
	s.Needs = append(s.Needs, value)
	return ValueConfig(value)
}

// ValueConfig is how Envoy gets a value. It is the same wherever the value is used: to Envoy the same name from another
// configuration would be another secret, to be waited for again.
func ValueConfig(value model.BackendKey) *tlsv3.SdsSecretConfig { return sds(value.String()) }

// TrustConfig is how Envoy gets the CA certificates of a trust, and what they have revoked. As ValueConfig it is the
// same everywhere.
func TrustConfig(trust model.Trust) *tlsv3.SdsSecretConfig { return sds(trust.String()) }

func sds(name string) *tlsv3.SdsSecretConfig {
	return &tlsv3.SdsSecretConfig{Name: name, SdsConfig: &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(secretTimeout),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}}
}

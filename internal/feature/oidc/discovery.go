package oidc

import (
	"encoding/json"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

const (
	// wellKnown is where a provider describes itself, behind its issuer (OpenID Connect Discovery 1.0, section 4).
	wellKnown = "/.well-known/openid-configuration"
	// maxDocument is the size in bytes of the largest description that is read.
	maxDocument = 1 << 20
	// rediscovery is how often it is looked for again.
	rediscovery = time.Hour
)

// endpoints are where a provider is asked.
type endpoints struct {
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	EndSession    string `json:"end_session_endpoint"`
}

// discovers reports whether endpoints that are needed have to be discovered.
func discovers(spec *egv1a1.OIDCProvider) bool {
	return spec.AuthorizationEndpoint == nil || spec.TokenEndpoint == nil
}

// discovery returns the reference to the description of a provider.
func discovery(spec *egv1a1.OIDCProvider, path string) resolve.Reference {
	return resolve.Reference{Path: path + ".issuer", Fetch: &resolve.FetchReference{
		Kind: model.FetchHTTP, URL: strings.TrimRight(spec.Issuer, "/") + wellKnown, Limit: maxDocument, Every: rediscovery,
	}}
}

// endpointsOf returns the endpoints of the provider: those that are given, else those that it describes.
func endpointsOf(a model.Attached) endpoints {
	spec := &a.Spec.(*egv1a1.OIDC).Provider
	var out endpoints
	if discovers(spec) && len(a.Fetched) > 0 {
		out, _ = readDescription(a.Fetched[0].Data) // refused by Check
	}
	return endpoints{
		Authorization: policy.Or(spec.AuthorizationEndpoint, out.Authorization),
		Token:         policy.Or(spec.TokenEndpoint, out.Token),
		EndSession:    policy.Or(spec.EndSessionEndpoint, out.EndSession),
	}
}

// readDescription reads the description of a provider.
func readDescription(data []byte) (endpoints, bool) {
	var out endpoints
	if err := json.Unmarshal(data, &out); err != nil {
		return endpoints{}, false
	}
	return out, true
}

// discovered checks what the provider says of itself. What it says is not repeated: it may be another server.
func (c *checker) discovered(spec *egv1a1.OIDCProvider, a model.Attached) {
	const path = ".provider.issuer"
	if len(a.Fetched) == 0 {
		c.Add(path, "The endpoints of the provider are not known: name authorizationEndpoint and tokenEndpoint")
		return
	}
	found, ok := readDescription(a.Fetched[0].Data)
	if !ok {
		c.Add(path, "What is at %s%s is no description of an OpenID Connect provider: is the issuer right?",
			strings.TrimRight(spec.Issuer, "/"), wellKnown)
		return
	}
	for _, e := range []struct {
		name, value  string
		given, needs bool
	}{
		{"authorizationEndpoint", found.Authorization, spec.AuthorizationEndpoint != nil, true},
		{"tokenEndpoint", found.Token, spec.TokenEndpoint != nil, true},
		{"endSessionEndpoint", found.EndSession, spec.EndSessionEndpoint != nil, false},
	} {
		if e.given || e.value == "" && !e.needs {
			continue
		}
		// Secrets are sent there: whoever is asked by https has to answer with https.
		if server, ok := model.Server(e.value); !ok || !server.SecureServer() || strings.ContainsFunc(e.value, unsafe) {
			c.Add(path, "The provider does not say where its %s is, by https: name it", e.name)
		}
	}
}

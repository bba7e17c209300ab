// Package oidc is SecurityPolicy.oidc: let in who has logged in at an OpenID Connect provider, and send everybody else
// there.
//
// It is Envoy's oauth2. provider.tokenEndpoint is token_endpoint, asked through the cluster of provider.backendRefs, or
// of the URL's own host; backendSettings has its retry_policy, timeout (10s), and what is the cluster's.
// authorizationEndpoint and endSessionEndpoint are what they are called; if that or tokenEndpoint is not given, all
// that are not are those that the provider describes at its issuer. clientID (or clientIDRef) and clientSecret are the
// credentials, sent by HTTP Basic authentication. scopes (with openid), resources, redirectURL (redirect_uri, and the
// path of redirect_path_matcher), logoutPath (signout_path, /logout), forwardAccessToken (forward_bearer_token; without
// it what the client has in authorization is kept), forwardIDToken (forward_id_token), refreshToken (use_refresh_token,
// true), defaultTokenTTL (default_expires_in), defaultRefreshTokenTTL, denyRedirect (deny_redirect_matcher),
// passThroughAuthHeader (pass_through_matcher, of the headers that the policy's JWT providers read), cookieNames,
// cookieDomain, cookieConfig and disableTokenEncryption are theirs.
//
// csrfTokenTTL bounds how long a login may take, so it is that of both cookies that a login needs:
// csrf_token_expires_in and code_verifier_token_expires_in. These two cookies are sent to the redirect path only, and
// with sameSite Strict they are Lax: with Strict nobody could come back from the provider.
//
// Browsers drop cookies above 4 KiB, and a session of which one is missing does not hold: its user would be sent to log
// in for ever. So no cookie holds a token that nobody asks for (disable_id_token_set_cookie and its like): the access
// token is kept if it is forwarded or its cookie has a name, the ID token also for endSessionEndpoint, the refresh
// token for refreshToken.
//
// The names of cookies end in a digest of the policy's name: sessions of several policies at one host are kept apart.
// What signs and encrypts them is a key that only the control plane can make ([feature.Scope.SessionKey]): another one
// for each policy, so that nobody gets into the routes of a policy with a session of another, and for each provider and
// client, so that sessions end when a policy turns to others.
//
// Nothing of a token is verified: it has come from the provider itself. Who wants to decide by what is in it adds jwt
// to the policy.
package oidc

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of SecurityPolicy.oidc.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

const (
	loginFilter = "envoy.filters.http.oauth2"
	cleanFilter = "envoy.filters.http.oauth2/clean"
)

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".oidc" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns the provider, and the Secrets of the client.
func (Feature) References(a model.Attached) []resolve.Reference {
	spec, path := a.Spec.(*egv1a1.OIDC), a.Path+".provider"
	var out []resolve.Reference
	if discovers(&spec.Provider) {
		out = append(out, discovery(&spec.Provider, path))
	}
	if backends := policy.BackendReferences(&spec.Provider.BackendCluster, path, model.AppHTTP); len(backends) > 0 {
		out = append(out, backends...)
	} else {
		out = append(out, resolve.Reference{
			Path: path + ".tokenEndpoint", URL: endpointsOf(a).Token,
			Settings: policy.OfCluster(spec.Provider.BackendSettings),
		})
	}
	if spec.ClientIDRef != nil {
		out = append(out, resolve.Reference{
			Path: a.Path + ".clientIDRef", Object: resolve.SecretReference(*spec.ClientIDRef),
		})
	}
	return append(out, resolve.Reference{
		Path: a.Path + ".clientSecret", Object: resolve.SecretReference(spec.ClientSecret),
	})
}

// client is who the policy is to the provider.
type client struct {
	// id is the client's, idSecret the Secret that has it, nil if it is in the policy.
	id       string
	idSecret *model.Object
	// secret has the client's secret.
	secret model.Object
}

// clientOf returns the client, from what its references lead to.
func clientOf(a model.Attached) client {
	spec, objects := a.Spec.(*egv1a1.OIDC), a.Objects
	out := client{id: policy.Or(spec.ClientID, "")}
	if spec.ClientIDRef != nil && len(objects) > 0 {
		out.idSecret = &objects[0]
		out.id = strings.TrimRight(string(objects[0].Data[egv1a1.OIDCClientIDKey]), "\r\n")
		objects = objects[1:]
	}
	if len(objects) > 0 {
		out.secret = objects[0]
	}
	return out
}

// HTTPFilters adds the filter that removes a header that is the provider's, and the one that has clients log in.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.OIDC)
	if forward := spec.ForwardIDToken; forward != nil && !strings.EqualFold(forward.Header, "authorization") {
		s.Add(cleanFilter, &headerv3.HeaderMutation{Mutations: &headerv3.Mutations{
			RequestMutations: []*mutationv3.HeaderMutation{{
				Action: &mutationv3.HeaderMutation_Remove{Remove: strings.ToLower(forward.Header)},
			}},
		}})
	}
	s.Add(loginFilter, &oauth2v3.OAuth2{Config: config(s, spec, a)})
}

// digest returns a short text that is another one for other parts.
func digest(parts ...string) string {
	sum := sha256.New()
	for _, part := range parts {
		one := sha256.Sum256([]byte(part))
		_, _ = sum.Write(one[:]) // never fails
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

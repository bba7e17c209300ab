package oidc

import (
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Envoy Gateway's defaults.
const (
	defaultRedirect = "%REQ(x-forwarded-proto)%://%REQ(:authority)%/oauth2/callback"
	defaultLogout   = "/logout"
	tokenTimeout    = 10 * time.Second
	openID          = "openid"
)

// config is what the filter is told.
func config(s *feature.Scope, spec *egv1a1.OIDC, a model.Attached) *oauth2v3.OAuth2Config {
	provider, at := &spec.Provider, endpointsOf(a)
	redirect := policy.Or(spec.RedirectURL, defaultRedirect)
	_, path, _ := splitRedirect(redirect) // refused by Check
	server := s.Use(policy.Backend(&provider.BackendCluster, a.Backends))
	out := &oauth2v3.OAuth2Config{
		TokenEndpoint: &corev3.HttpUri{
			Uri:              at.Token,
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: server},
			Timeout:          durationpb.New(policy.RequestTimeout(provider.BackendSettings, tokenTimeout)),
		},
		RetryPolicy:            policy.RetryPolicy(provider.BackendSettings),
		AuthorizationEndpoint:  at.Authorization,
		EndSessionEndpoint:     at.EndSession,
		Credentials:            credentials(s, spec, a),
		RedirectUri:            redirect,
		RedirectPathMatcher:    exactPath(path),
		SignoutPath:            exactPath(policy.Or(spec.LogoutPath, defaultLogout)),
		AuthScopes:             withOpenID(spec.Scopes),
		Resources:              spec.Resources,
		AuthType:               oauth2v3.OAuth2Config_BASIC_AUTH,
		CookieConfigs:          cookieConfigs(spec, path),
		DenyRedirectMatcher:    denied(spec.DenyRedirect),
		DisableTokenEncryption: policy.Or(spec.DisableTokenEncryption, false),
	}
	tokens(out, spec)
	if policy.Or(spec.PassThroughAuthHeader, false) {
		out.PassThroughMatcher = passed(s.Attached)
	}
	return out
}

// tokens says what becomes of tokens: which are forwarded, how long they hold, and which are kept in cookies.
func tokens(out *oauth2v3.OAuth2Config, spec *egv1a1.OIDC) {
	access, refresh := policy.Or(spec.ForwardAccessToken, false), policy.Or(spec.RefreshToken, true)
	out.ForwardBearerToken, out.UseRefreshToken = access, wrapperspb.Bool(refresh)
	// Envoy takes only one that says what is in the header.
	out.PreserveAuthorizationHeader = !access
	if forward := spec.ForwardIDToken; forward != nil {
		out.ForwardIdToken = &oauth2v3.OAuth2TokenForwarding{Header: forward.Header}
		if strings.EqualFold(forward.Header, "authorization") {
			out.PreserveAuthorizationHeader = false
		}
	}
	out.DefaultExpiresIn = policy.Duration(spec.DefaultTokenTTL)
	out.DefaultRefreshTokenExpiresIn = policy.Duration(spec.DefaultRefreshTokenTTL)
	out.CsrfTokenExpiresIn = policy.Duration(spec.CSRFTokenTTL)
	out.CodeVerifierTokenExpiresIn = policy.Duration(spec.CSRFTokenTTL)
	names := policy.Or(spec.CookieNames, egv1a1.OIDCCookieNames{})
	out.DisableAccessTokenSetCookie = !access && names.AccessToken == nil
	out.DisableIdTokenSetCookie = spec.ForwardIDToken == nil && names.IDToken == nil && out.GetEndSessionEndpoint() == ""
	out.DisableRefreshTokenSetCookie = !refresh
}

// credentials are those of the client, and of the sessions.
func credentials(s *feature.Scope, spec *egv1a1.OIDC, a model.Attached) *oauth2v3.OAuth2Credentials {
	who := clientOf(a)
	suffix := "-" + digest(a.Source.Namespace, a.Source.Name.Name)
	names := &oauth2v3.OAuth2Credentials_CookieNames{
		BearerToken: "AccessToken" + suffix, OauthHmac: "OauthHMAC" + suffix, OauthExpires: "OauthExpires" + suffix,
		IdToken: "IdToken" + suffix, RefreshToken: "RefreshToken" + suffix, OauthNonce: "OauthNonce" + suffix,
		CodeVerifier: "CodeVerifier" + suffix,
	}
	if own := spec.CookieNames; own != nil {
		names.BearerToken = policy.Or(own.AccessToken, names.GetBearerToken())
		names.IdToken = policy.Or(own.IDToken, names.GetIdToken())
	}
	return &oauth2v3.OAuth2Credentials{
		ClientId:    who.id,
		TokenSecret: s.Secret(who.secret.Ref.Name, egv1a1.OIDCClientSecretKey),
		TokenFormation: &oauth2v3.OAuth2Credentials_HmacSecret{
			HmacSecret: s.SessionKey(a.Source.Name, digest(spec.Provider.Issuer, who.id)),
		},
		CookieNames:  names,
		CookieDomain: policy.Or(spec.CookieDomain, ""),
	}
}

// cookieConfigs are the attributes of cookies. Those of a login that is under way are for the redirect path alone: if
// it is never finished, they are in no other request's way.
func cookieConfigs(spec *egv1a1.OIDC, redirectPath string) *oauth2v3.CookieConfigs {
	out := &oauth2v3.CookieConfigs{
		OauthNonceCookieConfig:   &oauth2v3.CookieConfig{Path: redirectPath},
		CodeVerifierCookieConfig: &oauth2v3.CookieConfig{Path: redirectPath},
	}
	if spec.CookieConfig == nil || spec.CookieConfig.SameSite == nil {
		return out
	}
	site := sameSites[egv1a1.SameSite(*spec.CookieConfig.SameSite)]
	kept := func() *oauth2v3.CookieConfig { return &oauth2v3.CookieConfig{SameSite: site} }
	out.BearerTokenCookieConfig, out.OauthHmacCookieConfig, out.OauthExpiresCookieConfig = kept(), kept(), kept()
	out.IdTokenCookieConfig, out.RefreshTokenCookieConfig = kept(), kept()
	if site == oauth2v3.CookieConfig_STRICT {
		site = oauth2v3.CookieConfig_LAX // whoever comes back from the provider comes from another site
	}
	out.OauthNonceCookieConfig.SameSite, out.CodeVerifierCookieConfig.SameSite = site, site
	return out
}

var sameSites = map[egv1a1.SameSite]oauth2v3.CookieConfig_SameSite{
	egv1a1.SameSiteLax:    oauth2v3.CookieConfig_LAX,
	egv1a1.SameSiteStrict: oauth2v3.CookieConfig_STRICT,
	egv1a1.SameSiteNone:   oauth2v3.CookieConfig_NONE,
}

// withOpenID returns the scopes with the one that makes it OpenID Connect.
func withOpenID(scopes []string) []string {
	if slices.Contains(scopes, openID) {
		return scopes
	}
	return append(slices.Clone(scopes), openID)
}

func exactPath(path string) *matcherv3.PathMatcher {
	return &matcherv3.PathMatcher{Rule: &matcherv3.PathMatcher_Path{Path: &matcherv3.StringMatcher{
		MatchPattern: &matcherv3.StringMatcher_Exact{Exact: path},
	}}}
}

// denied are the requests that are not sent to log in.
func denied(spec *egv1a1.OIDCDenyRedirect) []*routev3.HeaderMatcher {
	if spec == nil {
		return nil
	}
	var out []*routev3.HeaderMatcher
	for _, h := range spec.Headers {
		out = append(out, headerMatcher(h.Name, policy.Matcher(h.StringMatch)))
	}
	return out
}

func headerMatcher(name string, value *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{
		Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value},
	}
}

// passed are the requests that have a token where one of the policy's JWT providers looks for it.
func passed(attached []model.Attached) []*routev3.HeaderMatcher {
	var out []*routev3.HeaderMatcher
	for _, h := range tokenHeaders(attached) {
		if h.ValuePrefix == nil {
			out = append(out, &routev3.HeaderMatcher{
				Name: h.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
			})
			continue
		}
		out = append(out, headerMatcher(h.Name, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: *h.ValuePrefix},
		}))
	}
	return out
}

// tokenHeaders are the headers that the JWT providers among the attached configurations read tokens from.
func tokenHeaders(attached []model.Attached) []egv1a1.JWTHeaderExtractor {
	var out []egv1a1.JWTHeaderExtractor
	for _, a := range attached {
		spec, ok := a.Spec.(*egv1a1.JWT)
		if !ok {
			continue
		}
		for i := range spec.Providers {
			if from := spec.Providers[i].ExtractFrom; from != nil {
				out = append(out, from.Headers...)
				continue
			}
			out = append(out, egv1a1.JWTHeaderExtractor{Name: "authorization", ValuePrefix: new("Bearer ")})
		}
	}
	return out
}

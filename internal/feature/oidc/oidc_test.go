package oidc

import (
	"strings"
	"testing"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	oauth2v3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/oauth2/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/featuretest"
	"github.com/sluice-gateway/sluice/internal/model"
)

func TestGolden(t *testing.T) {
	featuretest.Golden[egv1a1.OIDC](t, Feature{})
}

// with returns a policy that can be applied, changed.
func with(change func(*egv1a1.OIDC)) *egv1a1.OIDC {
	spec := &egv1a1.OIDC{
		Provider: egv1a1.OIDCProvider{
			Issuer:                "https://issuer.example",
			AuthorizationEndpoint: new("https://issuer.example/authorize"), TokenEndpoint: new("https://issuer.example/token"),
		},
		ClientID: new("shop"), ClientSecret: gwv1.SecretObjectReference{Name: "client"},
	}
	change(spec)
	return spec
}

func attached(spec *egv1a1.OIDC, objects ...featuretest.Object) model.Attached {
	a := model.Attached{
		Feature: Feature{}.Name(), Spec: spec, Path: "spec.oidc",
		Source: model.Ref{Kind: model.KindSecurityPolicy, Name: model.Name{Namespace: "ns", Name: "p"}},
	}
	for _, o := range objects {
		a.Objects = append(a.Objects, o.Model())
	}
	return a
}

func secret(key, value string) featuretest.Object {
	return featuretest.Object{Name: "client", Data: map[string]string{key: value}}
}

func TestCheck(t *testing.T) {
	good := secret("client-secret", "s3cret")
	tests := map[string]struct {
		change func(*egv1a1.OIDC)
		want   string
	}{
		"good":        {func(*egv1a1.OIDC) {}, ""},
		"no token":    {func(s *egv1a1.OIDC) { s.Provider.TokenEndpoint = nil }, "are not known"},
		"token":       {func(s *egv1a1.OIDC) { s.Provider.TokenEndpoint = new("issuer/token") }, "no URL"},
		"login":       {func(s *egv1a1.OIDC) { s.Provider.AuthorizationEndpoint = new("https://a b/") }, "no URL"},
		"end":         {func(s *egv1a1.OIDC) { s.Provider.EndSessionEndpoint = new("javascript:alert(1)") }, "no URL"},
		"issuer":      {func(s *egv1a1.OIDC) { s.Provider.Issuer = "https://me:x@issuer.example" }, "no URL"},
		"no client":   {func(s *egv1a1.OIDC) { s.ClientID = new("") }, "ID is empty"},
		"two clients": {func(s *egv1a1.OIDC) { s.ClientIDRef = &gwv1.SecretObjectReference{} }, "two IDs"},
		"cookie": {func(s *egv1a1.OIDC) {
			s.CookieNames = &egv1a1.OIDCCookieNames{IDToken: new("a;b")}
		}, "that of a cookie"},
		"domain":       {func(s *egv1a1.OIDC) { s.CookieDomain = new("a.com;path=/") }, "is none"},
		"same site":    {func(s *egv1a1.OIDC) { s.CookieConfig = &egv1a1.OIDCCookieConfig{SameSite: new("x")} }, "not known"},
		"scope":        {func(s *egv1a1.OIDC) { s.Scopes = []string{"a b"} }, "in each entry"},
		"resource":     {func(s *egv1a1.OIDC) { s.Resources = []string{"/api"} }, "no absolute URI"},
		"redirect":     {func(s *egv1a1.OIDC) { s.RedirectURL = new("https://a.com/back") }, ""},
		"redirect /":   {func(s *egv1a1.OIDC) { s.RedirectURL = new("https://a.com/") }, "none to come back to"},
		"query":        {func(s *egv1a1.OIDC) { s.RedirectURL = new("https://a.com/back?a=b") }, "none to come back to"},
		"host":         {func(s *egv1a1.OIDC) { s.RedirectURL = new("https://%REQ(x-forwarded-host)%/b") }, "come back to"},
		"operator":     {func(s *egv1a1.OIDC) { s.RedirectURL = new("https://a.com/%ENVIRONMENT(HOME)%") }, "back to"},
		"request":      {func(s *egv1a1.OIDC) { s.RedirectURL = new("%REQ(X-Forwarded-Proto)%://%REQ(:authority)%/b") }, ""},
		"logout":       {func(s *egv1a1.OIDC) { s.LogoutPath = new("bye") }, "a session can end at"},
		"same path":    {func(s *egv1a1.OIDC) { s.LogoutPath = new("/oauth2/callback") }, "of the redirectURL too"},
		"token time":   {func(s *egv1a1.OIDC) { s.DefaultTokenTTL = new(gwv1.Duration("x")) }, "Invalid duration"},
		"refresh time": {func(s *egv1a1.OIDC) { s.DefaultRefreshTokenTTL = new(gwv1.Duration("1ms")) }, "too short"},
		"login time":   {func(s *egv1a1.OIDC) { s.CSRFTokenTTL = new(gwv1.Duration("0s")) }, "too short"},
		"forward": {func(s *egv1a1.OIDC) {
			s.ForwardIDToken = &egv1a1.OIDCTokenForwarding{Header: "Connection"}
		}, "managed by Envoy"},
		"forward host": {func(s *egv1a1.OIDC) {
			s.ForwardIDToken = &egv1a1.OIDCTokenForwarding{Header: "Host"}
		}, "cannot be the host"},
		"both in one": {func(s *egv1a1.OIDC) {
			s.ForwardAccessToken, s.ForwardIDToken = new(true), &egv1a1.OIDCTokenForwarding{Header: "Authorization"}
		}, "access token is in this header"},
		"deny": {func(s *egv1a1.OIDC) {
			s.DenyRedirect = &egv1a1.OIDCDenyRedirect{Headers: []egv1a1.OIDCDenyRedirectHeader{{
				Name: "x", StringMatch: egv1a1.StringMatch{Type: new(egv1a1.StringMatchRegularExpression), Value: "("},
			}}}
		}, "regular expression"},
		"deny name": {func(s *egv1a1.OIDC) {
			s.DenyRedirect = &egv1a1.OIDCDenyRedirect{Headers: []egv1a1.OIDCDenyRedirectHeader{{Name: "x y"}}}
		}, "not a header name"},
		"backends": {func(s *egv1a1.OIDC) { s.Provider.BackendRefs = []egv1a1.BackendRef{{Weight: new(uint32)}} },
			"No backend would get requests"},
		"pass": {func(s *egv1a1.OIDC) { s.PassThroughAuthHeader = new(true) }, "Nothing would check the token"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			featuretest.Expect(t, Feature{}.Check(attached(with(tt.change), good), &model.Rule{}), tt.want)
		})
	}
}

// TestDiscovery takes from what a provider says of itself what is not given, and only what is safe.
func TestDiscovery(t *testing.T) {
	neither := func(s *egv1a1.OIDC) { s.Provider.AuthorizationEndpoint, s.Provider.TokenEndpoint = nil, nil }
	const good = `{"authorization_endpoint":"https://i.example/a","token_endpoint":"https://t.example:8443/t",` +
		`"end_session_endpoint":"https://i.example/e"}`
	for _, tt := range []struct {
		change  func(*egv1a1.OIDC)
		fetched string
		want    string
	}{
		{neither, good, ""},
		{neither, `<html>`, "no description of an OpenID Connect provider"},
		{neither, `{"authorization_endpoint":"https://i.example/a"}`, "where its tokenEndpoint is"},
		{neither, strings.Replace(good, "https://t", "http://t", 1), "where its tokenEndpoint is"},
		{neither, strings.Replace(good, "https://i.example/e", "javascript:alert(1)", 1), "where its endSessionEndpoint is"},
		{
			func(s *egv1a1.OIDC) { s.Provider.AuthorizationEndpoint = nil },
			`{"authorization_endpoint":"https://i.example/a"}`, "",
		},
	} {
		a := attached(with(tt.change), secret("client-secret", "s3cret"))
		a.Fetched = []model.Fetched{featuretest.Fetched(tt.fetched)}
		featuretest.Expect(t, Feature{}.Check(a, &model.Rule{}), tt.want)
	}
	a := attached(with(neither), secret("client-secret", "s3cret"))
	before := Feature{}.References(a)
	a.Fetched = []model.Fetched{featuretest.Fetched(good)}
	after := Feature{}.References(a)
	if len(before) != 3 || before[0].Fetch.URL != "https://issuer.example/.well-known/openid-configuration" ||
		before[1].URL != "" || after[1].URL != "https://t.example:8443/t" || after[1].Path != before[1].Path {
		t.Errorf("before it is fetched %+v, then %+v", before, after)
	}
	got := configOf(t, a)
	if got.GetTokenEndpoint().GetUri() != after[1].URL || got.GetAuthorizationEndpoint() != "https://i.example/a" ||
		got.GetEndSessionEndpoint() != "https://i.example/e" || got.GetDisableIdTokenSetCookie() {
		t.Errorf("got %v", got)
	}
}

// TestCheckSecrets looks into the client's Secrets, and shows nothing of them.
func TestCheckSecrets(t *testing.T) {
	tests := []struct {
		object featuretest.Object
		want   string
	}{
		{secret("client-secret", "s3cret"), ""},
		{secret("password", "s3cret"), "nothing under the key client-secret"},
		{secret("client-secret", "s3cret\n"), "line break"},
		{featuretest.Object{
			Kind: "ConfigMap", Name: "c", Data: map[string]string{"client-secret": "s3cret"},
		}, "not a Secret"},
	}
	for _, tt := range tests {
		problems := Feature{}.Check(attached(with(func(*egv1a1.OIDC) {}), tt.object), &model.Rule{})
		featuretest.Expect(t, problems, tt.want)
		for _, p := range problems {
			if strings.Contains(p.Message, "s3cret") {
				t.Errorf("the message shows the secret: %s", p.Message)
			}
		}
	}
	byRef := with(func(s *egv1a1.OIDC) { s.ClientID, s.ClientIDRef = nil, &gwv1.SecretObjectReference{Name: "id"} })
	problems := Feature{}.Check(attached(byRef, secret("id", "x"), secret("client-secret", "s3cret")), &model.Rule{})
	featuretest.Expect(t, problems, "nothing under the key client-id")
}

// TestPassing lets pass by the login only what the policy's own JWT providers verify.
func TestPassing(t *testing.T) {
	passing := with(func(s *egv1a1.OIDC) { s.PassThroughAuthHeader = new(true) })
	jwt := func(change func(*egv1a1.JWT)) *egv1a1.JWT {
		spec := &egv1a1.JWT{Providers: []egv1a1.JWTProvider{
			{Name: "a"}, {Name: "b", ExtractFrom: &egv1a1.JWTExtractor{
				Headers: []egv1a1.JWTHeaderExtractor{{Name: "x-token"}, {Name: "x-other", ValuePrefix: new("Token ")}},
				Cookies: []string{"c"},
			}},
		}}
		change(spec)
		return spec
	}
	forward := with(func(s *egv1a1.OIDC) {
		s.PassThroughAuthHeader, s.ForwardIDToken = new(true), &egv1a1.OIDCTokenForwarding{Header: "X-Token"}
	})
	for _, tt := range []struct {
		spec *egv1a1.OIDC
		jwt  *egv1a1.JWT
		want string
	}{
		{passing, jwt(func(*egv1a1.JWT) {}), ""},
		{passing, jwt(func(j *egv1a1.JWT) { j.Optional = new(true) }), ""},
		{passing, jwt(func(j *egv1a1.JWT) { j.FailOpen = new(true) }), "let everybody in"},
		{passing, jwt(func(j *egv1a1.JWT) {
			j.Providers = j.Providers[1:]
			j.Providers[0].ExtractFrom.Headers = nil
		}), "Nothing would check"},
		{forward, jwt(func(*egv1a1.JWT) {}), "reads tokens of clients"},
	} {
		a := attached(tt.spec, secret("client-secret", "s3cret"))
		rule := &model.Rule{Attached: []model.Attached{a, {Feature: "SecurityPolicy.jwt", Spec: tt.jwt}}}
		featuretest.Expect(t, Feature{}.Check(a, rule), tt.want)
	}
}

// configOf returns what the filter of a policy is told.
func configOf(t *testing.T, a model.Attached) *oauth2v3.OAuth2Config {
	t.Helper()
	scope := &feature.Scope{}
	feature.NewChain(Feature{}).Filters(scope, []model.Attached{a})
	out := &oauth2v3.OAuth2{}
	if err := scope.Filters[len(scope.Filters)-1].GetTypedConfig().UnmarshalTo(out); err != nil {
		t.Fatal(err)
	}
	return out.GetConfig()
}

// TestSessionsAreApart says that no session is one of another policy, provider or client. (Case A29.)
func TestSessionsAreApart(t *testing.T) {
	plain := func(change func(*egv1a1.OIDC)) model.Attached {
		return attached(with(change), secret("client-secret", "s3cret"))
	}
	other := plain(func(*egv1a1.OIDC) {})
	other.Source.Name.Name = "q"
	elsewhere := plain(func(*egv1a1.OIDC) {})
	elsewhere.Source.Namespace, elsewhere.Source.Name.Name = "n", "s-p"
	keys, cookies := map[string]string{}, map[string]string{}
	for name, a := range map[string]model.Attached{
		"the policy":       plain(func(*egv1a1.OIDC) {}),
		"another issuer":   plain(func(s *egv1a1.OIDC) { s.Provider.Issuer = "https://other.example" }),
		"another client":   plain(func(s *egv1a1.OIDC) { s.ClientID = new("other") }),
		"another policy":   other,
		"in another place": elsewhere,
	} {
		credentials := configOf(t, a).GetCredentials()
		key := credentials.GetHmacSecret().GetName()
		if before, ok := keys[key]; ok {
			t.Errorf("the sessions of %s and %s have one key, %s", before, name, key)
		}
		keys[key] = name
		cookies[credentials.GetCookieNames().GetOauthHmac()] = name
	}
	if len(cookies) != 3 {
		t.Errorf("three policies have the cookies %v", cookies)
	}
}

// TestCookies keeps in cookies what somebody asks for, and nothing else: a large token would end the session.
func TestCookies(t *testing.T) {
	for name, tt := range map[string]struct {
		change              func(*egv1a1.OIDC)
		access, id, refresh bool
	}{
		"nothing":    {func(*egv1a1.OIDC) {}, false, false, true},
		"no refresh": {func(s *egv1a1.OIDC) { s.RefreshToken = new(false) }, false, false, false},
		"forwarded":  {func(s *egv1a1.OIDC) { s.ForwardAccessToken = new(true) }, true, false, true},
		"access name": {func(s *egv1a1.OIDC) {
			s.CookieNames = &egv1a1.OIDCCookieNames{AccessToken: new("a")}
		}, true, false, true},
		"ID name": {func(s *egv1a1.OIDC) {
			s.CookieNames = &egv1a1.OIDCCookieNames{IDToken: new("a")}
		}, false, true, true},
		"ID": {func(s *egv1a1.OIDC) {
			s.ForwardIDToken = &egv1a1.OIDCTokenForwarding{Header: "x-id"}
		}, false, true, true},
		"logout": {func(s *egv1a1.OIDC) {
			s.Provider.EndSessionEndpoint = new("https://issuer.example/end")
		}, false, true, true},
	} {
		got := configOf(t, attached(with(tt.change), secret("client-secret", "s3cret")))
		if got.GetDisableAccessTokenSetCookie() == tt.access || got.GetDisableIdTokenSetCookie() == tt.id ||
			got.GetDisableRefreshTokenSetCookie() == tt.refresh {
			t.Errorf("%s: kept are not access %v, ID %v, refresh %v in %v", name, tt.access, tt.id, tt.refresh, got)
		}
	}
}

package oidc

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Check refuses what Envoy cannot be told, and what would let requests in that have not logged in.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.OIDC)
	c := &checker{}
	c.provider(&spec.Provider, a)
	c.client(a)
	c.cookies(spec)
	c.paths(spec)
	c.lists(spec)
	c.forwarding(spec)
	c.Duration(".defaultTokenTTL", spec.DefaultTokenTTL, 0)
	c.Duration(".defaultRefreshTokenTTL", spec.DefaultRefreshTokenTTL, time.Second)
	c.Duration(".csrfTokenTTL", spec.CSRFTokenTTL, time.Second)
	if policy.Or(spec.PassThroughAuthHeader, false) {
		c.passing(spec, rule.Attached)
	}
	return c.Refusals
}

// checker collects what is wrong.
type checker struct{ policy.Refusals }

func (c *checker) provider(spec *egv1a1.OIDCProvider, a model.Attached) {
	c.Backends(".provider", &spec.BackendCluster)
	c.endpoint(".provider.issuer", &spec.Issuer, "https://issuer.example")
	c.endpoint(".provider.authorizationEndpoint", spec.AuthorizationEndpoint, "https://issuer.example/authorize")
	c.endpoint(".provider.tokenEndpoint", spec.TokenEndpoint, "https://issuer.example/token")
	c.endpoint(".provider.endSessionEndpoint", spec.EndSessionEndpoint, "https://issuer.example/logout")
	if discovers(spec) {
		c.discovered(spec, a)
	}
}

func (c *checker) endpoint(path string, text *string, like string) {
	if text == nil {
		return
	}
	if _, ok := model.Server(*text); !ok || strings.ContainsFunc(*text, unsafe) {
		c.Add(path, "The address %q is no URL of an HTTP server: write it like %s", *text, like)
	}
}

// unsafe are characters that are in no URL, path or cookie.
func unsafe(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"<>\^{|}`+"`", r) }

func control(r rune) bool { return r < ' ' || r == 0x7f }

// client checks the client's Secrets. No message shows what is in them.
func (c *checker) client(a model.Attached) {
	spec, who := a.Spec.(*egv1a1.OIDC), clientOf(a)
	where := ".clientID"
	switch {
	case spec.ClientIDRef != nil && spec.ClientID != nil:
		c.Add(".clientIDRef", "There are two IDs: keep clientID or clientIDRef")
		return
	case who.idSecret != nil:
		where = ".clientIDRef"
		c.inSecret(where, *who.idSecret, egv1a1.OIDCClientIDKey)
	}
	if where == ".clientID" && who.id == "" || strings.ContainsFunc(who.id, control) {
		c.Add(where, "The client's ID is empty, or has control characters: copy it from the provider")
	}
	if len(a.Objects) > 0 {
		c.inSecret(".clientSecret", who.secret, egv1a1.OIDCClientSecretKey)
	}
}

// inSecret checks that a Secret has a text under a key.
func (c *checker) inSecret(path string, secret model.Object, key string) {
	value := string(secret.Data[key])
	switch {
	case secret.Ref.Kind != model.KindSecret:
		c.Add(path, "%s is not a Secret: name one", secret.Ref)
	case value == "":
		c.Add(path, "%s has nothing under the key %s: put it there", secret.Ref, key)
	case key == egv1a1.OIDCClientSecretKey && strings.ContainsFunc(value, control):
		c.Add(path, "What %s has under the key %s has control characters, maybe a line break at its end: remove them",
			secret.Ref, key)
	}
}

// cookieName is a token of RFC 9110, as RFC 6265 section 4.1.1 wants it.
var cookieName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")

func (c *checker) cookies(spec *egv1a1.OIDC) {
	if names := spec.CookieNames; names != nil {
		c.cookieName(".cookieNames.accessToken", names.AccessToken)
		c.cookieName(".cookieNames.idToken", names.IDToken)
		if names.AccessToken != nil && names.IDToken != nil && *names.AccessToken == *names.IDToken {
			c.Add(".cookieNames", "Both cookies have the name %q: choose two", *names.IDToken)
		}
	}
	if config := spec.CookieConfig; config != nil && config.SameSite != nil {
		if _, known := sameSites[egv1a1.SameSite(*config.SameSite)]; !known {
			c.Add(".cookieConfig.sameSite", "The value %q is not known: use Lax, Strict or None", *config.SameSite)
		}
	}
	if domain := spec.CookieDomain; domain != nil && (*domain == "" || strings.ContainsFunc(*domain, unsafe) ||
		strings.ContainsAny(*domain, ";,/:")) {
		c.Add(".cookieDomain", "The domain %q is none: write it like example.com", *domain)
	}
}

func (c *checker) cookieName(path string, name *string) {
	if name != nil && !cookieName.MatchString(*name) {
		c.Add(path, "The name %q cannot be that of a cookie: use letters, digits, - and _", *name)
	}
}

// redirectURL takes a redirect URL apart. Its host is fixed, or that of the request.
var redirectURL = regexp.MustCompile(`^(https?|%REQ\((?i:x-forwarded-proto)\)%)://` +
	`(%REQ\((?i::authority)\)%|(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?)(/.*)$`)

// splitRedirect returns the host and the path of a redirect URL.
func splitRedirect(text string) (host, path string, ok bool) {
	parts := redirectURL.FindStringSubmatch(text)
	if parts == nil {
		return "", "", false
	}
	return parts[2], parts[3], true
}

func (c *checker) paths(spec *egv1a1.OIDC) {
	logout := policy.Or(spec.LogoutPath, defaultLogout)
	if !plainPath(logout) {
		c.Add(".logoutPath", "The path %q is none that a session can end at: write it like /logout", logout)
	}
	_, path, ok := splitRedirect(policy.Or(spec.RedirectURL, defaultRedirect))
	switch {
	case !ok || !plainPath(path):
		c.Add(".redirectURL", "The address %q is none to come back to: write it like "+
			"https://www.example.com/oauth2/callback, where %%REQ(x-forwarded-proto)%% and %%REQ(:authority)%% can stand for "+
			"scheme and host", policy.Or(spec.RedirectURL, ""))
	case path == logout:
		c.Add(".logoutPath", "The path %q is that of the redirectURL too: choose another", logout)
	}
}

// plainPath says whether a path is one and nothing more, and can be the path of a cookie.
func plainPath(path string) bool {
	return strings.HasPrefix(path, "/") && path != "/" && !strings.ContainsFunc(path, unsafe) &&
		!strings.ContainsAny(path, "%?#;,")
}

func (c *checker) lists(spec *egv1a1.OIDC) {
	for i, scope := range spec.Scopes {
		if scope == "" || strings.ContainsFunc(scope, unsafe) {
			c.Add(fmt.Sprintf(".scopes[%d]", i), "The scope %q is none (RFC 6749, section 3.3): name one in each entry", scope)
		}
	}
	for i, resource := range spec.Resources {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || u.Fragment != "" {
			c.Add(fmt.Sprintf(".resources[%d]", i), "The resource %q is no absolute URI (RFC 8707, section 2)", resource)
		}
	}
	if spec.DenyRedirect == nil {
		return
	}
	for i, h := range spec.DenyRedirect.Headers {
		path := fmt.Sprintf(".denyRedirect.headers[%d]", i)
		if err := header.CheckName(h.Name); err != nil {
			c.Add(path+".name", "Invalid header: %v", err)
		}
		if policy.Or(h.Type, egv1a1.StringMatchExact) == egv1a1.StringMatchRegularExpression {
			if _, err := regexp.Compile(h.Value); err != nil {
				c.Add(path+".value", "The regular expression %q is not valid: %v", h.Value, err)
			}
		}
	}
}

func (c *checker) forwarding(spec *egv1a1.OIDC) {
	if spec.ForwardIDToken == nil {
		return
	}
	const path = ".forwardIDToken.header"
	name := spec.ForwardIDToken.Header
	if header.IsHost(name) {
		c.Add(path, "A token cannot be the host of a request: name another header")
	} else if err := header.CheckMutable(name); err != nil {
		c.Add(path, "Invalid header: %v", err)
	}
	if strings.EqualFold(name, "authorization") && policy.Or(spec.ForwardAccessToken, false) {
		c.Add(path, "The access token is in this header: name another, or leave out forwardAccessToken")
	}
}

// passing checks that whoever passes by the login is let in by the policy's JWT providers only.
func (c *checker) passing(spec *egv1a1.OIDC, attached []model.Attached) {
	const path = ".passThroughAuthHeader"
	headers := tokenHeaders(attached)
	if len(headers) == 0 {
		c.Add(path, "Nothing would check the token that is passed: add jwt to this policy, with a provider that reads a "+
			"header")
	}
	for _, a := range attached {
		if jwt, ok := a.Spec.(*egv1a1.JWT); ok && policy.Or(jwt.FailOpen, false) {
			c.Add(path, "With jwt.failOpen a token that is not valid would let everybody in: remove one of them")
		}
	}
	for _, h := range headers {
		if spec.ForwardIDToken != nil && strings.EqualFold(h.Name, spec.ForwardIDToken.Header) {
			c.Add(".forwardIDToken.header", "A JWT provider reads tokens of clients from the header %s: name another", h.Name)
		}
	}
}

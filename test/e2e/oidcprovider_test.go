package e2e

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// provider is an OpenID Connect provider at which everybody is alice and has logged in. It is as strict as the
// specifications want it: each code is good once, for the client and the redirect URL that it was asked for, and only
// with its verifier (RFC 6749, RFC 7636, OpenID Connect Core).
type provider struct {
	// lifetime is how long tokens hold, in seconds, and padding how much longer they are than need be, by client.
	lifetime, padding map[string]int
	// sign makes ID tokens.
	sign signer

	mu sync.Mutex
	// codes are the codes that were given, and refresh the refresh tokens.
	codes, refresh map[string]grant
	// refreshed is how often tokens were refreshed, refused what was refused.
	refreshed int
	refused   []string
}

// grant is what a code or a refresh token was given for.
type grant struct{ client, redirect, challenge string }

// clientSecret is that of all clients.
const clientSecret = "hush / hush"

func newProvider(sign signer) *provider {
	return &provider{
		lifetime: map[string]int{}, padding: map[string]int{}, sign: sign,
		codes: map[string]grant{}, refresh: map[string]grant{},
	}
}

// ServeHTTP answers browsers at /authorize and Envoy at /token.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch r.URL.Path {
	case "/authorize":
		p.authorize(w, r)
	case "/token":
		p.token(w, r)
	case "/end":
		_, _ = w.Write([]byte("bye " + r.URL.Query().Get("id_token_hint"))) // the browser may be gone
	default:
		p.refuse(w, "no such page "+r.URL.Path)
	}
}

func (p *provider) refuse(w http.ResponseWriter, why string) {
	p.refused = append(p.refused, why)
	http.Error(w, `{"error":"invalid_request"}`, http.StatusBadRequest)
}

// complaints returns what was refused so far, and forgets it.
func (p *provider) complaints() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := p.refused
	p.refused = nil
	return out
}

func (p *provider) refreshes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refreshed
}

func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	back, err := url.Parse(q.Get("redirect_uri"))
	switch {
	case err != nil || back.Scheme != "https" || !strings.HasSuffix(back.Hostname(), ".example"):
		p.refuse(w, "redirect_uri "+q.Get("redirect_uri"))
	case q.Get("response_type") != "code" || !slices.Contains(strings.Fields(q.Get("scope")), "openid"):
		p.refuse(w, "response_type and scope of "+r.URL.RawQuery)
	case q.Get("code_challenge_method") != "S256" || q.Get("state") == "":
		p.refuse(w, "code_challenge and state of "+r.URL.RawQuery)
	default:
		code := rand.Text()
		p.codes[code] = grant{q.Get("client_id"), back.String(), q.Get("code_challenge")}
		back.RawQuery = url.Values{"code": {code}, "state": {q.Get("state")}}.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
	}
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	name, secret, _ := r.BasicAuth()
	// The parts are form-encoded first (RFC 6749, section 2.3.1).
	client, _ := url.QueryUnescape(name)
	if plain, err := url.QueryUnescape(secret); err != nil || plain != clientSecret {
		p.refuse(w, "secret of "+client)
		return
	}
	var given grant
	var ok bool
	switch r.PostFormValue("grant_type") {
	case "authorization_code":
		code := r.PostFormValue("code")
		given, ok = p.codes[code]
		delete(p.codes, code)
		sum := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
		ok = ok && given.challenge == encode(sum[:]) && given.redirect == r.PostFormValue("redirect_uri")
	case "refresh_token":
		old := r.PostFormValue("refresh_token")
		given, ok = p.refresh[old]
		delete(p.refresh, old)
		p.refreshed++
	}
	if !ok || given.client != client {
		p.refuse(w, r.PostFormValue("grant_type")+" of "+client)
		return
	}
	again := rand.Text()
	p.refresh[again] = given
	padding := strings.Repeat("x", p.padding[client])
	seconds := p.lifetime[client]
	if seconds == 0 {
		seconds = 3600
	}
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // Envoy may be gone
		"token_type": "Bearer", "expires_in": seconds, "access_token": "access-" + client + padding,
		"refresh_token": again, "id_token": p.sign.compact(claimsOf(map[string]any{
			"aud": client, "padding": padding, "exp": time.Now().Add(time.Hour).Unix(),
		})),
	})
}

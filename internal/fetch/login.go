package fetch

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

// login is how to log in to a registry.
type login struct {
	user, password string
	// refresh is a token that stands for both (identitytoken), and access one that is good as it is (registrytoken).
	refresh, access string
}

// logins are those of a Docker config.json by host.
type logins map[string]login

// parseLogins reads a Docker config.json, nothing if it is empty.
func parseLogins(text string) (logins, error) {
	if text == "" {
		return nil, nil
	}
	var config struct {
		Auths map[string]struct {
			Username, Password, Auth     string
			IdentityToken, RegistryToken string
		} `json:"auths"`
	}
	if err := json.Unmarshal([]byte(text), &config); err != nil {
		return nil, errors.New("the credentials are not a Docker config.json")
	}
	out := logins{}
	for key, a := range config.Auths {
		l := login{user: a.Username, password: a.Password, refresh: a.IdentityToken, access: a.RegistryToken}
		if a.Auth != "" {
			plain, err := base64.StdEncoding.DecodeString(a.Auth)
			user, password, ok := strings.Cut(strings.TrimRight(string(plain), "\x00"), ":")
			if err != nil || !ok {
				return nil, fmt.Errorf("the credentials for %s are not USER:PASSWORD in base64", loginHost(key))
			}
			l.user, l.password = user, password
		}
		out[loginHost(key)] = l
	}
	return out, nil
}

// loginHost is the registry that a key of a Docker config.json is for. That of Docker Hub is a URL.
func loginHost(key string) string {
	_, rest, ok := strings.Cut(key, "://")
	if !ok {
		rest = key
	}
	host, _, _ := strings.Cut(rest, "/")
	if host == "index.docker.io" || host == hubHost {
		return hubName
	}
	return strings.ToLower(host)
}

// challenge is what a registry wants (RFC 9110, section 11.6.1).
type challenge struct {
	scheme string
	params map[string]string
}

var paramPattern = regexp.MustCompile(`([A-Za-z_]+)="([^"]*)"`)

func parseChallenges(headers []string) []challenge {
	var out []challenge
	for _, h := range headers {
		scheme, rest, _ := strings.Cut(strings.TrimSpace(h), " ")
		c := challenge{scheme: strings.ToLower(scheme), params: map[string]string{}}
		for _, m := range paramPattern.FindAllStringSubmatch(rest, -1) {
			c.params[strings.ToLower(m[1])] = m[2]
		}
		out = append(out, c)
	}
	return out
}

// login does what a registry wants before it answers.
func (s *session) login(ctx context.Context, headers []string) error {
	own, has := s.logins[strings.ToLower(s.registry)]
	if has && s.scheme == "http" && !s.onLoopback() {
		return errors.New("the registry speaks plain HTTP, over which no credentials are sent")
	}
	if own.access != "" {
		s.authorization = "Bearer " + own.access
		return nil
	}
	for _, c := range parseChallenges(headers) {
		switch {
		case c.scheme == "bearer":
			token, err := s.token(ctx, c, own)
			if err != nil {
				return err
			}
			s.authorization = "Bearer " + token
			return nil
		case c.scheme == "basic" && own.user != "":
			s.authorization = basicAuth(own)
			return nil
		}
	}
	return errors.New("the registry asks for credentials: name a Secret with them (pullSecretRef)")
}

func basicAuth(l login) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(l.user+":"+l.password))
}

// token gets a token to pull from the repository (the registry's token authentication specification), without
// credentials if there are none.
func (s *session) token(ctx context.Context, c challenge, own login) (string, error) {
	realm, err := url.Parse(c.params["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != s.scheme {
		return "", errors.New("the registry names no server over TLS where a token can be got")
	}
	scope := c.params["scope"]
	if scope == "" {
		scope = "repository:" + s.repository + ":pull"
	}
	values := url.Values{"service": {c.params["service"]}, "scope": {scope}}
	req, err := tokenRequest(ctx, realm, values, own)
	if err != nil {
		return "", err
	}
	res, err := s.Do(req)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return "", fmt.Errorf("the registry refuses the login: %w", statusError(res))
	}
	var got struct {
		Token       string `json:"token"`
		AccessToken string `json:"access_token"`
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return "", err
	}
	if err := json.Unmarshal(body, &got); err != nil || got.Token+got.AccessToken == "" {
		return "", errors.New("the registry gives no token")
	}
	if got.Token == "" {
		return got.AccessToken, nil
	}
	return got.Token, nil
}

func tokenRequest(ctx context.Context, realm *url.URL, values url.Values, own login) (*http.Request, error) {
	if own.refresh != "" {
		values.Set("grant_type", "refresh_token")
		values.Set("refresh_token", own.refresh)
		values.Set("client_id", "sluice")
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(values.Encode()))
		if err == nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		return req, err
	}
	asked := *realm
	query := asked.Query()
	for key, list := range values {
		query[key] = list
	}
	asked.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, asked.String(), nil)
	if err == nil && own.user != "" {
		req.Header.Set("Authorization", basicAuth(own))
	}
	return req, err
}

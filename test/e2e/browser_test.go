package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"
)

// browser is a client that follows redirects and keeps cookies as browsers do: none above 4 KiB.
type browser struct {
	t      *testing.T
	client *http.Client
}

// maxCookie is what browsers take: the bytes of name and value (RFC 6265, section 6.1, and all of them).
const maxCookie = 4096

type smallJar struct{ http.CookieJar }

// SetCookies keeps cookies that are not too large.
func (j smallJar) SetCookies(u *url.URL, cookies []*http.Cookie) {
	var small []*http.Cookie
	for _, c := range cookies {
		if len(c.Name)+len(c.Value) <= maxCookie {
			small = append(small, c)
		}
	}
	j.CookieJar.SetCookies(u, small)
}

// browse returns a browser that finds the host of a provider at an address, and all others at the port HTTPS of the
// gateway.
func (in *instance) browse(t *testing.T, host string, provider net.Addr) *browser {
	t.Helper()
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			to := in.address("HTTPS")
			if strings.HasPrefix(address, host+":") {
				to = provider.String()
			}
			return new(net.Dialer).DialContext(ctx, "tcp", to)
		},
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // it is not what is tested
	}
	t.Cleanup(transport.CloseIdleConnections)
	first := &browser{client: &http.Client{Transport: transport, Timeout: 10 * time.Second}}
	return first.another(t)
}

// another returns a browser of somebody else.
func (b *browser) another(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &browser{t: t, client: &http.Client{
		Transport: b.client.Transport, Jar: smallJar{jar}, Timeout: b.client.Timeout,
	}}
}

// visit gets a page, through all redirects. where is the URL of what was answered.
func (b *browser) visit(address string, header ...string) (a answer, where string) {
	b.t.Helper()
	return b.get(b.client, address, header)
}

// click gets a page without following redirects.
func (b *browser) click(address string, header ...string) answer {
	b.t.Helper()
	one := *b.client
	one.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a, _ := b.get(&one, address, header)
	return a
}

func (b *browser) get(client *http.Client, address string, header []string) (answer, string) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, line := range header {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	res, err := client.Do(req)
	if err != nil {
		b.t.Errorf("get %s: %v", address, err)
		return answer{}, ""
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		b.t.Errorf("get %s: %v", address, err)
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body)}
	if res.Header.Get("Content-Type") == "application/json" {
		// An answer that is not an echo's leaves the zero value, which no expectation of one matches.
		_ = json.Unmarshal(body, &a.echo)
	}
	return a, res.Request.URL.String()
}

// cookies are those that are sent to an address, by name.
func (b *browser) cookies(address string) map[string]string {
	b.t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		b.t.Fatal(err)
	}
	out := map[string]string{}
	for _, c := range b.client.Jar.Cookies(u) {
		out[c.Name] = c.Value
	}
	return out
}

// want fails the test unless the page is served by the backend one, at that address.
func (b *browser) want(address string) answer {
	b.t.Helper()
	a, where := b.visit(address)
	if a.status != http.StatusOK || a.echo.Name != "one" || where != address {
		b.t.Errorf("%s ends at %s with %s", address, where, brief(a))
	}
	return a
}

func brief(a answer) string { return fmt.Sprintf("%d %v %q", a.status, a.header, a.body) }

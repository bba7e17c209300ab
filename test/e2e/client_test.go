package e2e

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
)

// request is one request to the gateway.
type request struct {
	// method is GET and path "/" if empty; path may have a query.
	method, host, path string
	// port is the variable of the port, HTTP if empty.
	port string
	// header lines, "name: value".
	header []string
	body   string
	// tls makes it HTTPS; its ServerName is the SNI. Certificates are verified only if it has RootCAs.
	tls *tls.Config
	// proto is "h1" (the default), "h2" or, without tls, "h2c".
	proto string
}

// answer is what the gateway answered.
type answer struct {
	status int
	header http.Header
	body   string
	// echo is what the backend received, zero if it was not an echo server's answer.
	echo  echo.Reply
	proto string
	peer  *tls.ConnectionState
}

// send sends a request on a connection of its own.
func (in *instance) send(ctx context.Context, r request) (answer, error) {
	client := in.client(r)
	defer client.CloseIdleConnections()
	return in.sendOn(ctx, client, r)
}

// client returns a client that connects to the port of the request, whatever the host is.
func (in *instance) client(r request) *http.Client {
	port := r.port
	if port == "" {
		port = "HTTP"
	}
	protocols := new(http.Protocols)
	switch r.proto {
	case "h2":
		protocols.SetHTTP2(true)
	case "h2c":
		protocols.SetUnencryptedHTTP2(true)
	default:
		protocols.SetHTTP1(true)
	}
	config := r.tls.Clone()
	if config != nil && config.RootCAs == nil {
		config.InsecureSkipVerify = true
	}
	return &http.Client{
		Timeout: 10 * time.Second,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", in.address(port))
			},
			TLSClientConfig: config, Protocols: protocols, DisableCompression: true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func (in *instance) sendOn(ctx context.Context, client *http.Client, r request) (answer, error) {
	scheme, host, method, path := "http", r.host, r.method, r.path
	if r.tls != nil {
		scheme = "https"
	}
	if host == "" {
		host = "any.example"
	}
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+host+path, strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	for _, line := range r.header {
		name, value, _ := strings.Cut(line, ":")
		req.Header.Add(name, strings.TrimSpace(value))
	}
	res, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{}, err
	}
	a := answer{status: res.StatusCode, header: res.Header, body: string(body), proto: res.Proto, peer: res.TLS}
	if res.Header.Get("Content-Type") == "application/json" {
		// An answer that is not an echo's leaves the zero value, which no expectation of one matches.
		_ = json.Unmarshal(body, &a.echo)
	}
	return a, nil
}

// expect is what has to be true of an answer. Zero fields are not looked at, but status, for which 0 means 200.
type expect struct {
	status int
	// backend is the name of the echo server.
	backend string
	// host, path and proto are what the backend received.
	host, path, proto string
	// received are header lines, "name: value", that the backend received; "name:" is one that it did not receive.
	received []string
	// header lines of the answer, in the same way.
	header []string
	// body is a part of the answer's body.
	body string
}

// check returns how an answer differs from what is expected, in which ${NAME} stands for a variable.
func (in *instance) check(e expect, a answer) error {
	var wrong []string
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	status := e.status
	if status == 0 {
		status = http.StatusOK
	}
	if a.status != status {
		complain("status is %d, want %d", a.status, status)
	}
	for _, f := range []struct{ what, got, want string }{
		{"backend", a.echo.Name, e.backend}, {"host at the backend", a.echo.Host, e.host},
		{"path at the backend", a.echo.Path, e.path}, {"protocol at the backend", a.echo.Proto, e.proto},
	} {
		if f.want != "" && f.got != f.want {
			complain("%s is %q, want %q", f.what, f.got, f.want)
		}
	}
	in.checkHeader(complain, "request header", a.echo.Headers, e.received)
	in.checkHeader(complain, "response header", a.header, e.header)
	if !strings.Contains(a.body, e.body) {
		complain("%q is not in the body", e.body)
	}
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%s; answer: %d %v %q", strings.Join(wrong, "; "), a.status, a.header, a.body)
}

func (in *instance) checkHeader(complain func(string, ...any), what string, got http.Header, want []string) {
	for _, line := range want {
		name, value, _ := strings.Cut(in.expand(line), ":")
		value = strings.TrimSpace(value)
		if have := strings.Join(got.Values(name), ", "); have != value {
			complain("%s %s is %q, want %q", what, name, have, value)
		}
	}
}

// want sends a request until the answer is what is expected: a change needs a moment to be live.
func (in *instance) want(t *testing.T, r request, e expect) {
	t.Helper()
	eventually(t, func() error { return in.ask(t, r, e) })
}

// must sends a request once.
func (in *instance) must(t *testing.T, r request, e expect) {
	t.Helper()
	if err := in.ask(t, r, e); err != nil {
		t.Errorf("%s %s%s %v: %v", r.method, r.host, r.path, r.header, err)
	}
}

func (in *instance) ask(t *testing.T, r request, e expect) error {
	a, err := in.send(t.Context(), r)
	if err != nil {
		return err
	}
	return in.check(e, a)
}

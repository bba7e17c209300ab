package fetch

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/internal/jwks"
	"github.com/sluice-gateway/sluice/internal/model"
)

// maxRedirects is how many redirects are followed.
const maxRedirects = 5

// place is something that can be fetched.
type place interface {
	// host is where it is, with the port.
	host() string
	// fetch gets it, or returns errSame if it still is what the tag says.
	fetch(ctx context.Context, c *client, tag string) (found, error)
}

// locate reads a spec.
func locate(spec model.FetchSpec) (place, error) {
	if spec.Kind == model.FetchWasmImage {
		return parseImage(spec)
	}
	u, err := url.Parse(spec.URL)
	if err != nil {
		return nil, errors.New("it is not a URL") // the parser repeats it, with what may be secret in it
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("its URL is not one of http or https")
	}
	return document{url: u, spec: spec}, nil
}

// client is how one attempt speaks HTTP.
type client struct {
	http.Client
	limit int64
}

func (f *Fetcher) client(spec model.FetchSpec) (*client, error) {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	if !f.opts.Local {
		dialer.Control = refuseLocal
	}
	transport := &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, ForceAttemptHTTP2: true,
		TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: 10 * time.Second, MaxResponseHeaderBytes: 64 << 10,
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, DisableCompression: true,
	}
	if spec.CA != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(spec.CA)) {
			return nil, errors.New("the CA certificates cannot be read")
		}
		transport.TLSClientConfig.RootCAs = pool
	}
	check := checkRedirect
	if spec.Kind == model.FetchJWKS {
		check = func(*http.Request, []*http.Request) error { return errRedirects }
	}
	return &client{limit: spec.Limit, Client: http.Client{Transport: transport, CheckRedirect: check}}, nil
}

func (c *client) close() { c.CloseIdleConnections() }

// errRedirects is why keys are not fetched from where a server redirects to: Envoy does not do it either, and whoever
// can redirect can have the control plane go anywhere.
var errRedirects = errors.New("it redirects, which is not followed for keys")

func checkRedirect(req *http.Request, via []*http.Request) error {
	from := via[len(via)-1].URL.Scheme
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("it redirects more than %d times", maxRedirects)
	case req.URL.Scheme != from && req.URL.Scheme != "https":
		return fmt.Errorf("it redirects from %s to %q, which is not followed", from, req.URL.Scheme)
	}
	return nil
}

// errLocal is why no connection is made to an address.
var errLocal = errors.New("it is an address of the control plane's own machine, its link or its cloud's metadata, " +
	"which is not fetched from")

// refuseLocal refuses connections to addresses that only this machine, or its link, should reach. It sees the address
// that a name was resolved to.
func refuseLocal(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || model.OwnAddress(to.Addr()) {
		return errLocal
	}
	return nil
}

// read returns the body of a response up to the limit.
func (c *client) read(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, c.limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > c.limit {
		return nil, c.tooLarge()
	}
	return data, nil
}

func (c *client) tooLarge() error { return fmt.Errorf("it is larger than %d bytes", c.limit) }

// document is what a URL leads to.
type document struct {
	url  *url.URL
	spec model.FetchSpec
}

func (d document) host() string { return hostPort(d.url) }

// hostPort is the host of a URL with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	switch {
	case port != "":
	case u.Scheme == "http":
		port = "80"
	default:
		port = "443"
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func (d document) fetch(ctx context.Context, c *client, tag string) (found, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url.String(), nil)
	if err != nil {
		return found{}, err
	}
	if tag != "" {
		req.Header.Set("If-None-Match", tag)
	}
	res, err := c.Do(req)
	if err != nil {
		return found{}, err
	}
	defer func() { _ = res.Body.Close() }()
	switch {
	case res.StatusCode == http.StatusNotModified && tag != "":
		return found{}, errSame
	case res.StatusCode != http.StatusOK:
		return found{}, statusError(res)
	}
	data, err := c.read(res.Body)
	if err != nil {
		return found{}, err
	}
	if err := checkSum(data, d.spec.SHA256); err != nil {
		return found{}, err
	}
	if d.spec.Kind == model.FetchJWKS {
		if data, err = jwks.Public(data); err != nil {
			return found{}, fmt.Errorf("what the server answers with is no usable JSON Web Key Set (RFC 7517): %w", err)
		}
	}
	return found{data: data, tag: res.Header.Get("ETag")}, nil
}

func statusError(res *http.Response) error {
	return fmt.Errorf("the server answers %d %s", res.StatusCode, http.StatusText(res.StatusCode))
}

// checkSum compares the hash of what was fetched with what is wanted, if anything is.
func checkSum(data []byte, want string) error {
	sum := sha256.Sum256(data)
	if got := hex.EncodeToString(sum[:]); want != "" && !strings.EqualFold(got, want) {
		return fmt.Errorf("its SHA-256 is %s, not %s", got, strings.ToLower(want))
	}
	return nil
}

// explain makes an error one that is the same whenever the same goes wrong, and says nothing that is secret: neither
// the port that the connection came from nor the URL.
func explain(err error, timeout time.Duration) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("there was no complete answer within %v", timeout)
	}
	if errors.Is(err, errLocal) {
		return errLocal
	}
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Addr != nil {
		return fmt.Errorf("%s %s: %w", op.Op, op.Addr, op.Err)
	}
	return err
}

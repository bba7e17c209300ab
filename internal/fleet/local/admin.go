package local

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// adminTimeout bounds one request to the admin interface. The main thread, which serves it, can be busy with a large
// configuration for a while.
const adminTimeout = 10 * time.Second

// Admin is a client of Envoy's admin interface. The zero value is of no use: Socket is required. It is safe for
// concurrent use.
type Admin struct {
	// Socket is the path of the Unix socket that the interface is served on.
	Socket string
}

// ErrNotReady is returned by Ready while Envoy answers but is not serving: it is starting, or draining.
var ErrNotReady = errors.New("Envoy is not ready")

// Ready returns nil once Envoy is LIVE: it has its first configuration and its listeners accept. It returns an error
// that wraps ErrNotReady if Envoy says otherwise, and another if it says nothing.
func (a Admin) Ready(ctx context.Context) error {
	body, code, err := a.do(ctx, http.MethodGet, "/ready")
	switch {
	case err != nil:
		return err
	case code != http.StatusOK:
		return fmt.Errorf("%w: it is %s", ErrNotReady, strings.TrimSpace(string(body)))
	}
	return nil
}

// Stats returns the counters and gauges whose names match filter, a regular expression that need match only a part of
// a name. Histograms are left out.
func (a Admin) Stats(ctx context.Context, filter string) (map[string]uint64, error) {
	body, err := a.Get(ctx, "/stats?filter="+url.QueryEscape(filter))
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		// Names may have colons in them, values of counters and gauges never have.
		name, text, ok := cutLast(lines.Text(), ": ")
		if !ok {
			continue
		}
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			out[name] = value
		}
	}
	return out, lines.Err()
}

func cutLast(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// ConfigDump returns Envoy's whole configuration, endpoints included, as the JSON of an envoy.admin.v3.ConfigDump.
// Envoy redacts private keys in it.
func (a Admin) ConfigDump(ctx context.Context) ([]byte, error) {
	return a.Get(ctx, "/config_dump?include_eds")
}

// ServerInfo returns what Envoy says about itself: its version, state, uptime and command line.
func (a Admin) ServerInfo(ctx context.Context) (*adminv3.ServerInfo, error) {
	body, err := a.Get(ctx, "/server_info")
	if err != nil {
		return nil, err
	}
	info := &adminv3.ServerInfo{}
	// Newer Envoys than the protos that Sluice is built with have fields that these lack.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, info); err != nil {
		return nil, fmt.Errorf("Envoy's server_info: %w", err)
	}
	return info, nil
}

// Listeners returns the names of the listeners that Envoy has, of xDS and of its bootstrap.
func (a Admin) Listeners(ctx context.Context) ([]string, error) {
	body, err := a.Get(ctx, "/listeners?format=json")
	if err != nil {
		return nil, err
	}
	list := &adminv3.Listeners{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(body, list); err != nil {
		return nil, fmt.Errorf("Envoy's listeners: %w", err)
	}
	names := make([]string, 0, len(list.ListenerStatuses))
	for _, l := range list.ListenerStatuses {
		names = append(names, l.Name)
	}
	return names, nil
}

// Get returns what Envoy answers to a GET of a path and query, for example "/stats/prometheus". Any status but 200 is
// an error.
func (a Admin) Get(ctx context.Context, path string) ([]byte, error) {
	return a.expectOK(ctx, http.MethodGet, path)
}

// Post tells Envoy to do something, for example "/healthcheck/fail". Any status but 200 is an error.
func (a Admin) Post(ctx context.Context, path string) error {
	_, err := a.expectOK(ctx, http.MethodPost, path)
	return err
}

func (a Admin) expectOK(ctx context.Context, method, path string) ([]byte, error) {
	body, code, err := a.do(ctx, method, path)
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("Envoy's admin interface: %s %s: status %d: %s", method, path, code, bytes.TrimSpace(body))
	}
	return body, err
}

func (a Admin) do(ctx context.Context, method, path string) (body []byte, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, adminTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://envoy"+path, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("Envoy's admin interface: %w", err)
	}
	// A connection for each request: one that is kept open would be counted as traffic, and outlive a restart of Envoy.
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", a.Socket)
		},
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return nil, 0, fmt.Errorf("Envoy's admin interface: %s %s: %w", method, path, err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end, or the error is already known
	body, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, 0, fmt.Errorf("Envoy's admin interface: %s %s: %w", method, path, err)
	}
	return body, response.StatusCode, nil
}

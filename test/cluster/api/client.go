// Package api is a small client of a Kubernetes API server, for what a cluster for tests does itself. It speaks JSON,
// and knows no kinds.
package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"sigs.k8s.io/yaml"
)

// Client talks to one API server.
type Client struct {
	server string
	http   *http.Client
}

// Config is the part of a kubeconfig that says where the API server is and who asks.
type Config struct {
	// Server is a URL; the other three are the paths of PEM files.
	Server, Authority, Certificate, Key string
}

// Kubeconfig returns the file for programs that take one.
func (c Config) Kubeconfig() ([]byte, error) {
	named := func(name, kind string, value any) []any {
		return []any{map[string]any{"name": name, kind: value}}
	}
	return yaml.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Config", "current-context": "cluster",
		"clusters": named("cluster", "cluster", map[string]any{
			"server": c.Server, "certificate-authority": c.Authority,
		}),
		"users": named("user", "user", map[string]any{
			"client-certificate": c.Certificate, "client-key": c.Key,
		}),
		"contexts": named("cluster", "context", map[string]any{"cluster": "cluster", "user": "user"}),
	})
}

// ReadKubeconfig reads what Kubeconfig wrote.
func ReadKubeconfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	var file struct {
		Clusters []struct {
			Cluster struct {
				Server    string `json:"server"`
				Authority string `json:"certificate-authority"`
			} `json:"cluster"`
		} `json:"clusters"`
		Users []struct {
			User struct {
				Certificate string `json:"client-certificate"`
				Key         string `json:"client-key"`
			} `json:"user"`
		} `json:"users"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		return Config{}, fmt.Errorf("read %s: %w", path, err)
	}
	if len(file.Clusters) != 1 || len(file.Users) != 1 {
		return Config{}, fmt.Errorf("%s: want one cluster and one user", path)
	}
	cluster, user := file.Clusters[0].Cluster, file.Users[0].User
	return Config{cluster.Server, cluster.Authority, user.Certificate, user.Key}, nil
}

// New returns a client. dial may be nil.
func New(c Config, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*Client, error) {
	authority, err := os.ReadFile(c.Authority)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: 10 * time.Second,
	}
	return &Client{server: strings.TrimSuffix(c.Server, "/"), http: &http.Client{Transport: transport}}, nil
}

// ErrStatus is wrapped by the error for an answer that is no success; the error has its code and what it says.
var ErrStatus = errors.New("the API server refused")

// Get reads an object or a list into v, which may be nil.
func (c *Client) Get(ctx context.Context, path string, v any) error {
	return c.do(ctx, http.MethodGet, path, nil, v)
}

// Post creates an object.
func (c *Client) Post(ctx context.Context, path string, object any) error {
	return c.do(ctx, http.MethodPost, path, object, nil)
}

// Delete deletes an object, without waiting for it to be gone.
func (c *Client) Delete(ctx context.Context, path string) error {
	return c.do(ctx, http.MethodDelete, path, nil, nil)
}

// Patch changes an object with a JSON merge patch.
func (c *Client) Patch(ctx context.Context, path string, patch any) error {
	return c.do(ctx, http.MethodPatch, path, patch, nil)
}

func (c *Client) do(ctx context.Context, method, path string, send, v any) error {
	response, err := c.send(ctx, method, path, send)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	data, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	return nil
}

// send returns the answer if it is a success; the caller closes its body. It asks again if the server says when, as it
// does of resources whose definition has just changed.
func (c *Client) send(ctx context.Context, method, path string, object any) (*http.Response, error) {
	const tries = 10
	for try := 1; ; try++ {
		response, err := c.sendOnce(ctx, method, path, object)
		if response == nil || response.StatusCode < 300 {
			return response, err
		}
		after, notSaid := strconv.Atoi(response.Header.Get("Retry-After"))
		if response.StatusCode != http.StatusTooManyRequests || notSaid != nil || try == tries {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(after) * time.Second):
		}
	}
}

// sendOnce returns the answer, with an error and without a body if it is no success.
func (c *Client) sendOnce(ctx context.Context, method, path string, object any) (*http.Response, error) {
	var body io.Reader
	if object != nil {
		data, err := json.Marshal(object)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(data)
	}
	request, err := http.NewRequestWithContext(ctx, method, c.server+path, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode < 300 {
		return response, nil
	}
	defer response.Body.Close() //nolint:errcheck // only read
	const most = 1 << 10
	message, err := io.ReadAll(io.LimitReader(response.Body, most))
	err = errors.Join(fmt.Errorf("%w: %s %s: %s: %s", ErrStatus, method, path, response.Status, message), err)
	return response, err
}

// Event is one change that Watch tells: Type is ADDED, MODIFIED, DELETED, BOOKMARK or ERROR.
type Event struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

// Watch calls f for each change of the collection at path after a version, until the server ends the stream (then it
// returns nil), ctx is done or f fails.
func (c *Client) Watch(ctx context.Context, path, version string, f func(Event) error) error {
	response, err := c.send(ctx, http.MethodGet, path+"?watch=1&resourceVersion="+version, nil)
	if err != nil {
		return err
	}
	defer response.Body.Close() //nolint:errcheck // only read
	for decoder := json.NewDecoder(response.Body); ; {
		var event Event
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("watch %s: %w", path, err)
		}
		if err := f(event); err != nil {
			return err
		}
	}
}

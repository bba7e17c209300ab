package all

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
)

// upstreams are the servers behind Envoy: echo, three (three endpoints of it), half (one endpoint refuses connections),
// down (none accepts any), shadow (for mirrors), auth-http and auth-grpc.
type upstreams struct {
	addresses map[string][]string

	mu sync.Mutex
	// hits counts the requests by X-Case.
	hits map[string]int
	// mirrored has the host and path of each request that the shadow server got.
	mirrored chan string
	// asked has what the HTTP auth server was asked last.
	asked *http.Request
	// checked has what the gRPC auth server was asked last.
	checked *authv3.CheckRequest
}

// echo is what the echo server answers: the request as it arrived.
type echo struct {
	Server, Method, Host, Path, Body string
	Header                           http.Header
}

func startUpstreams(t *testing.T) *upstreams {
	t.Helper()
	up := &upstreams{addresses: map[string][]string{}, hits: map[string]int{}, mirrored: make(chan string, 100)}
	serve := func(cluster string, handler http.Handler) {
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		up.addresses[cluster] = append(up.addresses[cluster], server.Listener.Addr().String())
	}
	serve("echo", up.echo("echo"))
	for i := range 3 {
		serve("three", up.echo(strconv.Itoa(i)))
	}
	serve("half", up.echo("half"))
	up.addresses["half"] = append(up.addresses["half"], refusing(t))
	up.addresses["down"] = []string{refusing(t)}
	up.addresses["down-grpc"] = []string{refusing(t)}
	serve("shadow", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		up.mirrored <- r.Host + r.RequestURI
	}))
	serve("auth-http", http.HandlerFunc(up.authHTTP))
	up.addresses["auth-grpc"] = []string{up.authGRPC(t)}
	return up
}

// refusing returns an address on which nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // that is the point
	return l.Addr().String()
}

// echo answers with the request. X-Fail: 503x2 makes the first two requests of an X-Case fail with 503; "sleep" in the
// place of the code answers them after a second.
func (up *upstreams) echo(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		up.mu.Lock()
		up.hits[r.Header.Get("X-Case")]++
		hit := up.hits[r.Header.Get("X-Case")]
		up.mu.Unlock()
		what, times, _ := strings.Cut(r.Header.Get("X-Fail"), "x")
		if n, err := strconv.Atoi(times); err == nil && hit <= n {
			if what == "sleep" {
				select {
				case <-r.Context().Done():
				case <-time.After(time.Second):
				}
			} else if code, err := strconv.Atoi(what); err == nil {
				w.WriteHeader(code)
				return
			}
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-From", "backend")
		_ = json.NewEncoder(w).Encode(echo{ //nolint:errcheck // the client notices
			Server: name, Method: r.Method, Host: r.Host, Path: r.RequestURI, Body: string(body), Header: r.Header,
		})
	})
}

func (up *upstreams) hitsOf(name string) int {
	up.mu.Lock()
	defer up.mu.Unlock()
	return up.hits[name]
}

func (up *upstreams) lastAsked() *http.Request {
	up.mu.Lock()
	defer up.mu.Unlock()
	return up.asked
}

func (up *upstreams) lastCheck() *authv3.CheckRequest {
	up.mu.Lock()
	defer up.mu.Unlock()
	return up.checked
}

// authHTTP allows what is authorized, and says who the user is but for the path /anonymous.
func (up *upstreams) authHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(strings.NewReader(string(body)))
	up.mu.Lock()
	up.asked = r
	up.mu.Unlock()
	w.Header().Set("X-Reason", "because")
	w.Header().Set("X-Body-Size", strconv.Itoa(len(body)))
	switch {
	case strings.HasSuffix(r.URL.Path, "/broken"):
		w.WriteHeader(http.StatusInternalServerError)
	case strings.HasSuffix(r.URL.Path, "/odd"):
		w.WriteHeader(http.StatusNoContent)
	case r.Header.Get("Authorization") != "ok":
		w.Header().Set("WWW-Authenticate", "Basic")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = fmt.Fprint(w, "who are you") //nolint:errcheck // the client notices
	case strings.HasSuffix(r.URL.Path, "/anonymous"):
	default:
		w.Header().Set("X-User", "alice")
		w.Header().Set("X-Secret", "internal")
	}
}

func (up *upstreams) authGRPC(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	authv3.RegisterAuthorizationServer(server, grpcAuth{up: up})
	go func() { _ = server.Serve(l) }() //nolint:errcheck // ends with Stop
	t.Cleanup(server.Stop)
	return l.Addr().String()
}

type grpcAuth struct {
	authv3.UnimplementedAuthorizationServer
	up *upstreams
}

// Check allows what is authorized, and denies the rest with 403 and a reason.
func (a grpcAuth) Check(_ context.Context, in *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	a.up.mu.Lock()
	a.up.checked = in
	a.up.mu.Unlock()
	if in.GetAttributes().GetRequest().GetHttp().GetHeaders()["authorization"] == "ok" {
		return &authv3.CheckResponse{
			Status: &status.Status{},
			HttpResponse: &authv3.CheckResponse_OkResponse{OkResponse: &authv3.OkHttpResponse{
				Headers:         []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-user", Value: "alice"}}},
				HeadersToRemove: []string{"x-role"},
			}},
		}, nil
	}
	return &authv3.CheckResponse{
		Status: &status.Status{Code: int32(codes.PermissionDenied)},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode_Forbidden},
			Headers: []*corev3.HeaderValueOption{{Header: &corev3.HeaderValue{Key: "x-reason", Value: "because"}}},
			Body:    "denied",
		}},
	}, nil
}

func splitAddress(t *testing.T, address string) (string, uint32) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	return host, uint32(port)
}

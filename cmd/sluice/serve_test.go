package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/test/apiserver"
)

const (
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	world        = `
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: sluice}
spec: {controllerName: sluice.dev/gateway-controller}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: one, namespace: ns}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, port: 8080, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: two, namespace: ns}
spec:
  gatewayClassName: sluice
  listeners: [{name: http, port: 8081, protocol: HTTP}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: r, namespace: ns}
spec: {parentRefs: [{name: one}]}
`
)

// replica is a running sluice serve.
type replica struct {
	xds, admin string
	logs       *buffer
	stop       func() error
}

// buffer is what a replica logs.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// kubeconfigOf writes a kubeconfig, and returns its file.
func kubeconfigOf(t *testing.T, config *rest.Config) string {
	t.Helper()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	err := os.WriteFile(kubeconfig, apiserver.Kubeconfig(config), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return kubeconfig
}

// startReplica runs a replica in the test's own process.
func startReplica(t *testing.T, server *apiserver.Server, name string, args ...string) *replica {
	t.Helper()
	kubeconfig := kubeconfigOf(t, server.Config(apiserver.Admin))
	r := &replica{xds: freeAddress(t), admin: freeAddress(t), logs: &buffer{}}
	cmd := serveCommand()
	cmd.SetArgs(append([]string{
		"--kubeconfig", kubeconfig, "--namespace", "sluice-system", "--xds-address", r.xds, "--admin-address", r.admin,
		"--lease-duration", "3s", "--renew-deadline", "2s", "--retry-period", "200ms", "--shutdown-timeout", "100ms",
	}, args...))
	cmd.SetErr(r.logs)
	t.Setenv("POD_NAME", name)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cmd.ExecuteContext(ctx) }()
	var once sync.Once
	r.stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-done
		})
		return err
	}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(r.logs)
		}
	})
	return r
}

func (r *replica) get(path string) (int, string) {
	resp, err := http.Get("http://" + r.admin + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(body)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// kept returns the authority that the replicas keep in the cluster.
func kept(t *testing.T, objects *apiserver.Objects) *pki.Authority {
	t.Helper()
	secrets := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
	u := objects.Get(t, secrets, "sluice-system", "sluice-authority")
	text, _, err := unstructured.NestedString(u.Object, "data", "authorities.pem")
	if err != nil {
		t.Fatal(err)
	}
	roster, err := pki.ParseRoster(base64Of(t, text), pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	a := pki.NewAuthority(time.Now)
	a.Set(roster)
	return a
}

// client returns a client with a proxy's certificate, or none if there is no authority.
func client(t *testing.T, address string, a *pki.Authority, proxy model.ProxyName) *grpc.ClientConn {
	t.Helper()
	config := &tls.Config{InsecureSkipVerify: true}
	if a != nil {
		p, err := a.Issue(proxy)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := tls.X509KeyPair(p.Certificate, p.Key)
		if err != nil {
			t.Fatal(err)
		}
		config.Certificates = []tls.Certificate{cert}
	}
	conn, err := grpc.NewClient("passthrough:"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// listeners returns the names of the listeners that a client is told of, whatever its node says that it is.
func listeners(t *testing.T, conn *grpc.ClientConn, node string) (names []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{
		TypeUrl: listenerType, Node: &corev3.Node{Id: node, Cluster: node},
	})
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	resp, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	for _, r := range resp.Resources {
		names = append(names, r.Name)
	}
	return names, nil
}

func TestServe(t *testing.T) {
	server := apiserver.Start(t)
	objects := server.Objects(t)
	objects.Apply(t, "{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: sluice-system}}")
	objects.InstallCRDs(t)
	objects.Apply(t, world)
	first := startReplica(t, server, "first")
	eventually(t, "the first replica is ready", func() bool { code, _ := first.get("/readyz"); return code == 200 })
	eventually(t, "it leads", func() bool { return strings.Contains(first.logs.String(), "This replica leads") })
	second := startReplica(t, server, "second")
	eventually(t, "the second replica is ready", func() bool { code, _ := second.get("/readyz"); return code == 200 })
	authority := kept(t, objects)

	t.Run("an Envoy gets its own Gateway", func(t *testing.T) {
		for _, r := range []*replica{first, second} {
			for name, port := range map[string]string{"one": "8080", "two": "8081"} {
				conn := client(t, r.xds, authority, model.ProxyName("ns/"+name))
				// It claims to be the other one.
				got, err := listeners(t, conn, map[string]string{"one": "ns/two", "two": "ns/one"}[name])
				if err != nil || len(got) != 1 || !strings.Contains(got[0], port) {
					t.Errorf("%s is told of the listeners %v (%v), want that of %s", name, got, err, port)
				}
			}
		}
	})
	t.Run("nobody else gets anything", func(t *testing.T) {
		stranger := pki.NewAuthority(time.Now)
		roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
		if err != nil {
			t.Fatal(err)
		}
		if roster, _, err = roster.Advance(time.Now()); err != nil {
			t.Fatal(err)
		}
		stranger.Set(roster)
		for name, conn := range map[string]*grpc.ClientConn{
			"no certificate":   client(t, first.xds, nil, ""),
			"of a stranger":    client(t, first.xds, stranger, "ns/one"),
			"no proxy's":       replicaClient(t, first.xds, authority),
			"a proxy's health": client(t, first.xds, authority, "ns/one"),
		} {
			want := codes.Unavailable
			if name == "no proxy's" {
				want = codes.PermissionDenied
			}
			if name != "a proxy's health" {
				if got, err := listeners(t, conn, "ns/one"); status.Code(err) != want {
					t.Errorf("%s: it is told of %v (%v), want %s", name, got, err, want)
				}
			}
			if want = codes.Unavailable; strings.Contains(name, "proxy") {
				want = codes.Unimplemented
			}
			_, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
			if status.Code(err) != want {
				t.Errorf("%s: another RPC ends with %v, want %s", name, err, want)
			}
		}
	})
	t.Run("statuses are written", func(t *testing.T) {
		eventually(t, "the route is accepted", func() bool { return written(t, objects, "r") })
	})
	t.Run("the next leader", func(t *testing.T) {
		if strings.Contains(second.logs.String(), "This replica leads") {
			t.Fatal("two replicas lead")
		}
		began := time.Now()
		if err := first.stop(); err != nil {
			t.Error("the first replica ends with", err)
		}
		eventually(t, "the second leads", func() bool { return strings.Contains(second.logs.String(), "This replica leads") })
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it takes %s: the Lease was not given back", took)
		}
		objects.Apply(t, strings.NewReplacer("name: r,", "name: s,").Replace(world))
		eventually(t, "the new leader writes", func() bool { return written(t, objects, "s") })
	})
}

// written says whether a route is accepted.
func written(t *testing.T, objects *apiserver.Objects, name string) bool {
	t.Helper()
	u := objects.Get(t, schema.GroupVersionResource{
		Group: model.GroupGateway, Version: "v1", Resource: "httproutes",
	}, "ns", name)
	if u == nil {
		return false
	}
	parents, _, _ := unstructured.NestedSlice(u.Object, "status", "parents")
	return len(parents) == 1 && strings.Contains(fmt.Sprint(parents[0]), controllerName)
}

// replicaClient returns a client that is a replica of the control plane, and no proxy.
func replicaClient(t *testing.T, address string, a *pki.Authority) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:"+address,
		grpc.WithTransportCredentials(credentials.NewTLS(a.ClientConfig())))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func base64Of(t *testing.T, text string) []byte {
	t.Helper()
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

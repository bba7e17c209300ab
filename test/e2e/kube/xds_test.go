package kube

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	corev1 "k8s.io/api/core/v1"
)

// xdsPort is where a control plane serves Envoys.
const xdsPort = "18000"

// types are the resource types that an Envoy asks for.
var types = []string{
	"type.googleapis.com/envoy.config.cluster.v3.Cluster",
	"type.googleapis.com/envoy.config.listener.v3.Listener",
	"type.googleapis.com/envoy.config.route.v3.RouteConfiguration",
	"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
	"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
}

// identity returns what an Envoy of a Gateway shows to the control plane: the certificate of its fleet.
func (w *world) identity(ns, gateway string) (tls.Certificate, *x509.CertPool) {
	w.t.Helper()
	var secret corev1.Secret
	w.eventually("the certificate of the Envoys", func() error {
		var list corev1.SecretList
		if err := w.get("/api/v1/namespaces/"+ns+"/secrets?labelSelector="+gatewayLabel+"="+gateway, &list); err != nil {
			return err
		}
		if len(list.Items) != 1 {
			return fmt.Errorf("there are %d Secrets", len(list.Items))
		}
		secret = list.Items[0]
		return nil
	})
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	if err != nil {
		w.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(secret.Data["ca.crt"]) {
		w.t.Fatal("the Secret has no CA")
	}
	return pair, roots
}

// clientTLS is the configuration of an Envoy with a certificate, or without one.
func clientTLS(roots *x509.CertPool, pairs ...tls.Certificate) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"}, Certificates: pairs,
		// A control plane is known by its URI name, which the library does not verify.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots})
			return err
		},
	}
}

// connect returns a connection to the control plane at an address.
func (w *world) connect(address string, config *tls.Config) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithContextDialer(w.dialTCP))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (w *world) dialTCP(ctx context.Context, address string) (net.Conn, error) {
	return w.Dial(ctx, "tcp", address)
}

// resources are versions by type and name.
type resources map[string]map[string]string

func (r resources) names(typeURL string) []string { return slices.Sorted(maps.Keys(r[typeURL])) }

// fetch asks for everything of all types, and returns what was there when clusters, listeners and routes had come. Of
// other types there may be nothing, which is not answered.
func fetch(ctx context.Context, conn grpc.ClientConnInterface, node string) (resources, error) {
	return fetchFor(ctx, 10*time.Second, conn, node)
}

// fetchFor is fetch for someone who waits no longer than that.
func fetchFor(
	ctx context.Context, patience time.Duration, conn grpc.ClientConnInterface, node string,
) (resources, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	v := &viewer{held: resources{}}
	return v.held, v.stream(ctx, conn, node, func() bool {
		return v.held[types[0]] != nil && v.held[types[1]] != nil && v.held[types[2]] != nil
	})
}

// viewer is an xDS client that notes when it is told to remove something.
type viewer struct {
	mu   sync.Mutex
	held resources
	// removed are the resources that it was told to remove, fresh those that it was sent in another version.
	removed, fresh []string
}

// watch follows the control plane at an address, connecting anew whenever a stream ends, until ctx does.
func (v *viewer) watch(ctx context.Context, conn grpc.ClientConnInterface, node string) {
	for ctx.Err() == nil {
		_ = v.stream(ctx, conn, node, func() bool { return false }) // it ends when the control plane does
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// noted returns what was removed and what was sent in another version.
func (v *viewer) noted() (removed, fresh []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.removed), slices.Clone(v.fresh)
}

// names are those of the resources of a type that are held.
func (v *viewer) names(typeURL string) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.held.names(typeURL)
}

// stream asks for everything, telling what is held already, until done says so or the stream ends.
func (v *viewer) stream(ctx context.Context, conn grpc.ClientConnInterface, node string, done func() bool) error {
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return err
	}
	for _, t := range types {
		err := stream.Send(&discoveryv3.DeltaDiscoveryRequest{
			Node: &corev3.Node{Id: node}, TypeUrl: t, ResourceNamesSubscribe: []string{"*"},
			InitialResourceVersions: v.versions(t),
		})
		if err != nil {
			return errors.Join(err, recvError(stream))
		}
	}
	for {
		answer, err := stream.Recv()
		if err != nil {
			return err
		}
		v.take(answer)
		err = stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: answer.GetTypeUrl(), ResponseNonce: answer.GetNonce()})
		if err != nil {
			return errors.Join(err, recvError(stream))
		}
		if done() {
			return nil
		}
	}
}

// recvError is why a stream ended, which Send does not say.
func recvError(stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient) error {
	_, err := stream.Recv()
	return err
}

func (v *viewer) versions(typeURL string) map[string]string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return maps.Clone(v.held[typeURL])
}

func (v *viewer) take(answer *discoveryv3.DeltaDiscoveryResponse) {
	v.mu.Lock()
	defer v.mu.Unlock()
	held := v.held[answer.GetTypeUrl()]
	if held == nil {
		held = map[string]string{}
		v.held[answer.GetTypeUrl()] = held
	}
	for _, r := range answer.GetResources() {
		if held[r.GetName()] != r.GetVersion() {
			v.fresh = append(v.fresh, answer.GetTypeUrl()+" "+r.GetName())
		}
		held[r.GetName()] = r.GetVersion()
	}
	for _, name := range answer.GetRemovedResources() {
		if _, ok := held[name]; ok {
			v.removed = append(v.removed, answer.GetTypeUrl()+" "+name)
		}
		delete(held, name)
	}
}

package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
)

// TestA46EnvoyGetsItsOwnGateway connects to every replica as the Envoys of two Gateways, each claiming to be the other.
func TestA46EnvoyGetsItsOwnGateway(t *testing.T) {
	w := begin(t)
	other := w.namespace("-other")
	for _, ns := range []string{w.ns, other} {
		w.apply(proxy(ns, "{envoyDeployment: {replicas: 0}}") + gateway(ns, "gateway") + backend(ns, "b-"+ns, 0) +
			route(ns, "route", ns+".example", "b-"+ns))
	}
	for _, replica := range w.controlled(controlPlanes) {
		for ns, foreign := range map[string]string{w.ns: other, other: w.ns} {
			pair, roots := w.identity(ns, "gateway")
			conn := w.connect(net.JoinHostPort(replica.Status.PodIP, xdsPort), clientTLS(roots, pair))
			w.eventually("the configuration of "+ns, func() error {
				got, err := fetch(t.Context(), conn, foreign+"/gateway")
				if err != nil {
					return err
				}
				return ownOnly(got, ns, foreign)
			})
		}
	}
}

// ownOnly says what is wrong with the clusters that an Envoy got.
func ownOnly(got resources, ns, foreign string) error {
	clusters := got.names(types[0])
	own := func(name string) bool { return strings.Contains(name, "/"+ns+"/b-"+ns+"/") }
	if !slices.ContainsFunc(clusters, own) {
		return fmt.Errorf("the own backend is not among %v", clusters)
	}
	for _, typeURL := range types {
		for _, name := range got.names(typeURL) {
			if strings.Contains(name, "/"+foreign+"/") {
				return fmt.Errorf("%s is another Gateway's", name)
			}
		}
	}
	return nil
}

// TestA46NobodyWithoutCertificate tries every way of asking a control plane that is no Envoy's.
func TestA46NobodyWithoutCertificate(t *testing.T) {
	w := begin(t)
	w.apply(proxy(w.ns, "{envoyDeployment: {replicas: 0}}") + gateway(w.ns, "gateway"))
	pair, roots := w.identity(w.ns, "gateway")
	address := net.JoinHostPort(w.controlled(controlPlanes)[0].Status.PodIP, xdsPort)
	old := clientTLS(roots, pair)
	old.MinVersion, old.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
	refused := map[string]*grpc.ClientConn{
		"without a certificate":      w.connect(address, clientTLS(roots)),
		"with one of its own making": w.connect(address, clientTLS(roots, selfSigned(t, w.ns))),
		"with TLS 1.2":               w.connect(address, old),
		"without TLS":                w.plain(address),
	}
	for how, conn := range refused {
		for call, err := range everyCall(t.Context(), conn) {
			if err == nil || status.Code(err) == codes.Unimplemented {
				t.Errorf("%s: %s is answered: %v", how, call, err)
			}
		}
	}
	// With the certificate nothing but this one stream is there at all.
	right := w.connect(address, clientTLS(roots, pair))
	if _, err := fetch(t.Context(), right, "any"); err != nil {
		t.Fatalf("with the certificate: %v", err)
	}
	for call, err := range everyCall(t.Context(), right) {
		if call != "delta ADS" && status.Code(err) != codes.Unimplemented {
			t.Errorf("%s with a certificate: %v, want Unimplemented", call, err)
		}
	}
}

func (w *world) plain(address string) *grpc.ClientConn {
	w.t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(w.dialTCP))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// everyCall asks in each way that Envoy, or a person with grpcurl, could ask.
func everyCall(ctx context.Context, conn *grpc.ClientConn) map[string]error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out := map[string]error{}
	_, out["delta ADS"] = fetch(ctx, conn, "any")
	if stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx); err != nil {
		out["ADS"] = err
	} else {
		_ = stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: types[0]}) // what became of it is said by Recv
		_, out["ADS"] = stream.Recv()
	}
	endpoints := endpointv3.NewEndpointDiscoveryServiceClient(conn)
	_, out["endpoints"] = endpoints.FetchEndpoints(ctx, &discoveryv3.DiscoveryRequest{})
	out["reflection"] = conn.Invoke(ctx, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
		&discoveryv3.DiscoveryRequest{}, &discoveryv3.DiscoveryResponse{})
	return out
}

// selfSigned is a certificate for the Envoys of the test's Gateway that nobody trusts.
func selfSigned(t *testing.T, ns string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	id, err := url.Parse(pki.ProxyID(model.ProxyName(ns + "/gateway")))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "envoy"}, URIs: []*url.URL{id},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

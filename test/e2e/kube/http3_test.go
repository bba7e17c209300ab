package kube

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/test/cluster"
)

// TestHTTP3OfAFleet has a fleet serve HTTP/3: its Service gets the UDP port, requests reach the backends by it over one
// connection while the route is edited, and new Envoys have it, too. Without the policy the port goes.
func TestHTTP3OfAFleet(t *testing.T) {
	w := begin(t)
	const host = "secure.example"
	w.secret(w.ns, "web", newCertificate(t, host, 1))
	w.apply(proxy(w.ns, "{envoyDeployment: {replicas: 1}}") + backend(w.ns, "one", 1) + backend(w.ns, "two", 1) +
		route(w.ns, "one", host, "one") +
		listeners(w.ns, "gateway", "{name: https, protocol: HTTPS, port: 443, tls: {certificateRefs: [{name: web}]}}"))
	address := net.JoinHostPort(w.programmed(w.ns, "gateway"), "443")
	w.apply(fmt.Sprintf(`
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: quic, namespace: %s}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gateway}]
  http3: {}
`, w.ns))
	w.eventually("the Service to have the port for both", func() error { return w.servicePorts("TCP 443", "UDP 443") })

	client, dials := w.quic(address)
	w.eventually("HTTP/3", func() error { return w.askQUIC(client, host, "one") })
	before := dials.Load()
	for _, backend := range []string{"two", "one", "two"} {
		w.lead("one", backend)
		w.eventually("the edit", func() error { return w.askQUIC(client, host, backend) })
	}
	if n := dials.Load() - before; n != 0 {
		t.Errorf("%d connections were made while the route was edited", n)
	}
	w.replaced(1, func() {
		w.kubectl("-n", w.ns, "delete", "pods", "-l", gatewayLabel+"=gateway", "--wait=false")
	})
	fresh, _ := w.quic(address)
	w.eventually("HTTP/3 of the new Envoy", func() error { return w.askQUIC(fresh, host, "two") })

	w.kubectl("-n", w.ns, "delete", "clienttrafficpolicy", "quic")
	w.eventually("the Service to have the port for TCP alone", func() error { return w.servicePorts("TCP 443") })
	if status, _, err := w.askTLS(address, host); err != nil || status != http.StatusOK {
		t.Errorf("by TCP: %d, %v", status, err)
	}
}

// servicePorts says whether the Service of the test's Gateway has other ports than these.
func (w *world) servicePorts(want ...string) error {
	s, err := one[corev1.Service](w, "/api/v1", "services")
	if err != nil {
		return err
	}
	var got []string
	for _, p := range s.Spec.Ports {
		got = append(got, fmt.Sprintf("%s %d", p.Protocol, p.Port))
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		return fmt.Errorf("its ports are %q, want %q", got, want)
	}
	return nil
}

// quic returns a client of HTTP/3 that connects to an address, whatever the host is, and the number of its connections.
func (w *world) quic(address string) (client *http.Client, dials *atomic.Int32) {
	w.t.Helper()
	socket, err := w.ListenPacket(w.t.Context(), "udp4", net.JoinHostPort(cluster.ControlIP, "0"))
	if err != nil {
		w.t.Fatal(err)
	}
	to, err := net.ResolveUDPAddr("udp4", address)
	if err != nil {
		w.t.Fatal(err)
	}
	dials = new(atomic.Int32)
	under := &quic.Transport{Conn: socket}
	transport := &http3.Transport{
		// The certificate signs itself.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, _ string, config *tls.Config, c *quic.Config) (*quic.Conn, error) {
			dials.Add(1)
			return under.DialEarly(ctx, to, config, c)
		},
	}
	w.t.Cleanup(func() { _ = errors.Join(transport.Close(), under.Close(), socket.Close()) })
	const limit = patience / 30
	return &http.Client{Transport: transport, Timeout: limit}, dials
}

// askQUIC says what a host is answered with by HTTP/3, if not by the backend of a Service.
func (w *world) askQUIC(client *http.Client, host, service string) error {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, "https://"+host+"/", nil)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.ProtoMajor != 3 || res.StatusCode != http.StatusOK || !strings.Contains(string(body), from(service)) {
		return fmt.Errorf("%s: status %d: %.200s", res.Proto, res.StatusCode, body)
	}
	return nil
}

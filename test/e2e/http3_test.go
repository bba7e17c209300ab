package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

// h3Client is a client of HTTP/3 that connects to the HTTPS port, whatever the host is.
type h3Client struct {
	*http.Client
	// dials counts the connections.
	dials atomic.Int32

	mu   sync.Mutex
	last *quic.Conn
}

// h3 returns a client that has the name in config for the SNI.
func (in *instance) h3(t *testing.T, config *tls.Config) *h3Client {
	t.Helper()
	out := &h3Client{}
	config = config.Clone()
	config.InsecureSkipVerify = config.RootCAs == nil
	transport := &http3.Transport{
		TLSClientConfig: config, DisableCompression: true,
		Dial: func(ctx context.Context, _ string, config *tls.Config, c *quic.Config) (*quic.Conn, error) {
			out.dials.Add(1)
			// Early: the client sends what it may before the handshake is done.
			conn, err := quic.DialAddrEarly(ctx, in.address("HTTPS"), config, c)
			out.mu.Lock()
			defer out.mu.Unlock()
			out.last = conn
			return conn, err
		},
	}
	out.Client = &http.Client{
		Transport: transport, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	t.Cleanup(func() { _ = transport.Close() })
	return out
}

// state is that of the latest connection.
func (c *h3Client) state() quic.ConnectionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last.ConnectionState()
}

// sendH3 sends a request by HTTP/3 on a connection of its own.
func (in *instance) sendH3(t *testing.T, r request) (answer, error) {
	t.Helper()
	return in.sendOn(t.Context(), in.h3(t, r.tls).Client, r)
}

// wantH3 sends a request by HTTP/3 until the answer is what is expected.
func (in *instance) wantH3(t *testing.T, r request, e expect) {
	t.Helper()
	eventually(t, func() error {
		a, err := in.sendH3(t, r)
		if err != nil {
			return err
		}
		return in.check(e, a)
	})
}

// over is a request to a host with its name as SNI.
func over(host string) request {
	return request{host: host, port: "HTTPS", proto: "h2", tls: &tls.Config{ServerName: host}}
}

// http3Files are two listeners with HTTP/3, and one that would have it if its clients showed no certificates.
func http3Files(t *testing.T) (files, *authority) {
	t.Helper()
	ca := newAuthority(t)
	return files{
		"gateway.yaml": httpsGateway([3]string{"shop", "shop.example", "{name: shop}"},
			[3]string{"wild", "*.example", "{name: wild}"}, [3]string{"door", "door.example", "{name: wild}"}),
		"backends.yaml": backendsYAML,
		"secrets.yaml": ca.secret(t, "shop", "ecdsa", "shop.example") + ca.secret(t, "wild", "rsa", "*.example") +
			bundle("clients", ca),
		"routes.yaml": attach("shop", "shop", "", "one") + attach("wild", "wild", "", "two") +
			attach("door", "door", "", "three"),
		"policy.yaml": clientPolicy("quic", "", "  http3: {}\n") + clientPolicy("door", "door", `  http3: {}
  tls: {clientValidation: {caCertificateRefs: [{kind: ConfigMap, group: "", name: clients}]}}
`),
	}, ca
}

// TestHTTP3: clients of HTTPS learn of HTTP/3 and reach the same routes by it, with the certificate for their SNI.
func TestHTTP3(t *testing.T) {
	t.Parallel()
	f, ca := http3Files(t)
	in := start(t, f)
	advertised := `alt-svc: h3=":${HTTPS}"; ma=86400`
	in.want(t, over("shop.example"), expect{backend: "one", header: []string{advertised}})
	for host, want := range map[string]struct{ backend, subject string }{
		"shop.example": {"one", "shop"}, "SHOP.example": {"one", "shop"}, "a.example": {"two", "wild"},
	} {
		r := over(strings.ToLower(host))
		r.tls = &tls.Config{ServerName: host, RootCAs: ca.pool}
		r.method, r.body = "POST", strings.Repeat("x", 1<<20)
		client := in.h3(t, r.tls)
		got, err := in.sendOn(t.Context(), client.Client, r)
		if err != nil {
			t.Fatalf("%s: %v", host, err)
		}
		if err := in.check(expect{backend: want.backend, received: []string{"x-forwarded-proto: https"}}, got); err != nil {
			t.Errorf("%s: %v", host, err)
		}
		state := client.state().TLS
		if got.proto != "HTTP/3.0" || state.PeerCertificates[0].Subject.CommonName != want.subject {
			t.Errorf("%s: %s with the certificate of %v", host, got.proto, state.PeerCertificates[0].Subject)
		}
	}
	for _, header := range []string{"door.example", "other.example"} {
		r := over("shop.example")
		r.host = header // on a connection for another listener
		in.wantH3(t, r, expect{status: 421})
	}
	t.Run("a UDP listener of the same number comes first", func(t *testing.T) {
		in.write("udp.yaml", strings.NewReplacer("name: gw", "name: udp", "name: http", "name: packets",
			"protocol: HTTP", "protocol: UDP", "${HTTP}", "${HTTPS}").Replace(gatewayYAML))
		in.condition(t, conditionWant{kind: "ClientTrafficPolicy", name: "default/quic",
			condition: "Accepted=False/Conflicted", message: "listener default/udp/packets has UDP port"})
		in.want(t, over("shop.example"), expect{backend: "one", header: []string{"alt-svc:"}})
		in.remove("udp.yaml")
		in.wantH3(t, over("shop.example"), expect{backend: "one", header: []string{advertised}})
	})
	t.Run("without the policy", func(t *testing.T) {
		in.remove("policy.yaml")
		in.want(t, over("shop.example"), expect{backend: "one", header: []string{"alt-svc:"}})
		eventually(t, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience/20)
			defer cancel()
			if _, err := in.sendOn(ctx, in.h3(t, over("shop.example").tls).Client, over("shop.example")); err == nil {
				return errors.New("HTTP/3 still works")
			}
			return nil
		})
	})
}

// TestHTTP3Connections: connections of HTTP/3 survive edits of routes and new certificates without the loss of a
// request, and nothing is taken before a handshake is done.
func TestHTTP3Connections(t *testing.T) {
	t.Parallel()
	f, ca := http3Files(t)
	in := start(t, f)
	in.wantH3(t, over("shop.example"), expect{backend: "one"})
	client := in.h3(t, over("shop.example").tls)
	stop, sent := in.askOn(t, client.Client)
	for i := range 20 {
		backend := []string{"two", "three"}[i%2]
		in.write("routes.yaml", attach("shop", "shop", "", backend))
		in.want(t, over("shop.example"), expect{backend: backend})
	}
	in.write("secrets.yaml", ca.secret(t, "shop", "ecdsa", "shop.example", "new.example")+
		ca.secret(t, "wild", "rsa", "*.example")+bundle("clients", ca))
	newest := func() bool {
		fresh := in.h3(t, over("shop.example").tls)
		_, err := in.sendOn(t.Context(), fresh.Client, over("shop.example"))
		return err == nil && slices.Contains(fresh.state().TLS.PeerCertificates[0].DNSNames, "new.example")
	}
	eventually(t, func() error {
		if !newest() {
			return errors.New("the old certificate is shown")
		}
		return nil
	})
	if failed := stop(); failed != nil || sent() < 50 || client.dials.Load() != 1 {
		t.Errorf("after %d requests on %d connections: %v", sent(), client.dials.Load(), failed)
	}

	// All that a policy can say of connections and TLS goes together with HTTP/3, or is for TCP alone.
	in.write("policy.yaml", clientPolicy("quic", "", `  http3: {}
  tcpKeepalive: {idleTime: 60s}
  timeout: {tcp: {idleTimeout: 10m, tlsHandshakeTimeout: 5s}, http: {idleTimeout: 5m}}
  connection: {connectionLimit: {value: 100, maxConnectionDuration: 1h}, bufferLimit: 64Ki, socketBufferLimit: 128Ki}
  http1: {preserveHeaderCase: true}
  tls:
    minVersion: "1.2"
    ciphers: [ECDHE-ECDSA-AES128-GCM-SHA256]
    ecdhCurves: [X25519]
    alpnProtocols: [h2]
    fingerprints: [JA3]
    session: {resumption: {stateless: {}, stateful: {}}}
`))
	cache := tls.NewLRUClientSessionCache(4)
	eventually(t, func() error {
		again := in.h3(t, &tls.Config{ServerName: "shop.example", ClientSessionCache: cache})
		if _, err := in.sendOn(t.Context(), again.Client, over("shop.example")); err != nil {
			return err
		}
		switch state := again.state(); {
		case state.Used0RTT:
			t.Error("a request was taken before the handshake")
		case !state.TLS.DidResume:
			return errors.New("the session is not resumed")
		}
		return nil
	})
}

// askOn sends requests one after the other. stop ends that and returns what went wrong; sent is how many were answered.
func (in *instance) askOn(t *testing.T, client *http.Client) (stop func() error, sent func() int64) {
	t.Helper()
	var count atomic.Int64
	done, result := make(chan struct{}), make(chan error, 1)
	go func() {
		var failed error
		for {
			select {
			case <-done:
				result <- failed
				return
			default:
			}
			a, err := in.sendOn(t.Context(), client, over("shop.example"))
			if err == nil {
				err = in.check(expect{}, a)
			}
			if failed = errors.Join(failed, err); err == nil {
				count.Add(1)
			}
		}
	}()
	return func() error { close(done); return <-result }, count.Load
}

// TestA23NoWayByHTTP3: what keeps requests away by HTTP/2 keeps them away by HTTP/3.
func TestA23NoWayByHTTP3(t *testing.T) {
	t.Parallel()
	f, _ := http3Files(t)
	f["guard.yaml"] = usersOf("users", "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw=") + policyIn("default", "guard", `
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  basicAuth: {users: {name: users}}`)
	in := start(t, f)
	password := []string{basic("alice", "open-sesame")}
	known := over("shop.example")
	known.header = password
	in.wantH3(t, known, expect{backend: "one"})
	in.wantH3(t, over("shop.example"), expect{status: 401})
	in.wantH3(t, over("a.example"), expect{status: 401})

	t.Run("client certificates", func(t *testing.T) {
		if _, err := in.send(t.Context(), over("door.example")); err == nil {
			t.Error("by HTTP/2 the listener takes a client without a certificate")
		}
		in.condition(t, conditionWant{kind: "ClientTrafficPolicy", name: "default/door",
			condition: "Accepted=False/Invalid", message: "cannot ask clients for certificates over QUIC"})
		for _, sni := range []string{"door.example", "shop.example", "a.example"} {
			r := over("door.example")
			r.header, r.tls = password, &tls.Config{ServerName: sni}
			in.wantH3(t, r, expect{status: 421})
		}
	})
	t.Run("a policy that cannot be applied", func(t *testing.T) {
		in.write("guard.yaml", policyIn("default", "guard", `
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  basicAuth: {users: {name: nobody}}`))
		in.wantH3(t, known, expect{status: 500})
	})
	t.Run("TLS that cannot be had", func(t *testing.T) {
		in.write("policy.yaml", clientPolicy("quic", "", `  http3: {}
  tls: {clientValidation: {caCertificateRefs: [{kind: ConfigMap, group: "", name: missing}]}}
`))
		eventually(t, func() error {
			ctx, cancel := context.WithTimeout(t.Context(), patience/20)
			defer cancel()
			if _, err := in.sendOn(ctx, in.h3(t, known.tls).Client, known); err == nil {
				return errors.New("HTTP/3 still works")
			}
			return nil
		})
	})
}

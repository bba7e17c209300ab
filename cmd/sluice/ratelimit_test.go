package main

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// startRateLimit runs the command until the test ends.
func startRateLimit(t *testing.T, f ratelimitFlags) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.run(ctx, slog.New(slog.DiscardHandler)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the command ended with %v", err)
		}
	})
}

// askLimit asks once whether a limit of one a day has something left, and waits until the service is there.
func askLimit(t *testing.T, target string, creds credentials.TransportCredentials) (
	*rlsv3.RateLimitResponse, error,
) {
	t.Helper()
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return rlsv3.NewRateLimitServiceClient(conn).ShouldRateLimit(ctx, &rlsv3.RateLimitRequest{
		Domain: ratelimit.Domain, Descriptors: []*commonv3.RateLimitDescriptor{{
			Entries: []*commonv3.RateLimitDescriptor_Entry{{Key: ratelimit.KeyLimit, Value: "1/Day"}},
		}},
	}, grpc.WaitForReady(true))
}

func freeLoopback(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func TestRateLimitOnASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	// One that was left behind is replaced.
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	_ = old.Close()
	admin := freeLoopback(t)
	startRateLimit(t, ratelimitFlags{address: "unix:" + socket, admin: admin})
	for _, want := range []rlsv3.RateLimitResponse_Code{rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT} {
		got, err := askLimit(t, "unix:"+socket, insecure.NewCredentials())
		if err != nil || got.GetOverallCode() != want {
			t.Errorf("%v, %v, want %v", got.GetOverallCode(), err, want)
		}
	}
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket is %v, %v; others must not be able to connect", info.Mode(), err)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok",
		"/metrics": `sluice_ratelimit_decisions_total{decision="over",rule=""} 1`,
	} {
		response, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("%s has no %q in it (%v):\n%s", path, want, err, body)
		}
	}
}

// TestA57RateLimitWithCertificates has Envoys answered, and nobody else who has a certificate.
func TestA57RateLimitWithCertificates(t *testing.T) {
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(time.Now()); err != nil {
		t.Fatal(err)
	}
	authority := pki.NewAuthority(time.Now)
	authority.Set(roster)
	identity, err := authority.IssueRateLimit()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"tls.crt": identity.Certificate, "tls.key": identity.Key, "ca.crt": identity.CA,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeLoopback(t)
	startRateLimit(t, ratelimitFlags{address: address, admin: freeLoopback(t), tlsDir: dir})

	envoy, err := authority.Issue("shop/edge")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(envoy.Certificate, envoy.Key)
	if err != nil {
		t.Fatal(err)
	}
	// Who the server is has its own test, with Envoy's configuration.
	client := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{pair}}
	if got, err := askLimit(t, address, credentials.NewTLS(client)); err != nil {
		t.Errorf("an Envoy was not answered: %v, %v", got, err)
	}
	other := authority.ClientConfig()
	other.VerifyConnection = nil
	if _, err := askLimit(t, address, credentials.NewTLS(other)); status.Code(err) != codes.PermissionDenied {
		t.Errorf("a client that is no Envoy: %v, want PermissionDenied", err)
	}
}

func TestA57RateLimitIsNotForEverybody(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:18002", ":18002"} {
		f := ratelimitFlags{address: address, admin: "127.0.0.1:0"}
		err := f.run(t.Context(), slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), "--tls-dir") {
			t.Errorf("%s without certificates: %v, want an error that says what to do", address, err)
		}
	}
}

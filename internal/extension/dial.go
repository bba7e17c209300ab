package extension

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/envoyproxy/gateway/proto/extension"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// connectTimeout is how long a connection may take to come about, reconnect how seldom it is tried at most.
	connectTimeout = 3 * time.Second
	reconnect      = 3 * time.Second
	// caKey is where a Secret may have a CA certificate, besides tls.crt, where Envoy Gateway has it.
	caKey = "ca.crt"
)

// options are how the server is reached.
func (s *server) options() ([]grpc.DialOption, error) {
	policy, err := s.serviceConfig()
	if err != nil {
		return nil, err
	}
	secured := insecure.NewCredentials()
	if s.spec.CA != nil {
		secured = credentials.NewTLS(s.tls())
	}
	wait := backoff.DefaultConfig
	wait.BaseDelay, wait.MaxDelay = s.caller.opts.Pause/4, reconnect
	return []grpc.DialOption{
		grpc.WithTransportCredentials(secured),
		grpc.WithDefaultServiceConfig(policy),
		grpc.WithMaxCallAttempts(s.spec.Retry.Attempts),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: wait, MinConnectTimeout: connectTimeout}),
		grpc.WithIdleTimeout(0), // the connection says when the server is another one
		grpc.WithDefaultCallOptions(
			grpc.MaxCallRecvMsgSize(s.spec.MaxMessage), grpc.MaxCallSendMsgSize(s.spec.MaxMessage)),
	}, nil
}

// serviceConfig is the policy of retries in the form that gRPC reads (gRFC A6). It allows none with one attempt.
func (s *server) serviceConfig() (string, error) {
	method := map[string]any{
		"name": []map[string]string{{"service": extension.EnvoyGatewayExtension_ServiceDesc.ServiceName}},
	}
	if r := s.spec.Retry; r.Attempts > 1 {
		method["retryPolicy"] = map[string]any{
			"maxAttempts": r.Attempts, "initialBackoff": seconds(r.Initial), "maxBackoff": seconds(r.Max),
			"backoffMultiplier": r.Multiplier, "retryableStatusCodes": r.Codes,
		}
	}
	out, err := json.Marshal(map[string]any{"methodConfig": []any{method}})
	if err != nil {
		return "", fmt.Errorf("policy of retries: %w", err)
	}
	return string(out), nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.9fs", d.Seconds()) }

// tls is a configuration that looks at the Secrets for each connection: they may change.
func (s *server) tls() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: s.spec.Authority,
		// It is verified below, with the CA certificate that there is by then.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection
		VerifyConnection:   s.verify,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return s.clientCertificate()
		},
	}
}

func (s *server) secret(name *model.Name) (map[string][]byte, error) {
	full := *name
	if full.Namespace == "" {
		full.Namespace = s.caller.opts.Namespace
	}
	data := s.caller.opts.Secret(full)
	if data == nil {
		return nil, fmt.Errorf("there is no Secret %s", full)
	}
	return data, nil
}

// verify checks the certificate of the server.
func (s *server) verify(state tls.ConnectionState) error {
	data, err := s.secret(s.spec.CA)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	found := false
	for _, key := range []string{caKey, corev1.TLSCertKey} {
		found = roots.AppendCertsFromPEM(data[key]) || found
	}
	if !found {
		return fmt.Errorf("secret %s has no CA certificate in %s or %s", s.spec.CA, corev1.TLSCertKey, caKey)
	}
	if len(state.PeerCertificates) == 0 {
		return errors.New("the extension server has shown no certificate")
	}
	rest := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		rest.AddCert(c)
	}
	_, err = state.PeerCertificates[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: rest, DNSName: s.spec.Authority,
	})
	return err
}

// clientCertificate is what is shown to the server: nothing unless it is configured.
func (s *server) clientCertificate() (*tls.Certificate, error) {
	if s.spec.Client == nil {
		return &tls.Certificate{}, nil
	}
	data, err := s.secret(s.spec.Client)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("secret %s: %w", s.spec.Client, err)
	}
	return &pair, nil
}

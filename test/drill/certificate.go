package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// certificateDrills are those of the certificates that clients see.
var certificateDrills = []drill{
	{id: "F10", fault: "a certificate is replaced once a second, RSA by ECDSA and back, while clients connect",
		promise: "0 handshakes and 0 requests fail, each is seen within 2 s, connections that are open stay",
		run:     certificateRotated},
	{id: "F12", fault: "the Secret of one listener of five is removed, emptied, and given the wrong key",
		promise: "the others never fail; that one never speaks plain text, and works within 2 s once it is mended",
		run:     certificateBroken},
}

// certificate returns a Secret with a new certificate with the serial number.
func certificate(name, host string, serial int64, ecc bool) (string, error) {
	cert, key, err := newCertificate(host, serial, ecc)
	return secret(name, cert, key), err
}

// newCertificate returns a certificate for a host, signed by itself, and its key, as PEM.
func newCertificate(host string, serial int64, ecc bool) (cert, key []byte, err error) {
	signer, err := newKey(ecc)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{host}, NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(signer)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), err
}

func newKey(ecc bool) (crypto.Signer, error) {
	if ecc {
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	return rsa.GenerateKey(rand.Reader, 2048)
}

func secret(name string, cert, key []byte) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Secret
metadata: {name: %s}
type: kubernetes.io/tls
data: {tls.crt: %s, tls.key: %s}
`, name, base64.StdEncoding.EncodeToString(cert), base64.StdEncoding.EncodeToString(key))
}

// httpsListener is a listener for a host with a Secret.
func httpsListener(port int, name, host string) string {
	return fmt.Sprintf("  - {name: %s, protocol: HTTPS, port: %d, hostname: %s, tls: {certificateRefs: [{name: %s}]}}\n",
		name, port, host, name)
}

// dialTLS opens connections for a host. Whether the certificate is right is for the drill to say.
func dialTLS(host string) load.Dial {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		dialer := tls.Dialer{Config: &tls.Config{ServerName: host, InsecureSkipVerify: true}} //nolint:gosec // see above
		return dialer.DialContext(ctx, network, address)
	}
}

// serial returns the serial number of the certificate that a host is answered with.
func (in *instance) serial(ctx context.Context, host string) (int64, error) {
	conn, err := dialTLS(host)(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", in.tlsPort))
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.Int64(), nil
}

// handshakes opens connections with a request each, one after the other, until it is stopped. It returns how many, and
// the errors.
func (in *instance) handshakes(host string) (stop func() (int, []error)) {
	ctx, cancel := context.WithCancel(context.Background())
	var count int
	var failed []error
	var working sync.WaitGroup
	working.Go(func() {
		for ; ctx.Err() == nil; count++ {
			conn := load.NewConn(fmt.Sprintf("127.0.0.1:%d", in.tlsPort))
			conn.Use(dialTLS(host), "")
			status, err := conn.Do(load.NewRequest(host, "/", nil))
			conn.Close()
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			if err != nil {
				failed = append(failed, err)
			}
		}
	})
	return func() (int, []error) {
		cancel()
		working.Wait()
		in.f.count(count, len(failed))
		return count, failed
	}
}

// startTLS runs an instance with an HTTPS listener for each host, whose Secret is named after it.
func (f *field) startTLS(ctx context.Context, names ...string) (*instance, error) {
	in, err := f.prepareInstance()
	if err != nil {
		return nil, err
	}
	var listeners []string
	for i, name := range names {
		listeners = append(listeners, httpsListener(in.tlsPort, name, name+".example"))
		content, err := certificate(name, name+".example", int64(i+1), true)
		if err != nil {
			return nil, err
		}
		if err := in.write(name+".yaml", content); err != nil {
			return nil, err
		}
	}
	err = errors.Join(in.write("gateway.yaml", gateway(in.port, listeners...)),
		in.write("route.yaml", route("all", `"*.example"`, to("one"))))
	if err != nil {
		return nil, err
	}
	return in, in.run(ctx)
}

func certificateRotated(ctx context.Context, f *field) (string, error) {
	in, err := f.startTLS(ctx, "rotated")
	if err != nil {
		return "", err
	}
	const host = "rotated.example"
	stopOpen := f.startLoad(load.Config{
		Address: fmt.Sprintf("127.0.0.1:%d", in.tlsPort), Conns: 2, Rate: 100, Dial: dialTLS(host),
		Requests: []load.Request{load.NewRequest(host, "/", nil)},
	})
	stop := in.handshakes(host)
	rotations, slowest := f.size(8, 100), time.Duration(0)
	for i := range rotations {
		serial := int64(1000 + i)
		content, err := certificate("rotated", host, serial, i%2 == 1)
		if err != nil {
			return "", err
		}
		began := time.Now()
		if err := in.write("rotated.yaml", content); err != nil {
			return "", err
		}
		err = eventually(ctx, patience, func() error {
			got, err := in.serial(ctx, host)
			if err == nil && got != serial {
				err = fmt.Errorf("certificate %d, want %d", got, serial)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		slowest = max(slowest, time.Since(began))
		if err := pause(ctx, time.Second-time.Since(began)); err != nil {
			return "", err
		}
	}
	count, failed := stop()
	open := stopOpen()
	seen := fmt.Sprintf("%d certificates, each within %v; %d handshakes, %d failed; on open connections %v", rotations,
		slowest.Round(time.Millisecond), count, len(failed), open)
	switch {
	case len(failed) > 0:
		return seen, broken("%v", errors.Join(failed[:min(3, len(failed))]...))
	case slowest > 2*time.Second:
		return seen, broken("a certificate took %v", slowest)
	}
	return seen, unharmed(open, 100)
}

func certificateBroken(ctx context.Context, f *field) (string, error) {
	in, err := f.startTLS(ctx, "bad", "a", "b", "c", "d")
	if err != nil {
		return "", err
	}
	stopA, stopD := in.handshakes("a.example"), in.handshakes("d.example")
	faults, good, err := badSecrets("bad")
	if err != nil {
		return "", err
	}
	rounds, refused, slowest := f.size(1, 10), 0, time.Duration(0)
	for range rounds {
		for _, content := range faults {
			ended, err := in.breakCertificate(ctx, content)
			if err != nil {
				return "", err
			}
			refused += ended
		}
		began := time.Now()
		if err := in.write("bad.yaml", good); err != nil {
			return "", err
		}
		err := eventually(ctx, patience, func() error { _, err := in.serial(ctx, "bad.example"); return err })
		if err != nil {
			return "", err
		}
		slowest = max(slowest, time.Since(began))
	}
	countA, failedA := stopA()
	countD, failedD := stopD()
	failed := append(failedA, failedD...)
	seen := fmt.Sprintf("%d faults, %d of them end its handshakes (else the last good certificate stays); mended within "+
		"%v; %d handshakes of others, %d failed", len(faults)*rounds, refused, slowest.Round(time.Millisecond), countA+countD,
		len(failed))
	switch {
	case len(failed) > 0:
		return seen, broken("%v", errors.Join(failed[:min(3, len(failed))]...))
	case slowest > 2*time.Second:
		return seen, broken("it took %v to be mended", slowest)
	}
	return seen, nil
}

// badSecrets are what becomes of a Secret that somebody breaks, and how it is meant to be.
func badSecrets(name string) (faults []string, good string, err error) {
	other, err := newKey(true)
	if err != nil {
		return nil, "", err
	}
	wrong, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		return nil, "", err
	}
	good, err = certificate(name, name+".example", 77, true)
	return []string{
		"# removed\n", secret(name, nil, nil),
		secret(name, []byte("no certificate"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: wrong})),
	}, good, err
}

// breakCertificate replaces the Secret of the bad listener, and returns 1 if its handshakes fail then.
func (in *instance) breakCertificate(ctx context.Context, content string) (int, error) {
	if err := in.write("bad.yaml", content); err != nil {
		return 0, err
	}
	if err := pause(ctx, 500*time.Millisecond); err != nil {
		return 0, err
	}
	plain, err := in.speaksPlain(ctx)
	if err != nil {
		return 0, err
	}
	if plain {
		return 0, broken("plain text is answered on the port of TLS")
	}
	if _, err := in.serial(ctx, "bad.example"); err != nil {
		return 1, nil //nolint:nilerr // that is what is counted
	}
	return 0, nil
}

// speaksPlain reports whether a request without TLS is answered on the port of TLS.
func (in *instance) speaksPlain(ctx context.Context) (bool, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", in.tlsPort))
	if errors.Is(err, context.Canceled) {
		return false, err
	}
	if err != nil {
		return false, nil //nolint:nilerr // nobody listens: that is no plain text either
	}
	defer func() { _ = conn.Close() }()
	if _, err := conn.Write(load.NewRequest("bad.example", "/", nil)); err != nil {
		return false, nil //nolint:nilerr // it hung up
	}
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	answer := make([]byte, 64)
	n, _ := conn.Read(answer)
	return bytes.HasPrefix(answer[:n], []byte("HTTP/")), nil
}

package fleet_test

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/pki"
)

// mounted is a folder that is changed as Kubernetes changes a Secret that is mounted: files are links through ..data,
// which is replaced as a whole.
type mounted struct {
	t   *testing.T
	dir string
	n   int
}

func (m *mounted) put(p pki.Pair) {
	m.t.Helper()
	m.n++
	data := filepath.Join(m.dir, "..data_"+string(rune('0'+m.n)))
	if err := os.Mkdir(data, 0o700); err != nil {
		m.t.Fatal(err)
	}
	for name, content := range map[string][]byte{"tls.crt": p.Certificate, "tls.key": p.Key, "ca.crt": p.CA} {
		if err := os.WriteFile(filepath.Join(data, name), content, 0o600); err != nil {
			m.t.Fatal(err)
		}
		link := filepath.Join(m.dir, name)
		if err := os.Symlink(filepath.Join("..data", name), link); err != nil && !errors.Is(err, os.ErrExist) {
			m.t.Fatal(err)
		}
	}
	next := filepath.Join(m.dir, "..data_tmp")
	err := errors.Join(os.Symlink(filepath.Base(data), next), os.Rename(next, filepath.Join(m.dir, "..data")))
	if err != nil {
		m.t.Fatal(err)
	}
}

// TestEnvoyShowsItsCertificate has a real Envoy with the bootstrap of a pod connect to the control plane, and the
// certificate replaced while it runs.
func TestEnvoyShowsItsCertificate(t *testing.T) {
	authority := newAuthority(t)
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // the end of the test
	dir := t.TempDir()
	secret := &mounted{t: t, dir: filepath.Join(dir, "identity")}
	if err := os.Mkdir(secret.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	first, err := authority.Issue("default/gw")
	if err != nil {
		t.Fatal(err)
	}
	secret.put(first)
	runPod(t, dir, secret.dir, uint16(listener.Addr().(*net.TCPAddr).Port)) //nolint:gosec // a port

	serial := handshake(t, listener, authority.ServerConfig())
	second, err := authority.Issue("default/gw")
	if err != nil {
		t.Fatal(err)
	}
	secret.put(second)
	for deadline := time.Now().Add(20 * time.Second); handshake(t, listener, authority.ServerConfig()) == serial; {
		if time.Now().After(deadline) {
			t.Fatal("Envoy goes on with the certificate that was replaced")
		}
	}
}

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	roster, err := pki.ParseRoster(nil, pki.DefaultTerm)
	if err != nil {
		t.Fatal(err)
	}
	if roster, _, err = roster.Advance(time.Now()); err != nil {
		t.Fatal(err)
	}
	authority := pki.NewAuthority(time.Now)
	authority.Set(roster)
	return authority
}

// handshake waits for Envoy to connect, returns the serial number of its certificate, and hangs up.
func handshake(t *testing.T, listener *net.TCPListener, config *tls.Config) string {
	t.Helper()
	if err := listener.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // hung up on purpose
	secure := tls.Server(conn, config)
	if err := secure.HandshakeContext(t.Context()); err != nil {
		t.Fatalf("handshake: %v", err)
	}
	state := secure.ConnectionState()
	if id, err := pki.Identity(state); err != nil || id != pki.ProxyID("default/gw") || state.Version != tls.VersionTLS13 {
		t.Errorf("Envoy is %s (%v) with TLS %x", id, err, state.Version)
	}
	return state.PeerCertificates[0].SerialNumber.String()
}

// runPod runs an Envoy with the bootstrap of a pod until the test ends.
func runPod(t *testing.T, dir, identity string, port uint16) {
	t.Helper()
	config := pod()
	config.ProbeBind, config.RateLimit = "", nil
	config.AdminSocket = filepath.Join(dir, "a.sock")
	config.Remote = &fleet.Remote{
		Host: "127.0.0.1", Port: port, Identity: pki.ControlPlane,
		CertificateSecret: filepath.Join(dir, "certificate.json"), AuthoritySecret: filepath.Join(dir, "authority.json"),
	}
	bootstrap, err := fleet.Bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	certificate, authority, err := fleet.SecretFiles(identity)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "bootstrap.json")
	for file, data := range map[string][]byte{
		path: raw, config.Remote.CertificateSecret: certificate, config.Remote.AuthoritySecret: authority,
	} {
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(envoytest.Binary(t), "--config-path", path, "--service-node", "pod-1", "--disable-hot-restart",
		"--log-level", "error")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
}

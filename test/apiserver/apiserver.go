// Package apiserver runs a real Kubernetes API server with its etcd, and nothing else of Kubernetes, for tests of what
// reads and writes objects. Nothing in it runs Pods; test/cluster does that.
package apiserver

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/sluice-gateway/sluice/test/cluster/component"
)

// Server is a running API server. It is on a loopback port.
type Server struct {
	dir       string
	bin       string
	port      int
	etcdPort  int
	flags     []string
	apiserver *process
	etcd      *process
}

// Admin is a user who may do everything, Nobody one who may do what roles give him.
const (
	Admin  = "admin"
	Nobody = "nobody"
)

// Start runs an API server for a test, with which it ends. The binaries are in the folder that $SLUICE_KUBE_BIN names,
// or else those of test clusters if they are built, or else on PATH. Without them the test is skipped, but fails where
// CI is "true".
func Start(t testing.TB) *Server {
	t.Helper()
	bin, err := binaries(t.Context())
	if err != nil {
		if os.Getenv("CI") == "true" || os.Getenv("SLUICE_KUBE_BIN") != "" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	s, err := run(bin, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Run runs an API server for a program, which has to stop it, with its files in a folder, and with flags besides those
// that it always has. The binaries are found as [Start] finds them.
func Run(ctx context.Context, dir string, flags ...string) (*Server, error) {
	bin, err := binaries(ctx)
	if err != nil {
		return nil, err
	}
	return run(bin, dir, flags...)
}

// run starts both on ports that are free. Another process can be faster to take one of them; then it tries others.
func run(bin, dir string, flags ...string) (*Server, error) {
	for try := 1; ; try++ {
		s := &Server{dir: dir, bin: bin, flags: flags}
		err := s.begin()
		if err == nil {
			return s, nil
		}
		if s.etcd != nil {
			s.Stop()
		}
		if try == 5 || !strings.Contains(err.Error(), "address already in use") {
			return nil, err
		}
	}
}

func (s *Server) begin() (err error) {
	if err := s.prepare(); err != nil {
		return err
	}
	data := filepath.Join(s.dir, "etcd")
	if err := os.RemoveAll(data); err != nil {
		return err
	}
	s.etcd, err = s.start("etcd",
		"--data-dir="+data, "--unsafe-no-fsync", "--log-level=error",
		"--listen-client-urls="+s.etcdURL(), "--advertise-client-urls="+s.etcdURL(),
		"--listen-peer-urls=http://127.0.0.1:0", "--quota-backend-bytes=8589934592")
	if err != nil {
		return err
	}
	return s.up()
}

// Stop ends the API server and its etcd.
func (s *Server) Stop() {
	if s.apiserver != nil {
		s.Down()
	}
	s.etcd.stop()
}

// binaries returns the folder of the binaries.
func binaries(ctx context.Context) (string, error) {
	if dir := os.Getenv("SLUICE_KUBE_BIN"); dir != "" {
		return dir, nil
	}
	if dir, err := component.Built(ctx, "kubernetes"); err != nil || dir != "" {
		return dir, err
	}
	for _, name := range []string{"etcd", "kube-apiserver"} {
		if _, err := exec.LookPath(name); err != nil {
			return "", fmt.Errorf("the test needs %s: build it with \"go run ./test/cluster/cmd build\", "+
				"or name its folder in $SLUICE_KUBE_BIN: %w", name, err)
		}
	}
	return "", nil
}

func (s *Server) prepare() error {
	for _, port := range []*int{&s.port, &s.etcdPort} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("a free port: %w", err)
		}
		*port = l.Addr().(*net.TCPAddr).Port
		if err := l.Close(); err != nil {
			return fmt.Errorf("a free port: %w", err)
		}
	}
	tokens := fmt.Sprintf("%[1]s,%[1]s,1,system:masters\n%[2]s,%[2]s,2\n", Admin, Nobody)
	if err := os.WriteFile(s.path("tokens"), []byte(tokens), 0o600); err != nil {
		return fmt.Errorf("tokens: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("key for service accounts: %w", err)
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return fmt.Errorf("key for service accounts: %w", err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})
	if err := os.WriteFile(s.path("key"), data, 0o600); err != nil {
		return fmt.Errorf("key for service accounts: %w", err)
	}
	return nil
}

func (s *Server) path(name string) string { return filepath.Join(s.dir, name) }
func (s *Server) etcdURL() string         { return fmt.Sprintf("http://127.0.0.1:%d", s.etcdPort) }

// Up runs the API server, again after [Server.Down], and waits until it is ready.
func (s *Server) Up(t testing.TB) {
	t.Helper()
	if err := s.up(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) up() (err error) {
	s.apiserver, err = s.start("kube-apiserver", append([]string{
		"--etcd-servers=" + s.etcdURL(), "--bind-address=127.0.0.1", "--advertise-address=192.0.2.1",
		fmt.Sprint("--secure-port=", s.port),
		"--cert-dir=" + s.path("certs"), "--token-auth-file=" + s.path("tokens"), "--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.96.0.0/16", "--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + s.path("key"), "--service-account-signing-key-file=" + s.path("key"),
		"--disable-admission-plugins=ServiceAccount", "--v=0",
	}, s.flags...)...)
	if err != nil {
		return err
	}
	deadline := time.Now().Add(90 * time.Second)
	for {
		err := s.ready()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || s.apiserver.over() || s.etcd.over() {
			return fmt.Errorf("the API server is not ready: %w\n%s\n%s", err, s.etcd, s.apiserver)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (s *Server) ready() error { return s.get("/readyz") }

// Collect has the API server collect its garbage now. Left to itself it does so at any time, and takes seconds of CPU
// time if it holds many objects.
func (s *Server) Collect() error { return s.get("/debug/pprof/heap?gc=1") }

// get asks for a path, for the sake of what that does.
func (s *Server) get(path string) error {
	client, err := rest.HTTPClientFor(s.Config(Admin))
	if err != nil {
		return fmt.Errorf("the certificate that it makes for itself: %w", err)
	}
	defer client.CloseIdleConnections()
	resp, err := client.Get(s.Config(Admin).Host + path)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return nil
}

// PID is the process of the API server.
func (s *Server) PID() int { return s.apiserver.cmd.Process.Pid }

// Down kills the API server; etcd and what is in it stay.
func (s *Server) Down() { s.apiserver.stop() }

// Config is how a user reaches the server.
func (s *Server) Config(user string) *rest.Config {
	return &rest.Config{
		Host: fmt.Sprintf("https://127.0.0.1:%d", s.port), BearerToken: user, QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: s.path("certs/apiserver.crt")},
	}
}

// Kubeconfig is what a [Server.Config] says as a file for programs.
func Kubeconfig(config *rest.Config) []byte {
	return fmt.Appendf(nil, `
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "%s", certificate-authority: "%s"}}]
users: [{name: u, user: {token: "%s"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
`, config.Host, config.CAFile, config.BearerToken)
}

// process is a program that was started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (s *Server) start(name string, args ...string) (*process, error) {
	path := name
	if s.bin != "" {
		path = filepath.Join(s.bin, name)
	}
	p := &process{cmd: exec.CommandContext(context.Background(), path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Write keeps what the program prints.
func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// String returns the last lines that the program printed.
func (p *process) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(p.out.String(), "\n")
	return p.cmd.Path + ":\n" + strings.Join(lines[max(0, len(lines)-20):], "\n")
}

func (p *process) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

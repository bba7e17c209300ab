package ratelimittest

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Redis is a server that the test started, a real one.
type Redis struct {
	// Address is host:port on loopback.
	Address string
	dir     string
	binary  string
	args    []string
	process *exec.Cmd
}

// StartRedis starts redis-server or valkey-server from PATH, without persistence, and ends it with the test. Without
// one the test is skipped; `make test` installs one.
func StartRedis(t *testing.T, args ...string) *Redis {
	t.Helper()
	r := &Redis{dir: t.TempDir(), args: args}
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			r.binary = path
			break
		}
	}
	if r.binary == "" {
		t.Skip("there is neither redis-server nor valkey-server on PATH")
	}
	r.Address = freeAddress(t)
	r.Start(t)
	t.Cleanup(r.Kill)
	return r
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

// Start starts the server, again if it was killed, and waits until it answers.
func (r *Redis) Start(t *testing.T) {
	t.Helper()
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--bind", host, "--port", port, "--save", "", "--appendonly", "no", "--dir", r.dir}
	r.process = exec.Command(r.binary, append(args, r.args...)...)
	log, err := os.Create(filepath.Join(r.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	r.process.Stdout, r.process.Stderr = log, log
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if r.ping() {
			return
		}
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("%s does not answer:\n%s", r.binary, said)
}

func (r *Redis) ping() bool {
	answer, err := r.ask("PING")
	// A server with a password refuses, which shows that it is there.
	return err == nil && (answer == "+PONG" || strings.HasPrefix(answer, "-NOAUTH"))
}

// Keys returns how many keys the server has.
func (r *Redis) Keys(t *testing.T) int {
	t.Helper()
	answer, err := r.ask("DBSIZE")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if _, err := fmt.Sscanf(answer, ":%d", &n); err != nil {
		t.Fatalf("DBSIZE: %q", answer)
	}
	return n
}

// ask sends a command and returns the first line of the answer.
func (r *Redis) ask(command string) (string, error) {
	c, err := net.DialTimeout("tcp", r.Address, time.Second)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := fmt.Fprint(c, command, "\r\n"); err != nil {
		return "", err
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	return strings.TrimSpace(line), err
}

// Signal sends the server a signal.
func (r *Redis) Signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Kill ends the server at once. It can be started again, without what it knew.
func (r *Redis) Kill() {
	_ = r.process.Process.Kill()
	_ = r.process.Wait()
}

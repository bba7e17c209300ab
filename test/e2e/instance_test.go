package e2e

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/program"
)

// patience is how long a test waits for what has to happen. It is generous: it decides only how long a failure takes.
const patience = 20 * time.Second

// instance is a running `sluice run` with its own Envoy, folders and ports.
type instance struct {
	t *testing.T
	// binary is the program to run.
	binary string
	// config is the folder that it serves.
	config string
	root   string
	vars   map[string]string
	args   []string
	// env are variables of the environment besides those of the test, NAME=value.
	env     []string
	admin   string
	process *process
}

// process is one run of the binary.
type process struct {
	cmd    *exec.Cmd
	output *program.Output
	done   chan struct{} // Closed when it has ended.
	err    error         // How it ended.
}

// files are the contents of a configuration folder by file name. ${NAME} stands for a variable of the instance: HTTP,
// HTTPS and SPARE are ports, one, two and three the fields that refer to the Backends of that name, PORT_one and so on
// the ports that these listen on.
type files map[string]string

// start runs sluice on the files, to which it adds a Gateway with an HTTP listener and the three Backends unless there
// is a gateway.yaml, and waits until it is ready.
func start(t *testing.T, f files, args ...string) *instance {
	t.Helper()
	in := prepare(t, f, args...)
	in.run()
	in.waitReady()
	return in
}

// prepare makes an instance that is not running yet.
func prepare(t *testing.T, f files, args ...string) *instance {
	t.Helper()
	needEnvoy(t)
	root, err := os.MkdirTemp("", "sluice-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	in := &instance{
		t: t, binary: shared.binary, root: root, config: filepath.Join(root, "config"), vars: map[string]string{},
	}
	for _, dir := range []string{"config", "state", "run", "staging"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"HTTP", "HTTPS", "SPARE"} {
		in.vars[name] = strconv.Itoa(freePort(t))
	}
	for name, s := range shared.backends {
		in.vars[name] = "group: gateway.envoyproxy.io, kind: Backend, name: " + name
		in.vars["PORT_"+name] = strconv.Itoa(s.Port())
	}
	in.admin = fmt.Sprintf("127.0.0.1:%d", freePort(t))
	in.args = append([]string{
		"run", in.config, "--envoy", shared.envoy, "--admin-address", in.admin, "--state-dir", filepath.Join(root, "state"),
		"--runtime-dir", filepath.Join(root, "run"), "--envoy-concurrency", "1", "--drain-timeout", "1s",
	}, args...)
	if _, own := f["gateway.yaml"]; !own {
		f = maps.Clone(f)
		if f == nil {
			f = files{}
		}
		f["gateway.yaml"] = gatewayYAML
		f["backends.yaml"] = backendsYAML
	}
	for name, content := range f {
		in.write(name, content)
	}
	return in
}

// gatewayWith is the Gateway gw up to its listeners, which follow.
const gatewayWith = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  listeners:`

const gatewayYAML = gatewayWith + `
    - {name: http, protocol: HTTP, port: ${HTTP}}
`

const backendsYAML = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_one}}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: two}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_two}}}]}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: three}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_three}}}]}
`

// run starts the binary. At the end of the test it is stopped and must leave nothing behind.
func (in *instance) run() {
	in.t.Helper()
	p := &process{cmd: exec.Command(in.binary, in.args...), output: &program.Output{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.Env = append(os.Environ(), in.env...)
	// If the test binary itself is killed, for example by its timeout, nobody else would end it.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	in.process = p
	in.t.Cleanup(func() {
		if in.t.Failed() {
			in.t.Logf("output of sluice:\n%s", tail(p.output.String(), 60))
		}
		in.end(p)
	})
}

// end stops a process as an operator would, and checks what it leaves.
func (in *instance) end(p *process) {
	in.t.Helper()
	select {
	case <-p.done: // The test has ended it.
		return
	default:
	}
	in.signal(syscall.SIGTERM)
	if !in.exited(p) {
		in.t.Errorf("sluice is still running %v after SIGTERM", patience)
		_ = p.cmd.Process.Kill()
		<-p.done
	} else if p.err != nil {
		in.t.Errorf("sluice ended with %v after SIGTERM, want exit status 0", p.err)
	}
	in.checkNothingLeft()
}

// exited waits for a process to end.
func (in *instance) exited(p *process) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(patience):
		return false
	}
}

func (in *instance) signal(s syscall.Signal) {
	in.t.Helper()
	if err := in.process.cmd.Process.Signal(s); err != nil {
		in.t.Errorf("send %v to sluice: %v", s, err)
	}
}

// waitReady waits until the first configuration is live.
func (in *instance) waitReady() {
	in.t.Helper()
	eventually(in.t, func() error {
		select {
		case <-in.process.done:
			in.t.Fatalf("sluice ended with %v:\n%s", in.process.err, tail(in.process.output.String(), 60))
		default:
		}
		_, err := in.get("/readyz")
		return err
	})
}

// get asks the admin API.
func (in *instance) get(path string) ([]byte, error) {
	client := http.Client{Timeout: 5 * time.Second}
	res, err := client.Get("http://" + in.admin + path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET %s: %s: %s", path, res.Status, body)
	}
	return body, nil
}

// write puts a file into the configuration folder at once, as editors do: by renaming.
func (in *instance) write(name, content string) {
	in.t.Helper()
	staged := filepath.Join(in.root, "staging", filepath.Base(name))
	path := filepath.Join(in.config, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(staged, []byte(in.expand(content)), 0o600); err != nil {
		in.t.Fatal(err)
	}
	if err := os.Rename(staged, path); err != nil {
		in.t.Fatal(err)
	}
}

// remove deletes a file of the configuration folder.
func (in *instance) remove(name string) {
	in.t.Helper()
	if err := os.Remove(filepath.Join(in.config, name)); err != nil {
		in.t.Fatal(err)
	}
}

// expand replaces ${NAME} by the instance's variables.
func (in *instance) expand(text string) string {
	for name, value := range in.vars {
		text = strings.ReplaceAll(text, "${"+name+"}", value)
	}
	return text
}

// address returns where a port variable listens.
func (in *instance) address(port string) string { return net.JoinHostPort("127.0.0.1", in.vars[port]) }

// eventually tries until it works, and fails the test with the last error if it never does.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %v", patience, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

var ports struct {
	sync.Mutex
	next int
}

// freePort returns a port below those that the kernel gives to outgoing connections, so that nobody takes it between
// this check and its use.
func freePort(t *testing.T) int {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	if ports.next == 0 {
		ports.next = 15000 + rand.IntN(10000)
	}
	for range 1000 {
		ports.next++
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", ports.next))
		if err == nil {
			_ = l.Close()
			return ports.next
		}
	}
	t.Fatal("no free port found")
	return 0
}

// tail returns the last lines of a text.
func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

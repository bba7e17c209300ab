package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/usage"
	"github.com/sluice-gateway/sluice/test/program"
)

// instance is a running `sluice run` with its own folders and ports.
type instance struct {
	f                     *field
	root, config, staging string
	binary                string
	port, tlsPort         int
	admin                 string
	args, wrapper         []string
	cmd                   *exec.Cmd
	output                *program.Output
	done                  chan struct{}
}

// prepareInstance makes an instance with a Gateway that has an HTTP listener, and the Backends one and two. It is not
// running yet.
func (f *field) prepareInstance(args ...string) (*instance, error) {
	root, err := os.MkdirTemp(f.dir, "i")
	if err != nil {
		return nil, err
	}
	in := &instance{
		f: f, root: root, config: filepath.Join(root, "config"), staging: filepath.Join(root, "staging"), binary: f.sluice,
	}
	for _, dir := range []string{"config", "staging", "state", "run"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			return nil, err
		}
	}
	var ports [3]int
	for i := range ports {
		if ports[i], err = f.freePort(); err != nil {
			return nil, err
		}
	}
	in.port, in.tlsPort, in.admin = ports[0], ports[1], fmt.Sprintf("127.0.0.1:%d", ports[2])
	in.args = append([]string{
		"run", in.config, "--envoy", f.envoy, "--admin-address", in.admin, "--state-dir", filepath.Join(root, "state"),
		"--runtime-dir", filepath.Join(root, "run"), "--envoy-concurrency", "1", "--drain-timeout", "5s",
	}, args...)
	f.running = append(f.running, in)
	return in, errors.Join(in.write("gateway.yaml", gateway(in.port)), in.write("backends.yaml", f.backendsYAML()))
}

// start makes an instance with files by name, and waits until it is ready.
func (f *field) start(ctx context.Context, files map[string]string, args ...string) (*instance, error) {
	in, err := f.prepareInstance(args...)
	if err != nil {
		return nil, err
	}
	for name, content := range files {
		if err := in.write(name, content); err != nil {
			return nil, err
		}
	}
	return in, in.run(ctx)
}

// run starts the binary and waits until it is ready.
func (in *instance) run(ctx context.Context) error {
	command := append(append(in.wrapper[:len(in.wrapper):len(in.wrapper)], in.binary), in.args...)
	in.cmd, in.output, in.done = exec.Command(command[0], command[1:]...), &program.Output{}, make(chan struct{})
	in.cmd.Stdout, in.cmd.Stderr = in.output, in.output
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := in.cmd.Start(); err != nil {
		return err
	}
	go func(cmd *exec.Cmd, done chan struct{}) {
		_ = cmd.Wait() // what became of it is in its output
		close(done)
	}(in.cmd, in.done)
	return in.ready(ctx)
}

// ready waits until the first configuration is live.
func (in *instance) ready(ctx context.Context) error {
	return eventually(ctx, patience, func() error {
		select {
		case <-in.done:
			return fmt.Errorf("sluice has ended:\n%s", in.output)
		default:
		}
		_, err := in.ask("/readyz")
		return err
	})
}

// end stops the instance as an operator would, and kills it if that does not work.
func (in *instance) end() {
	if in.cmd == nil || in.cmd.Process == nil {
		return
	}
	// It may be stopped in both senses.
	for _, pid := range in.processes() {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
	_ = in.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-in.done:
	case <-time.After(patience):
		in.kill()
	}
	in.cmd = nil
}

// kill kills the process that was started, and waits until all that it started has ended too.
func (in *instance) kill() {
	all := in.processes()
	_ = in.cmd.Process.Kill()
	<-in.done
	for _, pid := range all {
		for began := time.Now(); time.Since(began) < patience && !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH); {
			time.Sleep(time.Millisecond)
		}
	}
}

// processes are the process that was started, and all that it has started.
func (in *instance) processes() []int {
	return append([]int{in.cmd.Process.Pid}, usage.Descendants(in.cmd.Process.Pid)...)
}

// pid returns the process id of the instance's Envoy, or of its control plane, once there is one.
func (in *instance) pid(ctx context.Context, envoy bool) (int, error) {
	var found int
	return found, eventually(ctx, patience, func() error {
		for _, pid := range in.processes()[1:] {
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
			if err == nil && strings.HasPrefix(filepath.Base(exe), "envoy") == envoy {
				found = pid
				return nil
			}
		}
		return errors.New("there is no such process")
	})
}

func (in *instance) envoyPID(ctx context.Context) (int, error) { return in.pid(ctx, true) }
func (in *instance) planePID(ctx context.Context) (int, error) { return in.pid(ctx, false) }

// peakOf is the most memory that a process has had, in MiB.
func peakOf(ctx context.Context, pid func(context.Context) (int, error)) (float64, error) {
	of, err := pid(ctx)
	if err != nil {
		return 0, err
	}
	_, peak, err := usage.Resident(of)
	return peak, err
}

// ask asks the admin API.
func (in *instance) ask(path string) (string, error) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + in.admin + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, res.Status, body)
	}
	return string(body), err
}

// object is what the instance says of an object.
type object struct {
	Kind     string
	Metadata struct{ Name string }
	Status   json.RawMessage
}

// objects are the objects with their statuses.
func (in *instance) objects() ([]object, error) {
	body, err := in.ask("/status")
	if err != nil {
		return nil, err
	}
	var out []object
	return out, json.Unmarshal([]byte(body), &out)
}

// envoyAdmin is the admin interface of the instance's Envoy.
func (in *instance) envoyAdmin() (local.Admin, error) {
	found, err := filepath.Glob(filepath.Join(in.root, "run", "sluice-*", "admin.sock"))
	if err != nil || len(found) != 1 {
		return local.Admin{}, fmt.Errorf("%d admin sockets, want one: %w", len(found), err)
	}
	return local.Admin{Socket: found[0]}, nil
}

// write puts a file into the folder at once, as editors do: by renaming.
func (in *instance) write(name, content string) error {
	staged := filepath.Join(in.staging, name)
	if err := os.WriteFile(staged, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(staged, filepath.Join(in.config, name))
}

func (in *instance) address() string { return fmt.Sprintf("127.0.0.1:%d", in.port) }

// get returns the status of a request on a connection of its own.
func (in *instance) get(host, path string) (int, error) {
	conn := load.NewConn(in.address())
	defer conn.Close()
	return conn.Do(load.NewRequest(host, path, nil))
}

// want waits until a request is answered with a status, and returns how long that took.
func (in *instance) want(ctx context.Context, host, path string, status int) (time.Duration, error) {
	began := time.Now()
	err := eventually(ctx, patience, func() error {
		got, err := in.get(host, path)
		if err == nil && got != status {
			err = fmt.Errorf("%s%s is answered with %d, want %d", host, path, got, status)
		}
		return err
	})
	return time.Since(began), err
}

// load sends requests for a host, answered by the backend one, until the returned function is called.
func (in *instance) load(rate float64, hosts ...string) (stop func() load.Result) {
	c := load.Config{Address: in.address(), Conns: 4, Rate: rate, Body: `"name":"one"`}
	for _, host := range hosts {
		c.Requests = append(c.Requests, load.NewRequest(host, "/", nil))
	}
	return in.f.startLoad(c)
}

// unharmed is the error for a load of which requests failed, or which was none.
func unharmed(r load.Result, least int) error {
	switch {
	case r.Failed() > 0:
		return broken("%v", r)
	case r.Sent < least:
		return fmt.Errorf("only %d requests were sent", r.Sent)
	}
	return nil
}

package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// workerPID returns the process id of the instance's control plane, and waits until there is one.
func (in *instance) workerPID() (worker int) {
	in.t.Helper()
	eventually(in.t, func() error {
		running := in.running()
		for pid := range running {
			// Its command line does not tell: whatever the holder starts has that of the holder until it is another program.
			// A process that has ended meanwhile has no environment.
			environment, _ := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
			if bytes.Contains(environment, []byte("\x00SLUICE_WORKER="+in.root)) {
				worker = pid
				return nil
			}
		}
		return fmt.Errorf("no control plane among the processes %v", running)
	})
	return worker
}

// TestControlPlaneKilled kills the control plane again and again: Envoy stays and loses no request, and the next
// control plane takes changes, those that were made while there was none included.
func TestControlPlaneKilled(t *testing.T) {
	for name, from := range map[string]string{"RDS": "0", "VHDS": "1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testControlPlaneKilled(t, from)
		})
	}
}

func testControlPlaneKilled(t *testing.T, vhdsFrom string) {
	in := prepare(t, simple, "--vhds-from", vhdsFrom)
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	envoy := in.envoyPID()
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 400, Requests: []load.Request{load.NewRequest("a", "/", nil)},
	})
	for round := range 5 {
		if err := syscall.Kill(in.workerPID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		host := fmt.Sprintf("round-%d.example", round)
		in.write("more.yaml", route("more", "["+host+"]", [2]string{"more", `[{path: {value: /}}]`}))
		in.want(t, request{host: host}, expect{header: []string{"x-rule: more"}})
	}
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	if now := in.envoyPID(); now != envoy {
		t.Errorf("Envoy is process %d, want %d as before", now, envoy)
	}
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "http",
		condition: "Programmed=True/Programmed"})
	in.printed(t, "the control plane has ended (signal: killed)")
}

// TestUpgrade replaces the program under load, first by itself and then by one that does not work.
func TestUpgrade(t *testing.T) {
	t.Parallel()
	in := prepare(t, simple)
	in.installAgain(t)
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	envoy, worker := in.envoyPID(), in.workerPID()
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 400, Requests: []load.Request{load.NewRequest("a", "/", nil)},
	})
	const back = "; the version before is running again"
	for _, step := range []struct {
		install func()
		printed string
	}{
		{func() { in.installAgain(t) }, "Envoy went on serving"},
		{func() { in.install(t, strings.NewReader("#!/bin/sh\nexit 7\n")) }, "exit status 7" + back},
		{func() { in.install(t, strings.NewReader("no program")) }, "exec format error" + back},
	} {
		step.install()
		in.signal(syscall.SIGUSR2)
		in.printed(t, step.printed)
		if now := in.workerPID(); now == worker {
			t.Errorf("%s: the control plane is process %d, before it was %d", step.printed, now, worker)
		} else {
			worker = now
		}
		host := fmt.Sprintf("after-%d.example", worker)
		in.write("more.yaml", route("more", "["+host+"]", [2]string{"more", `[{path: {value: /}}]`}))
		in.want(t, request{host: host}, expect{header: []string{"x-rule: more"}})
	}
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	if now := in.envoyPID(); now != envoy {
		t.Errorf("Envoy is process %d, want %d as before", now, envoy)
	}
}

// install puts a program in the place of the instance's own, at once.
func (in *instance) install(t *testing.T, content io.Reader) {
	t.Helper()
	in.binary = filepath.Join(in.root, "sluice")
	staged, err := os.OpenFile(in.binary+".new", os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(staged, content); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(staged.Close(), os.Rename(in.binary+".new", in.binary)); err != nil {
		t.Fatal(err)
	}
}

// installAgain puts the program of all tests there, in another file.
func (in *instance) installAgain(t *testing.T) {
	t.Helper()
	program, err := os.Open(shared.binary)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	in.install(t, program)
}

// TestUpgradeAtAnyTime asks for upgrades while there is no Envoy yet, and while another upgrade is under way: what is
// at the path when the last one is asked for runs in the end.
func TestUpgradeAtAnyTime(t *testing.T) {
	t.Parallel()
	in := prepare(t, simple)
	in.installAgain(t)
	envoy, ready := filepath.Join(in.root, "envoy"), filepath.Join(in.root, "ready")
	script := fmt.Sprintf(`#!/bin/sh
[ "$1" = --version ] || until [ -e '%s' ]; do sleep 0.05; done
exec '%s' "$@"
`, ready, shared.envoy)
	if err := os.WriteFile(envoy, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	in.args = append(in.args, "--envoy", envoy)
	in.run()
	worker := in.workerPID()
	in.installAgain(t)
	in.signal(syscall.SIGUSR2)
	if err := os.WriteFile(ready, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	upgraded := func(times int) {
		t.Helper()
		eventually(t, func() error {
			output := in.process.output.String()
			if n := strings.Count(output, "Envoy went on serving"); n != times {
				return fmt.Errorf("%d upgrades were done, want %d", n, times)
			}
			return nil
		})
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", in.workerPID()))
		if err != nil || program != in.binary {
			t.Errorf("the control plane is %q (%v), want the one that is at %s now", program, err, in.binary)
		}
	}
	upgraded(1)
	if now := in.workerPID(); now == worker {
		t.Errorf("the control plane is process %d as before", now)
	} else {
		worker = now
	}
	in.must(t, request{}, expect{backend: "one"})
	in.signal(syscall.SIGUSR2)
	eventually(t, func() error {
		if err := syscall.Kill(worker, 0); err == nil {
			return fmt.Errorf("the control plane %d is still there", worker)
		}
		return nil
	})
	in.installAgain(t)
	in.signal(syscall.SIGUSR2)
	upgraded(3)
	in.must(t, request{}, expect{backend: "one"})
}

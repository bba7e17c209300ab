package e2e

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// workerPID returns the process id of the instance's control plane, 0 if there is none.
func (in *instance) workerPID() int {
	in.t.Helper()
	for pid, cmdline := range in.running() {
		if pid != in.process.cmd.Process.Pid && !strings.HasPrefix(cmdline, shared.envoy+" ") {
			return pid
		}
	}
	return 0
}

// TestControlPlaneKilled kills the control plane again and again: Envoy stays and loses no request, and the next
// control plane takes changes, those that were made while there was none included.
func TestControlPlaneKilled(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
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
	in.binary = filepath.Join(in.root, "sluice")
	put := func(content io.Reader) {
		staged, err := os.OpenFile(in.binary+".new", os.O_CREATE|os.O_WRONLY, 0o700)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(staged, content); err != nil {
			t.Fatal(err)
		}
		if err := staged.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(in.binary+".new", in.binary); err != nil {
			t.Fatal(err)
		}
	}
	same := func() {
		program, err := os.Open(shared.binary)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = program.Close() }()
		put(program)
	}
	same()
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	envoy, worker := in.envoyPID(), in.workerPID()
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 400, Requests: []load.Request{load.NewRequest("a", "/", nil)},
	})
	for _, step := range []struct {
		install func()
		printed string
	}{
		{same, "Envoy went on serving"},
		{func() { put(strings.NewReader("#!/bin/sh\nexit 7\n")) }, "exit status 7; the version before is running again"},
		{func() { put(strings.NewReader("no program")) }, "exec format error; the version before is running again"},
	} {
		step.install()
		in.signal(syscall.SIGUSR2)
		in.printed(t, step.printed)
		if now := in.workerPID(); now == worker || now == 0 {
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

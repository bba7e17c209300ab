package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

var simple = files{"route.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: simple}
spec:
  parentRefs: [{name: gw}]
  rules: [{backendRefs: [{${one}}]}]
`}

// TestEnvoyKilled kills Envoy: another has to serve the same within two seconds, and take changes.
func TestEnvoyKilled(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	for round := range 2 {
		old := in.envoyPID()
		if old == 0 {
			t.Fatalf("no Envoy among the processes %v", in.running())
		}
		in.must(t, request{}, expect{backend: "one"})
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		killed := time.Now()
		in.want(t, request{}, expect{backend: "one"})
		if took := time.Since(killed); took > 2*time.Second {
			t.Errorf("round %d: served again after %v, want within 2s", round, took)
		}
		if pid := in.envoyPID(); pid == 0 || pid == old {
			t.Errorf("round %d: Envoy is process %d, before it was %d", round, pid, old)
		}
	}
	in.write("more.yaml", route("more", "[more.example]", [2]string{"more", `[{path: {value: /}}]`}))
	in.want(t, request{host: "more.example"}, expect{header: []string{"x-rule: more"}})
}

// TestSluiceKilled kills sluice itself: nothing may be left running, and it can be started again at once.
func TestSluiceKilled(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{}, expect{backend: "one"})
	in.signal(syscall.SIGKILL)
	if !in.exited(in.process) {
		t.Fatal("sluice survived SIGKILL")
	}
	if err := in.gone(); err != nil {
		t.Fatal(err)
	}
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
}

// TestRestart starts sluice again after its files were broken: the last good version is served, and the status says
// what is wrong.
func TestRestart(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{}, expect{backend: "one"})
	in.signal(syscall.SIGTERM)
	if !in.exited(in.process) {
		t.Fatal("sluice is still running after SIGTERM")
	}
	in.checkNothingLeft()
	in.write("route.yaml", "kind: HTTPRoute\nspec: [broken")
	in.run()
	in.waitReady()
	in.want(t, request{}, expect{backend: "one"})
	in.printed(t, "route.yaml")
	in.write("route.yaml", simple["route.yaml"])
	in.want(t, request{}, expect{backend: "one"})
}

// TestDrain ends sluice while it is under load: requests under way are finished, and those that come while it drains
// are served.
func TestDrain(t *testing.T) {
	t.Parallel()
	in := start(t, simple, "--drain-timeout", "3s")
	in.must(t, request{}, expect{backend: "one"})
	slow := make(chan error, 1)
	go func() {
		a, err := in.send(context.Background(), request{path: "/?delay=1500ms"})
		if err == nil {
			err = in.check(expect{backend: "one"}, a)
		}
		slow <- err
	}()
	stop := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 4, Rate: 400, Requests: []load.Request{load.NewRequest("a", "/", nil)},
	})
	time.Sleep(300 * time.Millisecond) // The slow request and the load are under way.
	in.signal(syscall.SIGTERM)
	time.Sleep(time.Second)
	if got := stop(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
	if err := <-slow; err != nil {
		t.Errorf("the request that was under way: %v", err)
	}
	if !in.exited(in.process) {
		t.Fatal("sluice is still running after SIGTERM")
	}
	if in.process.err != nil {
		t.Errorf("sluice ended with %v, want exit status 0", in.process.err)
	}
	in.checkNothingLeft()
	if _, err := net.DialTimeout("tcp", in.address("HTTP"), time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want that nobody listens any more", err)
	}
}

// TestTwoInstances checks that a second instance with the same admin address says so and does not disturb the first.
func TestTwoInstances(t *testing.T) {
	t.Parallel()
	first := start(t, simple)
	second := prepare(t, simple, "--admin-address", first.admin)
	second.run()
	if !second.exited(second.process) || second.process.err == nil {
		t.Errorf("the second instance ended with %v, want an error", second.process.err)
	}
	second.printed(t, first.admin)
	first.must(t, request{}, expect{backend: "one"})
}

// printed waits until the instance has printed a text.
func (in *instance) printed(t *testing.T, text string) {
	t.Helper()
	eventually(t, func() error {
		if !contains(in.process.output.String(), text) {
			return fmt.Errorf("%q is not in the output", text)
		}
		return nil
	})
}

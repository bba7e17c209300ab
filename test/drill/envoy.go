package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// envoyDrills are those of Envoy and of the whole instance.
var envoyDrills = []drill{
	{id: "F04", fault: "Envoy is killed under load, with 1,000 routes",
		promise: "it serves again within 2 s, and nothing fails after that", run: envoyKilled, loses: true},
	{id: "F04L", fault: "Envoy is killed under load, with 10,000 routes", long: true,
		promise: "it serves again within 5 s, and nothing fails after that", run: envoyKilledLarge, loses: true},
	{id: "F05", fault: "all is killed, and every route is cut in half before the next start",
		promise: "the last good version of all routes is served within 10 s", run: startedFromState},
	{id: "F14", fault: "the instance is stopped while requests take 3 s, and others come all the time",
		promise: "0 requests that were accepted fail", run: drained},
}

func envoyKilled(ctx context.Context, f *field) (string, error) {
	return f.killEnvoys(ctx, 1000, f.size(3, 10), 2*time.Second)
}

func envoyKilledLarge(ctx context.Context, f *field) (string, error) {
	return f.killEnvoys(ctx, 10_000, 3, 5*time.Second)
}

// killEnvoys kills Envoy a number of times, each time a second after it serves again.
func (f *field) killEnvoys(ctx context.Context, count, kills int, within time.Duration) (string, error) {
	in, err := f.start(ctx, routes(count))
	if err != nil {
		return "", err
	}
	last := host(count - 1)
	slowest, lost := time.Duration(0), 0
	for range kills {
		pid, err := in.envoyPID(ctx)
		if err != nil {
			return "", err
		}
		stop := in.load(400, host(0), last)
		if err := pause(ctx, 300*time.Millisecond); err != nil {
			return "", err
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return "", err
		}
		took, err := in.want(ctx, last, "/", 200)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took)
		lost += stop().Failed()
		stop = in.load(400, host(0), last)
		if err := pause(ctx, time.Second); err != nil {
			return "", err
		}
		if after := stop(); after.Failed() > 0 {
			return "", broken("after Envoy was back: %v", after)
		}
	}
	seen := fmt.Sprintf("%d kills, back within %v, %d requests lost at 400/s meanwhile", kills,
		slowest.Round(10*time.Millisecond), lost)
	if slowest > within {
		return seen, broken("it took %v", slowest)
	}
	return seen, nil
}

func startedFromState(ctx context.Context, f *field) (string, error) {
	const count = 300
	in, err := f.start(ctx, routes(count))
	if err != nil {
		return "", err
	}
	// What was read is kept a moment later.
	if err := in.kept(ctx, count); err != nil {
		return "", err
	}
	in.kill()
	for i := range count {
		path := filepath.Join(in.config, fmt.Sprintf("r%d.yaml", i))
		content, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		// Half of YAML can be valid; with a bracket that nothing opens it is not.
		if err := os.WriteFile(path, append(content[:len(content)/2], "\n}"...), 0o600); err != nil {
			return "", err
		}
	}
	began := time.Now()
	if err := in.run(ctx); err != nil {
		return "", err
	}
	for i := range count {
		if _, err := in.want(ctx, host(i), "/", 200); err != nil {
			return "", broken("route %d of %d: %v", i, count, err)
		}
	}
	took := time.Since(began)
	seen := fmt.Sprintf("%d routes in %v, notes in the output", count, took.Round(10*time.Millisecond))
	if took > 10*time.Second {
		return seen, broken("it took %v", took)
	}
	return seen, nil
}

// kept waits until the state folder has as many files as there are to keep.
func (in *instance) kept(ctx context.Context, count int) error {
	return eventually(ctx, patience, func() error {
		found := 0
		err := filepath.WalkDir(filepath.Join(in.root, "state"), func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				found++
			}
			return err
		})
		if err == nil && found < count {
			err = fmt.Errorf("%d files are kept, want %d", found, count)
		}
		return err
	})
}

// drained stops an instance. Clients open a connection for each request, as those do that a load balancer sends away
// when the instance says that it is not ready.
func drained(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(10))
	if err != nil {
		return "", err
	}
	const slow = 30
	answers := make(chan error, slow)
	var under sync.WaitGroup
	for range slow {
		under.Go(func() {
			status, err := in.get(host(1), "/?delay=3s")
			if err == nil && status != 200 {
				err = fmt.Errorf("status %d", status)
			}
			answers <- err
		})
	}
	stop := f.startLoad(load.Config{
		Address: in.address(), Conns: 4, Rate: 400, Requests: []load.Request{load.NewRequest(host(2), "/", nil)},
	})
	if err := pause(ctx, time.Second); err != nil {
		return "", err
	}
	if err := in.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return "", err
	}
	// Half of the time to drain, 5 s, new connections are still taken.
	if err := pause(ctx, 1500*time.Millisecond); err != nil {
		return "", err
	}
	result := stop()
	under.Wait()
	close(answers)
	cut := 0
	for err := range answers {
		if err != nil {
			cut++
		}
	}
	seen := fmt.Sprintf("%d of %d slow requests cut off, %v", cut, slow, result)
	if cut > 0 {
		return seen, broken("%s", seen)
	}
	return seen, unharmed(result, 200)
}

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// storeDrills are those of what counts for global rate limits.
var storeDrills = []drill{
	{id: "F37",
		fault: "the Redis with the counters of rate limits is killed, stopped, and 500 ms late (with redis-server)",
		promise: "limited requests pass within 100 ms more at p99, or get 500 if that is asked for; the control plane " +
			"grows by 50 MiB at most; limits hold again within 2 s of its return",
		run: storeFails},
}

// errNoRedis says that a drill cannot be run.
var errNoRedis = errors.New("there is neither redis-server nor valkey-server on PATH")

// redis starts a Redis without persistence, and ends it with the drill.
func (f *field) redis(ctx context.Context) (port int, process *exec.Cmd, err error) {
	binary := ""
	for _, name := range []string{"redis-server", "valkey-server"} {
		if path, err := exec.LookPath(name); err == nil {
			binary = path
			break
		}
	}
	if binary == "" {
		return 0, nil, errNoRedis
	}
	if port, err = f.freePort(); err != nil {
		return 0, nil, err
	}
	process = exec.Command(binary, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--save", "", "--dir", f.dir)
	if err := process.Start(); err != nil {
		return 0, nil, err
	}
	f.cleanup(func() {
		_ = process.Process.Signal(syscall.SIGCONT)
		_ = process.Process.Kill()
		_ = process.Wait() // it was killed
	})
	return port, process, eventually(ctx, patience, func() error {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = conn.Close()
		}
		return err
	})
}

// limits are a route whose limit nobody reaches, and one that is used up by the first request.
func limits() string {
	limit := func(name string, requests int) string {
		return policed("BackendTrafficPolicy", name,
			fmt.Sprintf("rateLimit: {global: {rules: [{limit: {requests: %d, unit: Hour}}]}}", requests))
	}
	return limit("wide", 1_000_000_000) + "---\n" + limit("narrow", 1)
}

func storeFails(ctx context.Context, f *field) (string, error) {
	seen := ""
	for _, mode := range []struct {
		name string
		want int
		args []string
	}{{"open", 200, nil}, {"closed", 500, []string{"--ratelimit-fail-closed"}}} {
		part, err := f.storeFails(ctx, mode.want, mode.args...)
		if errors.Is(err, errNoRedis) {
			return "not run: " + err.Error(), nil
		}
		if seen != "" {
			seen += "; "
		}
		if seen += mode.name + ": " + part; err != nil {
			return seen, err
		}
	}
	return seen, nil
}

// storeFails has the store fail while limits are to be held, and wants an answer for as long.
func (f *field) storeFails(ctx context.Context, want int, args ...string) (string, error) {
	port, process, err := f.redis(ctx)
	if err != nil {
		return "", err
	}
	p, err := f.pipe(port)
	if err != nil {
		return "", err
	}
	args = append(args, "--redis-url", fmt.Sprintf("redis://127.0.0.1:%d", p.port))
	in, err := f.start(ctx, map[string]string{
		"limits.yaml": limits(), "plain.yaml": route("plain", "plain.example", to("one")),
	}, args...)
	if err != nil {
		return "", err
	}
	if _, err := in.becomes(ctx, "narrow.example", nil, 429); err != nil {
		return "", err
	}
	before, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(200, 500)), "plain.example")
	answers, healed := tally{}, time.Duration(0)
	faults := []func(func(context.Context) error) error{
		func(do func(context.Context) error) error { return p.during(ctx, outage{killed, 0}, do) },
		func(do func(context.Context) error) error {
			return p.during(ctx, outage{slow, 500 * time.Millisecond}, do)
		},
		func(do func(context.Context) error) error { return frozen(ctx, process, do) },
	}
	for _, during := range faults {
		err := during(func(ctx context.Context) error {
			// The first few may be counted: the answer was on its way.
			if _, err := in.becomes(ctx, "narrow.example", nil, want); err != nil {
				return err
			}
			got, err := in.asked(ctx, f.outageLength(), "wide.example", nil)
			answers = answers.add(got)
			return err
		})
		if err != nil {
			return "", err
		}
		took, err := in.becomes(ctx, "narrow.example", nil, 429)
		if err != nil {
			return "", err
		}
		healed = max(healed, took)
	}
	after, err := in.census(ctx)
	if err != nil {
		return "", err
	}
	return judgeStore(storeSeen{answers, want, healed, after.plane - before.plane, stop()})
}

// frozen has a process stopped while something is done.
func frozen(ctx context.Context, process *exec.Cmd, do func(context.Context) error) error {
	if err := process.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := do(ctx)
	return errors.Join(err, process.Process.Signal(syscall.SIGCONT))
}

// storeSeen is what was seen while a store failed.
type storeSeen struct {
	answers tally
	want    int
	healed  time.Duration
	grown   int
	others  load.Result
}

func judgeStore(s storeSeen) (string, error) {
	more := s.answers.quantile(0.99) - s.others.Quantile(0.99)
	seen := fmt.Sprintf("%v, p99 %v more than others; limits hold again within %v; %v; grown by %d MiB", s.answers,
		more.Round(time.Millisecond), s.healed.Round(time.Millisecond), s.others, s.grown)
	switch {
	case s.answers.other(s.want) > 0:
		return seen, broken("want %d", s.want)
	case s.want == 200 && more > 100*time.Millisecond:
		return seen, broken("it took %v more", more)
	case s.grown > 50:
		return seen, broken("the control plane has grown")
	case s.healed > 2*time.Second:
		return seen, broken("it took %v until limits held again", s.healed)
	}
	return seen, unharmed(s.others, 100)
}

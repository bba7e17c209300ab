package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/process"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// gateway is a running system: Sluice, its peer, or a bare Envoy.
type gateway struct {
	*process.Process
	address string
	config  *config
	began   time.Time
}

// launcher starts a system on a configuration of n routes.
type launcher func(b *bench, n int, single bool) (*gateway, error)

// startSluice runs Sluice with n routes.
func startSluice(b *bench, n int, single bool) (*gateway, error) {
	root, err := b.folder("sluice")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	c := &config{port: port, backend: b.backend, single: single}
	if err := c.create(root, "sluice", n); err != nil {
		return nil, err
	}
	return b.runSluice(root, c)
}

// runSluice runs Sluice on a configuration, with one Envoy worker as all the systems have.
func (b *bench) runSluice(root string, c *config) (*gateway, error) {
	admin, err := freePort()
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"state", "run"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			return nil, err
		}
	}
	began := time.Now()
	p, err := process.Start(filepath.Join(root, "log"), b.sluice, "run", c.dir, "--envoy", b.envoy,
		"--admin-address", fmt.Sprintf("127.0.0.1:%d", admin), "--state-dir", filepath.Join(root, "state"),
		"--runtime-dir", filepath.Join(root, "run"), "--envoy-concurrency", "1", "--drain-timeout", "1s")
	if err != nil {
		return nil, err
	}
	return &gateway{Process: p, address: fmt.Sprintf("127.0.0.1:%d", c.port), config: c, began: began}, nil
}

// pollEvery is how often a change is looked for: the resolution of all times measured.
const pollEvery = 500 * time.Microsecond

// wait polls a host and path until it is answered with 200, and returns when that was.
func (g *gateway) wait(ctx context.Context, conn *load.Conn, host, path string) (time.Time, error) {
	at, err := g.until(ctx, conn, load.NewRequest(host, path, nil), 200)
	if err != nil {
		return at, fmt.Errorf("%s%s: %w", host, path, err)
	}
	return at, nil
}

// until polls with a request until it is answered with a status, and returns when that was.
func (g *gateway) until(ctx context.Context, conn *load.Conn, req load.Request, want int) (time.Time, error) {
	deadline := time.Now().Add(patience)
	for {
		status, err := conn.Do(req)
		now := time.Now()
		if err == nil && status == want {
			return now, nil
		}
		if ctx.Err() != nil {
			return now, ctx.Err()
		}
		if err := g.Running(); err != nil {
			return now, err
		}
		if now.After(deadline) {
			return now, fmt.Errorf("not answered with %d after %v (last: %d, %v)", want, patience, status, err)
		}
		time.Sleep(pollEvery)
	}
}

// envoyPID returns the process id of the gateway's Envoy.
func (g *gateway) envoyPID() (int, error) {
	for _, pid := range usage.Descendants(g.PID()) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && strings.HasPrefix(filepath.Base(exe), "envoy") {
			return pid, nil
		}
	}
	return 0, errors.New("the gateway has no Envoy")
}

// controlPlane returns the processes of the gateway's control plane: the one that was started, and those of the same
// program that it has started.
func (g *gateway) controlPlane() []int {
	program := func(pid int) string {
		exe, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)) // empty for a process that has ended
		return exe
	}
	out := []int{g.PID()}
	for _, pid := range usage.Descendants(out[0]) {
		if program(pid) == program(out[0]) {
			out = append(out, pid)
		}
	}
	return out
}

// allServing checks that every route is served.
func (g *gateway) allServing() error {
	conn := load.NewConn(g.address)
	defer conn.Close()
	for i, path := range g.config.paths {
		status, err := conn.Do(load.NewRequest(host(i), path, nil))
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		if err != nil {
			return fmt.Errorf("route %d of %d: %w", i, len(g.config.paths), err)
		}
	}
	return nil
}

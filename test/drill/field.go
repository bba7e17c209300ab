package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/echo"
	"github.com/sluice-gateway/sluice/test/program"
)

// field is what the drills share: the programs, backends, and a folder.
type field struct {
	options
	dir      string
	backends map[string]*echo.Server
	running  []*instance
	ports    int
	// cleanups end what a drill has started besides.
	cleanups []func()
	// sent and lost are how many requests the drill has sent so far, and how many of them were not answered as they
	// should have been.
	sent, lost int
}

// patience is how long anything may take that has to happen; it decides only how long a failure takes.
const patience = 60 * time.Second

func newField(o options) (*field, error) {
	dir, err := os.MkdirTemp("", "sluice-drill-")
	if err != nil {
		return nil, err
	}
	f := &field{options: o, dir: dir, backends: map[string]*echo.Server{}, ports: 15000 + rand.IntN(8000)}
	if err := f.prepare(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *field) prepare() (err error) {
	if f.sluice == "" {
		if f.sluice, err = program.Binary(f.dir); err != nil {
			return err
		}
	}
	if f.envoy == "" {
		var missing string
		if f.envoy, missing = program.Envoy(f.sluice); f.envoy == "" {
			return fmt.Errorf("no Envoy to drill with: %s", missing)
		}
	}
	for _, name := range []string{"one", "two"} {
		if f.backends[name], err = echo.Listen(name, "127.0.0.1:0"); err != nil {
			return err
		}
	}
	return nil
}

func (f *field) close() {
	f.endAll()
	for _, b := range f.backends {
		if b != nil {
			_ = b.Close()
		}
	}
	_ = os.RemoveAll(f.dir)
}

// endAll ends the instances that a drill has started.
func (f *field) endAll() {
	for _, in := range f.running {
		in.end()
	}
	f.running = nil
	for _, end := range slices.Backward(f.cleanups) {
		end()
	}
	f.cleanups = nil
}

// cleanup has something done when the drill ends.
func (f *field) cleanup(end func()) { f.cleanups = append(f.cleanups, end) }

// count adds requests to those of the drill.
func (f *field) count(sent, lost int) {
	f.sent += sent
	f.lost += lost
}

// startLoad sends requests until the returned function is called, and counts them.
func (f *field) startLoad(c load.Config) (stop func() load.Result) {
	end := load.Start(c)
	return func() load.Result {
		r := end()
		f.count(r.Sent, r.Failed())
		return r
	}
}

// size is how much of something a drill does: less of it without -all.
func (f *field) size(quick, full int) int {
	if f.all {
		return full
	}
	return quick
}

// freePort returns a port below those that the kernel gives to outgoing connections, so that nobody takes it between
// this check and its use.
func (f *field) freePort() (int, error) {
	for range 1000 {
		f.ports++
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", f.ports))
		if err == nil {
			return f.ports, l.Close()
		}
	}
	return 0, fmt.Errorf("no free port below %d", f.ports)
}

// build builds sluice with a version and further flags, and returns its path.
func (f *field) build(ctx context.Context, version string, flags ...string) (string, error) {
	path := filepath.Join(f.dir, "sluice-"+version)
	args := append([]string{"build", "-ldflags", "-X main.version=" + version, "-o", path}, flags...)
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/sluice-gateway/sluice/cmd/sluice")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sluice: %w\n%s", err, out)
	}
	return path, nil
}

// eventually tries until it works, and returns the last error if it never does.
func eventually(ctx context.Context, within time.Duration, try func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not within %v: %w", within, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// pause waits, unless the context ends before.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

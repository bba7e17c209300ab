package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// planeDrills are those of the control plane.
var planeDrills = []drill{
	{id: "F01", fault: "the control plane is killed again and again under load",
		promise: "0 requests fail, Envoy and its configuration stay, a new route works within 10 s of the restart",
		run:     planeKilled},
	{id: "F02", fault: "the control plane hangs (SIGSTOP), and goes on later",
		promise: "0 requests fail, a change made meanwhile is live within 5 s of the end", run: planeStopped},
	{id: "F13", fault: "upgrade to the next version and back under load, and to one that does not start",
		promise: "0 requests fail, Envoy and its configuration stay, the version before takes over again", run: upgraded},
}

// planeKilled kills the control plane with so many routes that a smaller configuration on the way would be seen.
func planeKilled(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(200))
	if err != nil {
		return "", err
	}
	before, err := in.fingerprint(ctx)
	if err != nil {
		return "", err
	}
	kills, slowest := f.size(5, 20), time.Duration(0)
	stop := in.load(float64(f.size(400, 1500)), host(0), host(99), host(199))
	for i := range kills {
		if err := in.killPlane(ctx); err != nil {
			return "", err
		}
		if err := in.write("added.yaml", route("added", fmt.Sprintf("added-%d.example", i), to("one"))); err != nil {
			return "", err
		}
		if _, err := in.planePID(ctx); err != nil {
			return "", err
		}
		took, err := in.want(ctx, fmt.Sprintf("added-%d.example", i), "/", 200)
		if err != nil {
			return "", err
		}
		slowest = max(slowest, took)
	}
	result := stop()
	seen := fmt.Sprintf("%d kills, %v; new routes within %v", kills, result, slowest.Round(100*time.Millisecond))
	if err := os.Remove(filepath.Join(in.config, "added.yaml")); err != nil {
		return seen, err
	}
	if _, err := in.want(ctx, fmt.Sprintf("added-%d.example", kills-1), "/", 404); err != nil {
		return seen, err
	}
	if err := in.unchanged(ctx, before); err != nil {
		return seen, err
	}
	if slowest > 10*time.Second {
		return seen, broken("a new route took %v", slowest)
	}
	return seen, unharmed(result, 500)
}

// killPlane kills the control plane, and waits until it has ended.
func (in *instance) killPlane(ctx context.Context) error {
	pid, err := in.planePID(ctx)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return eventually(ctx, patience, func() error {
		if syscall.Kill(pid, 0) == nil {
			return fmt.Errorf("process %d is still there", pid)
		}
		return nil
	})
}

// fingerprint tells an Envoy and its configuration apart from any other.
type fingerprint struct {
	pid    int
	config [sha256.Size]byte
}

// fingerprint is of what Envoy says that it has, but for when it got it.
func (in *instance) fingerprint(ctx context.Context) (fingerprint, error) {
	pid, err := in.envoyPID(ctx)
	if err != nil {
		return fingerprint{}, err
	}
	admin, err := in.envoyAdmin()
	if err != nil {
		return fingerprint{}, err
	}
	dump, err := admin.ConfigDump(ctx)
	if err != nil {
		return fingerprint{}, err
	}
	var value any
	if err := json.Unmarshal(dump, &value); err != nil {
		return fingerprint{}, err
	}
	canonical, err := json.Marshal(timeless(value))
	return fingerprint{pid, sha256.Sum256(canonical)}, err
}

// timeless is a value of JSON without the times of updates.
func timeless(value any) any {
	switch v := value.(type) {
	case map[string]any:
		delete(v, "last_updated")
		for key := range v {
			v[key] = timeless(v[key])
		}
	case []any:
		for i := range v {
			v[i] = timeless(v[i])
		}
	}
	return value
}

// unchanged returns an error if Envoy, or what it has, is another than before. What was added since is removed a while
// after it is of no use.
func (in *instance) unchanged(ctx context.Context, before fingerprint) error {
	return eventually(ctx, 10*time.Second, func() error {
		now, err := in.fingerprint(ctx)
		switch {
		case err != nil:
			return err
		case now.pid != before.pid:
			return broken("Envoy is process %d, it was %d", now.pid, before.pid)
		case now.config != before.config:
			return broken("Envoy's configuration is another")
		}
		return nil
	})
}

// planeStopped stops the control plane in the sense of the shell.
func planeStopped(ctx context.Context, f *field) (string, error) {
	in, err := f.start(ctx, routes(20))
	if err != nil {
		return "", err
	}
	pid, err := in.planePID(ctx)
	if err != nil {
		return "", err
	}
	hang := time.Duration(f.size(5, 60)) * time.Second
	stop := in.load(float64(f.size(500, 1500)), host(0))
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		return "", err
	}
	if err := in.write("added.yaml", route("added", "added.example", to("one"))); err != nil {
		return "", err
	}
	if err := pause(ctx, hang); err != nil {
		return "", err
	}
	early, err := in.get("added.example", "/")
	if err != nil {
		return "", err
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		return "", err
	}
	took, err := in.want(ctx, "added.example", "/", 200)
	if err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%v for %v, %v; live after %v", "stopped", hang, result, took.Round(time.Millisecond))
	switch {
	case early != 404:
		return seen, fmt.Errorf("the route answered %d while the control plane was stopped", early)
	case took > 5*time.Second:
		return seen, broken("the change took %v", took)
	}
	return seen, unharmed(result, 500)
}

// upgraded goes from a version to the next, to one that does not start, and back.
func upgraded(ctx context.Context, f *field) (string, error) {
	previous, next, err := f.versions(ctx)
	if err != nil {
		return "", err
	}
	in, err := f.prepareInstance()
	if err != nil {
		return "", err
	}
	in.binary = filepath.Join(in.root, "sluice")
	for name, content := range routes(100) {
		if err := in.write(name, content); err != nil {
			return "", err
		}
	}
	if err := in.install(previous); err != nil {
		return "", err
	}
	if err := in.run(ctx); err != nil {
		return "", err
	}
	before, err := in.fingerprint(ctx)
	if err != nil {
		return "", err
	}
	stop := in.load(float64(f.size(400, 1500)), host(0), host(99))
	rounds := f.size(1, 5)
	for range rounds {
		if err := in.upgradeTo(ctx, next, "Envoy went on serving"); err != nil {
			return "", err
		}
		if err := in.upgradeTo(ctx, "/bin/false", "the version before is running again"); err != nil {
			return "", err
		}
		if err := in.upgradeTo(ctx, previous, "Envoy went on serving"); err != nil {
			return "", err
		}
	}
	// What an upgrade leaves undone can show a little later.
	if err := pause(ctx, time.Second); err != nil {
		return "", err
	}
	result := stop()
	seen := fmt.Sprintf("%d upgrades, %v", 3*rounds, result)
	if err := in.unchanged(ctx, before); err != nil {
		return seen, err
	}
	return seen, unharmed(result, 500)
}

// versions are the programs to upgrade from and to. A build takes longer than all the rest, so without -all, or a
// program that was given, both are the same.
func (f *field) versions(ctx context.Context) (previous, next string, err error) {
	if !f.all || f.previous != "" {
		return cmp.Or(f.previous, f.sluice), f.sluice, nil
	}
	next, err = f.build(ctx, "next")
	return f.sluice, next, err
}

// upgradeTo puts a program in the place of the instance's, has it started, and waits until the instance has said
// something.
func (in *instance) upgradeTo(ctx context.Context, program, said string) error {
	if err := in.install(program); err != nil {
		return err
	}
	already := len(in.output.String())
	if err := in.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		return err
	}
	return eventually(ctx, patience, func() error {
		if out := in.output.String()[already:]; !strings.Contains(out, said) {
			return fmt.Errorf("%q is not in the output:\n%s", said, out)
		}
		return nil
	})
}

// install puts a program in the place of the instance's at once.
func (in *instance) install(program string) error {
	source, err := os.Open(program)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	staged, err := os.OpenFile(in.binary+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o700) //nolint:gosec // to be run
	if err != nil {
		return err
	}
	if _, err := io.Copy(staged, source); err != nil {
		return err
	}
	if err := staged.Close(); err != nil {
		return err
	}
	return os.Rename(in.binary+".new", in.binary)
}

package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/keeper"
	"github.com/sluice-gateway/sluice/test/program"
)

// The test binary is the worker: its first argument is what it does. With asKeeper in its environment it is a keeper
// that waits to be killed.
const asKeeper = "SLUICE_TEST_KEEPER"

func TestMain(m *testing.M) {
	if worker := keeper.Join(); worker != nil {
		work(worker, os.Args[1])
	}
	if dir := os.Getenv(asKeeper); dir != "" {
		if _, err := keeper.Start(context.Background(), config(os.Args[0], dir, os.Stdout, "work")); err != nil {
			panic(err)
		}
		select {}
	}
	os.Exit(m.Run())
}

// work is the life of a worker, whose version is the name of its file.
func work(worker *keeper.Worker, how string) {
	quiet := make(chan os.Signal, 1)
	signal.Notify(quiet, syscall.SIGTERM)
	fmt.Println("started", os.Getpid())
	version := filepath.Base(os.Args[0])
	switch {
	case how == "fail":
		os.Exit(3)
	case version == "broken":
		worker.Serving()
		os.Exit(4)
	case version == "hangs":
		worker.Serving()
		select {}
	}
	worker.Say("said by " + version)
	worker.Serving()
	if how == "late" {
		for err := error(os.ErrNotExist); err != nil; time.Sleep(5 * time.Millisecond) {
			_, err = os.Stat(filepath.Join(worker.Dir, "go"))
		}
	}
	worker.Ready(version)
	for {
		select {
		case <-quiet:
			fmt.Println("quiet")
		case <-worker.Released:
			fmt.Println("released")
			os.Exit(0)
		}
	}
}

func config(path, dir string, out io.Writer, how string) keeper.Config {
	return keeper.Config{Program: path, Args: []string{how}, Dir: dir, Stdout: out, Stderr: os.Stderr}
}

const patience = 20 * time.Second

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// pids are the processes that have said that they started.
func pids(out string) []int {
	var found []int
	for line := range strings.Lines(out) {
		if rest, ok := strings.CutPrefix(line, "started "); ok {
			pid, _ := strconv.Atoi(strings.TrimSpace(rest))
			found = append(found, pid)
		}
	}
	return found
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// install puts the test binary at a path under another name, at once.
func install(t *testing.T, path, as string) {
	t.Helper()
	link := filepath.Join(t.TempDir(), as)
	if err := os.Symlink(os.Args[0], link); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(link, path); err != nil {
		t.Fatal(err)
	}
}

// TestWorkerIsStartedAgain kills workers: others follow, and the last ends when it is released.
func TestWorkerIsStartedAgain(t *testing.T) {
	var out program.Output
	ends := make(chan keeper.End, 10)
	c := config(os.Args[0], t.TempDir(), &out, "work")
	c.OnEnd = func(e keeper.End) { ends <- e }
	k, err := keeper.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		// One that is killed before it was ready, without any that was before, is not started again.
		eventually(t, "a worker has started", func() bool { return len(pids(out.String())) == round+1 })
		if round == 0 {
			if _, err := k.Replace(t.Context()); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the worker was replaced", func() bool { return len(pids(out.String())) == 2 })
			continue
		}
		if err := syscall.Kill(pids(out.String())[round], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if e := <-ends; e.InARow < 1 || e.RestartIn <= 0 || !strings.Contains(e.Err.Error(), "killed") {
			t.Errorf("round %d: end %+v, want one by a signal, and a restart", round, e)
		}
	}
	eventually(t, "the last has started", func() bool { return len(pids(out.String())) == 4 })
	k.Quiet()
	eventually(t, "it is quiet", func() bool { return strings.Contains(out.String(), "quiet") })
	last := pids(out.String())[3]
	if gone(last) {
		t.Error("the worker has ended before it was released")
	}
	k.Stop()
	if !strings.HasSuffix(out.String(), "released\n") || !gone(last) {
		t.Errorf("the worker was not released, or has not ended: %q", out.String())
	}
}

// TestFirstWorkerFails says that a worker that cannot start is not tried again: it has told its user why.
func TestFirstWorkerFails(t *testing.T) {
	var out program.Output
	_, err := keeper.Start(t.Context(), config(os.Args[0], t.TempDir(), &out, "fail"))
	if !errors.Is(err, keeper.ErrWorker) || !strings.Contains(err.Error(), "exit status 3") {
		t.Errorf("got %v, want ErrWorker with the exit status", err)
	}
	if n := len(pids(out.String())); n != 1 {
		t.Errorf("%d workers were started, want 1", n)
	}
}

// TestReplaceBeforeReady asks for another worker before the first one is ready: it is not taken for one that failed,
// and replaced once it is ready.
func TestReplaceBeforeReady(t *testing.T) {
	var out program.Output
	dir := t.TempDir()
	k, err := keeper.Start(t.Context(), config(os.Args[0], dir, &out, "late"))
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	eventually(t, "the worker has started", func() bool { return len(pids(out.String())) == 1 })
	first := pids(out.String())[0]
	soon, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := k.Replace(soon); !errors.Is(err, context.DeadlineExceeded) || k.Proven() || gone(first) {
		t.Errorf("before the worker is ready: %v, proven %v, gone %v", err, k.Proven(), gone(first))
	}
	if err := os.WriteFile(filepath.Join(dir, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Replace(t.Context()); err != nil || !k.Proven() || !gone(first) {
		t.Errorf("once it is: %v, proven %v, gone %v", err, k.Proven(), gone(first))
	}
	select {
	case err := <-k.Failed():
		t.Errorf("the first worker is taken for one that failed: %v", err)
	default:
	}
	k.Stop()
	if _, err := k.Replace(t.Context()); !errors.Is(err, keeper.ErrStopped) {
		t.Errorf("after the end: %v, want ErrStopped", err)
	}
}

// TestReplace goes to other versions and back, and falls back from those that do not become ready.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	var out program.Output
	c := config(filepath.Join(dir, "program"), dir, &out, "work")
	c.Fallback, c.Patience = filepath.Join(dir, "first"), time.Second
	said := make(chan string, 10)
	c.OnWord = func(line string) { said <- line }
	install(t, c.Fallback, "first")
	install(t, c.Program, "second")
	k, err := keeper.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Stop()
	for _, tt := range []struct{ program, version, problem string }{
		{"", "program", ""},
		{"broken", "first", "exit status 4"},
		{"hangs", "first", "not ready after 1s"},
		{"", "program", ""},
	} {
		switch tt.program {
		case "":
			install(t, c.Program, "program")
		default:
			// A worker goes by the name that it was started by.
			script := fmt.Sprintf("#!/bin/bash\nexec -a %s '%s' \"$@\"\n", tt.program, os.Args[0])
			staged := filepath.Join(dir, "staged")
			if err := os.WriteFile(staged, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
				t.Fatal(err)
			}
			if err := os.Rename(staged, c.Program); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-said; !strings.HasPrefix(got, "said by ") {
			t.Errorf("%q: the worker before said %q", tt.program, got)
		}
		version, err := k.Replace(t.Context())
		if version != tt.version {
			t.Errorf("%q: version %q is ready, want %q", tt.program, version, tt.version)
		}
		if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%q: error %v, want %q", tt.program, err, tt.problem)
		}
		started := pids(out.String())
		for _, pid := range started[:len(started)-1] {
			if !gone(pid) {
				t.Errorf("%q: an earlier worker is still there", tt.program)
			}
		}
	}
}

// TestWorkerDiesWithItsKeeper kills a keeper, and wants its worker to end.
func TestWorkerDiesWithItsKeeper(t *testing.T) {
	var out program.Output
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asKeeper+"="+t.TempDir())
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the worker has started", func() bool { return len(pids(out.String())) == 1 })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	eventually(t, "the worker is gone", func() bool { return gone(pids(out.String())[0]) })
}

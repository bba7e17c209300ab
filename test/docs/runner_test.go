package docs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/echo"
	"github.com/sluice-gateway/sluice/test/program"
)

const (
	// patience is how long sluice may take to be ready or to end; it decides only how long a failure takes.
	patience = 20 * time.Second
	// settle is how long a change of a file may take until a command shows it.
	settle = 5 * time.Second
	// commandTimeout bounds one command.
	commandTimeout = 20 * time.Second
)

// runner runs one page: it has a folder with config/ in it, backends, and a sluice that serves config/.
type runner struct {
	t       *testing.T
	page    string
	dir     string
	ports   translation
	sluice  *exec.Cmd
	ended   chan struct{} // Closed when sluice has ended.
	exit    error         // How it ended.
	log     program.Output
	changed int // The block from which on commands may need time to show a change, -1 if there was none.
}

func newRunner(t *testing.T, page string) *runner {
	t.Helper()
	// Not t.TempDir: the path of a Unix socket must be short.
	dir, err := os.MkdirTemp("", "sluice-page-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	for _, sub := range []string{"config", "bin", "state", "run", "staging"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	r := &runner{t: t, page: page, dir: dir, changed: -1}
	socket := filepath.Join(dir, "three.sock")
	if r.ports, err = newTranslation(socket); err != nil {
		t.Fatal(err)
	}
	r.backend(echo.Listen("one", "127.0.0.1:"+r.ports.port["9101"]))
	r.backend(echo.Listen("two", "127.0.0.1:"+r.ports.port["9102"]))
	r.backend(echo.ListenUnix("three", socket))
	// What pages leave out because it is the default: where the admin API is.
	script := fmt.Sprintf("#!/bin/sh\ncase \"$1\" in\nstatus) exec '%[1]s' \"$@\" --admin-address %[2]s ;;\n"+
		"*) exec '%[1]s' \"$@\" ;;\nesac\n", shared.binary, r.admin())
	//nolint:gosec // it has to be executable
	if err := os.WriteFile(filepath.Join(dir, "bin", "sluice"), []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *runner) backend(s *echo.Server, err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = s.Close() })
}

func (r *runner) admin() string { return "127.0.0.1:" + r.ports.port["19000"] }

// do takes a step. sluice starts before the first command.
func (r *runner) do(s step) {
	r.t.Helper()
	if s.file != "" {
		r.write(s)
		return
	}
	if r.sluice == nil {
		r.start()
	}
	show := func() (string, error) { return r.command(s.command) }
	want := s.want
	switch {
	case s.command == "":
		want = slices.Concat([]string{anything}, s.want, []string{anything})
		show = func() (string, error) { return r.log.String(), nil }
	case strings.HasPrefix(s.command, "sluice run "):
		show = func() (string, error) { return r.log.String(), nil }
	}
	before := r.config()
	got, ok := r.try(show, want, s.command == "" || r.changed >= 0 && s.block >= r.changed)
	if !ok {
		r.t.Fatalf("%s:%d: %s\nprints\n%s\nbut the page says\n%s", r.page, s.line, s.command, indent(got),
			indent(strings.Join(s.want, "\n")))
	}
	if s.command != "" && r.config() != before {
		r.changed = s.block
	}
}

// try runs something until its output is as wanted: once, or while a change settles for as long as that may take.
func (r *runner) try(show func() (string, error), want []string, patient bool) (string, bool) {
	deadline := time.Now().Add(settle)
	for {
		got, err := show()
		got = r.ports.back(got)
		if err != nil && (len(want) == 0 || errors.Is(err, context.DeadlineExceeded)) {
			got += "\n(" + err.Error() + ")"
		}
		if matches(want, got) {
			return got, true
		}
		if !patient || time.Now().After(deadline) {
			return got, false
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// command runs a command line. A command may fail if the page shows what it prints.
func (r *runner) command(line string) (string, error) {
	ctx, cancel := context.WithTimeout(r.t.Context(), commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", r.ports.there(line))
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(r.dir, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"),
		"HOME="+r.dir, "LC_ALL=C", "no_proxy=*")
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		err = fmt.Errorf("after %v: %w", commandTimeout, ctx.Err())
	}
	return string(out), err
}

// write puts a file into the folder at once, as editors do: by renaming.
func (r *runner) write(s step) {
	r.t.Helper()
	staged := filepath.Join(r.dir, "staging", s.file)
	if err := os.WriteFile(staged, []byte(r.ports.there(s.content)), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(staged, filepath.Join(r.dir, "config", s.file)); err != nil {
		r.t.Fatal(err)
	}
	if r.sluice != nil {
		r.changed = s.block
	}
}

// config returns what tells versions of the folder apart.
func (r *runner) config() string {
	var out strings.Builder
	err := filepath.WalkDir(filepath.Join(r.dir, "config"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			_, _ = fmt.Fprintln(&out, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return out.String()
}

// start starts sluice and waits until it is ready. At the end of the test it is stopped as an operator would.
func (r *runner) start() {
	r.t.Helper()
	r.sluice = exec.Command(shared.binary, "run", "config", "--envoy", shared.envoy, "--admin-address", r.admin(),
		"--state-dir", "state", "--runtime-dir", "run", "--envoy-concurrency", "1", "--drain-timeout", "1s",
		// A request whose limits are not known in time passes; this machine has more to do than a gateway's.
		"--ratelimit-timeout", "10s")
	r.sluice.Dir = r.dir
	r.sluice.Stdout, r.sluice.Stderr = &r.log, &r.log
	// If the test binary itself is killed, for example by its timeout, nobody else would end it.
	r.sluice.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := r.sluice.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.ended = make(chan struct{})
	go func() {
		r.exit = r.sluice.Wait()
		close(r.ended)
	}()
	r.t.Cleanup(r.stop)
	if err := r.awaitReady(); err != nil {
		r.t.Fatalf("%s: %v\n%s", r.page, err, indent(r.log.String()))
	}
}

func (r *runner) awaitReady() error {
	client := http.Client{Timeout: time.Second}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		select {
		case <-r.ended:
			return fmt.Errorf("sluice ended: %v", r.exit)
		default:
		}
		// The summary is printed just after the admin API says ready.
		if res, err := client.Get("http://" + r.admin() + "/readyz"); err == nil {
			_ = res.Body.Close()
			if res.StatusCode == http.StatusOK && strings.Contains(r.log.String(), "Ready after") {
				return nil
			}
		}
	}
	return fmt.Errorf("sluice is not ready after %v", patience)
}

func (r *runner) stop() {
	if r.t.Failed() {
		r.t.Logf("sluice printed:\n%s", indent(r.log.String()))
	}
	_ = r.sluice.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-r.ended:
		if r.exit != nil {
			r.t.Errorf("%s: sluice ended with %v, want exit status 0", r.page, r.exit)
		}
	case <-time.After(patience):
		r.t.Errorf("%s: sluice is still running %v after SIGTERM", r.page, patience)
		_ = r.sluice.Process.Kill()
		<-r.ended
	}
}

func indent(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n    ")
}

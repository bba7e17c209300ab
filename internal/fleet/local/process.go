package local

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// listenerDrainTime is how long connections live on after their listener was changed or removed: Envoy discourages
// them ever more until then and closes them.
const listenerDrainTime = time.Minute

// outputGrace is how long after Envoy's end its output is awaited, should a process that it left hold it open.
const outputGrace = time.Second

// logFlush is how often access logs are written. Envoy's own 10 s is long for somebody who looks at them.
const logFlush = time.Second

// arguments returns Envoy's command line without the program. Hot restart is disabled, for its shared memory has one
// name for all users of a machine; that makes --parent-shutdown-time-s and --base-id of no use.
func arguments(c Config) []string {
	drain := max(listenerDrainTime, c.DrainTimeout)
	return []string{
		"--config-path", filepath.Join(c.Dir.Path(), bootstrapFile),
		"--concurrency", strconv.Itoa(c.Concurrency),
		"--disable-hot-restart",
		"--drain-time-s", strconv.Itoa(int(drain / time.Second)),
		"--drain-strategy", "gradual",
		"--file-flush-interval-msec", strconv.Itoa(int(logFlush / time.Millisecond)),
		"--log-level", "warn",
		"--log-format", logFormat,
		"--log-format-escaped",
	}
}

// inherited are the variables of our environment that Envoy gets: what a wrapper needs to find the binary, what the
// binary needs to run, and where it looks for modules.
var inherited = []string{
	"PATH", "HOME", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "SSL_CERT_DIR",
	"ENVOY_DYNAMIC_MODULES_SEARCH_PATH",
}

func environment(extra []string) []string {
	out := make([]string, 0, len(inherited)+len(extra))
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			out = append(out, name+"="+value)
		}
	}
	return append(out, extra...)
}

// child is the process of the moment.
type child struct {
	mu sync.Mutex
	// leader is the process id, and the id of its process group; 0 while there is none.
	leader int
}

// run starts Envoy, waits for its end and returns its last lines and how it ended. It starts nothing once stopping is
// closed.
func (p *child) run(c Config, stopping <-chan struct{}) ([]Line, error) {
	output := &lineWriter{emit: c.OnLine}
	cmd := exec.Command(c.Binary, arguments(c)...)
	cmd.Env = environment(c.Env)
	cmd.Stdout, cmd.Stderr = c.Stdout, output
	cmd.SysProcAttr = childAttributes()
	cmd.WaitDelay = outputGrace
	if err := p.start(cmd, stopping); err != nil {
		return nil, err
	}
	err := cmd.Wait()
	p.mu.Lock()
	p.leader = 0
	p.mu.Unlock()
	// A wrapper around Envoy can die and leave Envoy, which would hold on to its ports.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if err == nil {
		err = errors.New("exit status 0")
	}
	return output.flush(), err
}

func (p *child) start(cmd *exec.Cmd, stopping <-chan struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-stopping:
		return errors.New("is being stopped")
	default:
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.leader = cmd.Process.Pid
	return nil
}

func (p *child) pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.leader
}

// terminate asks the process to end, kill makes it. Without a process they do nothing.
func (p *child) terminate() { p.signal(syscall.SIGTERM) }
func (p *child) kill()      { p.signal(syscall.SIGKILL) }

func (p *child) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.leader != 0 {
		_ = syscall.Kill(-p.leader, s) // fails only if it is gone already
	}
}

package local

import (
	"cmp"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// listenerDrainTime is how long connections live on after their listener was changed or removed: Envoy discourages
// them ever more until then and closes them.
const listenerDrainTime = time.Minute

// outputGrace is how long after Envoy's end its output is awaited, should a process that it left hold it open.
const outputGrace = time.Second

// defaultLevel is how bad something has to be for Envoy to log it unless Config says otherwise.
const defaultLevel = "warn"

// logFlush is how often access logs are written. Envoy's own 10 s is long for somebody who looks at them.
const logFlush = time.Second

// arguments returns Envoy's command line without the program. Hot restart is disabled, for its shared memory has one
// name for all users of a machine; that makes --parent-shutdown-time-s and --base-id of no use.
func arguments(c Config, seat int) []string {
	drain := max(listenerDrainTime, c.Drain.Timeout)
	out := []string{
		"--config-path", c.Dir.bootstrapOf(seat),
		"--concurrency", strconv.Itoa(c.Concurrency),
		"--disable-hot-restart",
		"--drain-time-s", strconv.Itoa(int(drain / time.Second)),
		"--drain-strategy", "gradual",
		"--file-flush-interval-msec", strconv.Itoa(int(logFlush / time.Millisecond)),
		"--log-level", cmp.Or(c.Level, defaultLevel),
		"--log-format", logFormat,
		"--log-format-escaped",
	}
	if c.ComponentLevels != "" {
		out = append(out, "--component-log-level", c.ComponentLevels)
	}
	return append(out, c.Arguments...)
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

// command returns Envoy as it is to be run, and what collects the lines that it writes.
func command(c Config, seat int) (*exec.Cmd, *lineWriter) {
	output := &lineWriter{emit: c.OnLine}
	cmd := exec.Command(c.Binary, arguments(c, seat)...)
	cmd.Env = environment(c.Env)
	cmd.Stdout, cmd.Stderr = c.Stdout, output
	return cmd, output
}

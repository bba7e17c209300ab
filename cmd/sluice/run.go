package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/keeper"
	"github.com/sluice-gateway/sluice/internal/source/file"
)

// runFlags are the flags of sluice run.
type runFlags struct {
	envoy, zone          string
	admin                string
	stateDir, runtimeDir string
	concurrency          int
	metricsPort          uint16
	drain                time.Duration
	pushes               pushFlags
	counters             counterFlags
	limits               limitFlags
	config               configFlag
	settings
	extensions extensionFlags
	// controllers are those whose classes are served. There is no flag for them.
	controllers []string
}

func runCommand() *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use:   "run PATH...",
		Short: "Serve a folder of YAML on this machine",
		Long: `Read Gateway API objects from files, run Envoy as a child process, and serve. Folders are read recursively and
watched: a change is live as soon as it is written. What is wrong with an object is said, with file and line, and hurts
nothing else; its last good version stays.

The GatewayClass "sluice" is there without being written. Namespaces exist when they are used.

The control plane is a process of its own: Envoy goes on serving while it is started again. At SIGUSR2 that is done on
purpose, with the program that is at its path by then: that is how to upgrade without losing a request.`,
		Example: "  sluice run ./config\n  sluice run gateway.yaml routes/",
		RunE: func(cmd *cobra.Command, paths []string) error {
			config, err := f.config.load(envoygateway.Run)
			if err != nil {
				return err
			}
			if err := f.take(cmd, config); err != nil {
				return err
			}
			if len(paths) == 0 {
				paths = config.Paths()
			}
			if len(paths) == 0 {
				return errors.New("there is nothing to read: name a file or a folder")
			}
			if slices.Contains(paths, file.Input) {
				return errors.New("sluice run watches what it reads, which standard input (-) cannot be: name a file or a folder")
			}
			if worker := keeper.Join(); worker != nil {
				// It is for the process that keeps this one, and must not end it if it was sent to both.
				signal.Ignore(syscall.SIGUSR2)
				return newInstance(f, paths, cmd.OutOrStdout()).run(cmd.Context(), worker)
			}
			for _, n := range config.Notices {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "note:", n)
			}
			h := &household{flags: f, out: cmd.OutOrStdout(), say: newAnnouncer(cmd.OutOrStdout())}
			return h.run(cmd.Context())
		},
	}
	f.register(cmd)
	return cmd
}

func (f *runFlags) register(cmd *cobra.Command) {
	flags := cmd.Flags()
	f.config.register(cmd)
	flags.StringVar(&f.envoy, "envoy", "", "Path of the Envoy to run (default: on PATH, in Sluice's cache, or installed)")
	flags.StringVar(&f.admin, "admin-address", defaultAdminAddress, "Loopback address of the admin API")
	flags.StringVar(&f.stateDir, "state-dir", defaultStateDir(),
		"Where the last good version of each file is kept; empty keeps nothing")
	flags.StringVar(&f.runtimeDir, "runtime-dir", "", "Where sockets are made (default: $XDG_RUNTIME_DIR or /tmp)")
	flags.IntVar(&f.concurrency, "envoy-concurrency", runtime.NumCPU(), "Envoy's worker threads")
	flags.Uint16Var(&f.metricsPort, "envoy-metrics-port", fleet.MetricsPort,
		"Loopback port of Envoy's metrics, if an EnvoyProxy asks for them (telemetry.metrics.prometheus)")
	flags.StringVar(&f.zone, "zone", "",
		"Zone that this machine is in: Services and policies can prefer endpoints of the same zone")
	flags.DurationVar(&f.drain, "drain-timeout", 10*time.Second, "How long requests may take to finish at shutdown")
	f.pushes.register(cmd)
	f.counters.register(cmd)
	f.limits.register(cmd)
	// Whoever writes the files owns the machine.
	f.extensions.register(cmd, true)
}

// defaultStateDir is sluice in $XDG_STATE_HOME or ~/.local/state, empty if there is no home.
func defaultStateDir() string {
	if dir := os.Getenv("XDG_STATE_HOME"); dir != "" {
		return filepath.Join(dir, "sluice")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".local", "state", "sluice")
}

// Command sluice is an API gateway: a control plane that reads the Kubernetes Gateway API and programs Envoy.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: "v0.1.0", or "dev" for a plain go build.
var version = "dev"

// errReported is returned by a command that has already told the user what is wrong: exit 1 and say no more.
var errReported = errors.New("reported")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := rootCommand().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, errReported) {
			fmt.Fprintln(os.Stderr, "error:", err)
		}
		os.Exit(1)
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "sluice",
		Short: "An API gateway: the Gateway API on stock Envoy",
		Long: `Sluice reads the Kubernetes Gateway API and programs Envoy.

  sluice run ./config        serve a folder of YAML on this machine
  sluice serve               serve a Kubernetes cluster
  sluice status              ask the running instance how every object is
  sluice validate ./config   check a folder without running anything
  sluice translate ./config  print what Envoy would be told`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(runCommand(), serveCommand(), statusCommand(), validateCommand(), translateCommand(), envoyCommand(),
		installCommand(), ratelimitCommand(), shutdownCommand())
	return root
}

package main

import (
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/fleet/shutdown"
)

// shutdownCommand runs beside each Envoy on Kubernetes: pods name it, users do not.
func shutdownCommand() *cobra.Command {
	drain := kube.DefaultDrain
	var address, socket string
	cmd := &cobra.Command{
		Use:    "shutdown-manager",
		Short:  "Drain the Envoy in the same pod when the pod is to go",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			listener, err := net.Listen("tcp", address)
			if err != nil {
				return fmt.Errorf("shutdown manager: %w", err)
			}
			m := &shutdown.Manager{
				Admin: local.Admin{Socket: socket}, Drain: drain, Log: slog.New(slog.NewJSONHandler(os.Stderr, nil)),
			}
			return m.Serve(cmd.Context(), listener)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&address, "address", fmt.Sprintf(":%d", fleet.ShutdownPort), "Where to answer once Envoy may end")
	flags.StringVar(&socket, "admin-socket", kube.AdminSocket, "Unix socket of Envoy's admin interface")
	flags.DurationVar(&drain.Timeout, "drain-timeout", drain.Timeout, "How long Envoy may take to drain")
	flags.DurationVar(&drain.Min, "min-drain-duration", drain.Min, "How long Envoy takes new connections at least")
	flags.DurationVar(&drain.HealthDelay, "health-check-failure-delay", drain.HealthDelay,
		"How long the health check still passes")
	return cmd
}

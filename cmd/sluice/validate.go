package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func validateCommand() *cobra.Command {
	var config configFlag
	cmd := &cobra.Command{
		Use:   "validate PATH...",
		Short: "Check files without running anything",
		Long: `Check every object of the files: against its schema, with the API server's words, and against everything
that it refers to. It prints each problem with file and line, and exits with 1 if there is any. It needs no Envoy.

The path - is standard input, which has YAML or JSON.`,
		Example: "  sluice validate ./config\n  helm template shop | sluice validate -",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			p, batch, err := compute(cmd.Context(), paths, cmd.InOrStdin(), &config)
			if err != nil {
				return err
			}
			for _, n := range batch.Notices {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), "note:", n)
			}
			problems := newFinder(batch).problems(batch.Problems, p.Issues())
			objects := 0
			for _, o := range batch.Set {
				if o.Line > 0 { // not built in
					objects++
				}
			}
			for _, line := range problems {
				_, _ = fmt.Fprintln(cmd.OutOrStdout(), line)
			}
			if n := len(problems); n > 0 {
				_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s in %s\n", count(n, "problem"), count(objects, "object"))
				return errReported
			}
			_, _ = fmt.Fprintf(cmd.OutOrStdout(), "%s, no problems\n", count(objects, "object"))
			return nil
		},
	}
	config.register(cmd)
	return cmd
}

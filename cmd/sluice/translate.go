package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/xds"
)

func translateCommand() *cobra.Command {
	var output string
	var config configFlag
	cmd := &cobra.Command{
		Use:   "translate PATH...",
		Short: "Print what Envoy would be told",
		Long: `Print the Envoy configuration that the files become: clusters, endpoints, listeners, routes and secrets
(without private keys). The same files give the same output, byte for byte.

Problems in the files are printed on standard error; what is good is translated all the same. The path - is standard
input, which has YAML or JSON.`,
		Example: "  sluice translate ./config\n  sluice translate ./config -o json\n" +
			"  helm template shop | sluice translate -",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, paths []string) error {
			p, batch, err := compute(cmd.Context(), paths, cmd.InOrStdin(), &config)
			if err != nil {
				return err
			}
			for _, line := range newFinder(batch).problems(batch.Problems, p.Issues()) {
				_, _ = fmt.Fprintln(cmd.ErrOrStderr(), line)
			}
			return writeResources(cmd.OutOrStdout(), output, p.Resources(localProxy))
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "yaml", "Output format: yaml or json")
	completeFormats(cmd, "yaml", "json")
	config.register(cmd)
	return cmd
}

// rendered is the whole configuration, in the order in which Envoy is told of it.
type rendered struct {
	Clusters  []json.RawMessage `json:"clusters,omitempty"`
	Endpoints []json.RawMessage `json:"endpoints,omitempty"`
	Secrets   []json.RawMessage `json:"secrets,omitempty"`
	Listeners []json.RawMessage `json:"listeners,omitempty"`
	Routes    []json.RawMessage `json:"routes,omitempty"`
}

func render(resources map[xds.Type][]*xds.Resource) (rendered, error) {
	var out rendered
	for t, into := range map[xds.Type]*[]json.RawMessage{
		xds.Cluster: &out.Clusters, xds.Endpoints: &out.Endpoints, xds.Secret: &out.Secrets,
		xds.Listener: &out.Listeners, xds.Routes: &out.Routes,
	} {
		for _, r := range resources[t] {
			b, err := envoy.Render(t, r)
			if err != nil {
				return rendered{}, err
			}
			*into = append(*into, b)
		}
	}
	return out, nil
}

func writeResources(w io.Writer, format string, resources map[xds.Type][]*xds.Resource) error {
	all, err := render(resources)
	if err != nil {
		return err
	}
	return writeAs(w, format, all)
}

// writeAs writes a value as yaml or json.
func writeAs(w io.Writer, format string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	switch format {
	case "yaml":
		b, err = yaml.JSONToYAML(b)
	case "json":
		// Indenting also takes out the spaces that protojson puts in at random.
		var indented bytes.Buffer
		err = json.Indent(&indented, b, "", "  ")
		indented.WriteByte('\n')
		b = indented.Bytes()
	default:
		return fmt.Errorf("unknown output format %q: use yaml or json", format)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(b)
	return err
}

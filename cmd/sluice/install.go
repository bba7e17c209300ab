package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/spf13/cobra"
	valueutil "helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/strvals"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/charts"
)

// installFlags are the flags of `sluice install`. Those that Helm has too are named as Helm names them.
type installFlags struct {
	name            string
	namespace       string
	createNamespace bool
	values          []string
	set             []string
	onlyCRDs        bool
	skipCRDs        bool
}

func installCommand() *cobra.Command {
	var f installFlags
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Print the manifests that install Sluice on Kubernetes",
		Long: `Print the manifests that install Sluice on Kubernetes: what the Helm chart makes of the same values, CRDs
first. Nothing is sent anywhere; apply them, or keep them in a repository:

  sluice install | kubectl apply --server-side -f -

Server-side, because the annotation of a client-side apply has no room for some of the CRDs. The first time kubectl
may not know the GatewayClass yet when it comes to it: install the CRDs first, then the rest.

  sluice install --crds-only | kubectl apply --server-side -f -
  sluice install --skip-crds | kubectl apply --server-side -f -`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return install(cmd.OutOrStdout(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.name, "name", "sluice", "name of the release, and of its objects")
	flags.StringVarP(&f.namespace, "namespace", "n", "sluice-system", "namespace of the control plane")
	flags.BoolVar(&f.createNamespace, "create-namespace", true, "print the namespace, too")
	flags.StringArrayVarP(&f.values, "values", "f", nil, "YAML `file` of values; the last one wins (repeatable)")
	flags.StringArrayVar(&f.set, "set", nil, "a value of the chart, `path=value`, over those of files (repeatable)")
	flags.BoolVar(&f.onlyCRDs, "crds-only", false, "print the CRDs alone")
	flags.BoolVar(&f.skipCRDs, "skip-crds", false, "print everything but the CRDs")
	cmd.MarkFlagsMutuallyExclusive("crds-only", "skip-crds")
	return cmd
}

func install(out io.Writer, f installFlags) error {
	values, err := f.read()
	if err != nil {
		return err
	}
	release := charts.Release{Name: f.name, Namespace: f.namespace, Values: values}
	if version != "dev" {
		release.Version = version
	}
	manifests, err := release.Render()
	if err != nil {
		return err
	}
	switch {
	case f.onlyCRDs:
		manifests.Objects = nil
	case f.skipCRDs:
		manifests.CRDs = nil
	}
	if f.createNamespace && !f.onlyCRDs {
		manifests.Objects = append([]string{fmt.Sprintf(namespaceManifest, f.namespace)}, manifests.Objects...)
	}
	_, err = io.WriteString(out, manifests.String())
	return err
}

// namespaceManifest holds the control plane, and Envoys of merged Gateways; all of them are restricted.
const namespaceManifest = `apiVersion: v1
kind: Namespace
metadata:
  name: %s
  labels:
    pod-security.kubernetes.io/enforce: restricted
`

// read joins files and single values.
func (f installFlags) read() (map[string]any, error) {
	values := map[string]any{}
	for _, name := range f.values {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read values: %w", err)
		}
		var more map[string]any
		if err := yaml.Unmarshal(data, &more); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		values = valueutil.MergeTables(maps.Clone(more), values)
	}
	var errs []error
	for _, value := range f.set {
		if err := strvals.ParseInto(value, values); err != nil {
			errs = append(errs, fmt.Errorf("--set %s: %w", value, err))
		}
	}
	return values, errors.Join(errs...)
}

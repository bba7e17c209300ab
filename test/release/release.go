// Package release installs Sluice in a cluster for tests as its users do: from the chart, with helm.
package release

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/sluice-gateway/sluice/charts"
	"github.com/sluice-gateway/sluice/test/cluster"
)

// Release is an installation of Sluice in a cluster.
type Release struct{ Name, Namespace string }

// Default is the installation that everybody has.
var Default = Release{Name: "sluice", Namespace: "sluice-system"}

// Selector selects the pods of the control plane in the release's namespace.
func (r Release) Selector() string {
	return "app.kubernetes.io/component=control-plane,app.kubernetes.io/instance=" + r.Name
}

// Install puts the image of the program on all nodes and installs the chart, or upgrades what is there, with values
// given as helm takes them ("replicas=1"). It returns when the control plane is ready and one of its replicas leads.
// $SLUICE_BINARY names a program to use instead of one built from the sources.
func (r Release) Install(ctx context.Context, c *cluster.Cluster, values ...string) error {
	image, err := c.LoadProduct(ctx)
	if err != nil {
		return fmt.Errorf("load the image of Sluice: %w", err)
	}
	dir, err := os.MkdirTemp("", "sluice-chart-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder in the folder for what does not last
	chart := filepath.Join(dir, "sluice")
	if err := os.CopyFS(chart, charts.Sluice()); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	args := []string{
		"helm", "upgrade", "--install", r.Name, chart, "--namespace", r.Namespace, "--create-namespace",
		"--wait", "--timeout", "3m",
	}
	for _, value := range append(imageValues(image), values...) {
		args = append(args, "--set", value)
	}
	return r.change(ctx, c, "install", args)
}

// Rollback takes the release back to what it was before the last Install. It returns when the control plane is ready
// and one of its replicas leads.
func (r Release) Rollback(ctx context.Context, c *cluster.Cluster) error {
	return r.change(ctx, c, "roll back", []string{
		"helm", "rollback", r.Name, "--namespace", r.Namespace, "--wait", "--timeout", "3m",
	})
}

// change runs a command of helm that replaces the control plane.
func (r Release) change(ctx context.Context, c *cluster.Cluster, what string, args []string) error {
	err := run(c.Command(ctx, args...))
	if err == nil {
		err = r.AwaitLeader(ctx, c)
	}
	if err != nil {
		logs, _ := c.Command(ctx, "kubectl", "-n", r.Namespace, "logs", "-l", r.Selector(), "--tail=20",
			"--prefix").CombinedOutput()
		return fmt.Errorf("%s %s in %s: %w\n%s", what, r.Name, r.Namespace, err, logs)
	}
	return nil
}

// imageValues names an image that is on the nodes, and in no registry.
func imageValues(image string) []string {
	i := strings.LastIndexByte(image, ':')
	return []string{"image.repository=" + image[:i], "image.tag=" + image[i+1:], "image.pullPolicy=Never"}
}

// Uninstall removes the release if it is there. CRDs stay, as they do for everybody.
func (r Release) Uninstall(ctx context.Context, c *cluster.Cluster) error {
	return run(c.Command(ctx, "helm", "uninstall", r.Name, "--namespace", r.Namespace, "--wait", "--ignore-not-found"))
}

// Apply applies manifests in YAML.
func Apply(ctx context.Context, c *cluster.Cluster, manifests string) error {
	cmd := c.Command(ctx, "kubectl", "apply", "--server-side", "--force-conflicts", "-f", "-")
	cmd.Stdin = strings.NewReader(manifests)
	return run(cmd)
}

func run(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// Package envoygateway installs Envoy Gateway in a cluster for tests, beside Sluice or to compare it with: the version
// whose API is in go.mod, from its module's own chart, with an image of the program that is built from the module.
package envoygateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sluice-gateway/sluice/build/image"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/cluster/component"
)

const (
	// Namespace is where Envoy Gateway runs, with the Envoys of all Gateways.
	Namespace = "envoy-gateway-system"
	// Deployment is the name of its control plane, Selector selects the pods of that.
	Deployment, Selector = "envoy-gateway", "control-plane=envoy-gateway"
	// Controller is the controllerName of its GatewayClasses.
	Controller = "gateway.envoyproxy.io/gatewayclass-controller"
	// GatewayLabel is what its Envoys have the name of their Gateway in.
	GatewayLabel = "gateway.envoyproxy.io/owning-gateway-name"
)

// EnvoyImage is what an EnvoyProxy has to name for the image of its Envoys: Envoy Gateway's own is not on the nodes.
var EnvoyImage = "docker.io/" + cluster.EnvoyImage

const (
	name      = "eg"
	imageName = "envoyproxy/gateway:test"
	module    = "github.com/envoyproxy/gateway"
)

// Install installs Envoy Gateway with values as helm takes them, and returns when it is ready. It brings no CRDs: those
// of Sluice's chart are the same, and must be there. The program is built the first time, which takes minutes.
func Install(ctx context.Context, c *cluster.Cluster, values ...string) error {
	dir, err := os.MkdirTemp("", "envoy-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder in the folder for what does not last
	if err := load(ctx, c, dir); err != nil {
		return fmt.Errorf("make the image of Envoy Gateway: %w", err)
	}
	chart, err := writeChart(ctx, dir)
	if err != nil {
		return err
	}
	args := []string{
		"helm", "upgrade", "--install", name, chart, "--namespace", Namespace, "--create-namespace", "--skip-crds",
		"--wait", "--timeout", "5m", "--set", "crds.enabled=false",
	}
	for _, value := range values {
		args = append(args, "--set", value)
	}
	if out, err := c.Command(ctx, args...).CombinedOutput(); err != nil {
		logs, _ := c.Command(ctx, "kubectl", "-n", Namespace, "logs", "-l", Selector, "--tail=20").CombinedOutput()
		return fmt.Errorf("install the chart of Envoy Gateway: %w\n%s\n%s", err, out, logs)
	}
	return nil
}

// Uninstall removes Envoy Gateway if it is there. The Envoys of Gateways that are still there stay, in its namespace.
func Uninstall(ctx context.Context, c *cluster.Cluster) error {
	out, err := c.Command(ctx, "helm", "uninstall", name, "--namespace", Namespace, "--wait",
		"--ignore-not-found").CombinedOutput()
	if err != nil {
		return fmt.Errorf("remove Envoy Gateway: %w\n%s", err, out)
	}
	return nil
}

// load puts an image with the program on the nodes.
func load(ctx context.Context, c *cluster.Cluster, dir string) error {
	bin, err := component.Further(ctx, "envoygateway", os.Stderr)
	if err != nil {
		return err
	}
	files, err := image.Base()
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "envoy-gateway.tar")
	err = cluster.WriteArchive(image.Image{
		Name: imageName, Architecture: runtime.GOARCH, User: image.NonRoot + ":" + image.NonRoot,
		Entrypoint: []string{"/usr/local/bin/envoy-gateway"}, Cmd: []string{"server"},
		Files: append(files, image.File{
			Path: "/usr/local/bin/envoy-gateway", Source: filepath.Join(bin, "envoy-gateway"),
		}),
	}, archive)
	if err != nil {
		return err
	}
	return c.Load(ctx, archive)
}

// writeChart copies the chart out of the module, with the values filled in that a release of it fills in.
func writeChart(ctx context.Context, dir string) (string, error) {
	from, err := chartDir(ctx)
	if err != nil {
		return "", err
	}
	chart := filepath.Join(dir, "gateway-helm")
	if err := os.CopyFS(chart, os.DirFS(from)); err != nil {
		return "", fmt.Errorf("copy the chart of Envoy Gateway: %w", err)
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.tmpl.yaml"))
	if err != nil {
		return "", err
	}
	values = bytes.ReplaceAll(values, []byte("${GatewayImage}"), []byte("docker.io/"+imageName))
	values = bytes.ReplaceAll(values, []byte("${GatewayImagePullPolicy}"), []byte("Never"))
	if bytes.Contains(values, []byte("${")) {
		return "", errors.New("the chart of Envoy Gateway has values that nobody fills in: see its values.tmpl.yaml")
	}
	//nolint:gosec // a chart has no secrets
	return chart, os.WriteFile(filepath.Join(chart, "values.yaml"), values, 0o644)
}

// chartDir is the folder of the chart in the module.
func chartDir(ctx context.Context) (string, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	found, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", module, err)
	}
	return filepath.Join(strings.TrimSpace(string(found)), "charts", "gateway-helm"), nil
}

// CRDs returns the manifests of the CRDs that the chart brings: its own, and those of the version of the Gateway API
// that Envoy Gateway was built for.
func CRDs(ctx context.Context) (string, error) {
	chart, err := chartDir(ctx)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = filepath.WalkDir(filepath.Join(chart, "charts", "crds", "crds"), func(
		path string, entry fs.DirEntry, err error,
	) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		out.WriteString("\n---\n")
		out.Write(text)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("read the CRDs of Envoy Gateway: %w", err)
	}
	return out.String(), nil
}

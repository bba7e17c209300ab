package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/sluice-gateway/sluice/build/image"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
)

const (
	peerNamespace = "envoy-gateway-system"
	peerImage     = "envoyproxy/gateway:bench"
	peerModule    = "github.com/envoyproxy/gateway"
)

// envoyGateway is Envoy Gateway of the version in go.mod, from its module's own chart.
var envoyGateway = system{
	name:    "envoy-gateway",
	class:   "bench-peer",
	control: pods{peerNamespace, "control-plane=envoy-gateway", "envoy-gateway"},
	proxy:   pods{peerNamespace, "gateway.envoyproxy.io/owning-gateway-name=" + gatewayName, "envoy"},
	install: installPeer,
	uninstall: func(ctx context.Context, c *cluster.Cluster) error {
		out, err := c.Command(ctx, "helm", "uninstall", "eg", "--namespace", peerNamespace, "--wait",
			"--ignore-not-found").CombinedOutput()
		if err != nil {
			return fmt.Errorf("remove envoy-gateway: %w\n%s", err, out)
		}
		return nil
	},
}

// peerClass has the Envoy image that is on the nodes.
const peerClass = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: bench, namespace: envoy-gateway-system}
spec:
  provider:
    type: Kubernetes
    kubernetes:
      envoyDeployment:
        container: {resources: {requests: {cpu: 10m, memory: 64Mi}}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: bench-peer}
spec:
  controllerName: gateway.envoyproxy.io/gatewayclass-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: bench, namespace: envoy-gateway-system}
`

func installPeer(ctx context.Context, c *cluster.Cluster) error {
	dir, err := os.MkdirTemp("", "sluice-peer-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a folder in the folder for what does not last
	// The CRDs are those of Sluice's chart: they are the same, and stay.
	if err := release.Default.Install(ctx, c, "replicas=1"); err != nil {
		return err
	}
	if err := release.Default.Uninstall(ctx, c); err != nil {
		return err
	}
	if err := loadPeer(ctx, c, dir); err != nil {
		return fmt.Errorf("make the image of envoy-gateway: %w", err)
	}
	chart, err := peerChart(ctx, dir)
	if err != nil {
		return err
	}
	out, err := c.Command(ctx, "helm", "upgrade", "--install", "eg", chart, "--namespace", peerNamespace,
		"--create-namespace", "--skip-crds", "--wait", "--timeout", "5m", "--set", "crds.enabled=false",
		"--set", "deployment.envoyGateway.resources.limits.memory=8Gi").CombinedOutput()
	if err != nil {
		return fmt.Errorf("install the chart of envoy-gateway: %w\n%s", err, out)
	}
	return release.Apply(ctx, c, peerClass)
}

// loadPeer builds Envoy Gateway from its module and puts an image with it on the nodes. Its module file is in a folder
// of its own, for the program needs far more modules than its API.
func loadPeer(ctx context.Context, c *cluster.Cluster, dir string) error {
	binary := filepath.Join(dir, "envoy-gateway")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary,
		peerModule+"/cmd/envoy-gateway")
	build.Dir = peerFolder
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	files, err := image.Base()
	if err != nil {
		return err
	}
	archive := filepath.Join(dir, "envoy-gateway.tar")
	err = cluster.WriteArchive(image.Image{
		Name: peerImage, Architecture: runtime.GOARCH, User: image.NonRoot + ":" + image.NonRoot,
		Entrypoint: []string{"/usr/local/bin/envoy-gateway"}, Cmd: []string{"server"},
		Files: append(files, image.File{Path: "/usr/local/bin/envoy-gateway", Source: binary}),
	}, archive)
	if err != nil {
		return err
	}
	return c.Load(ctx, archive)
}

// peerFolder is relative to the root of the repository, where the program runs.
const peerFolder = "test/bench/kube/peer"

// peerChart copies the chart out of the module, with the values filled in that its release fills in.
func peerChart(ctx context.Context, dir string) (string, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", peerModule)
	module, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("find module %s: %w", peerModule, err)
	}
	chart := filepath.Join(dir, "gateway-helm")
	from := filepath.Join(strings.TrimSpace(string(module)), "charts", "gateway-helm")
	if err := os.CopyFS(chart, os.DirFS(from)); err != nil {
		return "", fmt.Errorf("copy the chart of envoy-gateway: %w", err)
	}
	values, err := os.ReadFile(filepath.Join(chart, "values.tmpl.yaml"))
	if err != nil {
		return "", err
	}
	values = bytes.ReplaceAll(values, []byte("${GatewayImage}"), []byte("docker.io/"+peerImage))
	values = bytes.ReplaceAll(values, []byte("${GatewayImagePullPolicy}"), []byte("Never"))
	if bytes.Contains(values, []byte("${")) {
		return "", errors.New("the chart of envoy-gateway has values that nobody fills in: see its values.tmpl.yaml")
	}
	//nolint:gosec // a chart has no secrets
	return chart, os.WriteFile(filepath.Join(chart, "values.yaml"), values, 0o644)
}

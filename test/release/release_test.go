package release_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/sluice-gateway/sluice/charts"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
)

// output runs a command in the cluster and returns what it prints.
func output(t *testing.T, c *cluster.Cluster, args ...string) string {
	t.Helper()
	cmd := c.Command(t.Context(), args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return string(out)
}

// objects returns the documents of a stream by kind, name and namespace.
func objects(t *testing.T, stream string) map[string]any {
	t.Helper()
	out := map[string]any{}
	for doc := range strings.SplitSeq("\n"+stream, "\n---\n") {
		var o map[string]any
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatalf("%v:\n%s", err, doc)
		}
		if len(o) == 0 {
			continue
		}
		meta := o["metadata"].(map[string]any)
		id := fmt.Sprint(o["kind"], " ", meta["name"], " in ", meta["namespace"])
		if out[id] != nil {
			t.Errorf("%s twice", id)
		}
		out[id] = o
	}
	return out
}

// chart writes the chart to a folder.
func chart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sluice")
	if err := os.CopyFS(dir, charts.Sluice()); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestTemplate checks that Sluice renders the chart as helm does, and that helm has nothing to say against it.
func TestTemplate(t *testing.T) {
	c := cluster.Get(t)
	dir := chart(t)
	output(t, c, "helm", "lint", "--strict", dir)
	for name, values := range map[string]struct {
		set    []string
		values map[string]any
	}{
		"defaults": {},
		"others": {
			[]string{
				"--set", "crds.standard=true,crds.experimental=false,networkPolicy.enabled=true,watchNamespaces={a,b}",
			},
			map[string]any{
				"crds":            map[string]any{"standard": true, "experimental": false},
				"networkPolicy":   map[string]any{"enabled": true},
				"watchNamespaces": []any{"a", "b"},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"helm", "template", "edge", dir, "--namespace", "gateways", "--include-crds"}
			want := objects(t, output(t, c, append(args, values.set...)...))
			m, err := charts.Release{Name: "edge", Namespace: "gateways", Values: values.values}.Render()
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, objects(t, m.String())); diff != "" {
				t.Errorf("helm (-) and Sluice (+) render differently:\n%s", diff)
			}
		})
	}
}

// TestInstall installs the chart in a namespace where only restricted pods may run, over CRDs that kubectl has applied,
// upgrades it, and removes it.
func TestInstall(t *testing.T) {
	c := cluster.Get(t)
	ctx := t.Context()
	const namespace = `
apiVersion: v1
kind: Namespace
metadata:
  name: sluice-system
  labels: {pod-security.kubernetes.io/enforce: restricted}
`
	if err := release.Apply(ctx, c, namespace); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release.Default.Uninstall(context.WithoutCancel(ctx), c); err != nil {
			t.Error(err)
		}
	})
	m, err := charts.Release{Name: release.Default.Name, Namespace: release.Default.Namespace}.Render()
	if err != nil {
		t.Fatal(err)
	}
	if err := release.Apply(ctx, c, charts.Manifests{CRDs: m.CRDs}.String()); err != nil {
		t.Fatal(err)
	}
	if err := release.Default.Install(ctx, c, "replicas=2"); err != nil {
		t.Fatal(err)
	}
	if err := release.AwaitClass(ctx, c, "sluice"); err != nil {
		t.Fatal(err)
	}
	dryRun(t, c, m)
	if err := release.Default.Install(ctx, c, "replicas=1", "networkPolicy.enabled=true"); err != nil {
		t.Fatalf("upgrade: %v", err)
	}
	// The new pod has read and written all there is by the time that it leads.
	eventually(t, "a replica leads", func() error {
		logs := output(t, c, "kubectl", "-n", release.Default.Namespace, "logs", "deployment/sluice")
		if strings.Contains(logs, "forbidden") {
			t.Fatalf("the control plane misses a right:\n%s", logs)
		}
		if !strings.Contains(logs, "This replica leads") {
			return fmt.Errorf("it does not:\n%s", logs)
		}
		return nil
	})
	if err := release.Default.Uninstall(ctx, c); err != nil {
		t.Fatal(err)
	}
	left := output(t, c, "kubectl", "get", "--ignore-not-found", "gatewayclass/sluice",
		"clusterrole/sluice-system.sluice-cluster", "clusterrole/sluice-system.sluice-namespaced",
		"clusterrolebinding/sluice-system.sluice-cluster", "clusterrolebinding/sluice-system.sluice-namespaced")
	if left != "" {
		t.Errorf("left behind:\n%s", left)
	}
	output(t, c, "kubectl", "get", "crd/gateways.gateway.networking.k8s.io", "crd/backends.gateway.envoyproxy.io")
}

// dryRun has the API server check everything that `sluice install` prints, field by field.
func dryRun(t *testing.T, c *cluster.Cluster, m charts.Manifests) {
	t.Helper()
	cmd := c.Command(t.Context(), "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server",
		"--validate=strict", "-f", "-")
	cmd.Stdin = strings.NewReader(m.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("the API server refuses what `sluice install` prints: %v\n%s", err, out)
	}
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sluice-gateway/sluice/internal/fleet"
)

// TestMetricSinks has an Envoy, started as in a pod whose EnvoyProxy says so, send its metrics to a collector.
func TestMetricSinks(t *testing.T) {
	t.Parallel()
	needEnvoy(t)
	c, dir := startCollector(t), t.TempDir()
	bootstrap, err := fleet.Bootstrap(fleet.Config{
		Node: "envoy", Cluster: "fleet", XDSSocket: filepath.Join(dir, "xds"), AdminSocket: filepath.Join(dir, "admin"),
		Metrics: fleet.Metrics{Sinks: []fleet.Sink{{
			Addresses: []*corev3.Address{fleet.Address("127.0.0.1", uint16(c.port))}, Authority: "otel.default",
			DeltaCounters: true, DeltaHistograms: true, Resource: map[string]string{"team": "shop"},
			Headers: []*corev3.HeaderValue{{Key: "x-token", Value: "secret"}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "bootstrap.json")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	envoy := exec.Command(shared.envoy, "--config-path", file, "--disable-hot-restart", "--concurrency", "1",
		"--log-level", "error")
	envoy.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := envoy.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = envoy.Process.Kill()
		_ = envoy.Wait()
	})
	eventually(t, func() error {
		uptime, ok := c.metric("server.uptime")
		if !ok || uptime.token != "secret" || uptime.resource["team"] != "shop" {
			return fmt.Errorf("the uptime is %+v, of %q", uptime, c.metricNames())
		}
		if added, ok := c.metric("cluster_manager.cluster_added"); !ok || !added.delta {
			return fmt.Errorf("the counter of clusters is %+v: it is to have changes rather than sums", added)
		}
		return nil
	})
}

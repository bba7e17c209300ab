package fleet_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/model"
)

// TestA47OnlyMetrics asks the ports of an Envoy in a pod that everybody reaches for its admin interface, in every way
// that might lead there. They answer with metrics and health, and nobody stops Envoy or reads its configuration.
func TestA47OnlyMetrics(t *testing.T) {
	metrics, ready := startPod(t)
	for _, tt := range []struct {
		port, path string
		want       int
	}{
		{metrics, fleet.MetricsPath, http.StatusOK},
		{metrics, fleet.MetricsPath + "?usedonly", http.StatusOK},
		{ready, fleet.LivePath, http.StatusOK},
		{ready, fleet.ReadyPath, http.StatusOK},
	} {
		if got := ask(t, tt.port, "GET "+tt.path); got != tt.want {
			t.Errorf("%s is answered with %d, want %d", tt.path, got, tt.want)
		}
	}
	for _, path := range []string{
		"/", "/quitquitquit", "/config_dump", "/drain_listeners", "/stats", "/certs", "/clusters", "/logging?level=trace",
		"/healthcheck/fail", "/runtime", "/server_info", "/stats/prometheus/", "/stats/prometheus/..",
		"/stats/prometheus/../../quitquitquit", "/stats/prometheus/%2e%2e/%2e%2e/quitquitquit",
		"/stats/prometheus/..%2f..%2fquitquitquit", "/stats/prometheus/..;/..;/quitquitquit",
		`/stats/prometheus\..\..\quitquitquit`, "//quitquitquit", "/./quitquitquit", "/stats/prometheus%00/quitquitquit",
		"/stats/prometheus;/../../quitquitquit", "/STATS/PROMETHEUS", "http://127.0.0.1/quitquitquit",
		"http://sluice_admin/config_dump", "*",
	} {
		for _, method := range []string{"GET", "POST"} {
			for _, port := range []string{metrics, ready} {
				if got := ask(t, port, method+" "+path); got == http.StatusOK {
					t.Errorf("%s %s is answered", method, path)
				}
			}
		}
	}
	for _, line := range []string{"CONNECT 127.0.0.1:19000", "OPTIONS *", "TRACE " + fleet.LivePath} {
		if got := ask(t, metrics, line); got == http.StatusOK {
			t.Errorf("%s is answered", line)
		}
	}
	// It is alive, and nobody has changed what it says.
	if got := ask(t, ready, "GET "+fleet.ReadyPath); got != http.StatusOK {
		t.Errorf("in the end it is answered with %d", got)
	}
}

// ask sends a request line as it is written, and returns the status of the answer, 0 if there is none.
func ask(t *testing.T, port, line string) int {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // the end of the request
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", line); err != nil {
		return 0
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer res.Body.Close() //nolint:errcheck // the end of the request
	return res.StatusCode
}

// startPod runs an Envoy with the bootstrap of a pod, but on ports that are free, and without a control plane: it has
// its configuration at once. It returns the ports for metrics and for health.
func startPod(t *testing.T) (metrics, ready string) {
	t.Helper()
	config := pod()
	withSecretFiles(t, &config)
	config.ProbeBind = "127.0.0.1"
	config.AdminSocket = filepath.Join(t.TempDir(), "admin.sock")
	bootstrap, err := fleet.Bootstrap(config)
	if err != nil {
		t.Fatal(err)
	}
	bootstrap.DynamicResources, bootstrap.Node.Id = nil, "test"
	bootstrap.ClusterManager.LocalClusterName = ""
	bootstrap.StaticResources.Clusters = slices.DeleteFunc(bootstrap.StaticResources.Clusters,
		func(c *clusterv3.Cluster) bool { return c.GetName() == model.LocalCluster })
	ports := map[uint32]*string{fleet.MetricsPort: &metrics, fleet.ReadyPort: &ready}
	for _, l := range bootstrap.StaticResources.Listeners {
		address := l.GetAddress().GetSocketAddress()
		into, known := ports[address.GetPortValue()]
		if !known {
			continue
		}
		free, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		*into = fmt.Sprint(free.Addr().(*net.TCPAddr).Port)
		l.GetAddress().GetSocketAddress().PortSpecifier = fleet.Address("127.0.0.1",
			uint16(free.Addr().(*net.TCPAddr).Port)).GetSocketAddress().GetPortSpecifier()
		if err := free.Close(); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := fleet.JSON(bootstrap)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var output strings.Builder
	cmd := exec.Command(envoytest.Binary(t), "--config-path", path, "--disable-hot-restart", "--log-level", "warn",
		"--concurrency", "1")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		if t.Failed() {
			t.Logf("output of Envoy:\n%s", output.String())
		}
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+ready)
		if err == nil {
			_ = conn.Close()
			return metrics, ready
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

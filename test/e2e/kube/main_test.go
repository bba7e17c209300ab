package kube

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
)

// installed is the cluster with Sluice in it that all tests share; nil before the first test wants it.
var installed struct {
	once    sync.Once
	cluster *cluster.Cluster
	err     error
}

// controlPlanes is how many replicas of the control plane there are.
const controlPlanes = 2

// values of the release: a leader is replaced after seconds, so that a drill does not only wait for it.
var values = []string{
	fmt.Sprint("replicas=", controlPlanes), "resources.requests.cpu=20m", "resources.requests.memory=64Mi",
	"extraArgs={--lease-duration=8s,--renew-deadline=5s,--retry-period=1s}",
	// No request is let in uncounted because the machine is slow.
	"rateLimit.enabled=true", "rateLimit.resources.requests.cpu=20m", "rateLimit.timeout=2s",
	// What an earlier run left may be of another image with the same name.
	fmt.Sprint("podAnnotations.run=", time.Now().Format("150405.000")),
}

func TestMain(m *testing.M) {
	code := m.Run()
	if c := installed.cluster; c != nil && os.Getenv("SLUICE_KEEP") == "" {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if err := errors.Join(remove(ctx, c), release.Default.Uninstall(ctx, c)); err != nil {
			fmt.Fprintln(os.Stderr, "clean up:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// remove removes the namespaces of the tests, and with them their Gateways, while there is a control plane.
func remove(ctx context.Context, c *cluster.Cluster) error {
	cmd := c.Command(ctx, "kubectl", "delete", "namespace", "-l", testLabel+"="+testValue, "--timeout=90s")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("remove the namespaces of the tests: %w: %s", err, out)
	}
	return nil
}

// shared returns the cluster with Sluice in it, installing it for the first test.
func shared(t *testing.T) *cluster.Cluster {
	t.Helper()
	c := cluster.Get(t)
	installed.once.Do(func() {
		// What an earlier run left would be in the way.
		if installed.err = remove(t.Context(), c); installed.err == nil {
			installed.err = release.Default.Install(t.Context(), c, values...)
		}
		installed.cluster = c
	})
	if installed.err != nil {
		t.Fatal(installed.err)
	}
	return installed.cluster
}

// full says that the drills take as long as they are described, and not as long as every run of all tests can.
func full() bool { return os.Getenv("SLUICE_DRILLS") == "full" }

// scaled returns how long or often something happens in a short and in a full drill.
func scaled[T any](short, long T) T {
	if full() {
		return long
	}
	return short
}

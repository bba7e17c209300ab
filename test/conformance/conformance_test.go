package conformance

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/release"
)

var (
	full   = flag.Bool("full", false, "run the suite: it starts a cluster and takes many minutes")
	only   = flag.String("only", "", "run a single test of the suite")
	report = flag.String("report", "", "where the report goes (default: nowhere)")
	state  = flag.String("version", "dev", "the version that the report is about")
)

// class is the GatewayClass of the suite. Many of its Gateways live at once on a small machine, so their Envoys ask for
// little.
const class = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyProxy
metadata: {name: conformance, namespace: sluice-system}
spec:
  provider:
    type: Kubernetes
    kubernetes:
      envoyDeployment:
        container:
          resources: {requests: {cpu: 1m, memory: 32Mi}}
  concurrency: 1
  # Nobody waits for the Envoys of a test to end.
  shutdown: {drainTimeout: 1s, minDrainDuration: 0s}
---
apiVersion: gateway.networking.k8s.io/v1
kind: GatewayClass
metadata: {name: conformance}
spec:
  controllerName: sluice.dev/gateway-controller
  parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: conformance, namespace: sluice-system}
`

// parallel is how many tests of the suite run at once: they wait most of the time.
const parallel = 6

// limit is how long the suite may take. A test that passes takes seconds; one that fails waits up to three minutes.
const limit = 50 * time.Minute

// TestConformance installs Sluice, runs the suite, and has a test of its own for each of the suite's.
func TestConformance(t *testing.T) {
	if !*full {
		t.Skip("run it with make conformance")
	}
	c := cluster.Get(t)
	ctx := t.Context()
	if err := release.Default.Install(ctx, c, "replicas=1", "resources.requests.cpu=50m"); err != nil {
		t.Fatal(err)
	}
	if err := release.Apply(ctx, c, class); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd := c.Command(context.WithoutCancel(ctx), "kubectl", "delete", "gatewayclass/conformance", "--ignore-not-found")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Logf("%v\n%s", err, out)
		}
	})
	if err := release.AwaitClass(ctx, c, "conformance"); err != nil {
		t.Fatal(err)
	}
	got := runSuite(t, c)
	tests := got.top()
	for _, name := range tests {
		t.Run(strings.TrimPrefix(name, "TestConformance/"), func(t *testing.T) {
			switch got.action[name] {
			case "fail":
				t.Error(got.text(name))
			case "skip":
				if *only == "" {
					t.Errorf("skipped, so Sluice does not claim what it tests:\n%s", got.text(name))
				} else {
					t.Skip("another test was asked for")
				}
			}
		})
	}
	for _, name := range []string{"TestConformance", "TestClaimsAllFeatures"} {
		if action, ran := got.action[name]; action == "fail" || !ran && *only == "" {
			t.Errorf("%s: %q\n%s", name, action, got.output[name])
		}
	}
	if len(tests) == 0 {
		t.Error("the suite ran no test")
	}
}

// runSuite builds the suite and runs it in the cluster's network, where the addresses of Gateways lead to them.
func runSuite(t *testing.T, c *cluster.Cluster) results {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "suite.test")
	build := exec.Command("go", "test", "-c", "-o", binary, ".")
	build.Dir = "suite"
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the suite: %v\n%s", err, out)
	}
	suite := c.Command(t.Context(), append([]string{binary}, suiteArgs()...)...)
	convert := exec.Command("go", "tool", "test2json")
	suite.Stderr, convert.Stderr = os.Stderr, os.Stderr
	var err error
	if convert.Stdin, err = suite.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := convert.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{convert, suite} {
		if err := cmd.Start(); err != nil {
			t.Fatalf("start the suite: %v", err)
		}
	}
	began := time.Now()
	got, err := readResults(stdout, func(name, action string) {
		if strings.Count(name, "/") == 1 && action != "skip" {
			fmt.Fprintf(os.Stderr, "%7.1fs %s %s\n", time.Since(began).Seconds(), action, name)
		}
	})
	// How they ended says no more than the results do: it is an error if one test failed.
	_, _ = convert.Wait(), suite.Wait()
	if err != nil {
		t.Fatalf("read what the suite says: %v", err)
	}
	return got
}

func suiteArgs() []string {
	args := []string{
		"-test.v=test2json", fmt.Sprintf("-test.parallel=%d", parallel), "-test.timeout=" + limit.String(),
		"-gateway-class=conformance",
		"-usable-address=" + cluster.UsableAddress, "-unusable-address=" + cluster.UnusableAddress,
	}
	if *only != "" {
		return append(args, "-run-test="+*only, "-test.run=^TestConformance$", "-debug")
	}
	if *report != "" {
		args = append(args, "-report-output="+*report, "-organization=sluice-gateway", "-project=sluice",
			"-url=https://github.com/sluice-gateway/sluice", "-version="+*state,
			"-contact=https://github.com/sluice-gateway/sluice/issues")
	}
	return args
}

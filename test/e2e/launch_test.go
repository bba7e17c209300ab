package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// launchedYAML is a Gateway whose EnvoyProxy says how Envoy is started.
const launchedYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: settings}}
  listeners: [{name: http, protocol: HTTP, port: ${HTTP}}]
`

// launched are the files of an instance whose EnvoyProxy has fields.
func launched(fields string) files {
	return files{
		"gateway.yaml": launchedYAML, "backends.yaml": backendsYAML, "route.yaml": simple["route.yaml"],
		"proxy.yaml": envoyProxy(fields),
	}
}

// commandLine is what Envoy was started with, as its admin interface says.
type commandLine struct {
	Concurrency   int    `json:"concurrency"`
	LogLevel      string `json:"log_level"`
	Components    string `json:"component_log_level"`
	Zone          string `json:"service_zone"`
	DrainTime     string `json:"drain_time"`
	DrainStrategy string `json:"drain_strategy"`
}

func (in *instance) commandLine(t *testing.T) commandLine {
	t.Helper()
	var info struct {
		Options commandLine `json:"command_line_options"`
	}
	if err := json.Unmarshal([]byte(in.askEnvoy(t, "/server_info")), &info); err != nil {
		t.Fatal(err)
	}
	return info.Options
}

// TestLaunch has Envoy started as an EnvoyProxy says, from the first one on.
func TestLaunch(t *testing.T) {
	t.Parallel()
	c := startCollector(t)
	f := launched(`concurrency: 2, logging: {level: {default: info, http: error}}, extraArgs: [--service-zone, here],
  shutdown: {drainTimeout: 90s}, ipFamily: IPv4,
  bootstrap: {type: JSONPatch, jsonPatches: [
    {op: add, path: /layered_runtime/layers/0/static_layer/mine, value: {numerator: 7}}]},
  telemetry: {metrics: {matches: [{type: Suffix, value: .membership_healthy}], prometheus: {},
    sinks: [{type: OpenTelemetry, openTelemetry: {
      backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: otel}], resourceAttributes: {team: shop}}}]}}`)
	f["services.yaml"] = localService("otel", c.port)
	// Another instance at the usual port would share it.
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	in := prepare(t, f, "--envoy-metrics-port", strings.TrimPrefix(address, "127.0.0.1:"))
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	want := commandLine{
		Concurrency: 2, LogLevel: "info", Components: "http:error", Zone: "here", DrainTime: "90s", DrainStrategy: "Gradual",
	}
	if got := in.commandLine(t); got != want {
		t.Errorf("Envoy was started with %+v, want %+v", got, want)
	}
	if runtime := in.askEnvoy(t, "/runtime"); !strings.Contains(runtime, `"mine`) {
		t.Errorf("the bootstrap is not patched: %s", runtime)
	}
	if stats := in.askEnvoy(t, "/stats?filter=membership_healthy"); !strings.Contains(stats, "membership_healthy: 1") {
		t.Errorf("what matches is not kept: %q", stats)
	}
	if listeners := in.askEnvoy(t, "/listeners"); !strings.Contains(listeners, "0.0.0.0:"+in.vars["HTTP"]) ||
		!strings.Contains(listeners, address) {
		t.Errorf("the listeners are %s", listeners)
	}
	eventually(t, func() error {
		if uptime, ok := c.metric("server.uptime"); !ok || uptime.resource["team"] != "shop" {
			return fmt.Errorf("the uptime is %+v, of %q", uptime, c.metricNames())
		}
		return nil
	})
	metrics, err := http.Get("http://" + address + "/stats/prometheus")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = metrics.Body.Close() }()
	if body, err := io.ReadAll(metrics.Body); err != nil || !strings.Contains(string(body), "envoy_server_uptime") {
		t.Errorf("Prometheus gets %v: %.200s", err, body)
	}
	if said := in.proxySays(t); said != "The parameters are accepted" {
		t.Errorf("the EnvoyProxy says %q", said)
	}
}

// proxySays is the message of the EnvoyProxy's status.
func (in *instance) proxySays(t *testing.T) string {
	t.Helper()
	all, err := in.objects()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all {
		if o.Kind == "EnvoyProxy" && len(o.Status.Ancestors) > 0 && len(o.Status.Ancestors[0].Conditions) > 0 {
			return o.Status.Ancestors[0].Conditions[0].Message
		}
	}
	return ""
}

// envoys are the process ids of the instance's Envoys, whatever their binary, in order.
func (in *instance) envoys() []int {
	in.t.Helper()
	var pids []int
	for pid, cmdline := range in.running() {
		if strings.Contains(cmdline, " --config-path "+in.root) {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// anotherEnvoy waits until another Envoy runs alone, and returns its process id.
func (in *instance) anotherEnvoy(t *testing.T, than int) (pid int) {
	t.Helper()
	eventually(t, func() error {
		pids := in.envoys()
		if len(pids) != 1 || pids[0] == than {
			return fmt.Errorf("the Envoys are %v, want another than %d", pids, than)
		}
		pid = pids[0]
		return nil
	})
	return pid
}

// shortRequests makes requests on connections of their own, until it is told to stop.
func shortRequests(in *instance, clients int) (stop func() (sent int, failures []error)) {
	done := make(chan struct{})
	type count struct {
		sent     int
		failures []error
	}
	counts := make(chan count, clients)
	for range clients {
		go func() {
			var n count
			defer func() { counts <- n }()
			for {
				select {
				case <-done:
					return
				default:
				}
				conn := load.NewConn(in.address("HTTP"))
				status, err := conn.Do(load.NewRequest("a", "/", map[string]string{"connection": "close"}))
				conn.Close()
				if n.sent++; err != nil || status != http.StatusOK {
					n.failures = append(n.failures, errors.Join(err, fmt.Errorf("status %d", status)))
				}
				time.Sleep(time.Millisecond) // the machine has other things to do
			}
		}()
	}
	return func() (int, []error) {
		close(done)
		var all count
		for range clients {
			n := <-counts
			all.sent += n.sent
			all.failures = append(all.failures, n.failures...)
		}
		return all.sent, all.failures
	}
}

// TestRelaunch changes what an EnvoyProxy says about the start of Envoy, under load: another Envoy takes over. One that
// does not start does not, and its words are in the status; the control plane may die meanwhile.
func TestRelaunch(t *testing.T) {
	t.Parallel()
	in := prepare(t, launched("concurrency: 1"))
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	envoy := in.envoys()[0]
	kept := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 2, Rate: 100, Requests: []load.Request{load.NewRequest("a", "/", nil)},
	})
	short := shortRequests(in, 3)
	in.write("proxy.yaml", envoyProxy("concurrency: 2"))
	envoy = in.anotherEnvoy(t, envoy)
	if got := in.commandLine(t).Concurrency; got != 2 {
		t.Errorf("it has %d workers", got)
	}
	in.write("proxy.yaml", envoyProxy("concurrency: 2, extraArgs: [--no-such-argument]"))
	in.condition(t, conditionWant{
		kind: "EnvoyProxy", name: "default/settings", condition: "Accepted=False/InvalidParameters",
		message: "no-such-argument",
	})
	in.printed(t, "Envoy cannot be started as the EnvoyProxies say")
	if err := syscall.Kill(in.workerPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	in.write("proxy.yaml", envoyProxy("concurrency: 2"))
	in.condition(t, conditionWant{kind: "EnvoyProxy", name: "default/settings", condition: "Accepted=True/Accepted"})
	if pids := in.envoys(); !slices.Equal(pids, []int{envoy}) {
		t.Errorf("the Envoys are %v, want %d as before", pids, envoy)
	}
	in.write("more.yaml", route("more", "[after.example]", [2]string{"more", `[{path: {value: /}}]`}))
	in.want(t, request{host: "after.example"}, expect{header: []string{"x-rule: more"}})
	if sent, failures := short(); len(failures) > 0 || sent < 100 {
		t.Errorf("%d of %d requests failed: %v", len(failures), sent, errors.Join(failures...))
	}
	if got := kept(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("on connections that are kept: %v, want none failed of at least 100", got)
	}
}

// TestLaunchThatFails starts with an EnvoyProxy that no Envoy can be started by: everything is served all the same.
func TestLaunchThatFails(t *testing.T) {
	t.Parallel()
	in := start(t, launched("concurrency: 2, extraArgs: [--no-such-argument]"))
	in.must(t, request{}, expect{backend: "one"})
	in.condition(t, conditionWant{
		kind: "EnvoyProxy", name: "default/settings", condition: "Accepted=False/InvalidParameters",
		message: "no-such-argument",
	})
	in.write("proxy.yaml", envoyProxy("bootstrap: {value: 'admin: {}'}"))
	in.condition(t, conditionWant{
		kind: "EnvoyProxy", name: "default/settings", condition: "Accepted=False/InvalidParameters",
		message: "admin must stay",
	})
}

// TestEnvoyUpgrade puts another Envoy in the place of the one that runs: it takes over under load when it is told to.
func TestEnvoyUpgrade(t *testing.T) {
	t.Parallel()
	in := prepare(t, simple)
	binary := filepath.Join(in.root, "envoy")
	in.args = append(in.args, "--envoy", binary)
	if err := os.Symlink(shared.envoy, binary); err != nil {
		t.Fatal(err)
	}
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	before := in.envoys()[0]
	short := shortRequests(in, 3)
	in.copyEnvoy(t, binary)
	in.signal(syscall.SIGUSR2)
	in.anotherEnvoy(t, before)
	in.printed(t, "has taken over")
	if sent, failures := short(); len(failures) > 0 || sent < 100 {
		t.Errorf("%d of %d requests failed: %v", len(failures), sent, errors.Join(failures...))
	}
}

// copyEnvoy puts a copy of Envoy at a path, at once.
func (in *instance) copyEnvoy(t *testing.T, path string) {
	t.Helper()
	from, err := os.Open(shared.envoy)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = from.Close() }()
	to, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(to.Close(), os.Rename(path+".new", path)); err != nil {
		t.Fatal(err)
	}
}

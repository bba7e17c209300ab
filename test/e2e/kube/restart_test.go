package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/sluice-gateway/sluice/test/release"
)

// TestNothingToWrite changes what no status tells of, and restarts the leader. No object is written.
func TestNothingToWrite(t *testing.T) {
	w := begin(t)
	w.quickstart(1)
	w.quiet(w.ns)
	versions := w.versions()
	w.kubectl("-n", w.ns, "create", "configmap", "unrelated", "--from-literal=a=b")
	w.kubectl("-n", w.ns, "annotate", "service", "one", "unrelated=yes")
	leader := w.leader()
	w.kubectl("-n", release.Default.Namespace, "delete", "pod", leader)
	w.eventually("another leader", func() error { return w.leads(func(now string) bool { return now != leader }) })
	w.controlled(controlPlanes)
	w.quiet(w.ns)
	if now := w.versions(); now != versions {
		t.Errorf("objects were written although nothing changed: %s, before %s", now, versions)
	}
}

// TestEveryReplicaRestarted kills all replicas of the control plane at once. Those that start have been told nothing by
// any Envoy, and one of them leads. No object is written, and at no time is the Gateway said not to be programmed.
func TestEveryReplicaRestarted(t *testing.T) {
	w := begin(t)
	const envoys = 2
	w.quickstart(envoys)
	w.quiet(w.ns)
	versions := w.versions()
	stay := w.staysProgrammed()
	replicas := w.controlled(controlPlanes)
	before := w.eachProcess(replicas)
	for _, pid := range before {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	w.eventually("the replicas to be started again", func() error { return w.startedAgain(replicas, before) })
	connected := fmt.Sprintf(`"Envoy connected","proxy":"%s/gateway"`, w.ns)
	w.eventually("a leader, and the Envoys to connect", func() error {
		logs := w.kubectl("-n", release.Default.Namespace, "logs", "-l", release.Default.Selector(), "--tail=-1")
		if n := strings.Count(logs, connected); n < envoys || !strings.Contains(logs, "This replica leads") {
			return fmt.Errorf("%d Envoys have connected, and the logs are:\n%s", n, logs)
		}
		return nil
	})
	w.controlled(controlPlanes)
	w.quiet(w.ns)
	stay()
	if now := w.versions(); now != versions {
		t.Errorf("objects were written although nothing changed: %s, before %s", now, versions)
	}
}

// versions are the resourceVersions of what has a status and of what was made for the Gateway.
func (w *world) versions() string {
	w.t.Helper()
	// Deployments and Services are written by others too, so their generations must do.
	own := w.kubectl("-n", w.ns, "get", "gateways,httproutes,configmaps,secrets,serviceaccounts,envoyproxies", "-l",
		"!unrelated", "--field-selector=metadata.name!=unrelated", "-o", "json")
	var list struct {
		Items []struct {
			Kind     string
			Metadata struct{ Name, ResourceVersion string }
		}
	}
	if err := json.Unmarshal([]byte(own), &list); err != nil {
		w.t.Fatal(err)
	}
	out := ""
	for _, o := range list.Items {
		out += fmt.Sprintf("%s/%s@%s ", o.Kind, o.Metadata.Name, o.Metadata.ResourceVersion)
	}
	return out + w.kubectl("-n", w.ns, "get", "deployments,services", "-o",
		`jsonpath={range .items[*]}{.kind}/{.metadata.name}@{.metadata.generation} {end}`)
}

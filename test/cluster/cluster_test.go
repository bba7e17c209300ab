package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// name is not that of any cluster that a person or another test uses.
const name = "selftest"

// start starts a cluster of the test's own.
func start(t *testing.T, nodes int) *cluster.Cluster {
	t.Helper()
	envoytest.Binary(t)
	if err := namespace.Supported(); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("a cluster cannot be started: %v", err)
		}
		t.Skipf("a cluster cannot be started: %v", err)
	}
	t.Cleanup(func() {
		if err := cluster.Down(name); err != nil {
			t.Errorf("end the cluster: %v", err)
		}
	})
	c, err := cluster.Up(t.Context(), cluster.Options{Name: name, Nodes: nodes, Log: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kubectl runs kubectl in the cluster's network and returns what it prints.
func kubectl(t *testing.T, c *cluster.Cluster, stdin string, args ...string) string {
	t.Helper()
	cmd := c.Command(t.Context(), append([]string{"kubectl"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// eventually waits until check returns nil.
func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// manifest is a namespace with, for each node, a pod on it and its Service, and LoadBalancer Services for both.
func manifest(nodes []cluster.Node) string {
	var b strings.Builder
	for _, node := range nodes {
		fmt.Fprintf(&b, `
apiVersion: v1
kind: Pod
metadata: {name: echo-%[1]s, namespace: default, labels: {app: echo, node: %[1]s}}
spec:
  nodeName: %[1]s
  securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - name: echo
    image: %[2]s
    env: [{name: POD_NAME, value: echo-%[1]s}]
    readinessProbe: {httpGet: {path: /, port: 3000}, periodSeconds: 1}
    securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: default}
spec: {selector: {node: %[1]s}, ports: [{port: 80, targetPort: 3000}]}
---
`, node.Name, cluster.EchoImages[0])
	}
	for balancer, spec := range map[string]string{
		"any": "", "static": "loadBalancerIP: " + cluster.UsableAddress + ",",
		"never": "loadBalancerIP: " + cluster.UnusableAddress + ",",
		"local": "externalTrafficPolicy: Local,",
	} {
		selector := "app: echo"
		if balancer == "local" {
			selector = "node: " + nodes[len(nodes)-1].Name
		}
		fmt.Fprintf(&b, `
apiVersion: v1
kind: Service
metadata: {name: %s, namespace: default}
spec: {type: LoadBalancer, %s selector: {%s}, ports: [{port: 80, targetPort: 3000}]}
---
`, balancer, spec, selector)
	}
	return b.String()
}

// served returns the pod that answers at a URL.
func served(client *http.Client, url string) (string, error) {
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(body)) {
		if pod, found := strings.CutPrefix(strings.TrimSpace(line), `"pod": "`); found {
			return strings.Trim(pod, `",`), nil
		}
	}
	return "", fmt.Errorf("no pod in the answer %q", body)
}

func TestClusterWithTwoNodes(t *testing.T) {
	c := start(t, 2)
	kubectl(t, c, manifest(c.Nodes()), "apply", "-f", "-")
	kubectl(t, c, "", "wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
	transport := c.Transport()
	transport.DisableKeepAlives = true
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}

	t.Run("Services by name reach pods on each node", func(t *testing.T) {
		for _, node := range c.Nodes() {
			expect(t, client, fmt.Sprintf("http://%s.default.svc.cluster.local", node.Name), "echo-"+node.Name)
		}
	})
	t.Run("from one node to the pod of another", func(t *testing.T) {
		for i, node := range c.Nodes() {
			other := c.Nodes()[(i+1)%2].Name
			ip := kubectl(t, c, "", "get", "pod", "echo-"+other, "-o", "jsonpath={.status.podIP}")
			conn, err := c.DialFrom(t.Context(), node.Name, "tcp", ip+":3000")
			if err != nil {
				t.Fatalf("%s: %v", node.Name, err)
			}
			_ = conn.Close()
		}
	})
	t.Run("load balancer addresses", func(t *testing.T) { balancers(t, c, client) })
	t.Run("kubectl on the machine itself", func(t *testing.T) {
		cmd := exec.CommandContext(t.Context(), filepath.Join(c.Bin(), "kubectl"), "get", "nodes", "-o", "name")
		cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "node/node1\nnode/node2\n" {
			t.Errorf("kubectl: %v\n%s", err, out)
		}
	})
	t.Run("logs and exec", func(t *testing.T) {
		if logs := kubectl(t, c, "", "logs", "echo-node2"); !strings.Contains(logs, "listening on port 3000") {
			t.Errorf("the log of a pod is %q", logs)
		}
	})
	t.Run("the image of this tree", func(t *testing.T) { product(t, c) })
	t.Run("tests share it", func(t *testing.T) {
		t.Setenv("SLUICE_CLUSTER", name)
		if shared := cluster.Get(t); shared.APIPort != c.APIPort || os.Getenv("KUBECONFIG") != c.Kubeconfig() {
			t.Errorf("another cluster was started: %+v", shared)
		}
	})
	t.Run("a pod cut off", func(t *testing.T) { cutPod(t, c) })
	t.Run("faults", func(t *testing.T) { faults(t, c) })
	t.Run("nothing leads out", func(t *testing.T) {
		// An address for documentation, of RFC 5737: the kernel of the namespace refuses it, nothing is sent.
		conn, err := c.Dial(t.Context(), "udp", "192.0.2.1:9")
		if err == nil {
			_ = conn.Close()
			t.Error("there is a route out of the cluster")
		}
	})
	had := networks(t)
	if err := cluster.Down(name); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c.Dir, had)
}

// expect waits until a pod answers at a URL.
func expect(t *testing.T, client *http.Client, url, pod string) {
	t.Helper()
	eventually(t, url, func() error {
		got, err := served(client, url)
		if err == nil && got != pod {
			err = fmt.Errorf("%s answered, want %s", got, pod)
		}
		return err
	})
}

func balancers(t *testing.T, c *cluster.Cluster, client *http.Client) {
	address := func(service string) string {
		return kubectl(t, c, "", "get", "service", service, "-o", "jsonpath={.status.loadBalancer.ingress[*].ip}")
	}
	for _, service := range []string{"any", "static", "local"} {
		eventually(t, "an address for "+service, func() error {
			if address(service) == "" {
				return errors.New("none")
			}
			return nil
		})
	}
	if got := address("static"); got != cluster.UsableAddress {
		t.Errorf("who asked for %s got %s", cluster.UsableAddress, got)
	}
	if got := address("never"); got != "" {
		t.Errorf("who asked for an address that is not to be had got %s", got)
	}
	seen := map[string]bool{}
	eventually(t, "both pods behind one address", func() error {
		pod, err := served(client, "http://"+address("any"))
		seen[pod] = err == nil
		if !seen["echo-node1"] || !seen["echo-node2"] {
			return fmt.Errorf("only %v: %w", seen, err)
		}
		return nil
	})
	expect(t, client, "http://"+address("local"), "echo-node2")
}

func product(t *testing.T, c *cluster.Cluster) {
	image, err := c.LoadProduct(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	kubectl(t, c, "", "run", "sluice", "--image="+image, "--restart=Never", "--", "--help")
	kubectl(t, c, "", "wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/sluice", "--timeout=60s")
	if help := kubectl(t, c, "", "logs", "sluice"); !strings.Contains(help, "sluice run") {
		t.Errorf("the image's program says %q", help)
	}
	kubectl(t, c, "", "delete", "pod", "sluice", "--wait=false")
}

// cutPod dials, from within a pod, by the API server's address and by its Service's.
func cutPod(t *testing.T, c *cluster.Cluster) {
	pids, err := namespace.Group("sluice-" + name + "/node1").Processes()
	if err != nil {
		t.Fatal(err)
	}
	inside := 0
	for _, pid := range pids {
		if args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(args) == "/echo-basic\x00" {
			inside = pid
		}
	}
	ways := []string{"10.96.0.1:443", cluster.ControlIP + ":6443"}
	reach := func(address string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		conn, err := namespace.Dial(ctx, inside, "tcp", address)
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	for _, address := range ways {
		eventually(t, "the API server from a pod", func() error { return reach(address) })
	}
	ip := kubectl(t, c, "", "get", "pod", "echo-node1", "-o", "jsonpath={.status.podIP}")
	restore, err := c.CutPod(t.Context(), "node1", ip)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range ways {
		if reach(address) == nil {
			t.Errorf("%s can be reached by a pod that was cut off", address)
		}
	}
	if err := restore(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, address := range ways {
		eventually(t, "the API server from a pod", func() error { return reach(address) })
	}
}

func faults(t *testing.T, c *cluster.Cluster) {
	reach := func(node string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		conn, err := c.DialFrom(ctx, node, "tcp", cluster.ControlIP+":6443")
		if err == nil {
			_ = conn.Close()
		}
		return err
	}
	for fault, cut := range map[string]func(context.Context) (func(context.Context) error, error){
		"API server": c.CutAPIServer,
		"node":       func(ctx context.Context) (func(context.Context) error, error) { return c.CutNode(ctx, "node1") },
	} {
		restore, err := cut(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := reach("node1"); err == nil {
			t.Errorf("%s: it was cut and can be reached", fault)
		}
		kubectl(t, c, "", "get", "nodes") // the test's own way is not cut
		if err := restore(t.Context()); err != nil {
			t.Fatal(err)
		}
		eventually(t, fault+" to be there again", func() error { return reach("node1") })
	}
	if err := c.Restart("kube-scheduler"); err != nil {
		t.Fatal(err)
	}
	if err := c.Pause("kubelet-node2"); err != nil {
		t.Fatal(err)
	}
	if err := c.Resume("kubelet-node2"); err != nil {
		t.Fatal(err)
	}
	restore, err := c.Drain(t.Context(), "node1")
	if err != nil {
		t.Fatal(err)
	}
	if pods := kubectl(t, c, "", "get", "pods", "-o", "name"); pods != "pod/echo-node2\n" {
		t.Errorf("after draining node1 there are %q", pods)
	}
	if err := restore(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// networks returns the network namespaces of a cluster's processes.
func networks(t *testing.T) map[string]bool {
	t.Helper()
	pids, err := namespace.Group("sluice-" + name).Processes()
	if err != nil || len(pids) == 0 {
		t.Fatalf("the cluster has %d processes: %v", len(pids), err)
	}
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, pid := range pids {
		if net, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); err == nil && net != own {
			out[net] = true
		}
	}
	return out
}

// nothingLeft checks what a cluster that was ended has left; networks are those that it had.
func nothingLeft(t *testing.T, dir string, networks map[string]bool) {
	t.Helper()
	if _, err := cluster.Open(name); !errors.Is(err, cluster.ErrNotRunning) {
		t.Errorf("it can still be opened: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its folder is left: %v", err)
	}
	if group := namespace.Group("sluice-" + name); group.Exists() {
		t.Errorf("the control group %s is left", group)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("mounts are left (%v):\n%s", err, mounts)
	}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, process := range processes {
		args, err := os.ReadFile(filepath.Join(process, "cmdline"))
		if err == nil && strings.Contains(string(args), dir) {
			t.Errorf("%s is left: %q", process, args)
		}
		if net, err := os.Readlink(filepath.Join(process, "ns", "net")); err == nil && networks[net] {
			t.Errorf("%s is left in a network of the cluster: %q", process, args)
		}
	}
}

// TestDownAfterCrash ends a cluster whose starter died, so that nothing is known of its processes.
func TestDownAfterCrash(t *testing.T) {
	c := start(t, 1)
	had := networks(t)
	if err := os.Remove(filepath.Join(c.Dir, "cluster.json")); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Down(name); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, c.Dir, had)
	if err := cluster.Down(name); err != nil {
		t.Errorf("ending what is not there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // ends it half-way
		defer cancel()
		for ctx.Err() == nil {
			if _, err := os.Stat(filepath.Join(c.Dir, "log", "kube-apiserver.log")); err == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if _, err := cluster.Up(ctx, cluster.Options{Name: name, Log: t.Output()}); !errors.Is(err, context.Canceled) {
		t.Errorf("starting was interrupted: %v", err)
	}
	nothingLeft(t, c.Dir, nil)
}

func TestName(t *testing.T) {
	for _, bad := range []string{"", "A", "a-b", "../x", "1a", "averylongname1"} {
		if err := cluster.Down(bad); err == nil {
			t.Errorf("%q is taken as a name", bad)
		}
	}
}

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"
)

// CutAPIServer keeps all nodes and pods from reaching the API server, over open connections too and in both directions,
// until restore is called: a watch would go on telling of changes to someone who cannot answer. Whoever reaches it by
// [Cluster.Kubeconfig] or [Cluster.Dial] still does: a test can change objects meanwhile.
func (c *Cluster) CutAPIServer(ctx context.Context) (restore func(context.Context) error, err error) {
	rules := "table inet cut { chain input { type filter hook input priority -10; " +
		"iifname " + bridge + " tcp dport " + apiServerPort + " drop; }; " +
		"chain output { type filter hook output priority -10; " +
		"oifname " + bridge + " tcp sport " + apiServerPort + " drop; }; }"
	return c.cut(ctx, c.Machines[0], rules)
}

// CutPod keeps a pod, by its address, from the API server alone, as CutAPIServer does with all.
func (c *Cluster) CutPod(ctx context.Context, node, podIP string) (restore func(context.Context) error, err error) {
	machine, err := c.machine(node)
	if err != nil {
		return nil, err
	}
	// The filter comes between kube-proxy's translations: whatever the pod dials, the packets name the API server itself.
	rules := "table inet cut { chain forward { type filter hook forward priority 10; " +
		"ip saddr " + podIP + " ip daddr " + controlIP + " tcp dport " + apiServerPort + " drop; " +
		"ip saddr " + controlIP + " ip daddr " + podIP + " tcp sport " + apiServerPort + " drop; }; }"
	return c.cut(ctx, machine, rules)
}

func (c *Cluster) cut(ctx context.Context, on Node, rules string) (restore func(context.Context) error, err error) {
	nft := func(ctx context.Context, script string) error {
		cmd := c.commandOn(ctx, on, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("change the packet filter of %s: nft: %w: %s", on.Name, err, out)
		}
		return nil
	}
	if err := nft(ctx, rules); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return nft(ctx, "delete table inet cut") }, nil
}

// CutNode takes the cable out of a node, until restore is called.
func (c *Cluster) CutNode(ctx context.Context, node string) (restore func(context.Context) error, err error) {
	if _, err := c.machine(node); err != nil {
		return nil, err
	}
	set := func(ctx context.Context, state string) error {
		return c.ip(ctx, c.Machines[0], []string{"link set " + node + " " + state})
	}
	if err := set(ctx, "down"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return set(ctx, "up") }, nil
}

// Pause stops a program of the cluster, "kube-apiserver" or "kubelet-node1" for example, as if it hung.
// [Cluster.Resume] lets it go on.
func (c *Cluster) Pause(program string) error { return c.signal(program, syscall.SIGSTOP) }

// Resume lets a paused program go on.
func (c *Cluster) Resume(program string) error { return c.signal(program, syscall.SIGCONT) }

// Kill ends a program of the cluster without warning; [Cluster.Restart] starts it anew.
func (c *Cluster) Kill(program string) error {
	p, err := c.process(program)
	if err != nil {
		return err
	}
	if err := c.signal(program, syscall.SIGKILL); err != nil {
		return err
	}
	const timeout = 10 * time.Second
	for deadline := time.Now().Add(timeout); p.alive(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return fmt.Errorf("%s does not end", program)
		}
	}
	return nil
}

// Restart starts a program that ended, or ends and starts one that runs.
func (c *Cluster) Restart(program string) error {
	p, err := c.process(program)
	if err != nil {
		return err
	}
	if strings.HasPrefix(p.Name, "holder-") {
		return fmt.Errorf("%s holds what the others run in and cannot be started anew", program)
	}
	if p.alive() {
		if err := c.Kill(program); err != nil {
			return err
		}
	}
	return c.start(p)
}

// Drain moves all pods off a node, as for its maintenance, honouring disruption budgets; restore lets new ones come.
func (c *Cluster) Drain(ctx context.Context, node string) (restore func(context.Context) error, err error) {
	kubectl := func(ctx context.Context, args ...string) error {
		if out, err := c.Command(ctx, append([]string{"kubectl"}, args...)...).CombinedOutput(); err != nil {
			return fmt.Errorf("kubectl %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	restore = func(ctx context.Context) error { return kubectl(ctx, "uncordon", node) }
	if err := kubectl(ctx, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force"); err != nil {
		return nil, errors.Join(err, restore(ctx))
	}
	return restore, nil
}

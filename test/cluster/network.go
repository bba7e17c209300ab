package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// bridge joins the nodes, in the network of the control plane.
const bridge = "nodes"

// network makes the namespaces and joins them: each node has a cable to a bridge at the control plane, and routes to
// the pods of the others. Nothing leads out.
func (c *Cluster) network(ctx context.Context) error {
	for _, group := range c.groups() {
		if err := group.Create(); err != nil {
			return err
		}
	}
	for i := range c.Machines {
		if err := c.hold(&c.Machines[i]); err != nil {
			return err
		}
	}
	control := []string{
		"link set lo up", "link add " + bridge + " type bridge", "addr add " + controlIP + "/24 dev " + bridge,
		"link set " + bridge + " up",
	}
	for _, node := range c.Nodes() {
		control = append(control,
			fmt.Sprintf("link add %s type veth peer name eth0 netns %d", node.Name, node.PID),
			fmt.Sprintf("link set %s master %s up", node.Name, bridge),
			fmt.Sprintf("route add %s via %s", node.PodCIDR, node.IP))
	}
	// The control plane has no kube-proxy. Its clients' way to Services is the first node.
	control = append(control, fmt.Sprintf("route add %s via %s", serviceRange, c.Nodes()[0].IP))
	if err := c.ip(ctx, c.Machines[0], control); err != nil {
		return err
	}
	for _, node := range c.Nodes() {
		commands := []string{
			"link set lo up", "addr add " + node.IP + "/24 dev eth0", "link set eth0 up",
			// The addresses of Services need a route before kube-proxy translates them.
			"route add default via " + controlIP,
		}
		for _, other := range c.Nodes() {
			if other.Name != node.Name {
				commands = append(commands, fmt.Sprintf("route add %s via %s", other.PodCIDR, other.IP))
			}
		}
		if err := c.ip(ctx, node, commands); err != nil {
			return err
		}
	}
	for _, machine := range c.Machines {
		if err := namespace.Do(machine.PID, sysctls); err != nil {
			return fmt.Errorf("set up the network of %s: %w", machine.Name, err)
		}
	}
	return nil
}

// groups are the control groups: one for the programs, one for the containers of each node.
func (c *Cluster) groups() []namespace.Group {
	out := []namespace.Group{groupOf(c.Name) + system}
	for _, node := range c.Nodes() {
		out = append(out, c.containerGroup(node))
	}
	return out
}

func (c *Cluster) containerGroup(node Node) namespace.Group {
	return groupOf(c.Name) + namespace.Group("/"+node.Name)
}

// ip runs commands of ip in the network of a machine.
func (c *Cluster) ip(ctx context.Context, on Node, commands []string) error {
	cmd := c.commandOn(ctx, on, "ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("set up the network of %s: ip: %w: %s", on.Name, err, out)
	}
	return nil
}

// sysctls sets up forwarding in the network that it is called in.
func sysctls() error {
	for name, value := range map[string]string{
		"ipv4/ip_forward": "1",
		// Connections, not clients, are spread over the nodes.
		"ipv4/fib_multipath_hash_policy": "1",
		"ipv4/conf/all/rp_filter":        "0",
		"ipv4/conf/default/rp_filter":    "0",
		// Answers between pods of one node pass kube-proxy's translation, too.
		"bridge/bridge-nf-call-iptables": "1",
	} {
		err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0)
		if err != nil && !(errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "bridge/")) {
			return err
		}
	}
	return nil
}

// Package cluster runs a real Kubernetes on one machine, without Docker, for tests: etcd, the API server with its
// controllers, CoreDNS, a load balancer, and any number of nodes with containerd, kubelet and kube-proxy, all as plain
// processes. Each node has network namespaces and mounts of its own; nothing in them can reach beyond the machine.
//
// A cluster has a name. All its processes are in one control group, and all its files in one folder, so that [Down]
// finds everything, whatever became of who started it.
package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"

	"github.com/sluice-gateway/sluice/test/cluster/api"
	"github.com/sluice-gateway/sluice/test/cluster/component"
	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// The addresses. They are the same in each cluster, for no cluster sees another's.
const (
	controlIP     = "172.30.0.1"
	serviceRange  = "10.96.0.0/16"
	podRange      = "10.244.0.0/16"
	firstService  = "10.96.0.1"
	apiServerPort = "6443"
	domain        = "cluster.local"
	// dynamicRange and staticRange are the addresses of LoadBalancer Services: for those that ask for none and for those
	// that do.
	dynamicRange = "172.30.1.10-172.30.1.199"
	staticRange  = "172.30.1.200-172.30.1.250"
)

// Addresses that a Service may ask for with spec.loadBalancerIP, and one that it never gets, as the conformance suite
// wants them.
const (
	UsableAddress      = "172.30.1.200"
	OtherUsableAddress = "172.30.1.201"
	UnusableAddress    = "172.30.2.200"
)

// Control names the network in which the API server runs, and from which tests see the cluster, where nodes are named.
const Control = "control"

// Node is a node of the cluster, or [Control].
type Node struct {
	// Name is "node1", "node2" and so on; it is the name of the Node object, too.
	Name string
	// IP is its address, PodCIDR the range of its pods; empty for Control.
	IP, PodCIDR string
	// PID is the process that holds its namespaces.
	PID int
}

// Cluster is a running cluster.
type Cluster struct {
	// Name is what it was started as; Dir is the folder of all its files.
	Name string
	Dir  string
	// Hash tells apart what its programs were built from.
	Hash string
	// APIPort is the port on the loopback interface of the machine that leads to the API server.
	APIPort int
	// Machines are Control and the nodes.
	Machines []Node
	// Processes are its programs, without those that containerd starts.
	Processes []Process

	// mu guards Processes.
	mu sync.Mutex
}

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,11}$`)

// dirOf is the folder of a cluster: below $XDG_STATE_HOME.
func dirOf(name string) (string, error) {
	if !namePattern.MatchString(name) {
		return "", fmt.Errorf("%q is no name for a cluster: up to 12 lower case letters and digits, a letter first", name)
	}
	root := os.Getenv("XDG_STATE_HOME")
	if root == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("no place for a cluster: %w; set XDG_STATE_HOME", err)
		}
		root = filepath.Join(home, ".local", "state")
	}
	dir := filepath.Join(root, "sluice", "cluster", name)
	const longest = 64 // what containerd adds must still fit into the address of a Unix socket
	if len(dir) > longest {
		return "", fmt.Errorf("%s is too long for the sockets in it: set XDG_STATE_HOME to a shorter path", dir)
	}
	return dir, nil
}

func groupOf(name string) namespace.Group { return namespace.Group("sluice-" + name) }

// lock keeps others from starting or ending the cluster.
func lock(name string) (unlock func(), err error) {
	cache, err := component.Cache()
	if err != nil {
		return nil, err
	}
	return component.Lock(filepath.Join(cache, "lock", name))
}

const stateFile = "cluster.json"

// ErrNotRunning is wrapped by Open's error for a cluster that is not running, or only in part.
var ErrNotRunning = errors.New("the cluster is not running")

// Open returns a cluster that is running, whoever started it.
func Open(name string) (*Cluster, error) {
	dir, err := dirOf(name)
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNotRunning, name)
	}
	if err != nil {
		return nil, err
	}
	c := new(Cluster)
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("read the state of %s: %w", name, err)
	}
	for _, p := range c.programs() {
		if !p.alive() {
			return nil, fmt.Errorf("%w: %s: %s has ended, see %s", ErrNotRunning, name, p.Name, c.logFile(p.Name))
		}
	}
	return c, nil
}

func (c *Cluster) save() error {
	data, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	path := c.path(stateFile)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// path is the path of a file of the cluster.
func (c *Cluster) path(parts ...string) string {
	return filepath.Join(append([]string{c.Dir}, parts...)...)
}

// Kubeconfig is the path of a kubeconfig of the administrator that works on the machine itself.
func (c *Cluster) Kubeconfig() string { return c.path("kubeconfig") }

// InnerKubeconfig is the path of a kubeconfig of the administrator that works in the cluster's networks: what [Command]
// sets.
func (c *Cluster) InnerKubeconfig() string { return c.path("inner.kubeconfig") }

// Bin is the folder with the cluster's programs: kubectl, helm, ctr and others.
func (c *Cluster) Bin() string { return c.path("bin") }

// Nodes returns the nodes, without Control.
func (c *Cluster) Nodes() []Node { return c.Machines[1:] }

// machine returns Control or a node by its name.
func (c *Cluster) machine(name string) (Node, error) {
	for _, m := range c.Machines {
		if m.Name == name {
			return m, nil
		}
	}
	return Node{}, fmt.Errorf("the cluster %s has no node %q", c.Name, name)
}

// API returns a small client of the API server as administrator.
func (c *Cluster) API() (*api.Client, error) {
	config, err := api.ReadKubeconfig(c.InnerKubeconfig())
	if err != nil {
		return nil, err
	}
	return api.New(config, c.Dial)
}

// Ready returns nil if the API server says that it is ready and so are all nodes; else what is not.
func (c *Cluster) Ready(ctx context.Context) error {
	client, err := c.API()
	if err != nil {
		return err
	}
	var list struct {
		Items []struct {
			Metadata struct{ Name string }
			Status   struct {
				Conditions []struct{ Type, Status, Message string }
			}
		}
	}
	if err := client.Get(ctx, "/api/v1/nodes", &list); err != nil {
		return err
	}
	why := map[string]string{}
	for _, item := range list.Items {
		for _, condition := range item.Status.Conditions {
			if condition.Type == "Ready" {
				why[item.Metadata.Name] = condition.Message
			}
			if condition.Type == "Ready" && condition.Status == "True" {
				why[item.Metadata.Name] = ""
			}
		}
	}
	var problems []error
	for _, node := range c.Nodes() {
		message, known := why[node.Name]
		if !known || message != "" {
			problems = append(problems, fmt.Errorf("%s is not ready: %s", node.Name, strconv.Quote(message)))
		}
	}
	return errors.Join(problems...)
}

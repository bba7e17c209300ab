package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/component"
	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// Options says what cluster to start.
type Options struct {
	// Name is up to 12 lower case letters and digits.
	Name string
	// Nodes is how many nodes there are; 0 is one.
	Nodes int
	// Log is told what is done; nil for nobody.
	Log io.Writer
}

// startTimeout is how long a cluster may take to start, once its programs are built.
const startTimeout = 3 * time.Minute

// Up starts a cluster and returns when its nodes are ready and their images are loaded. What is left of an earlier one
// of that name is removed. If it cannot be started nothing is left but its logs, of which the error has the end.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	unlock, err := lock(o.Name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	return up(ctx, o)
}

func up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Log == nil {
		o.Log = io.Discard
	}
	if err := namespace.Supported(); err != nil {
		return nil, err
	}
	dir, err := dirOf(o.Name)
	if err != nil {
		return nil, err
	}
	if err := component.Install(ctx, o.Log, component.RunTools...); err != nil {
		return nil, err
	}
	programs, hash, err := component.Build(ctx, o.Log)
	if err != nil {
		return nil, err
	}
	images, err := archives(ctx, programs["echo-basic"])
	if err != nil {
		return nil, err
	}
	if err := down(o.Name); err != nil {
		return nil, err
	}
	c := &Cluster{Name: o.Name, Dir: dir, Hash: hash, Machines: []Node{{Name: Control, IP: controlIP}}}
	for i := range max(o.Nodes, 1) {
		c.Machines = append(c.Machines, nodeOf(i+1))
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	started := time.Now()
	if err := c.bringUp(ctx, programs, images); err != nil {
		err = fmt.Errorf("start the cluster %s: %w", o.Name, err)
		return nil, errors.Join(err, ctx.Err(), down(o.Name))
	}
	_, _ = fmt.Fprintf(o.Log, "the cluster %s with %d nodes is ready after %s\n",
		o.Name, len(c.Nodes()), time.Since(started).Round(100*time.Millisecond))
	return c, nil
}

// nodeOf returns the i-th node, from 1.
func nodeOf(i int) Node {
	return Node{
		Name: fmt.Sprintf("node%d", i), IP: fmt.Sprintf("172.30.0.%d", 10+i), PodCIDR: fmt.Sprintf("10.244.%d.0/24", i),
	}
}

func (c *Cluster) bringUp(ctx context.Context, programs map[string]string, images []string) error {
	if err := os.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	if err := c.install(ctx, programs); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	c.APIPort = port
	if err := c.writePKI(); err != nil {
		return err
	}
	if err := c.network(ctx); err != nil {
		return err
	}
	for _, node := range c.Nodes() {
		if err := c.startContainerd(node); err != nil {
			return err
		}
	}
	// Images are loaded while the API server starts: a pod whose image is not there would wait for a registry.
	loaded := make(chan error, 1)
	go func() { loaded <- c.load(ctx, images) }()
	err = c.startControl(ctx)
	if err = errors.Join(err, <-loaded); err != nil {
		return err
	}
	for _, node := range c.Nodes() {
		if err := c.startNode(node); err != nil {
			return err
		}
	}
	if err := c.await(ctx, "the nodes to be ready", c.Ready); err != nil {
		return err
	}
	client, err := c.API()
	if err != nil {
		return err
	}
	// Without it no pod can be made in the namespace.
	return c.await(ctx, "the service account of the default namespace", func(ctx context.Context) error {
		return client.Get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
	})
}

// install puts the programs, and the agent, which is built here, into the cluster's own folder.
func (c *Cluster) install(ctx context.Context, programs map[string]string) error {
	if err := os.MkdirAll(c.Bin(), 0o700); err != nil {
		return err
	}
	for name, path := range programs {
		if err := os.Symlink(path, filepath.Join(c.Bin(), name)); err != nil {
			return err
		}
	}
	return buildProgram(ctx, "github.com/sluice-gateway/sluice/test/cluster/agent", filepath.Join(c.Bin(), "agent"))
}

// buildProgram builds a static program of this module.
func buildProgram(ctx context.Context, pkg, path string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, out)
	}
	return nil
}

// freePort returns a port of the loopback interface that nobody listens on now.
func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	return port, listener.Close()
}

// Down ends a cluster and removes all that it has, also one that was started only in part or whose starter died. A
// cluster that does not exist is no error.
func Down(name string) error {
	unlock, err := lock(name)
	if err != nil {
		return err
	}
	defer unlock()
	return down(name)
}

func down(name string) error {
	dir, err := dirOf(name)
	if err != nil {
		return err
	}
	const timeout = 30 * time.Second
	group := groupOf(name)
	// With the last process the namespaces go, and with them interfaces, rules and mounts.
	if err := group.Kill(timeout); err != nil {
		return fmt.Errorf("end the cluster %s: %w", name, err)
	}
	if err := errors.Join(group.Remove(), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("remove what the cluster %s left: %w", name, err)
	}
	return nil
}

// hold starts the process that holds a machine's namespaces, and returns when they are there.
func (c *Cluster) hold(machine *Node) error {
	args := []string{"hold", "-group", string(groupOf(c.Name) + system)}
	if machine.Name != Control {
		for _, path := range fixedPaths {
			args = append(args, "-bind", c.path(machine.Name, "own", path)+"="+path)
		}
	}
	read, write, err := os.Pipe()
	if err != nil {
		return err
	}
	defer read.Close() //nolint:errcheck // only read
	cmd := exec.Command(c.path("bin", "agent"), args...)
	cmd.Env = c.environment()
	cmd.ExtraFiles = []*os.File{write}
	namespace.Isolate(cmd)
	name := "holder-" + machine.Name
	pid, err := c.launch(cmd, name)
	if err := errors.Join(err, write.Close()); err != nil {
		return err
	}
	// It says that it is ready, or ends and with it the pipe.
	if said, err := io.ReadAll(read); err != nil || len(said) == 0 {
		return errors.Join(fmt.Errorf("%s ended: %s", name, c.logTail(name)), err)
	}
	machine.PID = pid
	process := Process{Name: name, Machine: machine.Name, PID: pid, Started: startOf(pid)}
	return c.remember(process)
}

// fixedPaths are the folders that kubelet, containerd and the CNI plugins cannot be told to have elsewhere. Each node
// has its own of them.
var fixedPaths = []string{"/run/containerd", "/var/lib/cni", "/var/lib/kubelet", "/var/log/containers", "/var/log/pods"}

func portOf(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

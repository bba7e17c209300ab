package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

// Process is a program of the cluster.
type Process struct {
	// Name is "kube-apiserver", "kubelet-node1" and so on.
	Name string
	// Machine is the node that it runs in, or Control; empty for what runs in the machine's own network.
	Machine string
	Args    []string
	PID     int
	// Started is when, in clock ticks after the machine did: it tells the process from a later one of the same number.
	Started uint64
}

// system is the control group of the programs, below the cluster's own.
const system = "/system"

func (c *Cluster) logFile(name string) string { return c.path("log", name+".log") }

// start starts a program, or starts it anew. It writes to a log file, and outlives who started it.
func (c *Cluster) start(p Process) error {
	args := []string{"enter", "-group", string(groupOf(c.Name) + system)}
	if p.Machine != "" {
		machine, err := c.machine(p.Machine)
		if err != nil {
			return err
		}
		args = append(args, "-pid", strconv.Itoa(machine.PID))
	}
	cmd := exec.Command(c.path("bin", "agent"), slices.Concat(args, []string{"--"}, p.Args)...)
	cmd.Env = c.environment()
	cmd.Dir = c.Dir
	namespace.Detach(cmd)
	pid, err := c.launch(cmd, p.Name)
	if err != nil {
		return err
	}
	p.PID, p.Started = pid, startOf(pid)
	return c.remember(p)
}

// remember adds a program to the cluster's, or puts it in the place of an earlier one.
func (c *Cluster) remember(p Process) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Processes = append(slices.DeleteFunc(c.Processes, func(old Process) bool { return old.Name == p.Name }), p)
	return c.save()
}

// programs returns the cluster's programs as they are now.
func (c *Cluster) programs() []Process {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.Processes)
}

// launch starts a command whose output goes to the log file of a program.
func (c *Cluster) launch(cmd *exec.Cmd, name string) (pid int, err error) {
	if err := os.MkdirAll(c.path("log"), 0o700); err != nil {
		return 0, err
	}
	log, err := os.OpenFile(c.logFile(name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	defer log.Close() //nolint:errcheck // the program has its own
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("start %s: %w", name, err)
	}
	go cmd.Wait() //nolint:errcheck // how it ended is in the log; only its remains have to go
	return cmd.Process.Pid, nil
}

// environment is that of the cluster's programs: not what the one who started it happens to have.
func (c *Cluster) environment() []string {
	return []string{
		"PATH=" + c.Bin() + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + c.Dir, "KUBECONFIG=" + c.InnerKubeconfig(),
	}
}

// startOf returns when a process was started, 0 if there is none.
func startOf(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The name, in parentheses, may hold anything; what follows it is separated by spaces. The first is field 3.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	const state, start = 0, 22 - 3
	if len(fields) <= start || fields[state][0] == 'Z' {
		return 0
	}
	ticks, err := strconv.ParseUint(string(fields[start]), 10, 64)
	if err != nil {
		return 0
	}
	return ticks
}

func (p Process) alive() bool { return p.Started != 0 && startOf(p.PID) == p.Started }

// process returns a program by its name.
func (c *Cluster) process(name string) (Process, error) {
	for _, p := range c.programs() {
		if p.Name == name {
			return p, nil
		}
	}
	return Process{}, fmt.Errorf("the cluster %s has no program %q", c.Name, name)
}

// signal sends a signal to a program, if it is still the one that was started.
func (c *Cluster) signal(name string, sig syscall.Signal) error {
	p, err := c.process(name)
	if err != nil {
		return err
	}
	if !p.alive() {
		return fmt.Errorf("%s has ended, see %s", name, c.logFile(name))
	}
	return syscall.Kill(p.PID, sig)
}

// await calls check until it returns nil. It gives up when ctx is done, or when a program of the cluster ends.
func (c *Cluster) await(ctx context.Context, what string, check func(context.Context) error) error {
	for {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		err := check(attempt)
		cancel()
		if err == nil {
			return nil
		}
		for _, p := range c.programs() {
			if !p.alive() {
				return fmt.Errorf("wait for %s: %s ended:\n%s", what, p.Name, c.logTail(p.Name))
			}
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for %s: %w", what, ctx.Err()), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// logTail returns the end of a program's log.
func (c *Cluster) logTail(name string) []byte {
	const most = 2 << 10
	data, err := os.ReadFile(c.logFile(name))
	if err != nil {
		return []byte(err.Error())
	}
	return data[max(0, len(data)-most):]
}

// Command returns a command that runs in the network of the control plane, where the addresses of pods, Services and
// load balancers lead to them, with kubectl and the cluster's other programs on its PATH and KUBECONFIG set. It ends
// with the cluster at the latest.
func (c *Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	return c.commandOn(ctx, c.Machines[0], args...)
}

// NodeCommand is Command in the network and with the mounts of a node.
func (c *Cluster) NodeCommand(ctx context.Context, node string, args ...string) (*exec.Cmd, error) {
	machine, err := c.machine(node)
	if err != nil {
		return nil, err
	}
	return c.commandOn(ctx, machine, args...), nil
}

func (c *Cluster) commandOn(ctx context.Context, on Node, args ...string) *exec.Cmd {
	enter := []string{"enter", "-group", string(groupOf(c.Name) + system), "-pid", strconv.Itoa(on.PID), "--"}
	cmd := exec.CommandContext(ctx, c.path("bin", "agent"), append(enter, args...)...)
	cmd.Env = append(os.Environ(), c.environment()...)
	return cmd
}

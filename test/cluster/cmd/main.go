// Command cmd starts and ends Kubernetes clusters for tests on this machine: see package cluster.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/cluster/component"
)

const usage = `usage: go run ./test/cluster/cmd [-name NAME] COMMAND

  build               build the programs of clusters, minutes the first time; up does it, too
  up [-nodes N]       start the cluster
  down                end it and remove all that it has
  status              say what runs
  env                 print what a shell evaluates to use its kubectl, helm and kubeconfig
  load ARCHIVE...     put container images on its nodes
  exec [-node NODE] -- PROGRAM [ARGUMENT]...
                      run a program in its network
`

func main() {
	name := flag.String("name", "dev", "name of the cluster")
	flag.Usage = func() {
		_, _ = fmt.Fprint(flag.CommandLine.Output(), usage)
		flag.PrintDefaults()
	}
	flag.Parse()
	commands := map[string]func(ctx context.Context, name string, args []string) error{
		"build": build, "up": up, "down": down, "status": status, "env": environment, "load": load, "exec": run,
	}
	command := commands[flag.Arg(0)]
	if command == nil {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, *name, flag.Args()[1:])
	stop()
	var exit *exec.ExitError
	if errors.As(err, &exit) && flag.Arg(0) == "exec" {
		os.Exit(exit.ExitCode())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func up(ctx context.Context, name string, args []string) error {
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	nodes := flags.Int("nodes", 1, "how many nodes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	_, err := cluster.Up(ctx, cluster.Options{Name: name, Nodes: *nodes, Log: os.Stderr})
	return err
}

func build(ctx context.Context, _ string, _ []string) error {
	_, _, err := component.Build(ctx, os.Stderr)
	return err
}

func down(_ context.Context, name string, _ []string) error { return cluster.Down(name) }

func status(ctx context.Context, name string, _ []string) error {
	c, err := cluster.Open(name)
	if err != nil {
		return err
	}
	for _, p := range c.Processes {
		fmt.Printf("%-10s %-28s %d\n", p.Machine, p.Name, p.PID)
	}
	if err := c.Ready(ctx); err != nil {
		return err
	}
	fmt.Println("ready; files and logs are in", c.Dir)
	return nil
}

func environment(_ context.Context, name string, _ []string) error {
	c, err := cluster.Open(name)
	if err != nil {
		return err
	}
	fmt.Printf("export KUBECONFIG=%q\nexport PATH=%q:\"$PATH\"\nexport SLUICE_CLUSTER=%q\n", c.Kubeconfig(), c.Bin(), name)
	return nil
}

func load(ctx context.Context, name string, args []string) error {
	c, err := cluster.Open(name)
	if err != nil {
		return err
	}
	for _, path := range args {
		if err := c.Load(ctx, path); err != nil {
			return err
		}
	}
	return nil
}

func run(ctx context.Context, name string, args []string) error {
	flags := flag.NewFlagSet("exec", flag.ExitOnError)
	node := flags.String("node", cluster.Control, "in whose network")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := cluster.Open(name)
	if err != nil {
		return err
	}
	cmd, err := c.NodeCommand(ctx, *node, flags.Args()...)
	if err != nil {
		return err
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

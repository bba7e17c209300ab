// Command agent is what a cluster for tests runs of its own: the process that holds a node's namespaces, the door
// through which other programs enter them, a forwarder to the API server, and the load balancer.
//
//	agent hold -group GROUP [-bind FROM=TO]...
//	agent enter -group GROUP [-pid PID] -- PROGRAM [ARGUMENT]...
//	agent forward -pid PID -listen ADDRESS -to ADDRESS
//	agent balance -kubeconfig FILE -range FIRST-LAST -static FIRST-LAST
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"github.com/sluice-gateway/sluice/test/cluster/balancer"
	"github.com/sluice-gateway/sluice/test/cluster/namespace"
)

func main() {
	// What enters a namespace is a thread, and what it then becomes is the program: it must be the first one.
	runtime.LockOSThread()
	commands := map[string]func([]string) error{
		"hold": hold, "enter": enter, "forward": forward, "balance": balance,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: agent hold|enter|forward|balance FLAGS")
		os.Exit(2)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintf(os.Stderr, "agent %s: %v\n", os.Args[1], err)
		os.Exit(1)
	}
}

// readyFile is the file to which a holder writes when others may enter.
const readyFile = 3

func hold(args []string) error {
	flags := flag.NewFlagSet("hold", flag.ExitOnError)
	group := flags.String("group", "", "control group to join")
	var binds []string
	flags.Func("bind", "FROM=TO: what others see at the folder TO", func(s string) error {
		binds = append(binds, s)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := namespace.Group(*group).Join(); err != nil {
		return err
	}
	if err := namespace.KeepMounts(); err != nil {
		return err
	}
	for _, bind := range binds {
		from, to, _ := strings.Cut(bind, "=")
		if err := namespace.Bind(from, to); err != nil {
			return err
		}
	}
	ready := os.NewFile(readyFile, "ready")
	_, err := ready.WriteString("ready\n")
	if err := errors.Join(err, ready.Close()); err != nil {
		return fmt.Errorf("say that the namespaces are there: %w", err)
	}
	// Only being killed ends it: others may still be in its namespaces, and would keep them without a way in.
	ignored := make(chan os.Signal, 1)
	signal.Notify(ignored, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	for range ignored {
	}
	return nil
}

func enter(args []string) error {
	flags := flag.NewFlagSet("enter", flag.ExitOnError)
	group := flags.String("group", "", "control group to join")
	pid := flags.Int("pid", 0, "process whose namespaces to enter")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name a program")
	}
	if *group != "" {
		if err := namespace.Group(*group).Join(); err != nil {
			return err
		}
	}
	program, err := exec.LookPath(flags.Arg(0))
	if err != nil {
		return err
	}
	if *pid != 0 {
		folder, err := os.Getwd()
		if err != nil {
			return err
		}
		if err := namespace.Enter(*pid); err != nil {
			return err
		}
		// With the mounts the current folder has become the root.
		if err := os.Chdir(folder); err != nil {
			return err
		}
	}
	return fmt.Errorf("start %s: %w", program, syscall.Exec(program, flags.Args(), os.Environ()))
}

func balance(args []string) error {
	flags := flag.NewFlagSet("balance", flag.ExitOnError)
	var options balancer.Options
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "how to reach the API server")
	flags.TextVar(&options.Dynamic, "range", balancer.Range{}, "FIRST-LAST of the addresses to give")
	flags.TextVar(&options.Static, "static", balancer.Range{}, "FIRST-LAST of the addresses for those who ask for one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return balancer.Run(ctx, options)
}

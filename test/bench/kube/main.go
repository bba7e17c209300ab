// Command kube measures Sluice in a Kubernetes for tests, beside what it is compared with if that is asked for: the
// work of the public gateway-api-bench, and what was promised beyond it. ../README.md says what each row is.
//
//	go run ./test/bench/kube [-cluster NAME] [-peer] [-quick] [-routes 100,1000,5000] [-only NAME]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/cluster"
)

// options are the command line.
type options struct {
	cluster string
	peer    bool
	quick   bool
	routes  []int
	only    string
	// inside says that the program runs in the cluster's network already.
	inside bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	var routes string
	flags := flag.NewFlagSet("kube", flag.ContinueOnError)
	flags.StringVar(&o.cluster, "cluster", "bench", "name of the cluster; it is started if it does not run")
	flags.BoolVar(&o.peer, "peer", false, "measure Envoy Gateway 1.9.1, too: it is built and installed; half an hour more")
	flags.BoolVar(&o.quick, "quick", false, "smaller sizes and shorter runs: shows that it works, not how fast it is")
	flags.StringVar(&routes, "routes", "", "numbers of routes to measure with (default 100,1000,5000; quick 50,200)")
	flags.StringVar(&o.only, "only", "", "measure only: "+strings.Join(names(), ", "))
	flags.BoolVar(&o.inside, "inside", false, "for the program itself: it runs in the cluster's network")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case routes == "" && o.quick:
		routes = "50,200"
	case routes == "":
		routes = "100,1000,5000"
	}
	for part := range strings.SplitSeq(routes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > 20_000 {
			return o, fmt.Errorf("%q is not a number of routes between 1 and 20000", part)
		}
		o.routes = append(o.routes, n)
	}
	slices.Sort(o.routes)
	if o.only != "" && !slices.Contains(names(), o.only) {
		return o, fmt.Errorf("there is nothing named %q to measure; there is %s", o.only, strings.Join(names(), ", "))
	}
	return o, nil
}

// scenario measures something on a world, in which it leaves no objects of its own behind.
type scenario struct {
	name string
	run  func(ctx context.Context, w *world) error
}

// scenarios are in this order because size leaves the largest number of routes behind, for those that follow.
var scenarios = []scenario{
	{"attach", attach},
	{"size", sizes},
	{"memory", memory},
	{"churn", churn},
	{"loss", loss},
	{"failover", failover},
	{"listenerset", listenerSets},
}

func names() []string {
	var out []string
	for _, s := range scenarios {
		out = append(out, s.name)
	}
	return out
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	c, err := cluster.Open(o.cluster)
	if errors.Is(err, cluster.ErrNotRunning) && !o.inside {
		c, err = cluster.Up(ctx, cluster.Options{Name: o.cluster, Nodes: 1, Log: os.Stderr})
	}
	if err != nil {
		return err
	}
	if !o.inside {
		return enter(ctx, c, args)
	}
	peers := map[string]figure{}
	if o.peer {
		if peers, err = measure(ctx, c, o, envoyGateway); err != nil {
			return fmt.Errorf("envoy-gateway: %w", err)
		}
	}
	own, err := measure(ctx, c, o, sluice)
	print(own, peers)
	return err
}

// enter runs this program again in the network of the cluster, where the addresses of Gateways lead to them.
func enter(ctx context.Context, c *cluster.Cluster, args []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := c.Command(ctx, slices.Concat([]string{self, "-inside"}, args)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var exit *exec.ExitError
	if err := cmd.Run(); errors.As(err, &exit) {
		return errors.New("not everything was measured: see above")
	} else if err != nil {
		return fmt.Errorf("enter the cluster's network: %w", err)
	}
	return nil
}

// measure installs a system, runs the scenarios on it, and removes it. It returns what was measured until an error.
func measure(ctx context.Context, c *cluster.Cluster, o options, s system) (map[string]figure, error) {
	if err := s.install(ctx, c); err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, o, s)
	if err != nil {
		return nil, err
	}
	// Also after an interrupt: the next run starts from nothing.
	defer w.close(context.WithoutCancel(ctx))
	for _, scenario := range scenarios {
		if o.only != "" && o.only != scenario.name {
			continue
		}
		if err := scenario.run(ctx, w); err != nil {
			return w.figures, fmt.Errorf("%s: %w", scenario.name, err)
		}
	}
	return w.figures, s.uninstall(ctx, c)
}

// print prints the table of Sluice's figures beside those of the peer.
func print(own, peers map[string]figure) {
	rows := make([]figure, 0, len(own))
	for _, f := range own {
		rows = append(rows, f)
	}
	slices.SortFunc(rows, func(a, b figure) int { return a.order - b.order })
	var t table.Table
	for _, f := range rows {
		f.Peer = peers[f.What].Measured
		t.Rows = append(t.Rows, f.Row)
	}
	t.Print(os.Stdout)
}

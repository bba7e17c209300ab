// Command kube measures Sluice in a Kubernetes for tests, beside what it is compared with if that is asked for: the
// work of the public gateway-api-bench, and what was promised beyond it. ../README.md says what each row is.
//
//	go run ./test/bench/kube [-cluster NAME] [-peer] [-quick] [-routes 100,1000,5000] [-only NAME]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
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
	// inside is the system to measure for a program that runs in the cluster's network already, and figures is the file
	// that what it measured goes to. The program runs itself with them.
	inside, figures string
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
	flags.StringVar(&o.inside, "inside", "", "for the program itself")
	flags.StringVar(&o.figures, "figures", "", "for the program itself")
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
	for _, s := range []system{sluice, envoyGateway} {
		if o.inside == s.name {
			return inside(ctx, o, s)
		}
	}
	c, err := cluster.Open(o.cluster)
	if errors.Is(err, cluster.ErrNotRunning) {
		c, err = cluster.Up(ctx, cluster.Options{Name: o.cluster, Nodes: 1, Log: os.Stderr})
	}
	if err != nil {
		return err
	}
	peers := map[string]figure{}
	if o.peer {
		if peers, err = measure(ctx, c, args, envoyGateway); err != nil {
			return fmt.Errorf("envoy-gateway: %w", err)
		}
	}
	own, err := measure(ctx, c, args, sluice)
	print(own, peers)
	return err
}

// measure installs a system, runs this program again in the cluster's network, where the addresses of Gateways lead to
// them, and removes the system. It returns what was measured until an error.
func measure(ctx context.Context, c *cluster.Cluster, args []string, s system) (map[string]figure, error) {
	if err := s.install(ctx, c); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "sluice-bench-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = errors.Join(file.Close(), os.Remove(file.Name())) }()
	cmd := c.Command(ctx, slices.Concat([]string{self, "-inside", s.name, "-figures", file.Name()}, args)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// It has a world to clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	failed := cmd.Run()
	figures := map[string]figure{}
	if err := json.NewDecoder(file).Decode(&figures); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read what was measured: %w", err)
	}
	if failed != nil {
		return figures, fmt.Errorf("not everything was measured, see above: %w", failed)
	}
	return figures, s.uninstall(ctx, c)
}

// inside runs the scenarios on a system that is installed, and writes the figures so far also if one fails.
func inside(ctx context.Context, o options, s system) error {
	w, err := newWorld(ctx, o, s)
	if err != nil {
		return err
	}
	// Also after an interrupt: the next run starts from nothing.
	defer w.close(context.WithoutCancel(ctx))
	var failed error
	for _, scenario := range scenarios {
		if o.only != "" && o.only != scenario.name {
			continue
		}
		if err := scenario.run(ctx, w); err != nil {
			failed = fmt.Errorf("%s: %w", scenario.name, err)
			break
		}
	}
	data, err := json.Marshal(w.measured)
	if err != nil {
		return err
	}
	return errors.Join(failed, os.WriteFile(o.figures, data, 0o600))
}

// print prints the table of Sluice's figures beside those of the peer.
func print(own, peers map[string]figure) {
	rows := make([]figure, 0, len(own))
	for _, f := range own {
		rows = append(rows, f)
	}
	slices.SortFunc(rows, func(a, b figure) int { return a.Order - b.Order })
	var t table.Table
	for _, f := range rows {
		f.Peer = peers[f.What].Measured
		t.Rows = append(t.Rows, f.Row)
	}
	t.Print(os.Stdout)
}

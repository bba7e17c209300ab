// Command bench measures Sluice beside what it is compared with, and prints one row for each thing that was promised:
// what was measured, the target, what a peer needs for the same, and the ratio. README.md says what each row is.
//
//	go run ./test/bench [-quick] [-routes 100,1000,5000] [-only NAME] [-envoy PATH] [-peer PATH]
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

// options are the command line.
type options struct {
	quick  bool
	routes []int
	only   string
	sluice string
	envoy  string
	peer   string
	// peerRoutes are the sizes at which both Sluice and the peer are measured.
	peerRoutes []int
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
	var routes, peerRoutes string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.BoolVar(&o.quick, "quick", false, "smaller sizes and shorter runs: shows that it works, not how fast it is")
	flags.StringVar(&routes, "routes", "", "numbers of routes to measure with (default 100,1000,5000; quick 100,500)")
	flags.StringVar(&o.only, "only", "", "measure only: scale, one-file, memory, loss, latency, position or rate-limit")
	flags.StringVar(&o.sluice, "sluice", "", "the sluice to measure (default: one built from this source)")
	flags.StringVar(&o.envoy, "envoy", "", "the Envoy to use (default: SLUICE_ENVOY, PATH, Sluice's cache)")
	flags.StringVar(&o.peer, "peer", "", "an envoy-gateway 1.9.1 to run the scale rows with, too; it takes minutes")
	flags.StringVar(&peerRoutes, "peer-routes", "50,300", "numbers of routes to compare with the peer at")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if routes == "" {
		routes = "100,1000,5000"
		if o.quick {
			routes = "100,500"
		}
	}
	var err error
	if o.routes, err = numbers(routes); err != nil {
		return o, err
	}
	if o.peer != "" {
		o.peerRoutes, err = numbers(peerRoutes)
	}
	return o, err
}

func numbers(list string) ([]int, error) {
	var out []int
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 || n > 50_000 {
			return nil, fmt.Errorf("%q is not a number of routes between 1 and 50000", part)
		}
		out = append(out, n)
	}
	return out, nil
}

// scenario measures something and adds its rows to the table.
type scenario struct {
	name string
	run  func(ctx context.Context, b *bench) error
}

var scenarios = []scenario{
	{"scale", scale},
	{"one-file", oneFile},
	{"memory", memory},
	{"policy", policy},
	{"loss", loss},
	{"latency", latency},
	{"position", position},
	{"rate-limit", rateLimit},
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	b, err := newBench(o)
	if err != nil {
		return err
	}
	defer b.close()
	known := false
	for _, s := range scenarios {
		if o.only != "" && o.only != s.name {
			continue
		}
		known = true
		if err := s.run(ctx, b); err != nil {
			b.table.Print(os.Stdout)
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !known {
		return fmt.Errorf("there is nothing named %q to measure", o.only)
	}
	b.table.Print(os.Stdout)
	return nil
}

// Command scale measures Sluice with very many objects: what a change costs as their number grows, and how long it
// takes to begin. Everything is real but what a cluster has besides: an API server with its etcd, `sluice serve` and
// Envoys, each a process of its own in one network namespace, and no kubelet. test/bench/README.md says what each row
// is.
//
//	go run ./test/bench/scale [-quick] [-routes 5000,10000,50000] [-only NAME] [-sluice PATH] [-envoy PATH]
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
	"time"

	"github.com/sluice-gateway/sluice/test/bench/table"
)

// options are the command line.
type options struct {
	sluice, envoy, only string
	routes              []int
	quick               bool
	churn               time.Duration
}

func parse(args []string) (options, error) {
	var o options
	var routes string
	flags := flag.NewFlagSet("scale", flag.ContinueOnError)
	flags.StringVar(&o.sluice, "sluice", "bin/sluice", "the sluice to measure")
	flags.StringVar(&o.envoy, "envoy", os.Getenv("SLUICE_ENVOY"), "the Envoy to use")
	flags.StringVar(&o.only, "only", "", "measure only: routes, churn, envoys, endpoints, listenersets or gateways")
	flags.StringVar(&routes, "routes", "", "numbers of routes (default 5000,10000,50000; quick 500,1000)")
	flags.BoolVar(&o.quick, "quick", false, "a tenth of everything: shows that it works, not how it scales")
	flags.DurationVar(&o.churn, "churn", 0, "how long routes change 50 times a second (default 1m; quick 5s)")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if o.envoy == "" {
		return o, errors.New("name an Envoy with -envoy, or in $SLUICE_ENVOY")
	}
	if o.churn == 0 {
		o.churn = map[bool]time.Duration{false: time.Minute, true: 5 * time.Second}[o.quick]
	}
	if routes == "" {
		routes = map[bool]string{false: "5000,10000,50000", true: "500,1000"}[o.quick]
	}
	for part := range strings.SplitSeq(routes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 100 || n > 60_000 {
			return o, fmt.Errorf("%q is not a number of routes between 100 and 60000", part)
		}
		o.routes = append(o.routes, n)
	}
	return o, nil
}

// size is a number of objects, a tenth of it with -quick.
func (o options) size(n int) int {
	if o.quick {
		return n / 10
	}
	return n
}

// scenario measures something in a cluster of its own, and adds its rows to the table.
type scenario struct {
	name string
	run  func(ctx context.Context, o options, t *table.Table) error
}

var scenarios = []scenario{
	{"routes", routes},
	{"churn", churn},
	{"envoys", envoys},
	{"endpoints", endpoints},
	{"listenersets", listenerSets},
	{"gateways", gateways},
}

func run(ctx context.Context, o options) error {
	var t table.Table
	known := false
	for _, s := range scenarios {
		if o.only != "" && o.only != s.name {
			continue
		}
		known = true
		if err := s.run(ctx, o, &t); err != nil {
			t.Print(os.Stdout)
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	if !known {
		return fmt.Errorf("there is nothing named %q to measure", o.only)
	}
	t.Print(os.Stdout)
	return nil
}

func main() {
	o, err := parse(os.Args[1:])
	if err == nil && os.Getenv(inside) == "" {
		err = isolated()
	} else if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		if err = addresses(ctx); err == nil {
			err = run(ctx, o)
		}
		stop()
	}
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

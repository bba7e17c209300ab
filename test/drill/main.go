// Command drill injects faults into a running Sluice that serves load, and counts what comes of them: it prints what
// was injected, what is promised and what was seen, and fails if a promise is broken.
//
//	go run ./test/drill [-all] [-only F01,F13] [-for 1h] [-update] [-sluice PATH] [-previous PATH] [-envoy PATH]
//
// A drill starts its own instances of `sluice run`, on loopback, in a folder of its own, and ends what it started. With
// -update what was seen is written to docs/reliability.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// options are the command line.
type options struct {
	all, update           bool
	only                  string
	sluice, previous, out string
	envoy                 string
	length                time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "drill:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.BoolVar(&o.all, "all", false, "everything at full length, an hour and a half; without it what takes minutes")
	flags.BoolVar(&o.update, "update", false, "write what was seen to the page named by -out")
	flags.DurationVar(&o.length, "for", 0, "how long the soak lasts (default: 5m with -all, else 1m)")
	flags.StringVar(&o.only, "only", "", "run only these drills, by id, separated by commas")
	flags.StringVar(&o.sluice, "sluice", "", "the sluice to drill (default: $SLUICE_BINARY, or a new build)")
	flags.StringVar(&o.previous, "previous", "", "the version before it, for upgrades (default: the same again)")
	flags.StringVar(&o.envoy, "envoy", "", "the Envoy to use (default: $SLUICE_ENVOY, PATH, Sluice's cache)")
	flags.StringVar(&o.out, "out", "docs/reliability.md", "the page that -update writes")
	return o, flags.Parse(args)
}

func run(ctx context.Context, args []string) error {
	o, err := parse(args)
	if err != nil {
		return err
	}
	f, err := newField(o)
	if err != nil {
		return err
	}
	defer f.close()
	results, err := f.drillAll(ctx, choose(o))
	print(os.Stdout, results)
	if err != nil {
		return err
	}
	if o.update {
		if err := update(o.out, results); err != nil {
			return err
		}
	}
	var broken []string
	for _, r := range results {
		if r.broken != "" {
			broken = append(broken, r.id)
		}
	}
	if len(broken) > 0 {
		return fmt.Errorf("broken promises: %s", strings.Join(broken, ", "))
	}
	return nil
}

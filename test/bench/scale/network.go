package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// inside is set in the environment of the process that is in the network namespace.
const inside = "SLUICE_BENCH_INSIDE"

// addresses makes those that backends and Envoys have: an EndpointSlice must not have loopback addresses, so that a
// range which is set aside for benchmarks is given to the loopback interface of the namespace.
func addresses(ctx context.Context) error {
	for _, line := range []string{"link set lo up", "address add 198.18.0.1/15 dev lo"} {
		if out, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
	}
	return nil
}

// isolated runs this program again in a network namespace of its own, and waits for it.
func isolated() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if cmd.SysProcAttr, err = ownNetwork(); err != nil {
		return err
	}
	return cmd.Run()
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/keeper"
)

// household is what sluice run is to the system: it holds Envoy, and keeps a control plane beside it as a worker, which
// may crash or be replaced by another version while Envoy goes on serving.
type household struct {
	flags runFlags
	out   io.Writer
	say   *announcer
}

// run serves until the context ends, and leaves nothing behind.
func (h *household) run(ctx context.Context) error {
	binary, err := findEnvoy(ctx, h.flags.envoy, h.flags.cache, h.out)
	if err != nil {
		return err
	}
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program of the control plane: %w", err)
	}
	dir, err := local.OpenRuntimeDir(h.flags.runtimeDir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }()
	h.say.envoy(binary)
	// From now on, lest the signal be the end of an instance that is starting.
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2)
	defer signal.Stop(upgrades)
	plane, err := keeper.Start(ctx, keeper.Config{
		Program: program, Fallback: keeper.FallbackProgram(), Args: os.Args[1:], Dir: dir.Path(),
		Stdout: h.out, Stderr: os.Stderr, OnEnd: h.say.ended,
	})
	if err != nil {
		return workerEnded(err)
	}
	defer plane.Stop()
	child, err := h.startEnvoy(ctx, binary, dir)
	if err != nil {
		return ended(err)
	}
	defer func() {
		plane.Quiet()
		h.stopEnvoy(child)
	}()
	giveBack()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-plane.Failed():
			return workerEnded(err)
		case <-upgrades:
			h.say.upgraded(plane.Replace(ctx))
		}
	}
}

// workerEnded makes the error of a first worker that ended what sluice run ends with: the worker has told the user why.
func workerEnded(err error) error {
	if errors.Is(err, keeper.ErrWorker) {
		return errReported
	}
	return ended(err)
}

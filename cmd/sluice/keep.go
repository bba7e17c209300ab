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
	// From now on, lest the signal be the end of an instance that is starting.
	upgrades := make(chan os.Signal, 1)
	signal.Notify(upgrades, syscall.SIGUSR2)
	defer signal.Stop(upgrades)
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
	envoy, err := h.holder(ctx, dir)
	if err != nil {
		return err
	}
	plane, err := keeper.Start(ctx, keeper.Config{
		Program: program, Fallback: keeper.FallbackProgram(), Args: os.Args[1:], Dir: dir.Path(),
		Stdout: h.out, Stderr: os.Stderr, OnEnd: h.say.ended,
		OnWord: func(word string) {
			if word == launchWord {
				envoy.look()
			}
		},
	})
	if err != nil {
		return workerEnded(err)
	}
	defer plane.Stop()
	if err := envoy.start(ctx, binary); err != nil {
		return ended(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		envoy.keep(ctx)
	}()
	defer func() {
		plane.Quiet()
		cancel()
		envoy.stop()
		<-kept
	}()
	giveBack()
	return h.serve(ctx, plane, envoy, upgrades)
}

// holder makes what holds Envoy, and lets control planes know that there is one.
func (h *household) holder(ctx context.Context, dir *local.RuntimeDir) (*envoyHolder, error) {
	out := &envoyHolder{
		flags: h.flags, dir: dir, say: h.say, changed: make(chan struct{}, 1),
		config: local.Config{
			Dir: dir, Stdout: h.out, OnCrash: h.say.crashed,
			OnLine: func(l local.Line) {
				// At the end it complains that its configuration source goes away.
				if ctx.Err() == nil {
					h.say.logged(l)
				}
			},
		},
	}
	return out, dir.PutLaunched(local.Launched{})
}

// serve serves until the context ends, and replaces the control plane and Envoy when it is told to. What it is told
// while it does so, or before, it does afterwards: once, for that covers all.
func (h *household) serve(
	ctx context.Context, plane *keeper.Keeper, envoy *envoyHolder, upgrades <-chan os.Signal,
) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-plane.Failed():
			return workerEnded(err)
		case <-upgrades:
			if !plane.Proven() {
				h.say.upgradeWaits()
			}
			version, err := plane.Replace(ctx)
			if ctx.Err() != nil || errors.Is(err, keeper.ErrStopped) {
				continue // the other cases say why
			}
			h.say.upgraded(version, err)
			envoy.look()
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

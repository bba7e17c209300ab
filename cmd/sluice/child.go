package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// envoyHolder holds Envoy for a household: it starts it as the control plane wants it, and has another take over when
// it wants it otherwise, or when there is another binary.
type envoyHolder struct {
	flags runFlags
	dir   *local.RuntimeDir
	say   *announcer
	// config is what all Envoys have in common.
	config local.Config
	slot   local.Slot
	// changed holds a token when the launch or the binary may be another.
	changed chan struct{}
	// running is what the Envoy that serves was started with, tried what was tried last.
	running, tried attempt

	mu sync.Mutex
	// drain is how long the Envoy that serves may take to go.
	drain time.Duration
}

// attempt is what an Envoy is started with.
type attempt struct {
	// launch is the digest of a launch, empty for none; binary tells binaries apart, also those at one path.
	launch, binary string
}

// look has the launch and the binary looked at again. It does not block.
func (h *envoyHolder) look() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// start starts the first Envoy, as the control plane wants it. If Envoy does not start like that, it is started without
// what EnvoyProxies say: an instance that serves is better than none, and says what is wrong.
func (h *envoyHolder) start(ctx context.Context, binary local.Binary) error {
	launch, digest, err := h.dir.Launch()
	if err != nil {
		return fmt.Errorf("how Envoy is to be started: %w", err)
	}
	h.tried = attempt{launch: digest, binary: fileID(binary.Path)}
	h.running = h.tried
	err = h.run(ctx, binary, launch)
	h.tell(digest, err)
	var crash local.Crash
	if launch == nil || !errors.As(err, &crash) {
		return err
	}
	h.say.unlaunched(err)
	h.running.launch = ""
	return h.run(ctx, binary, nil)
}

// keep has another Envoy take over each time that something has changed, until the context ends.
func (h *envoyHolder) keep(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-h.changed:
		}
		h.update(ctx)
	}
}

// update has another Envoy take over if it is to be started otherwise than what was tried last.
func (h *envoyHolder) update(ctx context.Context) {
	binary, err := local.Find(ctx, local.Options{Path: h.flags.envoy, Cache: h.flags.cache})
	if err != nil {
		h.say.failed(err) // the one that runs goes on
		return
	}
	launch, digest, err := h.dir.Launch()
	if err != nil {
		h.say.failed(err)
		return
	}
	next := attempt{launch: digest, binary: fileID(binary.Path)}
	if next == h.tried {
		return
	}
	h.tried = next
	if next != h.running {
		if err = h.run(ctx, binary, launch); ctx.Err() != nil {
			return
		}
	}
	h.tell(digest, err)
	if err != nil {
		h.say.unlaunched(err)
		return
	}
	h.running = next
}

// run runs an Envoy as a launch says; nil is one about which EnvoyProxies say nothing.
func (h *envoyHolder) run(ctx context.Context, binary local.Binary, launch *local.Launch) error {
	if launch == nil {
		var err error
		if launch, err = local.NewLaunch(launchBase(h.flags, h.dir), nil); err != nil {
			return err
		}
	}
	c := h.config
	c.Binary, c.Bootstrap, c.Concurrency, c.Drain = binary.Path, launch.Bootstrap, launch.Concurrency, launch.Drain
	c.Level, c.ComponentLevels, c.Arguments = launch.Level, launch.ComponentLevels, launch.Arguments
	before := h.slot.Current()
	loss, err := h.slot.Run(ctx, c)
	if err != nil {
		return err
	}
	h.mu.Lock()
	h.drain = launch.Drain.Timeout
	h.mu.Unlock()
	if before != nil && ctx.Err() == nil {
		h.say.tookOver(binary, loss)
	}
	return nil
}

// tell tells the control plane what became of a launch.
func (h *envoyHolder) tell(digest string, err error) {
	became := local.Launched{Digest: digest}
	if err != nil {
		became.Problem = err.Error()
	}
	if err := h.dir.PutLaunched(became); err != nil {
		h.say.failed(err)
	}
}

// stop drains Envoy and ends it. It must work when everything else is over, so it has a context of its own.
func (h *envoyHolder) stop() {
	h.mu.Lock()
	drain := h.drain
	h.mu.Unlock()
	h.say.stopping(drain)
	if err := h.slot.Stop(context.Background()); err != nil {
		h.say.failed(err)
	}
}

// fileID tells files apart, also two that were at one path one after the other; empty if there is none.
func fileID(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%s %d %d", path, info.Size(), info.ModTime().UnixNano())
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/fetch"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/source/file"
	statusfile "github.com/sluice-gateway/sluice/internal/status/file"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// instance is a running sluice: files in, a supervised Envoy out.
type instance struct {
	flags runFlags
	paths []string
	say   *announcer

	source   *file.Source
	pipeline *pipeline.Pipeline
	server   *xds.Server
	fetcher  *fetch.Fetcher
	board    *statusfile.Board
	metrics  *ops.Metrics
	ports    *portGuard
	seed     pki.Seed
	began    time.Time

	mu    sync.Mutex
	ready bool
}

func newInstance(flags runFlags, paths []string, out io.Writer) *instance {
	return &instance{
		flags: flags, paths: paths, say: newAnnouncer(out), began: time.Now(),
		board: statusfile.NewBoard(time.Now), metrics: ops.NewMetrics(),
	}
}

// run serves until the context ends, and leaves nothing behind.
func (i *instance) run(ctx context.Context) error {
	limitGarbage(loadGC)
	binary, err := findEnvoy(ctx, i.flags.envoy, i.flags.cache, i.say.out)
	if err != nil {
		return err
	}
	if err := i.open(); err != nil {
		return err
	}
	admin, err := ops.Listen(i.flags.admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	dir, err := local.OpenRuntimeDir(i.flags.runtimeDir)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Remove() }()
	i.say.envoy(binary)
	i.build()
	stopServing, err := i.serveEnvoy(ctx, dir)
	if err != nil {
		return err
	}
	defer stopServing()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- i.admin().Serve(ctx, admin) }()
	pushed := i.flags.push(ctx, i.metrics, i.say.logger("metrics"))
	defer pushed()
	defer cancel() // before it is waited for

	// Envoy starts while the files are read: it takes about as long.
	child, err := i.startEnvoy(ctx, binary, dir)
	if err != nil {
		return err
	}
	defer i.stopEnvoy(child)
	batch, err := i.source.Load(ctx)
	if err != nil {
		return err
	}
	i.apply(batch)
	go func() { failed <- i.source.Watch(ctx, i.apply) }()
	go i.ports.watch(ctx, i.pipeline)
	go i.fetcher.Run(ctx)

	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return ended(err)
	}
}

// open opens the files, and what is kept of the last run.
func (i *instance) open() (err error) {
	i.source, err = file.New(file.Options{
		Paths: i.paths, StateDir: i.flags.stateDir, Workers: runtime.GOMAXPROCS(0),
	})
	if err != nil {
		return err
	}
	i.seed, err = pki.FileSeed(i.flags.stateDir)
	return err
}

// build makes the pipeline and the xDS server, which know each other.
func (i *instance) build() {
	i.server = xds.NewServer(xds.Options{
		Grace: i.flags.grace,
		Authorize: func(context.Context, *corev3.Node) (model.ProxyName, error) {
			// Only the user who runs Sluice can open the socket.
			return localProxy, nil
		},
		Observer: i.observe,
	})
	opts := pipelineOptions()
	opts.NoBackends = i.flags.noBackends
	opts.Chain = all.ChainWith(all.Options{RateLimit: i.flags.limits.rateLimit(), Lua: i.flags.extensions.lua})
	opts.SessionKey = i.seed.Key
	opts.Serve = i.server.Update
	opts.Publish = i.publish
	// Whoever writes the files may have everything fetched that the machine can reach.
	i.fetcher = fetch.New(fetch.Options{Local: true, Deliver: i.fetched, Log: i.say.logger("fetch")})
	opts.Fetch = i.fetcher.Want
	i.pipeline = pipeline.New(opts)
	i.ports = newPortGuard(opts.Bind, i.say)
}

// serveEnvoy serves what Envoy asks for. The returned function ends it.
func (i *instance) serveEnvoy(ctx context.Context, dir *local.RuntimeDir) (func(), error) {
	stopXDS, err := i.serveXDS(dir.XDSSocket())
	if err != nil {
		return nil, err
	}
	// Until a policy has a global rate limit nobody asks.
	c := &counter{flags: i.flags.counters, registry: i.metrics.Registry(), log: i.say.logger("limits")}
	stopCounting, err := c.serve(ctx, "unix:"+dir.RateLimitSocket(), nil)
	if err != nil {
		stopXDS()
		return nil, err
	}
	return func() {
		stopCounting()
		stopXDS()
	}, nil
}

// serveXDS serves xDS on a Unix socket that only this user can open. The returned function ends it.
func (i *instance) serveXDS(path string) (func(), error) {
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("xDS socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("xDS socket: %w", err)
	}
	server := grpc.NewServer(xds.ServerOptions(xds.Connection{})...)
	i.server.Register(server)
	go func() { _ = server.Serve(listener) }()
	return server.Stop, nil
}

// apply takes a batch of changes through the pipeline and says what became of it.
func (i *instance) apply(batch source.Batch) {
	i.metrics.Stage("read", time.Since(batch.Noticed))
	i.say.learn(batch)
	unbound := i.ports.check(batch)
	out := i.pipeline.Apply(batch.Set, batch.Delete, unbound)
	i.metrics.Stage("compute", out.Compute)
	i.metrics.Stage("push", out.Push)
	i.metrics.Computed(out.Result)
	i.metrics.Problems(i.say.changed(batch, out))
}

// fetched takes in what became of a fetch.
func (i *instance) fetched(f model.Fetch, got model.Fetched) {
	out := i.pipeline.Fetched(f, got)
	i.metrics.Computed(out.Result)
	i.say.issues(out)
}

// observe takes in what the xDS server saw.
func (i *instance) observe(e xds.Event) {
	i.metrics.Observe(e)
	if e.Kind == xds.Rejected {
		i.say.rejected(e)
		if e.Type == xds.Listener {
			i.ports.refused(e)
		}
	}
	out := i.pipeline.Observe(e)
	i.metrics.Computed(out.Result)
	i.say.issues(out)
	if e.Kind == xds.Live {
		// Only now: whoever acts on it finds the pipeline knowing it.
		i.live(e.Version)
	}
}

func (i *instance) live(version uint64) {
	i.mu.Lock()
	first := !i.ready && version > 0
	i.ready = i.ready || first
	i.mu.Unlock()
	if first {
		i.say.start(i.pipeline, version, i.flags.admin, time.Since(i.began))
		settleMemory()
	}
	i.say.live(version)
}

// publish keeps the statuses for whoever asks.
func (i *instance) publish(s pipeline.Status) {
	if s.Status == nil {
		i.board.Delete(s.Ref)
		return
	}
	i.board.Put(s.Ref, s.Version, s.Generation, s.Status)
}

func (i *instance) admin() *ops.Admin {
	return &ops.Admin{
		Metrics: i.flags.gather(i.metrics),
		Ready: func() error {
			i.mu.Lock()
			defer i.mu.Unlock()
			if !i.ready {
				return errors.New("Envoy has not taken the first configuration yet")
			}
			return nil
		},
		Status: func() (any, error) { return i.board.List(nil), nil },
		Config: func() (any, error) { return render(i.pipeline.Resources(localProxy)) },
	}
}

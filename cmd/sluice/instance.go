package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"

	"github.com/sluice-gateway/sluice/internal/extension"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/fetch"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
	"github.com/sluice-gateway/sluice/internal/keeper"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/pki"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/source/file"
	statusfile "github.com/sluice-gateway/sluice/internal/status/file"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// instance is the control plane of a running sluice: files in, xDS for the Envoy out that a household holds.
type instance struct {
	flags runFlags
	paths []string
	say   *announcer

	source   *file.Source
	pipeline *pipeline.Pipeline
	server   *xds.Server
	fetcher  *fetch.Fetcher
	caller   *extension.Caller
	board    *statusfile.Board
	metrics  *ops.Metrics
	ports    *portGuard
	worker   *keeper.Worker
	stopXDS  func()
	seed     pki.Seed
	began    time.Time

	mu    sync.Mutex
	ready bool
}

func newInstance(flags runFlags, paths []string, out io.Writer) *instance {
	return &instance{
		flags: flags, paths: paths, say: newAnnouncer(out), began: time.Now(),
		board: statusfile.NewBoard(time.Now), metrics: ops.NewMetrics(), stopXDS: func() {},
	}
}

// run serves until the context ends, and answers Envoy until the keeper needs it no more.
func (i *instance) run(ctx context.Context, worker *keeper.Worker) error {
	limitGarbage(loadGC)
	if err := i.open(); err != nil {
		return err
	}
	admin, err := ops.Listen(i.flags.admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	i.worker = worker
	dir := local.JoinRuntimeDir(worker.Dir)
	if err := i.build(); err != nil {
		return err
	}
	stopCounting, err := i.serveCounters(ctx, dir)
	if err != nil {
		return err
	}
	defer stopCounting()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	go func() { failed <- i.admin().Serve(ctx, admin) }()
	pushed := i.flags.push(ctx, i.metrics, i.say.logger("metrics"))
	defer pushed()
	defer cancel() // before it is waited for

	defer func() { i.stopXDS() }()
	if err := i.begin(ctx, dir); err != nil {
		return ended(err)
	}
	go func() { failed <- i.source.Watch(ctx, i.apply) }()
	go i.ports.watch(ctx, i.pipeline)

	select {
	case <-ctx.Done():
		<-worker.Released // Envoy drains until then
		return nil
	case <-worker.Released:
		return nil
	case err := <-failed:
		return ended(err)
	}
}

// begin reads everything and serves it to Envoy. One that is starting is served at once: that takes about as long as
// reading the files. One that serves already, on behalf of a control plane before this one, is served when everything
// is known: nothing that it has may be taken from it only because it is not known yet.
func (i *instance) begin(ctx context.Context, dir *local.RuntimeDir) error {
	held := heldListeners(ctx, local.Admin{Socket: dir.AdminSocket()})
	if held == nil {
		if err := i.serveXDS(dir.XDSSocket()); err != nil {
			return err
		}
	}
	i.ports.hold(held)
	batch, err := i.source.Load(ctx)
	if err != nil {
		return err
	}
	i.apply(batch)
	go i.fetcher.Run(ctx)
	go i.caller.Run(ctx)
	if held == nil {
		return nil
	}
	settled, cancel := context.WithTimeout(ctx, fetchSettle)
	defer cancel()
	i.fetcher.Settle(settled)
	if err := i.caller.Settle(ctx); err != nil {
		return err
	}
	return i.serveXDS(dir.XDSSocket())
}

// open opens the files, and what is kept of the last run.
func (i *instance) open() (err error) {
	i.source, err = file.New(file.Options{
		Paths: i.paths, StateDir: i.flags.stateDir, Workers: runtime.GOMAXPROCS(0), Keeping: i.say.keeping,
		Extensions: i.flags.servers.kinds,
	})
	if err != nil {
		return err
	}
	i.seed, err = pki.FileSeed(i.flags.stateDir)
	return err
}

// build makes the pipeline and the xDS server, which know each other.
func (i *instance) build() (err error) {
	i.server = xds.NewServer(xds.Options{
		Grace: i.flags.grace,
		Authorize: func(context.Context, *corev3.Node) (model.ProxyName, error) {
			// Only the user who runs Sluice can open the socket.
			return localProxy, nil
		},
		Observer: i.observe,
	})
	opts := pipelineOptions()
	opts.NoBackends, opts.Patches = i.flags.noBackends, i.flags.extensions.patches
	opts.Chain = all.ChainWith(all.Options{RateLimit: i.flags.limits.rateLimit(), Lua: i.flags.extensions.lua})
	opts.SessionKey = i.seed.Key
	opts.Serve = i.server.Update
	opts.Publish = i.publish
	// Whoever writes the files may have everything fetched that the machine can reach.
	i.fetcher = fetch.New(fetch.Options{Local: true, Deliver: i.fetched, Log: i.say.logger("fetch")})
	opts.Fetch = i.fetcher.Want
	i.caller, err = i.flags.servers.caller(
		"default", func() *pipeline.Pipeline { return i.pipeline }, i.followed, i.say.logger("extensions"))
	if err != nil {
		return err
	}
	opts.Extensions = i.flags.servers.options(i.caller.Want)
	opts.Refused = i.source.Refused
	i.pipeline = pipeline.New(opts)
	i.ports = newPortGuard(opts.Bind, i.say)
	return nil
}

// serveCounters answers Envoy about global rate limits. The returned function ends it.
func (i *instance) serveCounters(ctx context.Context, dir *local.RuntimeDir) (func(), error) {
	// Until a policy has a global rate limit nobody asks.
	c := &counter{flags: i.flags.counters, registry: i.metrics.Registry(), log: i.say.logger("limits")}
	return c.serve(ctx, "unix:"+dir.RateLimitSocket(), nil)
}

// serveXDS serves xDS on a Unix socket that only this user can open, until stopXDS.
func (i *instance) serveXDS(path string) error {
	// A control plane that was killed has left it.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("xDS socket: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("xDS socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return fmt.Errorf("xDS socket: %w", err)
	}
	server := grpc.NewServer(xds.ServerOptions(xds.Connection{})...)
	i.server.Register(server)
	go func() { _ = server.Serve(listener) }()
	i.stopXDS = server.Stop
	i.worker.Serving()
	return nil
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
	i.followed(i.pipeline.Fetched(f, got))
}

// followed accounts for a commit that followed from what came from elsewhere.
func (i *instance) followed(out pipeline.Outcome) {
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

func (i *instance) live(v uint64) {
	i.mu.Lock()
	first := !i.ready && v > 0
	i.ready = i.ready || first
	i.mu.Unlock()
	if first {
		i.source.Lives()
		i.say.start(i.pipeline, v, i.flags.admin, time.Since(i.began))
		i.worker.Ready(version)
		settleMemory()
	}
	i.say.live(v)
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

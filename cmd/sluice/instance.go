package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
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
	launches *launcher
	stopXDS  func()
	seed     pki.Seed
	began    time.Time

	mu    sync.Mutex
	ready bool
	// envoys is how many are connected.
	envoys int
}

func newInstance(flags runFlags, paths []string, out io.Writer) *instance {
	return &instance{
		flags: flags, paths: paths, say: newAnnouncer(out), began: time.Now(),
		board: statusfile.NewBoard(time.Now), metrics: ops.NewMetrics(), stopXDS: func() {},
	}
}

// run serves until the context ends, and answers Envoy until the keeper needs it no more.
func (i *instance) run(ctx context.Context, worker *keeper.Worker) error {
	limitGarbage(readGC)
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
	i.launches = newLauncher(i.flags, dir, worker, i.say)
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
	go i.launches.watch(ctx, i.pipeline, i.followed)

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

// begin reads everything and serves it to Envoy. If none runs yet, one is started as soon as it is known how. One that
// serves already, on behalf of a control plane before this one, is served when everything is known: nothing that it has
// may be taken from it only because it is not known yet.
func (i *instance) begin(ctx context.Context, dir *local.RuntimeDir) error {
	held := heldListeners(ctx, local.Admin{Socket: dir.AdminSocket()})
	i.ports.hold(held)
	batch, served, err := i.load(ctx, dir, held == nil)
	if err != nil {
		return err
	}
	startComputing()
	i.apply(batch)
	go i.fetcher.Run(ctx)
	go i.caller.Run(ctx)
	i.launches.leave()
	if served {
		return nil
	}
	if held == nil {
		return i.serveXDS(dir.XDSSocket())
	}
	settled, cancel := context.WithTimeout(ctx, fetchSettle)
	defer cancel()
	i.fetcher.Settle(settled)
	if err := i.caller.Settle(ctx); err != nil {
		return err
	}
	return i.serveXDS(dir.XDSSocket())
}

// loadPatience is how long Envoy waits for what the files say about its start. One that was started without is replaced
// later.
const loadPatience = 10 * time.Second

// load reads the files. If that takes long and Envoy is to be started, xDS is served before it is done: a folder that
// hangs must not keep the instance from coming up.
func (i *instance) load(ctx context.Context, dir *local.RuntimeDir, start bool) (source.Batch, bool, error) {
	type result struct {
		batch source.Batch
		err   error
	}
	loaded := make(chan result, 1)
	go func() {
		batch, err := i.source.Load(ctx)
		loaded <- result{batch, err}
	}()
	var late <-chan time.Time
	if start {
		late = time.After(loadPatience)
	}
	select {
	case got := <-loaded:
		return got.batch, false, got.err
	case <-late:
	}
	if err := i.serveXDS(dir.XDSSocket()); err != nil {
		return source.Batch{}, false, err
	}
	got := <-loaded
	return got.batch, true, got.err
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
	options := i.flags.pushes.options()
	options.Observer = i.observe
	options.Authorize = func(context.Context, *corev3.Node) (model.ProxyName, error) {
		return localProxy, nil // only the user who runs Sluice can open the socket
	}
	i.server = xds.NewServer(options)
	opts := pipelineOptions(i.flags.controllers)
	opts.NoBackends, opts.Patches = i.flags.noBackends, i.flags.extensions.patches
	opts.Chain = all.ChainWith(all.Options{RateLimit: i.flags.limits.rateLimit(), Lua: i.flags.extensions.lua})
	opts.SessionKey = i.seed.Key
	opts.Serve = i.server.Update
	opts.Publish = i.publish
	opts.Launch = i.launches.want
	// Whoever writes the files may have everything fetched that the machine can reach.
	fetching := fetch.Options{Local: true, Deliver: i.fetched, Stale: i.metrics.StaleKeys, Log: i.say.logger("fetch")}
	if i.flags.stateDir != "" {
		fetching.Dir = filepath.Join(i.flags.stateDir, "keys")
	}
	i.fetcher = fetch.New(fetching)
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
	envoys := i.connected(e)
	if e.Kind == xds.Failed {
		i.say.streamFailed(e)
	}
	if e.Kind == xds.Rejected {
		i.say.rejected(e)
		// While one takes over from another, its failure says nothing about the port that the other has.
		if e.Type == xds.Listener && envoys == 1 {
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

// connected returns how many Envoys are connected after an event.
func (i *instance) connected(e xds.Event) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch e.Kind {
	case xds.Connected:
		i.envoys++
	case xds.Disconnected:
		i.envoys--
	}
	return i.envoys
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

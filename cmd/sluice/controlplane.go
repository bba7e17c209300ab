package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/sluice-gateway/sluice/internal/extension"
	"github.com/sluice-gateway/sluice/internal/feature/all"
	"github.com/sluice-gateway/sluice/internal/fetch"
	fleetkube "github.com/sluice-gateway/sluice/internal/fleet/kube"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ops"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/pipeline"
	"github.com/sluice-gateway/sluice/internal/pki"
	pkikube "github.com/sluice-gateway/sluice/internal/pki/kube"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	sourcekube "github.com/sluice-gateway/sluice/internal/source/kube"
	statuskube "github.com/sluice-gateway/sluice/internal/status/kube"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// controlPlane is one replica of sluice serve: objects of a cluster in, xDS for its Envoys and statuses out.
type controlPlane struct {
	flags serveFlags
	// log is for what belongs to no component, logs makes those of components.
	log  *slog.Logger
	logs func(...egv1a1.EnvoyGatewayLogComponent) *slog.Logger

	config    *rest.Config
	source    *sourcekube.Source
	pipeline  *pipeline.Pipeline
	server    *xds.Server
	fetcher   *fetch.Fetcher
	caller    *extension.Caller
	writer    *statuskube.Writer
	authority *pki.Authority
	keeper    *pkikube.Keeper
	// secrets are those of Sluice's own namespace, in which the replicas keep what they share.
	secrets corev1client.SecretInterface
	seed    pki.Seed
	metrics *ops.Metrics
	// fleets is nil if no Envoys are to be run.
	fleets *fleetkube.Manager
	// hub is what other replicas listen to; replica tells this process apart from theirs.
	hub     *peer.Hub
	replica string
	// contact is when the API server was last heard from, door what Envoys come in by.
	contact *contact
	door    *door
	// fence is passed by what only the leader writes, by clients of the configuration leading.
	fence   *fence
	leading *rest.Config

	mu sync.Mutex
	// unready is why nobody should be sent here; nil once everybody can be served.
	unready error
	// yielding is why Envoys are better served by other replicas; nil if they are not.
	yielding error
	// proxies are those that were ever served.
	proxies map[model.ProxyName]bool
}

func newControlPlane(flags serveFlags, out io.Writer) *controlPlane {
	logs := func(of ...egv1a1.EnvoyGatewayLogComponent) *slog.Logger { return flags.logs.logger(out, of...) }
	return &controlPlane{
		flags: flags, log: logs(), logs: logs, metrics: ops.NewMetrics(),
		unready: errors.New("starting"), proxies: map[model.ProxyName]bool{},
	}
}

// logClients has what client-go logs logged as everything else: it has one logger for the process.
var logClients sync.Once

// run serves until the context ends.
func (c *controlPlane) run(ctx context.Context) error {
	limitGarbage(readGC)
	noticeSilence()
	logClients.Do(func() { klog.SetSlogLogger(c.log) })
	admin, err := ops.ListenPublic(c.flags.admin)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close() }()
	if err := c.build(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 3)
	defer c.report(ctx, admin, failed)()

	began := time.Now()
	if err := c.certify(ctx); err != nil {
		return ended(err)
	}
	batch, err := c.source.Load(ctx)
	if err != nil {
		return ended(err)
	}
	objects := len(batch.Set) // the batch itself is not to be kept
	if err := c.begin(ctx, batch); err != nil {
		return ended(err)
	}
	if c.contact, err = newContact(c.config, c.flags, c.source.Behind); err != nil {
		return err
	}
	c.hub.Tell(c.contact.at)
	mesh, err := c.hearPeers(ctx)
	if err != nil {
		return err
	}
	// Only now: an Envoy that is told less than everything would remove what it serves.
	stop, err := c.serveXDS(failed)
	if err != nil {
		return err
	}
	go settleMemory() // Envoys take longer to take in what they are told
	c.setReady(nil)
	c.log.Info("Serving", "version", version, "objects", objects, "after", time.Since(began).String())
	led := c.goOn(ctx, failed)
	go c.keepContact(ctx, mesh.Contact)

	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}
	cancel()
	c.setReady(errors.New("stopping"))
	<-led // the Lease is given back at once: the next leader has work to do
	mesh.Wait()
	stop()
	return ended(err)
}

// report answers the admin API and pushes metrics, also while requests drain when the context is over. The returned
// function ends both.
func (c *controlPlane) report(ctx context.Context, admin net.Listener, failed chan<- error) (stop func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	go func() { failed <- c.admin().Serve(ctx, admin) }()
	pushed := c.flags.push(ctx, c.metrics, c.log)
	return func() {
		cancel()
		pushed()
	}
}

// settle is how long Envoys have to connect after a start, before Gateways are said to wait for them. It is longer than
// an Envoy takes that backs off from a Service without a replica.
const settle = 30 * time.Second

// fetchSettle is how long Envoys are not served at the start because of what has to be fetched: they go on with what
// they have, which until it is there would be more than they would be told.
const fetchSettle = 10 * time.Second

// begin takes in the first batch and what policies in it want to be fetched.
func (c *controlPlane) begin(ctx context.Context, batch source.Batch) error {
	startComputing()
	c.apply(batch)
	go c.fetcher.Run(ctx)
	go c.caller.Run(ctx)
	fetching, cancel := context.WithTimeout(ctx, fetchSettle)
	defer cancel()
	c.fetcher.Settle(fetching)
	// Without the answers of extension servers Envoys would be told less than they have: they had better wait.
	for {
		asking, cancel := context.WithTimeout(ctx, time.Second)
		err := c.caller.Settle(asking)
		cancel()
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		c.setReady(err)
	}
}

// goOn starts what goes on until the context ends. The channel is closed when this replica does not lead any more.
func (c *controlPlane) goOn(ctx context.Context, failed chan<- error) (led <-chan struct{}) {
	go func() { failed <- c.source.Watch(ctx, c.apply) }()
	go c.keeper.Run(ctx, pkikube.Every)
	go c.watchFleets(ctx)
	time.AfterFunc(settle, c.pipeline.Settled)
	over := make(chan struct{})
	go func() {
		defer close(over)
		c.lead(ctx)
	}()
	return over
}

// ended drops the error of a context that was ended on purpose.
func ended(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// build makes all parts, and connects them.
func (c *controlPlane) build() error {
	var err error
	if c.config, err = kubeConfig(c.flags.kubeconfig); err != nil {
		return err
	}
	c.config.UserAgent = "sluice/" + version
	c.config.QPS, c.config.Burst = c.flags.qps, c.flags.burst
	log := c.logs(egv1a1.LogComponentProviderRunner)
	c.leading = c.config
	if c.flags.elect {
		c.fence = &fence{term: c.flags.renew, now: time.Now}
		c.leading = c.fence.config(c.config)
	}
	client, err := corev1client.NewForConfig(c.config)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	c.authority = pki.NewAuthority(time.Now)
	c.secrets = client.Secrets(c.flags.namespace)
	c.keeper = pkikube.New(pkikube.Options{
		Secrets: c.secrets, Name: c.flags.authoritySecret(), CA: c.flags.caSecret,
		Term: pki.DefaultTerm, Log: log, Now: time.Now, RateLimit: c.flags.ratelimitSecret(),
	}, c.authority)
	c.source, err = sourcekube.New(sourcekube.Options{
		Config: c.config, Scope: c.flags.watch(), Log: log, Extensions: c.flags.servers.kinds,
		Seen: func(ref model.Ref, obj resource.Object) { c.writer.Seen(ref, obj) },
	})
	if err != nil {
		return err
	}
	c.writer, err = statuskube.NewWriter(statuskube.Options{
		Config: c.leading, Controllers: c.flags.controllers, Path: c.source.Path, Log: log,
		Busy: func() bool { return c.pipeline.Warming() },
	})
	if err != nil {
		return err
	}
	if err := c.metrics.Registry().Register(c.writer); err != nil {
		return fmt.Errorf("metrics of statuses: %w", err)
	}
	if err := c.buildFleets(); err != nil {
		return err
	}
	c.buildPeers()
	return c.buildPipeline()
}

// buildPipeline makes the pipeline and the xDS server, which know each other.
func (c *controlPlane) buildPipeline() (err error) {
	options := c.flags.pushes.options()
	options.Authorize, options.Observer = authorize, c.observe
	c.server = xds.NewServer(options)
	c.fetcher = fetch.New(fetch.Options{Log: c.log, Stale: c.metrics.StaleKeys, Deliver: func(
		f model.Fetch, got model.Fetched,
	) {
		c.account(c.pipeline.Fetched(f, got))
	}})
	c.caller, err = c.flags.servers.caller(c.flags.namespace, func() *pipeline.Pipeline { return c.pipeline }, c.account,
		c.logs(egv1a1.LogComponentXdsTranslatorRunner))
	if err != nil {
		return err
	}
	c.pipeline = pipeline.New(pipeline.Options{
		Fetch:       c.fetcher.Want,
		Extensions:  c.flags.servers.options(c.caller.Want),
		Controllers: c.flags.controllers,
		// A Gateway has Envoys of its own, unless its class says that they are merged.
		Proxy:  func(gateway model.Name) model.ProxyName { return model.ProxyName(gateway.String()) },
		Fleets: fleetOptions(c.flags.namespace, c.flags.proxy),
		Fleet:  c.wantFleet,
		Chain:  all.ChainWith(all.Options{RateLimit: c.flags.rateLimit(), Pods: true, Lua: c.flags.extensions.lua}),
		Scope:  c.flags.watch(), NoBackends: c.flags.noBackends, Patches: c.flags.extensions.patches,
		// Where Envoy's image has them.
		SystemCAs: systemCAs[0],
		Bind:      "0.0.0.0",
		Workers:   runtime.GOMAXPROCS(0),
		Features:  all.Supported,
		Say:       c.hub.Say, SessionKey: c.sessionKey,
		Settling: true,
		Build:    version,
		Serve:    c.server.Update,
		Publish:  func(s pipeline.Status) { c.writer.Put(s.Ref, s.Status) },
	})
	return nil
}

// sessionKey makes keys of the seed, which is there before the first batch.
func (c *controlPlane) sessionKey(purpose string) []byte { return c.seed.Key(purpose) }

// kubeConfig returns how the API server is reached: by the file if there is one, by $KUBECONFIG, or as a Pod.
func kubeConfig(path string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = path
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("there is no way to reach an API server: run in a Pod, or name a --kubeconfig: %w", err)
	}
	return config, nil
}

// certify gets the certificate authorities and the seed of sessions, which the API server has to be there for.
func (c *controlPlane) certify(ctx context.Context) error {
	for {
		err := c.keeper.Sync(ctx)
		if err == nil {
			c.seed, err = pkikube.Seed(ctx, c.secrets, c.flags.seedSecret())
		}
		if err == nil {
			return nil
		}
		c.setReady(err)
		c.log.Warn("There is no certificate authority or seed of sessions yet; trying again", "error", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// apply takes a batch of changes through the pipeline.
func (c *controlPlane) apply(batch source.Batch) {
	c.metrics.Stage("read", time.Since(batch.Noticed))
	out := c.pipeline.Apply(batch.Set, batch.Delete, nil)
	c.metrics.Stage("compute", out.Compute)
	c.metrics.Stage("push", out.Push)
	c.account(out)
}

// observe takes in what the xDS server saw.
func (c *controlPlane) observe(e xds.Event) {
	c.metrics.Observe(e)
	switch e.Kind {
	case xds.Connected, xds.Disconnected:
		c.envoys().Info("Envoy "+e.Kind.String(), "proxy", e.Proxy, "node", e.Node)
	case xds.Failed:
		c.envoys().Error("The stream of an Envoy has ended; this is a bug", "proxy", e.Proxy, "node", e.Node,
			"error", e.Message)
	case xds.Rejected:
		c.envoys().Warn("Envoy refuses a resource", "proxy", e.Proxy, "type", e.Type.String(), "resource", e.Resource,
			"part", e.Part, "error", e.Message)
	}
	c.account(c.pipeline.Observe(e))
}

// envoys is the log of their connections.
func (c *controlPlane) envoys() *slog.Logger {
	return c.logs(egv1a1.LogComponentXdsRunner, egv1a1.LogComponentXdsServerRunner)
}

// account notes what a commit did.
func (c *controlPlane) account(out pipeline.Outcome) {
	c.metrics.Computed(out.Result)
	for _, f := range out.Result.Faults {
		c.log.Error("A stage failed; this is a bug", "error", f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range out.Versions {
		c.proxies[name] = true
	}
}

func (c *controlPlane) setReady(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.unready = why
}

// ready says why nobody should be sent here.
func (c *controlPlane) ready() error {
	c.mu.Lock()
	why := c.unready
	if why == nil {
		why = c.yielding
		c.mu.Unlock()
		return why
	}
	c.mu.Unlock()
	if waiting := c.source.Waiting(); waiting != nil {
		return errors.Join(why, waiting)
	}
	return why
}

func (c *controlPlane) admin() *ops.Admin {
	return &ops.Admin{
		Metrics: c.flags.gather(c.metrics), Public: true, Ready: c.ready,
		Status: func() (any, error) { return nil, errors.New("statuses are on the API server: ask kubectl") },
		Config: func() (any, error) {
			c.mu.Lock()
			names := slices.Sorted(maps.Keys(c.proxies))
			c.mu.Unlock()
			out := map[model.ProxyName]any{}
			for _, name := range names {
				config, err := render(c.pipeline.Resources(name))
				if err != nil {
					return nil, err
				}
				out[name] = config
			}
			return out, nil
		},
	}
}

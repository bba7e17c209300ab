// Package pipeline joins the stages: batches of objects go in, xDS resources and statuses come out.
//
// A [Pipeline] takes one batch at a time through the engine, hands what changed to the xDS server and keeps the
// statuses up to date, also with what comes back from the Envoys: that a configuration is live, or that a part of it
// was refused.
package pipeline

import (
	"maps"
	"slices"
	"sync"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/envoy"
	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Options are what a pipeline is made with.
type Options struct {
	// Controllers are the controllerNames whose GatewayClasses are ours.
	Controllers []string
	// Proxy says which proxy serves a Gateway.
	Proxy func(gateway model.Name) model.ProxyName
	// Fleets says that there is a fleet of Envoys for each Gateway or class, and what for: see [resolve.Options].
	Fleets *resolve.FleetOptions
	// Fleet is told of each fleet that changed; nil if there is none any more. It must not call back, nor block. May be
	// nil.
	Fleet func(model.ProxyName, *resolve.Fleet)
	// Launches says that each proxy is one Envoy, started as EnvoyProxies say: see [resolve.Options].
	Launches *resolve.LaunchOptions
	// Launch is told how the Envoy of a proxy is to be started, each time that this changes, and of nil when no Gateway is
	// the proxy's any more: see [Pipeline.Launched]. It must not call back, nor block. May be nil.
	Launch func(model.ProxyName, *resolve.Launch)
	// Proxies are served from the first batch on, even if no Gateway is theirs yet.
	Proxies []model.ProxyName
	// Chain is the chain of features.
	Chain *feature.Chain
	// Bind is the address that listeners bind to.
	Bind string
	// Workers is how many goroutines compute.
	Workers int
	// Serve hands changes to the xDS server and returns the version that they make; nil serves nobody.
	Serve func(model.ProxyName, []xds.Change) uint64
	// Publish is told of every status that changed, in no particular order; may be nil. It must not call back.
	Publish func(Status)
	// Addresses are where Gateways can be reached, if there are no Fleets.
	Addresses []gwv1.GatewayStatusAddress
	// Alone says that there is no other controller: objects that are nobody's are then reported.
	Alone bool
	// Features are the Gateway API features that the chain adds, for the status of GatewayClasses.
	Features []gwv1.FeatureName
	// LocalBackends allows Backends on loopback addresses and Unix sockets: see [resolve.Options].
	LocalBackends bool
	// NoBackends refuses objects of kind Backend, and Scope is which namespaces are read: see [resolve.Options].
	NoBackends bool
	Scope      *resource.Scope
	// Patches allows EnvoyPatchPolicies: see [resolve.Options].
	Patches bool
	// SystemCAs is the path of the proxies' system CA certificates: see [resolve.Options].
	SystemCAs string
	// Fetch is told of everything that is to be fetched from now on, or not any more: see [Pipeline.Fetched]. It must not
	// call back, nor block. nil if there is nobody who fetches.
	Fetch func(fetch model.Fetch, wanted bool)
	// Extensions are the extension servers, if there are any.
	Extensions ExtensionOptions
	// Refused is told of a route that Envoy refuses while the version before it is served. It must not call back, nor
	// block. May be nil.
	Refused func(model.Ref)
	// Say is told what other replicas should know of the Envoys that are connected here. It must not call back, nor
	// block. nil if there are no others.
	Say func(peer.Statement)
	// Settling says that Envoys may be there that have what the first batch makes, and are to connect. Until
	// [Pipeline.Settled] it is Unknown whether what waits for them is programmed.
	Settling bool
	// SessionKey returns the secret of the control plane for a purpose: see [envoy.Options]. It is not called before the
	// first batch.
	SessionKey func(purpose string) []byte
	// Build is the version of Sluice, which other replicas may or may not share.
	Build string
}

// Pipeline is the engine with its tables, and what has become of their results. It is safe for concurrent use.
type Pipeline struct {
	opts Options

	mu       sync.Mutex
	engine   *incr.Engine
	store    *resource.Store
	resolved *resolve.Tables
	built    *envoy.Tables
	started  bool
	// first is true while the first commit is handed on, settling until Envoys had the time to connect.
	first, settling bool
	proxies         map[model.ProxyName]*proxy
	blame           blame
	strays          strays
	quarantine      quarantine
	// book is what other replicas say.
	book *peer.Book
	// distrusted are the answers of extension servers that Envoy refuses.
	distrusted map[model.Call][]byte
	doubt      doubt
	// translations are the proxies about whose whole configuration extension servers are asked.
	translations map[model.ProxyName]*translated
}

// proxy is what is known about the Envoys of a proxy.
type proxy struct {
	// version is of the last change that was handed over, live of the last that all Envoys have ACKed.
	version, live uint64
	// pending are the versions after live, the oldest first.
	pending []handed
	// connected is how many Envoys are connected here.
	connected int
	// waiting are the listeners that are not programmed yet.
	waiting map[model.ListenerKey]waiting
	// refused are the resources that Envoy refuses, by type and name.
	refused map[resourceID]refusal
	// patching are the EnvoyPatchPolicies with patches that are not live yet, and the version that has them.
	patching map[model.Name]uint64
	// placed is where the Envoys are.
	placed resolve.Placement
}

// handed is a version, and the first commit that is in it.
type handed struct{ version, commit uint64 }

// maxPending is how many versions are told apart while Envoy has not ACKed them.
const maxPending = 64

// hand notes the version with what a commit changed.
func (px *proxy) hand(version, commit uint64) {
	px.version = version
	if n := len(px.pending); n == maxPending {
		px.pending[n-1].version = version
	} else {
		px.pending = append(px.pending, handed{version, commit})
	}
}

// lives notes that all Envoys have a version.
func (px *proxy) lives(version uint64) {
	px.live = max(px.live, version)
	px.pending = slices.DeleteFunc(px.pending, func(h handed) bool { return h.version <= px.live })
}

// liveCommit is the last commit that all Envoys that are connected have.
func (p *Pipeline) liveCommit() uint64 {
	live := p.blame.commits
	for _, px := range p.proxies {
		if px.connected > 0 && len(px.pending) > 0 {
			live = min(live, px.pending[0].commit-1)
		}
	}
	return live
}

// waiting is what a listener waits for.
type waiting struct {
	// version is the one that brought it.
	version uint64
	// content is its hash, and state what other replicas have been told.
	content uint64
	state   peer.State
	// early says that it waits since the first batch.
	early bool
}

type resourceID struct {
	typ  xds.Type
	name string
}

// refusal is a version of a resource that Envoy refuses, with its words.
type refusal struct {
	hash    uint64
	message string
	// owners are the objects that made the resource.
	owners []model.Ref
}

// New returns a pipeline that has seen nothing yet.
func New(opts Options) *Pipeline {
	e := incr.New(opts.Workers)
	p := &Pipeline{
		opts: opts, engine: e, store: resource.NewStore(e, opts.Extensions.Kinds...), settling: opts.Settling,
		proxies: map[model.ProxyName]*proxy{}, strays: strays{}, book: peer.NewBook(opts.Build),
		translations: map[model.ProxyName]*translated{},
		distrusted:   map[model.Call][]byte{}, doubt: doubt{refused: map[hostID]map[uint64]string{}},
		quarantine: quarantine{rows: map[faultID]failure{}, objects: map[model.Ref]map[faultID]struct{}{}},
	}
	p.resolved = resolve.New(e, p.store, resolve.Options{
		Controllers: opts.Controllers, Proxy: opts.Proxy, Fleets: opts.Fleets, Check: opts.Chain.Check,
		Launches: opts.Launches,
		Features: opts.Features, LocalBackends: opts.LocalBackends, SystemCAs: opts.SystemCAs,
		NoBackends: opts.NoBackends, Scope: opts.Scope, Patches: opts.Patches,
		CheckAttached: opts.Chain.CheckAttached, References: opts.Chain.References, Guards: opts.Chain.Guards,
		Opens: opts.Chain.Opens, Clusters: opts.Chain.Clusters, PortSettings: opts.Chain.PortSettings,
		ShapesStreams: opts.Chain.ShapesStreams, GuardsStreams: opts.Chain.GuardsStreams,
		CheckStream: opts.Chain.CheckStream, CheckPlaces: opts.Chain.CheckPlaces,
		CheckListener: opts.Chain.CheckListener, OverQUIC: opts.Chain.OverQUIC, Fetches: opts.Fetch != nil,
		UsesProxy: opts.Chain.UsesProxy, CheckProxy: opts.Chain.CheckProxy,
		Extensions: opts.Extensions.Managers,
	})
	p.built = envoy.New(e, p.resolved, envoy.Options{
		Chain: opts.Chain, Bind: opts.Bind, SessionKey: opts.SessionKey, LocalBackends: opts.LocalBackends,
		Reserved:   reserved(opts.Fleets),
		Extensions: opts.Extensions.Managers,
	})
	p.blame.init(p.say, opts.Refused)
	return p
}

// reserved are the ports that fleets keep for themselves.
func reserved(fleets *resolve.FleetOptions) map[uint16]string {
	if fleets == nil {
		return nil
	}
	return fleets.Reserved
}

// Outcome says what a batch did.
type Outcome struct {
	// Versions are the versions of the proxies whose configuration changed.
	Versions map[model.ProxyName]uint64
	// Result is the work of the engine.
	Result incr.Result
	// Compute and Push are the times that the two halves took.
	Compute, Push time.Duration
	// Issues are what the stages now find wrong with the objects that the batch touched, and Fixed what they found wrong
	// with them before and no longer do.
	Issues, Fixed status.Report
}

// Apply takes a batch through all stages. The objects that it sets must not be changed any more. Unbound are all ports
// that cannot be bound, and why.
func (p *Pipeline) Apply(set []source.Object, remove []model.Ref, unbound map[model.PortKey]string) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setUnbound(unbound)
	for _, o := range set {
		p.replacing(o.Ref)
		p.store.Set(o.Ref, o.Object)
		p.changed(o.Ref)
	}
	for _, ref := range remove {
		p.replacing(ref)
		p.store.Delete(ref)
		p.changed(ref)
	}
	out := p.commit()
	if p.adoptChanged() {
		out = out.then(p.commit())
	}
	if p.opts.Alone {
		p.strays.update(p, refs(set, remove), &out)
	}
	p.engine.Forget()
	return out
}

// Warming reports whether Envoys are connected that have never had a whole configuration.
func (p *Pipeline) Warming() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, px := range p.proxies {
		if px.connected > 0 && px.version > 0 && px.live == 0 {
			return true
		}
	}
	return false
}

// changed takes in that an object is another than it was.
func (p *Pipeline) changed(ref model.Ref) {
	p.forgive(ref)
	if ref.Group == model.GroupEnvoyGateway {
		p.forgivePoliced(func(policy model.Ref) bool { return policy == ref })
	}
}

// SetUnbound says which ports cannot be bound, and why. Ports that are not in the map can.
func (p *Pipeline) SetUnbound(ports map[model.PortKey]string) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setUnbound(ports)
	return p.commit()
}

func (p *Pipeline) setUnbound(ports map[model.PortKey]string) {
	for port := range p.resolved.Unbound.All() {
		if _, ok := ports[port]; !ok {
			p.resolved.Unbound.Delete(port)
		}
	}
	for port, why := range ports {
		p.resolved.Unbound.Set(port, why)
	}
}

// then returns the outcome of two commits in a row.
func (o Outcome) then(next Outcome) Outcome {
	if o.Versions == nil {
		o.Versions = next.Versions
	}
	maps.Copy(o.Versions, next.Versions)
	o.Result.Tables = append(o.Result.Tables, next.Result.Tables...)
	o.Result.Faults = append(o.Result.Faults, next.Result.Faults...)
	o.Result.Mended = append(o.Result.Mended, next.Result.Mended...)
	o.Compute += next.Compute
	o.Push += next.Push
	o.Issues = append(o.Issues, next.Issues...)
	o.Fixed = append(o.Fixed, next.Fixed...)
	return o
}

// commit runs the engine and hands on what changed. The caller holds the lock.
func (p *Pipeline) commit() Outcome {
	began := time.Now()
	out := Outcome{Result: p.engine.Commit()}
	out.Compute = time.Since(began)
	p.blame.remember(p)
	began = time.Now()
	failing, failed, mended := p.quarantine.take(p, out.Result)
	var healed []model.Ref
	out.Versions, healed = p.push()
	p.orderFleets()
	p.orderLaunches()
	p.orderFetches()
	p.orderCalls()
	p.publish()
	p.publishOwners(healed)
	p.publishQuarantined(failing)
	out.Issues, out.Fixed = p.issueChanges()
	out.Issues, out.Fixed = append(out.Issues, failed...), append(out.Fixed, mended...)
	judged := p.blame.pronounce(p)
	out.Issues, out.Fixed = append(out.Issues, judged.now...), append(out.Fixed, judged.fixed...)
	out.Push = time.Since(began)
	asked := p.askTranslations()
	if p.keep() || asked {
		out = out.then(p.commit())
	}
	return out
}

func (p *Pipeline) proxy(name model.ProxyName) *proxy {
	px, ok := p.proxies[name]
	if !ok {
		px = &proxy{
			waiting: map[model.ListenerKey]waiting{}, refused: map[resourceID]refusal{}, patching: map[model.Name]uint64{},
		}
		p.proxies[name] = px
	}
	return px
}

// Observe takes in what the xDS server saw. The outcome is that of the commit that followed from it, if one did.
func (p *Pipeline) Observe(e xds.Event) Outcome {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case xds.Connected:
		p.connect(e.Proxy, 1)
	case xds.Disconnected:
		p.connect(e.Proxy, -1)
	case xds.Live:
		px := p.proxy(e.Proxy)
		px.lives(e.Version)
		p.review(e.Proxy)
		tried := p.extensionsLived(e)
		if p.blame.lived(p, e) || tried {
			return p.commit()
		}
	case xds.Rejected:
		p.blame.doubt(p, e)
		if p.unpatch(e) {
			return p.commit()
		}
		if e.Type != xds.Routes {
			p.refuse(e.Proxy, resourceID{e.Type, e.Resource}, refusal{e.Hash, e.Message, e.Owners})
			p.publishOwners(e.Owners)
		}
		if routes := e.Type == xds.Routes || e.Type == xds.Listener; routes && p.blame.accuse(p, e) {
			return p.commit()
		}
		if e.Type == xds.Routes && e.Part == "" && p.built.Close(e.Proxy, e.Resource, e.Hash) {
			return p.blame.closeTable(p, e)
		}
	}
	return Outcome{}
}

// ListenerName is the name of the Envoy listener of a port.
func ListenerName(key model.PortKey) string { return envoy.ListenerName(key) }

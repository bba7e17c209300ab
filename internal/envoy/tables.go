package envoy

import (
	"cmp"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Options are what the Envoy configuration depends on besides the model.
type Options struct {
	// Chain is the chain of features.
	Chain *feature.Chain
	// Bind is the address that listeners bind to: "0.0.0.0", or "::" for both address families.
	Bind string
	// LocalBackends says that patches may name addresses of the machine that Envoy runs on: see [resolve.Options].
	LocalBackends bool
	// Reserved are the ports on which no listener may be added, and what they are used for.
	Reserved map[uint16]string
	// SessionKey returns the secret of the control plane for a purpose, the same one in all replicas; nil if there is
	// none: what needs one gets no value then.
	SessionKey func(purpose string) []byte
	// Extensions are the extension servers, in the order in which they are asked.
	Extensions []model.ExtensionManager
}

// Tables are the xDS resources of all proxies.
type Tables struct {
	Clusters  *incr.Table[BackendKey, *xds.Resource]
	Endpoints *incr.Table[BackendKey, *xds.Resource]
	Secrets   *incr.Table[SecretKey, *xds.Resource]
	// Authorities are the CA certificates, which are secrets too.
	Authorities *incr.Table[AuthorityKey, *xds.Resource]
	// Values are the values of Secrets that filters use: they are secrets, too.
	Values    *incr.Table[BackendKey, *xds.Resource]
	Listeners *incr.Table[model.PortKey, *xds.Resource]
	Routes    *incr.Table[model.RouteTableKey, *xds.Resource]
	// Hosts are the parts of Routes.
	Hosts *incr.Table[model.HostKey, *xds.Part]
	// Added are resources that only EnvoyPatchPolicies have.
	Added *incr.Table[AddedKey, *xds.Resource]

	patches

	// Calls are the questions that are to be put to extension servers, Answers what has become of them. Withheld says of
	// routes what has not been done for them. They are nil where there are no extension servers.
	Calls    *incr.Table[model.Call, struct{}]
	Answers  *incr.Input[model.Call, model.Answer]
	Withheld *incr.Table[model.RouteKey, string]

	// Translated are the proxies that have listeners, with the policies for extension servers that are attached to these,
	// and Decided the clusters that the hook for everything has been asked about, see [Decision]. They are nil where no
	// extension server takes part in it.
	Translated *incr.Table[model.ProxyName, []model.Extension]
	Decided    *incr.Input[BackendKey, Decision]

	closed    *incr.Input[model.RouteTableKey, uint64]
	listeners *held[model.PortKey, *xds.Resource]
	served    *held[siteKey, served]
	hosts     *held[model.HostKey, *xds.Part]
	// held are those of these that wait for extension servers, and others that do.
	held []keeper
}

// Close takes in that Envoy refuses a route table for what is in it besides its hosts: the filters of the policies of
// listeners. As long as these are what they are, the requests that they would see are answered with 500. It reports
// whether there is something to commit.
func (t *Tables) Close(proxy model.ProxyName, name string, version uint64) bool {
	k, r := t.TableOf(proxy, name)
	if !r.Is("", version) {
		return false
	}
	t.closed.Set(k, hash(r.Body))
	return true
}

// TableOf returns the route table of a proxy that has the name, nil if there is none.
func (t *Tables) TableOf(proxy model.ProxyName, name string) (model.RouteTableKey, *xds.Resource) {
	for k, r := range t.Routes.All() {
		if k.Port().Proxy == proxy && r.Name == name {
			return k, r
		}
	}
	return model.RouteTableKey{}, nil
}

// BackendKey is a backend as one proxy uses it.
type BackendKey struct {
	Proxy   model.ProxyName
	Backend model.BackendKey
}

// Compare orders by proxy, then backend.
func (k BackendKey) Compare(o BackendKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), k.Backend.Compare(o.Backend))
}

// SecretKey is a Secret as one proxy uses it.
type SecretKey struct {
	Proxy  model.ProxyName
	Secret model.Name
}

// Compare orders by proxy, then name.
func (k SecretKey) Compare(o SecretKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), k.Secret.Compare(o.Secret))
}

// AuthorityKey are CA certificates as one proxy uses them.
type AuthorityKey struct {
	Proxy model.ProxyName
	Trust model.Trust
}

// Compare orders by proxy, then trust.
func (k AuthorityKey) Compare(o AuthorityKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), k.Trust.Compare(o.Trust))
}

// siteKey is a route as one route table serves it for listeners that have the same policies, and whose Gateways show
// the same certificate to backends.
type siteKey struct {
	Table model.RouteTableKey
	Route model.RouteKey
	stance
}

func (k siteKey) Compare(o siteKey) int {
	return cmp.Or(k.Table.Compare(o.Table), k.Route.Compare(o.Route), k.stance.Compare(o.stance))
}

// Ref is the route.
func (k siteKey) Ref() model.Ref { return k.Route.Ref() }

// served is what a route becomes in one route table.
type served struct {
	entries []entry
	needs   []model.BackendKey
	// asked are the policies that asked for something.
	asked []model.Ref
	// why says what an extension server has not done for the route, empty for nothing.
	why string
}

// New adds the tables to the engine.
func New(e *incr.Engine, in *resolve.Tables, opts Options) *Tables {
	b := &builder{in: in, opts: opts, closed: incr.NewInput[model.RouteTableKey, uint64](e, "refused tables")}
	b.addServers(e)
	b.addGuards(e)
	b.addManagers(e)
	b.addPolicies(e)
	b.overQUIC = incr.NewIndex(e, "listeners over quic", in.QUIC,
		func(_ model.PortKey, list []model.ListenerKey) []model.ListenerKey { return list })
	sites := incr.NewIndex(e, "route sites", in.Bindings, sitesOf)
	routeUses := b.addServed(e, sites)
	secrets := incr.NewIndex(e, "secret uses", in.Ports, secretsOf)
	b.secretUses = secrets
	listenerTrusts := incr.NewIndex(e, "client trust uses", in.Ports, trustsOf)
	owned := incr.NewIndex(e, "listener hosts", in.Ports, func(_ model.PortKey, p model.Port) []model.HostKey {
		return ownedHosts(p)
	})

	streamBackends, udpPorts := b.addStreams(e)
	b.streamUses = streamBackends
	b.addPatches(e)
	used := append(routeUses, streamBackends, b.asked, b.collectors, b.policyBackends)
	uses := append(slices.Clip(used), udpPorts)
	secured := incr.NewTable(e, "secured backends", b.security, used...)
	clientSecrets := incr.NewIndex(e, "client secret uses", secured, clientSecretsOf)
	clusterTrusts := incr.NewIndex(e, "backend trust uses", secured, func(k BackendKey, s security) []AuthorityKey {
		if s.Trust == (model.Trust{}) {
			return nil // nothing is verified
		}
		return []AuthorityKey{{Proxy: k.Proxy, Trust: s.Trust}}
	})

	out := &Tables{closed: b.closed}
	out.Clusters, out.Endpoints = b.addClusters(e, uses)
	out.Values = incr.NewTable(e, "secret values", b.value, valueUses(e, out.Clusters)).Equal(equalResource)
	out.Secrets = incr.NewTable(e, "secrets", b.secretStage.hook, secrets, clientSecrets).Equal(equalResource)
	out.Authorities = incr.NewTable(e, "ca secrets", b.authority, listenerTrusts, clusterTrusts, b.clientTrusts).
		Equal(equalResource)
	out.listeners, out.Listeners = b.addListeners(e)
	b.settleServed(e)
	hosts := holding(e, rows[model.HostKey, *xds.Part]{
		name: "virtual hosts", asked: b.servers.takes(model.HookVirtualHost), try: b.extendHost,
		equal: func(a, b *xds.Part) bool { return a.Hash == b.Hash },
		proxy: func(k model.HostKey) model.ProxyName { return k.Table.Port().Proxy },
	}, in.Hosts, owned)
	out.served, out.hosts, out.Hosts = b.served, hosts, hosts.whole
	b.addBlocks(e, out.Hosts)
	b.addPatchedTables(e)
	out.Routes = incr.NewTable(e, "route tables", b.tableStage.hook, b.blocks).Equal(equalResource)
	out.Added = b.addAdditions(e)
	out.patches = b.addPatchReports(e)
	if len(opts.Extensions) > 0 {
		b.addCalls(e, out)
	}
	return out
}

// equalResource compares by content, from which the needs follow. Owners do not: two objects can ask for the same.
func equalResource(a, b *xds.Resource) bool {
	return a.Hash == b.Hash && slices.Equal(a.Owners, b.Owners)
}

// builder holds what the functions of the tables read.
type builder struct {
	in *resolve.Tables
	// closed are the hashes of the bodies of route tables that Envoy refuses.
	closed  *incr.Input[model.RouteTableKey, uint64]
	opts    Options
	servers extender
	served  *held[siteKey, served]
	// decided are the clusters that extension servers have decided about; nil if none decides about all.
	decided *incr.Input[BackendKey, Decision]
	// clusters and assignments are those of backends.
	clusters, assignments *held[BackendKey, *xds.Resource]

	guards  *incr.Table[model.ListenerKey, *guard]
	guarded *incr.Index[model.PortKey, model.ListenerKey, *guard]
	// managers is what policies of listeners need, denied the listeners that must take no requests because of them.
	// collectors are the backends that listeners send requests of their own to, clientTrusts the trusts in clients.
	managers     *incr.Table[model.PortKey, managers]
	denied       *incr.Table[model.PortKey, []model.ListenerKey]
	collectors   *incr.Index[BackendKey, model.PortKey, managers]
	clientTrusts *incr.Index[AuthorityKey, model.PortKey, managers]
	asked        *incr.Index[BackendKey, model.ListenerKey, *guard]
	// stances, scopes and regimes are what the policies of listeners ask of HTTP filters, described those of them for
	// which routes say what they were made of; policyBackends are the backends that these ask.
	stances        *incr.Table[model.ListenerKey, stance]
	scopes         *incr.Table[stance, *feature.Scope]
	described      *incr.Table[stance, struct{}]
	regimes        *incr.Table[model.RouteTableKey, regime]
	policyBackends *incr.Index[BackendKey, model.PortKey, []BackendKey]
	// hosts are the virtual hosts by the blocks that they are in, blocks those by their route tables.
	hosts  *incr.Index[blockKey, model.HostKey, *xds.Part]
	blocks *incr.Index[model.RouteTableKey, blockKey, *xds.Block]
	// backendUses, streamUses and secretUses say what leads to a backend or shows a certificate.
	backendUses siteUses
	streamUses  *incr.Index[BackendKey, chainKey, chain]
	secretUses  *incr.Index[SecretKey, model.PortKey, model.Port]
	patches
	chains *incr.Table[chainKey, chain]
	// overQUIC says which HTTPS listeners are reached by QUIC too.
	overQUIC *incr.Index[model.ListenerKey, model.PortKey, []model.ListenerKey]
	// portChains are the chains by port.
	portChains *incr.Index[model.PortKey, chainKey, chain]
}

func (b *builder) cluster(r *incr.Reader, k BackendKey) (*xds.Resource, bool) {
	if k.Backend.Kind == model.KindUDPPort {
		port, ok := b.udpPort(r, k)
		return udpCluster(b.opts.Chain, port, b.udpSettings(r, port)), ok
	}
	if k.Backend.IsValue() {
		return b.valueCluster(r, k)
	}
	if parts := k.Backend.Parts(); len(parts) > 0 {
		like, ok := incr.Get(r, b.in.Backends, parts[0].Backend.Shared())
		like.Attached = slices.Concat(b.in.ProxySettings(r, k.Proxy), like.Attached,
			b.in.Settings(r, parts[0].Backend.Settings))
		return splitCluster(b.opts.Chain, k.Backend, like), ok
	}
	backend, ok := b.backendFor(r, k)
	if !ok {
		return nil, false
	}
	if backend.Address == model.AddressIP {
		return cluster(b.opts.Chain, backend, nil), true
	}
	list, _ := incr.Get(r, b.in.Endpoints, k.Backend.Shared())
	return cluster(b.opts.Chain, backend, list), true
}

// backendFor returns a backend as a proxy connects to it, with all that is attached to it; false if it must not.
func (b *builder) backendFor(r *incr.Reader, k BackendKey) (model.Backend, bool) {
	backend, ok := incr.Get(r, b.in.Backends, k.Backend.Shared())
	if !ok {
		return model.Backend{}, false
	}
	backend.Key = k.Backend
	backend.Attached = slices.Concat(b.in.ProxySettings(r, k.Proxy), backend.Attached,
		b.in.Settings(r, k.Backend.Settings))
	if backend.Service != nil && b.opts.Chain.ToService(backend.Attached) {
		backend.Address = model.AddressIP // whatever its endpoints are
	}
	if k.Backend.Passthrough {
		backend.TLS = nil
	} else if backend.Barred {
		return model.Backend{}, false
	}
	return backend, true
}

func (b *builder) endpoints(r *incr.Reader, k BackendKey) (*xds.Resource, bool) {
	if k.Backend.IsLocal() {
		return endpointsResource(loadAssignment(k.Backend.String(), b.in.Siblings(r, k.Proxy)), nil), true
	}
	if k.Backend.Kind == model.KindUDPPort {
		port, ok := b.udpPort(r, k)
		return b.udpEndpoints(r, port), ok
	}
	if parts := k.Backend.Parts(); len(parts) > 0 {
		settings := b.in.Settings(r, parts[0].Backend.Settings)
		split := make([]splitPart, len(parts))
		for i, p := range parts {
			backend, _ := incr.Get(r, b.in.Backends, p.Backend.Shared())
			list := b.endpointsOf(r, k.Proxy, p.Backend, settings)
			split[i] = splitPart{key: p.Backend, weight: p.Weight, fallback: backend.Fallback || p.Fallback, endpoints: list}
		}
		return splitEndpoints(b.opts.Chain, k.Backend, settings, split), true
	}
	backend, ok := incr.Get(r, b.in.Backends, k.Backend.Shared())
	settings := b.in.Settings(r, k.Backend.Settings)
	if !ok || backend.Address != model.AddressIP && b.toService(r, k.Proxy, &backend, settings) == nil {
		return nil, false
	}
	backend.Key = k.Backend
	return endpoints(b.opts.Chain, &backend, settings, b.endpointsOf(r, k.Proxy, k.Backend, settings)), true
}

// endpointsOf returns where requests of a proxy to a backend with IP addresses go: to its endpoints, or to the address
// of its Service.
func (b *builder) endpointsOf(
	r *incr.Reader, proxy model.ProxyName, key model.BackendKey, settings []model.Attached,
) []model.Endpoint {
	if backend, ok := incr.Get(r, b.in.Backends, key.Shared()); ok {
		if service := b.toService(r, proxy, &backend, settings); service != nil {
			return []model.Endpoint{*service}
		}
	}
	list, _ := incr.Get(r, b.in.Endpoints, key.Shared())
	return list
}

// toService returns the address of the Service that a backend is, if it has one and the settings, or those of the
// proxy, say that requests go there; else nil.
func (b *builder) toService(
	r *incr.Reader, proxy model.ProxyName, backend *model.Backend, settings []model.Attached,
) *model.Endpoint {
	if backend.Service == nil || !b.opts.Chain.ToService(slices.Concat(b.in.ProxySettings(r, proxy), settings)) {
		return nil
	}
	return backend.Service
}

func (b *builder) secret(r *incr.Reader, k SecretKey) (*xds.Resource, bool) {
	c, ok := incr.Get(r, b.in.Certificates, k.Secret)
	if !ok {
		return nil, false
	}
	return secret(k.Secret, c.Chain, c.Key), true
}

// bind is the address that the listeners of a proxy bind to: what its EnvoyProxies say (EnvoyProxySpec.ipFamily), or
// that of the options.
func (b *builder) bind(r *incr.Reader, proxy model.ProxyName) string {
	var spec *egv1a1.EnvoyProxySpec
	if fleet, ok := incr.Get(r, b.in.Fleets, proxy); ok {
		spec = fleet.Spec
	} else if launch, ok := incr.Get(r, b.in.Launches, proxy); ok {
		spec = launch.Spec
	}
	if spec == nil || spec.IPFamily == nil {
		return b.opts.Bind
	}
	if *spec.IPFamily == egv1a1.IPv4 {
		return "0.0.0.0"
	}
	return "::"
}

func (b *builder) authority(r *incr.Reader, k AuthorityKey) (*xds.Resource, bool) {
	a, ok := incr.Get(r, b.in.Authorities, k.Trust)
	if !ok {
		return nil, false
	}
	return authority(k.Trust, a), true
}

// security is what a cluster needs for TLS besides its own configuration.
type security struct {
	Trust  model.Trust
	Client model.Name
}

func (b *builder) security(r *incr.Reader, k BackendKey) (security, bool) {
	key := k.Backend
	if parts := key.Parts(); len(parts) > 0 {
		key = parts[0].Backend // all parts of a split are secured alike
	}
	backend, ok := incr.Get(r, b.in.Backends, key.Shared())
	if !ok || backend.TLS == nil || key.Passthrough {
		return security{}, false
	}
	out := security{Trust: backend.TLS.Trust, Client: backend.TLS.Client}
	if out.Client == (model.Name{}) {
		out.Client = key.Client
	}
	return out, true
}

func (b *builder) listener(r *incr.Reader, k model.PortKey) (*xds.Resource, bool) {
	if listeners, ok := incr.Get(r, b.in.QUIC, k); ok {
		return b.quicListener(r, k, listeners)
	}
	port, ok := incr.Get(r, b.in.Ports, k)
	if !ok || len(port.Listeners) == 0 {
		return nil, false
	}
	if k.Transport == model.OverUDP {
		return udpListener(b.bind(r, k.Proxy), port, b.opts.Chain.AccessLogs(b.common(r, port))), true
	}
	var needs []model.BackendKey
	shape := shaper{b: b, r: r, of: port, needs: &needs}
	out := listener(b.bind(r, k.Proxy), port, httpFilters(b.opts.Chain, b.guarded.Len(r, k) > 0), shape)
	out.Needs = clusterNames(needs)
	chains, routes := b.streams(r, port)
	for _, c := range chains {
		out.Body = append(out.Body, c.Body...)
		for _, n := range c.Needs {
			out.Needs = append(out.Needs, n.String())
		}
	}
	slices.Sort(out.Needs)
	out.Needs = slices.Compact(out.Needs)
	out.Owners = append(out.Owners, routes...)
	out.Hash = hash(out.Body)
	return out, true
}

// table puts a route table together: bytes are not copied, only hashes are.
func (b *builder) table(r *incr.Reader, k model.RouteTableKey) (*xds.Resource, bool) {
	scope := &feature.Scope{}
	if regime, ok := incr.Get(r, b.regimes, k); ok && !regime.Mixed {
		scope = b.scopeFor(r, regime.stance)
	}
	headers := b.altSvc(r, k)
	body := tableBody(k, scope.Fill(b.place(r, k.Port()), nil), headers)
	if refused, ok := incr.Get(r, b.closed, k); ok && refused == hash(body) {
		scope = scope.Closed()
		body = tableBody(k, scope.Fill(b.place(r, k.Port()), nil), headers)
	}
	out := &xds.Resource{Name: k.String(), Body: body, Needs: clusterNames(scope.Needs), Parts: b.parts(r, k)}
	out.Hash = xds.RoutesHash(out.Body, out.Parts)
	return out, true
}

// clusterNames returns the names of the clusters of backends, sorted, each once.
func clusterNames(backends []model.BackendKey) []string {
	var out []string
	for _, n := range backends {
		out = append(out, n.String())
	}
	slices.Sort(out)
	return slices.Compact(out)
}

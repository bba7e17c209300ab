package pipeline

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Status is the status of one object.
type Status struct {
	Ref model.Ref
	// Version is the API version of the object's kind, Generation the generation that the status is about.
	Version    string
	Generation int64
	// Status is one of the types that [status.EachCondition] knows, never changed; nil if there is nothing to say about
	// the object any more.
	Status any
}

// publish tells of the statuses that the last commit changed.
func (p *Pipeline) publish() {
	if p.opts.Publish == nil {
		return
	}
	for name, c := range p.resolved.GatewayClassStatus.Changes() {
		p.put(classRef(name), &c.New, c.Has)
	}
	sources := map[model.Ref]bool{}
	for name := range p.resolved.GatewayStatus.Changes() {
		sources[gatewayRef(name)] = true
	}
	for name := range p.resolved.ListenerSetStatus.Changes() {
		sources[setRef(name)] = true
	}
	for key := range p.fresh() {
		sources[key.Source] = true
	}
	p.heldSources(sources)
	p.putSources(sources)
	for key, c := range p.resolved.RouteStatus.Changes() {
		p.put(key.Ref(), &c.New, c.Has)
	}
	for ref := range p.resolved.Policies.Changes() {
		p.putPolicy(ref)
	}
	for name := range p.built.PatchReports.Changes() {
		p.putPolicy(patchRef(name))
	}
	for name := range p.resolved.BackendStatus.Changes() {
		p.putBackend(name)
	}
	for name, c := range p.resolved.EnvoyProxyStatus.Changes() {
		p.put(envoyProxyRef(name), &c.New, c.Has)
	}
	for name := range p.resolved.XBackendStatus.Changes() {
		p.putXBackend(name)
	}
}

// put publishes a status, or that there is none.
func (p *Pipeline) put(ref model.Ref, st any, has bool) {
	s := Status{Ref: ref}
	if why := p.quarantine.why(ref); why != "" {
		st, has = p.quarantined(ref, st, has, why)
	}
	if has {
		s.Version, s.Generation, s.Status = p.opts.Extensions.Kinds.Find(ref.Group, ref.Kind).Version, p.generation(ref), st
	}
	p.opts.Publish(s)
}

// generation is that of the object as of the last commit.
func (p *Pipeline) generation(ref model.Ref) int64 {
	if in, ok := p.blame.standIns[ref]; ok && in.now != nil {
		return in.now.GetGeneration()
	}
	obj, ok := p.store.Get(ref)
	if !ok {
		return 0
	}
	return obj.GetGeneration()
}

// putGateway publishes the status of a Gateway with what the proxies have said about it.
func (p *Pipeline) putGateway(name model.Name) {
	ref := gatewayRef(name)
	st, ok := p.resolved.GatewayStatus.Peek(name)
	if !ok {
		p.put(ref, nil, false)
		return
	}
	gw, _ := p.resolved.Gateways.Peek(name)
	done := status.Program(st, p.listening(gw.Proxy, gw.Listeners))
	p.put(ref, &done, true)
}

// putListenerSet publishes the status of a ListenerSet with what the proxies have said about it.
func (p *Pipeline) putListenerSet(name model.Name) {
	ref := setRef(name)
	st, ok := p.resolved.ListenerSetStatus.Peek(name)
	if !ok {
		p.put(ref, nil, false)
		return
	}
	set, _ := p.resolved.ListenerSets.Peek(name)
	done := status.ProgramListenerSet(st, p.listening(set.Proxy, set.Listeners))
	p.put(ref, &done, true)
}

// listening is what a proxy has said about listeners.
func (p *Pipeline) listening(proxy model.ProxyName, listeners []model.Listener) status.Progress {
	find := func(name gwv1.SectionName) *model.Listener {
		i := slices.IndexFunc(listeners, func(l model.Listener) bool { return l.Key.Name == string(name) })
		if i < 0 {
			return nil
		}
		return &listeners[i]
	}
	progress := p.progress(proxy)
	progress.Pending = func(name gwv1.SectionName) string {
		if l := find(name); l != nil {
			return cmp.Or(p.refusal(proxy, l), p.pending(proxy, l))
		}
		return ""
	}
	progress.Unheard = func(name gwv1.SectionName) bool {
		l := find(name)
		return p.settling && l != nil && p.refusal(proxy, l) == "" && p.proxy(proxy).waiting[l.Key].early
	}
	return progress
}

// refusal says what Envoy refuses of the listener, "" if nothing.
func (p *Pipeline) refusal(name model.ProxyName, l *model.Listener) string {
	px := p.proxy(name)
	key := l.PortKey(name)
	if why := p.heldBy(key); why != "" {
		return why
	}
	if why, ok := px.refused[resourceID{xds.Listener, ListenerName(key)}]; ok {
		return "Envoy refused the listener: " + why.message
	}
	for _, c := range l.Certificates {
		if why, ok := px.refused[resourceID{xds.Secret, c.String()}]; ok {
			return fmt.Sprintf("Envoy refused the certificate of Secret %s: %s", c, why.message)
		}
	}
	if l.Clients != nil {
		if why, ok := px.refused[resourceID{xds.Secret, l.Clients.Trust.String()}]; ok {
			return fmt.Sprintf("Envoy refused the CA certificates of %s: %s", l.Clients.Trust, why.message)
		}
	}
	return ""
}

// pending says what is missing until the listener takes traffic on every Envoy of the proxy, "" if nothing is.
func (p *Pipeline) pending(name model.ProxyName, l *model.Listener) string {
	if w, ok := p.proxy(name).waiting[l.Key]; ok && !p.programmed(name, l.Key, w) {
		return "Waiting for Envoy to take the configuration"
	}
	if _, waits := p.translatedBy(l.PortKey(name)); waits {
		return "Waiting for an extension server"
	}
	return ""
}

// fresh iterates over the listeners that the last commit gave to the proxies or changed. The others of their ports are
// what they were, and stay programmed.
func (p *Pipeline) fresh() iter.Seq2[model.ListenerKey, model.PortKey] {
	return func(yield func(model.ListenerKey, model.PortKey) bool) {
		for key, c := range p.resolved.Seats.Changes() {
			if c.Has && c.New.Conflict == nil && !yield(key, c.New.Port) {
				return
			}
		}
		for port, c := range p.resolved.Ports.Changes() {
			if c.HadOld {
				continue
			}
			for i := range c.New.Listeners {
				if !yield(c.New.Listeners[i].Key, port) {
					return
				}
			}
		}
	}
}

// putSources publishes the statuses of Gateways and ListenerSets.
func (p *Pipeline) putSources(sources map[model.Ref]bool) {
	for ref := range sources {
		if ref.Kind == model.KindListenerSet {
			p.putListenerSet(ref.Name)
		} else {
			p.putGateway(ref.Name)
		}
	}
}

// putBackend publishes the status of a Backend, with Envoy's words if it refuses the cluster.
func (p *Pipeline) putBackend(name model.Name) {
	ref := backendRef(name)
	st, ok := p.resolved.BackendStatus.Peek(name)
	if !ok {
		p.put(ref, nil, false)
		return
	}
	out := st.DeepCopy()
	if why := p.refusedCluster(model.BackendKey{Kind: model.KindBackend, Name: name}); why != "" {
		out.Conditions = []metav1.Condition{p.refusedBackend(ref, why)}
	}
	p.put(ref, out, true)
}

// putXBackend is putBackend for an XBackend.
func (p *Pipeline) putXBackend(name model.Name) {
	ref := xbackendRef(name)
	st, ok := p.resolved.XBackendStatus.Peek(name)
	if !ok {
		p.put(ref, nil, false)
		return
	}
	out := st.DeepCopy()
	if why := p.refusedCluster(model.BackendKey{Kind: model.KindXBackend, Name: name}); why != "" {
		for i := range out.Ancestors {
			out.Ancestors[i].Conditions = []metav1.Condition{p.refusedBackend(ref, why)}
		}
	}
	p.put(ref, out, true)
}

func (p *Pipeline) refusedBackend(ref model.Ref, why string) metav1.Condition {
	return status.False(status.Accepted, status.ReasonInvalid, "Envoy refused the backend: "+why, p.generation(ref))
}

// refusedCluster returns Envoy's words if it refuses a cluster of the backend, whatever its use, and no policy made it
// what it is; else "".
func (p *Pipeline) refusedCluster(backend model.BackendKey) string {
	var refusals []string
	for _, px := range p.proxies {
		for id, why := range px.refused {
			if id.typ == xds.Cluster && slices.Contains(why.owners, backend.Ref()) {
				refusals = append(refusals, why.message)
			}
		}
	}
	if len(refusals) == 0 {
		return ""
	}
	return slices.Min(refusals)
}

// publishOwners publishes the statuses of objects that own a resource which is refused now, or was.
func (p *Pipeline) publishOwners(owners []model.Ref) {
	if p.opts.Publish == nil {
		return
	}
	for _, owner := range owners {
		switch owner.Kind {
		case model.KindGateway:
			p.putGateway(owner.Name)
		case model.KindListenerSet:
			p.putListenerSet(owner.Name)
		case model.KindBackend:
			p.putBackend(owner.Name)
		case model.KindXBackend:
			p.putXBackend(owner.Name)
		case model.KindSecret:
			p.putUsers(owner.Name)
			p.putTrusting(owner)
		case model.KindConfigMap, model.KindClusterTrustBundle:
			p.putTrusting(owner)
		case model.KindBackendTrafficPolicy, model.KindSecurityPolicy, model.KindEnvoyExtensionPolicy,
			model.KindClientTrafficPolicy:
			p.putPolicy(owner)
		}
	}
}

// putUsers publishes the statuses of the Gateways and ListenerSets with a listener that serves a certificate.
func (p *Pipeline) putUsers(secret model.Name) {
	sources := map[model.Ref]bool{}
	for key, seat := range p.resolved.Seats.All() {
		if slices.Contains(seat.Listener.Certificates, secret) {
			sources[key.Source] = true
		}
	}
	p.putSources(sources)
}

// Addresses returns the addresses of the status of a Gateway that is reached at the given IP addresses.
func Addresses(ips ...netip.Addr) []gwv1.GatewayStatusAddress {
	typ := gwv1.IPAddressType
	out := make([]gwv1.GatewayStatusAddress, len(ips))
	for i, ip := range ips {
		out[i] = gwv1.GatewayStatusAddress{Type: &typ, Value: ip.String()}
	}
	return out
}

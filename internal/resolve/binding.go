package resolve

import (
	"fmt"
	"slices"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Bindings say where a route is attached.
type Bindings struct {
	// Bound are the listeners on which an HTTPRoute or GRPCRoute takes traffic, Streams those on which a route of another
	// kind does, if no other route has precedence.
	Bound   []model.Binding
	Streams []model.StreamBinding
	// Attached are the listeners that count the route as attached, whether or not they take traffic.
	Attached []model.ListenerKey
	// Parents are the outcomes of the parentRefs that are ours, in the order of the spec, and behind them those of default
	// Gateways.
	Parents []ParentOutcome

	// uses are the backends that routes of our Gateways use.
	uses []useKey
}

// ParentOutcome is what became of one parentRef.
type ParentOutcome struct {
	Parent
	// Listeners are those that the parentRef means and on which the route takes traffic.
	Listeners []model.ListenerKey
	// Reason why no listener takes the route; empty if one does. Message goes with it, or is a remark.
	Reason, Message string
}

func (t *Tables) addBindings(e *incr.Engine) {
	t.Bindings = incr.NewTable(e, "bindings", t.bindings, t.Routes)
	t.Hosts = incr.NewIndex(e, "hosts", t.Bindings, func(_ model.RouteKey, b Bindings) []model.HostKey {
		var out []model.HostKey
		for _, bound := range b.Bound {
			for _, h := range bound.Hosts {
				out = append(out, model.HostKey{Table: bound.Table, Domain: h.Domain})
			}
		}
		return out
	})
	t.attached = incr.NewIndex(e, "attached routes", t.Bindings, func(_ model.RouteKey, b Bindings) []model.ListenerKey {
		return b.Attached
	})
}

// binder attaches one route.
type binder struct {
	t     *Tables
	r     *incr.Reader
	key   model.RouteKey
	hosts []string
	// created is the time at which the route was made.
	created time.Time
	// invalid routes are bound, so that their requests fail, but do not count as attached.
	invalid bool
	out     Bindings
}

func (t *Tables) bindings(r *incr.Reader, key model.RouteKey) (Bindings, bool) {
	o, ok := t.routeObject(r, key)
	if !ok {
		return Bindings{}, false
	}
	route, _ := incr.Get(r, t.Routes, key)
	b := &binder{
		t: t, r: r, key: key, created: o.Meta.CreationTimestamp.UTC(),
		invalid: status.Invalid(route.Report, route.RuleCount),
	}
	for _, h := range o.Hostnames {
		b.hosts = append(b.hosts, strings.ToLower(string(h)))
	}
	if len(b.hosts) == 0 {
		b.hosts = []string{""}
	}
	for _, p := range t.parents(r, key, o.Common) {
		outcome := ParentOutcome{Parent: p}
		b.attach(&outcome)
		b.out.Parents = append(b.out.Parents, outcome)
	}
	slices.SortFunc(b.out.Bound, func(x, y model.Binding) int { return x.Listener.Compare(y.Listener) })
	slices.SortFunc(b.out.Streams, func(x, y model.StreamBinding) int { return x.Listener.Compare(y.Listener) })
	slices.SortFunc(b.out.Attached, model.ListenerKey.Compare)
	if route != nil {
		b.out.uses = uses(route.Mentions, b.out.Parents)
	}
	return b.out, true
}

// attach attaches the route to the listeners that a parentRef means and that let it in.
func (b *binder) attach(outcome *ParentOutcome) {
	keys := b.listeners(&outcome.Parent)
	if len(keys) == 0 {
		outcome.Reason = string(gwv1.RouteReasonNoMatchingParent)
		outcome.Message = noSuchListener(&outcome.Parent)
		return
	}
	allowed, matched, served, read := false, false, false, false
	for _, key := range keys {
		d, ok := incr.Get(b.r, b.t.doors, key)
		if !ok || !b.allowed(d) {
			continue
		}
		allowed = true
		if b.reads(d) {
			read = true
			continue
		}
		hosts := b.intersect(d)
		if len(hosts) == 0 {
			continue
		}
		matched = true
		if b.bind(d, hosts) {
			served = true
			outcome.Listeners = append(outcome.Listeners, key)
		}
	}
	switch {
	case !allowed:
		outcome.Reason = string(gwv1.RouteReasonNotAllowedByListeners)
		outcome.Message = fmt.Sprintf("No listener of %s lets in a %s of namespace %s: see its allowedRoutes",
			outcome.name(), b.key.Kind, b.key.Namespace)
	case !matched && read:
		outcome.Reason = status.ReasonUnsupportedValue
		outcome.Message = fmt.Sprintf("A backend of the route is a dynamic resolver, and the listeners of %s end the TLS "+
			"that is to be passed to it: use one with the TLS mode Passthrough", outcome.name())
	case !matched:
		outcome.Reason = string(gwv1.RouteReasonNoMatchingListenerHostname)
		outcome.Message = fmt.Sprintf("No hostname of the route matches that of a listener of %s", outcome.name())
	case !served:
		outcome.Message = "The route is attached but takes no traffic: its listeners are not valid, " +
			"or all of its hostnames belong to more specific listeners"
	case outcome.Default:
		outcome.Message = "The route is attached to the default Gateway"
	case outcome.Source.Kind != model.KindGateway:
		outcome.Message = "The route is attached to the " + outcome.Source.Kind
	}
}

// listeners returns the listeners that a parentRef means. With a sectionName only that listener is read, so that other
// listeners can come and go.
func (b *binder) listeners(p *Parent) []model.ListenerKey {
	source, ref := p.Source, &p.Ref
	var candidates []section
	if name := deref(ref.SectionName, ""); name != "" {
		if d, ok := incr.Get(b.r, b.t.doors, model.ListenerKey{Source: source, Name: string(name)}); ok {
			candidates = []section{{Name: d.Key.Name, Port: d.Port.Port}}
		}
	} else {
		candidates, _ = incr.Get(b.r, b.t.sections, source)
	}
	var out []model.ListenerKey
	for _, s := range candidates {
		if port := deref(ref.Port, 0); port == 0 || port == gwv1.PortNumber(s.Port) {
			out = append(out, model.ListenerKey{Source: source, Name: s.Name})
		}
	}
	return out
}

func noSuchListener(p *Parent) string {
	ref := &p.Ref
	want := ""
	if name := deref(ref.SectionName, ""); name != "" {
		want += fmt.Sprintf(" named %s", name)
	}
	if port := deref(ref.Port, 0); port != 0 {
		want += fmt.Sprintf(" on port %d", port)
	}
	return fmt.Sprintf("%s has no listener%s", p.name(), want)
}

// allowed says whether a listener lets in routes of this kind and namespace.
func (b *binder) allowed(d *door) bool {
	if !slices.Contains(d.Kinds, b.key.Kind) {
		return false
	}
	return b.t.letsIn(b.r, d.From, d.Namespaces, b.key.Namespace, d.Key.Source.Namespace)
}

// intersect returns what the route's hostnames and the listener's have in common. Of several hostnames of the route
// that have the same in common with it the most specific one is kept.
func (b *binder) intersect(d *door) []model.BoundHost {
	var out []model.BoundHost
	for _, h := range b.hosts {
		common, ok := intersect(d.Hostname, h)
		if !ok {
			continue
		}
		out = append(out, model.BoundHost{Domain: common, From: h})
	}
	slices.SortFunc(out, func(x, y model.BoundHost) int {
		if c := strings.Compare(x.Domain, y.Domain); c != 0 {
			return c
		}
		return compareHosts(x.From, y.From)
	})
	return slices.CompactFunc(out, func(x, y model.BoundHost) bool { return x.Domain == y.Domain })
}

// bind attaches the route to a listener that lets it in, and says whether it takes traffic there.
func (b *binder) bind(d *door, hosts []model.BoundHost) bool {
	if slices.Contains(b.out.Attached, d.Key) {
		return true
	}
	if !b.invalid {
		b.out.Attached = append(b.out.Attached, d.Key)
	}
	if !d.Valid {
		return false
	}
	if holder, ok := b.owner(d, d.Hostname); !ok || holder != d.Key {
		return false
	}
	var mine []model.BoundHost
	for _, h := range hosts {
		if !b.elsewhere(d, h.Domain) {
			mine = append(mine, model.BoundHost{Domain: domain(h.Domain), From: h.From})
		}
	}
	if len(mine) == 0 {
		return false
	}
	if isStream(b.key.Kind) {
		b.bindStream(d, mine)
		return true
	}
	binding := model.Binding{
		Listener: d.Key, Table: model.HTTPTable(d.Port), Client: d.Client, Above: b.t.Above(b.r, d.Key), Hosts: mine,
	}
	if d.Protocol == model.HTTPS {
		binding.Table = model.HTTPSTable(d.Port, d.Key)
	}
	if !slices.ContainsFunc(b.out.Bound, func(have model.Binding) bool { return have.Listener == d.Key }) {
		b.out.Bound = append(b.out.Bound, binding)
	}
	return true
}

func (b *binder) owner(d *door, hostname string) (owner, bool) {
	return incr.Get(b.r, b.t.owners, claimKey{Port: d.Port, Hostname: hostname})
}

// elsewhere says whether a more specific listener of the port owns a domain of this one. It asks only for the hostnames
// between the two, so that listeners of other hosts reach no route.
func (b *binder) elsewhere(d *door, domain string) bool {
	for h, ok := domain, true; ok && h != d.Hostname; h, ok = widen(h) {
		if _, taken := b.owner(d, h); taken {
			return true
		}
	}
	return false
}

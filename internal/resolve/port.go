package resolve

import (
	"cmp"
	"slices"
	"strings"
	"time"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Which listener takes the traffic of a hostname is decided hostname by hostname, so that a listener that comes or goes
// is nothing to the others of its port: only what the port speaks is decided for all of them together.

// contender is a valid listener that wants a hostname of a port.
type contender struct {
	Listener model.Listener
	Port     model.PortKey
	Rank     rank
	// Rival is the listener of the same Gateway that it conflicts with, nil if there is none: neither gets anything.
	// Those of one ListenerSet are not rivals: the first takes precedence.
	Rival *model.Conflict
}

// rank is the precedence of a listener: Gateways come before ListenerSets; among either, the older object first, then
// the one whose name is (Gateway API, ListenerSetSpec.Listeners).
type rank struct {
	Set     bool
	Created time.Time
	Name    model.Name
	// Index is the place in the object's list.
	Index int
}

func (k rank) compare(o rank) int {
	if k.Set != o.Set {
		if k.Set {
			return 1
		}
		return -1
	}
	return cmp.Or(k.Created.Compare(o.Created), k.Name.Compare(o.Name), cmp.Compare(k.Index, o.Index))
}

// arena is what the listeners of a port have to agree on: the first one decides.
type arena struct {
	Protocol model.Protocol
	First    model.ListenerKey
}

// claimKey is a hostname of a port: at most one listener owns it.
type claimKey struct {
	Port     model.PortKey
	Hostname string
}

// Compare orders claims by port, then hostname.
func (k claimKey) Compare(o claimKey) int {
	return cmp.Or(k.Port.Compare(o.Port), strings.Compare(k.Hostname, o.Hostname))
}

// owner is the listener that a hostname of a port belongs to.
type owner = model.ListenerKey

// Seat is what became of a valid listener on its port.
type Seat struct {
	Listener model.Listener
	Port     model.PortKey
	// Conflict says why the listener takes no traffic; nil if it does.
	Conflict *model.Conflict
}

func (t *Tables) addPorts(e *incr.Engine) {
	t.contenders = incr.NewTable(e, "contenders", t.contender, t.listenerKeys...)
	byPort := incr.NewIndex(e, "contenders by port", t.contenders,
		func(_ model.ListenerKey, c *contender) []model.PortKey { return []model.PortKey{c.Port} })
	t.claims = incr.NewIndex(e, "claims", t.contenders, func(_ model.ListenerKey, c *contender) []claimKey {
		return []claimKey{c.claim()}
	})
	t.arenas = incr.NewTable(e, "arenas", func(r *incr.Reader, key model.PortKey) (arena, bool) {
		var first *contender
		for _, c := range byPort.Values(r, key) {
			if c.Rival == nil && (first == nil || c.Rank.compare(first.Rank) < 0) {
				first = c
			}
		}
		if first == nil {
			return arena{}, false
		}
		return arena{Protocol: first.Listener.Protocol, First: first.Listener.Key}, true
	}, byPort)
	t.owners = incr.NewTable(e, "owners", t.owner, t.claims)
	t.narrower = incr.NewIndex(e, "narrower owners", t.owners, func(key claimKey, _ owner) []claimKey {
		var out []claimKey
		for h, ok := widen(key.Hostname); ok; h, ok = widen(h) {
			out = append(out, claimKey{Port: key.Port, Hostname: h})
		}
		return out
	})
	t.Seats = incr.NewTable(e, "seats", t.seat, t.contenders)
	taken := incr.NewIndex(e, "seats by port", t.Seats, func(_ model.ListenerKey, s *Seat) []model.PortKey {
		if s.Conflict != nil {
			return nil
		}
		return []model.PortKey{s.Port}
	})
	t.Ports = incr.NewTable(e, "ports", func(r *incr.Reader, key model.PortKey) (model.Port, bool) {
		if _, unbound := incr.Get(r, t.Unbound, key); unbound {
			return model.Port{}, false
		}
		port := model.Port{Key: key}
		for _, s := range taken.Values(r, key) {
			if port.Protocol != model.HTTPS {
				port.Protocol = s.Listener.Protocol
			}
			port.Listeners = append(port.Listeners, s.Listener)
		}
		slices.SortFunc(port.Listeners, func(a, b model.Listener) int { return compareHosts(a.Hostname, b.Hostname) })
		return port, len(port.Listeners) > 0
	}, taken)
}

func (c *contender) claim() claimKey { return claimKey{Port: c.Port, Hostname: c.Listener.Hostname} }

// contender returns a listener that can be programmed as far as it alone can tell; others want nothing.
func (t *Tables) contender(r *incr.Reader, key model.ListenerKey) (*contender, bool) {
	w, _ := t.written(r, key.Source)
	i, ok := w.index(key)
	if !ok || !w.Listeners[i].Valid {
		return nil, false
	}
	out := &contender{
		Listener: w.Listeners[i], Port: w.doors[i].Port,
		Rank: rank{
			Set: key.Source.Kind == model.KindListenerSet, Created: w.Created, Name: key.Source.Name, Index: i,
		},
	}
	if !out.Rank.Set {
		out.Rival = w.rival(i)
	}
	return out, true
}

// rival returns the valid listener of the same object that a listener conflicts with. Within one Gateway nobody wins:
// "the implementation MUST NOT pick one conflicting Listener as the winner" (Gateway API, GatewaySpec.Listeners).
func (w written) rival(i int) *model.Conflict {
	var same *model.Conflict
	for j := range w.Listeners {
		if j == i || !w.Listeners[j].Valid || w.doors[j].Port != w.doors[i].Port {
			continue
		}
		if !compatible(w.Listeners[j].Protocol, w.Listeners[i].Protocol) {
			return &model.Conflict{Reason: string(gwv1.ListenerReasonProtocolConflict), With: w.Listeners[j].Key}
		}
		if same == nil && w.Listeners[j].Hostname == w.Listeners[i].Hostname {
			same = &model.Conflict{Reason: string(gwv1.ListenerReasonHostnameConflict), With: w.Listeners[j].Key}
		}
	}
	return same
}

// compatible says whether listeners of two protocols can share a port. SNI tells HTTPS and TLS listeners apart before
// anything else of them matters.
func compatible(a, b model.Protocol) bool {
	secure := func(p model.Protocol) bool { return p == model.HTTPS || p == model.TLS }
	return a == b || secure(a) && secure(b)
}

// owner returns the first of the listeners that want a hostname and speak what the port speaks.
func (t *Tables) owner(r *incr.Reader, key claimKey) (owner, bool) {
	spoken, ok := incr.Get(r, t.arenas, key.Port)
	if !ok {
		return owner{}, false
	}
	var first *contender
	for _, c := range t.claims.Values(r, key) {
		fits := c.Rival == nil && compatible(c.Listener.Protocol, spoken.Protocol)
		if fits && (first == nil || c.Rank.compare(first.Rank) < 0) {
			first = c
		}
	}
	if first == nil {
		return owner{}, false
	}
	return first.Listener.Key, true
}

func (t *Tables) seat(r *incr.Reader, key model.ListenerKey) (*Seat, bool) {
	c, ok := incr.Get(r, t.contenders, key)
	if !ok {
		return nil, false
	}
	out := &Seat{Listener: c.Listener, Port: c.Port, Conflict: c.Rival}
	if out.Conflict != nil {
		return out, true
	}
	if spoken, _ := incr.Get(r, t.arenas, c.Port); !compatible(c.Listener.Protocol, spoken.Protocol) {
		out.Conflict = &model.Conflict{Reason: string(gwv1.ListenerReasonProtocolConflict), With: spoken.First}
	} else if holder, _ := incr.Get(r, t.owners, c.claim()); holder != key {
		out.Conflict = &model.Conflict{Reason: string(gwv1.ListenerReasonHostnameConflict), With: holder}
	}
	return out, true
}

// overlaps returns the other listeners of the port that serve some host that the listener serves too. Between them,
// clients may reuse a connection that was made with the other's certificate (Gateway API,
// ListenerConditionOverlappingTLSConfig).
func (t *Tables) overlaps(r *incr.Reader, l *model.Listener, port model.PortKey) []model.ListenerKey {
	var out []model.ListenerKey
	for h, ok := widen(l.Hostname); ok; h, ok = widen(h) {
		if holder, taken := incr.Get(r, t.owners, claimKey{Port: port, Hostname: h}); taken {
			out = append(out, holder)
		}
	}
	for _, holder := range t.narrower.Values(r, claimKey{Port: port, Hostname: l.Hostname}) {
		out = append(out, holder)
	}
	slices.SortFunc(out, model.ListenerKey.Compare)
	return out
}

// Owner returns the listener of a port that takes the requests for a hostname that some route serves there, or that a
// listener has: the one with the most specific hostname that covers it.
func (t *Tables) Owner(r *incr.Reader, port model.PortKey, hostname string) (model.ListenerKey, bool) {
	for h, ok := hostname, true; ok; h, ok = widen(h) {
		if holder, taken := incr.Get(r, t.owners, claimKey{Port: port, Hostname: h}); taken {
			return holder, true
		}
	}
	return model.ListenerKey{}, false
}

package xds

import (
	"bytes"
	"context"
	"strconv"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// stream is one Envoy's delta ADS stream. Its state is guarded by the mutex of its store; only its own goroutine, and
// [store.update] through changed, touch it.
type stream struct {
	st   *store
	node *corev3.Node
	wake chan struct{} // holds one token while there is something new

	began  time.Time
	types  [numTypes]typeState
	tables map[string]*table
	gone   [numTypes]map[string]departure
	// live is the newest version of which everything was ACKed.
	live uint64
	// settled says that Envoy has ACKed clusters on this stream, or had some before: from then on it subscribes to the
	// endpoints of a new cluster the moment it is told of it, so that they may be sent along.
	settled bool
	// repeated says that all endpoints were sent again because no cluster could be told of.
	repeated bool
	// fed is when one of the first responses with endpoints after the last clusters was ACKed, feeds counts them.
	fed   time.Time
	feeds int
	// thawed is when checked clusters were last drained.
	thawed time.Time
	// listenersAt is when listeners, or the scopes that they ask for, were last ACKed.
	listenersAt time.Time
	// hostsAt is when Envoy first asked for virtual hosts that are resources of their own.
	hostsAt time.Time
	// brought are the versions of those that it had from before, by route configuration and name, until they are looked
	// at.
	brought map[string]map[string]string
	// heldFrom is since when listeners and routes wait for clusters under way; zero if they do not.
	heldFrom time.Time
	nonces   uint64
	// deadline is when the stream has to plan again though nothing happens; zero for never.
	deadline time.Time
	now      time.Time
}

// typeState is what a stream knows about one type.
type typeState struct {
	// started is set by the first request of the type, at that time.
	started  time.Time
	wildcard bool
	names    map[string]struct{}
	// ahead are endpoints that are sent before Envoy asks for them.
	ahead map[string]struct{}
	// owed says that the first request has not been answered. Envoy's initialization waits for that, even if there is
	// nothing to say.
	owed  bool
	items map[string]*item
	dirty map[string]*mark
	// jobs are the remains of a response that was refused, to be sent in smaller pieces; turn makes them take turns
	// with what is dirty.
	jobs   []job
	turn   bool
	flight *flight
}

// item is what a stream knows about one resource. It is small, for there are as many as all Envoys have resources.
type item struct {
	// hash is the version that Envoy has: 0 if it is not known which. Of a route configuration that it brought along
	// without its virtual hosts, it is that of the body.
	hash uint64
	// acked is the version that Envoy has, if known, and if it is not a mix.
	acked *Resource
	// warmAfter is when a cluster is, or was, warm for the first time, counted from the start of the stream. warm says
	// that this is known, for the cluster was ACKed.
	warmAfter time.Duration
	warm      bool
	// has says that Envoy has some version.
	has bool
	// force says that it must be sent even if Envoy seems to have it.
	force bool
	// emptied says that a cluster's endpoints are taken away until that is ACKed.
	emptied bool
	// cold says that a cluster came with a reconnect without endpoints: it is warm with the ACK of these.
	cold bool
}

// warms notes when a cluster is warm.
func (s *stream) warms(it *item, at time.Time) { it.warm, it.warmAfter = true, at.Sub(s.began) }

// table is what a stream knows about a route configuration beyond its item.
type table struct {
	// sent is what Envoy has; nil if it has nothing or it is not known.
	sent *entry
	// brought is the generation of what Envoy came with, if that is without its virtual hosts.
	brought *generation
	// virtual says that the parts that Envoy has are resources of their own, virtualAt since when.
	virtual   bool
	virtualAt time.Time
	// told says that Envoy has a virtual host of the generation of what surrounds them.
	told bool
	// held are the parts that wait for their clusters, heldSince is the first Update that is not live because of them.
	held      []*Part
	heldSince uint64
	trial     *trial
	// clean is the version in which a trial found no culprit although it was refused.
	clean uint64
}

// mark says that a resource may differ from what Envoy has, since when, and, for Routes, in which parts.
type mark struct {
	version uint64
	at      time.Time
	all     bool
	parts   map[string]struct{}
	// order says what the Updates since changed, one after the other.
	order []change
}

// departure is when what Envoy has, a cluster or a scope, left the store.
type departure struct {
	version uint64
	at      time.Time
}

func newStream(st *store, node *corev3.Node) *stream {
	s := &stream{
		st: st, node: node, wake: make(chan struct{}, 1), began: time.Now(),
		tables: map[string]*table{},
	}
	for t := range s.types {
		s.gone[t] = map[string]departure{}
		s.types[t] = typeState{
			names: map[string]struct{}{}, ahead: map[string]struct{}{},
			items: map[string]*item{}, dirty: map[string]*mark{},
		}
	}
	return s
}

// nudge makes the stream plan. It never blocks.
func (s *stream) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run serves the stream until its context ends or sending fails.
func (s *stream) run(ctx context.Context, requests <-chan *discoveryv3.DeltaDiscoveryRequest,
	send func(*response) error) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		var req *discoveryv3.DeltaDiscoveryRequest
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r, ok := <-requests:
			if !ok {
				return nil
			}
			req = r
		case <-s.wake:
		case <-timer.C:
		}
		flights, wait := s.step(req)
		for _, f := range flights {
			if err := s.send(f, send); err != nil {
				return err
			}
		}
		timer.Reset(wait)
	}
}

// step takes in a request, if there is one, and returns what is to be sent, and after which time to step again.
func (s *stream) step(req *discoveryv3.DeltaDiscoveryRequest) ([]*flight, time.Duration) {
	s.st.mu.Lock()
	defer s.st.mu.Unlock()
	s.now = time.Now()
	s.deadline = time.Time{}
	if req != nil {
		s.request(req)
	}
	flights := s.plan()
	s.st.settle(s.now)
	if s.deadline.IsZero() {
		return flights, time.Hour
	}
	return flights, max(0, s.deadline.Sub(s.now))
}

// send is called without the lock. The flight's fields are not written any more once it is in flight, but for those
// that only this goroutine uses.
func (s *stream) send(f *flight, send func(*response) error) error {
	r := encode(f)
	if err := send(r); err != nil {
		return err
	}
	s.st.events.add(Event{
		Kind: Pushed, Proxy: s.st.proxy, Node: s.node.GetId(), Type: f.typ, Version: f.version,
		Bytes: f.bytes, Resources: f.count(),
	})
	return nil
}

// by makes the stream plan again at the time at the latest.
func (s *stream) by(at time.Time) {
	if s.deadline.IsZero() || at.Before(s.deadline) {
		s.deadline = at
	}
}

func (s *stream) item(t Type, name string) *item {
	it := s.types[t].items[name]
	if it == nil {
		it = &item{}
		s.types[t].items[name] = it
	}
	return it
}

func (s *stream) table(name string) *table {
	tab := s.tables[name]
	if tab == nil {
		tab = &table{}
		s.tables[name] = tab
	}
	return tab
}

func (ts *typeState) interested(name string) bool {
	if ts.wildcard {
		return true
	}
	if _, ok := ts.names[name]; ok {
		return true
	}
	_, ok := ts.ahead[name]
	return ok
}

// mark makes a resource dirty, or dirtier.
func (s *stream) mark(t Type, name string, version uint64) *mark {
	ts := &s.types[t]
	version = max(version, 1) // before the first Update
	m := ts.dirty[name]
	if m == nil {
		m = &mark{version: version, at: s.now}
		ts.dirty[name] = m
	}
	m.version = min(m.version, version)
	return m
}

// changed is called for each change of an Update.
func (s *stream) changed(c *Change, old *Resource, now time.Time) {
	if !s.types[c.Type].interested(c.Name) && !s.st.awaited(c) {
		return
	}
	s.now = now
	m := s.mark(c.Type, c.Name, s.st.version)
	if c.Type != Routes {
		return
	}
	if old == nil || c.Resource == nil {
		m.all = true
		return
	}
	m.follow(!bytes.Equal(old.Body, c.Resource.Body), len(c.Parts) > 0)
	if m.parts == nil {
		m.parts = make(map[string]struct{}, len(c.Parts))
	}
	for _, name := range c.Parts {
		m.parts[name] = struct{}{}
	}
}

func (s *stream) nonce() string {
	s.nonces++
	return strconv.FormatUint(s.nonces, 10)
}

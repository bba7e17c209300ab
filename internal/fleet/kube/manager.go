package kube

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Identity gives the Envoys their certificates.
type Identity interface {
	// Proxy issues a certificate for the Envoys of a proxy. All are PEM; renew is when to ask for another.
	Proxy(proxy model.ProxyName) (certificate, key, ca []byte, renew time.Time, err error)
	// Changed has a value when all certificates have to be issued anew.
	Changed() <-chan struct{}
}

// Options are what a manager is made with. All but Namespaces and Log are required.
type Options struct {
	Client   dynamic.Interface
	Settings Settings
	Identity Identity
	// Namespaces are those that Gateways are served in; none stands for all. Settings.Namespace, where merged fleets are,
	// is always one of them.
	Namespaces []string
	// Placed is told where a fleet is, when that has changed. It may be called from several goroutines.
	Placed func(model.ProxyName, resolve.Placement)
	Log    *slog.Logger
}

// Manager keeps fleets as they are wanted. It is safe for concurrent use.
type Manager struct {
	opts      Options
	queue     workqueue.TypedRateLimitingInterface[model.ProxyName]
	informers []informer
	synced    chan struct{}
	// located is closed when Placed has been told of every fleet that was wanted at the start; unlocated are those left.
	located   chan struct{}
	unlocated map[model.ProxyName]bool

	mu     sync.Mutex
	wanted map[model.ProxyName]*resolve.Fleet
	known  map[model.ProxyName]*state
	// lead ends when this replica is no longer the leader; nil if it is not.
	lead context.Context //nolint:containedctx // the leadership that workers act under
	// term counts leaderships, authority how often all certificates had to be issued anew.
	term, authority int

	nodes cache.SharedIndexInformer
	// running ends the manager.
	running context.Context //nolint:containedctx // for the informer that starts late
}

// state is what is remembered of one fleet. Only one worker at a time has it.
type state struct {
	// rendered are the objects of the fleet from.
	from     *resolve.Fleet
	rendered []*unstructured.Unstructured
	invalid  error
	// doomed is the fleet, as it was wanted, in a namespace that is being deleted: there is nothing to be made or mended.
	doomed *resolve.Fleet
	// problem is what keeps the fleet from being as it is wanted.
	problem string
	// applied are the fingerprints that applies came to, by object and by the hash of what was applied.
	applied map[string]string
	// versions are the resourceVersions that the last applies came to, by object.
	versions map[string]uint64
	// issued is the Secret with the certificate if this replica issued it, renew when it is to be replaced.
	issued *unstructured.Unstructured
	renew  time.Time
	// term and authority are when the certificate was last looked at.
	term, authority int
	placed          resolve.Placement
}

const workers = 2

// New returns a manager that does nothing before [Manager.Run].
func New(opts Options) *Manager {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	return &Manager{
		opts:      opts,
		queue:     workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[model.ProxyName]()),
		informers: newInformers(opts),
		synced:    make(chan struct{}),
		located:   make(chan struct{}),
		wanted:    map[model.ProxyName]*resolve.Fleet{},
		known:     map[model.ProxyName]*state{},
	}
}

// Want says what a fleet should be; nil if it should not be. It never blocks. The fleet must not be changed any more.
func (m *Manager) Want(name model.ProxyName, f *resolve.Fleet) {
	m.mu.Lock()
	if f == nil {
		delete(m.wanted, name)
	} else {
		m.wanted[name] = f
	}
	m.mu.Unlock()
	m.queue.Add(name)
}

// Run watches the fleets and tells where they are, until the context ends. It is for every replica.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.running = ctx
	m.mu.Unlock()
	defer m.queue.ShutDown()
	var wait []cache.InformerSynced
	for _, i := range m.informers {
		if err := m.prepare(i); err != nil {
			return fmt.Errorf("watch %s: %w", i.kind, err)
		}
		go i.Run(ctx.Done())
		wait = append(wait, i.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), wait...) {
		return ctx.Err()
	}
	m.beginLocating()
	close(m.synced)
	var done sync.WaitGroup
	for range workers {
		done.Go(func() {
			for m.next() {
			}
		})
	}
	<-ctx.Done()
	m.queue.ShutDown()
	done.Wait()
	return ctx.Err()
}

// Lead makes and mends fleets until the context ends. It is for the leader alone, and must not begin before every fleet
// was wanted once: those that nobody wants are removed.
func (m *Manager) Lead(ctx context.Context) error {
	select {
	case <-m.synced:
	case <-ctx.Done():
		return ctx.Err()
	}
	// What changed before is seen by looking at each fleet. As news it would have certificates issued that are not due.
	select {
	case <-m.opts.Identity.Changed():
		m.newAuthority()
	default:
	}
	m.newTerm(ctx)
	var nobody context.Context
	defer m.newTerm(nobody)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-m.opts.Identity.Changed():
			m.newAuthority()
			m.enqueueAll()
		}
	}
}

// newAuthority notes that certificates that were issued, if it is known by whom, are to be issued again.
func (m *Manager) newAuthority() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.authority++
}

// newTerm has every fleet looked at, under a leadership or, with nil, none.
func (m *Manager) newTerm(lead context.Context) {
	m.mu.Lock()
	m.lead = lead
	m.term++
	m.mu.Unlock()
	m.enqueueAll()
}

func (m *Manager) enqueueAll() {
	m.mu.Lock()
	all := map[model.ProxyName]bool{}
	for name := range m.wanted {
		all[name] = true
	}
	m.mu.Unlock()
	for _, i := range m.informers {
		for _, name := range i.GetIndexer().ListIndexFuncValues(byProxy) {
			all[model.ProxyName(name)] = true
		}
	}
	delete(all, "")
	for name := range all {
		m.queue.Add(name)
	}
}

// next does the next fleet of the queue; false at the end.
func (m *Manager) next() bool {
	name, shutdown := m.queue.Get()
	if shutdown {
		return false
	}
	defer m.queue.Done(name)
	if err := m.sync(name); err != nil {
		m.opts.Log.Error("The fleet is not as it should be", "fleet", name, "error", err)
		m.queue.AddRateLimited(name)
		return true
	}
	m.queue.Forget(name)
	return true
}

// sync brings one fleet nearer to what is wanted, if this is the leader, and says where it is.
func (m *Manager) sync(name model.ProxyName) error {
	m.mu.Lock()
	want, lead, term, authority := m.wanted[name], m.lead, m.term, m.authority
	s := m.known[name]
	if s == nil {
		s = &state{applied: map[string]string{}, versions: map[string]uint64{}, authority: -1}
		m.known[name] = s
	}
	m.mu.Unlock()
	if want != nil && s.from != want {
		s.from = want
		s.rendered, s.invalid = Render(want, m.opts.Settings)
	}
	var err error
	if lead != nil && lead.Err() == nil {
		c := &change{m: m, ctx: lead, name: name, fleet: want, state: s, live: m.live(name)}
		c.term, c.authority = term, authority
		err = c.reconcile()
		s.problem = c.problem
		if err != nil && s.problem == "" {
			s.problem = err.Error()
		}
	}
	if want == nil {
		m.locate(name)
		m.mu.Lock()
		if m.wanted[name] == nil && err == nil {
			delete(m.known, name)
		}
		m.mu.Unlock()
		return err
	}
	placed, known := m.place(name, s)
	if !known {
		return err
	}
	if !samePlacement(placed, s.placed) {
		s.placed = placed
		m.opts.Placed(name, placed)
	}
	m.locate(name)
	return err
}

// Located waits until Placed has been told of every fleet that was wanted when Run began, or the context ends: before,
// it is not known that a fleet has no address, or no Envoys.
func (m *Manager) Located(ctx context.Context) {
	select {
	case <-m.located:
	case <-ctx.Done():
	}
}

func (m *Manager) beginLocating() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlocated = map[model.ProxyName]bool{}
	for name := range m.wanted {
		m.unlocated[name] = true
	}
	if len(m.unlocated) == 0 {
		close(m.located)
	}
}

// locate notes that it is known where a fleet is, or that nobody wants to know any more.
func (m *Manager) locate(name model.ProxyName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.unlocated[name] {
		return
	}
	delete(m.unlocated, name)
	if len(m.unlocated) == 0 {
		close(m.located)
	}
}

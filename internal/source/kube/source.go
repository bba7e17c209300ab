// Package kube reads configuration from a Kubernetes API server, and keeps reading as it changes.
//
// Every kind of the table of kinds is watched. Objects are stripped to what is read as they arrive, and the source
// keeps no copies: what it remembers of an object is the very object that it has delivered. Kinds whose CRDs are not
// installed are waited for. While the API server is away, or says something that cannot be understood, everything stays
// as it was last known.
package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/source"
)

// Options say what to read, and from where.
type Options struct {
	// Config is how the API server is reached.
	Config *rest.Config
	// Scope says which namespaces are read; nil stands for all. Kinds without a namespace are read anyway. Each
	// namespace is watched on its own, with the rights that the source has there.
	Scope *resource.Scope
	// Extensions are the kinds of objects that are for extension servers.
	Extensions resource.Extensions
	// Seen is shown every object of a custom resource as the API server has it, before its status is taken out; nil
	// when the object is gone. It must not keep or change it. It is called from several goroutines. May be nil.
	Seen func(model.Ref, resource.Object)
	// Log is told what a user cannot see in a status.
	Log *slog.Logger
}

// Source reads a cluster. Call [Source.Load] once, then [Source.Watch].
type Source struct {
	options Options
	log     *slog.Logger
	clients *clients
	gate    *gate
	out     *collector

	mu      sync.Mutex
	watched map[*resource.Kind]*watched
	// roster is nil if no namespaces are selected by labels.
	roster *roster
}

// watched is a kind that is being watched.
type watched struct {
	kind    *resource.Kind
	client  rest.Interface
	version string
	// plural is that of the kind, which of an extension kind only the API server knows.
	plural string
	// stores are by namespace, "" for all of them; stops end the watching of one.
	stores map[string]*store
	stops  map[string]context.CancelFunc
	// missing is since when the API server does not serve it; zero while it does.
	missing time.Time
}

// New returns a source that has not read anything yet.
func New(o Options) (*Source, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c, err := newClients(o.Config, o.Extensions, o.Log)
	if err != nil {
		return nil, err
	}
	out := newCollector()
	return &Source{
		options: o, log: o.Log, clients: c, gate: newGate(out), out: out, watched: map[*resource.Kind]*watched{},
	}, nil
}

// Load reads everything. It returns when every kind that the API server serves has been listed completely, and not
// before: until then it tries again. Watching goes on until the context ends, and Load fails only with that.
func (s *Source) Load(ctx context.Context) (source.Batch, error) {
	nudged := make(chan struct{}, 1)
	nudge := func() {
		select {
		case nudged <- struct{}{}:
		default:
		}
	}
	if err := s.watchNamespaces(ctx); err != nil {
		return source.Batch{}, err
	}
	for {
		err := s.follow(ctx)
		if err == nil {
			break
		}
		s.log.Warn("The API server cannot be read; trying again", "error", err)
		select {
		case <-ctx.Done():
			return source.Batch{}, ctx.Err()
		case <-time.After(time.Second):
		}
	}
	if err := s.watchCRDs(ctx, nudge); err != nil {
		return source.Batch{}, err
	}
	go s.discover(ctx, nudged)
	for s.Waiting() != nil {
		select {
		case <-ctx.Done():
			return source.Batch{}, ctx.Err()
		case <-s.out.ready:
		}
	}
	s.gate.begin()
	return s.out.take(), nil
}

// Waiting says which kinds have not been listed yet, and why if that is known; nil if all have.
func (s *Source) Waiting() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.roster != nil && len(s.watched) == 0 {
		if waiting := s.roster.waiting(); waiting != nil {
			return waiting
		}
	}
	if len(s.watched) == 0 {
		return errors.New("the API server has not been read yet")
	}
	var all []error
	for _, k := range s.options.Extensions.All() {
		w := s.watched[k]
		if w == nil {
			continue
		}
		for _, namespace := range slices.Sorted(maps.Keys(w.stores)) {
			st := w.stores[namespace]
			synced, trouble := st.waiting()
			switch {
			case synced || st.late:
			case trouble != nil:
				all = append(all, fmt.Errorf("%s cannot be listed: %w", k.Kind, trouble))
			default:
				all = append(all, fmt.Errorf("%s is being listed", k.Kind))
			}
		}
	}
	return errors.Join(all...)
}

// Behind names the kinds of which changes may be missing, because a watch has ended and the next one has not begun; nil
// if there is none. Connections that are broken without a sign are not known to it.
func (s *Source) Behind() (kinds []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.options.Extensions.All() {
		w := s.watched[k]
		if w == nil {
			continue
		}
		for _, st := range w.stores {
			if st.behind() {
				kinds = append(kinds, k.Kind)
				break
			}
		}
	}
	return kinds
}

// Watch hands over what changes after Load, in batches, until the context ends. A change after a quiet time is handed
// over at once; what comes meanwhile is gathered.
func (s *Source) Watch(ctx context.Context, apply func(source.Batch)) error {
	s.out.nudge()
	return s.out.deliver(ctx, apply)
}

// Path returns the path of an object in the API, in the version in which its kind is served; false if it is not.
func (s *Source) Path(ref model.Ref) (string, bool) {
	k := s.options.Extensions.Find(ref.Group, ref.Kind)
	if k == nil {
		return "", false
	}
	s.mu.Lock()
	w := s.watched[k]
	s.mu.Unlock()
	if w == nil {
		return "", false
	}
	path := "/apis/" + k.Group + "/" + w.version
	if k.Group == "" {
		path = "/api/" + w.version
	}
	if !k.Cluster {
		path += "/namespaces/" + ref.Namespace
	}
	return path + "/" + w.plural + "/" + ref.Name.Name, true
}

// start watches a kind as a resource. stores are those of the version before, if there was one. The caller holds the
// lock.
func (s *Source) start(
	ctx context.Context, k *resource.Kind, at schema.GroupVersionResource, stores map[string]*store,
) error {
	client, err := s.clients.of(at.GroupVersion(), k.Protobuf())
	if err != nil {
		return err
	}
	w := &watched{
		kind: k, client: client, version: at.Version, plural: at.Resource, stores: map[string]*store{},
		stops: map[string]context.CancelFunc{},
	}
	for _, namespace := range s.namespaces(k) {
		if w.stores[namespace] = stores[namespace]; w.stores[namespace] == nil {
			w.stores[namespace] = s.newStore(k)
		}
		w.follow(ctx, namespace)
	}
	s.watched[k] = w
	return nil
}

func (s *Source) newStore(k *resource.Kind) *store {
	return &store{kind: k, gate: s.gate, seen: s.options.Seen, known: map[model.Name]resource.Object{}}
}

// follow watches a namespace that has a store, until the context ends.
func (w *watched) follow(ctx context.Context, namespace string) {
	ctx, w.stops[namespace] = context.WithCancel(ctx)
	into := w.stores[namespace]
	lw := &listWatch{client: w.client, kind: w.kind, plural: w.plural, namespace: namespace, store: into}
	go newReflector(lw, w.kind.New(), into, w.plural).RunWithContext(ctx)
}

// stop ends the watching of all namespaces; what is known stays.
func (w *watched) stop() {
	for _, stop := range w.stops {
		stop()
	}
}

// leave ends the watching of a namespace, and takes its objects away.
func (w *watched) leave(namespace string) {
	w.stops[namespace]()
	w.stores[namespace].clear()
	delete(w.stops, namespace)
	delete(w.stores, namespace)
}

// newReflector makes a reflector that does not stay away long from an API server that is back.
func newReflector(lw cache.ListerWatcher, expected any, into cache.ReflectorStore, name string) *cache.Reflector {
	return cache.NewReflectorWithOptions(lw, expected, into, cache.ReflectorOptions{
		Name: name, TypeDescription: name,
		Backoff: &wait.Backoff{
			Duration: 200 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 10, Cap: 4 * time.Second,
		},
	})
}

package kube

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// store is what a reflector fills: it finds out what really changed and passes that on. The objects that it knows are
// those that the engine holds, not copies.
type store struct {
	kind *resource.Kind
	gate *gate
	seen func(model.Ref, resource.Object)

	mu     sync.Mutex
	known  map[model.Name]resource.Object
	synced bool
	// trouble is why the last attempt to list or watch failed; nil if it did not.
	trouble error
	// following says that what is known is what there is: it was listed or is being watched, and that has not ended.
	following bool
	// late stores are those of namespaces that came after everything had been read: nobody waits for them.
	late bool
	// closed says that what still arrives is of a watch that has ended.
	closed bool
}

var (
	_ cache.ReflectorStore    = (*store)(nil)
	_ cache.TransformingStore = (*store)(nil)
)

// stripped is an object that [store.Transformer] has stripped while the reflector was collecting the first list.
type stripped struct{ resource.Object }

// take strips an object, and shows it to whoever wants to see its status before.
func (s *store) take(obj any) (resource.Object, error) {
	if o, ok := obj.(stripped); ok {
		return o.Object, nil
	}
	o, ok := obj.(resource.Object)
	if !ok {
		return nil, fmt.Errorf("a %T was sent for a %s", obj, s.kind.Kind)
	}
	if s.seen != nil && !s.kind.Builtin {
		s.seen(refOf(s.kind, o), o)
	}
	strip(s.kind, o)
	return o, nil
}

// Transformer strips the objects of a list while it is received, so that it is never in memory as it was sent.
func (s *store) Transformer() cache.TransformFunc {
	return func(obj any) (any, error) {
		o, err := s.take(obj)
		if err != nil {
			return nil, err
		}
		return stripped{o}, nil
	}
}

// Add takes in an object that is new or has changed.
func (s *store) Add(obj any) error {
	o, err := s.take(obj)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.set(o)
	}
	return nil
}

// Update is Add.
func (s *store) Update(obj any) error { return s.Add(obj) }

// set passes an object on if it differs from what is known. The caller holds the lock.
func (s *store) set(o resource.Object) {
	ref := refOf(s.kind, o)
	before, ok := s.known[ref.Name]
	if ok && reflect.DeepEqual(before, o) {
		return
	}
	s.known[ref.Name] = o
	s.gate.set(ref, before, o)
}

// Delete takes an object away.
func (s *store) Delete(obj any) error {
	o, ok := obj.(resource.Object)
	if !ok {
		return fmt.Errorf("a %T was sent for a %s", obj, s.kind.Kind)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(refOf(s.kind, o))
	return nil
}

func (s *store) remove(ref model.Ref) {
	before, ok := s.known[ref.Name]
	if !ok {
		return
	}
	delete(s.known, ref.Name)
	s.gate.remove(ref, before)
	if s.seen != nil && !s.kind.Builtin {
		s.seen(ref, nil)
	}
}

// Replace takes in a complete list: what is not in it is gone. The reflector calls it only when it has all of it.
func (s *store) Replace(all []any, _ string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	if len(s.known) == 0 {
		s.known = make(map[model.Name]resource.Object, len(all))
	}
	gone := maps.Clone(s.known)
	for _, obj := range all {
		o, err := s.take(obj)
		if err != nil {
			return err
		}
		delete(gone, refOf(s.kind, o).Name)
		s.set(o)
	}
	for _, name := range slices.SortedFunc(maps.Keys(gone), model.Name.Compare) {
		s.remove(s.kind.Ref(name))
	}
	s.synced, s.trouble, s.following = true, nil, true
	s.gate.out.nudge()
	return nil
}

// Resync does nothing: there is nothing to be repeated.
func (s *store) Resync() error { return nil }

// clear takes all objects away for good: the kind is not served any more, or the namespace not watched.
func (s *store) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, name := range slices.SortedFunc(maps.Keys(s.known), model.Name.Compare) {
		s.remove(s.kind.Ref(name))
	}
}

// attempting records that a list or watch begins, because what there was has ended.
func (s *store) attempting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.following = false
}

// attempted records how an attempt to list or watch ended, and whether changes since the last one follow from now on.
func (s *store) attempted(follows bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
	s.following = s.following || follows
}

// behind says whether what is known may not be what there is.
func (s *store) behind() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.following && (s.synced || !s.late)
}

// waiting says why the first list is not there yet; synced is false then.
func (s *store) waiting() (synced bool, trouble error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced, s.trouble
}

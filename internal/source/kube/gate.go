package kube

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// hold is how long a route is held back at most, and the removal of a backend always.
const hold = time.Second

// gate passes on what the stores read, but holds routes back that are ahead of the backends they name, and removals of
// backends that may be ahead of the routes that named them.
//
// Each kind is watched on its own, so that a route can arrive before the Service that was made before it, and the
// endpoints of a Service are written by somebody else, a moment later. To pass the route on would be to answer its
// requests with 500 or 503 until the rest is there. Held back, they are answered as before: by the route's last version
// or, if it is new, by none.
//
// Only what a route's new version adds is waited for, and not for long: a Service that is still missing then is
// missing, and the route's status has to say so. No route is held back because of another, and no deletion of one. A
// version that comes meanwhile takes the place of the one that waits.
//
// In the same way a Service can be seen to go before the edit of the route that left it a moment ago. It and its
// EndpointSlices stay for a while, and if it comes again meanwhile, it never was gone. An EndpointSlice that goes while
// its Service stays is passed on at once: what it lists is not to be sent requests.
type gate struct {
	out *collector

	mu sync.Mutex
	// holding is set once everything was read: before, nothing is served that could be kept as it is.
	holding   bool
	inventory *inventory
	held      map[model.Ref]*held
	// waiting are the held routes by what they lack.
	waiting map[model.Ref]map[model.Ref]struct{}
	// leaving are the backends whose removal is held back.
	leaving map[model.Ref]*time.Timer
}

// held is a route that is held back.
type held struct {
	object resource.Object
	// lacks is what it waits for.
	lacks model.Ref
	// served are the references of the version that was passed on before.
	served []resource.BackendRef
	timer  *time.Timer
}

func newGate(out *collector) *gate {
	return &gate{
		out: out, inventory: newInventory(), held: map[model.Ref]*held{},
		waiting: map[model.Ref]map[model.Ref]struct{}{}, leaving: map[model.Ref]*time.Timer{},
	}
}

// begin has routes held back from now on.
func (g *gate) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.holding = true
}

// set takes in an object that is new or has changed; before is nil if it is new.
func (g *gate) set(ref model.Ref, before, now resource.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	arrived := g.inventory.set(ref, before, now)
	if timer := g.leaving[ref]; timer != nil {
		timer.Stop()
		delete(g.leaving, ref)
	}
	if h := g.held[ref]; h != nil {
		h.object = now
		g.review(ref, h)
		return
	}
	if lacks, ok := g.early(ref, before, now); ok {
		h := &held{object: now, served: resource.BackendRefs(before)}
		h.timer = time.AfterFunc(hold, func() { g.expire(ref, h) })
		g.held[ref] = h
		g.wait(ref, h, lacks)
		return
	}
	g.out.set(ref, now)
	// Behind what they waited for, so that no batch has them without it.
	for _, what := range arrived {
		for _, route := range slices.SortedFunc(maps.Keys(g.waiting[what]), model.Ref.Compare) {
			g.review(route, g.held[route])
		}
	}
}

// remove takes in that an object is gone.
func (g *gate) remove(ref model.Ref, before resource.Object) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inventory.set(ref, before, nil)
	if h := g.held[ref]; h != nil {
		g.drop(ref, h)
	}
	if g.holding && g.lingers(ref, before) {
		g.leave(ref)
		return
	}
	g.out.remove(ref)
}

// lingers says whether the removal of an object is held back: that of a backend, and of what belongs to one that is.
func (g *gate) lingers(ref model.Ref, before resource.Object) bool {
	if s, of := sliceOf(before); s != nil {
		return g.leaving[model.Ref{Kind: model.KindService, Name: of}] != nil
	}
	return isOtherBackend(ref) || ref.Group == model.GroupCore && ref.Kind == model.KindService
}

// leave removes an object in a while, unless it comes again.
func (g *gate) leave(ref model.Ref) {
	var timer *time.Timer
	timer = time.AfterFunc(hold, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.leaving[ref] == timer {
			delete(g.leaving, ref)
			g.out.remove(ref)
		}
	})
	g.leaving[ref] = timer
}

// early says whether a version of an object is to be held back, and what it lacks.
func (g *gate) early(ref model.Ref, before, now resource.Object) (lacks model.Ref, ok bool) {
	if !g.holding {
		return model.Ref{}, false
	}
	return g.inventory.lacking(ref, added(resource.BackendRefs(before), resource.BackendRefs(now)))
}

// added are the references that are not among those before.
func added(before, now []resource.BackendRef) []resource.BackendRef {
	return slices.DeleteFunc(now, func(r resource.BackendRef) bool { return slices.Contains(before, r) })
}

// review passes a held route on if it lacks nothing any more.
func (g *gate) review(ref model.Ref, h *held) {
	lacks, ok := g.inventory.lacking(ref, added(h.served, resource.BackendRefs(h.object)))
	if !ok {
		g.release(ref, h)
		return
	}
	g.forget(ref, h)
	g.wait(ref, h, lacks)
}

// expire passes a held route on as it is, unless that has happened, or it was removed.
func (g *gate) expire(ref model.Ref, h *held) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held[ref] == h {
		g.release(ref, h)
	}
}

func (g *gate) release(ref model.Ref, h *held) {
	g.drop(ref, h)
	g.out.set(ref, h.object)
}

func (g *gate) drop(ref model.Ref, h *held) {
	h.timer.Stop()
	g.forget(ref, h)
	delete(g.held, ref)
}

func (g *gate) wait(ref model.Ref, h *held, lacks model.Ref) {
	h.lacks = lacks
	if g.waiting[lacks] == nil {
		g.waiting[lacks] = map[model.Ref]struct{}{}
	}
	g.waiting[lacks][ref] = struct{}{}
}

func (g *gate) forget(ref model.Ref, h *held) {
	if delete(g.waiting[h.lacks], ref); len(g.waiting[h.lacks]) == 0 {
		delete(g.waiting, h.lacks)
	}
}

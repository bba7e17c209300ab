package envoy

import (
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// attempt is what a row would be, with what extension servers have done for it.
type attempt[V any] struct {
	value V
	// standIn says that it takes the place of what Envoy refuses: it is not what is to stay.
	standIn bool
	verdict
}

// attempted makes a value that no extension server has to do with.
func attempted[V any](value V) attempt[V] { return attempt[V]{value: value} }

// held are the rows of a table that wait for extension servers: each stays what it was until it is complete.
type held[K incr.Key[K], V any] struct {
	// tries are the rows as they would be, last what they were when they were last complete, and whole what they are. The
	// first two are nil where no server is asked.
	tries *incr.Table[K, attempt[V]]
	last  *incr.Input[K, V]
	whole *incr.Table[K, V]
	equal func(a, b V) bool
	// unproven are the rows in last of which it is not known yet that Envoy takes them, proxy says whose a row is.
	unproven map[K]*unproven[V]
	proxy    func(K) model.ProxyName
}

// unproven is what a row was when it was last live, nil if it never was, and the versions since.
type unproven[V any] struct {
	good *V
	then []version[V]
}

// version is a value with the version of the push that it was part of.
type version[V any] struct {
	value V
	push  uint64
}

// rows are what a table is made of whose rows wait for extension servers if asked is set, and are as any others if not.
type rows[K incr.Key[K], V any] struct {
	name  string
	asked bool
	try   func(*incr.Reader, K) (attempt[V], bool)
	equal func(a, b V) bool
	proxy func(K) model.ProxyName
}

// holding makes a table of such rows.
func holding[K incr.Key[K], V any](e *incr.Engine, p rows[K, V], keys ...incr.KeySource[K]) *held[K, V] {
	h := &held[K, V]{equal: p.equal, proxy: p.proxy}
	if !p.asked {
		h.whole = incr.NewTable(e, p.name, func(r *incr.Reader, k K) (V, bool) {
			a, ok := p.try(r, k)
			return a.value, ok
		}, keys...).Equal(p.equal)
		return h
	}
	h.trying(e, p.name, p.try, keys...)
	h.settling(e, p.name, nil)
	return h
}

// trying adds the rows as they would be.
func (h *held[K, V]) trying(
	e *incr.Engine, name string, try func(*incr.Reader, K) (attempt[V], bool), keys ...incr.KeySource[K],
) {
	h.unproven = map[K]*unproven[V]{}
	h.last = incr.NewInput[K, V](e, "complete "+name)
	h.tries = incr.NewTable(e, "attempted "+name, try, keys...).Equal(func(a, b attempt[V]) bool {
		return a.standIn == b.standIn && a.Pending == b.Pending && a.Failed == b.Failed &&
			sameCalls(a.Calls, b.Calls) && h.equal(a.value, b.value)
	})
}

// settling adds the rows as they are. finish says what becomes of one: by default what waits and never was complete is
// not there.
func (h *held[K, V]) settling(
	e *incr.Engine, name string, finish func(r *incr.Reader, k K, a attempt[V], last func() (V, bool)) (V, bool),
) {
	if finish == nil {
		finish = func(_ *incr.Reader, _ K, a attempt[V], last func() (V, bool)) (V, bool) {
			if a.ready() {
				return a.value, true
			}
			return last()
		}
	}
	h.whole = incr.NewTable(e, name, func(r *incr.Reader, k K) (V, bool) {
		a, ok := incr.Get(r, h.tries, k)
		if !ok {
			return a.value, false
		}
		return finish(r, k, a, func() (V, bool) { return incr.Get(r, h.last, k) })
	}, h.tries).Equal(h.equal)
}

func sameCalls(a, b []model.Call) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// calls is the index of the calls that the rows want to be made.
func (h *held[K, V]) calls(e *incr.Engine, name string) incr.KeySource[model.Call] {
	return incr.NewIndex(e, "calls for "+name, h.tries, func(_ K, a attempt[V]) []model.Call { return a.Calls })
}

// keeper is a held table, whatever its rows are.
type keeper interface {
	keep(pushed func(model.ProxyName) uint64) bool
	lived(proxy model.ProxyName, push uint64)
	distrust(call model.Call) bool
}

// keep stages what the last commit has made complete as what stays. pushed says which push of a proxy it was part of.
// It reports whether there is anything to commit.
func (h *held[K, V]) keep(pushed func(model.ProxyName) uint64) bool {
	staged := false
	for k := range h.changed() {
		last, had := h.last.Peek(k)
		a, has := h.tries.Peek(k)
		switch {
		case !has:
			if had {
				h.last.Delete(k)
				staged = true
			}
			delete(h.unproven, k)
		case a.standIn:
		case h.complete(k, a) && (!had || !h.equal(last, a.value)):
			u, ok := h.unproven[k]
			if !ok {
				u = &unproven[V]{}
				if had {
					u.good = &last
				}
				h.unproven[k] = u
			}
			u.then = append(u.then, version[V]{a.value, pushed(h.proxy(k))})
			h.last.Set(k, a.value)
			staged = true
		}
	}
	return staged
}

// changed are the rows that the last commit changed, as they would be or as they are: one that waits for something else
// than its own answers is complete when that is there.
func (h *held[K, V]) changed() map[K]struct{} {
	out := map[K]struct{}{}
	for k := range h.tries.Changes() {
		out[k] = struct{}{}
	}
	for k := range h.whole.Changes() {
		out[k] = struct{}{}
	}
	return out
}

// complete reports whether a row is what it would be.
func (h *held[K, V]) complete(k K, a attempt[V]) bool {
	is, ok := h.whole.Peek(k)
	return ok && a.ready() && h.equal(is, a.value)
}

// lived takes in that a push of a proxy is live: what was part of it is good.
func (h *held[K, V]) lived(proxy model.ProxyName, push uint64) {
	for k, u := range h.unproven {
		if h.proxy(k) != proxy {
			continue
		}
		for len(u.then) > 0 && u.then[0].push <= push {
			u.good, u.then = &u.then[0].value, u.then[1:]
		}
		if len(u.then) == 0 {
			delete(h.unproven, k)
		}
	}
}

// distrust takes the rows back to what they were before, for which an answer made what Envoy refuses. It reports
// whether there are any.
func (h *held[K, V]) distrust(call model.Call) bool {
	found := false
	for k, a := range h.tries.All() {
		for _, c := range a.Calls {
			if c != call {
				continue
			}
			found = true
			switch u, ok := h.unproven[k]; {
			case !ok: // what it is was live
			case u.good == nil:
				h.last.Delete(k)
			default:
				h.last.Set(k, *u.good)
			}
			delete(h.unproven, k)
		}
	}
	return found
}

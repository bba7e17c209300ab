package incr_test

import (
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/sluice-gateway/sluice/internal/incr"
)

// change is one change of one input, made to the facts and to a world alike.
type change func(*facts, *world)

func put[V any](pick func(*facts) map[name]V, in func(*world) *incr.Input[name, V], key name, v V) change {
	return func(f *facts, w *world) {
		pick(f)[key] = v
		in(w).Set(key, v)
	}
}

func remove[V any](pick func(*facts) map[name]V, in func(*world) *incr.Input[name, V], key name) change {
	return func(f *facts, w *world) {
		delete(pick(f), key)
		in(w).Delete(key)
	}
}

// The names are few, so that changes meet; routes and services share them, so that key sources overlap.
func anyName(n func(int) int) name    { return name(fmt.Sprintf("n%d", n(8))) }
func anyGateway(n func(int) int) name { return name(fmt.Sprintf("g%d", n(3))) }
func anyHost(n func(int) int) name {
	return name(fmt.Sprintf("h%d.%s", n(5), anyGateway(n)))
}

// anyChange returns a change made of numbers that n gives: n(k) is in [0,k).
func anyChange(n func(int) int) change {
	drop := n(4) == 0
	switch n(8) {
	case 0:
		return some(drop, gatewaysOf, gatewaysIn, anyGateway(n), gateway{Suffix: fmt.Sprint("~", n(2))})
	case 1, 2, 3:
		r := route{Weight: n(6)}
		for range n(4) {
			r.Hosts = append(r.Hosts, anyHost(n))
		}
		for range n(3) {
			r.Backends = append(r.Backends, anyName(n))
		}
		return some(drop, routesOf, routesIn, anyName(n), r)
	case 4:
		return some(drop, servicesOf, servicesIn, anyName(n), service{Port: n(2)})
	case 5, 6:
		s := slice{Service: anyName(n), Address: fmt.Sprint("a", n(3))}
		return some(drop, slicesOf, slicesIn, anyName(n), s)
	default:
		return some(drop, policiesOf, policiesIn, anyName(n), policy{Target: anyName(n), Value: n(2)})
	}
}

func some[V any](
	drop bool, pick func(*facts) map[name]V, in func(*world) *incr.Input[name, V], key name, v V,
) change {
	if drop {
		return remove(pick, in, key)
	}
	return put(pick, in, key, v)
}

func gatewaysOf(f *facts) map[name]gateway           { return f.gateways }
func gatewaysIn(w *world) *incr.Input[name, gateway] { return w.gateways }
func routesOf(f *facts) map[name]route               { return f.routes }
func routesIn(w *world) *incr.Input[name, route]     { return w.routes }
func servicesOf(f *facts) map[name]service           { return f.services }
func servicesIn(w *world) *incr.Input[name, service] { return w.services }
func slicesOf(f *facts) map[name]slice               { return f.slices }
func slicesIn(w *world) *incr.Input[name, slice]     { return w.slices }
func policiesOf(f *facts) map[name]policy            { return f.policies }
func policiesIn(w *world) *incr.Input[name, policy]  { return w.policies }

func stageAll[V any](in *incr.Input[name, V], m map[name]V, rng *rand.Rand) {
	keys := sorted(m)
	rng.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	for _, k := range keys {
		in.Set(k, m[k])
	}
}

// fresh returns a world that was told the facts at once and in a random order.
func (f *facts) fresh(rng *rand.Rand) *world {
	w := newWorld(1)
	stageAll(w.gateways, f.gateways, rng)
	stageAll(w.routes, f.routes, rng)
	stageAll(w.services, f.services, rng)
	stageAll(w.slices, f.slices, rng)
	stageAll(w.policies, f.policies, rng)
	w.engine.Commit()
	return w
}

// commit commits, and holds what the engine says that it did against what it did.
func (w *world) commit(t testing.TB) incr.Result {
	t.Helper()
	checkHosts, checkSlices := expectChanges(t, w.hosts), expectChanges(t, w.slices)
	result := w.engine.Commit()
	if len(result.Faults) > 0 {
		t.Fatalf("faults: %v", result.Faults)
	}
	checkHosts()
	checkSlices()
	return result
}

// changing is a table that can be asked what the last commit did to it.
type changing[V any] interface {
	All() iter.Seq2[name, V]
	Changes() iter.Seq2[name, incr.Change[V]]
}

// expectChanges returns a function to call after a commit: it compares what the table says that changed, and in which
// order, with how it was before.
func expectChanges[V comparable](t testing.TB, table changing[V]) (check func()) {
	before := maps.Collect(table.All())
	return func() {
		t.Helper()
		after := maps.Collect(table.All())
		var last name
		for key, ch := range table.Changes() {
			if last >= key {
				t.Fatalf("Changes has %s after %s", key, last)
			}
			last = key
			old, had := before[key]
			now, has := after[key]
			want := incr.Change[V]{Old: old, HadOld: had, New: now, Has: has}
			if ch != want || had == has && old == now {
				t.Fatalf("Changes says of %s %+v, want %+v", key, ch, want)
			}
			delete(before, key)
			delete(after, key)
		}
		if !maps.Equal(before, after) {
			t.Fatalf("Changes misses the difference between %v and %v", before, after)
		}
	}
}

// check holds a world against the facts.
func (w *world) check(t testing.TB, f *facts) {
	t.Helper()
	want := f.expect()
	// Finding that there is no difference takes cmp many times as long.
	if got := w.dump(); !reflect.DeepEqual(want, got) {
		t.Fatalf("tables are not what the facts say (-want +got):\n%s", cmp.Diff(want, got))
	}
	if got, want := w.resolved.Len(), len(want["resolved"]); got != want {
		t.Fatalf("resolved.Len() = %d, want %d", got, want)
	}
}

// checkFresh holds a world against one that was made from nothing: values, and what they were derived from.
func (w *world) checkFresh(t testing.TB, f *facts, rng *rand.Rand) {
	t.Helper()
	again := f.fresh(rng)
	if diff := cmp.Diff(again.dump(), w.dump()); diff != "" {
		t.Fatalf("tables differ from those of a new engine (-new +old):\n%s", diff)
	}
	if diff := cmp.Diff(again.sources(), w.sources()); diff != "" {
		t.Fatalf("sources differ from those of a new engine (-new +old):\n%s", diff)
	}
}

// TestLaw makes thousands of random changes in random batches. After every commit all tables must equal what the
// naive model computes, and now and then also those of a new engine.
func TestLaw(t *testing.T) {
	for seed, workers := range []int{1, 1, 4} {
		t.Run(fmt.Sprintf("seed %d, %d workers", seed, workers), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(seed), 1))
			w, f := newWorld(workers), newFacts()
			for changes, commits := 0, 0; changes < 6000; commits++ {
				for range 1 + rng.IntN(6)*rng.IntN(4) {
					anyChange(rng.IntN)(f, w)
					changes++
				}
				w.commit(t)
				w.check(t, f)
				if commits%25 == 0 {
					w.checkFresh(t, f, rng)
				}
			}
		})
	}
}

// TestArrivalOrder gives the same batch of changes to many worlds in different orders and different divisions into
// commits; they must not be told apart, not even by the order of keys in a group or of sources.
func TestArrivalOrder(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	final := newFacts()
	for range 150 {
		anyChange(rng.IntN)(final, newWorld(1))
	}
	want := final.fresh(rng)
	for range 20 {
		w, batch := newWorld(1), final.puts()
		rng.Shuffle(len(batch), func(i, j int) { batch[i], batch[j] = batch[j], batch[i] })
		for _, c := range batch {
			c(newFacts(), w)
			if rng.IntN(3) == 0 {
				w.engine.Commit()
			}
		}
		w.engine.Commit()
		if diff := cmp.Diff(want.dump(), w.dump()); diff != "" {
			t.Fatalf("the order of arrival shows (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(want.sources(), w.sources()); diff != "" {
			t.Fatalf("the order of arrival shows in the sources (-want +got):\n%s", diff)
		}
	}
}

// puts returns one change for each fact.
func (f *facts) puts() []change {
	return slices.Concat(
		putsOf(gatewaysOf, gatewaysIn, f.gateways), putsOf(routesOf, routesIn, f.routes),
		putsOf(servicesOf, servicesIn, f.services), putsOf(slicesOf, slicesIn, f.slices),
		putsOf(policiesOf, policiesIn, f.policies),
	)
}

func putsOf[V any](pick func(*facts) map[name]V, in func(*world) *incr.Input[name, V], m map[name]V) []change {
	var out []change
	for _, k := range sorted(m) {
		out = append(out, put(pick, in, k, m[k]))
	}
	return out
}

// TestLastStagedChangeCounts covers what one batch can say about one key.
func TestLastStagedChangeCounts(t *testing.T) {
	tests := map[string]struct {
		stage func(*incr.Input[name, int])
		want  map[name]int
		// recomputed is how often the derived key runs.
		recomputed int
	}{
		"deleted then set to what it was": {
			stage: func(in *incr.Input[name, int]) { in.Delete("a"); in.Set("a", 1) },
			want:  map[name]int{"a": 10}, recomputed: 0,
		},
		"deleted then set to another value": {
			stage: func(in *incr.Input[name, int]) { in.Delete("a"); in.Set("a", 2) },
			want:  map[name]int{"a": 20}, recomputed: 1,
		},
		"set then deleted": {
			stage:      func(in *incr.Input[name, int]) { in.Set("a", 2); in.Delete("a") },
			recomputed: 1,
		},
		"unknown key deleted": {
			stage: func(in *incr.Input[name, int]) { in.Delete("b") },
			want:  map[name]int{"a": 10},
		},
		"new key set then deleted": {
			stage: func(in *incr.Input[name, int]) { in.Set("b", 1); in.Delete("b") },
			want:  map[name]int{"a": 10},
		},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			e := incr.New(1)
			in := incr.NewInput[name, int](e, "in")
			out := incr.NewTable(e, "out", func(r *incr.Reader, k name) (int, bool) {
				v, ok := incr.Get(r, in, k)
				return 10 * v, ok
			}, in)
			in.Set("a", 1)
			e.Commit()
			tt.stage(in)
			result := e.Commit()
			if diff := cmp.Diff(tt.want, maps.Collect(out.All()), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("out (-want +got):\n%s", diff)
			}
			if got := result.Recomputed(); got != tt.recomputed {
				t.Errorf("recomputed %d keys, want %d", got, tt.recomputed)
			}
		})
	}
}

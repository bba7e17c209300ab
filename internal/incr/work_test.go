package incr_test

import (
	"fmt"
	"testing"

	"github.com/sluice-gateway/sluice/internal/incr"
)

// town is a world with this many routes, two to a host, each with a backend of its own, on one gateway.
func town(workers, routes int) *world {
	w := newWorld(workers)
	w.gateways.Set("g0", gateway{})
	for i := range routes {
		backend := name(fmt.Sprintf("svc%06d", i))
		w.services.Set(backend, service{Port: 80})
		w.slices.Set(backend+"-1", slice{Service: backend, Address: "10.0.0.1"})
		w.routes.Set(name(fmt.Sprintf("route%06d", i)), townRoute(i, 0))
	}
	w.engine.Commit()
	return w
}

func townRoute(i, weight int) route {
	return route{
		Hosts:    []name{name(fmt.Sprintf("h%06d.g0", i/2))},
		Backends: []name{name(fmt.Sprintf("svc%06d", i))},
		Weight:   weight,
	}
}

// TestWorkIsWhatAChangeTouches counts the keys that are recomputed among 10,000 routes on 5,000 hosts, over the chain
// endpoints, resolved, hosts, tables, usage.
func TestWorkIsWhatAChangeTouches(t *testing.T) {
	const n = 10_000
	w := town(1, n)
	if got := w.hosts.Len(); got != n/2 {
		t.Fatalf("%d hosts, want %d", got, n/2)
	}
	tests := []struct {
		title string
		stage func()
		// want is what each table recomputed and changed.
		want map[string][2]int
	}{{
		title: "an equal value stops at the input",
		stage: func() { w.routes.Set("route000007", townRoute(7, 0)) },
		want:  map[string][2]int{},
	}, {
		title: "a value that makes no difference stops at the first table",
		stage: func() { w.routes.Set("route000007", townRoute(7, 1)) },
		want:  map[string][2]int{"resolved": {1, 0}, "usage": {1, 0}},
	}, {
		title: "a weight that matters goes through to the table",
		stage: func() { w.routes.Set("route000007", townRoute(7, 5)) },
		want:  map[string][2]int{"resolved": {1, 1}, "hosts": {1, 1}, "usage": {1, 0}},
	}, {
		title: "an address",
		stage: func() { w.slices.Set("svc000100-1", slice{Service: "svc000100", Address: "10.0.0.2"}) },
		want: map[string][2]int{
			"endpoints": {1, 1}, "resolved": {1, 1}, "hosts": {1, 1}, "tables": {1, 1},
		},
	}, {
		title: "a route to a new host and a new backend",
		stage: func() { w.routes.Set("route000009", route{Hosts: []name{"new.g0"}, Backends: []name{"none"}}) },
		want: map[string][2]int{
			"endpoints": {2, 0}, "resolved": {1, 1}, "hosts": {2, 2}, "tables": {1, 1}, "usage": {3, 1},
		},
	}, {
		title: "a route that goes",
		stage: func() { w.routes.Delete("route000009") },
		want: map[string][2]int{
			"endpoints": {1, 0}, "resolved": {1, 1}, "hosts": {1, 1}, "tables": {1, 1}, "usage": {2, 1},
		},
	}, {
		title: "a policy",
		stage: func() { w.policies.Set("p", policy{Target: "route000044"}) },
		want:  map[string][2]int{"resolved": {1, 1}, "hosts": {1, 1}, "tables": {1, 1}},
	}}
	for _, tt := range tests {
		tt.stage()
		result := w.engine.Commit()
		got := map[string][2]int{}
		for _, work := range result.Tables {
			got[work.Table] = [2]int{work.Recomputed, work.Changed}
		}
		if fmt.Sprint(got) != fmt.Sprint(tt.want) {
			t.Errorf("%s: recomputed and changed %v, want %v", tt.title, got, tt.want)
		}
		if n := result.Recomputed(); n >= 20 {
			t.Errorf("%s: recomputed %d keys, want less than 20", tt.title, n)
		}
	}
}

// TestSources checks that what is recorded says why a value is what it is: misses too, and each source once.
func TestSources(t *testing.T) {
	w := newWorld(1)
	w.gateways.Set("g0", gateway{})
	w.routes.Set("r", route{Hosts: []name{"h.g0"}, Backends: []name{"missing"}})
	w.engine.Commit()
	got := fmt.Sprint(w.resolved.Sources("r"))
	if want := "[{gateways g0} {routes r} {policies by target r} {endpoints missing}]"; got != want {
		t.Errorf("sources of the route are %s, want %s", got, want)
	}
	got = fmt.Sprint(w.tables.Sources("g0"))
	if want := "[{gateways g0} {hosts h.g0} {hosts by gateway g0}]"; got != want {
		t.Errorf("sources of the table are %s, want %s", got, want)
	}
	got = fmt.Sprint(w.hosts.Sources("h.g0"))
	if want := "[{resolved by host h.g0}]"; got != want {
		t.Errorf("sources of the host are %s, want %s: its keys and its values are one source", got, want)
	}
	if got := w.resolved.Sources("nobody"); len(got) != 0 {
		t.Errorf("an unknown key has sources %v", got)
	}
}

// TestParallelKeys recomputes enough keys at once to use all workers; run with -race it shows that they only read.
func TestParallelKeys(t *testing.T) {
	one, four := town(1, 500), town(4, 500)
	for round := range 5 {
		for i := range 500 {
			for _, w := range []*world{one, four} {
				w.routes.Set(name(fmt.Sprintf("route%06d", i)), townRoute(i+round, round))
				w.slices.Set(name(fmt.Sprintf("svc%06d-2", i)), slice{
					Service: name(fmt.Sprintf("svc%06d", i)), Address: fmt.Sprint("10.0.1.", round),
				})
			}
		}
		a, b := one.engine.Commit(), four.engine.Commit()
		if a.Recomputed() < 1000 || a.Recomputed() != b.Recomputed() {
			t.Fatalf("one worker recomputed %d keys, four %d, want the same and at least 1000", a.Recomputed(), b.Recomputed())
		}
	}
	want, got := fmt.Sprint(one.dump()), fmt.Sprint(four.dump())
	if got != want {
		t.Error("four workers computed other tables than one")
	}
}

// TestGroupsAreInKeyOrder lets keys join a group one by one, a few at once and many at once.
func TestGroupsAreInKeyOrder(t *testing.T) {
	for _, batch := range []int{1, 4, 5, 40, 200} {
		e := incr.New(1)
		in := incr.NewInput[name, int](e, "in")
		all := incr.NewIndex(e, "all", in, func(name, int) []name { return []name{"all", "all"} })
		out := incr.NewTable(e, "out", func(r *incr.Reader, g name) (string, bool) {
			return fmt.Sprint(all.Keys(r, g)), true
		}, all)
		var want []name
		for n := range 200 {
			want = append(want, name(fmt.Sprintf("%03d", n)))
			in.Set(name(fmt.Sprintf("%03d", n*77%200)), n)
			if (n+1)%batch == 0 {
				e.Commit()
			}
		}
		if got, _ := out.Peek("all"); got != fmt.Sprint(want) {
			t.Errorf("in batches of %d the group is %s", batch, got)
		}
	}
}

// TestPresenceFromSeveralSources lets a key come and go in its key sources in one commit.
func TestPresenceFromSeveralSources(t *testing.T) {
	e := incr.New(1)
	a, b := incr.NewInput[name, int](e, "a"), incr.NewInput[name, int](e, "b")
	groups := incr.NewIndex(e, "b by value", b, func(_ name, v int) []name { return []name{name(fmt.Sprint("k", v))} })
	union := incr.NewTable(e, "union", func(r *incr.Reader, k name) (string, bool) {
		_, inA := incr.Get(r, a, k)
		_, inB := incr.Get(r, b, k)
		return fmt.Sprint(inA, inB, groups.Len(r, k)), true
	}, a, b, groups)

	steps := []struct {
		title string
		stage func()
		want  string
	}{
		{"no source", func() {}, "none"},
		{"one source", func() { a.Set("k1", 1) }, "true false 0"},
		{"down in one and up in another", func() { a.Delete("k1"); b.Set("k1", 9) }, "false true 0"},
		{"up in a group too", func() { b.Set("x", 1) }, "false true 1"},
		{"down in all but the group", func() { b.Delete("k1") }, "false false 1"},
		{"the group's member leaves while the key is back", func() { b.Set("x", 2); a.Set("k1", 1) }, "true false 0"},
		{"gone everywhere", func() { a.Delete("k1") }, "none"},
		{"back as a group", func() { b.Set("x", 1) }, "false false 1"},
	}
	for _, step := range steps {
		step.stage()
		e.Commit()
		got, ok := union.Peek("k1")
		if !ok {
			got = "none"
		}
		if got != step.want {
			t.Errorf("%s: k1 is %q, want %q", step.title, got, step.want)
		}
	}
}

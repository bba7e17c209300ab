package xds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// world makes random updates and keeps the book of what an Envoy that refuses the bad of them should have.
type world struct {
	rnd   *rand.Rand
	round int
	envoy *sim
	parts map[string][]*Part
	// want is what the Envoy should have, "" for nothing; bad are the keys of what it should refuse.
	want map[string]string
	bad  []string
}

const worldSize = 12

// tables are the route configurations, each of the listener of its name.
var tables = []string{"0", "1", "2"}

// decide gives a resource a new version, which is bad now and then.
func (w *world) decide(key, badKey, version string, mayBeBad bool) {
	if mayBeBad && w.rnd.IntN(4) == 0 {
		w.envoy.bad[badKey+"="+version] = true
		w.bad = append(w.bad, badKey)
		if _, ok := w.want[key]; !ok {
			w.want[key] = ""
		}
		return
	}
	w.want[key] = version
}

// update changes about half of everything, and moves some virtual hosts to a new cluster.
func (w *world) update() []Change {
	fresh := fmt.Sprintf("new-%d", w.round)
	changes := []Change{set(Cluster, fresh, "1"), set(Endpoints, fresh, "1")}
	for i := range worldSize {
		for _, t := range []Type{Cluster, Endpoints, Listener} {
			if w.round > 0 && w.rnd.IntN(2) == 0 {
				continue
			}
			c := set(t, fmt.Sprint(i), fmt.Sprint(w.round))
			changes = append(changes, c)
			key := t.String() + "/" + c.Name
			if t == Endpoints && i < worldSize/2 {
				continue // those of clusters that can be bad
			}
			w.decide(key, key, versionOf(t, c.Resource.Body), w.mayBeBad(t, i))
			if t == Endpoints && w.want[key] == "" {
				w.want[key] = string(empty(c.Name).Body)
			}
		}
	}
	for _, table := range tables {
		changes = append(changes, w.routes(table, fresh))
	}
	return changes
}

// mayBeBad says which resources can be bad: some clusters, the endpoints of others, and the listeners of these. Those
// that have routes are good at first, for else nobody would ask for these.
func (w *world) mayBeBad(t Type, i int) bool {
	if i < len(tables) {
		return t == Listener && w.round > 0
	}
	return (t == Cluster) == (i < worldSize/2)
}

func (w *world) routes(table, fresh string) Change {
	parts := slices.Clone(w.parts[table])
	var changed []string
	for j := range 20 {
		if w.round > 0 && w.rnd.IntN(3) > 0 {
			continue
		}
		version, needs := fmt.Sprint(w.round), []string(nil)
		if w.rnd.IntN(3) == 0 {
			version, needs = version+"@"+fresh, []string{fresh}
		}
		p := part(fmt.Sprintf("host-%s-%d", table, j), version, needs...)
		if j < len(parts) {
			parts[j] = p
		} else {
			parts = append(parts, p)
		}
		changed = append(changed, p.Name)
		w.decide("routes/"+table+"/"+p.Name, "part/"+p.Name, version, true)
	}
	w.parts[table] = parts
	return routes(table, parts, changed...)
}

// got is what the Envoy has of what it should have.
func (w *world) got() map[string]string {
	has := w.envoy.whole()
	got := make(map[string]string, len(w.want))
	for key := range w.want {
		got[key] = has[key]
	}
	return got
}

// rejected returns what was reported as rejected, as type/name or part/name, sorted, with repetitions.
func rejected(h *harness) []string {
	var list []string
	for _, e := range h.of(Rejected) {
		if e.Part != "" {
			list = append(list, "part/"+e.Part)
		} else {
			list = append(list, e.Type.String()+"/"+e.Resource)
		}
	}
	slices.Sort(list)
	return list
}

// For random sets of bad resources, in the first configuration and in changes to it, exactly these are rejected, each
// once, and everything else goes live, with the last good version of what is bad.
func TestOnlyWhatIsBadIsRejected(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			allForms(t, time.Minute, 1, func(h *harness) { testOnlyBad(h, seed) })
		})
	}
}

func testOnlyBad(h *harness, seed uint64) {
	t := h.t
	w := &world{
		rnd: rand.New(rand.NewPCG(seed, 1)), envoy: newSim(h),
		parts: map[string][]*Part{}, want: map[string]string{},
	}
	check := func(when string) {
		t.Helper()
		w.envoy.settle(5 * time.Second)
		if live, _ := h.server.Live(testProxy); live != uint64(w.round) {
			t.Errorf("%s: live %d, want %d", when, live, w.round)
		}
		if diff := cmp.Diff(w.want, w.got()); diff != "" {
			t.Errorf("%s: Envoy has (-want +got):\n%s", when, diff)
		}
		slices.Sort(w.bad)
		if diff := cmp.Diff(w.bad, rejected(h)); diff != "" {
			t.Errorf("%s: rejected (-want +got):\n%s", when, diff)
		}
		if w.envoy.fault != nil {
			t.Errorf("%s: %v", when, w.envoy.fault)
		}
	}
	for !t.Failed() && w.round < 4 {
		changes := w.update()
		w.round++
		h.server.Update(testProxy, changes)
		check(fmt.Sprintf("round %d", w.round))
	}
	w.envoy.cancel()
	w.envoy.reconnect(h)
	check("after a reconnect")
	if t.Failed() {
		return
	}
	other := newSim(h)
	other.bad, w.envoy.bad = w.envoy.bad, nil
	other.settle(5 * time.Second)
	w.envoy = other
	check("another Envoy")
}

func TestEventSaysWhoIsToBlame(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		bad := part("b", "1")
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "1", "c1"), bad}, "b")})
		c.nack(c.expectHosts("a=1", "b=1"), "no such thing")
		c.quiet() // the only suspect, and Envoy kept the version before
		events := h.of(Rejected)
		want := []Event{{
			Kind: Rejected, Proxy: testProxy, Node: "envoy-1", Type: Routes, Version: 2,
			Resource: "r", Part: "b", Hash: bad.Hash, Owners: bad.Owners, Message: "no such thing",
		}}
		if diff := cmp.Diff(want, events); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "2", "c1"), bad}, "a")})
		c.ack(c.expectHosts("a=2")) // never again
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "2", "c1"), part("b", "2")}, "b")})
		c.ack(c.expectHosts("a=2", "b=2"))
		h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "2", "c1"), bad}, "b")})
		c.expectHosts("a=2", "b=1") // healed, so it is tried anew
	})
}

func TestBadBodyKeepsTheOneBefore(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		change := routes("r", []*Part{part("a", "2", "c1")}, "a")
		change.Resource.Body = append(slices.Clone(change.Resource.Body), 0x28, 0x01)
		change.Resource.Hash++
		h.server.Update(testProxy, []Change{change})
		// The part is tried before the body, because it may be to blame as well.
		c.nack(c.expectHosts("a=2"), "bad body")
		r := c.expectHosts("a=2")
		if got := string(r.Resources[0].Resource.Value); strings.Contains(got, "\x28\x01") {
			t.Error("part tried with the suspect body")
		}
		c.ack(r)
		c.nack(c.expectHosts("a=2"), "bad body")
		c.quiet()
		if got := rejected(h); !slices.Equal(got, []string{"routes/r"}) {
			t.Errorf("rejected %v, want the table itself", got)
		}
	})
}

// TestWhatIsRefusedAgainIsSaidAgain takes a part back that Envoy refuses, to what it has, and has it come again: Envoy
// is asked, and the refusal said, once more.
func TestWhatIsRefusedAgainIsSaidAgain(t *testing.T) {
	bubble(t, time.Minute, func(h *harness) {
		c := boot(h)
		good := []Change{routes("r", []*Part{part("a", "1", "c1"), part("b", "1")}, "a", "b")}
		h.server.Update(testProxy, good)
		c.ack(c.expectHosts("a=1", "b=1"))
		c.quiet()
		for range 2 {
			h.server.Update(testProxy, []Change{routes("r", []*Part{part("a", "1", "c1"), part("b", "bad")}, "b")})
			c.nack(c.expectHosts("a=1", "b=bad"), "it is bad")
			c.quiet()
			h.server.Update(testProxy, good)
			c.quiet()
		}
		if got := rejected(h); !slices.Equal(got, []string{"part/b", "part/b"}) {
			t.Errorf("rejected %v, want the part twice", got)
		}
	})
}

// TestNewEnvoyHasTheVersionBefore: an Envoy that is new at a server which no other one was connected to has the version
// before one that it refuses, as those have that ran it; but not if it refuses that, too.
func TestNewEnvoyHasTheVersionBefore(t *testing.T) {
	for _, typ := range []Type{Cluster, Listener} {
		t.Run(typ.String(), func(t *testing.T) {
			bubble(t, time.Minute, func(h *harness) {
				good, bad := set(typ, "x", "1"), set(typ, "x", "2")
				h.server.Update(testProxy, []Change{good})
				h.server.Update(testProxy, []Change{bad})
				first, second := h.connect(), h.connect()
				first.subscribe(typ)
				first.nack(first.expect(typ.String()+" x"), "it is bad")
				r := first.expect(typ.String() + " x")
				if r.Resources[0].Version != formatVersion(good.Resource.Hash) {
					t.Error("the Envoy is not sent the version before")
				}
				first.ack(r)
				first.quiet()
				second.subscribe(typ)
				second.nack(second.expect(typ.String()+" x"), "so is the one before")
				second.quiet()
				if got := rejected(h); !slices.Equal(got, []string{typ.String() + "/x"}) {
					t.Errorf("rejected %v", got)
				}
				h.server.Update(testProxy, []Change{set(typ, "x", "3")})
				for _, c := range []*client{first, second} {
					c.ack(c.expect(typ.String() + " x"))
					c.quiet()
				}
			})
		})
	}
}

// An Envoy that brings a version from before the server's start loses nothing while the culprit is looked for.
func TestUnknownVersionIsKeptDuringTheTrial(t *testing.T) {
	allForms(t, time.Minute, 1, func(h *harness) {
		t := h.t
		var parts []*Part
		for i := range 8 {
			parts = append(parts, part(fmt.Sprintf("host-%d", i), "1"))
		}
		h.server.Update(testProxy, []Change{routes("r", parts), set(Listener, "r", "1")})
		envoy := newSim(h)
		envoy.settle(time.Second)
		envoy.cancel()

		h.server.mu.Lock()
		clear(h.server.stores) // a restart
		h.server.mu.Unlock()
		parts[3] = part("host-3", "bad")
		envoy.bad["part/host-3=bad"] = true
		h.server.Update(testProxy, []Change{routes("r", parts), set(Listener, "r", "1")})
		envoy.least = 7
		envoy.reconnect(h)
		envoy.settle(5 * time.Second)
		if envoy.fault != nil {
			t.Error(envoy.fault)
		}
		if got := rejected(h); !slices.Equal(got, []string{"part/host-3"}) {
			t.Errorf("rejected %v", got)
		}
		if live, _ := h.server.Live(testProxy); live != 1 {
			t.Errorf("live %d, want 1", live)
		}
	})
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		suspects, message, want string
	}{
		{"abc def ghi", "error in def", "[[def] [abc ghi]]"},
		{"abc def ghi", "some error", "[[abc] [def ghi]]"},
		{"abc def", "abc and def", "[[abc] [def]]"},
		{"a b", "a", "[[a] [b]]"},
	} {
		if got := fmt.Sprint(split(strings.Fields(tt.suspects), tt.message)); got != tt.want {
			t.Errorf("split(%q, %q) = %s, want %s", tt.suspects, tt.message, got, tt.want)
		}
	}
}

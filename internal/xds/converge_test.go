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

// Whatever the order of updates, ACKs, reconnects and restarts, an Envoy never uses a cluster that is not warm, never
// loses one that it uses, and ends with exactly what is in the store.
func TestConverges(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			allForms(t, 300*time.Millisecond, crowded, func(h *harness) { testConverges(h, seed) })
		})
	}
}

// crowd is a number of hosts that come and go at once, crowded from how many on there are scopes: only with them.
const (
	crowd   = 48
	crowded = 52
)

func testConverges(h *harness, seed uint64) {
	t := h.t
	rnd := rand.New(rand.NewPCG(seed, 2))
	envoy := newSim(h)
	envoy.tied = "host-9"
	now := map[string]Change{} // by type/name
	parts := make([]*Part, 0, 10)
	for i := range cap(parts) {
		parts = append(parts, part(fmt.Sprintf("host-%d", i), "0"))
	}
	body := "0"
	table := func(changed ...string) Change { return headed("r", body, parts, changed...) }
	apply := func(changes ...Change) {
		for _, c := range changes {
			now[c.Type.String()+"/"+c.Name] = c
		}
		h.server.Update(testProxy, changes)
	}
	apply(set(Listener, "r", "0"), table())
	for round := 0; round < 60 && envoy.fault == nil; round++ {
		if rnd.IntN(20) == 0 {
			around, _, _ := strings.Cut(body, "/")
			body = fmt.Sprintf("%s/%d", around, round)
			apply(table())
		}
		name := fmt.Sprintf("c%d", rnd.IntN(8))
		i := rnd.IntN(9)
		parts = append([]*Part(nil), parts...)
		parts[i] = part(parts[i].Name, fmt.Sprintf("%d@%s", round, name), name)
		changed := []string{parts[i].Name}
		if rnd.IntN(20) == 0 { // the last virtual host and what surrounds all of them belong together
			body = fmt.Sprint(round)
			parts[9] = part("host-9", body)
			changed = append(changed, "host-9")
		}
		changes := []Change{table(changed...)}
		if rnd.IntN(2) == 0 || now["cluster/"+name].Resource == nil {
			changes = append(changes, set(Cluster, name, fmt.Sprint(round)), set(Endpoints, name, fmt.Sprint(round)))
		}
		apply(append(changes, unused(now, parts)...)...)
		switch rnd.IntN(12) {
		case 0:
			envoy.cancel()
			envoy.reconnect(h)
		case 1:
			apply(set(Endpoints, name, "x"), set(Listener, "r", fmt.Sprint(round)))
		case 2:
			envoy.renew("r")
		case 3:
			extra := part([]string{"host-5x", "host-x"}[rnd.IntN(2)], fmt.Sprint(round))
			if i := slices.IndexFunc(parts, func(p *Part) bool { return p.Name == extra.Name }); i >= 0 {
				parts = slices.Delete(slices.Clone(parts), i, i+1)
			} else {
				parts = append(parts[:len(parts):len(parts)], extra)
			}
			apply(table(extra.Name))
		case 4:
			parts, changed = toggleCrowd(parts)
			apply(table(changed...))
		}
		for range rnd.IntN(6) {
			time.Sleep(time.Duration(rnd.IntN(40)) * time.Millisecond)
			select {
			case r := <-envoy.got:
				envoy.handle(r)
			default:
			}
		}
	}
	envoy.settle(5 * time.Second)
	if envoy.fault != nil {
		t.Fatal(envoy.fault)
	}
	checkConverged(h, envoy, now, parts)
	if got := envoy.whole()["routes/r"]; got != body {
		t.Errorf("what surrounds the virtual hosts is at %q, want %q", got, body)
	}
}

// toggleCrowd adds a crowd of hosts, or removes it. It returns the names of these, too.
func toggleCrowd(parts []*Part) (now []*Part, changed []string) {
	inCrowd := func(p *Part) bool { return strings.HasPrefix(p.Name, "crowd-") }
	there := slices.ContainsFunc(parts, inCrowd)
	now = slices.DeleteFunc(slices.Clone(parts), inCrowd)
	for i := range crowd {
		name := fmt.Sprintf("crowd-%d", i)
		changed = append(changed, name)
		if !there {
			now = append(now, part(name, "0"))
		}
	}
	return now, changed
}

// checkConverged compares what the Envoy has with what is in the store now.
func checkConverged(h *harness, envoy *sim, now map[string]Change, parts []*Part) {
	t := h.t
	t.Helper()
	got := envoy.whole()
	want := map[string]string{"routes/r": got["routes/r"]}
	for key, c := range now {
		if c.Type != Routes && c.Resource != nil {
			want[key] = versionOf(c.Type, c.Resource.Body)
		}
	}
	for _, p := range parts {
		key := "routes/r/" + p.Name
		if part(p.Name, got[key]).Hash != p.Hash {
			t.Errorf("%s is at %q", p.Name, got[key])
		}
		delete(got, key)
	}
	for key := range got { // Envoy keeps the endpoints until their cluster goes; the simulation for ever
		if want[key] == "" && key[0] == 'e' {
			delete(got, key)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Envoy has (-want +got):\n%s", diff)
	}
	if live, _ := h.server.Live(testProxy); live != h.server.find(testProxy).version {
		t.Errorf("live %d, want %d", live, h.server.find(testProxy).version)
	}
}

// unused removes the clusters that no part needs.
func unused(now map[string]Change, parts []*Part) []Change {
	needed := map[string]bool{}
	for _, p := range parts {
		for _, n := range p.Needs {
			needed[n] = true
		}
	}
	var changes []Change
	for _, c := range now {
		if (c.Type == Cluster || c.Type == Endpoints) && c.Resource != nil && !needed[c.Name] {
			changes = append(changes, drop(c.Type, c.Name))
		}
	}
	return changes
}

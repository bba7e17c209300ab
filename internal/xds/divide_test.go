package xds

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// numbered are virtual hosts host-0.test, host-1.test and so on, with routes to a cluster.
func numbered(n int, cluster string) []*Part {
	out := make([]*Part, n)
	for i := range out {
		out[i] = realPart(fmt.Sprintf("host-%d.test", i), cluster, "")
	}
	return out
}

// portless is a route configuration that minds no ports.
func portless(name string, parts []*Part, changed ...string) Change {
	return around(&routev3.RouteConfiguration{Name: name, IgnorePortInHostMatching: true}, parts, changed...)
}

// headerBackend answers with what it gets of the header by which Envoy finds scopes.
func headerBackend(t *testing.T, name string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprint(w, name, req.Header.Values(ScopeHeader))
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestEnvoyDividesHosts has a route configuration grow until it is divided, and shrink, under load: each request finds
// its host, however it is written and whatever it says itself, and backends see nothing of it.
func TestEnvoyDividesHosts(t *testing.T) {
	r := newRigWith(t, 1, 32)
	clusters := []Change{
		realCluster("c0"), realEndpoints("c0", headerBackend(t, "exact")),
		realCluster("c1"), realEndpoints("c1", headerBackend(t, "wild")),
	}
	wild := []*Part{realPart("*", "c1", ""), realPart("*.wild.test", "c1", "")}
	few, many := append(numbered(4, "c0"), wild...), append(numbered(64, "c0"), wild...)
	r.update(append(clusters, r.realListener("http"), portless("http", few))...)
	client := r.newcomer("http")
	answers := func(host, want string) {
		t.Helper()
		var seen string
		if !eventually(func() bool {
			req, _ := http.NewRequest(http.MethodGet, "http://any/", nil)
			req.Host = host
			req.Header.Set(ScopeHeader, "http~0")
			resp, err := client.Do(req)
			if err != nil {
				seen = err.Error()
				return false
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			seen = fmt.Sprint(resp.StatusCode, " ", string(body))
			return seen == "200 "+want
		}) {
			t.Errorf("%s: %s, want 200 %s", host, seen, want)
		}
	}
	answers("host-3.test", "exact[http~0]") // nobody minds the header yet
	answers("host-9.test", "wild[http~0]")
	stop := r.load("host-0.test", "host-1.test", "host-2.test", "host-3.test")
	grown := make([]string, 0, len(many))
	for _, p := range many[4:64] {
		grown = append(grown, p.Name)
	}
	r.update(portless("http", many, grown...))
	for i := range 64 {
		answers(fmt.Sprintf("host-%d.test", i), "exact[]")
	}
	answers("HOST-17.Test", "exact[]")
	answers("host-18.test:8443", "exact[]")
	answers("host-64.test", "wild[]")
	answers("a.wild.test", "wild[]")
	answers("b.wild.test:80", "wild[]")
	r.update(portless("http", few, grown...))
	answers("host-3.test", "exact[http~0]")
	answers("host-9.test", "wild[http~0]")
	t.Logf("%d requests", stop())
	if len(r.rejected()) > 0 {
		t.Errorf("rejected: %+v", r.rejected())
	}
}

// TestEditCostsOneScope counts what Envoy is told of a change of one host, and when it connects to another server.
func TestEditCostsOneScope(t *testing.T) {
	r := newRigWith(t, 1, 32)
	parts := append(numbered(64, "c0"), realPart("*", "c0", ""))
	config := []Change{
		realCluster("c0"), realEndpoints("c0", backend(t, "0")), r.realListener("http"), routes("http", parts),
	}
	r.update(config...)
	pushed := func() (events []string) {
		for _, e := range r.log.all() {
			if e.Kind == Pushed && e.Resources > 0 {
				events = append(events, fmt.Sprint(e.Type, " ", e.Resources))
			}
		}
		return events
	}
	before := len(pushed())
	parts[5] = realPart(parts[5].Name, "c0", "/a.*")
	r.update(routes("http", parts, parts[5].Name))
	if got := pushed()[before:]; len(got) != 1 || got[0] != "routes 1" {
		t.Errorf("a change of one host sends %v, want one virtual host", got)
	}
	r.serve()
	config[3] = routes("http", parts)
	r.update(config...)
	if got := pushed(); len(got) > 1 || len(got) == 1 && got[0] != fmt.Sprint("scopes ", numScopes) {
		t.Errorf("a server that has what Envoy has sends %v, want at most the scopes", got)
	}
	if code, _ := r.get("host-6.test"); code != http.StatusOK {
		t.Errorf("host-6.test: %d, want 200", code)
	}
}

// TestListenersHearOfScopes has a listener with divided hosts change, another one come, and both go before one comes
// again: Envoy has been told of scopes by then, and they do not differ.
func TestListenersHearOfScopes(t *testing.T) {
	r := newRigWith(t, 1, 32)
	r.update(realCluster("c0"), realEndpoints("c0", backend(t, "0")), r.realListener("http"),
		routes("http", numbered(64, "c0")))
	stop := r.load("host-6.test", "host-7.test")
	r.update(serving(r.realListener("http"), "another"))
	serves := func(listener, server string) {
		t.Helper()
		client := r.newcomer(listener)
		if !eventually(func() bool {
			resp, err := client.Get("http://host-7.test/")
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == http.StatusOK && resp.Header.Get("server") == server
		}) {
			t.Errorf("listener %s does not serve host-7.test as %s", listener, server)
		}
	}
	serves("http", "another")
	r.update(r.realListener("other"), routes("other", numbered(40, "c0")))
	serves("other", "envoy")
	t.Logf("%d requests", stop())
	acks := func() (n int) {
		for _, e := range r.log.all() {
			if e.Kind == Acked && e.Type == scopes && e.Resources == numScopes {
				n++
			}
		}
		return n
	}
	before := acks()
	r.update(drop(Listener, "http"), drop(Routes, "http"))
	if !eventually(func() bool { return acks() > before }) {
		t.Error("Envoy is not told that the scopes of one listener are gone")
	}
	serves("other", "envoy")
	r.update(r.realListener("http"), routes("http", numbered(50, "c0")))
	serves("http", "envoy")
	r.update(drop(Listener, "http"), drop(Routes, "http"), drop(Listener, "other"), drop(Routes, "other"))
	time.Sleep(4 * drainTime) // until then Envoy keeps what it has for both
	r.update(r.realListener("other"), routes("other", numbered(40, "c0")))
	serves("other", "envoy")
}

// serving gives a listener another name for its responses (HttpConnectionManager.server_name).
func serving(c Change, name string) Change {
	l, config, hcm := managerOf(c.Resource.Body)
	hcm.ServerName = name
	config.Value = mustMarshal(hcm)
	return message(Listener, c.Name, l)
}

// TestListenerIsRefusedForScopes has Envoy refuse a listener as long as it looks for routes in scopes: it gets one that
// does not, and nobody hears of it. Another listener is tried again.
func TestListenerIsRefusedForScopes(t *testing.T) {
	bubbleWith(t, Options{ScopesFrom: 32}, Connection{}, func(h *harness) {
		h.server.Update(testProxy, []Change{set(Listener, "http", "one"), routes("http", numbered(64, "c"))})
		c := h.connect()
		c.subscribe(Cluster)
		c.ack(c.next())
		c.subscribe(Listener)
		told := func(divided bool) *discoveryv3.DeltaDiscoveryResponse {
			t.Helper()
			next := c.next()
			if next.TypeUrl != Listener.URL() || len(next.Resources) != 1 ||
				strings.Contains(string(next.Resources[0].Resource.Value), ScopeHeader) != divided {
				t.Fatalf("%s, want a listener, with scopes: %v", brief(next), divided)
			}
			return next
		}
		c.nack(told(true), "no scopes")
		c.ack(told(false))
		h.server.Update(testProxy, []Change{routes("http", numbered(65, "c"), "host-64.test")})
		c.quiet()
		if refused := h.of(Rejected); len(refused) > 0 {
			t.Errorf("rejected: %+v", refused)
		}
		time.Sleep(2 * stall) // until then what Envoy may yet ask for is not live
		version := h.server.Update(testProxy, []Change{set(Listener, "http", "another")})
		h.server.Update(testProxy, []Change{routes("http", numbered(66, "c"), "host-65.test")})
		c.nack(told(true), "no scopes")
		if live, _ := h.server.Live(testProxy); live >= version {
			t.Error("a listener is live of which Envoy has not said whether it takes it without scopes")
		}
		c.nack(told(false), "nor without")
		if refused := h.of(Rejected); len(refused) != 1 || refused[0].Message != "nor without" {
			t.Errorf("rejected: %+v, want the listener without scopes", refused)
		}
	})
}

// TestListenersAreRefusedApart has Envoy refuse a listener beside one with divided hosts, whose name begins alike.
func TestListenersAreRefusedApart(t *testing.T) {
	bubbleWith(t, Options{ScopesFrom: 32}, Connection{}, func(h *harness) {
		h.server.Update(testProxy, []Change{set(Listener, "http", "one"), routes("http", numbered(64, "c"))})
		c := h.connect()
		c.subscribe(Cluster)
		c.ack(c.next())
		c.subscribe(Listener)
		c.ack(c.expect("listener http"))
		h.server.Update(testProxy, []Change{set(Listener, "http-2", "one"), routes("http-2", numbered(4, "c"))})
		c.nack(c.expect("listener http-2"), "it is bad")
		c.quiet()
		if refused := h.of(Rejected); len(refused) != 1 || refused[0].Resource != "http-2" {
			t.Errorf("rejected: %+v, want http-2", refused)
		}
	})
}

// TestDivisionRemembersWhatIsRefused has a table grow until it is divided, and shrink, while Envoy refuses a host of
// it: it keeps the last good version, and nobody is told again.
func TestDivisionRemembersWhatIsRefused(t *testing.T) {
	bubbleWith(t, Options{HostsFrom: 1, ScopesFrom: 32}, Connection{}, func(h *harness) {
		envoy := newSim(h)
		hosts := func(n int, version string) Change {
			var parts []*Part
			for i := range n {
				parts = append(parts, part(fmt.Sprintf("host-%d", i), "1"))
			}
			parts[3] = part("host-3", version)
			changed := []string{"host-3"}
			for i := range 64 {
				changed = append(changed, fmt.Sprintf("host-%d", i))
			}
			return routes("r", parts, changed...)
		}
		step := func(want string, changes ...Change) {
			t.Helper()
			h.server.Update(testProxy, changes)
			envoy.settle(3 * time.Second)
			if got := envoy.whole()["routes/r/host-3"]; got != want || envoy.fault != nil {
				t.Errorf("host-3 is at %q, want %q; %v", got, want, envoy.fault)
			}
		}
		step("1", hosts(5, "1"), set(Listener, "r", "1"))
		envoy.bad["part/host-3=bad"] = true
		step("1", hosts(5, "bad"))
		step("1", hosts(64, "bad"))
		if !envoy.lookups["r"][0].scoped {
			t.Fatal("64 hosts are not divided")
		}
		step("1", hosts(5, "bad"))
		if got := rejected(h); !slices.Equal(got, []string{"part/host-3"}) {
			t.Errorf("rejected %v, want the host once", got)
		}
		step("2", hosts(5, "2"))
	})
}

// TestDividedTablesGo has a listener with divided hosts go: once Envoy has said that it is gone, that is live, and
// after the grace Envoy has nothing of them.
func TestDividedTablesGo(t *testing.T) {
	bubbleWith(t, Options{HostsFrom: 1, ScopesFrom: 32, Grace: time.Minute}, Connection{}, func(h *harness) {
		envoy := newSim(h)
		for _, name := range []string{"a", "b"} {
			h.server.Update(testProxy, []Change{set(Listener, name, "1"), routes(name, numbered(64, "c"))})
		}
		envoy.settle(3 * stall)
		version := h.server.Update(testProxy, []Change{drop(Listener, "a"), drop(Routes, "a")})
		envoy.settle(stall / 2)
		if live, _ := h.server.Live(testProxy); live != version {
			t.Errorf("live %d, want %d", live, version)
		}
		left := func() (keys []string) {
			for key := range envoy.has {
				if strings.Contains(key, "/a~") {
					keys = append(keys, key)
				}
			}
			return keys
		}
		if len(left()) == 0 {
			t.Error("connections that the listener had taken have no routes any more")
		}
		if envoy.settle(time.Minute); len(left()) > 0 {
			t.Errorf("Envoy still has %v", left())
		}
	})
}

func TestDecideDivision(t *testing.T) {
	tests := []struct {
		name        string
		exact, wild int
		strange     int
		was, want   bool
	}{
		{name: "few", exact: 31},
		{name: "enough", exact: 32, want: true},
		{name: "less, but not far less", exact: 8, was: true, want: true},
		{name: "far less", exact: 7, was: true},
		{name: "many wildcards", exact: 32, wild: 3},
		{name: "more wildcards", exact: 32, wild: 8, was: true, want: true},
		{name: "too many wildcards", exact: 32, wild: 9, was: true},
		{name: "strange domains", exact: 64, strange: 1, was: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			parts := numbered(test.exact, "c")
			for i := range test.wild {
				parts = append(parts, realPart(fmt.Sprintf("*.w%d.test", i), "c", ""))
			}
			d := division{on: test.was, strange: map[string]struct{}{}}
			for i := range test.strange {
				d.look(fmt.Sprint(i), twoDomains(fmt.Sprint(i)))
			}
			if d.decide(NewParts(parts), 32); d.on != test.want {
				t.Errorf("divided is %v, want %v", d.on, test.want)
			}
		})
	}
}

// twoDomains is a virtual host that an extension server or a patch has given another domain.
func twoDomains(name string) *Part {
	return hostPart(&routev3.VirtualHost{Name: name, Domains: []string{name, "other.test"}})
}

// TestStrangeDomains has a host get a second domain, which could be in another scope, and lose it.
func TestStrangeDomains(t *testing.T) {
	st := newStore(testProxy, &queue{}, &Options{ScopesFrom: 32})
	parts := numbered(64, "c")
	st.update([]Change{set(Listener, "http", "one"), routes("http", parts)})
	divided := func() bool { return strings.Contains(string(st.resources[Listener]["http"].Body), ScopeHeader) }
	if !divided() {
		t.Fatal("64 hosts are not divided")
	}
	good := parts[9]
	parts[9] = twoDomains(good.Name)
	st.update([]Change{routes("http", parts, good.Name)})
	if divided() {
		t.Error("a host with two domains is in one scope")
	}
	parts[9] = good
	st.update([]Change{routes("http", parts, good.Name)})
	if !divided() {
		t.Error("the hosts are not divided again")
	}
	st.update([]Change{routes("http", append(parts, realPart("under_score", "c", "")), "under_score")})
	if divided() {
		t.Error("a name that can be no host is in a scope")
	}
	st.update([]Change{routes("http", parts, "under_score")})
	st.update([]Change{{Type: Routes, Name: "http"}})
	if divided() {
		t.Error("the listener looks for what is gone in scopes")
	}
	if n := len(st.resources[Routes]) + len(st.resources[scopes]); n != 0 {
		t.Errorf("%d resources are left of a route configuration that is gone", n)
	}
}

// TestScopesAreTheWhole changes hosts at random: after each change the scopes have what the whole has, exact hosts once
// and wildcards each, and only those were changed in which something did.
func TestScopesAreTheWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	st := newStore(testProxy, &queue{}, &Options{ScopesFrom: 32})
	hosts := map[string]*Part{}
	for _, p := range numbered(200, "c0") {
		hosts[p.Name] = p
	}
	var changed []string
	for range 300 {
		c := routes("http", slices.Collect(maps.Values(hosts)), changed...)
		before := maps.Clone(st.resources[Routes])
		st.update([]Change{c})
		seen := map[string]int{}
		for n := range uint8(numScopes) {
			scope := st.resources[Routes][scopeName("http", n)]
			touched := before["http"] == nil
			for _, name := range changed {
				touched = touched || isWild(name) || scopeOf(name) == n
			}
			if was := before[scope.Name]; (was != scope) != touched {
				t.Fatalf("%s changed: %v, want %v, for a change of %v", scope.Name, was != scope, touched, changed)
			}
			for p := range scope.Parts.All() {
				if hosts[p.Name] != p || scope.Part(p.Name) != p {
					t.Fatalf("%s has a version of %s that is not there", scope.Name, p.Name)
				}
				seen[p.Name]++
			}
		}
		for name := range hosts {
			want := 1
			if isWild(name) {
				want = numScopes
			}
			if seen[name] != want {
				t.Fatalf("%s is in %d scopes, want %d", name, seen[name], want)
			}
		}
		if len(seen) != len(hosts) {
			t.Fatalf("%d hosts are in scopes, want %d", len(seen), len(hosts))
		}
		name := fmt.Sprintf("host-%d.test", random.IntN(300))
		if random.IntN(10) == 0 {
			name = fmt.Sprintf("*.w%d.test", random.IntN(5))
		}
		if changed = []string{name}; hosts[name] != nil && random.IntN(2) == 0 {
			delete(hosts, name)
		} else {
			hosts[name] = realPart(name, fmt.Sprint("c", random.Uint32()), "")
		}
	}
}

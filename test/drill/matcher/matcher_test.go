package matcher

import (
	"math/rand/v2"
	"testing"
)

// TestFind has the examples of the Gateway API's documentation of precedence.
func TestFind(t *testing.T) {
	one := func(id string, m Match) Rule { return Rule{ID: id, Matches: []Match{m}} }
	w := World{
		Listeners: []Listener{{Name: "all"}, {Name: "narrow", Hostname: "*.narrow.com"}},
		Routes: []Route{
			{Name: "a", Rules: []Rule{
				one("prefix", Match{Path: "/p"}), one("longer", Match{Path: "/p/q"}),
				one("exact", Match{Path: "/p/q", Exact: true}), one("post", Match{Path: "/p", Method: "POST"}),
				one("header", Match{Path: "/p", Headers: map[string]string{"x": "1"}}),
				one("query", Match{Path: "/p", Query: map[string]string{"x": "1"}}), one("late", Match{Path: "/p"}),
			}},
			{Name: "b", Hostnames: []string{"*.wide.com", "one.wide.com"}, Rules: []Rule{one("wide", Match{Path: "/w"})}},
			{Name: "c", Hostnames: []string{"one.wide.com"}, Rules: []Rule{one("host", Match{Path: "/w/longer"})}},
			{Name: "d", Section: "narrow", Rules: []Rule{one("narrow", Match{Path: "/"})}},
		},
	}
	for _, tt := range []struct {
		want string
		Request
	}{
		{"prefix", Request{Path: "/p"}},
		{"prefix", Request{Path: "/p/"}},
		{"", Request{Path: "/pp"}},
		{"exact", Request{Path: "/p/q"}},
		{"longer", Request{Path: "/p/q/r"}},
		{"post", Request{Path: "/p", Method: "POST", Headers: map[string]string{"x": "1"}}},
		{"header", Request{Path: "/p", Headers: map[string]string{"x": "1"}, Query: map[string]string{"x": "1"}}},
		{"query", Request{Path: "/p", Query: map[string]string{"x": "1"}}},
		{"wide", Request{Host: "a.b.wide.com", Path: "/w"}},
		{"", Request{Host: "wide.com", Path: "/w"}},
		{"wide", Request{Host: "one.wide.com", Path: "/w"}},
		{"host", Request{Host: "one.wide.com", Path: "/w/longer"}},
		{"", Request{Host: "one.wide.com", Path: "/p"}},
		{"narrow", Request{Host: "x.narrow.com", Path: "/z"}},
		{"", Request{Port: 1, Path: "/p"}},
	} {
		got := ""
		if rule := w.Find(tt.Request); rule != nil {
			got = rule.ID
		}
		if got != tt.want {
			t.Errorf("%+v: rule %q, want %q", tt.Request, got, tt.want)
		}
	}
}

// TestGenerate says that generated requests meet the rules of generated worlds, and not always.
func TestGenerate(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	found, missed := map[string]bool{}, 0
	w := Generate(rng)
	for range 2000 {
		if rule := w.Find(Ask(rng)); rule != nil {
			found[rule.ID] = true
		} else {
			missed++
		}
	}
	if len(found) < 5 || missed < 100 {
		t.Errorf("%d rules were found, and %d requests have none", len(found), missed)
	}
}

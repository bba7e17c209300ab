// Package matcher says which rule of a set of HTTPRoutes serves a request, by the words of the Gateway API and in the
// simplest way: it looks at every match of every rule. It shares no code with the product, which it is there to check.
package matcher

import (
	"cmp"
	"slices"
	"strings"
)

// World is a Gateway and its routes.
type World struct {
	Listeners []Listener
	// Routes are in the order of their names, all of the same age.
	Routes []Route
}

// Listener is an HTTP listener. Port is 0 or 1: which of two ports it is on.
type Listener struct {
	Name, Hostname string
	Port           int
}

// Route is an HTTPRoute.
type Route struct {
	Name string
	// Section is the listener that it is attached to, empty for all.
	Section   string
	Hostnames []string
	Rules     []Rule
}

// Rule is a rule of a route.
type Rule struct {
	// ID is its name in the answers: a header that it sets.
	ID      string
	Matches []Match
	// Redirect is the status of a redirect, 0 for none.
	Redirect int
	// Backends are the weights of the backends.
	Backends map[string]int
}

// Match is a match of a rule. Empty fields match everything, but Path, which has to be there.
type Match struct {
	Path           string
	Exact          bool
	Method         string
	Headers, Query map[string]string
}

// Request is a request on a port.
type Request struct {
	Port               int
	Method, Host, Path string
	Headers, Query     map[string]string
}

// Find returns the rule that serves a request, nil if there is none (404). The most specific hostname that routes and
// listener have in common decides first: a request never falls back to a less specific one.
func (w World) Find(r Request) *Rule {
	listener, ok := w.listener(r)
	if !ok {
		return nil
	}
	domain, routes := w.domain(listener, r.Host)
	var best *candidate
	for _, i := range routes {
		hostname, ok := w.Routes[i].hostname(domain, listener)
		if !ok {
			continue
		}
		rules := w.Routes[i].Rules
		for j := range rules {
			for k, m := range rules[j].Matches {
				c := &candidate{hostname: hostname, match: m, place: [3]int{i, j, k}, rule: &rules[j]}
				if m.matches(r) && (best == nil || c.compare(best) < 0) {
					best = c
				}
			}
		}
	}
	if best == nil {
		return nil
	}
	return best.rule
}

// listener returns the most specific listener of the port for the host. Routes of others do not serve the request.
func (w World) listener(r Request) (Listener, bool) {
	var fits []Listener
	for _, l := range w.Listeners {
		if l.Port == r.Port && covers(l.Hostname, r.Host) {
			fits = append(fits, l)
		}
	}
	if len(fits) == 0 {
		return Listener{}, false
	}
	return slices.MinFunc(fits, func(a, b Listener) int { return specificity(a.Hostname, b.Hostname) }), true
}

// domain returns the most specific hostname that covers a host and that a route has in common with a listener, and the
// routes that are attached to the listener, by place.
func (w World) domain(l Listener, host string) (domain string, routes []int) {
	for i, route := range w.Routes {
		if route.Section != "" && route.Section != l.Name {
			continue
		}
		routes = append(routes, i)
		for _, h := range route.hostnames() {
			if d, ok := common(h, l.Hostname); ok && covers(d, host) && specificity(d, domain) < 0 {
				domain = d
			}
		}
	}
	return domain, routes
}

// hostnames are those of a route, "" for one that has none.
func (r Route) hostnames() []string {
	if len(r.Hostnames) == 0 {
		return []string{""}
	}
	return r.Hostnames
}

// hostname returns the most specific of a route's hostnames that has just the domain in common with a listener.
func (r Route) hostname(domain string, l Listener) (string, bool) {
	fits := slices.DeleteFunc(slices.Clone(r.hostnames()), func(h string) bool {
		d, ok := common(h, l.Hostname)
		return !ok || d != domain
	})
	if len(fits) == 0 {
		return "", false
	}
	return slices.MinFunc(fits, specificity), true
}

// common is what two hostnames have in common: the narrower one, if the other covers it.
func common(a, b string) (string, bool) {
	switch {
	case a == "" || covers(a, b):
		return b, true
	case b == "" || covers(b, a):
		return a, true
	}
	return "", false
}

// covers reports whether a hostname, which may be empty or begin with a wildcard label, is that of a host, or of all
// hosts of another wildcard. A wildcard stands for one label or more.
func covers(hostname, host string) bool {
	suffix, wild := strings.CutPrefix(hostname, "*")
	return hostname == "" || hostname == host || wild && strings.HasSuffix(host, suffix) && len(host) > len(suffix)
}

// specificity orders hostnames: exact ones, then wildcards, the longest first, then none.
func specificity(a, b string) int {
	kind := func(h string) int {
		switch {
		case h == "":
			return 2
		case strings.HasPrefix(h, "*"):
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(kind(a), kind(b)), cmp.Compare(len(b), len(a)))
}

func (m Match) matches(r Request) bool {
	if m.Exact && m.Path != r.Path || m.Method != "" && m.Method != r.Method {
		return false
	}
	prefix := strings.TrimSuffix(m.Path, "/")
	if !m.Exact && r.Path != prefix && !strings.HasPrefix(r.Path, prefix+"/") {
		return false
	}
	return contains(r.Headers, m.Headers) && contains(r.Query, m.Query)
}

func contains(all, some map[string]string) bool {
	for name, value := range some {
		if have, ok := all[name]; !ok || have != value {
			return false
		}
	}
	return true
}

// candidate is a match that a request fits.
type candidate struct {
	hostname string
	match    Match
	// place is the route, the rule in it and the match in that.
	place [3]int
	rule  *Rule
}

// compare orders candidates by what HTTPRouteRule.Matches says: path, method, headers, query; then the older route,
// the name, and the place.
func (c *candidate) compare(o *candidate) int {
	rank := func(yes bool) int {
		if yes {
			return 0
		}
		return 1
	}
	a, b := c.match, o.match
	return cmp.Or(
		specificity(c.hostname, o.hostname),
		cmp.Compare(rank(a.Exact), rank(b.Exact)), cmp.Compare(len(b.Path), len(a.Path)),
		cmp.Compare(rank(a.Method != ""), rank(b.Method != "")),
		cmp.Compare(len(b.Headers), len(a.Headers)), cmp.Compare(len(b.Query), len(a.Query)),
		slices.Compare(c.place[:], o.place[:]),
	)
}

package matcher

import (
	"fmt"
	"math/rand/v2"
)

// The words that worlds and requests are made of: few, so that they meet.
var (
	hostnames = []string{"a.example.com", "b.example.com", "x.a.example.com", "*.example.com", "*.a.example.com", "*.com"}
	hosts     = []string{
		"a.example.com", "b.example.com", "x.a.example.com", "y.x.a.example.com", "c.example.com", "example.com",
		"example.org", "other.com",
	}
	paths   = []string{"/", "/a", "/a/b", "/a/b/c", "/ab", "/b"}
	methods = []string{"GET", "POST"}
	names   = []string{"x-one", "x-two"}
	values  = []string{"1", "2"}
)

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// Generate makes a world of some routes.
func Generate(rng *rand.Rand) World {
	w := World{Listeners: []Listener{{Name: "all", Port: 0}, {Name: "wide", Hostname: "*.example.com", Port: 1}}}
	if rng.IntN(2) == 0 {
		w.Listeners = append(w.Listeners, Listener{Name: "narrow", Hostname: pick(rng, hostnames[:3]), Port: 0})
	}
	if rng.IntN(2) == 0 {
		w.Listeners = append(w.Listeners, Listener{Name: "deep", Hostname: "*.a.example.com", Port: rng.IntN(2)})
	}
	for i := range 5 + rng.IntN(25) {
		r := Route{Name: fmt.Sprintf("r%02d", i)}
		if rng.IntN(3) == 0 {
			r.Section = pick(rng, w.Listeners).Name
		}
		for range rng.IntN(3) {
			if h := pick(rng, hostnames); len(r.Hostnames) == 0 || r.Hostnames[0] != h {
				r.Hostnames = append(r.Hostnames, h)
			}
		}
		for j := range 1 + rng.IntN(3) {
			r.Rules = append(r.Rules, rule(rng, fmt.Sprintf("%s-%d", r.Name, j)))
		}
		w.Routes = append(w.Routes, r)
	}
	return w
}

func rule(rng *rand.Rand, id string) Rule {
	out := Rule{ID: id, Backends: map[string]int{}}
	for range 1 + rng.IntN(2) {
		m := Match{Path: pick(rng, paths), Exact: rng.IntN(3) == 0, Headers: some(rng), Query: some(rng)}
		if rng.IntN(4) == 0 {
			m.Method = pick(rng, methods)
		}
		out.Matches = append(out.Matches, m)
	}
	if rng.IntN(6) == 0 {
		out.Redirect = pick(rng, []int{301, 302})
		return out
	}
	for _, name := range []string{"one", "two"} {
		if rng.IntN(2) == 0 {
			out.Backends[name] = rng.IntN(2)
		}
	}
	return out
}

// some are no, one or two of the names with values.
func some(rng *rand.Rand) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		if rng.IntN(4) == 0 {
			out[name] = pick(rng, values)
		}
	}
	return out
}

// Ask makes a request that a world may have a rule for.
func Ask(rng *rand.Rand) Request {
	r := Request{
		Port: rng.IntN(2), Method: pick(rng, methods), Host: pick(rng, hosts), Path: pick(rng, paths),
		Headers: map[string]string{}, Query: map[string]string{},
	}
	if r.Path != "/" && rng.IntN(3) == 0 {
		r.Path += pick(rng, []string{"/", "/b", "/z", "b"})
	}
	for _, name := range names {
		if rng.IntN(2) == 0 {
			r.Headers[name] = pick(rng, values)
		}
		if rng.IntN(2) == 0 {
			r.Query[name] = pick(rng, values)
		}
	}
	return r
}

package incr_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-gateway/sluice/internal/incr"
)

// name keys every table of the tests.
type name string

func (n name) Compare(o name) int { return strings.Compare(string(n), string(o)) }

// The values of the inputs: a gateway in small.
type (
	route struct {
		Hosts    []name
		Backends []name
		Weight   int
	}
	service struct{ Port int }
	slice   struct {
		Service name
		Address string
	}
	policy struct {
		Target name
		Value  int
	}
	gateway struct{ Suffix string }
)

// facts is what the inputs of a world hold.
type facts struct {
	gateways map[name]gateway
	routes   map[name]route
	services map[name]service
	slices   map[name]slice
	policies map[name]policy
}

func newFacts() *facts {
	return &facts{
		gateways: map[name]gateway{}, routes: map[name]route{}, services: map[name]service{},
		slices: map[name]slice{}, policies: map[name]policy{},
	}
}

// world is a set of tables as a gateway has them: indexes with one and with many groups, misses that can appear later,
// a table keyed by an index, tables with several key sources, reads of whole groups and of their keys only.
type world struct {
	engine *incr.Engine

	gateways *incr.Input[name, gateway]
	routes   *incr.Input[name, route]
	services *incr.Input[name, service]
	slices   *incr.Input[name, slice]
	policies *incr.Input[name, policy]

	slicesOf  *incr.Index[name, name, slice]
	routesOf  *incr.Index[name, name, route]
	policyOf  *incr.Index[name, name, policy]
	endpoints *incr.Table[name, string]
	resolved  *incr.Table[name, resolved]
	byHost    *incr.Index[name, name, resolved]
	hosts     *incr.Table[name, string]
	byGateway *incr.Index[name, name, string]
	tables    *incr.Table[name, string]
	usage     *incr.Table[name, string]
}

// resolved is a route with its hosts and what became of its backends.
type resolved struct {
	Hosts []name
	Text  string
}

func newWorld(workers int) *world {
	e := incr.New(workers)
	w := &world{
		engine:   e,
		gateways: incr.NewInput[name, gateway](e, "gateways"),
		routes:   incr.NewInput[name, route](e, "routes"),
		services: incr.NewInput[name, service](e, "services"),
		slices:   incr.NewInput[name, slice](e, "slices"),
		policies: incr.NewInput[name, policy](e, "policies"),
	}
	one := func(n name) []name { return []name{n} }
	w.slicesOf = incr.NewIndex(e, "slices by service", w.slices, func(_ name, s slice) []name { return one(s.Service) })
	w.routesOf = incr.NewIndex(e, "routes by backend", w.routes, func(_ name, r route) []name { return r.Backends })
	w.policyOf = incr.NewIndex(e, "policies by target", w.policies, func(_ name, p policy) []name { return one(p.Target) })
	w.endpoints = incr.NewTable(e, "endpoints", w.endpointsOf, w.services, w.routesOf)
	w.resolved = incr.NewTable(e, "resolved", w.resolve, w.routes)
	w.byHost = incr.NewIndex(e, "resolved by host", w.resolved, func(_ name, r resolved) []name { return r.Hosts })
	w.hosts = incr.NewTable(e, "hosts", w.hostOf, w.byHost)
	w.byGateway = incr.NewIndex(e, "hosts by gateway", w.hosts, func(h name, _ string) []name { return one(gatewayOf(h)) })
	w.tables = incr.NewTable(e, "tables", w.tableOf, w.byGateway, w.gateways)
	w.usage = incr.NewTable(e, "usage", w.usageOf, w.services, w.routes, w.routesOf)
	return w
}

// gatewayOf is the gateway that a host belongs to: "x.g1" to "g1".
func gatewayOf(host name) name {
	_, gw, _ := strings.Cut(string(host), ".")
	return name(gw)
}

// endpointsOf has no value for a service that does not exist, though routes name it.
func (w *world) endpointsOf(r *incr.Reader, svc name) (string, bool) {
	s, ok := incr.Get(r, w.services, svc)
	if !ok {
		return fmt.Sprintf("no service, %d routes", w.routesOf.Len(r, svc)), false
	}
	var out []string
	for key, sl := range w.slicesOf.Values(r, svc) {
		out = append(out, fmt.Sprintf("%s=%s:%d", key, sl.Address, s.Port))
	}
	return strings.Join(out, ","), true
}

// resolve reads the endpoints of light routes only, so that what a route depends on changes with its own value.
func (w *world) resolve(r *incr.Reader, key name) (resolved, bool) {
	rt, _ := incr.Get(r, w.routes, key)
	var out resolved
	for _, h := range rt.Hosts {
		if gw, ok := incr.Get(r, w.gateways, gatewayOf(h)); ok {
			out.Hosts = append(out.Hosts, h)
			out.Text += gw.Suffix
		}
	}
	if len(out.Hosts) == 0 {
		return out, false
	}
	for _, b := range rt.Backends {
		text := "heavy"
		if rt.Weight < 3 {
			text, _ = incr.Get(r, w.endpoints, b)
		}
		out.Text += fmt.Sprintf(" %s(%s)", b, text)
	}
	for p, v := range w.policyOf.Values(r, key) {
		out.Text += fmt.Sprintf(" %s:%d", p, v.Value)
	}
	return out, true
}

func (w *world) hostOf(r *incr.Reader, host name) (string, bool) {
	out := []string{fmt.Sprint(w.byHost.Len(r, host))}
	for key, v := range w.byHost.Values(r, host) {
		out = append(out, string(key)+":"+v.Text)
	}
	return strings.Join(out, "|"), true
}

// tableOf reads the keys of a group and, one by one, the values of every second of them.
func (w *world) tableOf(r *incr.Reader, gw name) (string, bool) {
	_, exists := incr.Get(r, w.gateways, gw)
	var out strings.Builder
	fmt.Fprintf(&out, "%v %d", exists, w.byGateway.Len(r, gw))
	for i, h := range w.byGateway.Keys(r, gw) {
		out.WriteString(" " + string(h))
		if i%2 == 0 {
			text, _ := incr.Get(r, w.hosts, h)
			out.WriteString("{" + text + "}")
		}
	}
	return out.String(), true
}

func (w *world) usageOf(r *incr.Reader, key name) (string, bool) {
	_, isRoute := incr.Get(r, w.routes, key)
	_, isService := incr.Get(r, w.services, key)
	users := w.routesOf.Keys(r, key)
	return fmt.Sprintf("%v %v %v", isRoute, isService, users), isRoute || isService || len(users) > 1
}

// dump is every derived value.
type dump map[string]map[name]string

func (w *world) dump() dump {
	texts := map[name]string{}
	for k, v := range w.resolved.All() {
		texts[k] = fmt.Sprint(v)
	}
	return dump{
		"endpoints": maps.Collect(w.endpoints.All()), "resolved": texts, "hosts": maps.Collect(w.hosts.All()),
		"tables": maps.Collect(w.tables.All()), "usage": maps.Collect(w.usage.All()),
	}
}

// sources is what every derived value was derived from.
func (w *world) sources() map[string][]incr.Source {
	out := map[string][]incr.Source{}
	for table, keys := range w.dump() {
		for key := range keys {
			id := table + "/" + string(key)
			switch table {
			case "endpoints":
				out[id] = w.endpoints.Sources(key)
			case "resolved":
				out[id] = w.resolved.Sources(key)
			case "hosts":
				out[id] = w.hosts.Sources(key)
			case "tables":
				out[id] = w.tables.Sources(key)
			case "usage":
				out[id] = w.usage.Sources(key)
			}
		}
	}
	return out
}

// expect computes what a world with these facts must hold, by scanning, without an engine.
func (f *facts) expect() dump {
	d := dump{
		"endpoints": map[name]string{}, "resolved": map[name]string{}, "hosts": map[name]string{},
		"tables": map[name]string{}, "usage": map[name]string{},
	}
	for svc, s := range f.services {
		var out []string
		for _, key := range sorted(f.slices) {
			if sl := f.slices[key]; sl.Service == svc {
				out = append(out, fmt.Sprintf("%s=%s:%d", key, sl.Address, s.Port))
			}
		}
		d["endpoints"][svc] = strings.Join(out, ",")
	}
	byHost := f.expectRoutes(d)
	byGateway := map[name][]name{}
	for _, h := range sorted(byHost) {
		d["hosts"][h] = strings.Join(append([]string{fmt.Sprint(len(byHost[h]))}, byHost[h]...), "|")
		byGateway[gatewayOf(h)] = append(byGateway[gatewayOf(h)], h)
	}
	f.expectTables(d, byGateway)
	f.expectUsage(d)
	return d
}

func (f *facts) expectRoutes(d dump) map[name][]string {
	byHost := map[name][]string{}
	for _, key := range sorted(f.routes) {
		rt := f.routes[key]
		var out resolved
		for _, h := range rt.Hosts {
			if gw, ok := f.gateways[gatewayOf(h)]; ok {
				out.Hosts = append(out.Hosts, h)
				out.Text += gw.Suffix
			}
		}
		if len(out.Hosts) == 0 {
			continue
		}
		for _, b := range rt.Backends {
			text := "heavy"
			if rt.Weight < 3 {
				text = d["endpoints"][b]
			}
			out.Text += fmt.Sprintf(" %s(%s)", b, text)
		}
		for _, p := range sorted(f.policies) {
			if v := f.policies[p]; v.Target == key {
				out.Text += fmt.Sprintf(" %s:%d", p, v.Value)
			}
		}
		d["resolved"][key] = fmt.Sprint(out)
		for _, h := range slices.Compact(slices.Sorted(slices.Values(out.Hosts))) {
			byHost[h] = append(byHost[h], string(key)+":"+out.Text)
		}
	}
	return byHost
}

func (f *facts) expectTables(d dump, byGateway map[name][]name) {
	for gw := range f.gateways {
		if _, ok := byGateway[gw]; !ok {
			byGateway[gw] = nil
		}
	}
	for gw, hosts := range byGateway {
		_, exists := f.gateways[gw]
		out := fmt.Sprintf("%v %d", exists, len(hosts))
		for i, h := range hosts {
			out += " " + string(h)
			if i%2 == 0 {
				out += "{" + d["hosts"][h] + "}"
			}
		}
		d["tables"][gw] = out
	}
}

func (f *facts) expectUsage(d dump) {
	users := map[name][]name{}
	for _, key := range sorted(f.routes) {
		for _, b := range slices.Compact(slices.Sorted(slices.Values(f.routes[key].Backends))) {
			users[b] = append(users[b], key)
		}
	}
	keys := slices.Concat(sorted(f.routes), sorted(f.services), sorted(users))
	for _, key := range keys {
		_, isRoute := f.routes[key]
		_, isService := f.services[key]
		if isRoute || isService || len(users[key]) > 1 {
			d["usage"][key] = fmt.Sprintf("%v %v %v", isRoute, isService, users[key])
		}
	}
}

func sorted[V any](m map[name]V) []name { return slices.Sorted(maps.Keys(m)) }

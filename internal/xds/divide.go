package xds

import (
	"bytes"
	"strings"
	"time"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"
)

// DefaultScopesFrom is [Options.ScopesFrom] if that is 0.
const DefaultScopesFrom = 2000

// division is a route configuration whose hosts are, or could be, in scopes.
type division struct {
	// on says that listeners look for routes in scopes. Once they do, or did, both forms are kept up to date: connections
	// go on with the listener that took them.
	on, made bool
	// barred is the listener that Envoy refuses if it looks for these routes in scopes, empty for none.
	barred string
	// strange are the virtual hosts that have other domains than their name: in which scope they belong is not known.
	strange map[string]struct{}
}

// source is what the server made a resource of.
type source struct {
	name string
	hash uint64
	// tables are the route configurations that a listener looks for in scopes.
	tables []string
}

// decide says whether hosts are to be in scopes. Each scope has all wildcards, which must not become many more by that.
// What is in scopes stays so until there are far less, for a change of the form is a change of listeners.
func (d *division) decide(parts Parts, from int) {
	exact, wild := parts.count()
	switch {
	case d.barred != "" || len(d.strange) > 0 || wild > exact/4 || exact < from/4:
		d.on = false
	case exact >= from && wild <= exact/numScopes:
		d.on = true
	}
	d.made = d.made || d.on
}

// divide takes in changes of listeners and route configurations, and returns what follows for Envoys besides. resized
// says that other listeners than before are to look for routes in scopes.
func (st *store) divide(changes []Change) (more []Change, resized bool) {
	for i := range changes {
		switch c := &changes[i]; {
		case c.Type == Listener && c.Resource == nil:
			delete(st.listeners, c.Name)
			resized = st.pardon(c.Name) || resized
		case c.Type == Listener:
			st.listeners[c.Name] = c.Resource
			resized = st.pardon(c.Name) || resized
		case c.Type == Routes:
			was := st.divided(c.Name)
			d := st.inspect(c)
			resized = resized || was != st.divided(c.Name)
			if d != nil && d.made {
				more = append(more, st.scopesOf(c)...)
			}
		}
	}
	return more, resized
}

// divided reports whether listeners look for the routes of a table in scopes.
func (st *store) divided(table string) bool {
	d := st.divisions[table]
	return d != nil && d.on
}

// inspect decides about a route configuration that has changed, or gone. What it knows of it is nil if it is small and
// always was.
func (st *store) inspect(c *Change) *division {
	d := st.divisions[c.Name]
	switch {
	case c.Resource == nil:
		delete(st.divisions, c.Name)
		return d
	case d != nil:
		for _, name := range c.Parts {
			d.look(name, c.Resource.Part(name))
		}
	default:
		if exact, _ := c.Resource.Parts.count(); exact < st.scopesFrom {
			return nil
		}
		d = &division{strange: map[string]struct{}{}}
		st.divisions[c.Name] = d
		for p := range c.Resource.Parts.All() {
			d.look(p.Name, p)
		}
	}
	d.decide(c.Resource.Parts, st.scopesFrom)
	return d
}

// look notes whether a virtual host, which may be gone, has other domains than its name.
func (d *division) look(name string, p *Part) {
	if p == nil || named(p) {
		delete(d.strange, name)
	} else {
		d.strange[name] = struct{}{}
	}
}

// named reports whether a virtual host has its name as its only domain, and that could be a host name: Envoy finds the
// scope of no other.
func named(p *Part) bool {
	const fieldDomains = 2 // VirtualHost.domains
	if !isWild(p.Name) && strings.Trim(p.Name, hostCharacters) != "" {
		return false
	}
	domains := 0
	for host := hostBody(p); len(host) > 0; {
		number, typ, n := protowire.ConsumeTag(host)
		if n < 0 {
			return false
		}
		host = host[n:]
		if number == fieldDomains && typ == protowire.BytesType {
			domain, _ := protowire.ConsumeBytes(host)
			if domains++; string(domain) != p.Name {
				return false
			}
		}
		if n = protowire.ConsumeFieldValue(number, typ, host); n < 0 {
			return false
		}
		host = host[n:]
	}
	return domains == 1
}

// scopesOf are the changes of the scopes of a route configuration that follow from its own.
func (st *store) scopesOf(c *Change) []Change {
	var out []Change
	if c.Resource == nil {
		for n := range uint8(numScopes) {
			name := scopeName(c.Name, n)
			out = append(out, Change{Type: Routes, Name: name}, Change{Type: scopes, Name: name})
		}
		return out
	}
	var parts [numScopes][]string
	for _, name := range c.Parts {
		if !isWild(name) {
			n := scopeOf(name)
			parts[n] = append(parts[n], name)
			continue
		}
		for n := range parts {
			parts[n] = append(parts[n], name)
		}
	}
	for n := range uint8(numScopes) {
		r := scopeOfRoutes(c.Resource, n)
		if old := st.resources[Routes][r.Name]; old == nil || old.Hash != r.Hash {
			out = append(out, Change{Type: Routes, Name: r.Name, Resource: r, Parts: parts[n]})
		}
		if st.resources[scopes][r.Name] == nil {
			out = append(out, Change{Type: scopes, Name: r.Name, Resource: scopeResource(r.Name)})
		}
	}
	return out
}

// scopeOfRoutes is the configuration of a scope. It shares the blocks of the whole.
func scopeOfRoutes(r *Resource, n uint8) *Resource {
	name := scopeName(r.Name, n)
	out := &Resource{
		Name: name, Body: scopeBody(r.Body, name), Parts: r.Parts.scope(n),
		Needs: r.Needs, Owners: r.Owners, of: &source{name: r.Name, hash: r.Hash},
	}
	out.Hash = RoutesHash(out.Body, out.Parts)
	return out
}

// scoped returns a listener as Envoys are told of it.
func (st *store) scoped(r *Resource) *Resource {
	mentioned := false
	for table, d := range st.divisions {
		mentioned = mentioned || d.on && bytes.Contains(r.Body, []byte(table))
	}
	if !mentioned {
		return r
	}
	body, tables := withScopes(r.Body, st.divided)
	if len(tables) == 0 {
		return r
	}
	out := *r
	out.Body, out.Hash, out.of = body, xxhash.Sum64(body), &source{r.Name, r.Hash, tables}
	return &out
}

// unite has a listener that Envoy refuses look for routes as it would without scopes: it may be refused for them.
func (st *store) unite(r *Resource, now time.Time) {
	for _, table := range r.of.tables {
		if d := st.divisions[table]; d != nil && d.on {
			d.on, d.barred = false, r.Name
		}
	}
	for _, c := range st.rescope() {
		st.apply(&c, now)
	}
	for s := range st.streams {
		s.nudge()
	}
}

// pardon has a listener that is another now, or gone, be no reason any more not to divide. It reports whether that
// makes a difference.
func (st *store) pardon(listener string) bool {
	pardoned := false
	for table, d := range st.divisions {
		if d.barred == listener {
			d.barred = ""
			d.decide(st.resources[Routes][table].Parts, st.scopesFrom)
			pardoned = pardoned || d.on
		}
	}
	return pardoned
}

// rescope returns the changes of listeners that are to look for routes otherwise than they do.
func (st *store) rescope() []Change {
	var out []Change
	for name, r := range st.listeners {
		if r = st.scoped(r); r.Hash != st.resources[Listener][name].Hash {
			out = append(out, Change{Type: Listener, Name: name, Resource: r})
		}
	}
	return out
}

// unasked reports whether no listener asks for a route configuration, for it is in scopes or, if it is one, was.
func (st *store) unasked(name string) bool {
	if d := st.divisions[name]; d != nil {
		return d.on
	}
	r := st.resources[Routes][name]
	if r == nil || r.of == nil {
		return false
	}
	return !st.divided(r.of.name)
}

// original returns the name and version of the resource that an entry was made of, as whoever made it knows it. Of a
// route configuration it is the version there is now, if what surrounds the hosts is the same.
func (st *store) original(t Type, e *entry) (name string, hash uint64) {
	of := e.res.of
	if of == nil {
		return e.name, e.res.Hash
	}
	if now := st.resources[t][of.name]; t == Routes && now != nil && bytes.HasPrefix(e.res.Body, now.Body) {
		return of.name, now.Hash
	}
	return of.name, of.hash
}

// whole is the name of the route configuration that this is a scope of, its own if it is none.
func (r *Resource) whole() string {
	if r.of != nil {
		return r.of.name
	}
	return r.Name
}

func isWild(name string) bool { return strings.Contains(name, "*") }

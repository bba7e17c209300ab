package xds

import (
	"bytes"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sluice-gateway/sluice/internal/model"
)

// job is a piece of a response that was refused: a group of resources to send again, or the trial of one route
// configuration.
type job struct {
	names   []string
	trial   bool
	version uint64
}

// trial finds the parts of one route configuration that Envoy refuses. Each step sends what Envoy has with a group of
// the suspects exchanged for their new versions; a group that is refused is halved.
type trial struct {
	version uint64
	// hash is the version on the wire that was refused.
	hash   uint64
	groups [][]string
	// bare says that the first step is still to come: the body without any part, where nothing can be exchanged
	// because Envoy has nothing, or nothing known.
	bare bool
	// dry trials are never accepted, whatever they contain, so that nothing goes live: Envoy runs a version that is
	// not known (it had it before the server started), and each subset of the parts could be less than that.
	dry bool
	// good are the parts that passed, in a dry trial.
	good  map[string]*Part
	found int
}

// bodyPart stands for a resource itself, or its body, among its parts.
const bodyPart = ""

// nacked takes in that Envoy refused a response. Resources of the response may be in use or not: Envoy applies some
// types one by one, others up to the first bad one.
func (s *stream) nacked(f *flight, message string) {
	if f.trial {
		s.tried(&f.entries[0], message)
		return
	}
	if len(f.entries) == 0 {
		s.removed(f) // there is nothing smaller to try
		return
	}
	for _, name := range f.removed {
		s.mark(f.typ, name, f.since)
	}
	var left []*entry
	for i := range f.entries {
		e := &f.entries[i]
		if len(f.entries) > 1 && s.types[f.typ].interested(e.name) {
			s.item(f.typ, e.name).force = true
		}
		if s.st.refused(f.typ, e.res) != nil {
			s.mark(f.typ, e.name, e.version).all = true
			continue
		}
		left = append(left, e)
	}
	switch {
	case len(left) == 0:
	case len(f.entries) == 1:
		s.convict(f.typ, left[0], message)
	case len(left) < len(f.entries):
		s.queue(f.typ, [][]string{names(left)}, f.oldest())
	default:
		s.queue(f.typ, split(names(left), message), f.oldest())
	}
}

func names(entries []*entry) []string {
	list := make([]string, len(entries))
	for i, e := range entries {
		list[i] = e.name
	}
	return list
}

// queue puts groups of resources before the other jobs of the type.
func (s *stream) queue(t Type, groups [][]string, version uint64) {
	ts := &s.types[t]
	jobs := make([]job, 0, len(groups)+len(ts.jobs))
	for _, g := range groups {
		jobs = append(jobs, job{names: g, version: version})
	}
	ts.jobs = append(jobs, ts.jobs...)
}

// split divides suspects: those that Envoy's message names from the others or, if that does not help, in halves.
func split(suspects []string, message string) [][]string {
	var named, others []string
	for _, name := range suspects {
		if len(name) > 2 && strings.Contains(message, name) {
			named = append(named, name)
		} else {
			others = append(others, name)
		}
	}
	if len(named) > 0 && len(others) > 0 {
		return [][]string{named, others}
	}
	half := len(suspects) / 2
	return [][]string{suspects[:half], suspects[half:]}
}

// convict deals with an entry that was refused on its own.
func (s *stream) convict(t Type, e *entry, message string) {
	if !s.types[t].interested(e.name) {
		return
	}
	it := s.item(t, e.name)
	if t == Routes {
		s.startTrial(e, it, message)
		return
	}
	if rej := s.st.rejected[t][e.name]; rej != nil && rej.good == e.res {
		rej.good = nil // the version before is refused too: there is nothing to have
		s.st.fallback(t, e)
		return
	}
	if t == Listener && e.res.of != nil {
		if s.st.resources[t][e.name] == e.res {
			s.st.reject(t, e.res, bodyPart, &rejection{hash: e.hash, good: it.acked})
			s.st.unite(e.res, s.now)
		}
		s.mark(t, e.name, e.version) // not live before the other form of it is
		return
	}
	good := it.acked
	if good == nil {
		good = s.st.fallback(t, e)
	}
	if good != nil && !it.has {
		s.mark(t, e.name, e.version).all = true
	}
	s.reject(t, e, bodyPart, &rejection{hash: e.hash, good: good}, message)
	if t == Endpoints {
		it.force = true // the cluster may be waiting for an answer, whichever
		s.mark(t, e.name, e.version)
	}
}

// reject records what Envoy refuses and reports it once.
func (s *stream) reject(t Type, e *entry, part string, rej *rejection, message string) {
	name, hash := s.st.original(t, e)
	owners := e.res.Owners
	if p := e.parts.Find(part); part != bodyPart && p != nil {
		owners, hash = p.Owners, p.Hash
	}
	if s.st.reject(t, e.res, part, rej) {
		s.st.events.add(Event{
			Kind: Rejected, Proxy: s.st.proxy, Node: s.node.GetId(), Type: t, Version: s.st.version,
			Resource: name, Part: part, Hash: hash, Owners: slices.Clone[[]model.Ref](owners), Message: message,
		})
	}
}

// job puts the first job of the type that has something to send into the flight.
func (s *stream) job(f *flight) bool {
	ts := &s.types[f.typ]
	for len(ts.jobs) > 0 {
		j := ts.jobs[0]
		if j.trial {
			if e, ok := s.trialStep(j.names[0]); ok {
				f.entries, f.trial = []entry{e}, true
				return true
			}
			ts.jobs = ts.jobs[1:]
			continue
		}
		ts.jobs = ts.jobs[1:]
		for _, name := range j.names {
			m := &mark{version: j.version, at: s.now, all: true}
			if !ts.interested(name) || s.onTrial(f.typ, name) {
				continue
			}
			switch e, v := s.resolve(f.typ, name, m); v {
			case push:
				if e.form == delta {
					s.mark(f.typ, name, j.version).all = true // it goes alone
					continue
				}
				f.entries = append(f.entries, e)
			case wait, remove:
				s.mark(f.typ, name, j.version).all = true
			}
		}
		if len(f.entries) > 0 {
			return true
		}
	}
	return false
}

func (s *stream) onTrial(t Type, name string) bool {
	return t == Routes && s.tables[name] != nil && s.tables[name].trial != nil
}

// startTrial begins to look for the culprits in a route configuration that was refused.
func (s *stream) startTrial(e *entry, it *item, message string) {
	tab := s.table(e.name)
	if tab.clean == e.hash {
		// All of its parts are fine by themselves, but not together.
		s.reject(Routes, e, bodyPart, &rejection{hash: e.res.Hash, good: it.acked}, message)
		return
	}
	tr := &trial{
		version: e.version, hash: e.hash,
		bare: tab.sent == nil, dry: tab.sent == nil && it.has, good: map[string]*Part{},
	}
	var suspects []string
	for _, p := range Differences(tab.parts(), e.parts) {
		if p != nil {
			suspects = append(suspects, p.Name)
		}
	}
	if !tr.bare && !bytes.Equal(tab.sent.body, e.body) {
		suspects = append(suspects, bodyPart)
	}
	if len(suspects) > 0 {
		tr.groups = [][]string{suspects}
	}
	tab.trial = tr
	if !tr.bare && len(suspects) > 0 {
		e.tried = suspects
		tr.groups = nil
		s.tried(e, message) // this was the first step
	}
	ts := &s.types[Routes]
	ts.jobs = append([]job{{names: []string{e.name}, trial: true, version: e.version}}, ts.jobs...)
}

// trialStep returns the next step of a trial. It reports false, and ends the trial, if there is none.
func (s *stream) trialStep(name string) (entry, bool) {
	tab := s.tables[name]
	if tab == nil || tab.trial == nil {
		return entry{}, false
	}
	tr := tab.trial
	r := s.st.resources[Routes][name]
	if r == nil || s.st.refused(Routes, r) != nil && tab.sent == nil {
		s.endTrial(name, tab)
		return entry{}, false
	}
	if tr.bare {
		return s.trialEntry(r, tab, nil), true
	}
	for len(tr.groups) > 0 {
		group := slices.DeleteFunc(tr.groups[0], func(part string) bool {
			if part == bodyPart {
				return s.st.refused(Routes, r) != nil
			}
			p := r.Part(part)
			return p == nil || s.st.refusedPart(r, p) != nil || !s.usable(p.Needs)
		})
		tr.groups = tr.groups[1:]
		if len(group) > 0 {
			return s.trialEntry(r, tab, group), true
		}
	}
	s.endTrial(name, tab)
	return entry{}, false
}

// trialEntry makes the entry in which the suspects of the group have their new versions.
func (s *stream) trialEntry(r *Resource, tab *table, group []string) entry {
	tr := tab.trial
	e := entry{name: r.Name, res: r, body: r.Body, tried: group, version: tr.version}
	base := func(name string) *Part { return tr.good[name] }
	if tab.sent != nil {
		base = tab.sent.parts.Find
		if !slices.Contains(group, bodyPart) {
			e.body = tab.sent.body
		}
	}
	chosen := make(map[string]bool, len(group))
	for _, name := range group {
		chosen[name] = true
	}
	e.parts = r.Parts.Map(func(p *Part) *Part {
		if chosen[p.Name] {
			return p
		}
		return base(p.Name)
	})
	e.seal()
	if tr.dry {
		e.tail = probe
	}
	if s.dress(&e, tab, s.item(Routes, r.Name), &mark{}) == wait {
		e.embrace()
	}
	return e
}

// tried takes in that Envoy refused a step of a trial.
func (s *stream) tried(e *entry, message string) {
	tab := s.tables[e.name]
	if tab == nil || tab.trial == nil {
		return
	}
	tr := tab.trial
	if tr.dry && strings.Contains(message, probeName) {
		s.passed(e)
		return
	}
	switch {
	case tr.bare:
		s.reject(Routes, e, bodyPart, bodyRejection(e, nil), message)
		tr.groups = nil
		tr.bare = false
		tr.found++
	case len(e.tried) == 1 && e.tried[0] == bodyPart:
		s.reject(Routes, e, bodyPart, bodyRejection(e, &Resource{Name: e.name, Body: tab.sent.body}), message)
		tr.found++
	case len(e.tried) == 1:
		p := e.parts.Find(e.tried[0])
		s.reject(Routes, e, p.Name, &rejection{hash: p.Hash, part: tab.known(p.Name)}, message)
		tr.found++
	default:
		tr.groups = append(split(e.tried, message), tr.groups...)
	}
}

// passed takes in that a step of a trial is good.
func (s *stream) passed(e *entry) {
	tab := s.tables[e.name]
	if tab == nil || tab.trial == nil {
		return
	}
	tab.trial.bare = false
	for _, name := range e.tried {
		if p := e.parts.Find(name); p != nil {
			tab.trial.good[name] = p
		}
	}
}

// endTrial makes the configuration be sent once more, without the culprits, if that is not what Envoy has by now.
func (s *stream) endTrial(name string, tab *table) {
	tr := tab.trial
	tab.trial = nil
	if tr.found == 0 {
		tab.clean = tr.hash
	}
	s.mark(Routes, name, tr.version).all = true
}

// probeName is the domain of a virtual host that Envoy refuses because it has it twice. Envoy looks at virtual hosts
// in order, and names the domain, so that at the end of a configuration it tells one that is good from one that is
// not, and neither goes live.
const probeName = "probe.sluice.invalid"

var probe = func() []byte {
	const virtualHosts, name, domains = 2, 1, 2
	var host []byte
	for _, field := range []protowire.Number{name, domains, domains} {
		host = protowire.AppendString(protowire.AppendTag(host, field, protowire.BytesType), probeName)
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, virtualHosts, protowire.BytesType), host)
}()

func bodyRejection(e *entry, good *Resource) *rejection {
	return &rejection{hash: e.res.Hash, body: xxhash.Sum64(e.body), good: good}
}

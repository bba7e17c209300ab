package pipeline

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resource"
)

// past is what a route was: nil if it was not there, and the object that it came from, which other replicas are told
// where that version stays live. One that is new was never given that object. Of a policy there is only the object.
type past struct {
	route  *model.Route
	object resource.Object
	// until is the commit that has to be live for what came after it to be known as good.
	until uint64
}

// maxKept bounds the objects that other replicas are told, in bytes of JSON: more than any route that people write.
const maxKept = 256 << 10

// replacing notes the object that is about to be replaced or removed, if it is a policy's or a route's.
func (p *Pipeline) replacing(ref model.Ref) {
	if isPolicy(ref) {
		p.replacingPolicy(ref)
		return
	}
	if p.opts.Say == nil || ref.Group != model.GroupGateway {
		return
	}
	if old, ok := p.store.Get(ref); ok {
		p.blame.replaced[routeKeyOf(ref)] = old
	}
}

// objectBefore is the object of a route before the last commit.
func (p *Pipeline) objectBefore(k model.RouteKey) resource.Object {
	if old, ok := p.blame.replaced[k]; ok {
		return old
	}
	if p.opts.Say == nil {
		return nil
	}
	old, _ := p.store.Get(k.Ref()) // nil if it is not there
	return old
}

// find returns the version of a route that stays live, of those that are known.
func (b *blame) find(k model.RouteKey, good *model.Route) past {
	for _, v := range append(slices.Concat(b.recent[k], b.before[k]), b.told[k]) {
		if v.route == good && v.object != nil {
			return v
		}
	}
	return past{route: good}
}

// told is the object as other replicas are told it; empty if it is not known.
func (v past) told() string {
	if v.object == nil {
		return ""
	}
	text, err := json.Marshal(v.object)
	if err != nil || len(text) > maxKept {
		return ""
	}
	return string(text)
}

// heardOf returns what another replica says of a route that Envoy refuses there in the version that it has here, and
// that version; ok is false if none does. A route that is on trial here is left to its trial.
func (p *Pipeline) heardOf(k model.RouteKey) (st peer.Statement, version *model.Route, ok bool) {
	said := p.book.About(routeSubject(k))
	route, ok := p.resolved.Routes.Peek(k)
	if !ok || len(said) == 0 || p.blame.tried(k.Ref()) {
		return st, nil, false
	}
	version = &route.Route
	if refusal, refused := p.resolved.Refused.Peek(k); refused && refusal.Version != nil {
		version = refusal.Version // what the route is stands back
	}
	content := p.contentOf(k, version)
	i := slices.IndexFunc(said, func(st peer.Statement) bool { return st.Content == content && content != 0 })
	if i < 0 {
		return st, nil, false
	}
	return said[i], version, true
}

// contentOf is the content of a version of a route as replicas tell it that refuse it: with the policies that hold
// for it as they are, which may be what Envoy refuses. 0 is none.
func (p *Pipeline) contentOf(k model.RouteKey, version *model.Route) uint64 {
	route := peer.Content(version)
	policies := []string{}
	for _, ref := range p.resolved.PoliciesOf(k) {
		if o, ok := p.store.Get(ref); ok {
			policies = append(policies, fmt.Sprintf("%v of generation %d", ref, o.GetGeneration()))
		}
	}
	if route == 0 || len(policies) == 0 {
		return route
	}
	slices.Sort(policies)
	return peer.Content(struct {
		Route    uint64
		Policies []string
	}{route, policies})
}

// good returns the version of a route that stays live at another replica, the zero value if it is not known.
func (b *blame) good(k model.RouteKey, said peer.Statement) past {
	if v := b.version(k, said.Good); v.route != nil {
		return v
	}
	return b.told[k]
}

// recall makes the versions of routes that stay live at other replicas, of the objects that they tell, where this one
// started after the route became what is refused. What it commits is undone before anything is served or published; so
// nothing may be waiting for a commit.
func (p *Pipeline) recall(keys []model.RouteKey) {
	for _, k := range keys {
		said, _, ok := p.heardOf(k)
		if !ok || said.Kept == "" || p.blame.good(k, said).route != nil {
			continue
		}
		now, ok := p.store.Get(k.Ref())
		kind := resource.Find(model.GroupGateway, k.Kind)
		if !ok || kind == nil {
			continue
		}
		then := kind.New()
		if err := json.Unmarshal([]byte(said.Kept), then); err != nil {
			continue // another version of Sluice tells it in another way
		}
		p.store.Set(k.Ref(), then)
		p.engine.Commit()
		if route, ok := p.resolved.Routes.Peek(k); ok {
			p.blame.told[k] = past{route: &route.Route, object: then}
		}
		p.store.Set(k.Ref(), now)
		p.engine.Commit()
	}
}

package pipeline

import (
	"cmp"
	"encoding/json"
	"slices"

	"github.com/cespare/xxhash/v2"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/peer"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// standIn is the version of a policy that is in force while Envoy refuses what the policy is now, or while it waits for
// its trial: that object is in the store in its place.
type standIn struct {
	now, good resource.Object
	// message is Envoy's, empty before there is a verdict.
	message string
}

// What is said of a policy that Envoy refuses: of one that was in force before, and of one that was not.
const (
	refusedKept = "Envoy refused the policy as it is now, and the version before it stays in force: "
	refusedNew  = "Envoy refused what the policy asks for, and requests that it holds for are answered with 500: "
)

// isPolicy reports whether an object is a policy of the kinds that are blamed by themselves, not with their routes.
func isPolicy(ref model.Ref) bool {
	if ref.Group != model.GroupEnvoyGateway {
		return false
	}
	switch ref.Kind {
	case model.KindBackendTrafficPolicy, model.KindSecurityPolicy, model.KindEnvoyExtensionPolicy,
		model.KindClientTrafficPolicy:
		return true
	}
	return false
}

// replacingPolicy keeps what a policy is that is about to be replaced or removed, until what comes is known to be live
// or refused. What was refused was never in force, and is forgotten.
func (p *Pipeline) replacingPolicy(ref model.Ref) {
	b := &p.blame
	old := past{until: b.commits + 1}
	if was, ok := p.store.Get(ref); ok {
		old.object = was
	}
	b.acquit(ref, b.words(ref))
	if _, closed := b.closing[ref]; closed {
		delete(b.closing, ref)
		old.object = nil
		b.policies[ref] = nil
	}
	if in, refused := b.standIns[ref]; refused {
		delete(b.standIns, ref)
		b.policies[ref] = nil
		if in.message != "" {
			p.say(peer.Statement{Subject: policySubject(ref), Withdrawn: true})
		}
	}
	b.policies[ref] = remembered(b.policies[ref], old)
}

// suspectPolicies are the policies in what Envoy refuses whose last changes are not live yet, and of which there is a
// version before.
func (b *blame) suspectPolicies(p *Pipeline, e xds.Event) []model.Ref {
	if len(b.policies) == 0 {
		return nil
	}
	var out []model.Ref
	for _, ref := range p.policiesIn(e) {
		_, standsBack := b.standIns[ref]
		if list := b.policies[ref]; len(list) > 0 && list[0].object != nil && !standsBack {
			out = append(out, ref)
		}
	}
	return out
}

// policiesIn are the policies that hold for what Envoy refuses, each once and in a fixed order.
func (p *Pipeline) policiesIn(e xds.Event) []model.Ref {
	var out []model.Ref
	for _, o := range e.Owners {
		out = append(out, p.resolved.PoliciesOf(routeKeyOf(o))...)
	}
	if e.Part == "" {
		port, _ := p.resolved.Ports.Peek(p.portOf(e))
		for i := range port.Listeners {
			out = append(out, p.resolved.PoliciesOn(port.Listeners[i].Key)...)
		}
	}
	out = slices.DeleteFunc(out, func(ref model.Ref) bool { return !isPolicy(ref) })
	slices.SortFunc(out, model.Ref.Compare)
	return slices.Compact(out)
}

// portOf is the port of a listener or a route table.
func (p *Pipeline) portOf(e xds.Event) model.PortKey {
	if e.Type == xds.Routes {
		if table, r := p.built.TableOf(e.Proxy, e.Resource); r != nil {
			return table.Port()
		}
	}
	for port := range p.built.Listeners.All() {
		if port.Proxy == e.Proxy && ListenerName(port) == e.Resource {
			return port
		}
	}
	return model.PortKey{}
}

// standAside has a route or a policy stand back while others are on trial.
func (b *blame) standAside(p *Pipeline, ref model.Ref, message string) {
	if isPolicy(ref) {
		b.standBackPolicy(p, ref)
	} else {
		b.standBack(p, routeKeyOf(ref), message)
	}
}

// comeBack puts what stood aside in force as it is now.
func (b *blame) comeBack(p *Pipeline, ref model.Ref) {
	if isPolicy(ref) {
		b.reinstate(p, ref)
	} else {
		p.resolved.Refused.Delete(routeKeyOf(ref))
	}
}

// sentence has a route or a policy stand back for good: it is what Envoy refuses.
func (b *blame) sentence(p *Pipeline, ref model.Ref, message string) {
	if isPolicy(ref) {
		b.standBackPolicy(p, ref)
		b.refusePolicy(p, ref, message)
		return
	}
	k := routeKeyOf(ref)
	b.refuse(p, k, b.standBack(p, k, message))
}

// standBackPolicy puts the version of a policy that was live last in its place.
func (b *blame) standBackPolicy(p *Pipeline, ref model.Ref) {
	if _, ok := b.standIns[ref]; ok || len(b.policies[ref]) == 0 {
		return
	}
	now, ok := p.store.Get(ref)
	if !ok {
		return // it has been removed meanwhile
	}
	b.standIns[ref] = standIn{now: now, good: b.policies[ref][0].object}
	p.store.Set(ref, b.policies[ref][0].object)
}

// reinstate puts a policy in force as it is now.
func (b *blame) reinstate(p *Pipeline, ref model.Ref) {
	if in, ok := b.standIns[ref]; ok {
		delete(b.standIns, ref)
		p.store.Set(ref, in.now)
	}
}

// refusePolicy notes that Envoy refuses a policy, which stands back already.
func (b *blame) refusePolicy(p *Pipeline, ref model.Ref, message string) {
	in, ok := b.standIns[ref]
	if !ok || in.message != "" {
		return
	}
	in.message = message
	b.standIns[ref] = in
	b.verdicts.now = append(b.verdicts.now, policyIssue(ref, b.words(ref)))
	p.publishOwners([]model.Ref{ref})
	b.say(peer.Statement{
		Subject: policySubject(ref), Content: policyContent(in.now), Kept: past{object: in.good}.told(), Message: message,
	})
	if b.keep != nil {
		b.keep(ref)
	}
}

// closedTable is a route table that answers with 500: its body in this form, and what Envoy says of the other one.
type closedTable struct {
	body    uint64
	message string
}

// closeTable commits that a route table is closed.
func (b *blame) closeTable(p *Pipeline, e xds.Event) Outcome {
	b.closes(p, e)
	out := p.commit()
	id := hostID{e.Proxy, e.Resource, ""}
	b.closed[id] = closedTable{p.hostHash(id), e.Message}
	return out
}

// closes notes which policies a route table is closed for: those that were never live or, if there are none of these,
// all of them.
func (b *blame) closes(p *Pipeline, e xds.Event) {
	guilty := p.policiesIn(e)
	if fresh := slices.DeleteFunc(slices.Clone(guilty), func(ref model.Ref) bool {
		return len(b.policies[ref]) == 0
	}); len(fresh) > 0 {
		guilty = fresh
	}
	for _, ref := range guilty {
		if b.words(ref) != "" {
			continue
		}
		b.closing[ref] = e.Message
		b.verdicts.now = append(b.verdicts.now, policyIssue(ref, b.words(ref)))
	}
	p.publishOwners(guilty)
}

// words are what is said of a policy that Envoy refuses, empty if it does not.
func (b *blame) words(ref model.Ref) string {
	if in := b.standIns[ref]; in.message != "" {
		return refusedKept + in.message
	}
	if message, ok := b.closing[ref]; ok {
		return refusedNew + message
	}
	return ""
}

// acquit notes that something is not to be said of a policy any more.
func (b *blame) acquit(ref model.Ref, words string) {
	if words != "" {
		b.verdicts.fixed = append(b.verdicts.fixed, policyIssue(ref, words))
	}
}

// pronounce returns what is to be said of policies since the last commit. What was refused once is closed at once when
// it comes back, and Envoy does not see it again.
func (b *blame) pronounce(p *Pipeline) issues {
	if len(b.closed) > 0 {
		for k, c := range p.built.Routes.Changes() {
			id := hostID{k.Port().Proxy, k.String(), ""}
			if was, ok := b.closed[id]; ok && c.Has && xxhash.Sum64(c.New.Body) == was.body {
				b.closes(p, xds.Event{Type: xds.Routes, Proxy: id.proxy, Resource: id.table, Message: was.message})
			}
		}
	}
	out := b.verdicts
	b.verdicts = issues{}
	return out
}

// report is everything that is to be said of policies.
func (b *blame) report() status.Report {
	var out status.Report
	for ref := range b.standIns {
		if words := b.words(ref); words != "" {
			out = append(out, policyIssue(ref, words))
		}
	}
	for ref := range b.closing {
		out = append(out, policyIssue(ref, b.words(ref)))
	}
	slices.SortFunc(out, status.Issue.Compare)
	return out
}

func policyIssue(ref model.Ref, words string) status.Issue {
	return status.Issue{Object: ref, Condition: status.Accepted, Reason: status.ReasonInvalid, Message: words}
}

func policySubject(ref model.Ref) peer.Subject {
	return peer.Subject{Kind: peer.Policy, Name: routeKeyOf(ref).String()}
}

// policyContent tells the versions of a policy apart, equal in all processes.
func policyContent(o resource.Object) uint64 {
	return peer.Content([]any{o.GetUID(), o.GetGeneration()})
}

// adoptPolicy has a policy stand back if Envoys of another replica refuse just this version of it. It reports whether
// there is something to commit.
func (p *Pipeline) adoptPolicy(s peer.Subject) bool {
	k, ok := routeOf(s)
	ref := model.Ref{Group: model.GroupEnvoyGateway, Kind: k.Kind, Name: k.Name}
	now, there := p.store.Get(ref)
	if _, refused := p.blame.standIns[ref]; !ok || !there || refused || !isPolicy(ref) {
		return false
	}
	for _, st := range p.book.About(s) {
		good := resource.Find(ref.Group, ref.Kind).New()
		if st.Content != policyContent(now) || json.Unmarshal([]byte(cmp.Or(st.Kept, "?")), good) != nil {
			continue
		}
		p.blame.policies[ref] = []past{{object: good, until: p.blame.commits + 1}}
		p.blame.standBackPolicy(p, ref)
		p.blame.refusePolicy(p, ref, st.Message)
		return true
	}
	return false
}

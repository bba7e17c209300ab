package envoy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/cespare/xxhash/v2"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// EnvoyPatchPolicies change resources when they are built. Each says by their names which ones: a plan is the policy
// with these found. A stage has the resources of one type that some policy changes, by the keys of the type's table,
// which takes those from the stage and builds all others as ever. So a policy costs where it applies, and one that is
// edited reaches the resources that it names.

// resourceKey names a resource of a proxy as Envoy does.
type resourceKey struct {
	Proxy model.ProxyName
	Type  xds.Type
	Name  string
}

// Compare orders resources by proxy, type and name.
func (k resourceKey) Compare(o resourceKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), cmp.Compare(k.Type, o.Type), strings.Compare(k.Name, o.Name))
}

// AddedKey is a resource that only an EnvoyPatchPolicy has.
type AddedKey = resourceKey

// gateKey is a type of the resources of a proxy.
type gateKey struct {
	Proxy model.ProxyName
	Type  xds.Type
}

// Compare orders by proxy, then type.
func (k gateKey) Compare(o gateKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), cmp.Compare(k.Type, o.Type))
}

// plan is an EnvoyPatchPolicy with the resources found that it names.
type plan struct {
	Policy *resolve.PatchPolicy
	Steps  []step
	// Report is what is wrong with the policy whatever the resources are.
	Report status.Report
}

// step is one patch of a policy. Exactly one of the keys is set, that of what it changes.
type step struct {
	// Index is the place in spec.jsonPatches.
	Index    int
	Type     xds.Type
	Port     model.PortKey
	Table    model.RouteTableKey
	Backend  BackendKey
	Endpoint BackendKey
	Secret   SecretKey
	Added    AddedKey
	// Theirs is the name by which the patch calls the resource if it is that of Envoy Gateway: then the patch is for
	// the resource as Envoy Gateway has it.
	Theirs string
	// Whole says that the value of the patch is a new resource.
	Whole bool
	// Missing is what to say if there is no such resource.
	Missing string
}

// refusedPatch says that Envoy refuses what a policy made of a resource.
type refusedPatch struct {
	Policy model.Name
	// Sum is that of the policy's patches for it: others may be taken.
	Sum     uint64
	Message string
}

// patched is a resource that policies change.
type patched struct {
	// Resource is nil if there is none.
	Resource *xds.Resource
	// Applied are the policies whose patches are in the resource, in order.
	Applied []refusedPatch
	// Report is why those of others are not.
	Report status.Report
}

func equalPatched(a, b *patched) bool {
	same := a.Resource == nil && b.Resource == nil ||
		a.Resource != nil && b.Resource != nil && equalResource(a.Resource, b.Resource)
	return same && slices.Equal(a.Applied, b.Applied) && slices.Equal(a.Report, b.Report)
}

// stage are the resources of one type that policies change.
type stage[K incr.Key[K]] struct {
	b     *builder
	typ   xds.Type
	proxy func(K) model.ProxyName
	plans *incr.Index[K, model.Name, *plan]
	of    func(*step) (K, bool)
	done  *incr.Table[K, *patched]
	// build makes a resource as it is without patches, and change applies those of one policy.
	build  incr.Func[K, *xds.Resource]
	change func(p *patching, key K, base *xds.Resource, steps []*step) (*xds.Resource, error)
}

// patching is a policy that is being applied to a resource.
type patching struct {
	r    *incr.Reader
	plan *plan
	// at is the place in spec.jsonPatches of the patch whose turn it is.
	at int
}

func newStage[K incr.Key[K]](e *incr.Engine, s stage[K], name string) *stage[K] {
	s.plans = incr.NewIndex(e, "patches of "+name, s.b.plans, func(_ model.Name, p *plan) []K {
		var out []K
		for i := range p.Steps {
			if key, ok := s.of(&p.Steps[i]); ok {
				out = append(out, key)
			}
		}
		return out
	})
	s.done = incr.NewTable(e, "patched "+name, s.apply, s.plans).Equal(equalPatched)
	return &s
}

// apply applies the patches of all policies to a resource, policy by policy: all of one, or none.
func (s *stage[K]) apply(r *incr.Reader, key K) (*patched, bool) {
	base, ok := s.build(r, key)
	if !ok {
		base = nil
	}
	var plans []*plan
	for _, p := range s.plans.Values(r, key) {
		plans = append(plans, p)
	}
	slices.SortFunc(plans, func(a, b *plan) int { return a.Policy.Compare(b.Policy) })
	out := &patched{Resource: base}
	var refused []refusedPatch
	if base != nil {
		refused, _ = incr.Get(r, s.b.unpatched, resourceKey{s.proxy(key), s.typ, base.Name})
	} else if added, ok := any(key).(AddedKey); ok {
		refused, _ = incr.Get(r, s.b.unpatched, added)
	}
	for _, p := range plans {
		var steps []*step
		for i := range p.Steps {
			if k, ok := s.of(&p.Steps[i]); ok && k == key {
				steps = append(steps, &p.Steps[i])
			}
		}
		s.applyOne(&patching{r: r, plan: p, at: steps[0].Index}, key, steps, out, refused)
	}
	return out, out.Resource != nil || len(out.Report) > 0
}

// applyOne applies the patches of one policy, unless Envoy refuses what they make.
func (s *stage[K]) applyOne(work *patching, key K, steps []*step, out *patched, refused []refusedPatch) {
	p := work.plan
	mark := refusedPatch{Policy: p.Policy.Policy.Name, Sum: sumOf(p, steps)}
	for _, why := range refused {
		if why.Policy == mark.Policy && why.Sum == mark.Sum {
			out.Report = append(out.Report, problem(p, steps[0].Index, status.ReasonInvalid,
				"Envoy refused the resource that the patch makes: "+why.Message))
			return
		}
	}
	if out.Resource == nil && !steps[0].Whole {
		out.Report = append(out.Report, problem(p, steps[0].Index, reasonResourceNotFound,
			cmp.Or(steps[0].Missing, notNow)))
		return
	}
	changed, err := s.change(work, key, out.Resource, steps)
	if err != nil {
		out.Report = append(out.Report, problem(p, work.at, status.ReasonInvalid, err.Error()))
		return
	}
	out.Resource, out.Applied = changed, append(out.Applied, mark)
}

// hook builds the resources that no policy changes. A proxy without any such policy costs no look at each of them.
func (s *stage[K]) hook(r *incr.Reader, key K) (*xds.Resource, bool) {
	if _, patches := incr.Get(r, s.b.gates, gateKey{s.proxy(key), s.typ}); patches {
		if p, ok := incr.Get(r, s.done, key); ok {
			return p.Resource, p.Resource != nil
		}
	}
	return s.build(r, key)
}

// sumOf identifies what a policy asks for a resource.
func sumOf(p *plan, steps []*step) uint64 {
	digest := xxhash.New()
	for _, s := range steps {
		raw := patchBytes(&p.Policy.Patches[s.Index])
		_, _ = digest.Write(raw)
		_, _ = digest.WriteString("\n")
	}
	return digest.Sum64()
}

// reasonResourceNotFound is that of the condition Programmed for a resource that there is not.
const reasonResourceNotFound = "ResourceNotFound"

// notNow is said of a resource that there may be at other times.
const notNow = "There is no such resource now: it comes with what uses it"

// problem is why a policy is not programmed.
func problem(p *plan, index int, reason, message string) status.Issue {
	return status.Issue{
		Object: p.Policy.Policy, Condition: status.Programmed, Reason: reason,
		Path: patchPath(index), Message: message,
	}
}

// run applies the steps of a policy to a message. view is how Envoy Gateway has it under the name in a step.
func (p *patching) run(m proto.Message, steps []*step, view func(theirs string) patch.View) (proto.Message, error) {
	m = proto.Clone(m)
	for i, s := range steps {
		p.at = s.Index
		var shown patch.View
		if s.Theirs != "" {
			shown = view(s.Theirs)
		}
		if shown != nil && (i == 0 || steps[i-1].Theirs != s.Theirs) {
			shown.Show(m)
		}
		var err error
		if m, err = patch.Apply(m, &p.plan.Policy.Patches[s.Index].Operation); err != nil {
			return nil, err
		}
		if shown != nil && (i == len(steps)-1 || steps[i+1].Theirs != s.Theirs) {
			if err := shown.Restore(m); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

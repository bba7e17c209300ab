package envoy

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sluice-gateway/sluice/internal/envoy/patch"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// patches are the tables of EnvoyPatchPolicies.
type patches struct {
	// PatchReports are why policies in force are not programmed, with an entry for each of them.
	PatchReports *incr.Table[model.Name, status.Report]

	plans *incr.Table[model.Name, *plan]
	// unpatched are what policies make of resources that Envoy refuses.
	unpatched *incr.Input[resourceKey, []refusedPatch]
	// refusals is the same as of the next commit.
	refusals map[resourceKey][]refusedPatch
	// gates are the types of the resources of a proxy that some policy changes.
	gates *incr.Table[gateKey, struct{}]
	// portsOf are the ports of a proxy, added the resources that policies bring along.
	portsOf       *incr.Index[model.ProxyName, model.PortKey, model.Port]
	added         *incr.Index[AddedKey, model.Name, *plan]
	listenerStage *stage[model.PortKey]
	tableStage    *stage[model.RouteTableKey]
	clusterStage  *stage[BackendKey]
	endpointStage *stage[BackendKey]
	secretStage   *stage[SecretKey]
	addedStage    *stage[AddedKey]
}

// addPatches adds what policies ask for, and what they change of resources that extension servers have no say in, but
// for route tables.
func (b *builder) addPatches(e *incr.Engine) {
	b.unpatched = incr.NewInput[resourceKey, []refusedPatch](e, "refused patches")
	b.refusals = map[resourceKey][]refusedPatch{}
	b.portsOf = incr.NewIndex(e, "ports by proxy", b.in.Ports, func(k model.PortKey, _ model.Port) []model.ProxyName {
		return []model.ProxyName{k.Proxy}
	})
	b.plans = incr.NewTable(e, "patch plans", b.plan, b.in.PatchPolicies)
	gates := incr.NewIndex(e, "patched types", b.plans, func(_ model.Name, p *plan) []gateKey {
		var out []gateKey
		for _, s := range p.Steps {
			if s.Added == (AddedKey{}) {
				out = append(out, gateKey{Proxy: p.Policy.Proxy, Type: s.Type})
			}
		}
		return out
	})
	b.gates = incr.NewTable(e, "patch gates", func(*incr.Reader, gateKey) (struct{}, bool) {
		return struct{}{}, true
	}, gates)
	b.added = incr.NewIndex(e, "added by patches", b.plans, func(_ model.Name, p *plan) []AddedKey {
		var out []AddedKey
		for _, s := range p.Steps {
			if s.Whole {
				out = append(out, s.Added)
			}
		}
		return out
	})
	b.secretStage = newStage(e, stage[SecretKey]{
		b: b, typ: xds.Secret, build: b.secret, proxy: func(k SecretKey) model.ProxyName { return k.Proxy },
		change: changeNamed[SecretKey](b, xds.Secret),
		of:     func(s *step) (SecretKey, bool) { return s.Secret, s.Secret != SecretKey{} },
	}, "secrets")
	b.addedStage = newStage(e, stage[AddedKey]{
		b: b, change: b.changeAdded, proxy: func(k AddedKey) model.ProxyName { return k.Proxy },
		build: func(*incr.Reader, AddedKey) (*xds.Resource, bool) { return nil, false },
		of:    func(s *step) (AddedKey, bool) { return s.Added, s.Added != AddedKey{} },
	}, "additions")
}

// addPatchedTables adds the route tables that policies change: they are made of hosts.
func (b *builder) addPatchedTables(e *incr.Engine) {
	b.tableStage = newStage(e, stage[model.RouteTableKey]{
		b: b, typ: xds.Routes, build: b.table, change: b.changeRoutes,
		proxy: func(k model.RouteTableKey) model.ProxyName { return k.Port().Proxy },
		of:    func(s *step) (model.RouteTableKey, bool) { return s.Table, s.Table != model.RouteTableKey{} },
	}, "route tables")
}

// plan finds the resources that a policy names.
func (b *builder) plan(r *incr.Reader, key model.Name) (*plan, bool) {
	policy, ok := incr.Get(r, b.in.PatchPolicies, key)
	if !ok {
		return nil, false
	}
	out := &plan{Policy: policy}
	find := &namer{b: b, r: r, policy: policy, covered: map[model.ListenerKey]bool{}}
	for i := range policy.Patches {
		config := &policy.Patches[i]
		s := step{Index: i}
		typ, ok := typeOf(string(config.Type))
		problem := fmt.Sprintf("The type %q is not known", config.Type)
		if s.Type = typ; ok {
			problem = ""
			if op := &config.Operation; op.Op == "add" && empty(op.Path) && empty(op.JSONPath) {
				problem = s.whole(policy.Proxy, op)
			} else {
				problem = find.find(&s, config.Name)
			}
		}
		if problem != "" {
			out.Report = append(out.Report, status.Issue{
				Object: policy.Policy, Condition: status.Programmed, Reason: status.ReasonInvalid,
				Path: patchPath(i), Message: problem,
			})
			continue
		}
		out.Steps = append(out.Steps, s)
	}
	return out, true
}

func empty(text *string) bool { return text == nil || *text == "" }

func patchPath(index int) string { return fmt.Sprintf("spec.jsonPatches[%d]", index) }

func typeOf(url string) (xds.Type, bool) {
	for t := range xds.Types() {
		if t.URL() == url {
			return t, true
		}
	}
	return 0, false
}

// whole notes in a step that it adds a resource, and which. It returns why it may not.
func (s *step) whole(proxy model.ProxyName, op *egv1a1.JSONPatchOperation) string {
	if op.Value == nil {
		return "The operation add needs a value: with an empty path, a whole resource"
	}
	m, err := patch.Decode(op.Value.Raw, messages[s.Type]())
	if err != nil {
		return err.Error()
	}
	name := patch.NameOf(m)
	_, cluster := model.ParseBackend(name)
	own := false
	switch s.Type {
	case xds.Cluster, xds.Endpoints:
		own = cluster || ofOthers(name)
	case xds.Secret:
		own = strings.Contains(name, "/")
	case xds.Listener:
		own = strings.HasPrefix(name, "tcp/") || strings.HasPrefix(name, "udp/")
	case xds.Routes:
		own = strings.HasPrefix(name, "http/") || strings.HasPrefix(name, "https/")
	}
	switch {
	case name == "":
		return "The value has no name"
	case own:
		return fmt.Sprintf("The name %q is one that Sluice gives itself: use another one", name)
	}
	s.Whole, s.Added = true, AddedKey{Proxy: proxy, Type: s.Type, Name: name}
	return ""
}

// ofOthers reports whether a cluster has a name that stands for something else than a backend of a route.
func ofOthers(name string) bool {
	return slices.ContainsFunc([]string{"split/", "udp/", "server/", "secretvalue/", "sessionkey/"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// limits are what a policy may reach.
func (b *builder) limits(p *patching) patch.Limits {
	find := &namer{b: b, r: p.r, policy: p.plan.Policy, covered: map[model.ListenerKey]bool{}}
	out := patch.Limits{Local: b.opts.LocalBackends, Taken: find.taken}
	if !p.plan.Policy.Alone {
		out.Foreign = find.foreignCluster
	}
	return out
}

// foreignCluster returns whose cluster a text names, if the policy is not for it; else "".
func (n *namer) foreignCluster(text string) string {
	if ofOthers(text) {
		return "others"
	}
	if key, ok := model.ParseBackend(text); ok && n.used(key) {
		return n.foreignUser(key)
	}
	return ""
}

// taken returns what has a port, "" if nothing has.
func (n *namer) taken(port uint32) string {
	for key, p := range n.b.portsOf.Values(n.r, n.policy.Proxy) {
		if uint32(key.Port) == port && len(p.Listeners) > 0 {
			return p.Listeners[0].Key.Source.String()
		}
	}
	return n.b.opts.Reserved[uint16(port)] //nolint:gosec // Envoy's API has it below 65536
}

func (b *builder) changeListener(
	p *patching, key model.PortKey, base *xds.Resource, steps []*step,
) (*xds.Resource, error) {
	before, err := Message(xds.Listener, base)
	if err != nil {
		return nil, err
	}
	after, err := p.run(before, steps, func(theirs string) patch.View { return b.listenerView(p.r, key, theirs) })
	if err != nil {
		return nil, err
	}
	if err := patch.Check(before, after, b.limits(p)); err != nil {
		return nil, err
	}
	return remade(base, after)
}

// listenerView is how Envoy Gateway has the listener of a port. That of plain HTTP is named after the first of the
// Gateway's listeners, and so are its filter chain and its route configuration; in the newer scheme after the port.
func (b *builder) listenerView(r *incr.Reader, key model.PortKey, theirs string) patch.View {
	port, _ := incr.Get(r, b.in.Ports, key)
	view := &patch.Listener{
		Name: patch.Rename{Own: ListenerName(key), Theirs: theirs}, Plain: port.Protocol == model.HTTP,
	}
	for i, l := range b.inOrder(r, port) {
		name := b.listenerName(r, l.Key)
		switch {
		case l.Protocol == model.HTTPS:
			view.Chains = append(view.Chains, patch.Rename{Own: model.HTTPSTable(key, l.Key).String(), Theirs: name})
		case l.Protocol == model.HTTP && i == 0:
			if theirs == fmt.Sprintf("%s-%d", key.Transport, key.Port) {
				name = fmt.Sprintf("http-%d", key.Port)
			}
			view.Chains = append(view.Chains, patch.Rename{Own: model.HTTPTable(key).String(), Theirs: name})
		}
	}
	for _, k := range b.portChains.Keys(r, key) {
		view.Chains = append(view.Chains, patch.Rename{
			Own: k.String(), Theirs: strings.ToLower(k.Route.Kind) + "/" + k.Route.Name.String(),
		})
	}
	return view
}

// changeNamed changes resources that Envoy Gateway has but for the name.
func changeNamed[K any](b *builder, typ xds.Type) func(*patching, K, *xds.Resource, []*step) (*xds.Resource, error) {
	return func(p *patching, _ K, base *xds.Resource, steps []*step) (*xds.Resource, error) {
		before, err := Message(typ, base)
		if err != nil {
			return nil, err
		}
		after, err := p.run(before, steps, func(theirs string) patch.View {
			return patch.Named{Own: base.Name, Theirs: theirs}
		})
		if err != nil {
			return nil, err
		}
		if name := patch.NameOf(after); name != base.Name {
			return nil, fmt.Errorf("the name of a resource must stay: it is %q", base.Name)
		}
		if err := b.check(p, before, after); err != nil {
			return nil, err
		}
		return remade(base, after)
	}
}

// check checks a resource after a change; before is nil for one that is new. A cluster whose endpoints never come would
// keep all others waiting.
func (b *builder) check(p *patching, before, after proto.Message) error {
	if c, ok := after.(*clusterv3.Cluster); ok {
		name, own := patch.EndpointsOf(c), ""
		if before != nil {
			own = patch.NameOf(before)
		}
		key := AddedKey{Proxy: p.plan.Policy.Proxy, Type: xds.Endpoints, Name: name}
		if name != "" && name != own && b.added.Len(p.r, key) == 0 {
			return fmt.Errorf("there are no endpoints named %q: add that ClusterLoadAssignment, too", name)
		}
	}
	return patch.Check(before, after, b.limits(p))
}

// remade returns a resource with another message.
func remade(base *xds.Resource, m proto.Message) (*xds.Resource, error) {
	out := *base
	var err error
	if out.Body, err = (proto.MarshalOptions{Deterministic: true}).Marshal(m); err != nil {
		return nil, err
	}
	if patch.NameOf(m) != out.Name {
		return nil, fmt.Errorf("the name of a resource must stay: it is %q", out.Name)
	}
	out.Hash = hash(out.Body)
	return &out, nil
}

// changeAdded makes a resource that only policies have, or changes it.
func (b *builder) changeAdded(p *patching, key AddedKey, base *xds.Resource, steps []*step) (*xds.Resource, error) {
	var before, after proto.Message
	var err error
	if base != nil {
		if before, err = Message(key.Type, base); err != nil {
			return nil, err
		}
		after = before
	}
	for _, s := range steps {
		p.at = s.Index
		switch {
		case !s.Whole:
			after, err = p.run(after, []*step{s}, nil)
		case after != nil:
			err = errors.New("there is one of this name already")
		default:
			after, err = patch.Decode(p.plan.Policy.Patches[s.Index].Operation.Value.Raw, messages[key.Type]())
		}
		if err != nil {
			return nil, err
		}
	}
	if err := b.check(p, before, after); err != nil {
		return nil, err
	}
	out := &xds.Resource{Name: key.Name, Owners: []model.Ref{p.plan.Policy.Policy}}
	if rc, ok := after.(*routev3.RouteConfiguration); ok {
		for _, host := range rc.VirtualHosts {
			for _, route := range host.Routes {
				out.Needs = append(out.Needs, patch.NeedsOf(route)...)
			}
		}
		slices.Sort(out.Needs)
		out.Needs = slices.Compact(out.Needs)
	}
	return remade(out, after)
}

// addAdditions adds the resources that only policies have.
func (b *builder) addAdditions(e *incr.Engine) *incr.Table[AddedKey, *xds.Resource] {
	return incr.NewTable(e, "added resources", func(r *incr.Reader, k AddedKey) (*xds.Resource, bool) {
		p, _ := incr.Get(r, b.addedStage.done, k)
		return p.Resource, p.Resource != nil
	}, b.addedStage.done).Equal(equalResource)
}

// addPatchReports adds why policies are not programmed. It returns all that there is of patches.
func (b *builder) addPatchReports(e *incr.Engine) patches {
	b.PatchReports = incr.NewTable(e, "patch reports", func(r *incr.Reader, key model.Name) (status.Report, bool) {
		p, ok := incr.Get(r, b.plans, key)
		if !ok {
			return nil, false
		}
		report := slices.Clone(p.Report)
		for i := range p.Steps {
			s := &p.Steps[i]
			done, ok := b.patchedBy(r, s)
			if !ok {
				report = append(report, problem(p, s.Index, reasonResourceNotFound, notNow))
				continue
			}
			for _, issue := range done.Report {
				if issue.Object == p.Policy.Policy {
					report = append(report, issue)
				}
			}
		}
		return report.Select(func(status.Issue) bool { return true }), true
	}, b.plans)
	return b.patches
}

// patchedBy returns what became of the resource of a step.
func (b *builder) patchedBy(r *incr.Reader, s *step) (*patched, bool) {
	switch {
	case s.Port != model.PortKey{}:
		return incr.Get(r, b.listenerStage.done, s.Port)
	case s.Table != model.RouteTableKey{}:
		return incr.Get(r, b.tableStage.done, s.Table)
	case s.Backend != BackendKey{}:
		return incr.Get(r, b.clusterStage.done, s.Backend)
	case s.Endpoint != BackendKey{}:
		return incr.Get(r, b.endpointStage.done, s.Endpoint)
	case s.Secret != SecretKey{}:
		return incr.Get(r, b.secretStage.done, s.Secret)
	}
	return incr.Get(r, b.addedStage.done, s.Added)
}

// patchBytes is a patch as it was written.
func patchBytes(p *egv1a1.EnvoyJSONPatchConfig) []byte {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(fmt.Sprintf("envoy: marshal a patch that was decoded: %v", err))
	}
	return raw
}

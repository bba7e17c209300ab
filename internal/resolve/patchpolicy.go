package resolve

import (
	"cmp"
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// patchesDisabled is what Envoy Gateway says of the policies that the operator has not allowed, and how to.
const patchesDisabled = "EnvoyPatchPolicy is disabled in the EnvoyGateway configuration: whoever runs Sluice can " +
	"allow it by extensionApis.enableEnvoyPatchPolicy there, or --enable-envoy-patch-policy"

// PatchPolicy is an EnvoyPatchPolicy that is in force: what is to be changed in the resources of a proxy.
type PatchPolicy struct {
	Policy model.Ref
	// Priority and Created say when it is its turn: see [PatchPolicy.Compare].
	Priority int32
	Created  time.Time
	Proxy    model.ProxyName
	// Alone says that the proxy serves nobody else.
	Alone bool
	// Gateway is the target, Class the one whose Gateways share the proxy; one of them is empty.
	Gateway model.Name
	Class   string
	// Patches are in the order of the spec.
	Patches []egv1a1.EnvoyJSONPatchConfig
}

// Compare orders policies as they are applied: by priority, the lowest number first, then the oldest, then by name.
func (p *PatchPolicy) Compare(o *PatchPolicy) int {
	return cmp.Or(cmp.Compare(p.Priority, o.Priority), p.Created.Compare(o.Created), p.Policy.Compare(o.Policy))
}

// patchTarget is what an EnvoyPatchPolicy is attached to.
type patchTarget struct {
	Proxy   model.ProxyName
	Gateway model.Name
	Class   string
	// Ancestors is empty if the target is not ours: then there is nobody to say anything.
	Ancestors []status.Ancestor
	// Report is why the policy is not in force; empty if it is.
	Report status.Report
}

func (t *Tables) addPatchPolicies(e *incr.Engine) {
	t.PatchPolicies = incr.NewTable(e, "patch policies", func(r *incr.Reader, key model.Name) (*PatchPolicy, bool) {
		p, ok := incr.Get(r, t.in.patches, key)
		if !ok {
			return nil, false
		}
		target := t.patchTarget(r, p)
		if len(target.Report) > 0 || len(target.Ancestors) == 0 {
			return nil, false
		}
		return &PatchPolicy{
			Policy: patchPolicyRef(key), Priority: p.Spec.Priority, Created: p.CreationTimestamp.UTC(),
			Alone: t.opts.Fleets != nil, Proxy: target.Proxy, Gateway: target.Gateway, Class: target.Class,
			Patches: p.Spec.JSONPatches,
		}, true
	}, t.in.patches)
}

func patchPolicyRef(name model.Name) model.Ref {
	return envoyPolicyRef(model.KindEnvoyPatchPolicy, name)
}

// patchTarget resolves what a policy is attached to: a Gateway of its own namespace, or a GatewayClass whose Gateways
// share their Envoys (EnvoyPatchPolicySpec.targetRef).
func (t *Tables) patchTarget(r *incr.Reader, p *egv1a1.EnvoyPatchPolicy) patchTarget {
	ref := p.Spec.TargetRef
	var out patchTarget
	issue := func(reason gwv1.PolicyConditionReason, path, format string, args ...any) {
		out.Report = append(out.Report, status.Issue{
			Object:    patchPolicyRef(model.Name{Namespace: p.Namespace, Name: p.Name}),
			Condition: status.Accepted, Reason: string(reason), Path: path, Message: fmt.Sprintf(format, args...),
		})
	}
	if ref.Group == model.GroupGateway && ref.Kind == model.KindGatewayClass {
		t.patchedClass(r, string(ref.Name), &out, issue)
	} else {
		t.patchedGateway(r, model.Name{Namespace: p.Namespace, Name: string(ref.Name)}, &out, issue)
		if ref.Group != model.GroupGateway || ref.Kind != model.KindGateway {
			out.Report = nil
			issue(gwv1.PolicyReasonInvalid, "spec.targetRef", "A %s of group %q cannot be patched: name a Gateway, "+
				"or a GatewayClass with mergeGateways", ref.Kind, ref.Group)
		}
	}
	if len(out.Ancestors) > 0 && !t.opts.Patches {
		out.Report = nil
		issue(egv1a1.PolicyReasonDisabled, "", patchesDisabled)
	}
	return out
}

// issueFunc notes an issue of a policy.
type issueFunc func(reason gwv1.PolicyConditionReason, path, format string, args ...any)

func (t *Tables) patchedClass(r *incr.Reader, name string, out *patchTarget, issue issueFunc) {
	c, ok := incr.Get(r, t.classes, model.Name{Name: name})
	if !ok {
		if _, exists := incr.Get(r, t.in.classes, model.Name{Name: name}); !exists {
			issue(gwv1.PolicyReasonTargetNotFound, "spec.targetRef", "GatewayClass %s does not exist", name)
		}
		return
	}
	group, kind := gwv1.Group(model.GroupGateway), gwv1.Kind(model.KindGatewayClass)
	out.Ancestors = []status.Ancestor{{
		Ref:        gwv1.ParentReference{Group: &group, Kind: &kind, Name: gwv1.ObjectName(name)},
		Controller: gwv1.GatewayController(c.Controller),
	}}
	out.Class, out.Proxy = name, model.ProxyName(name)
	if t.opts.Fleets == nil {
		out.Proxy = t.opts.Proxy(model.Name{})
	}
	if !c.Merged {
		issue(gwv1.PolicyReasonInvalid, "spec.targetRef", "The Gateways of GatewayClass %s do not share their Envoys "+
			"(mergeGateways of its EnvoyProxy): name one of them", name)
	}
}

func (t *Tables) patchedGateway(r *incr.Reader, name model.Name, out *patchTarget, issue issueFunc) {
	own, ok := incr.Get(r, t.ours, name)
	if !ok {
		if _, exists := incr.Get(r, t.in.gateways, name); !exists {
			issue(gwv1.PolicyReasonTargetNotFound, "spec.targetRef", "%s does not exist", gatewayRef(name))
		}
		return
	}
	out.Gateway, out.Proxy = name, t.opts.Proxy(name)
	out.Ancestors = t.ancestors(r, []model.Name{name})
	if own.Class.Merged {
		issue(gwv1.PolicyReasonInvalid, "spec.targetRef", "The Gateways of GatewayClass %s share their Envoys "+
			"(mergeGateways): name the GatewayClass, whose Gateways are all patched", own.Gateway.Spec.GatewayClassName)
	}
}

// patchPolicyStatus is the status of an EnvoyPatchPolicy, apart from whether it is Programmed.
func (t *Tables) patchPolicyStatus(r *incr.Reader, key model.Name) (status.Policy, bool) {
	p, ok := incr.Get(r, t.in.patches, key)
	if !ok {
		return status.Policy{}, false
	}
	target := t.patchTarget(r, p)
	return status.Policy{
		Generation: p.Generation, Attached: true, Report: target.Report, Ancestors: target.Ancestors,
	}, true
}

// Patches reports whether a listener is of what a policy is attached to.
func (t *Tables) Patches(r *incr.Reader, p *PatchPolicy, listener model.ListenerKey) bool {
	gateway := t.GatewayOf(r, listener)
	if p.Class == "" {
		return gateway == p.Gateway
	}
	own, ok := incr.Get(r, t.ours, gateway)
	return ok && string(own.Gateway.Spec.GatewayClassName) == p.Class
}

// GatewayOf returns the Gateway of a listener, which may be written in a ListenerSet.
func (t *Tables) GatewayOf(r *incr.Reader, listener model.ListenerKey) model.Name {
	if listener.Source.Kind != model.KindListenerSet {
		return listener.Source.Name
	}
	set, _ := incr.Get(r, t.ListenerSets, listener.Source.Name)
	return set.Gateway
}

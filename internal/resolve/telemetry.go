package resolve

import (
	"fmt"
	"reflect"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// telemetry is what is known of an XTelemetryPolicy (Gateway API: GEP-4768).
type telemetry struct {
	Report status.Report
	// Attached is what it asks of features for the listeners of its targets; nil if that is nothing, or cannot be had.
	Attached []model.Attached
	// Mention is the collector, whether or not it can be used.
	Mention model.BackendKey
}

func telemetryRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupGatewayX, Kind: model.KindXTelemetryPolicy, Name: name}
}

func telemetryTargets(key model.Name, p *gwxv1a1.XTelemetryPolicy) []policyTarget {
	out := make([]policyTarget, len(p.Spec.TargetRefs))
	for i, ref := range p.Spec.TargetRefs {
		out[i].Ref = model.Ref{
			Group: string(ref.Group), Kind: string(ref.Kind),
			Name: model.Name{Namespace: key.Namespace, Name: string(ref.Name)},
		}
	}
	return out
}

func (t *Tables) addTelemetry(e *incr.Engine) {
	t.telemetryHolders = attachPolicies(e, "xtelemetrypolicy", t.in.telemetry, telemetryTargets).holders
	t.telemetries = incr.NewTable(e, "xtelemetrypolicies", t.resolveTelemetry, t.in.telemetry)
	t.GatewayPolicies = incr.NewTable(e, "gateway policies", t.gatewayPolicies, t.Gateways)
}

// gatewayPolicies returns what the EnvoyProxy of a Gateway asks of features for its listeners and, behind that, what
// its XTelemetryPolicy does.
func (t *Tables) gatewayPolicies(r *incr.Reader, gw model.Name) ([]model.Attached, bool) {
	// Gateways with the same EnvoyProxies have the very same list: then it costs nothing to see that it is the same.
	list := t.proxyAsks(r, gw)
	held, _ := incr.Get(r, t.telemetryHolders, gatewayRef(gw))
	if name, ok := held.at(""); ok {
		if p, ok := incr.Get(r, t.telemetries, name); ok && len(p.Attached) > 0 {
			list = slices.Concat(list, p.Attached)
		}
	}
	return list, len(list) > 0
}

func (t *Tables) resolveTelemetry(r *incr.Reader, key model.Name) (*telemetry, bool) {
	p, ok := incr.Get(r, t.in.telemetry, key)
	if !ok {
		return nil, false
	}
	out := &telemetry{}
	issue := func(condition, reason, path, message string) {
		out.Report = append(out.Report, status.Issue{
			Object: telemetryRef(key), Condition: condition, Reason: reason, Path: path, Message: message,
		})
	}
	for i, target := range telemetryTargets(key, p) {
		path := fmt.Sprintf("spec.targetRefs[%d]", i)
		if target.Group != model.GroupGateway || target.Kind != model.KindGateway {
			issue(status.Accepted, string(gwv1.PolicyReasonTargetNotFound), path,
				fmt.Sprintf("%s of group %q cannot be the target: use a Gateway", target.Kind, target.Group))
		}
	}
	tracing := &p.Spec.Tracing
	if tracing.Mode != gwxv1a1.TracingModeEnabled {
		return out, true
	}
	found := t.backendOf(r, telemetryRef(key), &tracing.Provider.BackendRef, model.AppGRPC)
	out.Mention = found.Mention
	if found.Reason != "" {
		issue(status.ResolvedRefs, found.Reason, "spec.tracing.provider.backendRef", found.Message)
	}
	list := []model.Attached{{
		Feature: "Tracing", Spec: tracing, Path: "spec.tracing", Source: telemetryRef(key),
		Backends: []model.BackendKey{found.key()},
	}}
	valid := true
	if t.opts.CheckAttached != nil {
		for _, problem := range t.opts.CheckAttached(list) {
			issue(status.Accepted, string(gwv1.PolicyReasonInvalid), problem.Path, problem.Message)
			valid = false
		}
	}
	if valid && found.key() != (model.BackendKey{}) {
		out.Attached = list
	}
	return out, true
}

// Managed returns what policies ask of features for a listener: for its filter chains and its connection manager. The
// plain HTTP listeners of a port share one: it does only what the policies of all of them ask for, lest the traffic of
// one ends up with the collector of another. denied, if not empty, is why the listener must take no requests: something
// that guards it cannot be applied.
func (t *Tables) Managed(r *incr.Reader, port model.Port, l *model.Listener) (list []model.Attached, denied string) {
	list = t.policiesOf(r, l.Key.Source)
	if port.Protocol == model.HTTP {
		list = t.Common(r, port)
	}
	client, denied := t.clientAsks(r, port, l)
	return slices.Concat(list, client), denied
}

// Common returns what the policies of all Gateways with listeners on a port ask for, in the same words.
func (t *Tables) Common(r *incr.Reader, port model.Port) []model.Attached {
	var out []model.Attached
	for i := range port.Listeners {
		list := t.policiesOf(r, port.Listeners[i].Key.Source)
		out = common(out, list, i == 0)
	}
	return out
}

// asks reports whether something is among what is asked for.
func asks(list []model.Attached, a model.Attached) bool {
	return slices.ContainsFunc(list, func(b model.Attached) bool { return reflect.DeepEqual(a, b) })
}

// rival returns a Gateway with a listener on the port whose policies do not ask for something.
func (t *Tables) rival(r *incr.Reader, port model.Port, a model.Attached) (model.Name, bool) {
	for i := range port.Listeners {
		source := port.Listeners[i].Key.Source
		if !asks(t.policiesOf(r, source), a) {
			gateway, _ := t.gatewayOf(r, source)
			return gateway, true
		}
	}
	return model.Name{}, false
}

// policiesOf returns what policies ask of features for the listeners of a Gateway or ListenerSet.
func (t *Tables) policiesOf(r *incr.Reader, source model.Ref) []model.Attached {
	gateway, ok := t.gatewayOf(r, source)
	if !ok {
		return nil
	}
	list, _ := incr.Get(r, t.GatewayPolicies, gateway)
	return list
}

// gatewayOf returns the Gateway that the listeners of an object belong to.
func (t *Tables) gatewayOf(r *incr.Reader, source model.Ref) (model.Name, bool) {
	if source.Kind != model.KindListenerSet {
		return source.Name, true
	}
	set, ok := incr.Get(r, t.setParents, source.Name)
	return set.Gateway, ok
}

func (t *Tables) telemetryStatus(r *incr.Reader, key model.Name) (status.Policy, bool) {
	resolved, ok := incr.Get(r, t.telemetries, key)
	if !ok {
		return status.Policy{}, false
	}
	p, _ := incr.Get(r, t.in.telemetry, key)
	targets := telemetryTargets(key, p)
	out := status.Policy{Generation: p.Generation}
	out.Report = append(out.Report, resolved.Report...)
	out.Report = append(out.Report, t.conflicts(r, t.telemetryHolders, telemetryRef(key), targets)...)
	var gateways []model.Name
	for i, target := range targets {
		if target.Group != model.GroupGateway || target.Kind != model.KindGateway {
			continue
		}
		gateways = append(gateways, target.Name)
		out.Report = append(out.Report, t.sharedPorts(r, target.Name, resolved.Attached, status.Issue{
			Object: telemetryRef(key), Condition: status.Accepted, Reason: string(gwv1.PolicyReasonConflicted),
			Path: fmt.Sprintf("spec.targetRefs[%d]", i),
		})...)
	}
	out.Ancestors = t.ancestors(r, gateways)
	return out, true
}

// sharedPorts returns an issue, made of template, for each plain HTTP port of a Gateway on which something that its
// policy asks for has no effect, because it is not asked for by the policies of all Gateways there.
func (t *Tables) sharedPorts(
	r *incr.Reader, gateway model.Name, own []model.Attached, template status.Issue,
) status.Report {
	var out status.Report
	for _, port := range t.plainPorts(r, gateway) {
		for _, a := range own {
			if !asks(t.policiesOf(r, gatewayRef(gateway)), a) {
				continue
			}
			if rival, shared := t.rival(r, port, a); shared {
				issue := template
				issue.Message = fmt.Sprintf("Gateway/%s has listeners on port %d too, without this policy, and one connection "+
					"manager serves them all: the policy has no effect there; attach it to both, or use another port",
					rival, port.Key.Port)
				out = append(out, issue)
				break
			}
		}
	}
	return out
}

// plainPorts returns the ports on which a Gateway has plain HTTP listeners.
func (t *Tables) plainPorts(r *incr.Reader, gateway model.Name) []model.Port {
	gw, _ := incr.Get(r, t.Gateways, gateway)
	var out []model.Port
	for i := range gw.Listeners {
		port, ok := incr.Get(r, t.Ports, gw.Listeners[i].PortKey(gw.Proxy))
		if ok && port.Protocol == model.HTTP {
			out = append(out, port)
		}
	}
	return out
}

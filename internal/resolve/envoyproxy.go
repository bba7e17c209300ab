package resolve

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	jsonpatch "github.com/evanphx/json-patch/v5"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// parameters is what is known of one EnvoyProxy by itself.
type parameters struct {
	Spec *egv1a1.EnvoyProxySpec
	// Problem is why it cannot be used; empty if it can.
	Problem string
}

func (t *Tables) addParameters(e *incr.Engine) {
	t.parameters = incr.NewTable(e, "parameters", func(r *incr.Reader, key model.Name) (parameters, bool) {
		p, ok := incr.Get(r, t.in.envoyProxies, key)
		if !ok {
			return parameters{}, false
		}
		return parameters{Spec: &p.Spec, Problem: t.checkParameters(&p.Spec)}, true
	}, t.in.envoyProxies)
}

// checkParameters returns why an EnvoyProxy cannot be used, beyond what its schema says.
func (t *Tables) checkParameters(spec *egv1a1.EnvoyProxySpec) string {
	var problems []string
	if spec.BackendTLS != nil {
		tlsOptions(&spec.BackendTLS.TLSSettings, func(path, message string) {
			problems = append(problems, "spec.backendTLS"+path+": "+message)
		})
	}
	if t.opts.Fleets != nil && spec.Provider != nil && spec.Provider.Type == egv1a1.EnvoyProxyProviderTypeHost {
		problems = append(problems, "spec.provider.type Host runs Envoy on one machine: use Kubernetes in a cluster")
	}
	if err := t.startable(spec); err != nil {
		problems = append(problems, err.Error())
	}
	return strings.Join(problems, "; ")
}

// startable returns why no Envoys can be started as an EnvoyProxy says; nil if they can.
func (t *Tables) startable(spec *egv1a1.EnvoyProxySpec) error {
	switch {
	case t.opts.Fleets != nil && t.opts.Fleets.Check != nil:
		return t.opts.Fleets.Check(spec)
	case t.opts.Launches != nil && t.opts.Launches.Check != nil:
		return t.opts.Launches.Check(spec)
	}
	return nil
}

// withoutEffect lists the fields of an EnvoyProxy that are accepted and do nothing, as far as they are set, and why.
func (t *Tables) withoutEffect(spec *egv1a1.EnvoyProxySpec) []string {
	provider := deref(spec.Provider, egv1a1.EnvoyProxyProvider{})
	machine := t.opts.Fleets == nil
	fields := []struct {
		path string
		set  bool
		why  string
	}{
		{"filterOrder", slices.ContainsFunc(spec.FilterOrder, ofListener), "filters of listeners have their places"},
		{"mergeBackends", spec.MergeBackends != nil, "backends are always merged"},
		{"luaValidation", spec.LuaValidation != nil, "scripts are always parsed, and never run"},
		{"dynamicModules.source.remote", slices.ContainsFunc(spec.DynamicModules, isRemote), "name a path of the proxy"},
		{"provider.kubernetes", machine && provider.Kubernetes != nil, "there is no Kubernetes on one machine"},
		{"provider.kubernetes.useListenerPortAsContainerPort", !machine && portsShifted(spec),
			"Envoys always bind to those ports"},
		{"provider.host.envoyVersion", machine && provider.Host != nil && provider.Host.EnvoyVersion != nil,
			"name the Envoy to run with --envoy"},
	}
	var out []string
	for _, f := range fields {
		if f.set {
			out = append(out, fmt.Sprintf("spec.%s (%s)", f.path, f.why))
		}
	}
	slices.Sort(out)
	return out
}

// isRemote reports whether a module is to be fetched by Envoy, which no policy can have.
func isRemote(m egv1a1.DynamicModuleEntry) bool { return m.Source.Remote != nil }

// ofListener reports whether one of two filters is not among those of routes, whose order can be chosen.
func ofListener(p egv1a1.FilterPosition) bool {
	fixed := []egv1a1.EnvoyFilter{
		egv1a1.EnvoyFilterCORS, egv1a1.EnvoyFilterHealthCheck, egv1a1.EnvoyFilterGRPCWeb, egv1a1.EnvoyFilterGRPCStats,
		egv1a1.EnvoyFilterDynamicForwardProxy,
	}
	return slices.Contains(fixed, p.Name) || slices.Contains(fixed, deref(p.Before, "")) ||
		slices.Contains(fixed, deref(p.After, ""))
}

// portsShifted reports whether an EnvoyProxy wants containers to have other ports than listeners, or says that they
// have the same.
func portsShifted(spec *egv1a1.EnvoyProxySpec) bool {
	return spec.Provider != nil && spec.Provider.Kubernetes != nil &&
		spec.Provider.Kubernetes.UseListenerPortAsContainerPort != nil
}

// envoyProxyRef returns the EnvoyProxy that a parametersRef names, or why it names none.
func envoyProxyRef(group gwv1.Group, kind gwv1.Kind, name model.Name) (model.Name, string) {
	switch {
	case group != model.GroupEnvoyGateway || kind != model.KindEnvoyProxy:
		return model.Name{}, fmt.Sprintf("%s of group %q cannot be used as parameters: use an EnvoyProxy of group %s",
			kind, group, model.GroupEnvoyGateway)
	case name.Namespace == "":
		return model.Name{}, fmt.Sprintf("The namespace of EnvoyProxy %q is missing", name.Name)
	}
	return name, ""
}

// envoyProxy returns the spec of an EnvoyProxy, or why it cannot be used.
func (t *Tables) envoyProxy(r *incr.Reader, name model.Name) (*egv1a1.EnvoyProxySpec, string) {
	p, ok := incr.Get(r, t.parameters, name)
	switch {
	case !ok:
		return nil, t.unseen(r, resource.Find(model.GroupEnvoyGateway, model.KindEnvoyProxy).Ref(name),
			fmt.Sprintf("EnvoyProxy %s does not exist", name))
	case p.Problem != "":
		return nil, fmt.Sprintf("EnvoyProxy %s is not valid: %s", name, p.Problem)
	}
	return p.Spec, ""
}

// mergeEnvoyProxies merges the EnvoyProxy of a Gateway over that of its class, and the result over the defaults. The
// more specific one's mergeType says how, and without one it replaces the other (Envoy Gateway,
// EnvoyProxySpec.mergeType). Each of the three may be nil; so is the result if all are.
func mergeEnvoyProxies(defaults, class, gateway *egv1a1.EnvoyProxySpec) (*egv1a1.EnvoyProxySpec, error) {
	merged, err := mergeEnvoyProxy(class, gateway, mergeTypeOf(gateway))
	if err != nil {
		return nil, err
	}
	return mergeEnvoyProxy(defaults, merged, mergeTypeOf(class, gateway))
}

func mergeTypeOf(specs ...*egv1a1.EnvoyProxySpec) egv1a1.MergeType {
	for _, s := range specs {
		if s != nil && s.MergeType != nil {
			return *s.MergeType
		}
	}
	return egv1a1.Replace
}

func mergeEnvoyProxy(base, over *egv1a1.EnvoyProxySpec, how egv1a1.MergeType) (*egv1a1.EnvoyProxySpec, error) {
	switch {
	case over == nil:
		return base, nil
	case base == nil || how == egv1a1.Replace:
		return over, nil
	}
	below, err := json.Marshal(base)
	if err != nil {
		return nil, fmt.Errorf("marshal the less specific EnvoyProxy: %w", err)
	}
	above, err := json.Marshal(over)
	if err != nil {
		return nil, fmt.Errorf("marshal the more specific EnvoyProxy: %w", err)
	}
	var merged []byte
	if how == egv1a1.JSONMerge {
		merged, err = jsonpatch.MergePatch(below, above)
	} else {
		merged, err = strategicpatch.StrategicMergePatch(below, above, egv1a1.EnvoyProxySpec{})
	}
	if err != nil {
		return nil, fmt.Errorf("merge by mergeType %s: %w", how, err)
	}
	out := new(egv1a1.EnvoyProxySpec)
	if err := json.Unmarshal(merged, out); err != nil {
		return nil, fmt.Errorf("what mergeType %s gives is no EnvoyProxy: %w", how, err)
	}
	return out, nil
}

// envoyProxyStatus has an ancestor for each of our classes and Gateways that use the EnvoyProxy.
func (t *Tables) envoyProxyStatus(r *incr.Reader, key model.Name) (egv1a1.EnvoyProxyStatus, bool) {
	p, ok := incr.Get(r, t.parameters, key)
	classes, gateways := t.classesUsing.Keys(r, key), t.gatewaysUsing.Keys(r, key)
	if !ok || len(classes)+len(gateways) == 0 {
		return egv1a1.EnvoyProxyStatus{}, false
	}
	object, _ := incr.Get(r, t.in.envoyProxies, key)
	var out egv1a1.EnvoyProxyStatus
	add := func(kind string, name model.Name, problems status.Report, notes []string) {
		if p.Problem != "" {
			problems = status.Report{{Reason: status.ReasonInvalidParameters, Message: p.Problem}}
		}
		if ignored := t.withoutEffect(p.Spec); len(ignored) > 0 {
			notes = append(notes, "these fields have no effect: "+strings.Join(ignored, ", "))
		}
		message := strings.Join(append([]string{"The parameters are accepted"}, notes...), "; ")
		group := gwv1.Group(model.GroupGateway)
		ref := gwv1.ParentReference{Group: &group, Kind: (*gwv1.Kind)(&kind), Name: gwv1.ObjectName(name.Name)}
		if name.Namespace != "" {
			ref.Namespace = (*gwv1.Namespace)(&name.Namespace)
		}
		out.Ancestors = append(out.Ancestors, egv1a1.EnvoyProxyAncestorStatus{
			AncestorRef: ref, Conditions: []metav1.Condition{status.Judge(status.Accepted, problems,
				string(egv1a1.EnvoyProxyReasonAccepted), message, object.Generation)},
		})
	}
	for _, name := range classes {
		// Where Envoys are started by EnvoyProxies, one serves all Gateways.
		proxy := t.opts.Proxy(key)
		add(model.KindGatewayClass, name, append(t.classIssues(r, key), t.launchProblem(r, proxy)...), nil)
	}
	for _, name := range gateways {
		problems, notes := t.proxyIssues(r, key, name)
		proxy := t.opts.Proxy(name)
		notes = append(notes, t.launchNotes(r, proxy, p.Spec)...)
		add(model.KindGateway, name, append(problems, t.launchProblem(r, proxy)...), notes)
	}
	return out, true
}

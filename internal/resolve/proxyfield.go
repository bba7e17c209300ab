package resolve

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// accessLog is the field of an EnvoyProxy that has an effect even if nobody sets it.
const accessLog = "telemetry.accessLog"

// addProxyFields adds what EnvoyProxies ask of features: once for all Gateways that have the same.
func (t *Tables) addProxyFields(e *incr.Engine) {
	used := incr.NewIndex(e, "envoyproxies of gateways", t.ours, func(_ model.Name, own *ownGateway) []mergedKey {
		return []mergedKey{proxyKey(own)}
	})
	t.proxyFields = incr.NewTable(e, "envoyproxy fields", t.fieldsOfProxy, used)
}

// proxyKey names the EnvoyProxy of a Gateway and that of its class, which it may be merged with. If only the class has
// one, that is Own.
func proxyKey(own *ownGateway) mergedKey {
	key := mergedKey{Kind: model.KindEnvoyProxy, Own: own.Class.Params}
	name, problem, has := gatewayParameters(own.Gateway)
	if has && problem == "" && !own.Class.Merged {
		key.Own, key.Parent = name, own.Class.Params
	}
	return key
}

func (t *Tables) fieldsOfProxy(r *incr.Reader, key mergedKey) (*policyFields, bool) {
	effective := t.effective(r, key)
	out := t.resolveFields(r, effective)
	t.clearSinks(r, effective, out)
	logs := featureOf(model.KindEnvoyProxy, accessLog)
	if t.opts.Fleets != nil && !t.sets(r, key, accessLog) {
		out.Attached = append(out.Attached, model.Attached{
			Feature: logs, Spec: &egv1a1.ProxyAccessLog{}, Path: "spec." + accessLog,
		})
	}
	return out, true
}

// metricsField is the field of an EnvoyProxy with the sinks of metrics.
const metricsField = "telemetry.metrics"

// clearSinks leaves out the sinks of metrics that are to be reached by TLS: Envoy knows sinks from its start, when it
// has no certificates yet, and what is to be secured is not sent in cleartext.
func (t *Tables) clearSinks(r *incr.Reader, key mergedKey, fields *policyFields) {
	for i := range fields.Attached {
		a := &fields.Attached[i]
		if a.Feature != featureOf(model.KindEnvoyProxy, metricsField) {
			continue
		}
		for j, backend := range a.Backends {
			if backend == (model.BackendKey{}) || t.guarded(r, backend) == (guard{}) {
				continue
			}
			a.Backends[j] = model.BackendKey{}
			fields.Report = append(fields.Report, status.Issue{
				Object: envoyPolicyRef(key.Kind, key.Own), Condition: status.Accepted,
				Reason: string(gwv1.PolicyReasonInvalid), Path: fmt.Sprintf("%s.sinks[%d]", a.Path, j),
				Message: fmt.Sprintf("%s is to be reached by TLS, which is not supported for metrics: send them to an "+
					"OpenTelemetry collector beside it that passes them on", backend.Ref()),
			})
		}
	}
}

// sinks returns where the Envoys of Gateways with an EnvoyProxy send metrics.
func (t *Tables) sinks(r *incr.Reader, key mergedKey) []FleetSink {
	fields, ok := incr.Get(r, t.proxyFields, key)
	if !ok {
		return nil
	}
	var out []FleetSink
	for _, a := range fields.Attached {
		if a.Feature != featureOf(model.KindEnvoyProxy, metricsField) {
			continue
		}
		for _, backend := range a.Backends {
			sink := FleetSink{Backend: backend}
			if backend.Kind == model.KindServer {
				sink.Endpoints = serverEndpoints(backend)
			} else if backend.Kind == model.KindService && t.opts.Launches != nil {
				sink.Endpoints, _ = incr.Get(r, t.Endpoints, backend.Shared())
			} else if b, ok := incr.Get(r, t.in.backends, backend.Name); ok && backend.Kind == model.KindBackend {
				sink.Endpoints = sorted(externalEndpoints(b))
			}
			out = append(out, sink)
		}
	}
	return out
}

// effective returns the key without what is not merged.
func (t *Tables) effective(r *incr.Reader, key mergedKey) mergedKey {
	if own, ok := t.envoyPolicy(r, envoyPolicyRef(key.Kind, key.Own)); !ok || own.Merge == "" {
		key.Parent = model.Name{}
	}
	return key
}

// sets reports whether the EnvoyProxies of a key set a field.
func (t *Tables) sets(r *incr.Reader, key mergedKey, field string) bool {
	list, err := t.mergedFields(r, t.effective(r, key))
	return err != nil || slices.ContainsFunc(list, func(a model.Attached) bool {
		return a.Feature == featureOf(model.KindEnvoyProxy, field)
	})
}

// proxyAsks returns what the EnvoyProxy of a Gateway asks of features.
func (t *Tables) proxyAsks(r *incr.Reader, gateway model.Name) []model.Attached {
	return t.proxyFieldsOf(r, gateway).Attached
}

func (t *Tables) proxyFieldsOf(r *incr.Reader, gateway model.Name) *policyFields {
	own, ok := incr.Get(r, t.ours, gateway)
	if !ok {
		return &policyFields{}
	}
	out, ok := incr.Get(r, t.proxyFields, proxyKey(own))
	if !ok {
		return &policyFields{}
	}
	return out
}

// proxyIssues returns what is wrong with an EnvoyProxy where a Gateway uses it: what cannot be applied, and where it
// has no effect.
func (t *Tables) proxyIssues(
	r *incr.Reader, key model.Name, gateway model.Name,
) (problems status.Report, notes []string) {
	fields := t.proxyFieldsOf(r, gateway)
	problems = inParameters(fields.Report)
	if gw, ok := incr.Get(r, t.Gateways, gateway); ok {
		shared := t.ProxyWide(r, gw.Proxy)
		for _, a := range fields.Attached {
			if a.Source.Name == key && t.opts.Clusters != nil && t.opts.Clusters(a) && !asks(shared, a) {
				notes = append(notes, fmt.Sprintf("%s has no effect: not all Gateways that share the Envoys, and with them the "+
					"clusters, have it from this EnvoyProxy", strings.TrimPrefix(a.Path, "spec.")))
			}
		}
	}
	for _, port := range t.plainPorts(r, gateway) {
		for _, a := range fields.Attached {
			rival, shared := t.rival(r, port, a)
			if a.Source.Name != key || !shared {
				continue
			}
			notes = append(notes, fmt.Sprintf("%s has no effect on port %d, where Gateway/%s, which does not ask for the "+
				"same, shares the connection manager", strings.TrimPrefix(a.Path, "spec."), port.Key.Port, rival))
		}
	}
	return problems, notes
}

// classIssues returns what is wrong with the EnvoyProxy of a class by itself.
func (t *Tables) classIssues(r *incr.Reader, key model.Name) status.Report {
	fields, _ := t.fieldsOfProxy(r, mergedKey{Kind: model.KindEnvoyProxy, Own: key})
	return inParameters(fields.Report)
}

// inParameters are the issues of fields as those of an EnvoyProxy.
func inParameters(report status.Report) status.Report {
	var out status.Report
	for _, issue := range report {
		out = append(out, status.Issue{
			Reason: status.ReasonInvalidParameters, Path: issue.Path, Message: issue.Message,
		})
	}
	return out
}

// proxyUse says that Gateways of a proxy have an EnvoyProxy, or two: thousands of Gateways can share both.
type proxyUse struct {
	Proxy model.ProxyName
	Key   mergedKey
}

// Compare orders by proxy and EnvoyProxies.
func (u proxyUse) Compare(o proxyUse) int {
	return cmp.Or(u.Proxy.Compare(o.Proxy), u.Key.Compare(o.Key))
}

// addProxyWide adds what the EnvoyProxies of all Gateways of a proxy ask for alike: what shapes the clusters and
// virtual hosts that these share.
func (t *Tables) addProxyWide(e *incr.Engine) {
	byGateway := incr.NewIndex(e, "envoyproxy uses of gateways", t.Gateways, func(_ model.Name, gw Gateway) []proxyUse {
		return []proxyUse{{Proxy: gw.Proxy, Key: gw.infra.Key}}
	})
	uses := incr.NewTable(e, "envoyproxy uses", func(*incr.Reader, proxyUse) (struct{}, bool) {
		return struct{}{}, true
	}, byGateway)
	t.proxyUses = incr.NewIndex(e, "envoyproxies of proxies", uses, func(u proxyUse, _ struct{}) []model.ProxyName {
		return []model.ProxyName{u.Proxy}
	})
	t.proxyWide = incr.NewTable(e, "proxy settings", func(r *incr.Reader, key model.ProxyName) ([]model.Attached, bool) {
		var out []model.Attached
		first := true
		for _, use := range t.proxyUses.Keys(r, key) {
			fields, ok := incr.Get(r, t.proxyFields, use.Key)
			if !ok {
				fields = &policyFields{}
			}
			out, first = common(out, fields.Attached, first), false
		}
		return out, len(out) > 0
	}, t.proxyUses)
}

// common returns what two lists ask for alike; the second if there is no first.
func common(a, b []model.Attached, first bool) []model.Attached {
	if first || reflect.DeepEqual(a, b) {
		return b
	}
	return slices.DeleteFunc(slices.Clone(a), func(x model.Attached) bool { return !asks(b, x) })
}

// ProxySettings returns what shapes all clusters of a proxy.
func (t *Tables) ProxySettings(r *incr.Reader, proxy model.ProxyName) []model.Attached {
	return slices.DeleteFunc(slices.Clone(t.ProxyWide(r, proxy)), func(a model.Attached) bool {
		return t.opts.Clusters == nil || !t.opts.Clusters(a)
	})
}

// ProxyWide returns what the EnvoyProxies of all Gateways of a proxy ask for alike.
func (t *Tables) ProxyWide(r *incr.Reader, proxy model.ProxyName) []model.Attached {
	out, _ := incr.Get(r, t.proxyWide, proxy)
	return out
}

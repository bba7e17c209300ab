package resolve

import (
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

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
	out := t.resolveFields(r, t.effective(r, key))
	logs := featureOf(model.KindEnvoyProxy, accessLog)
	if t.opts.Fleets != nil && !t.sets(r, key, accessLog) {
		out.Attached = append(out.Attached, model.Attached{
			Feature: logs, Spec: &egv1a1.ProxyAccessLog{}, Path: "spec." + accessLog,
		})
	}
	return out, true
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
	return inParameters(t.resolveFields(r, mergedKey{Kind: model.KindEnvoyProxy, Own: key}).Report)
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

package resolve

import (
	"fmt"
	"reflect"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// unfitForListeners returns an issue for each field of a ClientTrafficPolicy that has no effect on a listener that it
// holds for: because others that share something with the listener ask for something else, or because the listener
// cannot have it.
func (t *Tables) unfitForListeners(r *incr.Reader, use policyUse) status.Report {
	own := t.fieldsOf(r, mergedKey{Kind: use.Policy.Kind, Own: use.Policy.Name})
	w, _ := t.written(r, use.Ancestor.Source)
	var out status.Report
	for i := range w.Listeners {
		l := &w.Listeners[i]
		if use.Ancestor.Section != "" && use.Ancestor.Section != l.Key.Name {
			continue
		}
		port, ok := incr.Get(r, t.Ports, w.doors[i].Port)
		name, _, held := t.holdingPolicy(r, l.Key, use.Policy.Kind)
		if !ok || !held || name != use.Policy.Name {
			continue
		}
		for _, a := range own.Attached {
			if !concerns(a.Feature, l) {
				continue
			}
			out = append(out, t.disputed(r, use.Policy, port, l, a)...)
			out = append(out, t.withoutQUIC(r, use.Policy, port.Key, a)...)
			for _, issue := range t.checkListener(a, port, l) {
				issue.Object = use.Policy
				out = append(out, issue)
			}
		}
	}
	slices.SortFunc(out, status.Issue.Compare)
	return slices.Compact(out)
}

// disputed returns an issue if a listener of the port asks for something else, so that nobody gets it.
func (t *Tables) disputed(
	r *incr.Reader, policy model.Ref, port model.Port, l *model.Listener, a model.Attached,
) status.Report {
	if !t.disputes(r, port.Key, a.Feature) {
		return nil
	}
	mine, asks := t.asks(r, port, l)[a.Feature]
	if !asks {
		return nil // others want something of the port: what this policy says holds
	}
	what := "has settings of the port as a whole, which all of its listeners share"
	if port.Protocol == model.HTTP {
		what = "is for the connection manager, which all plain HTTP listeners of a port share"
	}
	for i := range port.Listeners {
		other := &port.Listeners[i]
		if reflect.DeepEqual(t.asks(r, port, other)[a.Feature], mine) {
			continue
		}
		return status.Report{{
			Object: policy, Condition: status.Accepted, Reason: string(gwv1.PolicyReasonConflicted), Path: a.Path,
			Message: fmt.Sprintf("It %s, and listener %s is on port %d too and does not ask for the same: nobody there gets "+
				"it; say the same in the policies of both, or use another port", what, other.Key, port.Key.Port),
		}}
	}
	return nil
}

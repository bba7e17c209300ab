package resolve

import (
	"fmt"
	"slices"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// StreamGuards returns what policies ask of those who make the connections that a TLSRoute or TCPRoute takes on a
// listener whose own policies are above, or send the packets of a UDPRoute. rule is the name of the route's rule.
// denied, if not empty, is why nobody may get in: something that guards them cannot be applied.
//
// What a policy of a listener says of requests is for other routes there; what one of the route itself says is for
// these.
func (t *Tables) StreamGuards(
	r *incr.Reader, above model.PolicyStack, route model.RouteKey, rule string,
) (list []model.Attached, denied string) {
	held, _ := incr.Get(r, t.routePolicies, route)
	for _, kind := range routePolicyKinds {
		key := mergedKey{Kind: kind, Own: above.Policy(kind)}
		own, ok := held.nearest(kind, rule)
		if ok {
			key = t.mergedKey(r, kind, own, above)
		}
		if key.Own == (model.Name{}) {
			continue
		}
		guards, broken := t.streamGuards(t.fieldsOf(r, key), route.Kind, own)
		list = append(list, guards...)
		if broken {
			denied = "Invalid" + kind
		}
	}
	return list, denied
}

// streamGuards returns what fields ask of those who use streams of a kind, and whether something that guards these
// cannot be applied. own is the policy among those of the fields that is attached to the route itself, empty for none.
func (t *Tables) streamGuards(fields *policyFields, kind string, own model.Name) (list []model.Attached, broken bool) {
	attached := own != (model.Name{})
	broken = fields.Denied != "" && (attached || len(fields.Unguarded) == 0)
	broken = broken || slices.ContainsFunc(fields.Unguarded, func(feature string) bool {
		return t.guardsStream(feature, kind)
	})
	for _, a := range fields.Attached {
		ofRoute := attached && a.Source.Name == own
		switch {
		case t.guardsStream(a.Feature, kind):
			list = append(list, a)
			broken = broken || ofRoute && len(t.checkStream(a)) > 0
		case ofRoute && t.guardsField(a.Feature):
			broken = true
		}
	}
	return list, broken
}

// guardsStream reports whether a feature can say who may use streams of a kind.
func (t *Tables) guardsStream(feature, kind string) bool {
	return kind != model.KindUDPRoute && t.opts.GuardsStreams != nil && t.opts.GuardsStreams(feature)
}

// checkStream returns what is asked of those who make connections that says nothing of these.
func (t *Tables) checkStream(a model.Attached) status.Report {
	if t.opts.CheckStream == nil {
		return nil
	}
	return t.opts.CheckStream(a)
}

// unfitForStreams returns an issue for each field of a policy that says nothing of the connections or packets of a
// route that the policy is attached to.
func (t *Tables) unfitForStreams(r *incr.Reader, use policyUse) status.Report {
	own := t.fieldsOf(r, mergedKey{Kind: use.Policy.Kind, Own: use.Policy.Name})
	var out status.Report
	issue := func(path, message string) {
		out = append(out, status.Issue{
			Object: use.Policy, Condition: status.Accepted, Reason: string(gwv1.PolicyReasonInvalid), Path: path,
			Message: message,
		})
	}
	for _, a := range own.Attached {
		switch {
		case t.guardsStream(a.Feature, use.Stream):
			for _, problem := range t.checkStream(a) {
				issue(problem.Path, problem.Message)
			}
		case t.guardsField(a.Feature):
			issue(a.Path, fmt.Sprintf("It is about HTTP requests, of which a %s knows nothing: nobody gets in there until it "+
				"is removed, or the policy attached to an HTTPRoute or GRPCRoute only", use.Stream))
		case t.opts.ShapesStreams != nil && !t.opts.ShapesStreams(a):
			issue(a.Path, fmt.Sprintf("It is about HTTP requests, of which a %s knows nothing, and has no effect there: "+
				"remove it, or attach the policy to an HTTPRoute or GRPCRoute only", use.Stream))
		}
	}
	return out
}

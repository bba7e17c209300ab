package status

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Route is what is known of a route when its status is made.
type Route struct {
	// Generation of the route that was resolved.
	Generation int64
	// Rules is how many rules the route has.
	Rules int
	// Report holds the issues of the route. Issues without a Section.Parent are those of every parent.
	Report Report
	// Parents are the parentRefs that are ours, in the order of the spec.
	Parents []Parent
	// Refused is set while Envoy refuses the route: its words, and which version stays live.
	Refused string
}

// Parent is the outcome of one parentRef.
type Parent struct {
	// Index of the parentRef in the spec.
	Index      int
	Ref        gwv1.ParentReference
	Controller gwv1.GatewayController
	// Reason why the route is not attached to the parent; empty if it is.
	Reason string
	// Message goes with Reason; without a Reason it is a remark about a route that is attached.
	Message string
}

// Invalid says whether nothing of a route with so many rules can be applied: then it is not accepted by any parent,
// and does not count as attached. (Gateway API, RouteConditionPartiallyInvalid: it "MUST NOT be set if a Route is
// fully invalid".)
func Invalid(report Report, rules int) bool {
	bad := badRules(report)
	return slices.Contains(bad, -1) || rules > 0 && len(bad) >= rules
}

// badRules returns the indexes of the rules that cannot be applied, -1 standing for the whole route.
func badRules(report Report) []int {
	var bad []int
	for _, i := range report {
		if i.Condition == Accepted {
			bad = append(bad, i.Section.Rule-1)
		}
	}
	slices.Sort(bad)
	return slices.Compact(bad)
}

// Build returns the status of the route: for each parent the conditions Accepted and ResolvedRefs, PartiallyInvalid if
// some rules are dropped, and Programmed if Envoy refuses it.
func (r Route) Build() gwv1.RouteStatus {
	out := gwv1.RouteStatus{Parents: make([]gwv1.RouteParentStatus, 0, len(r.Parents))}
	for _, p := range r.Parents {
		out.Parents = append(out.Parents, gwv1.RouteParentStatus{
			ParentRef: p.Ref, ControllerName: p.Controller, Conditions: r.conditions(p),
		})
	}
	return out
}

func (r Route) conditions(p Parent) []metav1.Condition {
	report := r.Report.Select(func(i Issue) bool {
		return i.Section.Parent == 0 || i.Section.Parent == p.Index+1
	})
	about := func(condition string) Report {
		return report.Select(func(i Issue) bool { return i.Condition == condition })
	}
	accepted := about(Accepted)
	partial := false
	var out []metav1.Condition
	switch {
	case p.Reason != "":
		out = append(out, False(Accepted, p.Reason, p.Message, r.Generation))
	case Invalid(report, r.Rules):
		out = append(out, False(Accepted, accepted.Reason(), accepted.Message(), r.Generation))
	default:
		partial = len(accepted) > 0
		message := p.Message
		if message == "" {
			message = "The route is attached to the Gateway"
		}
		out = append(out, True(Accepted, string(gwv1.RouteReasonAccepted), message, r.Generation))
	}
	out = append(out, Judge(ResolvedRefs, about(ResolvedRefs), string(gwv1.RouteReasonResolvedRefs),
		"All references are resolved", r.Generation))
	if partial {
		out = append(out, True(PartiallyInvalid, accepted.Reason(), dropped(accepted), r.Generation))
	}
	if r.Refused != "" {
		out = append(out, False(Programmed, ReasonInvalid, r.Refused, r.Generation))
	}
	return out
}

// dropped is the message of PartiallyInvalid, which has to start with "Dropped Rule".
func dropped(accepted Report) string {
	var rules []string
	for _, i := range badRules(accepted) {
		rules = append(rules, fmt.Sprint(i))
	}
	return fmt.Sprintf("Dropped Rule(s) %s: %s", strings.Join(rules, ", "), accepted.Message())
}

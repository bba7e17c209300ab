package status

import (
	"encoding/json"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
)

// EachCondition calls f for every condition of a status, with the name of the part of the status that it is in: "" for
// the whole object, else one that is unique in the object. The status is a *gwv1.GatewayStatus,
// *gwv1.GatewayClassStatus, *gwv1.ListenerSetStatus, *gwv1.RouteStatus, *gwv1.PolicyStatus, *egv1a1.BackendStatus,
// *egv1a1.EnvoyProxyStatus, *gwxv1a1.BackendStatus or *gwxv1a1.TelemetryPolicyStatus; anything else has no conditions.
func EachCondition(status any, f func(section string, c *metav1.Condition)) {
	each := func(section string, list []metav1.Condition) {
		for i := range list {
			f(section, &list[i])
		}
	}
	ancestor := func(ref gwv1.ParentReference, list []metav1.Condition) {
		name, _ := json.Marshal(ref)
		each("ancestor "+string(name), list)
	}
	switch s := status.(type) {
	case *gwv1.GatewayClassStatus:
		each("", s.Conditions)
	case *gwv1.GatewayStatus:
		each("", s.Conditions)
		for i := range s.Listeners {
			each("listener "+string(s.Listeners[i].Name), s.Listeners[i].Conditions)
		}
	case *gwv1.ListenerSetStatus:
		each("", s.Conditions)
		for i := range s.Listeners {
			each("listener "+string(s.Listeners[i].Name), s.Listeners[i].Conditions)
		}
	case *gwv1.RouteStatus:
		for i := range s.Parents {
			parent, _ := json.Marshal(s.Parents[i].ParentRef)
			each("parent "+string(parent), s.Parents[i].Conditions)
		}
	case *egv1a1.BackendStatus:
		each("", s.Conditions)
	default:
		eachAncestor(status, ancestor)
	}
}

// eachAncestor calls f for every ancestor of a status that has these and nothing else.
func eachAncestor(status any, f func(ref gwv1.ParentReference, list []metav1.Condition)) {
	switch s := status.(type) {
	case *gwv1.PolicyStatus:
		for i := range s.Ancestors {
			f(s.Ancestors[i].AncestorRef, s.Ancestors[i].Conditions)
		}
	case *egv1a1.EnvoyProxyStatus:
		for i := range s.Ancestors {
			f(s.Ancestors[i].AncestorRef, s.Ancestors[i].Conditions)
		}
	case *gwxv1a1.TelemetryPolicyStatus:
		for i := range s.Ancestors {
			f(s.Ancestors[i].AncestorRef, s.Ancestors[i].Conditions)
		}
	case *gwxv1a1.BackendStatus:
		for i := range s.Ancestors {
			f(s.Ancestors[i].AncestorRef, s.Ancestors[i].Conditions)
		}
	}
}

// Copy returns a deep copy of a status of a type that [EachCondition] knows, nil for anything else.
func Copy(status any) any {
	switch s := status.(type) {
	case *gwv1.GatewayClassStatus:
		return s.DeepCopy()
	case *gwv1.GatewayStatus:
		return s.DeepCopy()
	case *gwv1.ListenerSetStatus:
		return s.DeepCopy()
	case *gwv1.RouteStatus:
		return s.DeepCopy()
	case *gwv1.PolicyStatus:
		return s.DeepCopy()
	case *egv1a1.BackendStatus:
		return s.DeepCopy()
	case *egv1a1.EnvoyProxyStatus:
		return s.DeepCopy()
	case *gwxv1a1.BackendStatus:
		return s.DeepCopy()
	case *gwxv1a1.TelemetryPolicyStatus:
		return s.DeepCopy()
	}
	return nil
}

// Bad reports whether a condition says that something is wrong.
func Bad(c metav1.Condition) bool {
	switch c.Type {
	case Conflicted, PartiallyInvalid:
		return c.Status == metav1.ConditionTrue
	case string(gwv1.ListenerConditionOverlappingTLSConfig), string(gwv1.GatewayConditionInsecureFrontendValidationMode):
		return false
	}
	return c.Status == metav1.ConditionFalse
}

// Problems returns what a status says is wrong with its object, each once: the causes, without the conditions that
// only follow from others.
func Problems(ref model.Ref, status any) Report {
	causes := map[string]bool{}
	EachCondition(status, func(section string, c *metav1.Condition) {
		if Bad(*c) && c.Type != Programmed {
			causes[section] = true
		}
	})
	var out Report
	EachCondition(status, func(section string, c *metav1.Condition) {
		follows := c.Type == Programmed && (causes[section] || c.Reason == ReasonPending) ||
			section == "" && (ref.Kind == model.KindGateway || ref.Kind == model.KindListenerSet) &&
				followsFromListeners(c.Reason)
		if Bad(*c) && !follows {
			out = append(out, Issue{Object: ref, Condition: c.Type, Reason: c.Reason, Message: c.Message})
		}
	})
	return out.Select(func(Issue) bool { return true })
}

func followsFromListeners(reason string) bool {
	switch reason {
	case ReasonListenersNotValid, string(gwv1.GatewayReasonListenersNotResolved), ReasonInvalid:
		return true
	}
	return false
}

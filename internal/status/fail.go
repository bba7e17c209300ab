package status

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Fail returns a copy of a status of a type that [EachCondition] knows which says that Sluice itself fails on the
// object: Programmed is False where the kind has that condition, else Accepted.
func Fail(status any, why string, generation int64) any {
	out := Copy(status)
	not := func(typ string) metav1.Condition { return False(typ, ReasonInternalError, why, generation) }
	switch s := out.(type) {
	case *gwv1.RouteStatus:
		for i := range s.Parents {
			s.Parents[i].Conditions = replace(s.Parents[i].Conditions, not(Programmed))
		}
	case *gwv1.GatewayStatus:
		s.Conditions = replace(s.Conditions, not(Programmed))
	case *gwv1.ListenerSetStatus:
		s.Conditions = replace(s.Conditions, not(Programmed))
	default:
		EachCondition(out, func(_ string, c *metav1.Condition) {
			if c.Type == Accepted {
				*c = not(Accepted)
			}
		})
	}
	return out
}

// replace puts a condition in the place of the one of its type, or behind the others.
func replace(list []metav1.Condition, c metav1.Condition) []metav1.Condition {
	at := slices.IndexFunc(list, func(old metav1.Condition) bool { return old.Type == c.Type })
	if at < 0 {
		return append(list, c)
	}
	list[at] = c
	return list
}

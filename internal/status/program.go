package status

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Progress is what the proxies have said about a Gateway.
type Progress struct {
	// Addresses are where the Gateway can be reached. A Gateway without one is not programmed.
	Addresses []gwv1.GatewayStatusAddress
	// Reason is why the Gateway is not programmed whatever its listeners say, and Message what to do about it; empty if
	// nothing is amiss.
	Reason, Message string
	// Pending returns what is still missing until the listener takes traffic everywhere, or "".
	Pending func(listener gwv1.SectionName) string
}

// Program completes a status made by [Gateway.Build] with what the proxies have said: the addresses, and a Programmed
// condition for the Gateway and each listener that does not have one yet. The Gateway is programmed when it has an
// address, nothing is amiss with its Envoys and none of its valid listeners is pending. st is not changed.
func Program(st gwv1.GatewayStatus, p Progress) gwv1.GatewayStatus {
	st.Addresses = p.Addresses
	st.Listeners = slices.Clone(st.Listeners)
	waiting := ""
	for i := range st.Listeners {
		l := &st.Listeners[i]
		if has(l.Conditions, Programmed) {
			continue
		}
		pending := p.Pending(l.Name)
		if pending != "" && waiting == "" {
			waiting = "Listener " + string(l.Name) + ": " + pending
		}
		l.Conditions = programmed(l.Conditions, ReasonPending, pending, "Every proxy serves the listener")
	}
	if has(st.Conditions, Programmed) {
		return st
	}
	reason := ReasonPending
	if p.Reason != "" {
		reason, waiting = p.Reason, p.Message
	} else if len(p.Addresses) == 0 {
		reason, waiting = string(gwv1.GatewayReasonAddressNotAssigned), "The Gateway has no address yet"
	}
	st.Conditions = programmed(st.Conditions, reason, waiting, "Every proxy serves the Gateway")
	return st
}

func has(conditions []metav1.Condition, typ string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == typ })
}

// programmed returns the conditions with a Programmed condition at the generation of the first of them.
func programmed(conditions []metav1.Condition, reason, missing, done string) []metav1.Condition {
	generation := conditions[0].ObservedGeneration
	c := True(Programmed, string(gwv1.GatewayReasonProgrammed), done, generation)
	if missing != "" {
		c = False(Programmed, reason, missing, generation)
	}
	return append(slices.Clip(conditions), c)
}

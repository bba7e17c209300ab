package status

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Progress is what the proxies have said about a Gateway, or the listeners of a ListenerSet.
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
	entries := make([]entry, len(st.Listeners))
	for i, l := range st.Listeners {
		entries[i] = entry{l.Name, l.Conditions}
	}
	waiting := p.program(entries)
	st.Listeners = slices.Clone(st.Listeners)
	for i := range st.Listeners {
		st.Listeners[i].Conditions = entries[i].conditions
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

// entry is a listener of a Gateway or a ListenerSet.
type entry struct {
	name       gwv1.SectionName
	conditions []metav1.Condition
}

// program adds a Programmed condition to each listener that does not have one yet. It returns what the first that is
// pending waits for, "" if none does.
func (p Progress) program(listeners []entry) string {
	waiting := ""
	for i := range listeners {
		l := &listeners[i]
		if has(l.conditions, Programmed) {
			continue
		}
		pending := p.Pending(l.name)
		if pending != "" && waiting == "" {
			waiting = "Listener " + string(l.name) + ": " + pending
		}
		l.conditions = programmed(l.conditions, ReasonPending, pending, "Every proxy serves the listener")
	}
	return waiting
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

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
	// Unheard says that nothing may be missing: Envoys may have the listener, and have not had the time to say so. nil
	// stands for never.
	Unheard func(listener gwv1.SectionName) bool
}

// Program completes a status made by [Gateway.Build] with what the proxies have said: the addresses, and a Programmed
// condition for the Gateway and each listener that does not have one yet. The Gateway is programmed when it has an
// address, nothing is amiss with its Envoys and none of its valid listeners is pending; that is Unknown while all that
// are pending are unheard. st is not changed.
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
	if p.Reason != "" {
		waiting = missing{reason: p.Reason, message: p.Message}
	} else if len(p.Addresses) == 0 {
		waiting = missing{
			reason: string(gwv1.GatewayReasonAddressNotAssigned), message: "The Gateway has no address yet",
		}
	}
	st.Conditions = programmed(st.Conditions, waiting, "Every proxy serves the Gateway")
	return st
}

// entry is a listener of a Gateway or a ListenerSet.
type entry struct {
	name       gwv1.SectionName
	conditions []metav1.Condition
}

// missing is what something lacks to be programmed; nothing if the message is empty.
type missing struct {
	reason, message string
	// unheard says that it may lack nothing.
	unheard bool
}

// program adds a Programmed condition to each listener that does not have one yet. It returns what the first that is
// pending waits for, rather of one that does lack something.
func (p Progress) program(listeners []entry) missing {
	var waiting missing
	for i := range listeners {
		l := &listeners[i]
		if has(l.conditions, Programmed) {
			continue
		}
		pending := missing{reason: ReasonPending, message: p.Pending(l.name)}
		if pending.message != "" {
			pending.unheard = p.Unheard != nil && p.Unheard(l.name)
			if waiting.message == "" || waiting.unheard && !pending.unheard {
				waiting = pending
				waiting.message = "Listener " + string(l.name) + ": " + pending.message
			}
		}
		l.conditions = programmed(l.conditions, pending, "Every proxy serves the listener")
	}
	return waiting
}

func has(conditions []metav1.Condition, typ string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool { return c.Type == typ })
}

// programmed returns the conditions with a Programmed condition at the generation of the first of them.
func programmed(conditions []metav1.Condition, lacks missing, done string) []metav1.Condition {
	generation := conditions[0].ObservedGeneration
	c := True(Programmed, string(gwv1.GatewayReasonProgrammed), done, generation)
	if lacks.message != "" {
		c = False(Programmed, lacks.reason, lacks.message, generation)
	}
	if lacks.unheard {
		c.Status = metav1.ConditionUnknown
	}
	return append(slices.Clip(conditions), c)
}

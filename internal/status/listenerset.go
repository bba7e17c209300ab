package status

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// ListenerSet is what is known of a ListenerSet when its status is made.
type ListenerSet struct {
	// Generation of the ListenerSet that was resolved.
	Generation int64
	// Report holds the issues of the listeners.
	Report Report
	// Listeners are in the order of the spec.
	Listeners []Listener
	// Reason is why the Gateway takes none of the listeners: NotAllowed or ParentNotAccepted; empty if it does. Message
	// goes with it.
	Reason, Message string
}

// Build returns the status of the ListenerSet. Programmed is there only where it is already known to be False;
// [ProgramListenerSet] adds it once Envoys have answered.
func (s ListenerSet) Build() gwv1.ListenerSetStatus {
	var out gwv1.ListenerSetStatus
	var troubled []string
	for _, l := range s.Listeners {
		st := l.build(s.Report, s.Generation, s.Reason != "")
		out.Listeners = append(out.Listeners, gwv1.ListenerEntryStatus(st))
		if !l.usable() {
			troubled = append(troubled, string(l.Name))
		}
	}
	reason, message := s.Reason, s.Message
	if reason == "" && len(troubled) > 0 {
		reason, message = ReasonListenersNotValid, fmt.Sprintf("Not valid: listener %s", strings.Join(troubled, ", "))
	}
	switch {
	case reason == "":
		out.Conditions = []metav1.Condition{
			True(Accepted, string(gwv1.ListenerSetReasonAccepted), "The ListenerSet is accepted", s.Generation),
		}
	case s.Reason == "" && len(troubled) < len(s.Listeners):
		out.Conditions = []metav1.Condition{True(Accepted, reason, message, s.Generation)}
	default:
		out.Conditions = []metav1.Condition{
			False(Accepted, reason, message, s.Generation), False(Programmed, reason, message, s.Generation),
		}
	}
	return out
}

// ProgramListenerSet completes a status made by [ListenerSet.Build] with what the proxies have said, as [Program] does
// that of a Gateway. st is not changed.
func ProgramListenerSet(st gwv1.ListenerSetStatus, p Progress) gwv1.ListenerSetStatus {
	entries := make([]entry, len(st.Listeners))
	for i, l := range st.Listeners {
		entries[i] = entry{l.Name, l.Conditions}
	}
	waiting := p.program(entries)
	st.Listeners = append([]gwv1.ListenerEntryStatus(nil), st.Listeners...)
	for i := range st.Listeners {
		st.Listeners[i].Conditions = entries[i].conditions
	}
	if has(st.Conditions, Programmed) {
		return st
	}
	if p.Reason != "" {
		waiting = missing{reason: ReasonPending, message: p.Message}
	} else if len(p.Addresses) == 0 {
		waiting = missing{reason: ReasonPending, message: "The Gateway has no address yet"}
	}
	st.Conditions = programmed(st.Conditions, waiting, "Every proxy serves the ListenerSet")
	return st
}

package status

import (
	"cmp"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// Gateway is what is known of a Gateway when its status is made.
type Gateway struct {
	// Generation of the Gateway that was resolved.
	Generation int64
	// Report holds the issues of the Gateway and of its listeners.
	Report Report
	// Listeners are in the order of the spec.
	Listeners []Listener
	// AttachedListenerSets is how many accepted ListenerSets are attached.
	AttachedListenerSets *int32
	// DefaultScope is set if the Gateway is a default Gateway.
	DefaultScope gwv1.GatewayDefaultScope
	// Insecure says that some HTTPS port lets in clients whose certificates are not valid.
	Insecure bool
}

// Listener is what is known of a listener when its status is made.
type Listener struct {
	Name gwv1.SectionName
	// Kinds are the kinds of routes that the listener takes.
	Kinds []gwv1.RouteGroupKind
	// AttachedRoutes is how many accepted routes are attached.
	AttachedRoutes int
	// Serving says that the listener alone can be programmed.
	Serving bool
	// Conflict is HostnameConflict or ProtocolConflict if the listener lost its port to another, ConflictWith that other
	// listener.
	Conflict, ConflictWith string
	// Unbound is why the proxy cannot bind the port; empty if it can.
	Unbound string
	// Overlaps are listeners of the port that serve, with their own certificates, some host that this one serves too.
	Overlaps []string
}

// usable says whether the listener takes traffic.
func (l Listener) usable() bool { return l.Serving && l.Conflict == "" && l.Unbound == "" }

// Build returns the status of the Gateway. Programmed is there only where it is already known to be False; [Program]
// adds it once Envoys have answered.
func (g Gateway) Build() gwv1.GatewayStatus {
	out := gwv1.GatewayStatus{AttachedListenerSets: g.AttachedListenerSets}
	usable, unresolved := 0, []string{}
	var troubled []string
	for _, l := range g.Listeners {
		st := l.build(g.Report, g.Generation, false)
		out.Listeners = append(out.Listeners, st)
		if l.usable() {
			usable++
		} else {
			troubled = append(troubled, string(l.Name))
		}
		if g.unresolved(l) {
			unresolved = append(unresolved, string(l.Name))
		}
	}
	out.Conditions = []metav1.Condition{g.accepted(usable, troubled)}
	out.Conditions = append(out.Conditions, g.resolved(unresolved))
	if g.DefaultScope != "" {
		out.Conditions = append(out.Conditions, True(DefaultGateway, DefaultGateway,
			fmt.Sprintf("The Gateway has default scope %s", g.DefaultScope), g.Generation))
	}
	if g.Insecure {
		out.Conditions = append(out.Conditions, True(string(gwv1.GatewayConditionInsecureFrontendValidationMode),
			string(gwv1.GatewayReasonConfigurationChanged),
			"Clients without a valid certificate are let in: the mode is AllowInsecureFallback", g.Generation))
	}
	if issues := g.Report.Of(Programmed, Section{}); len(issues) > 0 {
		out.Conditions = append(out.Conditions, False(Programmed, issues.Reason(), issues.Message(), g.Generation))
	} else if usable == 0 {
		out.Conditions = append(out.Conditions,
			False(Programmed, ReasonInvalid, "No listener is valid: see the listeners' conditions", g.Generation))
	}
	return out
}

// accepted is the Gateway's own Accepted condition. A Gateway with one good listener is accepted; ListenersNotValid is
// the reason whether it is or not (Gateway API, GatewayReasonListenersNotValid).
func (g Gateway) accepted(usable int, troubled []string) metav1.Condition {
	if issues := g.Report.Of(Accepted, Section{}); len(issues) > 0 {
		return False(Accepted, issues.Reason(), issues.Message(), g.Generation)
	}
	message := fmt.Sprintf("Not valid: listener %s", strings.Join(troubled, ", "))
	switch {
	case len(g.Report.Of(Programmed, Section{})) > 0 || len(troubled) == 0:
		return True(Accepted, string(gwv1.GatewayReasonAccepted), "The Gateway is accepted", g.Generation)
	case usable == 0:
		return False(Accepted, ReasonListenersNotValid, message, g.Generation)
	default:
		return True(Accepted, ReasonListenersNotValid, message, g.Generation)
	}
}

func (g Gateway) unresolved(l Listener) bool {
	return len(g.Report.Of(ResolvedRefs, Section{Listener: string(l.Name)})) > 0
}

func (g Gateway) resolved(unresolved []string) metav1.Condition {
	issues := g.Report.Of(ResolvedRefs, Section{})
	if len(issues) == 0 && len(unresolved) > 0 {
		return False(ResolvedRefs, string(gwv1.GatewayReasonListenersNotResolved),
			"Unresolved references in listener "+strings.Join(unresolved, ", "), g.Generation)
	}
	return Judge(ResolvedRefs, issues, string(gwv1.GatewayReasonResolvedRefs), "All references are resolved", g.Generation)
}

// build returns the status of the listener. parentless says that the object that it is written in takes no traffic at
// all: its own condition says why.
func (l Listener) build(report Report, generation int64, parentless bool) gwv1.ListenerStatus {
	section := Section{Listener: string(l.Name)}
	accepted := Judge(Accepted, report.Of(Accepted, section), string(gwv1.ListenerReasonAccepted),
		"The listener is accepted", generation)
	conflicted := False(Conflicted, string(gwv1.ListenerReasonNoConflicts), "No conflicts", generation)
	failed := cmp.Or(l.Conflict, ReasonInvalid)
	switch {
	case l.Conflict != "":
		message := "The listener " + l.ConflictWith + " has the same port"
		if l.Conflict == string(gwv1.ListenerReasonHostnameConflict) {
			message += " and no other hostname"
		} else {
			message += " with another protocol"
		}
		conflicted = True(Conflicted, l.Conflict, message, generation)
		accepted = False(Accepted, l.Conflict, message, generation)
	case l.Unbound != "" && accepted.Status == metav1.ConditionTrue:
		accepted = False(Accepted, ReasonPortUnavailable, l.Unbound, generation)
	}
	out := gwv1.ListenerStatus{
		Name: l.Name, SupportedKinds: l.Kinds, AttachedRoutes: int32(l.AttachedRoutes), // a count of objects
		Conditions: []metav1.Condition{
			accepted,
			Judge(ResolvedRefs, report.Of(ResolvedRefs, section), string(gwv1.ListenerReasonResolvedRefs),
				"All references are resolved", generation),
			conflicted,
		},
	}
	switch {
	case parentless:
		out.Conditions = append(out.Conditions,
			False(Programmed, ReasonPending, "Waiting for the Gateway to accept the ListenerSet", generation))
	case !l.usable():
		out.Conditions = append(out.Conditions, False(Programmed, failed, "See the other conditions", generation))
	}
	if len(l.Overlaps) > 0 {
		out.Conditions = append(out.Conditions, True(string(gwv1.ListenerConditionOverlappingTLSConfig),
			string(gwv1.ListenerReasonOverlappingHostnames),
			"Hostnames overlap with those of listener "+strings.Join(l.Overlaps, ", ")+
				": clients may reuse connections across them", generation))
	}
	return out
}

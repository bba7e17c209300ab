package status

import (
	"cmp"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The condition types that the stages name in code.
const (
	Accepted         = "Accepted"
	ResolvedRefs     = "ResolvedRefs"
	Programmed       = "Programmed"
	Conflicted       = "Conflicted"
	PartiallyInvalid = "PartiallyInvalid"
	// Warning is the condition of a policy of Envoy Gateway that is accepted, but wants attention; it is there only then.
	Warning = string(egv1a1.PolicyConditionWarning)
	// DefaultGateway is the condition of a default Gateway, and its reason (GEP-3793).
	DefaultGateway = "DefaultGateway"
)

// The reasons that the stages name in code. Their meaning depends on the condition that they are given for; the
// Gateway API defines them beside its condition types.
const (
	ReasonInvalid             = "Invalid"
	ReasonUnsupportedValue    = "UnsupportedValue"
	ReasonUnsupportedProtocol = "UnsupportedProtocol"
	ReasonRefNotPermitted     = "RefNotPermitted"
	ReasonInvalidKind         = "InvalidKind"
	ReasonBackendNotFound     = "BackendNotFound"
	ReasonInvalidParameters   = "InvalidParameters"
	ReasonListenersNotValid   = "ListenersNotValid"
	ReasonPending             = "Pending"
	ReasonPortUnavailable     = "PortUnavailable"
	// ReasonInternalError is the reason of conditions that are False because of a bug in Sluice.
	ReasonInternalError = "InternalError"
	// ReasonUnsupportedAddressType is Envoy Gateway's: a Service whose EndpointSlices have addresses of different types.
	ReasonUnsupportedAddressType = "UnsupportedAddressType"
)

// maxMessage is how long the API server lets the message of a condition be.
const maxMessage = 32768

// severity lists the reasons that outrank the others when several issues share a condition, most severe first: what
// was forbidden comes before what was mistyped, and that before what may only be late.
var severity = []string{
	ReasonRefNotPermitted, ReasonInvalidParameters, "UnsupportedAddress", ReasonUnsupportedProtocol, ReasonInvalidKind,
	"InvalidCertificateRef", "InvalidCACertificateKind", "InvalidRouteKinds", "IncompatibleFilters",
	ReasonUnsupportedValue, ReasonBackendNotFound,
}

// rank is the place of a reason in severity; unknown reasons come after all others.
func rank(reason string) int {
	if i := slices.Index(severity, reason); i >= 0 {
		return i
	}
	return len(severity)
}

// Select returns the issues of r for which keep is true, in the order of [Issue.Compare], each once.
func (r Report) Select(keep func(Issue) bool) Report {
	var out Report
	for _, i := range r {
		if keep(i) {
			out = append(out, i)
		}
	}
	slices.SortFunc(out, Issue.Compare)
	return slices.Compact(out)
}

// Of returns the issues about one condition of one section: those of the whole object are in the zero Section.
func (r Report) Of(condition string, section Section) Report {
	return r.Select(func(i Issue) bool { return i.Condition == condition && i.Section == section })
}

// Reason returns the most severe reason of the issues, or "" if there are none.
func (r Report) Reason() string {
	if len(r) == 0 {
		return ""
	}
	return slices.MinFunc(r, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(rank(a.Reason), rank(b.Reason)), strings.Compare(a.Reason, b.Reason))
	}).Reason
}

// Message joins the messages of the issues, each behind the field that it is about, those with the most severe reason
// first. It is cut to what a condition can hold.
func (r Report) Message() string {
	sorted := slices.Clone(r)
	slices.SortStableFunc(sorted, func(a, b Issue) int {
		return cmp.Or(cmp.Compare(rank(a.Reason), rank(b.Reason)), a.Compare(b))
	})
	parts := make([]string, 0, len(sorted))
	for _, i := range sorted {
		part := i.Message
		if i.Path != "" {
			part = i.Path + ": " + part
		}
		if !slices.Contains(parts, part) {
			parts = append(parts, part)
		}
	}
	return cut(strings.Join(parts, "; "))
}

func cut(message string) string {
	const more = " ..."
	if len(message) <= maxMessage {
		return message
	}
	return strings.ToValidUTF8(message[:maxMessage-len(more)], "") + more
}

// True returns a condition that holds, at a generation of its object. The writer adds the time of its last transition.
func True(typ, reason, message string, generation int64) metav1.Condition {
	return metav1.Condition{
		Type: typ, Status: metav1.ConditionTrue, Reason: reason, Message: cut(message), ObservedGeneration: generation,
	}
}

// Holds reports whether the condition of a type is there and True.
func Holds(conditions []metav1.Condition, typ string) bool {
	return slices.ContainsFunc(conditions, func(c metav1.Condition) bool {
		return c.Type == typ && c.Status == metav1.ConditionTrue
	})
}

// False returns a condition that does not hold, at a generation of its object.
func False(typ, reason, message string, generation int64) metav1.Condition {
	c := True(typ, reason, message, generation)
	c.Status = metav1.ConditionFalse
	return c
}

// Judge returns the condition as the issues have it: False with their reason and messages or, if there are none, True
// with the reason and message given.
func Judge(typ string, issues Report, reason, message string, generation int64) metav1.Condition {
	if len(issues) == 0 {
		return True(typ, reason, message, generation)
	}
	return False(typ, issues.Reason(), issues.Message(), generation)
}

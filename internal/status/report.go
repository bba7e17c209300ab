// Package status is what Sluice says about the objects that users wrote.
//
// Every stage returns what it found wrong as [Issue]s: values, never errors, because a user's mistake is data. The
// status stage merges them into the conditions that the Kubernetes API defines; writers bring these to where people
// look: the API server, or the running instance's admin API.
package status

import (
	"cmp"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Section is the part of an object that an issue is about. The zero value is the whole object.
type Section struct {
	// Parent is the index of the parentRef of a route, plus one.
	Parent int
	// Listener is the name of a listener of a Gateway.
	Listener string
	// Rule is the index of a rule of a route, plus one.
	Rule int
}

// Issue is one thing that is wrong with an object.
type Issue struct {
	Object  model.Ref
	Section Section
	// Condition is the type of the condition that the issue makes false (or, for Conflicted and PartiallyInvalid,
	// true).
	Condition string
	// Reason is one of the reasons that the API defines for the condition.
	Reason string
	// Message says in one sentence what is wrong and what to do about it. It starts with a capital letter.
	Message string
	// Path is the field it is about, "spec.rules[0].backendRefs[1]"; may be empty.
	Path string
}

// Compare orders issues by object, section, condition and path, so that reports are the same in any order of arrival.
func (i Issue) Compare(o Issue) int {
	return cmp.Or(
		i.Object.Compare(o.Object),
		cmp.Compare(i.Section.Parent, o.Section.Parent),
		strings.Compare(i.Section.Listener, o.Section.Listener),
		cmp.Compare(i.Section.Rule, o.Section.Rule),
		strings.Compare(i.Condition, o.Condition),
		strings.Compare(i.Path, o.Path),
		strings.Compare(i.Reason, o.Reason),
		strings.Compare(i.Message, o.Message),
	)
}

// String returns "Kind/namespace/name: path: message (Reason)".
func (i Issue) String() string {
	var b strings.Builder
	b.WriteString(i.Object.String())
	b.WriteString(": ")
	if i.Path != "" {
		b.WriteString(i.Path)
		b.WriteString(": ")
	}
	b.WriteString(i.Message)
	b.WriteString(" (" + i.Reason + ")")
	return b.String()
}

// Report is what a stage found wrong.
type Report []Issue

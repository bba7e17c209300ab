package resource

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Problem is a mistake in what a user wrote: the document or object it is in is not used.
type Problem struct {
	// File is the path as the user named it; empty for what does not come from a file.
	File string
	// Line and Column count from 1, Column in characters. They are 0 when the problem is with the whole file.
	Line, Column int
	// Object is the zero value when the document does not say, or cannot be read far enough to tell.
	Object model.Ref
	// Field is the path of the field, as the API server writes it: "spec.rules[0].matches". It may be empty.
	Field string
	// Message is what the API server would say about the field.
	Message string
}

// String returns "file:line: Kind/namespace/name: field: message", without the parts that are not known.
func (p Problem) String() string {
	return describe(p.File, p.Line, p.Object, p.Field, p.Message)
}

// Compare orders problems by where they are, so that a list of them is the same in any order of arrival.
func (p Problem) Compare(o Problem) int {
	return cmp.Or(
		strings.Compare(p.File, o.File), cmp.Compare(p.Line, o.Line), cmp.Compare(p.Column, o.Column),
		p.Object.Compare(o.Object), strings.Compare(p.Field, o.Field), strings.Compare(p.Message, o.Message),
	)
}

// Notice is something that a user should know about a document that is otherwise fine.
type Notice struct {
	// File, Line and Object are as in [Problem].
	File   string
	Line   int
	Object model.Ref
	// Message is one sentence.
	Message string
}

// String returns "file:line: Kind/namespace/name: message", without the parts that are not known.
func (n Notice) String() string { return describe(n.File, n.Line, n.Object, "", n.Message) }

// Compare orders notices by where they are.
func (n Notice) Compare(o Notice) int {
	return cmp.Or(strings.Compare(n.File, o.File), cmp.Compare(n.Line, o.Line), n.Object.Compare(o.Object),
		strings.Compare(n.Message, o.Message))
}

func describe(file string, line int, object model.Ref, field, message string) string {
	var parts []string
	switch {
	case file != "" && line > 0:
		parts = append(parts, fmt.Sprintf("%s:%d", file, line))
	case file != "":
		parts = append(parts, file)
	case line > 0:
		parts = append(parts, fmt.Sprintf("line %d", line))
	}
	if object != (model.Ref{}) {
		parts = append(parts, object.String())
	}
	if field != "" {
		parts = append(parts, field)
	}
	parts = append(parts, message)
	for i, part := range parts {
		parts[i] = shortened(part)
	}
	return strings.Join(parts, ": ")
}

// maxPart is how many bytes of a part of a problem are told. Users may write values of megabytes, and problems repeat
// them.
const maxPart = 1000

// shortened is a text up to what is told of it.
func shortened(text string) string {
	if len(text) <= maxPart {
		return text
	}
	return strings.ToValidUTF8(text[:maxPart], "") + " ..."
}

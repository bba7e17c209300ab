// Package style holds the repository to the limits that it was designed with, as tests: sizes, names, comments, and
// which package may import which. A limit that no machine checks does not last.
//
// Each [Rule] has a self-test on a sample that breaks it, because a rule that finds nothing looks like clean code.
// What may stay as it is, and why, is listed in exception.go; the list may only shrink.
package style

import "fmt"

// Rule is one thing that the repository is held to.
type Rule struct {
	// Name tells rules apart, in findings and exceptions.
	Name string
	// Check returns where the tree breaks the rule.
	Check func(*Tree) []Finding
}

// Finding is one place that breaks a rule.
type Finding struct {
	// Path and Line say where it is. Path is relative to the root of the repository, Line is 0 for a whole file.
	Path string
	Line int
	// Subject is what an exception names besides the path: a function, a type, an import; empty for the whole file.
	Subject string
	// Message says what is wrong and what to do.
	Message string
}

// String returns path:line: message, as compilers do.
func (f Finding) String() string { return fmt.Sprintf("%s:%d: %s", f.Path, f.Line, f.Message) }

// Rules are all rules.
var Rules = []Rule{
	{"file-lines", fileLines},
	{"line-length", lineLength},
	{"function-lines", functionLines},
	{"complexity", complexity},
	{"parameters", parameters},
	{"package-comment", packageComment},
	{"doc-comment", docComment},
	{"package-name", packageName},
	{"file-name", fileName},
	{"layers", layers},
	{"features-apart", featuresApart},
	{"test-only", testOnly},
	{"foreign-imports", foreignImports},
	{"dependencies", dependencies},
	{"no-machine", noMachine},
	{"nolint-reason", nolintReason},
}

package style

import (
	"fmt"
	"regexp"
	"strings"
)

var (
	required = regexp.MustCompile(`^\t?(?:require )?([\w.-]+\.[\w./-]+) v\S+$`)
	listed   = regexp.MustCompile("^\\| `([^`]+)` \\| .{20,} \\|$")
)

// dependencies compares the direct dependencies of go.mod with what docs/dependencies.md says of them and of tools.
func dependencies(t *Tree) []Finding {
	const list = "docs/dependencies.md"
	direct, tools, reasons := map[string]int{}, map[string]bool{}, map[string]int{}
	t.lines(func(f *File, n int, line string) {
		line = strings.TrimRight(line, "\n")
		switch f.Path {
		case "go.mod":
			if m := required.FindStringSubmatch(line); m != nil {
				direct[m[1]] = n
			}
		case "tools/go.mod":
			tools[strings.TrimSpace(strings.TrimPrefix(line, "tool "))] = true
		case list:
			if m := listed.FindStringSubmatch(line); m != nil {
				reasons[m[1]] = n
			}
		}
	})
	var out []Finding
	for name, line := range direct {
		if reasons[name] == 0 {
			out = append(out, Finding{
				Path: "go.mod", Line: line, Subject: name, Message: fmt.Sprintf("%s does not say why %s is there", list, name),
			})
		}
	}
	for name, line := range reasons {
		if direct[name] == 0 && !tools[name] {
			out = append(out, Finding{
				Path: list, Line: line, Subject: name, Message: fmt.Sprintf("%s is no direct dependency and no tool", name),
			})
		}
	}
	return out
}

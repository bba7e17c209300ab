package docs

import (
	"regexp"
	"strings"
)

// anything is what stands for any lines when it is a line of its own, and for any text when it is in one.
const anything = "..."

// matches reports whether an output is as wanted.
func matches(want []string, got string) bool {
	var expr strings.Builder
	expr.WriteString("^")
	for _, line := range normal(strings.Join(want, "\n")) {
		if line == anything {
			expr.WriteString(`(?:[^\n]*\n)*?`)
			continue
		}
		parts := strings.Split(line, anything)
		for i, part := range parts {
			parts[i] = regexp.QuoteMeta(part)
		}
		expr.WriteString(strings.Join(parts, `[^\n]*`) + `\n`)
	}
	expr.WriteString("$")
	lines := normal(got)
	text := strings.Join(lines, "\n")
	if len(lines) > 0 {
		text += "\n"
	}
	return regexp.MustCompile(expr.String()).MatchString(text)
}

var blanks = regexp.MustCompile(`[ \t]+`)

// normal returns the lines of a text without what nobody sees and what the width of a port changes: trailing blanks,
// carriage returns, empty lines at the end, and how many blanks there are between words.
func normal(text string) []string {
	lines := strings.Split(strings.TrimRight(text, "\r\n\t "), "\n")
	if len(lines) == 1 && lines[0] == "" {
		return nil
	}
	for i, line := range lines {
		lines[i] = strings.TrimRight(blanks.ReplaceAllString(strings.TrimRight(line, "\r"), " "), " ")
	}
	return lines
}

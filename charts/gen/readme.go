package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The table of values stands between these lines of the README.
const (
	tableBegin = "<!-- values: run `go generate ./charts` -->\n"
	tableEnd   = "<!-- end of values -->\n"
)

// writeReadme puts the table of values into the chart's README: a line for each value that is no map, with the comment
// above it.
func writeReadme(chart string) error {
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(values, &doc); err != nil {
		return err
	}
	table := "| value | default | what it is |\n| --- | --- | --- |\n"
	lines, err := describe("", doc.Content[0])
	if err != nil {
		return err
	}
	table += lines
	name := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	head, rest, ok := bytes.Cut(readme, []byte(tableBegin))
	_, tail, ok2 := bytes.Cut(rest, []byte(tableEnd))
	if !ok || !ok2 {
		return fmt.Errorf("%s has no place for the table of values: put %s and %s into it", name, tableBegin, tableEnd)
	}
	readme = bytes.Join([][]byte{head, []byte(tableBegin + "\n" + table + "\n" + tableEnd), tail}, nil)
	return os.WriteFile(name, readme, 0o644) //nolint:gosec // a source file
}

func describe(prefix string, values *yaml.Node) (string, error) {
	var out strings.Builder
	for i := 0; i < len(values.Content); i += 2 {
		key, value := values.Content[i], values.Content[i+1]
		name := prefix + key.Value
		if key.HeadComment == "" {
			if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
				return "", fmt.Errorf("values.yaml does not say what %s is: put a comment above it", name)
			}
			below, err := describe(name+".", value)
			if err != nil {
				return "", err
			}
			out.WriteString(below)
			continue
		}
		var plain any
		if err := value.Decode(&plain); err != nil {
			return "", err
		}
		text, err := json.Marshal(plain)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&out, "| `%s` | `%s` | %s |\n", name, text, comment(key))
	}
	return out.String(), nil
}

// comment is the paragraph directly above a key, in one line.
func comment(key *yaml.Node) string {
	paragraphs := strings.Split(key.HeadComment, "\n\n")
	var words []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		words = append(words, strings.TrimSpace(strings.TrimPrefix(line, "#")))
	}
	return strings.Join(words, " ")
}

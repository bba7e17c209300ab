package resource

import (
	"fmt"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v3"
)

// joinPath writes the elements of a path as the API server does: names with dots between, indexes in brackets.
func joinPath(path []string) string {
	var b strings.Builder
	for _, p := range path {
		if b.Len() > 0 && !strings.HasPrefix(p, "[") {
			b.WriteByte('.')
		}
		b.WriteString(p)
	}
	return b.String()
}

// locate returns the node to point at for a field path, and the node of the field's value. If the path leads to
// something that is not there, that is the nearest node on the way, and the value is nil.
func locate(root *yaml.Node, path string) (at, value *yaml.Node) {
	at, value = root, root
	for path != "" {
		n := value
		for depth := 0; n.Kind == yaml.AliasNode && depth < maxDepth; depth++ {
			n = n.Alias
		}
		var next, mark *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			mark, next, path = findKey(n, path)
		case yaml.SequenceNode:
			next, path = findIndex(n, path)
			mark = next
		}
		if next == nil {
			return at, nil
		}
		at, value = mark, next
	}
	return at, value
}

// findKey returns the entry of a mapping that a path continues with. Keys can contain dots, so the longest that fits
// is taken.
func findKey(n *yaml.Node, path string) (key, value *yaml.Node, rest string) {
	trimmed := strings.TrimPrefix(path, ".")
	best := -1
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i].Value
		if len(name) <= best {
			continue
		}
		if after, ok := strings.CutPrefix(trimmed, name); ok && (after == "" || after[0] == '.' || after[0] == '[') {
			best, key, value, rest = len(name), n.Content[i], n.Content[i+1], after
		} else if after, ok := strings.CutPrefix(trimmed, "["+name+"]"); ok {
			best, key, value, rest = len(name), n.Content[i], n.Content[i+1], after
		}
	}
	return key, value, rest
}

func findIndex(n *yaml.Node, path string) (item *yaml.Node, rest string) {
	inner, ok := strings.CutPrefix(path, "[")
	if !ok {
		return nil, path
	}
	digits, rest, ok := strings.Cut(inner, "]")
	if !ok {
		return nil, path
	}
	i, err := strconv.Atoi(digits)
	if err != nil || i < 0 || i >= len(n.Content) {
		return nil, path
	}
	return n.Content[i], rest
}

// locateUnindexed finds the first value at a path without indexes ("spec.ports.port"), looking through lists, whose
// JSON type is the one that a JSON decoder complained about ("string", "number 1.5").
func locateUnindexed(n *yaml.Node, path []string, jsonType string) *yaml.Node {
	for depth := 0; n.Kind == yaml.AliasNode && depth < maxDepth; depth++ {
		n = n.Alias
	}
	if len(path) == 0 && strings.HasPrefix(jsonType, jsonTypeOf(n)) {
		return n
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if found := locateUnindexed(item, path, jsonType); found != nil {
				return found
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			value := n.Content[i+1]
			if len(path) > 0 && n.Content[i].Value == path[0] {
				return locateUnindexed(value, path[1:], jsonType)
			}
			// The path of a map's value is that of the map.
			if len(path) == 0 && value.Kind == yaml.ScalarNode && strings.HasPrefix(jsonType, jsonTypeOf(value)) {
				return value
			}
		}
	}
	return nil
}

func jsonTypeOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "object"
	case yaml.SequenceNode:
		return "array"
	}
	switch n.ShortTag() {
	case "!!int", "!!float":
		return "number"
	case "!!bool":
		return "bool"
	case "!!null":
		return "null"
	}
	if _, ok := yaml11[n.Value]; ok && n.Style == 0 {
		return "bool"
	}
	return "string"
}

// quoteHint is what to tell someone whose unquoted text YAML reads as something other than the string that is wanted;
// empty if that is not what happened.
func quoteHint(value *yaml.Node) string {
	if value == nil || value.Kind != yaml.ScalarNode || value.Style != 0 {
		return ""
	}
	kind := jsonTypeOf(value)
	switch kind {
	case "bool":
		kind = "boolean"
	case "number":
	default:
		return ""
	}
	return fmt.Sprintf(" (YAML reads the unquoted %s as a %s: write %q)", value.Value, kind, value.Value)
}

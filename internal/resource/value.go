package resource

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	yaml "go.yaml.in/yaml/v3"
)

// maxAliased bounds how many values a document may have by way of aliases: nine levels of nine aliases each are small
// on disk and fill any memory.
const maxAliased = 100_000

// fault is something wrong at a node.
type fault struct {
	node    *yaml.Node
	field   string
	message string
}

// converter makes JSON values of YAML nodes: what the API server would see had kubectl sent the document.
type converter struct {
	faults []fault
	// path is the field being converted.
	path []string
	// aliased counts the values that were reached through an alias.
	aliased int
	// inside are the anchors whose aliases led to where the converter is.
	inside []*yaml.Node
	// lost says that a value could not be converted: what else is wrong with the object cannot be told.
	lost, stopped bool
}

func (c *converter) fail(n *yaml.Node, format string, args ...any) {
	c.faults = append(c.faults, fault{node: n, field: joinPath(c.path), message: fmt.Sprintf(format, args...)})
}

// lose reports a value that cannot be converted.
func (c *converter) lose(n *yaml.Node, format string, args ...any) any {
	c.lost = true
	c.fail(n, format, args...)
	return nil
}

// stop gives the whole document up.
func (c *converter) stop(n *yaml.Node, format string, args ...any) {
	if !c.stopped {
		c.lose(n, format, args...)
		c.stopped = true
	}
}

// value converts a node. What cannot be converted becomes nil, with a fault.
func (c *converter) value(n *yaml.Node) any {
	if c.stopped {
		return nil
	}
	if len(c.path) > maxDepth {
		c.stop(n, "nested deeper than %d levels", maxDepth)
		return nil
	}
	if len(c.inside) > 0 {
		if c.aliased++; c.aliased > maxAliased {
			c.stop(n, "the aliases of the document stand for more than %d values", maxAliased)
			return nil
		}
	}
	switch n.Kind {
	case yaml.AliasNode:
		if slices.Contains(c.inside, n.Alias) {
			c.stop(n, "the anchor %q contains itself", n.Value)
			return nil
		}
		c.inside = append(c.inside, n.Alias)
		v := c.value(n.Alias)
		c.inside = c.inside[:len(c.inside)-1]
		return v
	case yaml.MappingNode:
		return c.mapping(n)
	case yaml.SequenceNode:
		list := make([]any, len(n.Content))
		for i, item := range n.Content {
			c.path = append(c.path, "["+strconv.Itoa(i)+"]")
			list[i] = c.value(item)
			c.path = c.path[:len(c.path)-1]
		}
		return list
	default:
		return c.scalar(n)
	}
}

func (c *converter) mapping(n *yaml.Node) any {
	m := make(map[string]any, len(n.Content)/2)
	var merges []*yaml.Node
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind == yaml.AliasNode {
			key = key.Alias
		}
		if key.Kind != yaml.ScalarNode {
			c.lose(n.Content[i], "a key has to be a string")
			continue
		}
		if key.ShortTag() == "!!merge" {
			merges = append(merges, value)
			continue
		}
		c.path = append(c.path, key.Value)
		if _, ok := m[key.Value]; ok {
			c.fail(n.Content[i], "duplicate field %q", joinPath(c.path))
		} else {
			m[key.Value] = c.value(value)
		}
		c.path = c.path[:len(c.path)-1]
	}
	for _, merge := range merges {
		c.merge(m, merge)
	}
	return m
}

// merge adds the keys of a merge key's value ("<<: *base") that are not there yet.
func (c *converter) merge(m map[string]any, n *yaml.Node) {
	target := n
	if target.Kind == yaml.AliasNode {
		target = target.Alias
	}
	c.path = append(c.path, "<<")
	defer func() { c.path = c.path[:len(c.path)-1] }()
	switch target.Kind {
	case yaml.MappingNode:
		from, _ := c.value(n).(map[string]any)
		for key, value := range from {
			if _, ok := m[key]; !ok {
				m[key] = value
			}
		}
	case yaml.SequenceNode:
		if len(c.path) > maxDepth {
			c.stop(n, "nested deeper than %d levels", maxDepth)
			return
		}
		for _, item := range target.Content {
			c.merge(m, item)
		}
	default:
		c.lose(n, "a merge key needs a mapping, or a list of mappings")
	}
}

// yaml11 are the booleans of YAML 1.1 that kubectl reads, beyond true and false.
var yaml11 = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func (c *converter) scalar(n *yaml.Node) any {
	switch tag := n.ShortTag(); tag {
	case "!!str", "!!timestamp", "!!merge":
		if n.Style == 0 {
			if b, ok := yaml11[n.Value]; ok {
				return b
			}
		}
		return n.Value
	case "!!null":
		return nil
	case "!!bool", "!!int", "!!float":
		return c.number(n)
	default:
		return c.lose(n, "the tag %s is not supported", tag)
	}
}

func (c *converter) number(n *yaml.Node) any {
	if len(n.Value) > 0 && n.Value[0] >= '1' && n.Value[0] <= '9' {
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return i
		}
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return c.lose(n, "%q is not a valid %s", n.Value, n.ShortTag()[2:])
	}
	switch v := v.(type) {
	case int:
		return int64(v)
	case uint64:
		return float64(v)
	case float64:
		if math.IsInf(v, 0) || math.IsNaN(v) {
			return c.lose(n, "%s is not a number that JSON has", n.Value)
		}
		// JSON has no 1.0: written without a fraction, it is read back as an integer.
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return int64(v)
		}
		return v
	default:
		return v
	}
}

package resource

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	yaml "go.yaml.in/yaml/v3"
)

// syntaxError is a document that cannot be parsed.
type syntaxError struct {
	line, column int
	message      string
}

// maxDepth bounds how deep a document nests. The deepest field of the kinds is some twenty levels down.
const maxDepth = 100

// parse returns the values of a document as YAML nodes, which know their position: one for YAML, any number for JSON.
func parse(doc Document) ([]*yaml.Node, *syntaxError) {
	if doc.Format == JSON {
		return parseJSON(doc.Text)
	}
	node, err := parseYAML(doc.Text)
	if err != nil || node == nil {
		return nil, err
	}
	return []*yaml.Node{node}, nil
}

var (
	yamlLine   = regexp.MustCompile(`^line (\d+): `)
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced`)
)

func parseYAML(text []byte) (node *yaml.Node, bad *syntaxError) {
	defer func() {
		// The parser's own panics are turned into errors by it. Should it ever have a bug, one document is lost to it,
		// not the process.
		if r := recover(); r != nil {
			node, bad = nil, &syntaxError{line: 1, message: fmt.Sprintf("cannot be parsed as YAML: %v", r)}
		}
	}()
	var root yaml.Node
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, explainYAML(text, strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if root.Kind != yaml.DocumentNode || len(root.Content) == 0 {
		return nil, nil
	}
	return root.Content[0], nil
}

// explainYAML finds the place that a message of the YAML parser is about, which it tells only at times.
func explainYAML(text []byte, message string) *syntaxError {
	if tab := tabLine(text); tab > 0 {
		return &syntaxError{line: tab, column: 1, message: "a tab is used for indentation: YAML allows only spaces there"}
	}
	line := 1
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		line, _ = strconv.Atoi(m[1])
		message = message[len(m[0]):]
		if strings.HasPrefix(message, "did not find expected") {
			line++ // the grammar counts lines from 0, the scanner from 1
		}
	} else if m := yamlAnchor.FindStringSubmatch(message); m != nil {
		before, _, _ := bytes.Cut(text, []byte("*"+m[1]))
		line += bytes.Count(before, []byte("\n"))
	}
	return &syntaxError{line: min(line, bytes.Count(text, []byte("\n"))+1), message: "not valid YAML: " + message}
}

// tabLine returns the first line that is indented with a tab, 0 if none is.
func tabLine(text []byte) int {
	line := 0
	for row := range bytes.Lines(text) {
		line++
		rest := bytes.TrimLeft(row, " ")
		if len(rest) > 0 && rest[0] == '\t' && hasContent(rest) {
			return line
		}
	}
	return 0
}

// parseJSON reads JSON with a JSON parser, because YAML 1.1 is not quite a superset of it, and makes YAML nodes of it
// so that all else is shared.
func parseJSON(text []byte) ([]*yaml.Node, *syntaxError) {
	p := &jsonParser{text: text, dec: json.NewDecoder(bytes.NewReader(text)), line: 1}
	p.dec.UseNumber()
	var values []*yaml.Node
	for {
		node, err := p.value(0)
		if errors.Is(err, io.EOF) && p.open == 0 {
			return values, nil
		}
		if err != nil {
			return nil, p.fail(err)
		}
		values = append(values, node)
	}
}

// jsonParser makes nodes of the tokens of a JSON text.
type jsonParser struct {
	text []byte
	dec  *json.Decoder
	// open is how many objects and lists are being read.
	open int
	// offset is a position that line and start, the offset of the line's first byte, belong to.
	offset, line, start int
}

func (p *jsonParser) fail(err error) *syntaxError {
	at := int(p.dec.InputOffset())
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		at = max(at, int(syntax.Offset)-1)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		at, err = len(p.text), errors.New("unexpected end of file")
	}
	line, column := p.position(at)
	return &syntaxError{line: line, column: column, message: "not valid JSON: " + err.Error()}
}

// position returns line and column of an offset that is not before those asked for earlier.
func (p *jsonParser) position(offset int) (int, int) {
	offset = min(offset, len(p.text))
	for ; p.offset < offset; p.offset++ {
		if p.text[p.offset] == '\n' {
			p.line++
			p.start = p.offset + 1
		}
	}
	return p.line, utf8.RuneCount(p.text[p.start:max(p.start, offset)]) + 1
}

// next returns the next token and a scalar node at its position.
func (p *jsonParser) next() (json.Token, *yaml.Node, error) {
	at := int(p.dec.InputOffset())
	for at < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[at]) >= 0 {
		at++
	}
	tok, err := p.dec.Token()
	if err != nil {
		return nil, nil, err
	}
	n := &yaml.Node{Kind: yaml.ScalarNode}
	n.Line, n.Column = p.position(at)
	return tok, n, nil
}

func (p *jsonParser) value(depth int) (*yaml.Node, error) {
	tok, n, err := p.next()
	if err != nil {
		return nil, err
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	switch tok := tok.(type) {
	case json.Delim:
		n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		if tok == '{' {
			n.Kind, n.Tag = yaml.MappingNode, "!!map"
		}
		p.open++
		err = p.members(n, depth)
		p.open--
	case string:
		n.Tag, n.Value, n.Style = "!!str", tok, yaml.DoubleQuotedStyle
	case json.Number:
		n.Tag, n.Value = "!!float", tok.String()
		if _, err := tok.Int64(); err == nil {
			n.Tag = "!!int"
		}
	case bool:
		n.Tag, n.Value = "!!bool", strconv.FormatBool(tok)
	default:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, err
}

func (p *jsonParser) members(n *yaml.Node, depth int) error {
	for p.dec.More() {
		if n.Kind == yaml.MappingNode {
			tok, key, err := p.next()
			if err != nil {
				return err
			}
			key.Tag, key.Style = "!!str", yaml.DoubleQuotedStyle
			key.Value, _ = tok.(string)
			n.Content = append(n.Content, key)
		}
		value, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.Content = append(n.Content, value)
	}
	_, err := p.dec.Token()
	return err
}

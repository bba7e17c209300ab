package resource

import (
	"bytes"
	"errors"
	"strings"
)

// Format is how a file is written.
type Format int

const (
	// YAML is YAML 1.2 with the YAML 1.1 booleans that kubectl reads; it can hold many documents.
	YAML Format = iota
	// JSON is RFC 8259; a file can hold several values one after the other.
	JSON
)

// FormatOf returns the format that a file name promises: JSON for ".json", else YAML.
func FormatOf(file string) Format {
	if strings.HasSuffix(file, ".json") {
		return JSON
	}
	return YAML
}

// Document is one YAML document of a file, or all of a JSON file.
type Document struct {
	Text []byte
	// Line is the line of the file, counted from 1, that Text starts in.
	Line   int
	Format Format
}

var (
	utf8BOM = []byte{0xEF, 0xBB, 0xBF}
	// errUTF16 stands for a file that starts with the byte order mark of UTF-16.
	errUTF16 = errors.New("the file is UTF-16: save it as UTF-8")
)

// Split returns the documents of a file without decoding them; they share its memory. Documents without content are
// left out. It fails for a file that is not UTF-8.
func Split(text []byte, format Format) ([]Document, error) {
	if bytes.HasPrefix(text, []byte{0xFF, 0xFE}) || bytes.HasPrefix(text, []byte{0xFE, 0xFF}) {
		return nil, errUTF16
	}
	text = bytes.TrimPrefix(text, utf8BOM)
	if format == JSON {
		if len(bytes.TrimSpace(text)) == 0 {
			return nil, nil
		}
		return []Document{{Text: text, Line: 1, Format: JSON}}, nil
	}
	var docs []Document
	line, start, startLine, content := 1, 0, 1, false
	emit := func(end int) {
		if content {
			docs = append(docs, Document{Text: text[start:end:end], Line: startLine, Format: YAML})
		}
		content = false
	}
	for at := 0; at < len(text); line++ {
		next := len(text)
		if i := bytes.IndexByte(text[at:], '\n'); i >= 0 {
			next = at + i + 1
		}
		row := text[at:next]
		switch {
		case isMarker(row, "---"):
			emit(at)
			start, startLine = at, line
			content = hasContent(row[3:])
		case isMarker(row, "..."):
			emit(at)
			start, startLine = next, line+1
		case !content:
			content = row[0] != '%' && hasContent(row)
		}
		at = next
	}
	emit(len(text))
	return docs, nil
}

// isMarker reports whether a line is a document marker: a marker in the first column ends everything, scalars too.
func isMarker(row []byte, marker string) bool {
	if len(row) < 3 || string(row[:3]) != marker {
		return false
	}
	return len(row) == 3 || row[3] == '\n' || row[3] == '\r' || row[3] == ' ' || row[3] == '\t'
}

// hasContent reports whether a line is more than space and comment.
func hasContent(row []byte) bool {
	row = bytes.TrimLeft(row, " \t\r\n")
	return len(row) > 0 && row[0] != '#'
}

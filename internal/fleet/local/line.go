package local

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

// Line is one line that Envoy wrote about itself.
type Line struct {
	// Level is the level as Envoy calls it: trace, debug, info, warning, error or critical. It is empty for a line that
	// did not come from Envoy's logger, for example the words of an abort.
	Level string
	// Component is the name of the logger, for example "config" or "upstream".
	Component string
	// Text is the message. What would have been line breaks in it is escaped.
	Text string
}

// String returns the line as people read it.
func (l Line) String() string {
	if l.Level == "" {
		return l.Text
	}
	return l.Level + " " + l.Component + ": " + l.Text
}

// logFormat is the --log-format that parseLine understands.
const logFormat = "[%l][%n] %v"

var linePattern = regexp.MustCompile(`^\[(trace|debug|info|warning|error|critical)\]\[([^\]]*)\] (.*)$`)

func parseLine(s string) Line {
	match := linePattern.FindStringSubmatch(s)
	if match == nil {
		return Line{Text: s}
	}
	return Line{Level: match[1], Component: match[2], Text: unescape.Replace(match[3])}
}

// unescape undoes what --log-format-escaped does to characters that do no harm within a line.
var unescape = strings.NewReplacer(`\\`, `\`, `\'`, `'`, `\"`, `"`)

const (
	// tailLines is how many of Envoy's last lines are kept for the report of its death.
	tailLines = 20
	// maxLine bounds a line: what is beyond is cut into lines of its own.
	maxLine = 64 << 10
	// echo is how long a line says no more than the same one before it: Envoy tells each subscription of a type what it
	// refuses, and each says so.
	echo = time.Second
)

// lineWriter cuts what Envoy writes into lines, hands them on and keeps the last ones.
type lineWriter struct {
	emit func(Line)

	mu      sync.Mutex
	partial []byte
	tail    []Line
	last    time.Time // when the last of the tail came
}

// Write implements io.Writer; it never fails.
func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partial = append(w.partial, p...)
	for {
		end, rest := bytes.IndexByte(w.partial, '\n'), 0
		switch {
		case end < 0 && len(w.partial) <= maxLine:
			return len(p), nil
		case end < 0 || end > maxLine:
			end, rest = maxLine, maxLine
		default:
			rest = end + 1
		}
		w.line(string(w.partial[:end]))
		w.partial = append(w.partial[:0], w.partial[rest:]...)
	}
}

// flush hands on a last line without a line break and returns the tail.
func (w *lineWriter) flush() []Line {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.partial) > 0 {
		w.line(string(w.partial))
		w.partial = nil
	}
	return w.tail
}

func (w *lineWriter) line(s string) {
	line := parseLine(strings.TrimRight(s, "\r"))
	if line.Text == "" || line.expected() {
		return
	}
	now := time.Now()
	if n := len(w.tail); n > 0 && w.tail[n-1] == line && now.Sub(w.last) < echo {
		return
	}
	w.last = now
	if len(w.tail) == tailLines {
		w.tail = append(w.tail[:0], w.tail[1:]...)
	}
	w.tail = append(w.tail, line)
	if w.emit != nil {
		w.emit(line)
	}
}

// unfinished are types that Envoy has only one of for their purpose, and that its authors may change: this Envoy never
// will. It warns of them whenever it gets one.
var unfinished = []string{
	"xds.core.v3.CidrRange",
	"envoy.extensions.filters.http.custom_response.v3.CustomResponse",
	"envoy.extensions.http.custom_response.local_response_policy.v3.LocalResponsePolicy",
}

// expected reports whether a warning says only that Envoy does as it was told: to end, or to use an unfinished type.
func (l Line) expected() bool {
	known := func(message string) bool {
		return strings.Contains(l.Text, "message '"+message+"' is contained in proto file")
	}
	return l.Level == "warning" && (l.Text == "caught ENVOY_SIGTERM" || slices.ContainsFunc(unfinished, known))
}

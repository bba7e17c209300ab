package local

import (
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLineWriter(t *testing.T) {
	long := strings.Repeat("x", maxLine)
	tests := map[string]struct {
		writes []string
		want   []Line
	}{
		"a log line": {[]string{"[warning][config] a: b\n"}, []Line{{"warning", "config", "a: b"}}},
		"cut into writes": {
			[]string{"[err", "or][main] a", "\n[info][x] b\n"},
			[]Line{{"error", "main", "a"}, {"info", "x", "b"}},
		},
		"escaped":          {[]string{`[info][x] it\'s \"a\" \\ b\n` + "\n"}, []Line{{"info", "x", `it's "a" \ b\n`}}},
		"not from the log": {[]string{"terminate called\n"}, []Line{{"", "", "terminate called"}}},
		"without an end":   {[]string{"last words"}, []Line{{"", "", "last words"}}},
		"empty lines":      {[]string{"\n\r\n"}, nil},
		"as it was told":   {[]string{"[warning][main] caught ENVOY_SIGTERM\n"}, nil},
		"a type in progress": {
			[]string{"[warning][misc] message 'xds.core.v3.CidrRange' is contained in proto file 'a' marked as b\n"}, nil,
		},
		"another type in progress": {
			[]string{"[warning][misc] message 'envoy.extensions.filters.http.tap.v3.Tap' is contained in proto file 'a'\n"},
			[]Line{{"warning", "misc", "message 'envoy.extensions.filters.http.tap.v3.Tap' is contained in proto file 'a'"}},
		},
		"very long": {[]string{long + "y\n"}, []Line{{"", "", long}, {"", "", "y"}}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var got []Line
			w := &lineWriter{emit: func(l Line) { got = append(got, l) }}
			for _, s := range test.writes {
				if n, err := io.WriteString(w, s); n != len(s) || err != nil {
					t.Fatalf("Write = %d, %v", n, err)
				}
			}
			tail := w.flush()
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("lines (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.want, tail); diff != "" {
				t.Errorf("tail (-want +got):\n%s", diff)
			}
		})
	}
}

// TestLineWriterHearsNoEchoes has a line come three times at once, and again later, and between others.
func TestLineWriterHearsNoEchoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		w := &lineWriter{emit: func(l Line) { got = append(got, l.Text) }}
		for _, s := range []string{"a", "a", "a", "b", "a"} {
			_, _ = io.WriteString(w, s+"\n")
		}
		time.Sleep(echo)
		_, _ = io.WriteString(w, "a\n")
		if diff := cmp.Diff([]string{"a", "b", "a", "a"}, got); diff != "" {
			t.Errorf("lines (-want +got):\n%s", diff)
		}
	})
}

func TestLineWriterKeepsTheLastLines(t *testing.T) {
	w := &lineWriter{}
	for i := range tailLines + 5 {
		_, _ = io.WriteString(w, strings.Repeat("x", i+1)+"\n")
	}
	tail := w.flush()
	if len(tail) != tailLines || len(tail[0].Text) != 6 || len(tail[tailLines-1].Text) != tailLines+5 {
		t.Errorf("tail of %d lines, from %q to %q", len(tail), tail[0], tail[len(tail)-1])
	}
}

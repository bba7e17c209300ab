package conformance

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
)

// event is a line of test2json.
type event struct {
	Action, Test, Output string
}

// results are what the tests of a test binary came to, in the order in which they ended.
type results struct {
	// order names the tests.
	order []string
	// action is "pass", "fail" or "skip".
	action map[string]string
	// output is what each test printed itself.
	output map[string]*strings.Builder
}

// readResults reads what test2json prints. Each test is told to progress when it ends.
func readResults(r io.Reader, progress func(name, action string)) (results, error) {
	out := results{action: map[string]string{}, output: map[string]*strings.Builder{}}
	lines := bufio.NewScanner(r)
	const longest = 4 << 20 // the suite logs whole objects
	lines.Buffer(nil, longest)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return out, err
		}
		switch e.Action {
		case "output":
			b := out.output[e.Test]
			if b == nil {
				b = new(strings.Builder)
				out.output[e.Test] = b
			}
			b.WriteString(e.Output)
		case "pass", "fail", "skip":
			if e.Test != "" {
				out.order = append(out.order, e.Test)
				out.action[e.Test] = e.Action
				progress(e.Test, e.Action)
			}
		}
	}
	return out, lines.Err()
}

// top are the tests of the suite itself: the ones right below TestConformance, but for those of service meshes, which
// the suite names and skips where gateways are tested.
func (r results) top() []string {
	var out []string
	for _, name := range r.order {
		if strings.Count(name, "/") == 1 && !strings.HasPrefix(name, "TestConformance/Mesh") {
			out = append(out, name)
		}
	}
	return out
}

// text is what a test and those below it printed.
func (r results) text(name string) string {
	var out strings.Builder
	for _, test := range r.order {
		if test == name || strings.HasPrefix(test, name+"/") {
			if text := r.output[test]; text != nil {
				out.WriteString(text.String())
			}
		}
	}
	return out.String()
}

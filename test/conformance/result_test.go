package conformance

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestReadResults reads what test2json prints of three tests, one of which fails in a test below it.
func TestReadResults(t *testing.T) {
	const log = `{"Action":"start"}
{"Action":"run","Test":"TestConformance"}
{"Action":"output","Test":"TestConformance","Output":"=== RUN   TestConformance\n"}
{"Action":"run","Test":"TestConformance/A"}
{"Action":"output","Test":"TestConformance/A/below","Output":"want 200, got 404\n"}
{"Action":"fail","Test":"TestConformance/A/below"}
{"Action":"output","Test":"TestConformance/A","Output":"--- FAIL: A\n"}
{"Action":"fail","Test":"TestConformance/A"}
{"Action":"skip","Test":"TestConformance/B"}
{"Action":"pass","Test":"TestConformance/C"}
{"Action":"fail","Test":"TestConformance"}
{"Action":"fail"}
`
	var told []string
	got, err := readResults(strings.NewReader(log), func(name, action string) { told = append(told, action+" "+name) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"TestConformance/A", "TestConformance/B", "TestConformance/C"}, got.top()); diff != "" {
		t.Error(diff)
	}
	if got, want := got.text("TestConformance/A"), "want 200, got 404\n--- FAIL: A\n"; got != want {
		t.Errorf("text %q, want %q", got, want)
	}
	want := []string{
		"fail TestConformance/A/below", "fail TestConformance/A", "skip TestConformance/B", "pass TestConformance/C",
		"fail TestConformance",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	if got.action["TestConformance/B"] != "skip" {
		t.Errorf("B: %q", got.action["TestConformance/B"])
	}
	if _, err := readResults(strings.NewReader("no JSON\n"), func(string, string) {}); err == nil {
		t.Error("what is no JSON is read without an error")
	}
}

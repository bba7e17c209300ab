package main

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// TestUnmapProgram says that pages of the program are given back, and that it runs on.
func TestUnmapProgram(t *testing.T) {
	before := residentProgram(t)
	unmapProgram()
	if after := residentProgram(t); 2*after > before {
		t.Errorf("%d KiB of the program were mapped, and then %d, want less than half", before, after)
	}
	if start, end := span("1f000-2a000"); start != 0x1f000 || end != 0x2a000 {
		t.Errorf("the span is %x to %x", start, end)
	}
	for _, text := range []string{"", "1f000", "x-1f000", "1f000-x"} {
		if start, end := span(text); start != 0 || end != 0 {
			t.Errorf("the span of %q is %x to %x, want none", text, start, end)
		}
	}
}

// residentProgram is how much of files is mapped, in KiB.
func residentProgram(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`RssFile:\s+(\d+) kB`).FindSubmatch(text)
	if found == nil {
		t.Fatalf("no RssFile in %s", text)
	}
	n, err := strconv.Atoi(string(found[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

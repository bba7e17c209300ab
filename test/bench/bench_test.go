package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		args []string
		want options
		err  bool
	}{
		{nil, options{routes: []int{100, 1000, 5000}}, false},
		{[]string{"-quick", "-only", "loss"}, options{quick: true, only: "loss", routes: []int{100, 500}}, false},
		{[]string{"-routes", "7, 8"}, options{routes: []int{7, 8}}, false},
		{[]string{"-peer", "eg"}, options{peer: "eg", routes: []int{100, 1000, 5000}, peerRoutes: []int{50, 300}}, false},
		{[]string{"-routes", "many"}, options{}, true},
		{[]string{"-routes", "0"}, options{}, true},
	}
	for _, tt := range tests {
		got, err := parse(tt.args)
		if (err != nil) != tt.err {
			t.Errorf("%v: error %v", tt.args, err)
		}
		if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(options{})); err == nil && diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.args, diff)
		}
	}
}

// TestConfig checks that an edit touches the file of its route only, and with all in one file just that one.
func TestConfig(t *testing.T) {
	for _, single := range []bool{false, true} {
		c := &config{port: 8080, backend: 9000, single: single}
		if err := c.create(t.TempDir(), "sluice", 3); err != nil {
			t.Fatal(err)
		}
		before := contents(t, c.dir)
		if err := c.set(1, "/edited"); err != nil {
			t.Fatal(err)
		}
		if err := c.set(3, "/added"); err != nil {
			t.Fatal(err)
		}
		after := contents(t, c.dir)
		var changed []string
		for name, content := range after {
			if before[name] != content {
				changed = append(changed, name)
			}
		}
		want := 2
		if single {
			want = 1
		}
		if len(changed) != want || len(c.paths) != 4 {
			t.Errorf("single=%v: changed %v, want %d files", single, changed, want)
		}
	}
}

func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(content)
	}
	return out
}

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const passing = `{"Action":"start","Package":"m/a"}
{"Action":"run","Package":"m/a","Test":"TestOne"}
{"Action":"run","Package":"m/a","Test":"TestOne/x"}
{"Action":"pass","Package":"m/a","Test":"TestOne/x"}
{"Action":"run","Package":"m/a","Test":"TestOne/y"}
{"Action":"pass","Package":"m/a","Test":"TestOne/y"}
{"Action":"pass","Package":"m/a","Test":"TestOne"}
{"Action":"pass","Package":"m/a","Test":"TestTwo"}
{"Action":"pass","Package":"m/a","Elapsed":1.26}
{"Action":"skip","Package":"m/empty"}
`

func TestTally(t *testing.T) {
	tests := map[string]struct {
		in     string
		strict bool
		ok     bool
		want   string
	}{
		"subtests count, their sums do not": {
			in: passing, strict: true, ok: true,
			want: "ok    m/a  1.3s\nnone  m/empty  0.0s\n\n3 passed, 0 failed, 0 skipped\n",
		},
		"no test at all": {
			in: `{"Action":"skip","Package":"m/empty"}` + "\n", ok: false,
			want: "none  m/empty  0.0s\n\n0 passed, 0 failed, 0 skipped\n",
		},
		"nothing": {in: "", ok: false, want: "\n0 passed, 0 failed, 0 skipped\n"},
		"a subtest fails": {
			in: passing + `{"Action":"output","Package":"m/b","Test":"TestIt/x","Output":"=== RUN TestIt/x\n"}
{"Action":"output","Package":"m/b","Test":"TestIt/x","Output":"b_test.go:3: no\n"}
{"Action":"fail","Package":"m/b","Test":"TestIt/x"}
{"Action":"fail","Package":"m/b","Test":"TestIt"}
{"Action":"fail","Package":"m/b"}
`,
			want: "ok    m/a  1.3s\nnone  m/empty  0.0s\nFAIL  m/b  0.0s\n\nm/b TestIt/x\nb_test.go:3: no\n\n" +
				"3 passed, 1 failed, 0 skipped\n",
		},
		"a test fails after its subtests passed": {
			in: `{"Action":"pass","Package":"m/b","Test":"TestIt/x"}
{"Action":"fail","Package":"m/b","Test":"TestIt"}
{"Action":"fail","Package":"m/b"}
`,
			want: "FAIL  m/b  0.0s\n\nm/b TestIt\n\n1 passed, 1 failed, 0 skipped\n",
		},
		"a package does not build": {
			in: passing + `{"ImportPath":"m/c [m/c.test]","Action":"build-output","Output":"c.go:1: syntax error\n"}
{"ImportPath":"m/c [m/c.test]","Action":"build-fail"}
{"Action":"output","Package":"m/c","Output":"FAIL m/c [build failed]\n"}
{"Action":"fail","Package":"m/c","FailedBuild":"m/c [m/c.test]"}
`,
			want: "ok    m/a  1.3s\nnone  m/empty  0.0s\nFAIL  m/c  0.0s\n\n--- FAIL: m/c\nc.go:1: syntax error\n" +
				"FAIL m/c [build failed]\n\n3 passed, 1 failed, 0 skipped\n",
		},
		"a skip is told": {
			in: passing + skipping, ok: true,
			want: "ok    m/a  1.3s\nnone  m/empty  0.0s\nok    m/d  0.0s\n\nskipped: m/d TestEnvoy\nd_test.go:9: no Envoy\n\n" +
				"3 passed, 0 failed, 1 skipped\n",
		},
		"a skip fails in CI": {
			in: passing + skipping, strict: true,
			want: "ok    m/a  1.3s\nnone  m/empty  0.0s\nok    m/d  0.0s\n\nskipped: m/d TestEnvoy\nd_test.go:9: no Envoy\n\n" +
				"With CI=true nothing may be skipped.\n\n3 passed, 1 failed, 1 skipped\n",
		},
	}
	for title, tt := range tests {
		t.Run(title, func(t *testing.T) {
			var out strings.Builder
			tally := newTally()
			if err := tally.read(strings.NewReader(tt.in), &out); err != nil {
				t.Fatal(err)
			}
			if ok := tally.report(&out, tt.strict); ok != tt.ok {
				t.Errorf("ok is %v, want %v", ok, tt.ok)
			}
			if diff := cmp.Diff(tt.want, out.String()); diff != "" {
				t.Errorf("output (-want +got):\n%s", diff)
			}
		})
	}
}

const skipping = `{"Action":"output","Package":"m/d","Test":"TestEnvoy","Output":"d_test.go:9: no Envoy\n"}
{"Action":"skip","Package":"m/d","Test":"TestEnvoy"}
{"Action":"pass","Package":"m/d"}
`

func TestOtherOutputIsRefused(t *testing.T) {
	if err := newTally().read(strings.NewReader("go: cannot find main module\n"), &strings.Builder{}); err == nil {
		t.Error("a line that is no event was taken for one")
	}
}

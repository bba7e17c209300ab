package style

import (
	"fmt"
	"regexp"
	"strings"
)

// The patterns are put together from pieces, so that this file does not match itself.
var (
	// registries are the hosts that packages come from: which ones to use is for the machine that builds to say.
	registries = regexp.MustCompile(`(?i)\b(` + strings.Join([]string{
		`proxy\.` + `golang\.org`, `sum\.` + `golang\.org`, `goproxy\.(io|cn)`, `pypi\.` + `org`,
		`files\.` + `pythonhosted\.org`, `(index\.|static\.)?crates\.` + `io`, `registry\.` + `npmjs\.org`,
		`repo1?\.maven\.` + `(apache\.)?org`, `deb\.` + `debian\.org`,
	}, "|") + `)\b`)
	// homes are folders of somebody's machine.
	homes = regexp.MustCompile(`(^|[^\w.}/-])/(work|root|home/\w+|tmp/w)/`)
	// suppressed is a linter that was told to be quiet; explained is one that was told why.
	suppressed = regexp.MustCompile(`//\s*` + `nolint`)
	explained  = regexp.MustCompile(`//` + `nolint:[a-z0-9,]+ // \S`)
)

// noMachine keeps what is true on one machine only out of every file, not just of Go.
func noMachine(t *Tree) []Finding {
	var out []Finding
	t.lines(func(f *File, n int, line string) {
		for what, pattern := range map[string]*regexp.Regexp{
			"a package registry": registries, "a folder of one machine": homes,
		} {
			if m := pattern.FindString(line); m != "" {
				out = append(out, Finding{
					Path: f.Path, Line: n, Subject: m,
					Message: fmt.Sprintf("%q names %s: it is not the same for everyone", strings.TrimSpace(m), what),
				})
			}
		}
	})
	return out
}

func nolintReason(t *Tree) []Finding {
	var out []Finding
	t.lines(func(f *File, n int, line string) {
		if f.AST != nil && suppressed.MatchString(line) && !explained.MatchString(line) {
			out = append(out, Finding{
				Path: f.Path, Line: n, Message: "say which linter is wrong here, and why: //" + "nolint:name // reason",
			})
		}
	})
	return out
}

func (t *Tree) lines(f func(file *File, n int, line string)) {
	for _, file := range t.Files {
		n := 0
		for line := range strings.Lines(string(file.Text)) {
			n++
			f(file, n, line)
		}
	}
}

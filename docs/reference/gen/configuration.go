package main

import (
	"fmt"
	"strings"

	"github.com/sluice-gateway/sluice/internal/envoygateway"
)

const configurationIntroduction = `# The configuration file

What becomes of each field of Envoy Gateway's configuration file, ` + "`kind: EnvoyGateway`" + `, which
` + "`sluice serve`, `sluice run` and `sluice ratelimit`" + ` take as ` + "`--config`" + `. How it is used is told in
[Configure the program](../task/configure.md).

**applied**: it does what it says, in the commands that are named. **always**: what it asks for is so without it.
**noticed**: it has no effect, and that is said at the start. **refused**: the program does not start with it. What is
not in the table is not in the API, and refused. A field that is not listed by itself is below one that is.

| field | becomes | where | what it does, or why not |
| --- | --- | --- | --- |
`

var verdicts = map[envoygateway.Verdict]string{
	envoygateway.Applied: "applied", envoygateway.Always: "always", envoygateway.Noticed: "noticed",
	envoygateway.Refused: "refused",
}

// configurationPage returns the page of the configuration file, in the order of the API.
func configurationPage() string {
	var page strings.Builder
	page.WriteString(configurationIntroduction)
	for _, f := range envoygateway.Fields {
		var where []string
		for _, in := range []struct {
			program envoygateway.Program
			name    string
		}{{envoygateway.Serve, "`serve`"}, {envoygateway.Run, "`run`"}, {envoygateway.Count, "`ratelimit`"}} {
			if f.Verdict == envoygateway.Applied && f.In&in.program != 0 {
				where = append(where, in.name)
			}
		}
		_, _ = fmt.Fprintf(&page, "| `%s` | %s | %s | %s |\n", f.Path, verdicts[f.Verdict], strings.Join(where, ", "), f.Text)
	}
	return page.String()
}

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// strictEnvoy is an Envoy that takes regular expressions of at most 150 instructions, where Sluice lets it take more:
// so it refuses what Sluice has nothing against.
const strictEnvoy = `#!/bin/sh
case "$*" in
*--config-path*)
  exec %s "$@" --config-yaml '{"layered_runtime": {"layers": [{
    "name": "strict", "static_layer": {"re2.max_program_size.error_level": 150}}]}}' ;;
*) exec %[1]s "$@" ;;
esac
`

// TestRouteRefusedByEnvoy writes routes that only Envoy refuses: their statuses have Envoy's words, the last good
// version of each is served, and everything else takes changes, in the same virtual host, too.
func TestRouteRefusedByEnvoy(t *testing.T) {
	t.Parallel()
	needEnvoy(t)
	wrapper := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(wrapper, fmt.Appendf(nil, strictEnvoy, shared.envoy), 0o700); err != nil {
		t.Fatal(err)
	}
	const refused = `[{path: {type: RegularExpression, value: "/[a-z]{200}"}}]`
	rule := func(name, host, match string) string { return route(name, "["+host+"]", [2]string{name, match}) }
	in := start(t, files{
		"good.yaml":   rule("good", "good.example", `[{path: {value: /}}]`),
		"edited.yaml": rule("edited", "edited.example", `[{path: {value: /}}]`),
		"shared.yaml": rule("shared", "shared.example", `[{path: {value: /shared}}]`),
	}, "--envoy", wrapper)
	in.must(t, request{host: "edited.example"}, expect{header: []string{"x-rule: edited"}})

	in.write("edited.yaml", rule("edited", "edited.example", refused))
	in.write("fresh.yaml", rule("fresh", "shared.example", refused))
	for _, name := range []string{"edited", "fresh"} {
		in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/" + name,
			condition: "Programmed=False/Invalid", message: "regex '/[a-z]{200}' RE2 program size"})
	}
	in.must(t, request{host: "good.example"}, expect{header: []string{"x-rule: good"}})
	in.must(t, request{host: "edited.example"}, expect{header: []string{"x-rule: edited"}})
	in.must(t, request{host: "shared.example", path: "/shared"}, expect{header: []string{"x-rule: shared"}})

	in.write("good.yaml", rule("good", "good.example", `[{path: {value: /still}}]`))
	in.want(t, request{host: "good.example"}, expect{status: 404})
	in.must(t, request{host: "good.example", path: "/still"}, expect{header: []string{"x-rule: good"}})
	in.write("shared.yaml", rule("shared", "shared.example", `[{path: {value: /moved}}]`))
	in.want(t, request{host: "shared.example", path: "/moved"}, expect{header: []string{"x-rule: shared"}})

	in.write("edited.yaml", rule("edited", "edited.example", `[{path: {type: RegularExpression, value: "/[a-z]+"}}]`))
	in.want(t, request{host: "edited.example"}, expect{status: 404})
	in.want(t, request{host: "edited.example", path: "/abc"}, expect{header: []string{"x-rule: edited"}})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/edited", condition: "Programmed=False/", absent: true})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/fresh", condition: "Programmed=False/Invalid"})
}

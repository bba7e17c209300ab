package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

// contains reports whether a text has a part, without regard to case.
func contains(text, part string) bool {
	return strings.Contains(strings.ToLower(text), strings.ToLower(part))
}

// TestBrokenFile breaks a file in each of the ways that editors and people do: what it held stays as it was, the rest
// takes changes, and the output says where the mistake is.
func TestBrokenFile(t *testing.T) {
	t.Parallel()
	good := route("edited", "[edited.example]", [2]string{"good", `[{path: {value: /}}]`})
	other := func(i int) string {
		return route("other", fmt.Sprintf("[other-%d.example]", i), [2]string{"other", `[{path: {value: /}}]`})
	}
	in := start(t, files{"edited.yaml": good, "other.yaml": other(0)})
	in.must(t, request{host: "edited.example"}, expect{header: []string{"x-rule: good"}})
	tests := []struct {
		name, content string
		output        []string
	}{
		{"not YAML", "a: b: c\n  - [", []string{"edited.yaml:"}},
		{"half a document", good[:len(good)*2/3], []string{"edited.yaml:"}},
		{"binary", "\x00\x01\xff\xfe", []string{"edited.yaml"}},
		{"unknown field", strings.Replace(good, "hostnames:", "hostname:", 1), []string{"edited.yaml:", "hostname"}},
		{"wrong type", strings.Replace(good, "[edited.example]", "7", 1), []string{"edited.yaml:", "spec.hostnames"}},
		{"bad value", strings.Replace(good, "[edited.example]", "[-bad-]", 1),
			[]string{"edited.yaml:", "spec.hostnames[0]"}},
		{"CEL rule", strings.Replace(good, "path: {value: /}", "path: {value: no-slash}", 1),
			[]string{"edited.yaml:", "must be an absolute path"}},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := len(in.process.output.String())
			in.write("edited.yaml", tt.content)
			in.write("other.yaml", other(i+1))
			in.want(t, request{host: fmt.Sprintf("other-%d.example", i+1)}, expect{header: []string{"x-rule: other"}})
			for _, text := range tt.output {
				eventually(t, func() error {
					if out := in.process.output.String()[before:]; !contains(out, text) {
						return fmt.Errorf("%q is not in the output %q", text, out)
					}
					return nil
				})
			}
			in.must(t, request{host: "edited.example"}, expect{header: []string{"x-rule: good"}})
		})
	}
	in.write("edited.yaml", strings.ReplaceAll(good, "good", "repaired"))
	in.want(t, request{host: "edited.example"}, expect{header: []string{"x-rule: repaired"}})
}

// TestHalfWrittenFile writes a file in place and slowly, as a copy over a network does: nothing in between is served.
// It is written as JSON, of which no part is valid: how long a pause may be for half of a YAML file to be taken for the
// whole is a matter of the machine's load.
func TestHalfWrittenFile(t *testing.T) {
	t.Parallel()
	version := func(name string) string {
		return route("slow", "[slow.example]", [2]string{name, `[{path: {value: /}}]`})
	}
	in := start(t, files{"slow.yaml": version("before")})
	content, err := yaml.YAMLToJSON([]byte(in.expand(version("after"))))
	if err != nil {
		t.Fatal(err)
	}
	slow := request{host: "slow.example"}
	in.must(t, slow, expect{header: []string{"x-rule: before"}})
	f, err := os.Create(filepath.Join(in.config, "slow.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for len(content) > 0 {
		n := min(40, len(content))
		if _, err := f.Write(content[:n]); err != nil {
			t.Fatal(err)
		}
		if content = content[n:]; len(content) > 0 {
			time.Sleep(10 * time.Millisecond) // Long enough for the half to be read.
			in.must(t, slow, expect{header: []string{"x-rule: before"}})
		}
	}
	in.want(t, slow, expect{header: []string{"x-rule: after"}})
}

// TestOneBadOf200 serves 199 files beside a broken one.
func TestOneBadOf200(t *testing.T) {
	t.Parallel()
	f := files{}
	for i := range 200 {
		name := fmt.Sprintf("r%03d", i)
		f[name+".yaml"] = route(name, "["+name+".example]", [2]string{name, `[{path: {value: /}}]`})
	}
	f["r100.yaml"] = strings.Replace(f["r100.yaml"], "parentRefs:", "parentRef:", 1)
	in := start(t, f)
	for i := range 200 {
		name := fmt.Sprintf("r%03d", i)
		want := expect{backend: "one", header: []string{"x-rule: " + name}}
		if i == 100 {
			want = expect{status: 404}
		}
		in.must(t, request{host: name + ".example"}, want)
	}
	in.printed(t, "r100.yaml:")
	in.write("r100.yaml", route("r100", "[r100.example]", [2]string{"r100", `[{path: {value: /}}]`}))
	in.want(t, request{host: "r100.example"}, expect{header: []string{"x-rule: r100"}})
}

// TestPortTaken asks for a port that somebody else listens on: the status says it, other listeners serve, and the port
// is taken once it is free.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	in := prepare(t, files{
		"gateway.yaml": gatewayYAML + "    - {name: taken, protocol: HTTP, port: ${SPARE}}\n", "backends.yaml": backendsYAML,
		"route.yaml": simple["route.yaml"],
	})
	squatter, err := net.Listen("tcp", ":"+in.vars["SPARE"])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = squatter.Close() }()
	in.run()
	in.waitReady()
	in.must(t, request{}, expect{backend: "one"})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "taken",
		condition: "Accepted=False/PortUnavailable", message: in.vars["SPARE"]})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "http",
		condition: "Programmed=True/Programmed"})
	if err := squatter.Close(); err != nil {
		t.Fatal(err)
	}
	in.want(t, request{port: "SPARE"}, expect{backend: "one"})
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", listener: "taken",
		condition: "Programmed=True/Programmed"})
}

// TestUnreadablePolicy starts with policies that their schemas refuse: what they guard is not served until they are
// mended, and nothing else is hurt.
func TestUnreadablePolicy(t *testing.T) {
	t.Parallel()
	const deny = `
  authorization: {defaultAction: Deny}`
	limited := policedRoute("BackendTrafficPolicy", "limited", `
  rateLimit: {type: Local, local: {rules: [{limit: {requests: many, unit: Hour}}]}}`)
	in := start(t, files{
		"guarded.yaml": guardedRoute("guarded", strings.Replace(deny, "Deny", "Denied", 1)),
		"limited.yaml": limited,
		"slow.yaml": policedRoute("BackendTrafficPolicy", "slow", `
  retry: {numRetries: many}`),
		"open.yaml": route("open", "[open.example]", [2]string{"open", `[{path: {value: /}}]`}),
	})
	in.must(t, request{host: "guarded.example"}, expect{status: 500})
	in.must(t, request{host: "limited.example"}, expect{status: 500})
	in.must(t, request{host: "slow.example"}, expect{backend: "one"})
	in.must(t, request{host: "open.example"}, expect{header: []string{"x-rule: open"}})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/guarded", condition: "Accepted=False/Invalid", message: "could not be read",
	})
	in.write("limited.yaml", strings.Replace(limited, "many", "1000", 1))
	in.want(t, request{host: "limited.example"}, expect{backend: "one"})
	in.write("guarded.yaml", guardedRoute("guarded", deny))
	in.want(t, request{host: "guarded.example"}, expect{status: 403})
	// Once it was good, that version holds.
	in.write("guarded.yaml", guardedRoute("guarded", strings.Replace(deny, "Deny", "Denied", 1)))
	in.want(t, request{host: "guarded.example"}, expect{status: 403})
}

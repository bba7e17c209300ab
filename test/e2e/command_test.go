package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// sluice runs a command to its end.
func sluice(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), shared.binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// folder writes files into a folder of their own.
func folder(t *testing.T, f files) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range f {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// plain are the values of variables for commands that open no port.
var plain = strings.NewReplacer("${HTTP}", "8080", "${PORT_one}", "9001", "${PORT_two}", "9002",
	"${PORT_three}", "9003",
	"${one}", "group: gateway.envoyproxy.io, kind: Backend, name: one",
	"${two}", "group: gateway.envoyproxy.io, kind: Backend, name: two")

func TestValidate(t *testing.T) {
	t.Parallel()
	good := route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`})
	tests := []struct {
		name  string
		files files
		code  int
		want  []string
	}{
		{"good", files{"route.yaml": good}, 0, nil},
		{"every problem", files{
			"route.yaml":   good,
			"syntax.yaml":  "kind: [",
			"field.yaml":   strings.Replace(good, "hostnames:", "hostname:", 1),
			"kind.yaml":    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRouter\nmetadata: {name: a}\n",
			"backend.yaml": strings.NewReplacer("${one}", "name: nowhere, port: 80", "good", "lost").Replace(good),
		}, 1, []string{
			"syntax.yaml:1", "field.yaml:8", "hostname", "kind.yaml", "HTTPRouter", "backend.yaml", "nowhere",
			"spec.rules[0].backendRefs[0]",
		}},
		{"older versions", files{
			"route.yaml": strings.Replace(good, "k8s.io/v1\n", "k8s.io/v1beta1\n", 1),
		}, 0, []string{"v1beta1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := files{"gateway.yaml": plain.Replace(gatewayYAML), "backends.yaml": plain.Replace(backendsYAML)}
			for name, content := range tt.files {
				f[name] = plain.Replace(content)
			}
			stdout, stderr, code := sluice(t, "validate", folder(t, f))
			if code != tt.code {
				t.Errorf("exit status %d, want %d", code, tt.code)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout+stderr, want) {
					t.Errorf("%q is not in the output", want)
				}
			}
			if t.Failed() {
				t.Logf("output:\n%s%s", stdout, stderr)
			}
		})
	}
	if _, stderr, code := sluice(t, "validate", filepath.Join(t.TempDir(), "missing")); code != 1 ||
		!strings.Contains(stderr, "missing") {
		t.Errorf("a missing folder: exit status %d, %q", code, stderr)
	}
}

// TestTranslate checks that the same objects become the same bytes, in whatever files and order they are.
func TestTranslate(t *testing.T) {
	t.Parallel()
	var documents []string
	for i := range 30 {
		documents = append(documents, route(fmt.Sprintf("r%d", i), fmt.Sprintf("[h%d.example]", i%7),
			[2]string{"a", fmt.Sprintf(`[{path: {value: /p%d}}]`, i)}, [2]string{"b", `[{headers: [{name: x, value: z}]}]`}))
	}
	documents = append(documents, gatewayYAML, backendsYAML)
	layouts := map[string]func(i int) string{
		"one file":        func(int) string { return "all.yaml" },
		"a file for each": func(i int) string { return fmt.Sprintf("f%02d.yaml", i) },
		"in reverse":      func(i int) string { return fmt.Sprintf("f%02d.yaml", 99-i) },
		"some together":   func(i int) string { return fmt.Sprintf("f%d.yaml", i%5) },
	}
	for _, format := range []string{"yaml", "json"} {
		outputs := map[string]string{}
		for layout, file := range layouts {
			f := files{}
			for i, d := range documents {
				f[file(i)] += "\n---\n" + plain.Replace(d)
			}
			stdout, stderr, code := sluice(t, "translate", folder(t, f), "-o", format)
			if code != 0 || stderr != "" {
				t.Fatalf("%s: exit status %d, %s", layout, code, stderr)
			}
			outputs[layout] = stdout
		}
		for layout, out := range outputs {
			if diff := cmp.Diff(outputs["one file"], out); diff != "" {
				t.Errorf("%s as %s differs:\n%s", layout, format, diff)
			}
		}
		checkTranslated(t, format, outputs["one file"])
	}
}

func checkTranslated(t *testing.T, format, out string) {
	t.Helper()
	var got struct {
		Clusters  []struct{ Name string }
		Listeners []struct{ Name string }
		Routes    []struct {
			VirtualHosts []struct{ Domains []string } `json:"virtual_hosts"`
		}
	}
	unmarshal := func(b []byte, v any) error { return yaml.Unmarshal(b, v) }
	if format == "json" {
		unmarshal = json.Unmarshal
	}
	if err := unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	// Of the three Backends only one is used by routes.
	if len(got.Clusters) != 1 || len(got.Listeners) != 1 || len(got.Routes) != 1 || len(got.Routes[0].VirtualHosts) < 7 {
		t.Errorf("%s: got %d clusters, %d listeners and %d route tables", format, len(got.Clusters), len(got.Listeners),
			len(got.Routes))
	}
}

// TestOlderVersions serves objects written in versions that the Gateway API has left behind, and says so.
func TestOlderVersions(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml":  strings.Replace(gatewayYAML, "k8s.io/v1", "k8s.io/v1beta1", 1),
		"backends.yaml": backendsYAML,
		"route.yaml":    strings.Replace(simple["route.yaml"], "k8s.io/v1", "k8s.io/v1beta1", 1),
	})
	in.must(t, request{}, expect{backend: "one"})
	in.printed(t, "v1beta1")
}

// TestStatusCommand compares what `sluice status` prints with golden files, times and ports replaced.
func TestStatusCommand(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`}) +
			strings.Replace(route("no-listener", "[a.example]", [2]string{"a", `[{path: {value: /}}]`}),
				"{name: gw}", "{name: gw, sectionName: missing}", 1),
		"missing.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: missing-backend}
spec:
  parentRefs: [{name: gw}]
  hostnames: [missing.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: missing}]}]
`,
		"second.yaml": `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: second}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: secure, protocol: HTTPS, port: ${HTTPS}, tls: {certificateRefs: [{name: missing}]}}
  - {name: strange, protocol: example.com/strange, port: ${SPARE}}
`,
	})
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/good", condition: "Accepted=True/Accepted"})
	for _, format := range []string{"table", "yaml", "json"} {
		// Other kinds are left out: their goldens are beside the code that makes their statuses.
		stdout, stderr, code := sluice(t, "status", "gateways", "httproutes", "--admin-address", in.admin, "-o", format)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: exit status %d, %s", format, code, stderr)
		}
		if format == "json" {
			if !json.Valid([]byte(stdout)) {
				t.Errorf("not JSON: %s", stdout)
			}
			continue
		}
		golden(t, "status."+map[string]string{"table": "txt", "yaml": "yaml"}[format], in.anonymous(stdout))
	}
	_, stderr, code := sluice(t, "status", "--admin-address", in.address("SPARE"))
	if code != 1 || !strings.Contains(stderr, in.address("SPARE")) {
		t.Errorf("without an instance: exit status %d, %q", code, stderr)
	}
}

var timestamp = regexp.MustCompile(`"?\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"?`)

// anonymous replaces what differs between runs.
func (in *instance) anonymous(text string) string {
	text = timestamp.ReplaceAllString(text, "TIME")
	for _, port := range []string{"HTTPS", "HTTP", "SPARE"} {
		text = strings.ReplaceAll(text, in.vars[port], port)
	}
	return text
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: run with -update to write it", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), run with -update if it is right:\n%s", path, diff)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		if stdout, _, code := sluice(t, "completion", shell); code != 0 || !strings.Contains(stdout, "sluice") {
			t.Errorf("completion %s: exit status %d", shell, code)
		}
	}
	for _, args := range [][]string{
		{"run"}, {"validate"}, {"translate"}, {"status"}, {"envoy", "install"}, {"envoy", "path"},
	} {
		stdout, _, code := sluice(t, append(args, "--help")...)
		if code != 0 || !strings.Contains(stdout, "Usage:") {
			t.Errorf("%v --help: exit status %d, %q", args, code, stdout)
		}
	}
	for _, args := range [][]string{
		{"sreve"}, {"run"}, {"run", "--envoi", "x", "."}, {"translate", "-o", "xml", t.TempDir()},
	} {
		_, stderr, code := sluice(t, args...)
		if code != 1 || stderr == "" || strings.Contains(stderr, "goroutine") {
			t.Errorf("%v: exit status %d, %q; want 1 and why", args, code, stderr)
		}
	}
}

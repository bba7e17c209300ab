package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"regexp"
	"testing"

	"github.com/sluice-gateway/sluice/test/program"
)

// TestOutput checks what an instance says: at the start what listens where and what is wrong, then one line for each
// change that is live or refused.
func TestOutput(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"good.yaml": route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`}),
		"bad.yaml":  "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: bad}\nspec: {rule: []}\n",
	})
	says := func(pattern string) {
		t.Helper()
		compiled := regexp.MustCompile("(?m)" + in.expand(pattern))
		eventually(t, func() error {
			if out := in.process.output.String(); !compiled.MatchString(out) {
				return fmt.Errorf("nothing matches %q in the output:\n%s", compiled, out)
			}
			return nil
		})
	}
	says(`^Listening\n +http://localhost:${HTTP} +Gateway/default/gw`)
	says(`^ +good\.example:${HTTP} +HTTPRoute/default/good`)
	says(`^ +.*bad\.yaml:4: .*spec.*rule`)
	says(`^Ready after [0-9.]+m?s`)
	in.write("new.yaml", route("new", "[new.example]", [2]string{"new", `[{path: {value: /}}]`}))
	says(`live +HTTPRoute/default/new in [0-9.]+m?s$`)
	in.write("new.yaml", route("new", "[new.example]", [2]string{"new", `[{path: {value: wrong}}]`}))
	says(`refused +.*new\.yaml:\d+: HTTPRoute/default/new: spec\.rules\[0\]`)
	in.remove("new.yaml")
	says(`live +HTTPRoute/default/new \(removed\)`)
}

// TestAdmin asks the admin API for everything that it has.
func TestAdmin(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	in.must(t, request{}, expect{backend: "one"})
	in.write("more.yaml", route("more", "[more.example]", [2]string{"more", `[{path: {value: /}}]`}))
	in.want(t, request{host: "more.example"}, expect{backend: "one"})
	tests := []struct{ path, pattern string }{
		{"/healthz", `^ok\n$`},
		{"/readyz", `^ok\n$`},
		{"/metrics", `(?m)^sluice_stage_duration_seconds_count\{stage="compute"\} [1-9]`},
		{"/metrics", `(?m)^sluice_recomputed_keys_total\{table=".+"\} [1-9]`},
		{"/metrics", `(?m)^sluice_xds_pushes_total\{type="routes"\} [1-9]`},
		{"/metrics", `(?m)^sluice_xds_acks_total\{type="cluster"\} [1-9]`},
		{"/config", `"more\.example"`},
		{"/status", `"HTTPRoute"`},
	}
	for _, tt := range tests {
		body, err := in.get(tt.path)
		if err != nil {
			t.Error(err)
		} else if !regexp.MustCompile(tt.pattern).Match(body) {
			t.Errorf("%s: nothing matches %q in %.3000s", tt.path, tt.pattern, body)
		}
	}
	for _, path := range []string{"/config", "/status"} {
		if body, err := in.get(path); err != nil || !json.Valid(body) {
			t.Errorf("%s is not JSON: %v", path, err)
		}
	}
	// A page that the user of this machine visits must not be able to read it under a name of its own.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+in.admin+"/config", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "rebound.example"
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if err := res.Body.Close(); err != nil || res.StatusCode != http.StatusForbidden {
		t.Errorf("a request for another host is answered with %d, %v", res.StatusCode, err)
	}
}

// TestStatusWatch watches a route come.
func TestStatusWatch(t *testing.T) {
	t.Parallel()
	in := start(t, simple)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := &program.Output{}
	watch := exec.CommandContext(ctx, shared.binary, "status", "httproutes", "-w", "--admin-address", in.admin)
	watch.Stdout = seen
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	shows := func(text string) {
		t.Helper()
		eventually(t, func() error {
			if !contains(seen.String(), text) {
				return fmt.Errorf("%q is not in %q", text, seen.String())
			}
			return nil
		})
	}
	shows("default/simple")
	in.write("more.yaml", route("more", "[more.example]", [2]string{"more", `[{path: {value: /}}]`}))
	shows("default/more")
	cancel()
	_ = watch.Wait() // It was killed.
}

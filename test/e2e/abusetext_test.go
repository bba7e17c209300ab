package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// hostile is text that means something to what Envoy, JSON, YAML, Lua and regular expressions make of text.
const hostile = "%REQ(authorization)% %% 100% \\1 \\0 $1 ${x} {{.}} `id` \"quoted\" 'so' [[a]] --[[ b ]] #c\t."

// TestA13TextIsText writes text that means something to formats, expressions and scripts where a route has text: it
// arrives as it was written.
func TestA13TextIsText(t *testing.T) {
	t.Parallel()
	set := func(kind, field, name string) string {
		return fmt.Sprintf("{type: %s, %s: {set: [{name: %s, value: %s}]}}", kind, field, name, yamlString(hostile))
	}
	rule := func(match, filters string) string {
		return "[{matches: [" + match + "], filters: [" + filters + "], backendRefs: [{${one}}]}]"
	}
	path := func(text string) string {
		return "{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: " + yamlString(text) + "}}}"
	}
	in := start(t, files{"routes.yaml": hostRoute("headers", rule("{}", set("RequestHeaderModifier",
		"requestHeaderModifier", "x-sent")+", "+set("ResponseHeaderModifier", "responseHeaderModifier", "x-got"))) +
		hostRoute("matched", rule("{headers: [{name: x-a, value: "+yamlString(hostile)+"}]}", "")) +
		hostRoute("asked", rule(`{queryParams: [{name: a, value: 'b.*$1(c)|d'}]}`, "")) +
		hostRoute("path", rule("{}", path(`/a%5C1$1(authorization)`))) +
		hostRoute("prefix", rule("{path: {value: /in}}", `{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch,
  replacePrefixMatch: '/out%5C0$0'}}}`)) +
		hostRoute("group", rule("{}", path(`/a\1`))) + hostRoute("operator", rule("{}", path(`/%REQ(authorization)%`))) +
		hostRoute("redirect", `[{filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath,
  replaceFullPath: '/a%5C1$1'}}}]}]`) +
		hostRoute("broken", rule("{}", `{type: RequestHeaderModifier,
  requestHeaderModifier: {set: [{name: x-a, value: "a\r\nx-admin: yes"}]}}`))})
	credentials := "authorization: Bearer secret"
	runChecks(t, in, map[string]check{
		"headers": {request{host: "headers.example", header: []string{credentials}},
			expect{backend: "one", received: []string{"x-sent: " + hostile}, header: []string{"x-got: " + hostile}}},
		"matched":  {request{host: "matched.example", header: []string{"x-a: " + hostile}}, expect{backend: "one"}},
		"another":  {request{host: "matched.example", header: []string{"x-a: secret"}}, expect{status: 404}},
		"asked":    {request{host: "asked.example", path: "/?a=b.*$1(c)|d"}, expect{backend: "one"}},
		"answered": {request{host: "asked.example", path: "/?a=bb$1(c)|d"}, expect{status: 404}},
		"path":     {request{host: "path.example"}, expect{backend: "one", path: "/a%5C1$1(authorization)"}},
		"prefix":   {request{host: "prefix.example", path: "/in/x"}, expect{backend: "one", path: "/out%5C0$0/x"}},
		"redirect": {request{host: "redirect.example"},
			expect{status: 302, header: []string{"location: http://redirect.example:" + in.vars["HTTP"] + "/a%5C1$1"}}},
		// What cannot be meant as it is written is refused.
		"group":     {request{host: "group.example"}, expect{status: 500}},
		"operator":  {request{host: "operator.example", header: []string{credentials}}, expect{status: 500}},
		"two lines": {request{host: "broken.example"}, expect{status: 404}},
	})
}

// yamlString is a text as YAML has it in one line, of which JSON is a part.
func yamlString(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		panic(err) // a string can be marshalled
	}
	return string(out)
}

// TestA43LogInjection sends what could end a field or a line of the access log, or mean something to its format. Each
// request is one line, and what clients wrote is in the fields for it alone.
func TestA43LogInjection(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "log")
	in := start(t, files{
		"gateway.yaml": loggedYAML, "backends.yaml": backendsYAML,
		"proxy.yaml": envoyProxy(`telemetry: {accessLog: {settings: [{type: Route, format: {type: JSON, json: {
  agent: "%REQ(USER-AGENT)%", path: "%REQ(:PATH)%", host: "%REQ(:AUTHORITY)%", user: "%REQ(X-USER)%",
  code: "%RESPONSE_CODE%"}}, sinks: [{type: File, file: {path: "` + log + `"}}]}]}}`),
	})
	agents := []string{
		`x", "code": "200", "user": "root`, `x"}` + "\t" + `{"code": 200`, "%REQ(AUTHORIZATION)%", "%%", `\`, `\"`, `\u0022,`,
		"a\u2028b", "\x7f", "\xff\xfe", "<script>", "${jndi:ldap://a}", strings.Repeat("a", 10_000),
	}
	for i, agent := range agents {
		answer := in.conversation(t, fmt.Sprintf("GET /a?%d HTTP/1.1\r\nHost: a.example\r\nUser-Agent: %s\r\n"+
			"Authorization: secret\r\nConnection: close\r\n\r\n", i, agent))
		if status := statusOf(t, answer); status != http.StatusOK && status != http.StatusBadRequest {
			t.Errorf("%q is answered with %d", agent, status)
		}
	}
	type entry struct {
		Agent, Path, Host, User string
		Code                    int
	}
	var entries []entry
	eventually(t, func() error {
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		entries = nil
		for line := range strings.Lines(string(text)) {
			var e entry
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Fatalf("%v in the line %q", err, line)
			}
			entries = append(entries, e)
		}
		if len(entries) < len(agents) {
			return fmt.Errorf("%d entries for %d requests", len(entries), len(agents))
		}
		return nil
	})
	if len(entries) != len(agents) {
		t.Errorf("%d entries for %d requests", len(entries), len(agents))
	}
	for _, e := range entries {
		if e.User != "" || strings.Contains(e.Agent, "secret") || e.Code == http.StatusOK && e.Host != "a.example" {
			t.Errorf("an entry is %+v", e)
		}
	}
}

// TestA31CredentialsStay follows what clients prove themselves with: where a policy takes it off, neither the backend
// nor the one that gets copies has it, and a redirect does not carry it elsewhere.
func TestA31CredentialsStay(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var copies []http.Header
	mirror := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		copies = append(copies, r.Header)
	}))
	t.Cleanup(mirror.Close)
	in := start(t, files{"routes.yaml": localBackend("mirror", mirror.Listener.Addr(), "") +
		hostRoute("mirrored", `[{backendRefs: [{${one}}], filters: [{type: RequestMirror, requestMirror: {backendRef:
  {group: gateway.envoyproxy.io, kind: Backend, name: mirror}}}]}]`) +
		hostRoute("elsewhere", `[{filters: [{type: RequestRedirect, requestRedirect: {hostname: other.example}}]}]`) +
		routePolicy("SecurityPolicy", "mirrored", "mirrored", `
  apiKeyAuth: {credentialRefs: [{name: keys}], extractFrom: [{headers: [x-key]}], sanitize: true}
`) + `
---
apiVersion: v1
kind: Secret
metadata: {name: keys}
stringData: {alice: one}
`})
	in.must(t, request{host: "mirrored.example", header: []string{"x-key: one", "x-id: 1"}},
		expect{backend: "one", received: []string{"x-key:"}})
	eventually(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(copies) == 0 {
			return fmt.Errorf("there is no copy")
		}
		return nil
	})
	in.must(t, request{host: "mirrored.example", header: []string{"x-key: two"}}, expect{status: 401})
	mu.Lock()
	for _, got := range copies {
		if got.Get("x-id") != "1" || got.Get("x-key") != "" {
			t.Errorf("a copy has %v", got)
		}
	}
	mu.Unlock()
	a, err := in.send(t.Context(), request{
		host: "elsewhere.example", path: "/a", header: []string{"authorization: secret", "cookie: secret", "x-key: secret"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := a.header.Get("Location"); got != "http://other.example:"+in.vars["HTTP"]+"/a" {
		t.Errorf("the redirect leads to %q", got)
	}
	if strings.Contains(fmt.Sprint(a.header, a.body), "secret") {
		t.Errorf("the redirect has what the client sent: %v", a.header)
	}
}

// TestA44ManyExpressions has somebody write ten thousand regular expressions on a host: the hosts of others answer as
// before, and so does this one.
func TestA44ManyExpressions(t *testing.T) {
	t.Parallel()
	const routes, rules, matches = 80, 16, 8
	var text strings.Builder
	for r := range routes {
		name := fmt.Sprintf("many-%d", r)
		var all []string
		for rule := range rules {
			var list []string
			for m := range matches {
				value := fmt.Sprintf("/(a+)+%d/[a-z]*x%d/.*%d", r, rule, m)
				list = append(list, "{path: {type: RegularExpression, value: '"+value+"'}}")
			}
			all = append(all, "{matches: ["+strings.Join(list, ", ")+"], backendRefs: [{${one}}]}")
		}
		own := hostRoute(name, "["+strings.Join(all, ", ")+"]")
		text.WriteString(strings.Replace(own, name+".example", "many.example", 1))
	}
	in := start(t, files{"good.yaml": route("good", "[good.example]", [2]string{"good", `[{path: {value: /}}]`})})
	in.must(t, request{host: "good.example"}, expect{backend: "one"})
	in.write("many.yaml", text.String())
	in.want(t, request{host: "many.example", path: "/aaa7/bx15/c7"}, expect{backend: "one"})
	for _, r := range []request{
		{host: "good.example"}, {host: "many.example", path: "/" + strings.Repeat("a", 8000) + "9/bx15/"},
	} {
		begun := time.Now()
		a, err := in.send(t.Context(), r)
		if took := time.Since(begun); err != nil || took > 5*time.Second || a.status != 200 && a.status != 404 {
			t.Errorf("%s is answered with %d after %v: %v", r.host, a.status, took, err)
		}
	}
	in.write("good.yaml", route("good", "[good.example]", [2]string{"new", `[{path: {value: /}}]`}))
	in.want(t, request{host: "good.example"}, expect{header: []string{"x-rule: new"}})
}

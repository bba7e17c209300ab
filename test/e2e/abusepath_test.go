package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	pathpkg "path"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/echo"
)

// TestA32SpellingsOfAGuardedPath asks for /admin, which a route with a password guards, in every spelling that servers
// are known to undo, beside a route for all other paths that is open. None of them may reach a backend as something
// that a server would take for /admin.
func TestA32SpellingsOfAGuardedPath(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": usersOf("users", "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw=") + `
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: guarded}
spec:
  parentRefs: [{name: gw}]
  hostnames: [shop.example]
  rules:
  - matches: [{path: {value: /admin}}]
    backendRefs: [{${one}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: open}
spec:
  parentRefs: [{name: gw}]
  hostnames: [shop.example]
  rules:
  - backendRefs: [{${two}}]
` + policyIn("default", "guarded", `
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: guarded}]
  basicAuth: {users: {name: users}}`)})
	in.must(t, request{host: "shop.example", path: "/admin/x"}, expect{status: 401})
	in.must(t, request{host: "shop.example", path: "/x"}, expect{backend: "two"})
	reached := 0
	for _, target := range spellings() {
		got, ok := in.reaches(t, target)
		if !ok {
			continue
		}
		reached++
		if name := read(got); name == "/admin" || strings.HasPrefix(name, "/admin/") {
			t.Errorf("%q reaches a backend as %q without a password: servers read %q", target, got, name)
		}
	}
	t.Logf("%d of %d spellings reach the open route, as other paths", reached, len(spellings()))
}

// spellings are request targets that somebody may take for /admin/x.
func spellings() []string {
	out := []string{
		"//admin/x", "///admin/x", "/./admin/x", "/.//admin/x", "/a/../admin/x", "/a/b/../../admin/x", "/../admin/x",
		"/a/..//admin/x", "/admin/./x", "/admin/../admin/x", "/admin//x", "/%2e/admin/x", "/%2E/admin/x",
		"/a/%2e%2e/admin/x",
		"/a/.%2e/admin/x", "/a/%2e./admin/x", "/a%2f..%2fadmin/x", "/a/..%2fadmin/x", "/%2fadmin/x", "/%2Fadmin/x",
		"/admin%2fx", "/admin%2Fx", "/a/%2e%2e%2fadmin/x", `/\admin/x`, `\admin\x`, `/a/..\admin/x`, `/admin\x`,
		"/%5cadmin/x",
		"/%5Cadmin/x", "/admin%5cx", "/a/..%5cadmin/x", "/admin/x#frag", "/admin#/x", "/x#/../admin/x", "/admin/x?a#b",
		"/?/admin/x",
		"/admin?x", "/admin/", "/admin", "/admin/.", "/admin/..", "/%61dmin/x", "/%61%64%6d%69%6e/x", "/%61%64%6D%69%6E",
		"http://shop.example/admin/x", "http://shop.example//admin/x", "http://other.example/admin/x", "/.%00/admin/x",
		"/a/%252e%252e/admin/x", "/%252fadmin/x", "/%c0%af/admin/x", "/a/%c0%ae%c0%ae/admin/x", "/%e2%88%95admin/x",
		"/ADMIN/x", "/Admin/x", "/admin /x", "/admin%20/x", "/admin%09/x", "/admin./x", "/admin%00/x", "*", "admin/x", "",
	}
	for c := range 256 {
		for _, form := range []string{"/%%%02xadmin/x", "/admin%%%02X/x", "/a%%%02xdmin/x"} {
			out = append(out, fmt.Sprintf(form, c))
		}
	}
	return out
}

// read is the path that servers like Apache's and nginx take a path for: decoded once, without repeated slashes and
// dots.
func read(target string) string {
	target, _, _ = strings.Cut(target, "?")
	target, _, _ = strings.Cut(target, "#")
	decoded, err := url.PathUnescape(target)
	if err != nil {
		decoded = target
	}
	return pathpkg.Clean("/" + strings.ReplaceAll(decoded, `\`, "/"))
}

// reaches sends a request for a target as it is written, and returns the path that a backend got, if one did.
func (in *instance) reaches(t *testing.T, target string) (string, bool) {
	t.Helper()
	status, body := in.raw(t, "GET "+target+" HTTP/1.1", "Host: shop.example", "Connection: close")
	if status != http.StatusOK {
		return "", false
	}
	var reply echo.Reply
	if err := json.Unmarshal(body, &reply); err != nil {
		t.Fatalf("%q is answered with %q", target, body)
	}
	return reply.Path, true
}

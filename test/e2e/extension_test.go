package e2e

import (
	"testing"
)

// extendedRoute is an HTTPRoute for a host, and an EnvoyExtensionPolicy for it.
func extendedRoute(name, spec string) string { return policedRoute("EnvoyExtensionPolicy", name, spec) }

const luaConfigMap = `
apiVersion: v1
kind: ConfigMap
metadata: {name: scripts}
data:
  lua: |
    function envoy_on_response(handle)
      handle:headers():add("x-second", handle:headers():get("x-first") or "none")
    end
`

// luaOfGateway is a script for the routes of the Gateway that have no policy of their own.
const luaOfGateway = `
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyExtensionPolicy
metadata: {name: gateway}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  lua:
  - type: Inline
    filterContext: {name: gateway}
    inline: |
      function envoy_on_response(handle)
        handle:headers():add("x-script", handle:filterContext()["name"] or "none")
      end
`

// TestLua runs scripts in their order and with their context, and answers with 500 where one cannot be loaded: without
// letting anybody in whom a SecurityPolicy keeps out, and without an effect on other routes.
func TestLua(t *testing.T) {
	t.Parallel()
	const script = `
  lua:
  - type: Inline
    inline: `
	locked := func(name, spec string) string {
		return extendedRoute(name, spec) + routePolicy("SecurityPolicy", name, name, `
  basicAuth: {users: {name: users}}`)
	}
	in := start(t, files{
		"scripts.yaml":        luaConfigMap,
		"gateway-policy.yaml": luaOfGateway,
		"users.yaml": `
apiVersion: v1
kind: Secret
metadata: {name: users}
stringData: {.htpasswd: "alice:{SHA}piGucRdTwGb7+i3S1svNik60+fw="}
`,
		"routes.yaml": hostRoute("plain", `
  - backendRefs: [{${one}}]`) + extendedRoute("two", `
  lua:
  - type: ValueRef
    valueRef: {group: "", kind: ConfigMap, name: scripts}
  - type: Inline
    filterContext: {region: eu}
    inline: |
      function envoy_on_request(handle)
        handle:headers():add("x-region", handle:filterContext()["region"])
      end
      function envoy_on_response(handle)
        handle:headers():add("x-first", "]] " .. ("a"):rep(2))
      end`) + extendedRoute("none", script+"|\n      function envoy_on_response(h)\n"+
			"        h:headers():add('x-script', h:filterContext()['name'] or 'none')\n      end") +
			extendedRoute("syntax", script+`"function ("`) +
			extendedRoute("missing", "\n  lua: [{type: ValueRef, valueRef: {group: '', kind: ConfigMap, name: nowhere}}]") +
			extendedRoute("fails", script+`"local x = nil; x.y = 1"`) +
			locked("locked", script+`"local x = nil; x.y = 1"`) +
			locked("locked-syntax", script+`"function ("`) +
			locked("open", script+`"function envoy_on_request(h) h:headers():add('x-lua', 'ran') end"`),
	})
	ask := func(host string, header ...string) request {
		return request{host: host + ".example", header: header}
	}
	alice := basic("alice", "open-sesame")
	runChecks(t, in, map[string]check{
		"of the Gateway": {ask("plain"), expect{backend: "one", header: []string{"x-script: gateway"}}},
		"in order": {ask("two"), expect{backend: "one", received: []string{"x-region: eu"},
			header: []string{"x-first: ]] aa", "x-second: ]] aa", "x-script:"}}},
		"context of another": {ask("none"), expect{backend: "one", header: []string{"x-script: none"}}},
		"syntax error":       {ask("syntax"), expect{status: 500}},
		"no ConfigMap":       {ask("missing"), expect{status: 500}},
		"cannot be loaded":   {ask("fails"), expect{status: 500}},
		"locked":             {ask("locked"), expect{status: 401}},
		"unlocked":           {ask("locked", alice), expect{status: 500}},
		"locked, no syntax":  {ask("locked-syntax", alice), expect{status: 500}},
		"not for strangers":  {ask("open"), expect{status: 401}},
		"behind the lock":    {ask("open", alice), expect{backend: "one", received: []string{"x-lua: ran"}}},
	})
	in.condition(t, conditionWant{
		kind: "EnvoyExtensionPolicy", name: "default/syntax", condition: "Accepted=False/Invalid",
		message: "spec.lua[0].inline: The script cannot be parsed: script line:1",
	})
	// What is mended works, on connections too that are open.
	in.write("scripts.yaml", luaConfigMap+`---
apiVersion: v1
kind: ConfigMap
metadata: {name: nowhere}
data: {a.lua: "function envoy_on_response(h) h:headers():add('x-late', 'here') end"}
`)
	in.want(t, ask("missing"), expect{backend: "one", header: []string{"x-late: here"}})
}

// TestLuaIsOff says that no script runs that the operator does not allow.
func TestLuaIsOff(t *testing.T) {
	t.Parallel()
	in := start(t, files{"routes.yaml": hostRoute("plain", `
  - backendRefs: [{${one}}]`) + extendedRoute("lua", `
  lua: [{type: Inline, inline: "function envoy_on_request(h) h:respond({[':status'] = '204'}, '') end"}]`)},
		"--enable-lua=false")
	in.must(t, request{host: "plain.example"}, expect{backend: "one"})
	in.must(t, request{host: "lua.example"}, expect{status: 500})
	in.condition(t, conditionWant{
		kind: "EnvoyExtensionPolicy", name: "default/lua", condition: "Accepted=False/Invalid", message: "--enable-lua",
	})
}

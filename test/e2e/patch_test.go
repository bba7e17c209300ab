package e2e

import (
	"strings"
	"testing"
)

// The type URLs of what is patched.
const (
	listenerURL = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routesURL   = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	clusterURL  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
)

// patchIn is an EnvoyPatchPolicy of a namespace for its Gateway.
func patchIn(namespace, name, gateway, patches string) string {
	return `
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: ` + name + `, namespace: ` + namespace + `}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: ` + gateway + `}
  type: JSONPatch
  jsonPatches:` + patches
}

func patchPolicy(name, patches string) string { return patchIn("default", name, "gw", patches) }

// localReply is what Envoy Gateway's documentation has as its first example.
const localReply = `
  - type: "` + listenerURL + `"
    # The listener name is of the form <GatewayNamespace>/<GatewayName>/<GatewayListenerName>
    name: default/gw/http
    operation:
      op: add
      path: "/default_filter_chain/filters/0/typed_config/local_reply_config"
      value:
        mappers:
        - filter:
            status_code_filter:
              comparison: {op: EQ, value: {default_value: 404, runtime_key: key_b}}
          status_code: 406
          body: {inline_string: "could not find what you are looking for"}`

// attemptCount is its second one, for another host.
const attemptCount = `
  - type: "` + routesURL + `"
    name: default/gw/http
    operation:
      op: add
      jsonPath: "..virtual_hosts[?match(@.name, '.*get_example')]"
      path: "include_attempt_count_in_response"
      value: true`

// patched waits until a policy says that it is programmed, or why not.
func (in *instance) patched(t *testing.T, name, condition, message string) {
	t.Helper()
	in.condition(t, conditionWant{
		kind: "EnvoyPatchPolicy", name: "default/" + name, condition: "Programmed=" + condition, message: message,
	})
}

// TestPatch has Envoy do what the examples of Envoy Gateway's documentation say, and what else patches are for: time
// limits of routes, filters that no API has, clusters of their own. It edits and removes them.
func TestPatch(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("get", `
  - matches: [{path: {value: /get}}]
    backendRefs: [{${one}}]
  - matches: [{path: {value: /slow}}]
    backendRefs: [{${one}}]`),
		"patches.yaml": patchPolicy("reply", localReply) + patchPolicy("attempts", attemptCount),
	})
	ask := func(path string) request { return request{host: "get.example", path: path} }
	in.want(t, ask("/get"), expect{backend: "one", header: []string{"x-envoy-attempt-count: 1"}})
	in.must(t, ask("/find"), expect{status: 406, body: "could not find what you are looking for"})
	in.patched(t, "reply", "True/Programmed", "Patches have been successfully applied.")

	in.write("more.yaml", patchPolicy("limit", `
  - type: `+routesURL+`
    name: default/gw/http
    operation:
      op: add
      jsonPath: "..routes[?(@.name=='httproute/default/get/rule/1/match/0/get_example')].route"
      path: timeout
      value: 0.2s`)+patchPolicy("filter", `
  - type: `+listenerURL+`
    name: tcp-${HTTP}
    operation:
      op: add
      path: /default_filter_chain/filters/0/typed_config/http_filters/0
      value:
        name: mine
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config
          request_rules:
          - header: x-tenant
            on_header_present: {metadata_namespace: mine, key: tenant, type: STRING}
  - type: `+routesURL+`
    name: default/gw/http
    operation:
      op: add
      path: /virtual_hosts/0/response_headers_to_add
      value: [{header: {key: x-tenant, value: "%DYNAMIC_METADATA(mine:tenant)%"}}]`)+patchPolicy("elsewhere", `
  - type: `+clusterURL+`
    name: mine
    operation:
      op: add
      path: ""
      value:
        name: mine
        connect_timeout: 1s
        type: STRICT_DNS
        load_assignment:
          cluster_name: mine
          endpoints:
          - lb_endpoints:
            - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${PORT_two}}}}
  - type: `+routesURL+`
    name: default/gw/http
    operation:
      op: add
      path: /virtual_hosts/0/routes/0
      value: {match: {prefix: /mine}, route: {cluster: mine}}`))
	in.want(t, ask("/mine"), expect{backend: "two"})
	in.want(t, ask("/slow?delay=5s"), expect{status: 504})
	in.must(t, request{host: "get.example", path: "/get", header: []string{"x-tenant: a"}},
		expect{backend: "one", header: []string{"x-tenant: a", "x-envoy-attempt-count: 1"}})
	for _, name := range []string{"limit", "filter", "elsewhere"} {
		in.patched(t, name, "True/Programmed", "")
	}

	in.write("patches.yaml", patchPolicy("reply", localReply[:len(localReply)-len(`for"}`)]+`with"}`))
	in.want(t, ask("/find"), expect{status: 406, body: "could not find what you are looking with"})
	in.want(t, ask("/get"), expect{backend: "one", header: []string{"x-envoy-attempt-count:"}})
	in.remove("patches.yaml")
	in.remove("more.yaml")
	in.want(t, ask("/find"), expect{status: 404})
	in.want(t, ask("/mine"), expect{status: 404})
}

// badLog makes Envoy refuse a listener: Sluice knows nothing of formats.
const badLog = `
  - type: ` + listenerURL + `
    name: default/gw/http
    operation:
      op: add
      path: /default_filter_chain/filters/0/typed_config/access_log
      value:
      - name: log
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
          log_format: {text_format_source: {inline_string: "%NO_SUCH_THING%\n"}}`

// TestPatchRefused has patches that cannot be applied, and some that only Envoy refuses: of the listener, of a virtual
// host, of a cluster. Each is told in its policy's status, all else goes on, and it works once it is mended.
func TestPatchRefused(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"routes.yaml": hostRoute("get", `
  - backendRefs: [{${one}}]`) + hostRoute("other", `
  - backendRefs: [{${two}}]`),
		"good.yaml": patchPolicy("good", localReply),
		"bad.yaml": patchPolicy("nothing", `
  - {type: `+clusterURL+`, name: nowhere, operation: {op: remove, path: /name}}`) + patchPolicy("path", `
  - {type: `+listenerURL+`, name: default/gw/http, operation: {op: remove, path: /nowhere}}`),
	})
	get, other := request{host: "get.example"}, request{host: "other.example"}
	in.must(t, get, expect{backend: "one"})
	in.patched(t, "good", "True/Programmed", "")
	in.patched(t, "nothing", "False/ResourceNotFound", `spec.jsonPatches[0]: There is no cluster named "nowhere"`)
	in.patched(t, "path", "False/Invalid", "spec.jsonPatches[0]: remove /nowhere")

	in.write("log.yaml", patchPolicy("log", badLog))
	in.write("host.yaml", patchPolicy("host", `
  - type: `+routesURL+`
    name: default/gw/http
    operation:
      op: add
      jsonPath: "..virtual_hosts[?(@.name=='default/gw/http/get_example')]"
      path: response_headers_to_add
      value: [{header: {key: x-a, value: "%NO_SUCH_THING%"}}]`))
	in.write("cluster.yaml", patchPolicy("cluster", `
  - type: `+clusterURL+`
    name: httproute/default/other/rule/0
    operation:
      op: add
      path: /transport_socket
      value:
        name: envoy.transport_sockets.tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
          common_tls_context: {tls_params: {cipher_suites: [NO_SUCH_THING]}}`))
	in.patched(t, "log", "False/Invalid", "Envoy refused the resource that the patch makes:")
	in.patched(t, "host", "False/Invalid", "NO_SUCH_THING")
	in.patched(t, "cluster", "False/Invalid", "NO_SUCH_THING")
	in.patched(t, "good", "True/Programmed", "")
	in.condition(t, conditionWant{kind: "Gateway", name: "default/gw", condition: "Programmed=True/Programmed"})
	in.want(t, get, expect{backend: "one"})
	in.must(t, other, expect{backend: "two"})
	in.must(t, request{host: "nobody.example"}, expect{status: 406})
	in.write("routes.yaml", hostRoute("get", `
  - backendRefs: [{${two}}]`)+hostRoute("other", `
  - backendRefs: [{${two}}]`))
	in.want(t, get, expect{backend: "two"})

	in.write("host.yaml", patchPolicy("host", `
  - type: `+routesURL+`
    name: default/gw/http
    operation:
      op: add
      jsonPath: "..virtual_hosts[?(@.name=='default/gw/http/get_example')]"
      path: response_headers_to_add
      value: [{header: {key: x-a, value: mended}}]`))
	in.want(t, get, expect{backend: "two", header: []string{"x-a: mended"}})
	in.patched(t, "host", "True/Programmed", "")
	in.remove("log.yaml")
	in.remove("cluster.yaml")
	in.must(t, other, expect{backend: "two"})
}

// TestPatchIsOff applies no patch that the operator does not allow.
func TestPatchIsOff(t *testing.T) {
	t.Parallel()
	in := start(t, files{"patches.yaml": patchPolicy("reply", localReply)}, "--enable-envoy-patch-policy=false")
	in.must(t, request{host: "nobody.example"}, expect{status: 404})
	in.condition(t, conditionWant{
		kind: "EnvoyPatchPolicy", name: "default/reply", condition: "Accepted=False/Disabled",
		message: "EnvoyPatchPolicy is disabled in the EnvoyGateway configuration",
	})
}

// foreignGateway is a Gateway of another namespace, with a port of its own and one that it shares with that of the
// tests.
const foreignGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw, namespace: foreign}
spec:
  gatewayClassName: sluice
  listeners:
  - {name: http, protocol: HTTP, port: ${SPARE}}
  - {name: shared, protocol: HTTP, port: ${HTTP}, hostname: foreign.example}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: get, namespace: foreign}
spec:
  parentRefs: [{name: gw}]
  hostnames: [foreign.example]
  rules: [{backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: one}]}]
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: one, namespace: foreign}
spec: {endpoints: [{ip: {address: 127.0.0.1, port: ${PORT_three}}}]}`

// ownGateway is one with a port of its own.
const ownGateway = `
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: mine}
spec:
  gatewayClassName: sluice
  listeners: [{name: https, protocol: HTTP, port: ${HTTPS}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: mine}
spec:
  parentRefs: [{name: mine}]
  hostnames: [mine.example]
  rules: [{backendRefs: [{${two}}]}]`

// TestA17PatchReachesNoFurther has patches reach for what is not theirs: another Gateway, by its name, its clusters and
// the port that they share; the control plane, Envoy's own admin interface, and whatever clients name.
func TestA17PatchReachesNoFurther(t *testing.T) {
	t.Parallel()
	leadTo := func(action string) string {
		return `
  - {type: ` + routesURL + `, name: default/mine/https, operation: {op: add, path: /virtual_hosts/0/routes/0, value: ` +
			`{match: {prefix: /steal}, route: {` + action + `}}}}`
	}
	whole := func(typ, value string) string {
		return `
  - {type: ` + typ + `, name: x, operation: {op: add, path: "", value: ` + value + `}}`
	}
	cases := map[string]struct{ gateway, patches, message string }{
		"another-gateway": {"gw", `
  - {type: ` + listenerURL + `, name: foreign/gw/http, operation: {op: remove, path: /default_filter_chain}}`,
			"is that of Gateway/foreign/gw too"},
		"shared-port":   {"gw", localReply, "is that of Gateway/foreign/gw too"},
		"shared-routes": {"gw", attemptCount, "is that of Gateway/foreign/gw too"},
		"shared-by-port": {"gw", `
  - {type: ` + listenerURL + `, name: tcp-${HTTP}, operation: {op: remove, path: /default_filter_chain}}`,
			"is that of Gateway/foreign/gw too"},
		"another-cluster": {"mine", `
  - {type: ` + clusterURL + `, name: httproute/foreign/get/rule/0, operation: {op: remove, path: /connect_timeout}}`,
			"is used by Gateway/foreign/gw too"},
		"route-to-another": {"mine", leadTo("cluster: backend/foreign/one"), "is a cluster of Gateway/foreign"},
		"route-to-xds":     {"mine", leadTo("cluster: sluice_xds"), `"sluice_xds" is Envoy's own`},
		"by-header":        {"mine", leadTo("cluster_header: x-cluster"), "would let clients choose"},
		"xds-cluster":      {"mine", whole(clusterURL, "{name: sluice_xds}"), `"sluice_xds" is Envoy's own`},
		"admin-socket": {"mine", whole(clusterURL, `{name: a, load_assignment: {cluster_name: a, endpoints: [{lb_endpoints: `+
			`[{endpoint: {address: {pipe: {path: /admin.sock}}}}]}]}}`), "the Unix socket /admin.sock"},
		"another-port": {"mine", `
  - {type: ` + listenerURL + `, name: default/mine/https, operation: {op: replace, path: ` +
			`/address/socket_address/port_value, value: 1}}`, "the port of a listener is that of the Gateway"},
		"taken-port": {"mine", whole(listenerURL, `{name: l, address: `+
			`{socket_address: {address: "::", port_value: ${SPARE}}}}`), "is taken by Gateway/foreign/gw"},
	}
	policies := ""
	for name, c := range cases {
		policies += patchIn("default", name, c.gateway, c.patches)
	}
	in := start(t, files{
		"foreign.yaml": foreignGateway, "own.yaml": ownGateway, "patches.yaml": policies +
			patchIn("stranger", "by-name", "mine", strings.ReplaceAll(localReply, "default/gw/http", "default/mine/https")),
	})
	for name, c := range cases {
		in.patched(t, name, "False/Invalid", c.message)
	}
	foreign := request{host: "foreign.example"}
	in.must(t, foreign, expect{backend: "three"})
	foreign.port = "SPARE"
	in.must(t, foreign, expect{backend: "three"})
	in.must(t, request{host: "nobody.example"}, expect{status: 404})
	mine := request{host: "mine.example", port: "HTTPS", header: []string{"x-cluster: sluice_xds"}}
	for _, path := range []string{"/", "/steal"} {
		mine.path = path
		in.must(t, mine, expect{backend: "two"})
	}
	in.must(t, request{host: "nobody.example", port: "HTTPS"}, expect{status: 404})
}

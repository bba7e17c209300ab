package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"testing"

	pb "github.com/envoyproxy/gateway/proto/extension"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-gateway/sluice/test/cluster"
	"github.com/sluice-gateway/sluice/test/extensionserver"
	"github.com/sluice-gateway/sluice/test/release"
)

// stamps is the CRD of the objects that the extension server of the test understands.
const stamps = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: stamps.ext.example.com}
spec:
  group: ext.example.com
  names: {kind: Stamp, listKind: StampList, plural: stamps, singular: stamp}
  scope: Namespaced
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
`

// stampPath is where a Stamp is at the API server.
func stampPath(ns, name string) string {
	return "/apis/ext.example.com/v1/namespaces/" + ns + "/stamps/" + name
}

// TestExtensions has the operator allow what is off in a cluster, by the configuration file of the release: patches,
// and an extension server that all replicas ask. A Wasm module, which is on, comes from a server in the cluster.
func TestExtensions(t *testing.T) {
	w := begin(t)
	server, at := w.stamper()
	module := w.serveModule()
	w.apply(stamps)
	t.Cleanup(func() {
		w.remove(context.WithoutCancel(t.Context()), "customresourcedefinition/stamps.ext.example.com")
	})
	w.reinstall(
		"config.extensionApis.enableEnvoyPatchPolicy=true",
		"config.extensionManager.name=stamper",
		"config.extensionManager.resources[0].group=ext.example.com",
		"config.extensionManager.resources[0].version=v1",
		"config.extensionManager.resources[0].kind=Stamp",
		"config.extensionManager.hooks.xdsTranslator.post={Route}",
		"config.extensionManager.service.ip.address="+at.IP.String(),
		fmt.Sprint("config.extensionManager.service.ip.port=", at.Port),
		"extensionRules[0].apiGroups={ext.example.com}", "extensionRules[0].resources={stamps}",
		"extensionRules[0].verbs={get,list,watch}",
	)
	const envoys = 2
	w.quickstart(envoys)
	t.Run("a patch", func(t *testing.T) { w.in(t).patches() })
	t.Run("an extension server", func(t *testing.T) { w.in(t).stamped(server) })
	t.Run("a Wasm module", func(t *testing.T) {
		w := w.in(t)
		w.apply(w.runs("module", "one", module, "config: it-runs"))
		w.everywhere("module.example", "it-runs")
		w.says(policyPath(w.ns, "envoyextensionpolicies", "module"), "Accepted=True", "")
	})
	t.Run("all are there at a new Envoy and a new control plane", func(t *testing.T) {
		w := w.in(t)
		w.restart(release.Default)
		w.replaced(envoys, func() {
			w.kubectl("-n", w.ns, "delete", "pods", "-l", gatewayLabel+"=gateway", "--wait=false")
		})
		for host, text := range map[string]string{
			"one.example": "it-is-patched", "stamped.example": "second stamp", "module.example": "it-runs",
		} {
			w.everywhere(host, text)
		}
	})
}

// reinstall has the shared release have further values until the end of the test.
func (w *world) reinstall(further ...string) {
	w.t.Helper()
	w.t.Cleanup(func() {
		if err := release.Default.Install(context.WithoutCancel(w.t.Context()), w.Cluster, values...); err != nil {
			w.t.Error(err)
		}
	})
	if err := release.Default.Install(w.t.Context(), w.Cluster, append(slices.Clone(values), further...)...); err != nil {
		w.t.Fatal(err)
	}
}

// everywhere waits until each Envoy answers a host with 200, and a text in the answer.
func (w *world) everywhere(host, text string) {
	w.t.Helper()
	w.eventually(host+" with "+text+" at each Envoy", func() error {
		return w.atEach(func(address string) error { return w.answeredWith(address, host, "/", 200, text) })
	})
}

// patchOf is an EnvoyPatchPolicy with one patch of the routes of the test's Gateway.
func patchOf(ns, name, path, value string) string {
	return fmt.Sprintf(`
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyPatchPolicy
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gateway}
  type: JSONPatch
  jsonPatches:
  - type: type.googleapis.com/envoy.config.route.v3.RouteConfiguration
    name: %[1]s/gateway/http
    operation:
      op: add
      jsonPath: "..virtual_hosts[?match(@.name, '.*one_example')]"
      path: %[3]s
      value: %[4]s
`, ns, name, path, value)
}

// patches has a patch add a header to requests, beside one that Envoy refuses, which is mended.
func (w *world) patches() {
	path := func(name string) string { return policyPath(w.ns, "envoypatchpolicies", name) }
	w.apply(patchOf(w.ns, "good", "request_headers_to_add", `[{header: {key: x-patched, value: it-is-patched}}]`))
	w.everywhere("one.example", "it-is-patched")
	w.says(path("good"), "Programmed=True", "")
	const header = `[{header: {key: x-bad, value: "%%%s%%"}}]`
	w.apply(patchOf(w.ns, "bad", "response_headers_to_add", fmt.Sprintf(header, "NO_SUCH_THING")))
	w.says(path("bad"), "Programmed=False", "NO_SUCH_THING")
	w.says(path("good"), "Programmed=True", "")
	w.everywhere("one.example", "it-is-patched")
	w.apply(patchOf(w.ns, "bad", "response_headers_to_add", fmt.Sprintf(header, "PROTOCOL")))
	w.says(path("bad"), "Programmed=True", "")
	w.everywhere("one.example", "it-is-patched")
}

// stamper starts an extension server in the network of the control plane, until the end of the test.
func (w *world) stamper() (*extensionserver.Server, *net.TCPAddr) {
	w.t.Helper()
	l, err := w.Listen(w.t.Context(), "tcp", net.JoinHostPort(cluster.ControlIP, "0"))
	if err != nil {
		w.t.Fatal(err)
	}
	server := extensionserver.New(l.Addr().String(), extensionserver.Behaviour{Route: stampRequest})
	server.Serve(l)
	w.t.Cleanup(server.Stop)
	return server, l.Addr().(*net.TCPAddr)
}

// stampRequest adds a header to requests: the text of the Stamp that the route has.
func stampRequest(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
	for _, e := range q.GetPostRouteContext().GetExtensionResources() {
		var o struct{ Spec struct{ Text string } }
		if err := json.Unmarshal(e.GetUnstructuredBytes(), &o); err != nil {
			return nil, err
		}
		q.Route.RequestHeadersToAdd = append(q.Route.RequestHeadersToAdd, &corev3.HeaderValueOption{
			Header: &corev3.HeaderValue{Key: "x-stamp", Value: o.Spec.Text},
		})
	}
	return q.GetRoute(), nil
}

// stamped has the server change a route, and edits the object that says how. While the server is away the route stays
// what it was and says so.
func (w *world) stamped(server *extensionserver.Server) {
	w.apply(fmt.Sprintf(`
apiVersion: ext.example.com/v1
kind: Stamp
metadata: {name: s, namespace: %[1]s}
spec: {text: first stamp}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stamped, namespace: %[1]s}
spec:
  parentRefs: [{name: gateway}]
  hostnames: [stamped.example]
  rules:
  - filters: [{type: ExtensionRef, extensionRef: {group: ext.example.com, kind: Stamp, name: s}}]
    backendRefs: [{name: one, port: 80}]
`, w.ns))
	w.everywhere("stamped.example", "first stamp")
	if asked, route := server.Calls("Route", "httproute/"+w.ns+"/stamped/0"), server.Total("Route"); asked != route {
		w.t.Errorf("the server was asked %d times, %d of them for the route with its object", route, asked)
	}
	server.Stop()
	w.patch(stampPath(w.ns, "s"), `{"spec":{"text":"second stamp"}}`)
	w.says(routePath(w.ns, "stamped"), "Programmed=False", "the version before it stays live")
	w.everywhere("stamped.example", "first stamp")
	l, err := w.Listen(w.t.Context(), "tcp", server.Address)
	if err != nil {
		w.t.Fatal(err)
	}
	server.Serve(l)
	w.everywhere("stamped.example", "second stamp")
	w.eventually("the status to be good again", func() error { return w.accepted(w.ns, "stamped") })
}

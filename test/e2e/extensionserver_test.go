package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/extensionserver"
)

// startExtension starts an extension server that is stopped with the test.
func startExtension(t *testing.T, b extensionserver.Behaviour) *extensionserver.Server {
	t.Helper()
	s := extensionserver.New("127.0.0.1:0", b)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// extended runs sluice with an extension server. more are further fields of the extension manager.
func extended(t *testing.T, s *extensionserver.Server, f files, hooks, more string) *instance {
	t.Helper()
	return extendedBy(t, s, f, "["+hooks+"]", more)
}

// extendedBy is extended with what comes after the field post, its own value first.
func extendedBy(t *testing.T, s *extensionserver.Server, f files, post, more string) *instance {
	t.Helper()
	in := prepare(t, f)
	file := filepath.Join(in.root, "settings.yaml")
	text := fmt.Sprintf(`apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
extensionManager:
  name: stamper
  resources: [{group: ext.example.com, version: v1, kind: Stamp}]
  policyResources: [{group: ext.example.com, version: v1, kind: StampPolicy}]
  backendResources: [{group: ext.example.com, version: v1, kind: Bucket}]
  hooks: {xdsTranslator: {post: %s}}
  service: {ip: {address: 127.0.0.1, port: %d}, retry: {maxAttempts: 1}}
%s
`, post, s.Port(), more)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	in.args = append(in.args, "--config", file)
	in.run()
	in.waitReady()
	return in
}

// objectOf reads a field of the spec of the first object that a server is given.
func objectOf(list []*pb.ExtensionResource, field string) string {
	for _, e := range list {
		var o struct {
			Spec map[string]any `json:"spec"`
		}
		if json.Unmarshal(e.GetUnstructuredBytes(), &o) == nil && o.Spec[field] != nil {
			return fmt.Sprint(o.Spec[field])
		}
	}
	return ""
}

// stamp adds a response header to a route: the text of the Stamp that it has, or of a policy.
func stamp(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
	c := q.GetPostRouteContext()
	text := objectOf(c.GetExtensionResources(), "text") + objectOf(c.GetExtensionPolicies(), "text")
	if text == "refuse" {
		return nil, errors.New("the text is not to my taste")
	}
	q.Route.ResponseHeadersToAdd = append(q.Route.ResponseHeadersToAdd, &corev3.HeaderValueOption{
		Header: &corev3.HeaderValue{Key: "x-stamp", Value: text + " for " + strings.Join(c.GetHostnames(), ",")},
	})
	return q.GetRoute(), nil
}

// stampYAML is a route with a Stamp, and one without.
const stampYAML = `
apiVersion: ext.example.com/v1
kind: Stamp
metadata: {name: s}
spec: {text: one}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: stamped}
spec:
  parentRefs: [{name: gw}]
  hostnames: [stamped.test]
  rules:
    - filters: [{type: ExtensionRef, extensionRef: {group: ext.example.com, kind: Stamp, name: s}}]
      backendRefs: [{${one}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: plain}
spec:
  parentRefs: [{name: gw}]
  hostnames: [plain.test]
  rules: [{backendRefs: [{${two}}]}]
`

// TestExtensionServerRoute has a server change the routes with objects that it understands, and no others.
func TestExtensionServerRoute(t *testing.T) {
	t.Parallel()
	s := startExtension(t, extensionserver.Behaviour{Route: stamp})
	in := extended(t, s, files{"routes.yaml": stampYAML, "policy.yaml": `
apiVersion: ext.example.com/v1
kind: StampPolicy
metadata: {name: p}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: HTTPRoute, name: ruled, sectionName: second}]
  text: policy
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: ruled}
spec:
  parentRefs: [{name: gw}]
  hostnames: [ruled.test]
  rules:
    - {name: first, matches: [{path: {value: /first}}], backendRefs: [{${one}}]}
    - {name: second, matches: [{path: {value: /second}}], backendRefs: [{${one}}]}
`}, "Route", "")
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
	in.want(t, request{host: "plain.test"}, expect{backend: "two", header: []string{"x-stamp:"}})
	in.want(t, request{host: "ruled.test", path: "/first"}, expect{backend: "one", header: []string{"x-stamp:"}})
	in.want(t, request{host: "ruled.test", path: "/second"},
		expect{backend: "one", header: []string{"x-stamp: policy for ruled.test"}})
	in.condition(t, conditionWant{
		kind: "StampPolicy", name: "default/p", condition: "Accepted=True/Accepted", message: "accepted",
	})
	if n := s.Calls("Route", "httproute/default/plain/0") + s.Calls("Route", "httproute/default/ruled/first"); n != 0 {
		t.Errorf("%d calls for routes without objects of the server", n)
	}

	// An edit of the object reaches the route.
	in.write("routes.yaml", strings.Replace(stampYAML, "text: one", "text: other", 1))
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: other for stamped.test"}})
	if n := s.Calls("Route", "httproute/default/stamped/0"); n != 2 {
		t.Errorf("%d calls for two versions of a route", n)
	}

	// One that the server refuses stays what it was, with its words; the others go on.
	in.write("routes.yaml", strings.Replace(strings.Replace(stampYAML, "text: one", "text: refuse", 1),
		"[{backendRefs: [{${two}}]}]", "[{backendRefs: [{${three}}]}]", 1))
	in.want(t, request{host: "plain.test"}, expect{backend: "three"})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/stamped", condition: "Programmed=False/Invalid", message: "not to my taste",
	})
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: other for stamped.test"}})
	in.write("routes.yaml", stampYAML)
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
}

// TestExtensionServerHosts has a server add a route to virtual hosts, and change listeners as a policy says.
func TestExtensionServerHosts(t *testing.T) {
	t.Parallel()
	s := startExtension(t, extensionserver.Behaviour{
		VirtualHost: func(q *pb.PostVirtualHostModifyRequest) (*routev3.VirtualHost, error) {
			h := q.GetVirtualHost()
			h.Routes = append([]*routev3.Route{{
				Match:  &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: "/added"}},
				Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 418}},
			}}, h.GetRoutes()...)
			return h, nil
		},
		Listener: func(q *pb.PostHTTPListenerModifyRequest) (*listenerv3.Listener, error) {
			name := objectOf(q.GetPostListenerContext().GetExtensionResources(), "text")
			for _, c := range q.GetListener().GetFilterChains() {
				for _, f := range c.GetFilters() {
					hcm := &hcmv3.HttpConnectionManager{}
					if name == "" || f.GetTypedConfig().UnmarshalTo(hcm) != nil {
						continue
					}
					hcm.ServerName = name
					hcm.ServerHeaderTransformation = hcmv3.HttpConnectionManager_OVERWRITE
					config, err := anypb.New(hcm)
					if err != nil {
						return nil, err
					}
					f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: config}
				}
			}
			return q.GetListener(), nil
		},
	})
	policy := `
apiVersion: ext.example.com/v1
kind: StampPolicy
metadata: {name: p}
spec:
  targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: gw, sectionName: http}
  text: stamper
`
	f := files{"routes.yaml": simple["route.yaml"], "policy.yaml": policy}
	in := extended(t, s, f, "VirtualHost, HTTPListener", "")
	in.want(t, request{path: "/added"}, expect{status: 418})
	in.want(t, request{}, expect{header: []string{"server: stamper"}})
	in.condition(t, conditionWant{
		kind: "StampPolicy", name: "default/p", condition: "Accepted=True/Accepted", message: "accepted",
	})
	in.write("policy.yaml", strings.Replace(policy, "text: stamper", "text: renamed", 1))
	in.want(t, request{}, expect{header: []string{"server: renamed"}})
	in.write("policy.yaml", strings.Replace(policy, "sectionName: http", "sectionName: none", 1))
	in.condition(t, conditionWant{
		kind: "StampPolicy", name: "default/p", condition: "Accepted=False/TargetNotFound", message: "named none",
	})
	in.want(t, request{}, expect{header: []string{"server:"}})
}

// TestExtensionServerBackend has a server say where the requests for a backend go that only it understands, and move
// the endpoints of another.
func TestExtensionServerBackend(t *testing.T) {
	t.Parallel()
	moved := uint32(shared.backends["three"].Port()) //nolint:gosec // a port
	s := startExtension(t, extensionserver.Behaviour{
		Cluster: func(q *pb.PostClusterModifyRequest) (*clusterv3.Cluster, error) {
			c := q.GetCluster()
			var port uint32
			text := objectOf(q.GetPostClusterContext().GetBackendExtensionResources(), "port")
			if _, err := fmt.Sscan(text, &port); err != nil {
				return nil, err
			}
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
			c.EdsClusterConfig = nil
			c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
				ClusterName: c.GetName(), Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{
					at(port),
				}}},
			}
			return c, nil
		},
		Endpoints: func(q *pb.PostEndpointsModifyRequest) (*endpointv3.ClusterLoadAssignment, error) {
			e := q.GetLoadAssignment()
			if e.GetClusterName() == "backend/default/two" {
				e.Endpoints[0].LbEndpoints = []*endpointv3.LbEndpoint{at(moved)}
			}
			return e, nil
		},
	})
	routes := `
apiVersion: ext.example.com/v1
kind: Bucket
metadata: {name: b}
spec: {port: ${PORT_one}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: bucket}
spec:
  parentRefs: [{name: gw}]
  rules:
    - {matches: [{path: {value: /bucket}}], backendRefs: [{group: ext.example.com, kind: Bucket, name: b}]}
    - {matches: [{path: {value: /none}}], backendRefs: [{group: ext.example.com, kind: Bucket, name: missing}]}
    - {matches: [{path: {value: /two}}], backendRefs: [{${two}}]}
`
	in := extended(t, s, files{"routes.yaml": routes}, "Cluster, Endpoints", "")
	in.want(t, request{path: "/bucket"}, expect{backend: "one"})
	in.want(t, request{path: "/none"}, expect{status: 500})
	in.want(t, request{path: "/two"}, expect{backend: "three"})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/bucket", condition: "ResolvedRefs=False/BackendNotFound",
		message: "Bucket/default/missing does not exist",
	})
	in.write("routes.yaml", strings.Replace(routes, "port: ${PORT_one}", "port: ${PORT_two}", 1))
	in.want(t, request{path: "/bucket"}, expect{backend: "two"})
	if n := s.Calls("Cluster", "backend/default/two"); n != 0 {
		t.Errorf("%d calls for the cluster of a backend that Sluice understands itself", n)
	}
}

// at is an endpoint on this machine.
func at(port uint32) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
		Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
		}}},
	}}}
}

// TestExtensionServerAway runs without the server: what it was never asked about is answered with 500, what it was
// asked about stays what it was, and nothing else suffers. No request is lost while it goes and comes.
func TestExtensionServerAway(t *testing.T) {
	t.Parallel()
	s := startExtension(t, extensionserver.Behaviour{Route: stamp})
	s.Stop()
	in := extended(t, s, files{"routes.yaml": stampYAML}, "Route", "")
	stamped := request{host: "stamped.test"}
	in.want(t, request{host: "plain.test"}, expect{backend: "two"})
	in.want(t, stamped, expect{status: 500})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/stamped", condition: "Programmed=False/Invalid",
		message: `was asked for the route httproute/default/stamped/0 and has failed: unavailable`,
	})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in.want(t, stamped, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})

	end := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 2, Rate: 500, Requests: []load.Request{load.NewRequest("stamped.test", "/", nil)},
	})
	s.Stop()
	moved := strings.ReplaceAll(strings.ReplaceAll(stampYAML, "${two}", "${three}"), "${one}", "${two}")
	in.write("routes.yaml", moved)
	in.want(t, request{host: "plain.test"}, expect{backend: "three"})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/stamped", condition: "Programmed=False/Invalid", message: "stays live",
	})
	in.must(t, stamped, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in.want(t, stamped, expect{backend: "two", header: []string{"x-stamp: one for stamped.test"}})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/stamped", condition: "Programmed=False", absent: true,
	})
	if got := end(); got.Failed() > 0 || got.Sent < 100 {
		t.Errorf("%v, want none failed of at least 100", got)
	}
}

// TestExtensionServerFailOpen runs without a server that may be done without.
func TestExtensionServerFailOpen(t *testing.T) {
	t.Parallel()
	s := startExtension(t, extensionserver.Behaviour{Route: stamp})
	s.Stop()
	in := extended(t, s, files{"routes.yaml": stampYAML}, "Route", "  failOpen: true")
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp:"}})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
}

// TestExtensionServerRefusedByEnvoy has a server make of a route what Envoy refuses: the version before stays, and the
// other routes of the host go on.
func TestExtensionServerRefusedByEnvoy(t *testing.T) {
	t.Parallel()
	s := startExtension(t, extensionserver.Behaviour{
		Route: func(q *pb.PostRouteModifyRequest) (*routev3.Route, error) {
			if objectOf(q.GetPostRouteContext().GetExtensionResources(), "text") == "bad" {
				q.Route.Match = &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_SafeRegex{
					SafeRegex: &matcherv3.RegexMatcher{Regex: "("},
				}}
			}
			return stamp(q)
		},
	})
	both := strings.ReplaceAll(stampYAML, "hostnames: [plain.test]\n  rules: [{",
		"hostnames: [stamped.test]\n  rules: [{matches: [{path: {value: /plain}}], ")
	both += `
---
apiVersion: ext.example.com/v1
kind: Stamp
metadata: {name: s2}
spec: {text: two}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: beside}
spec:
  parentRefs: [{name: gw}]
  hostnames: [stamped.test]
  rules:
    - matches: [{path: {value: /beside}}]
      filters: [{type: ExtensionRef, extensionRef: {group: ext.example.com, kind: Stamp, name: s2}}]
      backendRefs: [{${one}}]
`
	in := extended(t, s, files{"routes.yaml": both}, "Route", "")
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
	both = strings.Replace(both, "text: two", "text: three", 1)
	bad := strings.ReplaceAll(strings.Replace(both, "text: one", "text: bad", 1), "${two}", "${three}")
	in.write("routes.yaml", bad)
	in.want(t, request{host: "stamped.test", path: "/plain"}, expect{backend: "three"})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/stamped", condition: "Programmed=False/Invalid",
		message: "envoy refuses what it has made of it",
	})
	in.want(t, request{host: "stamped.test", path: "/beside"}, expect{header: []string{"x-stamp: three for stamped.test"}})
	in.must(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: one for stamped.test"}})
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/plain", condition: "Programmed=False", absent: true,
	})
	in.write("routes.yaml", strings.Replace(bad, "text: bad", "text: good", 1))
	in.want(t, request{host: "stamped.test"}, expect{backend: "one", header: []string{"x-stamp: good for stamped.test"}})
}

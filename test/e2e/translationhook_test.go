package e2e

import (
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/extensionserver"
)

// deciding has a server make of everything what f says.
func deciding(f func(*pb.PostTranslateModifyResponse)) extensionserver.Behaviour {
	return extensionserver.Behaviour{
		Translation: func(q *pb.PostTranslateModifyRequest) (*pb.PostTranslateModifyResponse, error) {
			a := &pb.PostTranslateModifyResponse{
				Clusters: q.GetClusters(), Secrets: q.GetSecrets(), Listeners: q.GetListeners(), Routes: q.GetRoutes(),
			}
			f(a)
			return a, nil
		},
	}
}

// named returns the cluster of a name, nil if there is none.
func named(a *pb.PostTranslateModifyResponse, name string) *clusterv3.Cluster {
	for _, c := range a.GetClusters() {
		if c.GetName() == name {
			return c
		}
	}
	return nil
}

// fixed is a cluster with an endpoint on this machine.
func fixed(name string, port uint32) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name: name, ConnectTimeout: durationpb.New(time.Second),
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{at(port)}}},
		},
	}
}

// closed is a circuit breaker that lets no request through.
func closed() *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
		MaxRequests: wrapperspb.UInt32(0), MaxConnections: wrapperspb.UInt32(0), MaxPendingRequests: wrapperspb.UInt32(0),
	}}}
}

const pathsYAML = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: paths}
spec:
  parentRefs: [{name: gw}]
  rules:
    - {matches: [{path: {value: /one}}], backendRefs: [{${one}}]}
    - {matches: [{path: {value: /two}}], backendRefs: [{${two}}]}
`

// TestExtensionServerTranslation has a server decide about all clusters and routes: one is changed, one is dropped, one
// is added and used.
func TestExtensionServerTranslation(t *testing.T) {
	t.Parallel()
	port := uint32(shared.backends["three"].Port()) //nolint:gosec // a port
	s := startExtension(t, deciding(func(a *pb.PostTranslateModifyResponse) {
		a.Clusters = append(a.Clusters, fixed("mine", port))
		for _, table := range a.GetRoutes() {
			for _, h := range table.GetVirtualHosts() {
				h.Routes = append([]*routev3.Route{{
					Name:  "mine",
					Match: &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/mine"}},
					Action: &routev3.Route_Route{Route: &routev3.RouteAction{
						ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: "mine"},
					}},
				}}, h.GetRoutes()...)
			}
		}
	}))
	in := extendedBy(t, s, files{"routes.yaml": pathsYAML}, "[Translation], translation: {route: {includeAll: true}}", "")
	in.want(t, request{path: "/mine"}, expect{backend: "three"})
	in.want(t, request{path: "/one"}, expect{backend: "one"})

	// Another version of the server is noticed by its new connection.
	s.Stop()
	s.Behave(deciding(func(a *pb.PostTranslateModifyResponse) {
		named(a, "backend/default/one").CircuitBreakers = closed()
		a.Clusters = slices.DeleteFunc(a.GetClusters(), func(c *clusterv3.Cluster) bool {
			return c.GetName() == "backend/default/two"
		})
		for _, table := range a.GetRoutes() {
			for _, h := range table.GetVirtualHosts() {
				h.Routes = slices.DeleteFunc(h.GetRoutes(), func(r *routev3.Route) bool {
					return r.GetRoute().GetCluster() == "backend/default/two"
				})
			}
		}
	}))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in.want(t, request{path: "/one"}, expect{status: 503})
	in.want(t, request{path: "/two"}, expect{status: 404})
	in.want(t, request{path: "/mine"}, expect{status: 404})
}

// TestExtensionServerTranslationAway runs on without the server: what it said stays, endpoints go on changing, and what
// is new waits. No request is lost while it goes and comes.
func TestExtensionServerTranslationAway(t *testing.T) {
	t.Parallel()
	third := uint32(shared.backends["three"].Port()) //nolint:gosec // a port
	s := startExtension(t, deciding(func(a *pb.PostTranslateModifyResponse) {
		if c := named(a, "backend/default/two"); c != nil {
			proto.Reset(c)
			proto.Merge(c, fixed("backend/default/two", third))
		}
	}))
	in := extendedBy(t, s, files{"routes.yaml": pathsYAML}, "[Translation]", "")
	in.want(t, request{path: "/two"}, expect{backend: "three"})
	in.want(t, request{path: "/one"}, expect{backend: "one"})
	end := load.Start(load.Config{
		Address: in.address("HTTP"), Conns: 2, Rate: 500,
		Requests: []load.Request{load.NewRequest("any.test", "/one", nil), load.NewRequest("any.test", "/two", nil)},
	})
	s.Stop()
	added := strings.Replace(pathsYAML, "/two}}], backendRefs: [{${two}}]", "/two}}], backendRefs: [{${three}}]", 1)
	in.write("routes.yaml", added)
	in.condition(t, conditionWant{
		kind: "HTTPRoute", name: "default/paths", condition: "Programmed=False/Invalid", message: "stays live",
	})
	in.condition(t, conditionWant{
		kind: "Gateway", name: "default/gw", condition: "Programmed=False",
		message: `the extension server "stamper" was asked for the configuration of`,
	})
	in.must(t, request{path: "/two"}, expect{backend: "three"})
	in.write("more.yaml", `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: more}
spec:
  parentRefs: [{name: gw}]
  hostnames: [more.test]
  rules: [{backendRefs: [{${one}}]}]
`)
	in.want(t, request{host: "more.test"}, expect{backend: "one"})
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	in.condition(t, conditionWant{kind: "HTTPRoute", name: "default/paths", condition: "Programmed=False", absent: true})
	in.want(t, request{path: "/two"}, expect{backend: "three"})
	if got := end(); got.Failed() > 0 || got.Sent < 50 {
		t.Errorf("%v, want none failed of at least 50", got)
	}
}

// TestExtensionServerTranslationBad has a server answer what cannot be used, and what Envoy refuses: it hurts nothing
// else, and the Gateway says what it is.
func TestExtensionServerTranslationBad(t *testing.T) {
	t.Parallel()
	var mode atomic.Value
	mode.Store("good")
	s := startExtension(t, extensionserver.Behaviour{
		Translation: func(q *pb.PostTranslateModifyRequest) (*pb.PostTranslateModifyResponse, error) {
			a := &pb.PostTranslateModifyResponse{Clusters: q.GetClusters(), Secrets: q.GetSecrets()}
			one := named(a, "backend/default/one")
			switch mode.Load() {
			case "invalid":
				one.ConnectTimeout = durationpb.New(-time.Second)
			case "refused":
				one.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED // for clusters that choose hosts themselves
			case "error":
				return nil, errors.New("not to my taste")
			}
			return a, nil
		},
	})
	in := extendedBy(t, s, files{"routes.yaml": pathsYAML}, "[Translation]", "")
	in.want(t, request{path: "/one"}, expect{backend: "one"})
	edit := strings.Replace(pathsYAML, "${two}", "${three}", 1)
	for _, c := range []struct{ mode, text, message, backend string }{
		{"invalid", edit, `for the cluster "backend/default/one" cannot be used`, "three"},
		{"refused", pathsYAML, `Envoy refuses what the extension server "stamper" has made of the cluster`, "two"},
		{"error", edit, "not to my taste", "two"},
	} {
		mode.Store(c.mode)
		in.write("routes.yaml", c.text)
		in.condition(t, conditionWant{
			kind: "Gateway", name: "default/gw", condition: "Programmed=False", message: strings.ToLower(c.message),
		})
		in.want(t, request{path: "/two"}, expect{backend: c.backend})
		in.must(t, request{path: "/one"}, expect{backend: "one"})
	}
	mode.Store("good")
	in.want(t, request{path: "/two"}, expect{backend: "three"})
	in.condition(t, conditionWant{
		kind: "Gateway", name: "default/gw", condition: "Programmed=True", message: "every proxy serves",
	})
}

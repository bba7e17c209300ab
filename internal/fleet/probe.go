package fleet

import (
	"fmt"
	"net/http"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// The ports that an Envoy in a pod keeps for itself: those of Envoy Gateway, which network policies already know.
const (
	// MetricsPort is where /stats/prometheus is served, by an Envoy of one machine too unless it is told otherwise.
	MetricsPort = 19001
	// ShutdownPort is where the shutdown manager beside Envoy answers.
	ShutdownPort = 19002
	// ReadyPort is where ReadyPath and LivePath are served.
	ReadyPort = 19003
)

const (
	// ReadyPath is the health check for load balancers: it answers 200 from when Envoy has its configuration until it
	// starts to drain.
	ReadyPath = "/ready"
	// LivePath answers 200 from when Envoy has its configuration until it ends. Pods are probed with it: were a draining
	// pod unready, clients that still get to it, because no other is there yet, would be turned away.
	LivePath = "/live"
	// MetricsPath is where Prometheus finds the metrics.
	MetricsPath = "/stats/prometheus"
)

// InternalStats starts the names of the statistics of the listeners that are not users': listener.sluice_ready and the
// like.
const InternalStats = "sluice_"

// probeTimeout bounds what those who watch over Envoy may take.
const probeTimeout = 10 * time.Second

const adminCluster = "sluice_admin"

// ReservedPorts returns the ports that no listener of a user can have, and what they are used for.
func ReservedPorts() map[uint16]string {
	return map[uint16]string{MetricsPort: "metrics", ShutdownPort: "its shutdown", ReadyPort: "health checks"}
}

// readyListener answers those who watch over an Envoy in a pod. Envoy answers on it, as on metricsListener, only when
// it has its first configuration: until then no worker runs.
func readyListener(bind string) (*listenerv3.Listener, error) {
	return probeListener(bind, "ready", ReadyPort, []*routev3.Route{{
		Match: exactPath(LivePath),
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: http.StatusOK,
		}},
	}}, func(manager *hcmv3.HttpConnectionManager) error {
		return addFilter(manager, "envoy.filters.http.health_check", &healthv3.HealthCheck{
			PassThroughMode: wrapperspb.Bool(false),
			Headers: []*routev3.HeaderMatcher{{
				Name:                 ":path",
				HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: exact(ReadyPath)},
			}},
		})
	})
}

// metricsListener serves the metrics.
func metricsListener(bind string, port uint16, m Metrics) (*listenerv3.Listener, error) {
	return probeListener(bind, "metrics", port, []*routev3.Route{{
		// Whoever reaches the port gets the metrics, and nothing else of the admin interface.
		Match: exactPath(MetricsPath),
		Action: &routev3.Route_Route{Route: &routev3.RouteAction{
			ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: adminCluster},
		}},
	}}, func(manager *hcmv3.HttpConnectionManager) error {
		if m.Compression == "" {
			return nil
		}
		return compress(manager, m)
	})
}

func exact(text string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: text}}
}

func exactPath(path string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: path}}
}

// probeListener is a listener with the filters that are added before its router.
func probeListener(
	bind, name string, port uint16, routes []*routev3.Route, filters func(*hcmv3.HttpConnectionManager) error,
) (*listenerv3.Listener, error) {
	manager := &hcmv3.HttpConnectionManager{
		StatPrefix: InternalStats + name,
		RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{
			Name:         InternalStats + name,
			VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
		}},
		RequestHeadersTimeout: durationpb.New(probeTimeout),
		StreamIdleTimeout:     durationpb.New(probeTimeout),
	}
	if err := filters(manager); err != nil {
		return nil, err
	}
	if err := addFilter(manager, "envoy.filters.http.router", &routerv3.Router{}); err != nil {
		return nil, err
	}
	packed, err := anypb.New(manager)
	if err != nil {
		return nil, fmt.Errorf("marshal the listener %s: %w", name, err)
	}
	address := Address(bind, port)
	address.GetSocketAddress().Ipv4Compat = bind == "::"
	return &listenerv3.Listener{
		Name: InternalStats + name, StatPrefix: InternalStats + name, Address: address,
		// The connections of users must not be able to keep out those that watch over them.
		IgnoreGlobalConnLimit: true,
		FilterChains: []*listenerv3.FilterChain{{Filters: []*listenerv3.Filter{{
			Name:       "envoy.filters.network.http_connection_manager",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: packed},
		}}}},
	}, nil
}

func addFilter(manager *hcmv3.HttpConnectionManager, name string, config proto.Message) error {
	typed, err := anypb.New(config)
	if err != nil {
		return fmt.Errorf("marshal the filter %s: %w", name, err)
	}
	manager.HttpFilters = append(manager.HttpFilters, &hcmv3.HttpFilter{
		Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: typed},
	})
	return nil
}

// ownAdmin is the cluster of Envoy's own admin interface.
func ownAdmin(address *corev3.Address) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		Name:                 adminCluster,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(xdsConnectTimeout),
		LoadAssignment: &endpointv3.ClusterLoadAssignment{
			ClusterName: adminCluster,
			Endpoints: []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
			}}}},
		},
	}
}

package fleet

import (
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/sluice-gateway/sluice/internal/model"
)

// siblingsTimeout is how long an Envoy that starts waits to be told of its fleet. Without that it serves, and prefers
// no zone until it is told.
const siblingsTimeout = 5 * time.Second

// knowsZones says whether the Envoy is told in which zone it is, and which others there are.
func (c Config) knowsZones() bool { return c.Remote != nil || c.Zone != "" }

// localCluster is the cluster of the Envoys of the fleet, which Envoy needs to prefer its own zone
// (cluster_manager.local_cluster_name). No request is sent to it. An Envoy on one machine is taken for the only one.
func localCluster(c Config) *clusterv3.Cluster {
	out := &clusterv3.Cluster{Name: model.LocalCluster, ConnectTimeout: durationpb.New(xdsConnectTimeout)}
	if c.Remote != nil {
		out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		out.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			InitialFetchTimeout:   durationpb.New(siblingsTimeout),
		}}
		return out
	}
	out.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	out.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: model.LocalCluster,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			Locality: &corev3.Locality{Zone: c.Zone},
			LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
				Endpoint: &endpointv3.Endpoint{Address: admin(c).Address},
			}}},
		}},
	}
	return out
}

package envoy

import (
	"fmt"
	"time"

	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// tcpIdleTimeout is how long a connection may carry nothing in either direction.
	tcpIdleTimeout = time.Hour
	// tcpAttempts is how many endpoints of a backend are tried before the client is sent away: nothing has been sent to
	// an endpoint that could not be connected to.
	tcpAttempts = 3
)

// tcpProxy returns what passes connections on to backends, shared by weight; nil if there are none. An invalid
// backend is a cluster that does not exist: Envoy closes its share of the connections.
func tcpProxy(port uint16, backends []model.WeightedBackend) *tcpv3.TcpProxy {
	if len(backends) == 0 {
		return nil
	}
	proxy := &tcpv3.TcpProxy{
		StatPrefix:         fmt.Sprintf("port_%d", port),
		IdleTimeout:        durationpb.New(tcpIdleTimeout),
		MaxConnectAttempts: wrapperspb.UInt32(tcpAttempts),
	}
	if len(backends) == 1 {
		proxy.ClusterSpecifier = &tcpv3.TcpProxy_Cluster{Cluster: clusterName(backends[0].Backend)}
	} else {
		weighted := &tcpv3.TcpProxy_WeightedCluster{}
		for _, b := range backends {
			weighted.Clusters = append(weighted.Clusters, &tcpv3.TcpProxy_WeightedCluster_ClusterWeight{
				Name: clusterName(b.Backend), Weight: b.Weight,
			})
		}
		proxy.ClusterSpecifier = &tcpv3.TcpProxy_WeightedClusters{WeightedClusters: weighted}
	}
	return proxy
}

func clusterName(b model.BackendKey) string {
	if b == (model.BackendKey{}) {
		return feature.InvalidCluster
	}
	return b.String()
}

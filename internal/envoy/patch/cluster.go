package patch

import (
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// Named is the view of a Cluster, a ClusterLoadAssignment or a Secret: Envoy Gateway has another name for it, and says
// that of its endpoints too.
type Named Rename

// Show implements [View].
func (v Named) Show(m proto.Message) {
	v.translate(m, v.Own, v.Theirs)
	if c, ok := m.(*clusterv3.Cluster); ok && c.EdsClusterConfig != nil && c.EdsClusterConfig.ServiceName == "" {
		c.EdsClusterConfig.ServiceName = v.Theirs
	}
}

// Restore implements [View].
func (v Named) Restore(m proto.Message) error {
	if name := NameOf(m); name != v.Theirs {
		return fmt.Errorf("the name of a resource must stay: it is %q", v.Theirs)
	}
	v.translate(m, v.Theirs, v.Own)
	if c, ok := m.(*clusterv3.Cluster); ok && c.GetEdsClusterConfig().GetServiceName() == v.Theirs {
		c.EdsClusterConfig.ServiceName = ""
	}
	return nil
}

func (v Named) translate(m proto.Message, from, to string) {
	switch m := m.(type) {
	case *clusterv3.Cluster:
		m.Name = to
		if m.GetLoadAssignment().GetClusterName() == from {
			m.LoadAssignment.ClusterName = to
		}
	case *endpointv3.ClusterLoadAssignment:
		m.ClusterName = to
	case *tlsv3.Secret:
		m.Name = to
	}
}

// NameOf returns the name of a resource, by which Envoy asks for it.
func NameOf(m proto.Message) string {
	switch m := m.(type) {
	case *endpointv3.ClusterLoadAssignment:
		return m.ClusterName
	case interface{ GetName() string }:
		return m.GetName()
	}
	return ""
}

// EndpointsOf returns the name of the endpoints that a cluster asks for; empty if it has its own.
func EndpointsOf(c *clusterv3.Cluster) string {
	if c.GetType() != clusterv3.Cluster_EDS || c.GetClusterType() != nil {
		return ""
	}
	if name := c.GetEdsClusterConfig().GetServiceName(); name != "" {
		return name
	}
	return c.Name
}

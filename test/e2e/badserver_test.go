package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // it registers the codec that oddCodec is another of
	"google.golang.org/grpc/mem"

	"github.com/sluice-gateway/sluice/test/extensionserver"
)

// garbage is the name of what oddCodec does not encode.
const garbage = "garbage"

// oddCodec is gRPC's own, but for answers with a resource of the name garbage: they are no protobuf.
type oddCodec struct{ encoding.CodecV2 }

func (c oddCodec) Marshal(v any) (mem.BufferSlice, error) {
	var name string
	switch a := v.(type) {
	case *pb.PostRouteModifyResponse:
		name = a.GetRoute().GetName()
	case *pb.PostClusterModifyResponse:
		name = a.GetCluster().GetName()
	}
	if name == garbage {
		return mem.BufferSlice{mem.SliceBuffer(garbage)}, nil
	}
	return c.CodecV2.Marshal(v)
}

// oddRoute does to a route what a Stamp or a StampPolicy says. What hangs does so until the channel is closed.
func oddRoute(q *pb.PostRouteModifyRequest, end <-chan struct{}) (*routev3.Route, error) {
	c, r := q.GetPostRouteContext(), q.GetRoute()
	switch objectOf(c.GetExtensionResources(), "does") + objectOf(c.GetExtensionPolicies(), "does") {
	case "fail":
		return nil, errors.New("the stamp is used up")
	case garbage:
		return &routev3.Route{Name: garbage}, nil
	case "invalid":
		r.Match = nil
	case "hang":
		<-end
	}
	return r, nil
}

// oddCluster does to a cluster what a Bucket says.
func oddCluster(q *pb.PostClusterModifyRequest, end <-chan struct{}) (*clusterv3.Cluster, error) {
	objects, c := q.GetPostClusterContext().GetBackendExtensionResources(), q.GetCluster()
	var port uint32
	if _, err := fmt.Sscan(objectOf(objects, "port"), &port); err != nil {
		return nil, err
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
	c.EdsClusterConfig = nil
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: c.GetName(),
		Endpoints:   []*endpointv3.LocalityLbEndpoints{{LbEndpoints: []*endpointv3.LbEndpoint{at(port)}}},
	}
	switch objectOf(objects, "is") {
	case "fail":
		return nil, errors.New("the stamp is used up")
	case garbage:
		return &clusterv3.Cluster{Name: garbage}, nil
	case "invalid":
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: 77}
	case "hang":
		<-end
	}
	return c, nil
}

// oddServer has the instance know an extension server that does what its objects say: fail, hang, answer with garbage.
func (in *instance) oddServer(t *testing.T) {
	t.Helper()
	end := make(chan struct{})
	s := extensionserver.New("127.0.0.1:0", extensionserver.Behaviour{
		Route: func(q *pb.PostRouteModifyRequest) (*routev3.Route, error) { return oddRoute(q, end) },
		Cluster: func(q *pb.PostClusterModifyRequest) (*clusterv3.Cluster, error) {
			return oddCluster(q, end)
		},
	}, grpc.ForceServerCodecV2(oddCodec{encoding.GetCodecV2("proto")}))
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	t.Cleanup(func() { close(end) })
	settings := filepath.Join(in.root, "settings.yaml")
	if err := os.WriteFile(settings, fmt.Appendf(nil, `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: EnvoyGateway
extensionManager:
  name: odd
  resources: [{group: ext.example.com, version: v1, kind: Stamp}]
  policyResources: [{group: ext.example.com, version: v1, kind: StampPolicy}]
  backendResources: [{group: ext.example.com, version: v1, kind: Bucket}]
  hooks: {xdsTranslator: {post: [Route, Cluster]}}
  service: {ip: {address: 127.0.0.1, port: %d}}
`, s.Port()), 0o600); err != nil {
		t.Fatal(err)
	}
	in.args = append(in.args, "--config", settings)
}

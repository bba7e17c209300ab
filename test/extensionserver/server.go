// Package extensionserver is an extension server for tests: it speaks Envoy Gateway's gRPC protocol for real, does what
// a test says, counts what it is asked, and can be stopped and started.
package extensionserver

import (
	"context"
	"fmt"
	"net"
	"sync"

	pb "github.com/envoyproxy/gateway/proto/extension"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/grpc"
)

// Behaviour is what a server does with what it is asked. What is nil changes nothing. The functions are called from
// several goroutines at once.
type Behaviour struct {
	Route       func(*pb.PostRouteModifyRequest) (*routev3.Route, error)
	VirtualHost func(*pb.PostVirtualHostModifyRequest) (*routev3.VirtualHost, error)
	Listener    func(*pb.PostHTTPListenerModifyRequest) (*listenerv3.Listener, error)
	Cluster     func(*pb.PostClusterModifyRequest) (*clusterv3.Cluster, error)
	Endpoints   func(*pb.PostEndpointsModifyRequest) (*endpointv3.ClusterLoadAssignment, error)
	Translation func(*pb.PostTranslateModifyRequest) (*pb.PostTranslateModifyResponse, error)
	// Wait is waited for before anything is answered; nil for nothing.
	Wait func(context.Context)
}

// Server is an extension server. It is safe for concurrent use.
type Server struct {
	pb.UnimplementedEnvoyGatewayExtensionServer

	// Address is where it listens, while it is started.
	Address string
	options []grpc.ServerOption

	mu        sync.Mutex
	behaviour Behaviour
	calls     map[string]int
	running   *grpc.Server
}

// New returns a server that is not started. An address of port 0 is given a free port by the first start.
func New(address string, b Behaviour, options ...grpc.ServerOption) *Server {
	return &Server{Address: address, behaviour: b, calls: map[string]int{}, options: options}
}

// Start starts it, again after Stop.
func (s *Server) Start() error {
	l, err := net.Listen("tcp", s.Address)
	if err != nil {
		return fmt.Errorf("extension server: %w", err)
	}
	s.Serve(l)
	return nil
}

// Serve starts it on a listener that is there already, in another network for example.
func (s *Server) Serve(l net.Listener) {
	g := grpc.NewServer(s.options...)
	pb.RegisterEnvoyGatewayExtensionServer(g, s)
	s.mu.Lock()
	s.Address, s.running = l.Addr().String(), g
	s.mu.Unlock()
	go func() { _ = g.Serve(l) }()
}

// Port is the port that it listens at.
func (s *Server) Port() int {
	addr, err := net.ResolveTCPAddr("tcp", s.Address)
	if err != nil {
		return 0
	}
	return addr.Port
}

// Stop ends it at once, with all connections.
func (s *Server) Stop() {
	s.mu.Lock()
	g := s.running
	s.running = nil
	s.mu.Unlock()
	if g != nil {
		g.Stop()
	}
}

// Behave has it do something else from now on.
func (s *Server) Behave(b Behaviour) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.behaviour = b
}

// Calls returns how often a hook was called for the resource of a name.
func (s *Server) Calls(hook, name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[hook+" "+name]
}

// Total returns how often a hook was called.
func (s *Server) Total(hook string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := 0
	for key, n := range s.calls {
		if len(key) > len(hook) && key[:len(hook)+1] == hook+" " {
			sum += n
		}
	}
	return sum
}

// count notes a call, and returns what to do.
func (s *Server) count(ctx context.Context, hook, name string) Behaviour {
	s.mu.Lock()
	s.calls[hook+" "+name]++
	b := s.behaviour
	s.mu.Unlock()
	if b.Wait != nil {
		b.Wait(ctx)
	}
	return b
}

// PostRouteModify implements the hook Route.
func (s *Server) PostRouteModify(ctx context.Context, q *pb.PostRouteModifyRequest) (
	*pb.PostRouteModifyResponse, error,
) {
	b := s.count(ctx, "Route", q.GetRoute().GetName())
	if b.Route == nil {
		return &pb.PostRouteModifyResponse{}, nil
	}
	r, err := b.Route(q)
	return &pb.PostRouteModifyResponse{Route: r}, err
}

// PostVirtualHostModify implements the hook VirtualHost.
func (s *Server) PostVirtualHostModify(ctx context.Context, q *pb.PostVirtualHostModifyRequest) (
	*pb.PostVirtualHostModifyResponse, error,
) {
	b := s.count(ctx, "VirtualHost", q.GetVirtualHost().GetName())
	if b.VirtualHost == nil {
		return &pb.PostVirtualHostModifyResponse{}, nil
	}
	h, err := b.VirtualHost(q)
	return &pb.PostVirtualHostModifyResponse{VirtualHost: h}, err
}

// PostHTTPListenerModify implements the hook HTTPListener.
func (s *Server) PostHTTPListenerModify(ctx context.Context, q *pb.PostHTTPListenerModifyRequest) (
	*pb.PostHTTPListenerModifyResponse, error,
) {
	b := s.count(ctx, "HTTPListener", q.GetListener().GetName())
	if b.Listener == nil {
		return &pb.PostHTTPListenerModifyResponse{}, nil
	}
	l, err := b.Listener(q)
	return &pb.PostHTTPListenerModifyResponse{Listener: l}, err
}

// PostClusterModify implements the hook Cluster.
func (s *Server) PostClusterModify(ctx context.Context, q *pb.PostClusterModifyRequest) (
	*pb.PostClusterModifyResponse, error,
) {
	b := s.count(ctx, "Cluster", q.GetCluster().GetName())
	if b.Cluster == nil {
		return &pb.PostClusterModifyResponse{}, nil
	}
	c, err := b.Cluster(q)
	return &pb.PostClusterModifyResponse{Cluster: c}, err
}

// PostEndpointsModify implements the hook Endpoints.
func (s *Server) PostEndpointsModify(ctx context.Context, q *pb.PostEndpointsModifyRequest) (
	*pb.PostEndpointsModifyResponse, error,
) {
	b := s.count(ctx, "Endpoints", q.GetLoadAssignment().GetClusterName())
	if b.Endpoints == nil {
		return &pb.PostEndpointsModifyResponse{}, nil
	}
	e, err := b.Endpoints(q)
	return &pb.PostEndpointsModifyResponse{LoadAssignment: e}, err
}

// PostTranslateModify implements the hook Translation. Without a behaviour it gives back what it was given.
func (s *Server) PostTranslateModify(ctx context.Context, q *pb.PostTranslateModifyRequest) (
	*pb.PostTranslateModifyResponse, error,
) {
	b := s.count(ctx, "Translation", "all")
	if b.Translation == nil {
		return &pb.PostTranslateModifyResponse{
			Clusters: q.GetClusters(), Secrets: q.GetSecrets(), Listeners: q.GetListeners(), Routes: q.GetRoutes(),
		}, nil
	}
	return b.Translation(q)
}

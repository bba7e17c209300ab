package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/sluice-gateway/sluice/internal/model"
)

// DefaultGrace is how long a cluster that nothing uses any more is kept if [Options] do not say.
const DefaultGrace = 60 * time.Second

// Options configure a [Server].
type Options struct {
	// Grace is how long after a cluster has left the configuration Envoys are told to remove it: requests, retries and
	// mirrors may still be under way, and a cluster that comes back in time costs nothing. 0 means DefaultGrace.
	Grace time.Duration
	// HostsFrom is how many virtual hosts a route configuration must have for an Envoy that has nothing of it to be sent
	// them as resources of their own (VHDS), so that a change sends what has changed. 0 means DefaultHostsFrom, less
	// means never.
	HostsFrom int
	// ScopesFrom is how many exact hosts a route configuration must have for them to be divided among several (SRDS), so
	// that a change costs Envoy a part of it: Envoy makes all of a route configuration anew for a change of one host. 0
	// means DefaultScopesFrom, less means never.
	ScopesFrom int
	// Authorize says which proxy a stream belongs to. The context is that of the stream, with its peer; an error refuses
	// the stream, with the error's gRPC status if it has one, else with PermissionDenied. Without Authorize all streams
	// are refused.
	Authorize func(ctx context.Context, node *corev3.Node) (model.ProxyName, error)
	// Observer is told of all events, one at a time and in order. It may be nil, and it may be slow.
	Observer func(Event)
}

// Server serves the configuration of any number of proxies by delta ADS. It is safe for concurrent use.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	options Options
	events  *queue

	mu     sync.Mutex
	stores map[model.ProxyName]*store
}

// NewServer returns a server without any configuration.
func NewServer(o Options) *Server {
	if o.Grace == 0 {
		o.Grace = DefaultGrace
	}
	o.HostsFrom = cmp.Or(o.HostsFrom, DefaultHostsFrom)
	o.ScopesFrom = cmp.Or(o.ScopesFrom, DefaultScopesFrom)
	return &Server{options: o, events: &queue{deliver: o.Observer}, stores: map[model.ProxyName]*store{}}
}

// ageGrace is that of Envoy Gateway.
const ageGrace = 2 * time.Minute

// MinPing is the least time between two HTTP/2 PINGs of an Envoy. Who asks more often is sent away.
const MinPing = time.Second

// Connection is what an operator can say about the connections of Envoys. The zero value is the default.
type Connection struct {
	// MaxAge is after which an Envoy is asked to connect anew, give or take a tenth, and AgeGrace what it has for that
	// before it is cut off. 0 is never, and 2 minutes.
	MaxAge, AgeGrace time.Duration
	// MaxRequest is the size of the largest request in bytes; 0 is 256 MiB.
	MaxRequest int
}

// ServerOptions returns the options that the gRPC server needs which the Server is registered on: the codec that
// passes marshalled resources through, message sizes, and keepalive.
func ServerOptions(c Connection) []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{}),
		grpc.MaxRecvMsgSize(cmp.Or(c.MaxRequest, maxRequest)),
		grpc.MaxSendMsgSize(maxResponse),
		// A dead Envoy is noticed, though it has nothing to say. One that is busy with a large change may take seconds to
		// answer.
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: 10 * time.Second, Timeout: 10 * time.Second,
			MaxConnectionAge: c.MaxAge, MaxConnectionAgeGrace: cmp.Or(c.AgeGrace, ageGrace),
		}),
		// Envoys ask every few seconds whether the server is still there, to go to another one soon if it is not.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: MinPing, PermitWithoutStream: true}),
	}
}

// Register adds the aggregated discovery service to a gRPC server made with [ServerOptions].
func (s *Server) Register(g *grpc.Server) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(g, s) }

// store returns the store of the proxy, a new one if there is none.
func (s *Server) store(proxy model.ProxyName) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stores[proxy]
	if st == nil {
		st = newStore(proxy, s.events, &s.options)
		s.stores[proxy] = st
	}
	return st
}

// find returns the store of the proxy, an empty one that is not kept if there is none.
func (s *Server) find(proxy model.ProxyName) *store {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.stores[proxy]; st != nil {
		return st
	}
	return newStore(proxy, s.events, &s.options)
}

// Update changes the configuration of a proxy as one transaction, and returns its version: 1 for the first, one more
// for each that follows. Envoys are told as soon as they are ready for it. A proxy's first Update must be its whole
// configuration: before it, nothing is served to its Envoys; after it, they are told to remove what is not in it.
func (s *Server) Update(proxy model.ProxyName, changes []Change) uint64 {
	return s.store(proxy).update(changes)
}

// Live returns the newest version of the configuration that all connected Envoys of a proxy have ACKed, and how many
// are connected. Without any it is 0.
func (s *Server) Live(proxy model.ProxyName) (version uint64, connected int) {
	st := s.find(proxy)
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.streams) == 0 {
		return 0, 0
	}
	return st.lowest(), len(st.streams)
}

// DeltaAggregatedResources serves one Envoy. Its first request has to carry the node. A panic ends only this stream,
// with the gRPC status Internal: the Envoy keeps what it has and connects again.
func (s *Server) DeltaAggregatedResources(
	g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
) (err error) {
	failed := Event{Kind: Failed}
	defer func() {
		if p := recover(); p != nil {
			failed.Message = fmt.Sprintf("panic: %v\n%s", p, debug.Stack())
			s.events.add(failed)
			err = status.Error(codes.Internal, "the control plane failed on this stream: see its log")
		}
	}()
	first, err := g.Recv()
	if err != nil {
		return fmt.Errorf("no first request: %w", err)
	}
	if first.GetNode() == nil {
		return status.Error(codes.InvalidArgument, "the first request of a stream must carry the node")
	}
	failed.Node = first.GetNode().GetId()
	proxy, err := s.authorize(g.Context(), first.GetNode())
	if err != nil {
		return err
	}
	failed.Proxy = proxy
	if drillPanics(first.GetNode()) {
		panic("this is a drill")
	}
	ctx, cancel := context.WithCancel(g.Context())
	defer cancel()
	requests := make(chan *discoveryv3.DeltaDiscoveryRequest)
	go receive(ctx, g, first, requests)

	st := s.store(proxy)
	stream := newStream(st, first.GetNode())
	st.connect(stream)
	defer st.disconnect(stream)
	err = stream.run(ctx, requests, func(r *response) error { return g.SendMsg(r) })
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (s *Server) authorize(ctx context.Context, node *corev3.Node) (model.ProxyName, error) {
	if s.options.Authorize == nil {
		return "", status.Error(codes.PermissionDenied, "this server authorizes no stream")
	}
	proxy, err := s.options.Authorize(ctx, node)
	if err == nil {
		return proxy, nil
	}
	if _, ok := status.FromError(err); ok {
		return "", err
	}
	return "", status.Errorf(codes.PermissionDenied, "node %q: %v", node.GetId(), err)
}

// receive passes requests on until the stream ends, and then closes the channel.
func receive(ctx context.Context, g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer,
	first *discoveryv3.DeltaDiscoveryRequest, out chan<- *discoveryv3.DeltaDiscoveryRequest) {
	defer close(out)
	for req := first; ; {
		select {
		case out <- req:
		case <-ctx.Done():
			return
		}
		var err error
		if req, err = g.Recv(); err != nil {
			return
		}
	}
}

func (st *store) connect(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.streams[s] = struct{}{}
	st.events.add(Event{Kind: Connected, Proxy: st.proxy, Node: s.node.GetId(), Version: st.version})
}

func (st *store) disconnect(s *stream) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.streams, s)
	st.events.add(Event{Kind: Disconnected, Proxy: st.proxy, Node: s.node.GetId(), Version: st.version})
	st.settle(time.Now())
}

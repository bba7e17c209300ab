package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	managerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/pki"
)

const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
	listenerType = "type.googleapis.com/envoy.config.listener.v3.Listener"
	routeType    = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	hostType     = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
)

// subscriber stands for an Envoy towards the control plane: it asks for what an Envoy asks for in the same order, over
// the same delta stream with the same kind of certificate, and accepts everything. It keeps nothing and serves nothing,
// so that a hundred fit on a machine.
type subscriber struct {
	conn   *grpc.ClientConn
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	// cold are the clusters that have no endpoints yet. As an Envoy does, it ACKs clusters (by warm) when there are none
	// left, and then it asks for listeners (which listening says).
	cold      map[string]struct{}
	warm      *discoveryv3.DeltaDiscoveryRequest
	listening bool
	// routes counts the responses with virtual hosts that it was given, in route configurations or of their own. asked
	// says that it has asked for the latter, done is closed when the stream ends.
	routes atomic.Int64
	asked  bool
	done   chan struct{}
	err    error
}

// subscribe connects as an Envoy of a Gateway.
func (w *world) subscribe(ctx context.Context, a *pki.Authority, gateway, node string) (*subscriber, error) {
	pair, err := a.Issue(model.ProxyName(gatewayNamespace + "/" + gateway))
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{cert}}
	s := &subscriber{done: make(chan struct{}), cold: map[string]struct{}{}}
	s.conn, err = grpc.NewClient("passthrough:"+w.plane.xds, grpc.WithTransportCredentials(credentials.NewTLS(config)),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return nil, err
	}
	s.stream, err = discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	first := &corev3.Node{Id: node, Cluster: gatewayNamespace + "/" + gateway}
	if err := s.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusterType, Node: first}); err != nil {
		return nil, errors.Join(err, s.conn.Close())
	}
	go func() {
		s.err = s.follow()
		close(s.done)
	}()
	return s, nil
}

// follow accepts what comes, and asks for what it names.
func (s *subscriber) follow() error {
	for {
		resp, err := s.stream.Recv()
		if err != nil {
			return err
		}
		requests, err := s.take(resp)
		if err != nil {
			return err
		}
		for _, req := range requests {
			if err := s.stream.Send(req); err != nil {
				return err
			}
		}
	}
}

// take takes in a response, and returns what it is answered with.
func (s *subscriber) take(resp *discoveryv3.DeltaDiscoveryResponse) ([]*discoveryv3.DeltaDiscoveryRequest, error) {
	hostless, err := withoutHosts(resp)
	if err != nil {
		return nil, err
	}
	kind, names, err := named(resp)
	if err != nil {
		return nil, err
	}
	ack := &discoveryv3.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce}
	out := []*discoveryv3.DeltaDiscoveryRequest{ack}
	switch resp.TypeUrl {
	case clusterType:
		s.warm, out = ack, nil
		for _, name := range names {
			s.cold[name] = struct{}{}
		}
	case endpointType:
		for _, r := range resp.Resources {
			delete(s.cold, r.Name)
		}
	case routeType, hostType:
		if !hostless {
			s.routes.Add(1)
		}
	}
	if hostless && !s.asked {
		kind, s.asked = hostType, true
	}
	if kind == hostType || len(names) > 0 {
		out = append(out, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: kind, ResourceNamesSubscribe: names})
	}
	return append(out, s.warmed()...), nil
}

// warmed returns what is due once all clusters have endpoints.
func (s *subscriber) warmed() (out []*discoveryv3.DeltaDiscoveryRequest) {
	if s.warm == nil || len(s.cold) > 0 {
		return nil
	}
	out = append(out, s.warm)
	if s.warm = nil; !s.listening {
		s.listening = true
		out = append(out, &discoveryv3.DeltaDiscoveryRequest{TypeUrl: listenerType})
	}
	return out
}

// withoutHosts reports whether a response has a route configuration whose virtual hosts are resources of their own.
func withoutHosts(resp *discoveryv3.DeltaDiscoveryResponse) (bool, error) {
	if resp.TypeUrl != routeType {
		return false, nil
	}
	for _, r := range resp.Resources {
		if len(r.Resource.Value) > 4096 {
			continue // it has them: to decode them all would cost more than to serve them
		}
		var routes routev3.RouteConfiguration
		if err := r.Resource.UnmarshalTo(&routes); err != nil {
			return false, fmt.Errorf("routes %s: %w", r.Name, err)
		}
		if routes.Vhds != nil {
			return true, nil
		}
	}
	return false, nil
}

// named returns what resources name: clusters their endpoints, listeners their routes.
func named(resp *discoveryv3.DeltaDiscoveryResponse) (kind string, names []string, err error) {
	switch resp.TypeUrl {
	case clusterType:
		for _, r := range resp.Resources {
			names = append(names, r.Name)
		}
		return endpointType, names, nil
	case listenerType:
		for _, r := range resp.Resources {
			routes, err := routesNamed(r.Resource)
			if err != nil {
				return "", nil, fmt.Errorf("listener %s: %w", r.Name, err)
			}
			names = append(names, routes...)
		}
		return routeType, names, nil
	}
	return "", nil, nil
}

func routesNamed(packed *anypb.Any) (names []string, err error) {
	var l listenerv3.Listener
	if err := packed.UnmarshalTo(&l); err != nil {
		return nil, err
	}
	for _, chain := range append(l.FilterChains, l.DefaultFilterChain) {
		for _, filter := range chain.GetFilters() {
			var m managerv3.HttpConnectionManager
			if !filter.GetTypedConfig().MessageIs(&m) {
				continue
			}
			if err := filter.GetTypedConfig().UnmarshalTo(&m); err != nil {
				return nil, err
			}
			names = append(names, m.GetRds().GetRouteConfigName())
		}
	}
	return names, nil
}

// has waits until it was given routes n times.
func (s *subscriber) has(ctx context.Context, n int64) error {
	for end := time.Now().Add(patience); s.routes.Load() < n; time.Sleep(time.Millisecond) {
		select {
		case <-s.done:
			return fmt.Errorf("the stream has ended: %w", s.err)
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("no routes after %v", patience)
		}
	}
	return nil
}

func (s *subscriber) close() { _ = s.conn.Close() }

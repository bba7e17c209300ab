package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// XDSCluster is the name of the cluster through which Envoy reaches Sluice. No cluster of a user's object has it: those
// have slashes in their names.
const XDSCluster = "sluice_xds"

// Config is what differs between the bootstraps of two Envoys.
type Config struct {
	// Node is the id by which Sluice tells the Envoys apart, Cluster the fleet that the Envoy is one of: node.id and
	// node.cluster. Both are required, but with Remote the id: there the command line has it (--service-node).
	Node, Cluster string
	// XDSSocket is the path of the Unix socket on which Sluice serves xDS. Required unless Remote is set.
	XDSSocket string
	// Remote is where Sluice serves xDS on the network instead.
	Remote *Remote
	// RateLimitSocket is the path of the Unix socket on which requests are counted for global rate limits, RateLimit where
	// that is on the network instead. Without either there are none.
	RateLimitSocket string
	RateLimit       *Remote
	// ProbeBind is the address on which to serve health checks and metrics, at ReadyPort and MetricsPort: "0.0.0.0", or
	// "::" for both address families. Empty serves none.
	ProbeBind string
	// MetricsAddress is where to serve metrics alone, where there are no health checks. The zero value serves none.
	MetricsAddress netip.AddrPort
	// AdminSocket is the path of the Unix socket on which Envoy serves its admin interface. Required unless
	// AdminAddress is set.
	AdminSocket string
	// AdminAddress is a loopback address to serve the admin interface on instead. Whoever can connect to it can stop
	// Envoy and read its configuration, so any other address is refused.
	AdminAddress netip.AddrPort
	// MaxConnections is the number of downstream connections above which new ones are refused, in all listeners
	// together. 0 stands for DefaultMaxConnections.
	MaxConnections int64
	// MaxHeapBytes is the heap size near which Envoy first gives memory back and then refuses requests. 0 sets no limit.
	MaxHeapBytes uint64
	// Metrics is what becomes of the metrics.
	Metrics Metrics
	// Zone is the zone that the Envoy is in, of a kind with those of endpoints; empty if nobody knows. With Remote the
	// command line has it (--service-zone).
	Zone string
}

// DefaultMaxConnections is the limit that Envoy's guide for edge proxies recommends.
const DefaultMaxConnections = 50_000

const (
	xdsConnectTimeout = time.Second
	// Envoy's own back-off for the xDS stream goes up to 30 s, which is how long a restart of Sluice would delay changes.
	xdsRetryBase, xdsRetryMax = 100 * time.Millisecond, time.Second
	// adminSocketMode lets only the user who runs Envoy connect.
	adminSocketMode = 0o600
	// maxRegexProgramSize bounds what a regular expression from a route may cost per request. RE2 counts instructions;
	// a path expression written by hand stays below 100.
	maxRegexProgramSize = 1000
)

// Bootstrap returns the bootstrap of an Envoy that takes everything from Sluice. It returns an error if c lacks what is
// required or its AdminAddress is not a loopback address.
func Bootstrap(c Config) (*bootstrapv3.Bootstrap, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	static, err := staticResources(c)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	overload, err := overloadManager(c)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	out := &bootstrapv3.Bootstrap{
		Node:             &corev3.Node{Id: c.Node, Cluster: c.Cluster},
		StaticResources:  static,
		DynamicResources: dynamicResources(c),
		// Clusters that no request has used yet cost each worker nothing.
		ClusterManager: &bootstrapv3.ClusterManager{EnableDeferredClusterCreation: true},
		DeferredStatOptions: &bootstrapv3.Bootstrap_DeferredStatOptions{
			EnableDeferredCreationStats: true,
		},
		StatsConfig:     statsConfig(c.Metrics.More),
		LayeredRuntime:  layeredRuntime(),
		OverloadManager: overload,
		Admin:           admin(c),
	}
	if c.Zone != "" {
		out.Node.Locality = &corev3.Locality{Zone: c.Zone}
	}
	if c.knowsZones() {
		out.ClusterManager.LocalClusterName = model.LocalCluster
	}
	if err := addSinks(out, c.Metrics); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return out, nil
}

func (c Config) check() error {
	switch {
	case c.Node == "" && c.Remote == nil || c.Cluster == "":
		return errors.New("the node id and the cluster are required")
	case c.Remote != nil && c.Remote.check() != nil:
		return c.Remote.check()
	case c.RateLimit != nil && c.RateLimit.check() != nil:
		return c.RateLimit.check()
	case c.XDSSocket == "" && c.Remote == nil:
		return errors.New("the path of the xDS socket is required")
	case c.AdminAddress.IsValid() && !c.AdminAddress.Addr().IsLoopback():
		return fmt.Errorf("Envoy's admin interface must not be reachable from other machines: "+
			"%s is not a loopback address, use 127.0.0.1", c.AdminAddress.Addr())
	case c.AdminSocket == "" && !c.AdminAddress.IsValid():
		return errors.New("the path of the admin socket, or an admin address, is required")
	case c.MaxConnections < 0:
		return fmt.Errorf("%d is not a number of connections", c.MaxConnections)
	}
	return nil
}

// staticResources are the clusters and listeners that Envoy starts with.
func staticResources(c Config) (*bootstrapv3.Bootstrap_StaticResources, error) {
	out := &bootstrapv3.Bootstrap_StaticResources{}
	for _, service := range []struct {
		name, socket string
		remote       *Remote
		keepalive    *corev3.KeepaliveSettings
	}{
		{XDSCluster, c.XDSSocket, c.Remote, xdsKeepalive()},
		{ratelimit.Cluster, c.RateLimitSocket, c.RateLimit, ratelimitKeepalive()},
	} {
		var cluster *clusterv3.Cluster
		var err error
		switch {
		case service.remote != nil:
			cluster, err = service.remote.cluster(service.name, service.keepalive)
		case service.socket != "":
			cluster, err = socketCluster(service.name, service.socket)
		default:
			continue
		}
		if err != nil {
			return nil, err
		}
		out.Clusters = append(out.Clusters, cluster)
	}
	if c.knowsZones() {
		out.Clusters = append(out.Clusters, localCluster(c))
	}
	bind, port := c.ProbeBind, uint16(MetricsPort)
	if at := c.MetricsAddress; bind == "" && at.IsValid() {
		bind, port = at.Addr().String(), at.Port()
	}
	if c.ProbeBind != "" {
		ready, err := readyListener(c.ProbeBind)
		if err != nil {
			return nil, err
		}
		out.Listeners = append(out.Listeners, ready)
	}
	if bind == "" || c.Metrics.Disabled {
		return out, nil
	}
	out.Clusters = append(out.Clusters, ownAdmin(admin(c).Address))
	listener, err := metricsListener(bind, port, c.Metrics)
	if err != nil {
		return nil, err
	}
	out.Listeners = append(out.Listeners, listener)
	return out, nil
}

// JSON returns a bootstrap in the form that Envoy reads. The same bootstrap always gives the same bytes.
func JSON(b *bootstrapv3.Bootstrap) ([]byte, error) {
	out, err := indented(b)
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return out, nil
}

// WithAdminSocket returns a bootstrap, in the form that Envoy reads, whose admin interface is on another Unix socket.
// Nothing else of it is read: it may be that of another version of Sluice.
func WithAdminSocket(bootstrap []byte, path string) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(bootstrap, &fields); err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	raw, err := indented(admin(Config{AdminSocket: path}))
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	fields["admin"] = raw
	out, err := json.MarshalIndent(fields, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("bootstrap: %w", err)
	}
	return append(out, '\n'), nil
}

func indented(m proto.Message) ([]byte, error) {
	raw, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("marshal: %w", err)
	}
	// protojson varies its white space from build to build, on purpose.
	var out bytes.Buffer
	if err := json.Indent(&out, bytes.TrimSpace(raw), "", "  "); err != nil {
		return nil, fmt.Errorf("indent: %w", err)
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}

// dynamicResources makes clusters and listeners, and with them all the rest, come over one delta stream.
func dynamicResources(c Config) *bootstrapv3.Bootstrap_DynamicResources {
	var initialFetch *durationpb.Duration
	if c.Remote != nil {
		// However long it takes until Sluice answers: an Envoy in a pod that has not been told what to serve must not
		// become ready. On one machine Sluice is there first.
		initialFetch = durationpb.New(0)
	}
	ads := func() *corev3.ConfigSource {
		return &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			ResourceApiVersion:    corev3.ApiVersion_V3,
			InitialFetchTimeout:   initialFetch,
		}
	}
	return &bootstrapv3.Bootstrap_DynamicResources{
		CdsConfig: ads(),
		LdsConfig: ads(),
		AdsConfig: &corev3.ApiConfigSource{
			ApiType:                   corev3.ApiConfigSource_DELTA_GRPC,
			TransportApiVersion:       corev3.ApiVersion_V3,
			SetNodeOnFirstMessageOnly: true,
			GrpcServices: []*corev3.GrpcService{{
				TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{
					ClusterName: XDSCluster,
					RetryPolicy: &corev3.RetryPolicy{RetryBackOff: &corev3.BackoffStrategy{
						BaseInterval: durationpb.New(xdsRetryBase),
						MaxInterval:  durationpb.New(xdsRetryMax),
					}},
				}},
			}},
		},
	}
}

// socketCluster is a gRPC service of Sluice on a Unix socket.
func socketCluster(name, socket string) (*clusterv3.Cluster, error) {
	return serviceCluster(&clusterv3.Cluster{
		Name:                 name,
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(xdsConnectTimeout),
	}, &corev3.Http2ProtocolOptions{}, pipe(socket, 0))
}

// serviceCluster completes the cluster of a gRPC service at an address.
func serviceCluster(
	c *clusterv3.Cluster, http2 *corev3.Http2ProtocolOptions, address *corev3.Address,
) (*clusterv3.Cluster, error) {
	options, err := anypb.New(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
					Http2ProtocolOptions: http2,
				},
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("marshal the protocol options of the cluster %s: %w", c.Name, err)
	}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options,
	}
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{
		ClusterName: c.Name,
		Endpoints: []*endpointv3.LocalityLbEndpoints{{
			LbEndpoints: []*endpointv3.LbEndpoint{{
				HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: address}},
			}},
		}},
	}
	return c, nil
}

func pipe(path string, mode uint32) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: path, Mode: mode}}}
}

func admin(c Config) *bootstrapv3.Admin {
	address := pipe(c.AdminSocket, adminSocketMode)
	if a := c.AdminAddress; a.IsValid() {
		address = &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
			Address:       a.Addr().String(),
			PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(a.Port())},
		}}}
	}
	// When the connections run out, the admin interface is what can tell why.
	return &bootstrapv3.Admin{Address: address, IgnoreGlobalConnLimit: true}
}

// layeredRuntime is what Envoy is told besides its configuration: layered_runtime.
func layeredRuntime() *bootstrapv3.LayeredRuntime {
	return &bootstrapv3.LayeredRuntime{Layers: []*bootstrapv3.RuntimeLayer{{
		Name: "sluice",
		LayerSpecifier: &bootstrapv3.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{
			Fields: map[string]*structpb.Value{
				"re2.max_program_size.error_level": structpb.NewNumberValue(maxRegexProgramSize),
				// A chunk that does not end where its size says is where another parser sees another request. Envoy lets it
				// pass unless it is told not to.
				"envoy.reloadable_features.strict_chunk_parsing": structpb.NewBoolValue(true),
			},
		}},
	}}}
}

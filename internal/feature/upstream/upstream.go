// Package upstream is what a BackendTrafficPolicy says of the connections to backends: the fields connection,
// tcpKeepalive, http2, useClientProtocol, dns and proxyProtocol. All of them are the cluster's.
//
// connection: bufferLimit is per_connection_buffer_limit_bytes (32 KiB unless it is set), preconnect the
// preconnect_policy with its percentages as ratios. socketBufferLimit is SO_RCVBUF and SO_SNDBUF among the
// socket_options of upstream_bind_config; Envoy Gateway passes over it. The kernel has limits of its own for these, and
// for its bookkeeping doubles what it is told.
//
// tcpKeepalive is tcp_keepalive of upstream_connection_options; what is left out is as the kernel has it.
//
// http2 are Http2ProtocolOptions of the cluster, and have an effect where backends are spoken to by HTTP/2. Unless set
// the windows are 64 KiB for a stream and 1 MiB for a connection.
//
// useClientProtocol is use_downstream_protocol_config: a backend is spoken to by the version of HTTP that the client
// used.
//
// dns is dns_refresh_rate, respect_dns_ttl and dns_lookup_family of the DnsCluster of backends that are host names.
// Unless set it is asked again when the answer's time to live is over, and IPv4 is preferred.
//
// proxyProtocol wraps the transport socket, TLS too, in one that sends the PROXY protocol first
// (envoy.transport_sockets.upstream_proxy_protocol).
package upstream

import (
	"math"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Connection is the feature of the field connection.
type Connection struct{}

// Keepalive is the feature of the field tcpKeepalive.
type Keepalive struct{}

var (
	_ feature.Checker        = Connection{}
	_ feature.ClusterApplier = Connection{}
	_ feature.Checker        = Keepalive{}
	_ feature.ClusterApplier = Keepalive{}
)

// leastPreconnect and mostPreconnect are the bounds of Envoy's preconnect ratios, in percent.
const leastPreconnect, mostPreconnect = 100, 300

// Name returns the name of the policy's field.
func (Connection) Name() string { return "BackendTrafficPolicy.connection" }

// Check refuses sizes and ratios that Envoy cannot have, and a prediction where the next endpoint cannot be foretold.
func (Connection) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.BackendConnection)
	var refused policy.Refusals
	refused.Bytes(".bufferLimit", spec.BufferLimit, 1, math.MaxUint32)
	refused.Bytes(".socketBufferLimit", spec.SocketBufferLimit, 1, math.MaxInt32)
	p := spec.Preconnect
	if p == nil {
		return refused
	}
	ratio := func(path string, n *uint32) {
		if n != nil && (*n < leastPreconnect || *n > mostPreconnect) {
			refused.Add(path, "The share of %d%% is out of range: use %d to %d", *n, leastPreconnect, mostPreconnect)
		}
	}
	ratio(".preconnect.perEndpointPercent", p.PerEndpointPercent)
	ratio(".preconnect.predictivePercent", p.PredictivePercent)
	if policy.Or(p.PredictivePercent, leastPreconnect) > leastPreconnect && !foretold(rule) {
		refused.Add(".preconnect.predictivePercent", "The next endpoint can be foretold only with the type Random or "+
			"RoundRobin of loadBalancer: add that, or remove predictivePercent")
	}
	return refused
}

// foretold says whether the policy balances so that Envoy knows the next endpoint.
func foretold(rule *model.Rule) bool {
	if rule == nil {
		return false
	}
	for _, other := range rule.Attached {
		if lb, ok := other.Spec.(*egv1a1.LoadBalancer); ok {
			return lb.Type == egv1a1.RandomLoadBalancerType || lb.Type == egv1a1.RoundRobinLoadBalancerType
		}
	}
	return false
}

// ApplyCluster sets buffers, and has connections made ahead.
func (Connection) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.BackendConnection)
	if size := policy.Bytes(spec.BufferLimit); size != nil {
		c.Proto.PerConnectionBufferLimitBytes = size
	}
	if size := policy.Bytes(spec.SocketBufferLimit); size != nil {
		if c.Proto.UpstreamBindConfig == nil {
			c.Proto.UpstreamBindConfig = &corev3.BindConfig{}
		}
		c.Proto.UpstreamBindConfig.SocketOptions = append(c.Proto.UpstreamBindConfig.SocketOptions,
			policy.SocketBuffers(size.GetValue())...)
	}
	if p := spec.Preconnect; p != nil {
		c.Proto.PreconnectPolicy = &clusterv3.Cluster_PreconnectPolicy{
			PerUpstreamPreconnectRatio: share(p.PerEndpointPercent), PredictivePreconnectRatio: share(p.PredictivePercent),
		}
	}
}

func share(percent *uint32) *wrapperspb.DoubleValue {
	if percent == nil {
		return nil
	}
	return wrapperspb.Double(float64(*percent) / 100)
}

// Name returns the name of the policy's field.
func (Keepalive) Name() string { return "BackendTrafficPolicy.tcpKeepalive" }

// Check refuses what the kernel cannot have.
func (Keepalive) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	policy.CheckKeepalive(&refused, a.Spec.(*egv1a1.TCPKeepalive))
	return refused
}

// ApplyCluster has connections probed.
func (Keepalive) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.TCPKeepalive)
	if c.Proto.UpstreamConnectionOptions == nil {
		c.Proto.UpstreamConnectionOptions = &clusterv3.UpstreamConnectionOptions{}
	}
	c.Proto.UpstreamConnectionOptions.TcpKeepalive = &corev3.TcpKeepalive{
		KeepaliveProbes:   policy.Uint32(spec.Probes),
		KeepaliveTime:     policy.Seconds(spec.IdleTime),
		KeepaliveInterval: policy.Seconds(spec.Interval),
	}
}

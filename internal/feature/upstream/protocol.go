package upstream

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	proxyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/proxy_protocol/v3"
	rawv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// ClientProtocol is the feature of the field useClientProtocol. It comes before HTTP2.
type ClientProtocol struct{}

// HTTP2 is the feature of the field http2.
type HTTP2 struct{}

// ProxyProtocol is the feature of the field proxyProtocol.
type ProxyProtocol struct{}

// The API's default windows of HTTP/2, in bytes.
const (
	streamWindow     = 64 << 10
	connectionWindow = 1 << 20
)

var (
	_ feature.ClusterApplier = ClientProtocol{}
	_ feature.ClusterChooser = ClientProtocol{}
	_ feature.Checker        = HTTP2{}
	_ feature.ClusterApplier = HTTP2{}
	_ feature.Checker        = ProxyProtocol{}
	_ feature.ClusterApplier = ProxyProtocol{}
)

// ShapesHTTP says that it is about HTTP alone.
func (ClientProtocol) ShapesHTTP() {}

// Name returns the name of the policy's field.
func (ClientProtocol) Name() string { return "BackendTrafficPolicy.useClientProtocol" }

// ShapesCluster reports whether the field is true.
func (ClientProtocol) ShapesCluster(a model.Attached) bool { return *a.Spec.(*bool) }

// ApplyCluster has the cluster speak the version of HTTP of each request. The options that it has for HTTP/2 are those
// of such requests.
func (f ClientProtocol) ApplyCluster(c *feature.Cluster, a model.Attached) {
	if !f.ShapesCluster(a) {
		return
	}
	policy.ChangeOptions(c, func(o *httpv3.HttpProtocolOptions) {
		http2 := o.GetExplicitHttpConfig().GetHttp2ProtocolOptions()
		if http2 == nil {
			http2 = &corev3.Http2ProtocolOptions{
				InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
				InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
			}
		}
		o.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{
				HttpProtocolOptions: &corev3.Http1ProtocolOptions{}, Http2ProtocolOptions: http2,
			},
		}
	})
}

// ShapesHTTP says that it is about HTTP alone.
func (HTTP2) ShapesHTTP() {}

// Name returns the name of the policy's field.
func (HTTP2) Name() string { return "BackendTrafficPolicy.http2" }

// Check refuses what Envoy cannot have.
func (HTTP2) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	policy.CheckHTTP2(&refused, "", a.Spec.(*egv1a1.HTTP2Settings))
	return refused
}

// ApplyCluster sets options of HTTP/2, if the cluster can speak it.
func (HTTP2) ApplyCluster(c *feature.Cluster, a model.Attached) {
	if len(c.Proto.GetTypedExtensionProtocolOptions()) == 0 {
		return // HTTP/1.1
	}
	policy.ChangeOptions(c, func(o *httpv3.HttpProtocolOptions) {
		for _, http2 := range []*corev3.Http2ProtocolOptions{
			o.GetExplicitHttpConfig().GetHttp2ProtocolOptions(),
			o.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions(), o.GetAutoConfig().GetHttp2ProtocolOptions(),
		} {
			if http2 != nil {
				policy.ApplyHTTP2(http2, a.Spec.(*egv1a1.HTTP2Settings))
			}
		}
	})
}

// versions are those of the PROXY protocol.
var versions = map[egv1a1.ProxyProtocolVersion]corev3.ProxyProtocolConfig_Version{
	egv1a1.ProxyProtocolVersionV1: corev3.ProxyProtocolConfig_V1,
	egv1a1.ProxyProtocolVersionV2: corev3.ProxyProtocolConfig_V2,
}

// Name returns the name of the policy's field.
func (ProxyProtocol) Name() string { return "BackendTrafficPolicy.proxyProtocol" }

// Check refuses versions that there are not.
func (ProxyProtocol) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	spec := a.Spec.(*egv1a1.ProxyProtocol)
	if _, ok := versions[spec.Version]; !ok {
		refused.Add(".version", "There is no version %q: use V1 or V2", spec.Version)
	}
	return refused
}

// ApplyCluster has connections begin with the PROXY protocol. What secures them comes behind it.
func (ProxyProtocol) ApplyCluster(c *feature.Cluster, a model.Attached) {
	inner := c.Proto.GetTransportSocket()
	if inner == nil {
		inner = socket("envoy.transport_sockets.raw_buffer", &rawv3.RawBuffer{})
	}
	c.Proto.TransportSocket = socket("envoy.transport_sockets.upstream_proxy_protocol",
		&proxyv3.ProxyProtocolUpstreamTransport{
			Config:          &corev3.ProxyProtocolConfig{Version: versions[a.Spec.(*egv1a1.ProxyProtocol).Version]},
			TransportSocket: inner,
		})
}

func socket(name string, config proto.Message) *corev3.TransportSocket {
	return &corev3.TransportSocket{
		Name: name, ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: feature.Pack(config)},
	}
}

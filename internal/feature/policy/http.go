package policy

import (
	"math"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// httpOptions is the key of HttpProtocolOptions in Cluster.typed_extension_protocol_options.
const httpOptions = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

// ChangeOptions changes the HTTP options of a cluster, and keeps all others. Envoy wants to be told the version of HTTP
// with them: it is HTTP/1.1 where nothing else is said, as without any options.
func ChangeOptions(c *feature.Cluster, change func(*httpv3.HttpProtocolOptions)) {
	options := &httpv3.HttpProtocolOptions{}
	if packed, ok := c.Proto.GetTypedExtensionProtocolOptions()[httpOptions]; ok {
		if err := packed.UnmarshalTo(options); err != nil {
			panic("policy: the options of a cluster are not HttpProtocolOptions: " + err.Error()) // a mistake in the program
		}
	}
	if options.GetUpstreamProtocolOptions() == nil {
		options.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{
			ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
				ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
					HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
				},
			},
		}
	}
	change(options)
	if c.Proto.TypedExtensionProtocolOptions == nil {
		c.Proto.TypedExtensionProtocolOptions = map[string]*anypb.Any{}
	}
	c.Proto.TypedExtensionProtocolOptions[httpOptions] = feature.Pack(options)
}

// ChangeHTTP is [ChangeOptions] for those that are the same for all versions of HTTP.
func ChangeHTTP(c *feature.Cluster, change func(*corev3.HttpProtocolOptions)) {
	ChangeOptions(c, func(options *httpv3.HttpProtocolOptions) {
		if options.CommonHttpProtocolOptions == nil {
			options.CommonHttpProtocolOptions = &corev3.HttpProtocolOptions{}
		}
		change(options.CommonHttpProtocolOptions)
	})
}

// smallestWindow is Envoy's smallest window of HTTP/2 (Http2ProtocolOptions.initial_stream_window_size), in bytes.
const smallestWindow = 65535

// CheckHTTP2 refuses settings of HTTP/2 that Envoy cannot have; at is their path.
func CheckHTTP2(refused *Refusals, at string, spec *egv1a1.HTTP2Settings) {
	refused.Bytes(at+".initialStreamWindowSize", spec.InitialStreamWindowSize, smallestWindow, math.MaxInt32)
	refused.Bytes(at+".initialConnectionWindowSize", spec.InitialConnectionWindowSize, smallestWindow, math.MaxInt32)
	if n := spec.MaxConcurrentStreams; n != nil && (*n < 1 || *n > math.MaxInt32) {
		refused.Add(at+".maxConcurrentStreams", "The number %d is out of range: use 1 to %d", *n, math.MaxInt32)
	}
	switch action := Or(spec.OnInvalidMessage, egv1a1.InvalidMessageActionTerminateConnection); action {
	case egv1a1.InvalidMessageActionTerminateConnection, egv1a1.InvalidMessageActionTerminateStream:
	default:
		refused.Add(at+".onInvalidMessage", "There is no action %q: use TerminateConnection or TerminateStream", action)
	}
	alive := spec.ConnectionKeepalive
	if alive == nil {
		return
	}
	at += ".connectionKeepalive"
	interval := refused.Duration(at+".interval", alive.Interval, time.Millisecond)
	timeout := refused.Duration(at+".timeout", alive.Timeout, time.Millisecond)
	refused.Duration(at+".idleInterval", alive.IdleInterval, time.Millisecond)
	switch {
	case alive.Timeout == nil:
		refused.Add(at+".timeout", "The timeout is missing: say how long to wait for the answer to a PING")
	case alive.Interval == nil && alive.IdleInterval == nil:
		refused.Add(at, "Nothing says when to send a PING: add interval or idleInterval")
	case interval > 0 && timeout >= interval:
		refused.Add(at+".timeout", "The timeout %v is not shorter than the interval %v: make it shorter", timeout, interval)
	}
	if n := alive.IntervalJitter; n != nil && *n > 100 {
		refused.Add(at+".intervalJitter", "The share of %d%% is more than all: use 0 to 100", *n)
	}
}

// ApplyHTTP2 sets what the settings say of HTTP/2. What they leave out stays.
func ApplyHTTP2(out *corev3.Http2ProtocolOptions, spec *egv1a1.HTTP2Settings) {
	if size := Bytes(spec.InitialStreamWindowSize); size != nil {
		out.InitialStreamWindowSize = size
	}
	if size := Bytes(spec.InitialConnectionWindowSize); size != nil {
		out.InitialConnectionWindowSize = size
	}
	if n := Uint32(spec.MaxConcurrentStreams); n != nil {
		out.MaxConcurrentStreams = n
	}
	if spec.OnInvalidMessage != nil {
		stream := *spec.OnInvalidMessage == egv1a1.InvalidMessageActionTerminateStream
		out.OverrideStreamErrorOnInvalidHttpMessage = wrapperspb.Bool(stream)
	}
	if alive := spec.ConnectionKeepalive; alive != nil {
		out.ConnectionKeepalive = &corev3.KeepaliveSettings{
			Interval: Duration(alive.Interval), Timeout: Duration(alive.Timeout),
			ConnectionIdleInterval: Duration(alive.IdleInterval),
		}
		if alive.IntervalJitter != nil {
			out.ConnectionKeepalive.IntervalJitter = &typev3.Percent{Value: float64(*alive.IntervalJitter)}
		}
	}
}

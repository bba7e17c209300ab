package clientconnection

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	limitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/connection_limit/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field connection.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
	_ feature.PortApplier     = Feature{}
)

// acceptDefault is what maxAcceptPerSocketEvent is for every port. The API fills it in beside any other field.
const acceptDefault = 1

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".connection" }

// Check refuses limits that Envoy cannot have.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ClientConnection)
	var refused policy.Refusals
	refused.Bytes(".bufferLimit", spec.BufferLimit, 1, math.MaxUint32)
	refused.Bytes(".socketBufferLimit", spec.SocketBufferLimit, 1, math.MaxInt32/2) // the kernel doubles it
	limit := spec.ConnectionLimit
	if limit == nil {
		return refused
	}
	const path = ".connectionLimit"
	if limit.Value != nil && *limit.Value < 1 {
		refused.Add(path+".value", "The limit %d lets nobody connect: use 1 or more", *limit.Value)
	}
	if limit.CloseDelay != nil && limit.Value == nil {
		refused.Add(path+".closeDelay", "Without a limit no connection is refused that could be closed later: add value, or "+
			"remove closeDelay")
	}
	if n := limit.MaxRequestsPerConnection; n != nil && *n == 0 {
		refused.Add(path+".maxRequestsPerConnection", "The number is 0: use 1 or more, or leave the field out")
	}
	refused.Duration(path+".closeDelay", limit.CloseDelay, time.Millisecond)
	refused.Duration(path+".maxConnectionDuration", limit.MaxConnectionDuration, time.Millisecond)
	refused.Duration(path+".maxStreamDuration", limit.MaxStreamDuration, time.Millisecond)
	return refused
}

// ApplyListener sets the limits of one listener.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	limit := a.Spec.(*egv1a1.ClientConnection).ConnectionLimit
	if limit == nil {
		return
	}
	if limit.Value != nil {
		l.Chain.Filters = append(l.Chain.Filters, &listenerv3.Filter{
			Name: "envoy.filters.network.connection_limit",
			ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: feature.Pack(&limitv3.ConnectionLimit{
				StatPrefix:     cmp.Or(l.Manager.GetStatPrefix(), l.Proxy.GetStatPrefix(), "listener"),
				MaxConnections: wrapperspb.UInt64(uint64(*limit.Value)), //nolint:gosec // checked
				Delay:          policy.Duration(limit.CloseDelay),
			})},
		})
	}
	if l.Proxy != nil && limit.MaxConnectionDuration != nil {
		l.Proxy.MaxDownstreamConnectionDuration = policy.Duration(limit.MaxConnectionDuration)
	}
	if l.Manager == nil {
		return
	}
	common := l.Manager.CommonHttpProtocolOptions
	if limit.MaxConnectionDuration != nil {
		common.MaxConnectionDuration = policy.Duration(limit.MaxConnectionDuration)
		l.Manager.Http1SafeMaxConnectionDuration = true
	}
	if limit.MaxRequestsPerConnection != nil {
		common.MaxRequestsPerConnection = policy.Uint32(limit.MaxRequestsPerConnection)
	}
	if limit.MaxStreamDuration != nil {
		common.MaxStreamDuration = policy.Duration(limit.MaxStreamDuration)
	}
}

// PortSettings returns the limits of buffers, and how connections are accepted.
func (Feature) PortSettings(a model.Attached) string {
	spec := a.Spec.(*egv1a1.ClientConnection)
	var out []string
	if size := policy.Bytes(spec.BufferLimit); size != nil {
		out = append(out, fmt.Sprintf("bufferLimit %d", size.GetValue()))
	}
	if size := policy.Bytes(spec.SocketBufferLimit); size != nil {
		out = append(out, fmt.Sprintf("socketBufferLimit %d", size.GetValue()))
	}
	if n := policy.Or(spec.MaxAcceptPerSocketEvent, acceptDefault); n != acceptDefault {
		out = append(out, fmt.Sprintf("maxAcceptPerSocketEvent %d", n))
	}
	return strings.Join(out, ", ")
}

// ApplyPort sets the limits of buffers, and how connections are accepted.
func (Feature) ApplyPort(p *feature.Port, a model.Attached) {
	spec := a.Spec.(*egv1a1.ClientConnection)
	if spec.BufferLimit != nil {
		p.Proto.PerConnectionBufferLimitBytes = policy.Bytes(spec.BufferLimit)
	}
	if size := policy.Bytes(spec.SocketBufferLimit); size != nil {
		p.Proto.SocketOptions = append(p.Proto.SocketOptions, policy.SocketBuffers(size.GetValue())...)
	}
	switch n := policy.Or(spec.MaxAcceptPerSocketEvent, acceptDefault); n {
	case acceptDefault: // every port has it
	case 0:
		p.Proto.MaxConnectionsToAcceptPerSocketEvent = nil
	default:
		p.Proto.MaxConnectionsToAcceptPerSocketEvent = wrapperspb.UInt32(n)
	}
}

package tracing

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	uuidv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// RequestID is the feature of the field telemetry.requestID of an EnvoyProxy: what the header X-Request-ID has to do
// with traces. It is request_id_extension of the connection manager: by default, PackAndSample, Envoy writes into the
// UUID whether the request is traced (pack_trace_reason), and decides by the UUID (use_request_id_for_trace_sampling).
type RequestID struct{}

var _ feature.ListenerApplier = RequestID{}

// Name returns the name of the field.
func (RequestID) Name() string { return "EnvoyProxy.telemetry.requestID" }

// ApplyListener sets how the listener makes request IDs.
func (RequestID) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	action := policy.Or(a.Spec.(*egv1a1.RequestIDSettings).Tracing, egv1a1.RequestIDExtensionActionPackAndSample)
	both := action == egv1a1.RequestIDExtensionActionPackAndSample
	l.Manager.RequestIdExtension = &hcmv3.RequestIDExtension{TypedConfig: feature.Pack(&uuidv3.UuidRequestIdConfig{
		PackTraceReason:              wrapperspb.Bool(both || action == egv1a1.RequestIDExtensionActionPack),
		UseRequestIdForTraceSampling: wrapperspb.Bool(both || action == egv1a1.RequestIDExtensionActionSample),
	})}
}

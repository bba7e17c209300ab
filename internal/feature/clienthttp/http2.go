package clienthttp

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// HTTP2 is the feature of the field http2.
type HTTP2 struct{}

var (
	_ feature.Checker         = HTTP2{}
	_ feature.ListenerApplier = HTTP2{}
)

// Name returns the name of the policy's field.
func (HTTP2) Name() string { return model.KindClientTrafficPolicy + ".http2" }

// Check refuses settings that Envoy cannot have.
func (HTTP2) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	policy.CheckHTTP2(&refused, "", a.Spec.(*egv1a1.HTTP2Settings))
	return refused
}

// ApplyListener says how HTTP/2 is spoken.
func (HTTP2) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager != nil {
		policy.ApplyHTTP2(l.Manager.Http2ProtocolOptions, a.Spec.(*egv1a1.HTTP2Settings))
	}
}

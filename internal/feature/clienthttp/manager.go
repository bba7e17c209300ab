package clienthttp

import (
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	webv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_web/v3"
	healthv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/health_check/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Scheme is the feature of the field scheme.
type Scheme struct{}

// GRPC is the feature of the field grpc.
type GRPC struct{}

// HealthCheck is the feature of the field healthCheck.
type HealthCheck struct{}

var (
	_ feature.Checker         = Scheme{}
	_ feature.ListenerApplier = Scheme{}
	_ feature.ListenerApplier = GRPC{}
	_ feature.Checker         = HealthCheck{}
	_ feature.ListenerApplier = HealthCheck{}
)

// Name returns the name of the policy's field.
func (Scheme) Name() string { return model.KindClientTrafficPolicy + ".scheme" }

// Check refuses a transformation that there is not.
func (Scheme) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	switch scheme := *a.Spec.(*egv1a1.SchemeHeaderTransform); scheme {
	case egv1a1.SchemeHeaderTransformPreserve, egv1a1.SchemeHeaderTransformMatchBackend:
	default:
		refused.Add("", "There is no way %q: use Preserve or MatchBackend", scheme)
	}
	return refused
}

// ApplyListener says which scheme backends see.
func (Scheme) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager != nil && *a.Spec.(*egv1a1.SchemeHeaderTransform) == egv1a1.SchemeHeaderTransformMatchBackend {
		l.Manager.SchemeHeaderTransformation = &corev3.SchemeHeaderTransformation{MatchUpstream: true}
	}
}

// Name returns the name of the policy's field.
func (GRPC) Name() string { return model.KindClientTrafficPolicy + ".grpc" }

// ApplyListener lets browsers make gRPC calls, or keeps them from it: routes cannot enable what is not there.
func (GRPC) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	l.Manager.HttpFilters = slices.DeleteFunc(l.Manager.HttpFilters, func(f *hcmv3.HttpFilter) bool {
		return f.GetName() == feature.GRPCWebFilter
	})
	if policy.Or(a.Spec.(*egv1a1.GRPCSettings).EnableWeb, false) {
		first(l.Manager, feature.GRPCWebFilter, &webv3.GrpcWeb{})
	}
}

// Name returns the name of the policy's field.
func (HealthCheck) Name() string { return model.KindClientTrafficPolicy + ".healthCheck" }

// Check refuses what is no path.
func (HealthCheck) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	path := a.Spec.(*egv1a1.HealthCheckSettings).Path
	if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, " #") {
		refused.Add(".path", "The text %q is no path: write it like /healthz", path)
	}
	return refused
}

// ApplyListener answers requests for the path, whatever their host is.
func (HealthCheck) ApplyListener(l *feature.Listener, a model.Attached) {
	if l.Manager == nil {
		return
	}
	path := a.Spec.(*egv1a1.HealthCheckSettings).Path
	first(l.Manager, "envoy.filters.http.health_check", &healthv3.HealthCheck{
		PassThroughMode: wrapperspb.Bool(false),
		Headers: []*routev3.HeaderMatcher{{
			Name: ":path",
			HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: path},
			}},
		}},
	})
}

// first adds a filter in front of all others.
func first(m *hcmv3.HttpConnectionManager, name string, config proto.Message) {
	m.HttpFilters = slices.Insert(m.HttpFilters, 0, &hcmv3.HttpFilter{
		Name: name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(config)},
	})
}

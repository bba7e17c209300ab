// Package extauth is the filter ExternalAuth: ask another service whether a request may pass (Gateway API:
// HTTPExternalAuthFilter, GEP-1494).
//
// It is Envoy's ext_authz. Every listener has one filter for each protocol, disabled, that points nowhere: a filter
// that came with the first route to use it would not guard the connections that are open by then. The route enables
// it with ExtAuthzPerRoute.check_settings, which has the service to ask (grpc_service, http_service) and the request's
// body (with_request_body). Which request headers the service may see (allowed_headers) exists on the listener alone:
// each distinct list has a filter of its own, named with a hash of it, and guards the connections that are opened from
// then on; Envoy drains the others.
//
// It fails closed. A service that cannot be reached, does not answer in time or does not resolve (the cluster is then
// one that does not exist) means 503 (status_on_error), and so does an HTTP service that answers with 5xx; a body
// beyond forwardBody.maxSize means 413. A second ExternalAuth on the same requests is refused, because the one would
// replace the other.
//
// Headers that the service's answer may add to the request (http.allowedResponseHeaders) are what backends trust, so
// a client must not bring them: an instance of envoy.filters.http.header_mutation in front removes them, unless the
// service gets to see them. What the answer may never change are the headers that frame the message or describe the
// answer itself (decoder_header_mutation_rules).
package extauth

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/perroute"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter ExternalAuth.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
	_ feature.Stander      = Feature{}
	_ feature.FilterUser   = Feature{}
)

// The filters. Those of one feature run in the order of their names, so the numbers put the cleaning first.
const (
	cleanFilter = "envoy.filters.http.ext_authz/1-clean"
	grpcFilter  = "envoy.filters.http.ext_authz/2-grpc"
	httpFilter  = "envoy.filters.http.ext_authz/2-http"
)

// timeout is how long the service may take to answer.
const timeout = 5 * time.Second

// untouchable are the headers of an answer that never become headers of the request: they frame the answer, belong to
// its connection, or describe its body. Host, :authority and x-envoy-* are refused by Envoy's default rules.
const untouchable = `(?i)connection|content-.*|date|keep-alive|proxy-.*|server|te|trailer|transfer-encoding|upgrade`

// alwaysSent are request headers that an HTTP service gets to see in any case.
var alwaysSent = []string{"authorization", "content-length", "host"}

// Name returns the filter's type.
func (Feature) Name() string { return string(gwv1.HTTPRouteFilterExternalAuth) }

// Standing returns the filter that cleans requests, and for each protocol the one that asks.
func (Feature) Standing() []feature.HTTPFilter {
	grpc := &gwv1.HTTPExternalAuthFilter{ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthGRPCProtocol}
	http := &gwv1.HTTPExternalAuthFilter{ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthHTTPProtocol}
	return []feature.HTTPFilter{
		{
			Name: cleanFilter, Config: &headerv3.HeaderMutation{Mutations: &headerv3.Mutations{}}, Disabled: true,
			Idle: &headerv3.HeaderMutationPerRoute{Mutations: &headerv3.Mutations{}},
		},
		{Name: grpcFilter, Config: listenerConfig(grpc), Disabled: true, Idle: asksNobody()},
		{Name: httpFilter, Config: listenerConfig(http), Disabled: true, Idle: asksNobody()},
	}
}

func asksNobody() *authzv3.ExtAuthzPerRoute {
	return &authzv3.ExtAuthzPerRoute{Override: &authzv3.ExtAuthzPerRoute_Disabled{Disabled: true}}
}

// HTTPFilters returns the filter that asks if it is not one of the standing ones.
func (Feature) HTTPFilters(a model.Attached) []feature.HTTPFilter {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	if len(requestHeaders(spec)) == 0 {
		return nil
	}
	return []feature.HTTPFilter{{
		Name: filterName(spec), Config: listenerConfig(spec), Disabled: true, Idle: asksNobody(),
	}}
}

// ApplyRoute enables the filters for the route.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	perroute.Set(r.Proto, filterName(spec), ask(spec, a, r.Use))
	if mutations := clean(spec); mutations != nil {
		perroute.Set(r.Proto, cleanFilter, mutations)
	}
}

// ask is the configuration with which the filter asks the service. use returns the cluster of a backend.
func ask(
	spec *gwv1.HTTPExternalAuthFilter, a model.Attached, use func(model.BackendKey) string,
) *authzv3.ExtAuthzPerRoute {
	var backend model.BackendKey
	if len(a.Backends) > 0 {
		backend = a.Backends[0]
	}
	cluster := use(backend)
	settings := &authzv3.CheckSettings{}
	if isGRPC(spec) {
		settings.ServiceOverride = &authzv3.CheckSettings_GrpcService{GrpcService: grpcService(cluster, backend)}
	} else {
		settings.ServiceOverride = &authzv3.CheckSettings_HttpService{HttpService: httpService(cluster, spec.HTTPAuthConfig)}
	}
	if spec.ForwardBody != nil && spec.ForwardBody.MaxSize > 0 {
		settings.WithRequestBody = &authzv3.BufferSettings{
			MaxRequestBytes: uint32(spec.ForwardBody.MaxSize), //nolint:gosec // positive
		}
	}
	return &authzv3.ExtAuthzPerRoute{
		Override: &authzv3.ExtAuthzPerRoute_CheckSettings{CheckSettings: settings},
	}
}

// clean removes the headers that a client must not bring; it is nil if there are none.
func clean(spec *gwv1.HTTPExternalAuthFilter) *headerv3.HeaderMutationPerRoute {
	mutations := &headerv3.Mutations{}
	for _, name := range forged(spec) {
		mutations.RequestMutations = append(mutations.RequestMutations, &mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: name},
		})
	}
	if len(mutations.GetRequestMutations()) == 0 {
		return nil
	}
	return &headerv3.HeaderMutationPerRoute{Mutations: mutations}
}

// listenerConfig is what cannot be set for a route. The service that it names does not exist: routes bring theirs.
func listenerConfig(spec *gwv1.HTTPExternalAuthFilter) *authzv3.ExtAuthz {
	config := &authzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		ValidateMutations:   true,
		AllowedHeaders:      exactly(requestHeaders(spec)),
	}
	if isGRPC(spec) {
		config.Services = &authzv3.ExtAuthz_GrpcService{
			GrpcService: grpcService(feature.InvalidCluster, model.BackendKey{}),
		}
		return config
	}
	config.Services = &authzv3.ExtAuthz_HttpService{HttpService: httpService(feature.InvalidCluster, nil)}
	config.DecoderHeaderMutationRules = &mutationv3.HeaderMutationRules{
		DisallowSystem:     wrapperspb.Bool(true),
		DisallowExpression: &matcherv3.RegexMatcher{Regex: untouchable},
	}
	return config
}

// grpcService names the service's Kubernetes name as the authority: the cluster's name has slashes, which some servers
// refuse.
func grpcService(cluster string, backend model.BackendKey) *corev3.GrpcService {
	target := &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}
	if backend != (model.BackendKey{}) {
		target.Authority = backend.Name.Name + "." + backend.Namespace
	}
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: target},
		Timeout:         durationpb.New(timeout),
	}
}

// httpService is the service as Envoy asks it. The request keeps the client's Host, so the URI's host is only a name.
func httpService(cluster string, spec *gwv1.HTTPAuthConfig) *authzv3.HttpService {
	service := &authzv3.HttpService{ServerUri: &corev3.HttpUri{
		Uri:              "http://" + feature.InvalidCluster,
		HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		Timeout:          durationpb.New(timeout),
	}}
	if cluster == feature.InvalidCluster {
		return service
	}
	upstream := exactly(responseHeaders(spec))
	if upstream == nil { // all that the listener's rules allow
		upstream = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}},
		}}}
	}
	service.AuthorizationResponse = &authzv3.AuthorizationResponse{AllowedUpstreamHeaders: upstream}
	if spec != nil {
		service.PathPrefix = pathPrefix(spec.Path)
	}
	return service
}

// pathPrefix returns the prefix without a trailing slash, since the request's path starts with one.
func pathPrefix(path string) string {
	trimmed := strings.Trim(path, "/")
	if trimmed == "" {
		return ""
	}
	return "/" + trimmed
}

// filterName returns the name of the filter that asks: of the protocol, and of the list of headers if there is one.
func filterName(spec *gwv1.HTTPExternalAuthFilter) string {
	if isGRPC(spec) {
		return grpcFilter + listed(spec)
	}
	return httpFilter + listed(spec)
}

// listed is what the name of a filter ends in that has a list of headers.
func listed(spec *gwv1.HTTPExternalAuthFilter) string {
	headers := requestHeaders(spec)
	if len(headers) == 0 {
		return ""
	}
	sum := sha256.Sum256([]byte(strings.Join(headers, "\n"))) // no header name has a line break
	return "/" + hex.EncodeToString(sum[:8])
}

// forged returns the headers that backends trust to come from the service and a client could bring instead.
func forged(spec *gwv1.HTTPExternalAuthFilter) []string {
	if isGRPC(spec) {
		return nil // the service says itself which headers to remove
	}
	shown := requestHeaders(spec)
	return slices.DeleteFunc(responseHeaders(spec.HTTPAuthConfig), func(name string) bool {
		return slices.Contains(shown, name) || slices.Contains(alwaysSent, name)
	})
}

func isGRPC(spec *gwv1.HTTPExternalAuthFilter) bool {
	return spec.ExternalAuthProtocol == gwv1.HTTPRouteExternalAuthGRPCProtocol
}

func requestHeaders(spec *gwv1.HTTPExternalAuthFilter) []string {
	switch {
	case isGRPC(spec) && spec.GRPCAuthConfig != nil:
		return canonical(spec.GRPCAuthConfig.AllowedRequestHeaders)
	case !isGRPC(spec) && spec.HTTPAuthConfig != nil:
		return canonical(spec.HTTPAuthConfig.AllowedRequestHeaders)
	}
	return nil
}

func responseHeaders(spec *gwv1.HTTPAuthConfig) []string {
	if spec == nil {
		return nil
	}
	return canonical(spec.AllowedResponseHeaders)
}

// canonical returns names in lower case, sorted, each once: the same list whatever way it was written.
func canonical(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		out[i] = strings.ToLower(name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// exactly matches the names; it is nil for none.
func exactly(names []string) *matcherv3.ListStringMatcher {
	if len(names) == 0 {
		return nil
	}
	list := &matcherv3.ListStringMatcher{}
	for _, name := range names {
		list.Patterns = append(list.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: name}, IgnoreCase: true,
		})
	}
	return list
}

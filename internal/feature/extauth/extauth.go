// Package extauth is the filter ExternalAuth of routes and listeners (Gateway API: HTTPExternalAuthFilter, GEP-1494)
// and SecurityPolicy.extAuth: ask another service whether a request may pass. A request for which several of these hold
// has to pass all of them.
//
// It is Envoy's ext_authz, which asks the service (grpc_service, http_service), with the request's body if it is to
// (with_request_body). allowed_headers are the request headers that the service gets to see. What is particular to the
// policy is told at [Policy].
//
// The filter fails closed. A service that cannot be reached, does not answer in time or does not resolve (the cluster
// is then one that does not exist) means 503 (status_on_error), and so does an HTTP service that answers with 5xx; a
// body beyond forwardBody.maxSize means 413. A second ExternalAuth on the same requests is refused, because the one
// would replace the other.
//
// Headers that the service's answer may add to the request (http.allowedResponseHeaders) are what backends trust, so
// a client must not bring them: a header_mutation filter in front removes them, unless the service gets to see them.
// What the answer may never change are the headers that frame the message or describe the
// answer itself (decoder_header_mutation_rules).
package extauth

import (
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
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter ExternalAuth.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
)

const (
	cleanFilter = "envoy.filters.http.ext_authz/clean"
	askFilter   = "envoy.filters.http.ext_authz"
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

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// HTTPFilters adds the filter that cleans requests, and the one that asks.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	if cleaner := clean(forged(spec)); cleaner != nil {
		s.Add(cleanFilter, cleaner)
	}
	s.Add(askFilter, ask(s, spec, a))
}

// ask is the configuration with which the filter asks the service.
func ask(s *feature.Scope, spec *gwv1.HTTPExternalAuthFilter, a model.Attached) *authzv3.ExtAuthz {
	var backend model.BackendKey
	if len(a.Backends) > 0 {
		backend = a.Backends[0]
	}
	cluster := s.Use(backend)
	config := &authzv3.ExtAuthz{
		TransportApiVersion: corev3.ApiVersion_V3,
		StatusOnError:       &typev3.HttpStatus{Code: typev3.StatusCode_ServiceUnavailable},
		ValidateMutations:   true,
		AllowedHeaders:      exactly(requestHeaders(spec)),
	}
	if spec.ForwardBody != nil && spec.ForwardBody.MaxSize > 0 {
		config.WithRequestBody = &authzv3.BufferSettings{
			MaxRequestBytes: uint32(spec.ForwardBody.MaxSize), //nolint:gosec // positive
		}
	}
	if isGRPC(spec) {
		config.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: grpcService(cluster, backend, timeout)}
		return config
	}
	service := httpService(cluster, timeout)
	upstream := exactly(responseHeaders(spec.HTTPAuthConfig))
	if upstream == nil { // all that the listener's rules allow
		upstream = &matcherv3.ListStringMatcher{Patterns: []*matcherv3.StringMatcher{{
			MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}},
		}}}
	}
	service.AuthorizationResponse = &authzv3.AuthorizationResponse{AllowedUpstreamHeaders: upstream}
	if spec.HTTPAuthConfig != nil {
		service.PathPrefix = pathPrefix(spec.HTTPAuthConfig.Path)
	}
	config.Services = &authzv3.ExtAuthz_HttpService{HttpService: service}
	config.DecoderHeaderMutationRules = answerRules()
	return config
}

// answerRules are what the headers of an HTTP service's answer may change of a request.
func answerRules() *mutationv3.HeaderMutationRules {
	return &mutationv3.HeaderMutationRules{
		DisallowSystem:     wrapperspb.Bool(true),
		DisallowExpression: &matcherv3.RegexMatcher{Regex: untouchable},
	}
}

// clean removes the headers that a client must not bring; it is nil if there are none.
func clean(forged []string) *headerv3.HeaderMutation {
	mutations := &headerv3.Mutations{}
	for _, name := range forged {
		mutations.RequestMutations = append(mutations.RequestMutations, &mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: name},
		})
	}
	if len(mutations.GetRequestMutations()) == 0 {
		return nil
	}
	return &headerv3.HeaderMutation{Mutations: mutations}
}

// grpcService names the service's Kubernetes name as the authority: the cluster's name has slashes, which some servers
// refuse.
func grpcService(cluster string, backend model.BackendKey, timeout time.Duration) *corev3.GrpcService {
	target := &corev3.GrpcService_EnvoyGrpc{ClusterName: cluster}
	if backend != (model.BackendKey{}) {
		first := backend.First()
		target.Authority = first.Name.Name + "." + first.Namespace
	}
	return &corev3.GrpcService{
		TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: target},
		Timeout:         durationpb.New(timeout),
	}
}

// httpService is the service as Envoy asks it. The request keeps the client's Host, so the URI's host is only a name.
func httpService(cluster string, timeout time.Duration) *authzv3.HttpService {
	return &authzv3.HttpService{ServerUri: &corev3.HttpUri{
		Uri:              "http://" + feature.InvalidCluster,
		HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
		Timeout:          durationpb.New(timeout),
	}}
}

// pathPrefix returns the prefix without a trailing slash, since the request's path starts with one.
func pathPrefix(path string) string {
	trimmed := strings.Trim(path, "/")
	if trimmed == "" {
		return ""
	}
	return "/" + trimmed
}

// forged returns the headers that backends trust to come from the service and a client could bring instead.
func forged(spec *gwv1.HTTPExternalAuthFilter) []string {
	if isGRPC(spec) {
		return nil // the service says itself which headers to remove
	}
	return unseen(responseHeaders(spec.HTTPAuthConfig), requestHeaders(spec))
}

// unseen returns those of an HTTP service's headers for backends that it cannot judge when a client brings them.
func unseen(answered, shown []string) []string {
	return slices.DeleteFunc(answered, func(name string) bool {
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

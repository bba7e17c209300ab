package extauth

import (
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Policy is the feature of SecurityPolicy.extAuth.
//
// grpc and http are the service, spoken to through the cluster of its backend. headersToExtAuth is allowed_headers: by
// default a gRPC service sees all headers, an HTTP service host, content-length and authorization. bodyToExtAuth is
// with_request_body, timeout (10s) that of the service, failOpen failure_mode_allow, recomputeRoute clear_route_cache,
// statusOnError (403) status_on_error, and includeRouteMetadata has the service see the metadata of the route under
// envoy-gateway (route_metadata_context_namespaces). path, pathOverride and headersToBackend are path_prefix,
// path_override and allowed_upstream_headers; none of an answer's headers reach the backend by default.
// contextExtensions are the context_extensions of the check_settings, which a gRPC service sees.
//
// With failOpen, requests pass also while the policy's own references cannot be used, as Envoy Gateway has it.
type Policy struct{}

var (
	_ feature.Checker    = Policy{}
	_ feature.FilterUser = Policy{}
	_ feature.Guard      = Policy{}
	_ feature.Opener     = Policy{}
	_ feature.Referrer   = Policy{}
)

const (
	// policyAsk is not the name of the route's own filter: a request has to pass both.
	policyAsk   = askFilter + "/policy"
	policyClean = cleanFilter + "/policy"
	// policyTimeout and policyStatus are the API's defaults.
	policyTimeout = 10 * time.Second
	policyStatus  = 403
)

// Name returns the field's name.
func (Policy) Name() string { return model.KindSecurityPolicy + ".extAuth" }

// Guards says that nothing gets by it.
func (Policy) Guards() {}

// Opens reports whether requests are to pass while the service cannot be asked.
func (Policy) Opens(a model.Attached) bool {
	return policy.Or(a.Spec.(*egv1a1.ExtAuth).FailOpen, false)
}

// References returns the service, and where the values of context extensions are.
func (Policy) References(a model.Attached) []resolve.Reference {
	spec := a.Spec.(*egv1a1.ExtAuth)
	var out []resolve.Reference
	if service, field, use := serviceOf(spec); service != nil {
		out = policy.BackendReferences(service, a.Path+field, use)
	}
	for i, ext := range spec.ContextExtensions {
		if ext == nil || !byReference(ext) || ext.ValueRef == nil {
			continue
		}
		out = append(out, resolve.Reference{
			Path:   fmt.Sprintf("%s.contextExtensions[%d].valueRef", a.Path, i),
			Object: resolve.LocalReference(ext.ValueRef.LocalObjectReference),
		})
	}
	return out
}

// serviceOf returns the service, the field that it is in and what is spoken to it; nil if there is none.
func serviceOf(spec *egv1a1.ExtAuth) (service *egv1a1.BackendCluster, field string, use model.AppProtocol) {
	switch {
	case spec.GRPC != nil:
		return &spec.GRPC.BackendCluster, ".grpc", model.AppGRPC
	case spec.HTTP != nil:
		return &spec.HTTP.BackendCluster, ".http", model.AppHTTP
	}
	return nil, "", ""
}

// HTTPFilters adds the filter that cleans requests, and the one that asks.
func (Policy) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.ExtAuth)
	if spec.HTTP != nil {
		forged := unseen(canonical(spec.HTTP.HeadersToBackend), canonical(spec.HeadersToExtAuth))
		if cleaner := clean(forged); cleaner != nil {
			s.Add(policyClean, cleaner)
		}
	}
	config := askAs(s, spec, a)
	extensions := contextExtensions(spec, a.Objects)
	if len(extensions) == 0 {
		s.Add(policyAsk, config)
		return
	}
	s.AddWith(policyAsk+"/"+a.Source.Name.String(), config, &authzv3.ExtAuthzPerRoute{
		Override: &authzv3.ExtAuthzPerRoute_CheckSettings{
			CheckSettings: &authzv3.CheckSettings{ContextExtensions: extensions},
		},
	})
}

// askAs is the configuration with which the filter asks the service of a policy.
func askAs(s *feature.Scope, spec *egv1a1.ExtAuth, a model.Attached) *authzv3.ExtAuthz {
	service, _, _ := serviceOf(spec)
	backend := policy.Backend(service, a.Backends)
	cluster := s.Use(backend)
	config := &authzv3.ExtAuthz{
		AllowedHeaders:    exactly(canonical(spec.HeadersToExtAuth)),
		FailureModeAllow:  policy.Or(spec.FailOpen, false),
		ClearRouteCache:   policy.Or(spec.RecomputeRoute, false),
		StatusOnError:     &typev3.HttpStatus{Code: typev3.StatusCode(policy.Or(spec.StatusOnError, policyStatus))},
		ValidateMutations: true,
	}
	if spec.BodyToExtAuth != nil {
		config.WithRequestBody = &authzv3.BufferSettings{MaxRequestBytes: spec.BodyToExtAuth.MaxRequestBytes}
	}
	if policy.Or(spec.IncludeRouteMetadata, false) {
		config.RouteMetadataContextNamespaces = []string{feature.RouteMetadata}
		s.Describe()
	}
	timeout := policy.RequestTimeout(service.BackendSettings, policyTimeout)
	if spec.Timeout != nil {
		timeout = duration.MustParse(*spec.Timeout)
	}
	if spec.GRPC != nil {
		asked := grpcService(cluster, backend, timeout)
		asked.RetryPolicy = policy.RetryPolicy(service.BackendSettings)
		config.Services = &authzv3.ExtAuthz_GrpcService{GrpcService: asked}
	} else {
		asked := httpService(cluster, timeout)
		asked.RetryPolicy = policy.RetryPolicy(service.BackendSettings)
		asked.PathPrefix = pathPrefix(policy.Or(spec.HTTP.Path, ""))
		asked.PathOverride = policy.Or(spec.HTTP.PathOverride, "")
		asked.AuthorizationResponse = &authzv3.AuthorizationResponse{
			AllowedUpstreamHeaders: exactly(canonical(spec.HTTP.HeadersToBackend)),
		}
		config.Services = &authzv3.ExtAuthz_HttpService{HttpService: asked}
		config.DecoderHeaderMutationRules = answerRules()
	}
	return config
}

func byReference(ext *egv1a1.ContextExtension) bool {
	return ext.Type == egv1a1.ContextExtensionValueTypeValueRef
}

// contextExtensions returns the context extensions with their values, from what their references lead to.
func contextExtensions(spec *egv1a1.ExtAuth, objects []model.Object) map[string]string {
	out := map[string]string{}
	for _, ext := range spec.ContextExtensions {
		switch {
		case ext == nil:
		case byReference(ext):
			if ext.ValueRef != nil && len(objects) > 0 {
				out[ext.Name] = string(objects[0].Data[ext.ValueRef.Key])
				objects = objects[1:]
			}
		case ext.Value != nil:
			out[ext.Name] = *ext.Value
		}
	}
	return out
}

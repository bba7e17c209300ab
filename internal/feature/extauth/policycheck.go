package extauth

import (
	"fmt"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Check refuses what Envoy cannot be told, and what would have no effect on the service that is asked.
func (Policy) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ExtAuth)
	var refused policy.Refusals
	service, field, _ := serviceOf(spec)
	switch {
	case spec.GRPC != nil && spec.HTTP != nil:
		refused.Add(".http", "There are two services: keep grpc or http, or use two policies")
	case service == nil:
		refused.Add("", "There is no service: name one under grpc or http")
	case len(policy.BackendReferences(service, "", "")) == 0:
		refused.Add(field+".backendRefs", "The service has no backend: name one")
	default:
		refused.Backends(field, service)
	}
	refused.Duration(".timeout", spec.Timeout, time.Millisecond)
	if spec.BodyToExtAuth != nil && spec.BodyToExtAuth.MaxRequestBytes == 0 {
		refused.Add(".bodyToExtAuth.maxRequestBytes", "Every request with a body would be too large: use at least 1, or "+
			"leave out bodyToExtAuth")
	}
	for i, name := range spec.HeadersToExtAuth {
		if err := header.CheckName(name); err != nil {
			refused.Add(fmt.Sprintf(".headersToExtAuth[%d]", i), "Invalid header: %v", err)
		}
	}
	if status := policy.Or(spec.StatusOnError, policyStatus); status < 400 || status > 599 {
		refused.Add(".statusOnError", "The status %d is not that of an error: use 400 to 599", status)
	}
	if spec.HTTP != nil {
		checkHTTP(&refused, spec)
	}
	checkExtensions(&refused, spec.ContextExtensions, a.Objects)
	return refused
}

func checkHTTP(refused *policy.Refusals, spec *egv1a1.ExtAuth) {
	for i, name := range spec.HTTP.HeadersToBackend {
		path := fmt.Sprintf(".http.headersToBackend[%d]", i)
		if header.IsHost(name) {
			refused.Add(path, "The service cannot change the host of a request: remove it")
		} else if err := header.CheckMutable(name); err != nil {
			refused.Add(path, "Invalid header: %v", err)
		}
	}
	if path := spec.HTTP.Path; path != nil && !safePath(*path) {
		refused.Add(".http.path", "The path %q cannot be a prefix: leave out query, fragment, empty segments and the "+
			"segments . and ..", *path)
	}
	if path := spec.HTTP.PathOverride; path != nil {
		before, _, _ := strings.Cut(*path, "?")
		if !strings.HasPrefix(before, "/") || !safePath(before) || strings.ContainsAny(*path, "# ") {
			refused.Add(".http.pathOverride", "The path %q is none: begin it with /, and leave out fragment, empty segments "+
				"and the segments . and ..", *path)
		}
		if spec.HTTP.Path != nil {
			refused.Add(".http.pathOverride", "There are two paths: keep path or pathOverride")
		}
	}
	if len(spec.ContextExtensions) > 0 {
		refused.Add(".contextExtensions", "Only a gRPC service gets to see these: use grpc, or remove them")
	}
	if policy.Or(spec.IncludeRouteMetadata, false) {
		refused.Add(".includeRouteMetadata", "Only a gRPC service gets to see this: use grpc, or remove it")
	}
}

func checkExtensions(refused *policy.Refusals, list []*egv1a1.ContextExtension, objects []model.Object) {
	seen := map[string]bool{}
	for i, ext := range list {
		path := fmt.Sprintf(".contextExtensions[%d]", i)
		if ext == nil {
			refused.Add(path, "It is empty: remove it")
			continue
		}
		if ext.Name == "" || seen[ext.Name] {
			refused.Add(path+".name", "The name %q is empty, or that of another: choose one for each", ext.Name)
		}
		seen[ext.Name] = true
		switch {
		case !byReference(ext):
			if ext.Value == nil {
				refused.Add(path+".value", "There is no value: add it, or set type to ValueRef")
			}
		case ext.ValueRef == nil:
			refused.Add(path+".valueRef", "There is no reference to a value: add it, or set type to Value")
		case len(objects) > 0:
			if _, ok := objects[0].Data[ext.ValueRef.Key]; !ok {
				refused.Add(path+".valueRef.key", "%s has nothing under the key %s", objects[0].Ref, ext.ValueRef.Key)
			}
			objects = objects[1:]
		}
	}
}

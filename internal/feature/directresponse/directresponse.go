// Package directresponse is the field directResponse of an HTTPRouteFilter: answer requests without a backend (Envoy
// Gateway: HTTPDirectResponseFilter).
//
// The route's action becomes a DirectResponseAction. A body with command operators is its body_format, any other its
// body: see package body. The content type and the headers are response_headers_to_add of the
// route.
package directresponse

import (
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/body"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field directResponse of an HTTPRouteFilter.
type Feature struct{}

var (
	_ feature.Referrer     = Feature{}
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

// defaultStatus is the status unless one is set.
const defaultStatus = 200

// Name returns the name of the field.
func (Feature) Name() string { return "HTTPRouteFilter.directResponse" }

// Check refuses statuses, headers and bodies that Envoy cannot answer with, and what contradicts a direct response.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.HTTPDirectResponseFilter)
	var problems []feature.Problem
	refuse := func(path, message string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(message, args...), Path: path,
		})
	}
	switch code := statusOf(spec); {
	case code < 200 || code > 599:
		refuse(".statusCode", "The status code %d cannot be answered with: use 200 to 599", code)
	case rule.GRPC && code < 300:
		refuse(".statusCode", "The status code %d means success to a gRPC client, but a direct response has no message for "+
			"it: use a status code that is an error, for example 403 for PERMISSION_DENIED", code)
	}
	if spec.ContentType != nil {
		if err := header.CheckValue(*spec.ContentType); err != nil {
			refuse(".contentType", "Invalid content type: %v", err)
		}
	}
	if message := body.Check(spec.Body, a.Objects); message != "" {
		refuse(".body", "%s", message)
	}
	if spec.Header != nil {
		for _, p := range header.Check(spec.Header, header.NoHost) {
			p.Path = ".header" + p.Path
			problems = append(problems, p)
		}
	}
	return append(problems, conflicts(a, rule)...)
}

// References returns the ConfigMap that holds the body, if it is in one.
func (Feature) References(a model.Attached) []resolve.Reference {
	ref, ok := body.Reference(a.Spec.(*egv1a1.HTTPDirectResponseFilter).Body, a.Path+".body")
	if !ok {
		return nil
	}
	return []resolve.Reference{ref}
}

// conflicts returns what cannot be at the same place as a direct response.
func conflicts(a model.Attached, rule *model.Rule) []feature.Problem {
	for _, other := range feature.Beside(a, rule) {
		if feature.Same(a, other) {
			continue
		}
		switch other.Feature {
		case a.Feature, string(gwv1.HTTPRouteFilterRequestRedirect), string(gwv1.HTTPRouteFilterRequestMirror):
			return []feature.Problem{{
				Reason:  "IncompatibleFilters",
				Message: fmt.Sprintf("A direct response cannot be combined with %s: remove one of them", other.Feature),
			}}
		}
	}
	return nil
}

// ApplyRoute replaces the route's action.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*egv1a1.HTTPDirectResponseFilter)
	action := &routev3.DirectResponseAction{Status: uint32(statusOf(spec))} //nolint:gosec // 200 to 599
	action.Body, action.BodyFormat = body.Envoy(spec.Body, a.Objects)
	r.Proto.Action = &routev3.Route_DirectResponse{DirectResponse: action}
	edit := header.Edit{Add: r.Proto.ResponseHeadersToAdd, Remove: r.Proto.ResponseHeadersToRemove}
	if spec.ContentType != nil {
		edit.Apply(&gwv1.HTTPHeaderFilter{Set: []gwv1.HTTPHeader{{Name: "content-type", Value: *spec.ContentType}}})
	}
	if spec.Header != nil {
		edit.Apply(spec.Header)
	}
	r.Proto.ResponseHeadersToAdd, r.Proto.ResponseHeadersToRemove = edit.Add, edit.Remove
}

func statusOf(spec *egv1a1.HTTPDirectResponseFilter) int {
	if spec.StatusCode == nil {
		return defaultStatus
	}
	return *spec.StatusCode
}

// Package directresponse is the field directResponse of an HTTPRouteFilter: answer requests without a backend (Envoy
// Gateway: HTTPDirectResponseFilter).
//
// The route's action becomes a DirectResponseAction. A body with command operators is its body_format, any other its
// body; see [format] for what is an operator. The content type and the headers are response_headers_to_add of the
// route.
package directresponse

import (
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
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

const (
	// defaultStatus is the status unless one is set.
	defaultStatus = 200
	// bodyKey is the key of a ConfigMap that holds the body.
	bodyKey = "response.body"
)

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
	if message := checkBody(a, spec); message != "" {
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
	body := a.Spec.(*egv1a1.HTTPDirectResponseFilter).Body
	if body == nil || body.Type == nil || *body.Type != egv1a1.ResponseValueTypeValueRef {
		return nil
	}
	return []resolve.Reference{{Path: a.Path + ".body.valueRef", Object: &resolve.ObjectReference{
		Group: string(body.ValueRef.Group), Kind: string(body.ValueRef.Kind), Name: string(body.ValueRef.Name),
	}}}
}

func checkBody(a model.Attached, spec *egv1a1.HTTPDirectResponseFilter) string {
	body, found := bodyOf(a, spec)
	switch {
	case spec.Body == nil:
		return ""
	case !found:
		return fmt.Sprintf("%s is empty: put the body under the key %s", a.Objects[0].Ref, bodyKey)
	case len(body) > feature.MaxDirectResponse:
		return fmt.Sprintf("The body is %d bytes long: shorten it to %d", len(body), feature.MaxDirectResponse)
	case !utf8.Valid(body):
		return ""
	}
	_, _, err := format(string(body))
	if err != nil {
		return "The body shows too much: " + err.Error()
	}
	return ""
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
	if body, _ := bodyOf(a, spec); len(body) > 0 {
		setBody(action, body)
	}
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

func setBody(action *routev3.DirectResponseAction, body []byte) {
	if !utf8.Valid(body) {
		action.Body = &corev3.DataSource{Specifier: &corev3.DataSource_InlineBytes{InlineBytes: body}}
		return
	}
	text, dynamic, err := format(string(body))
	if err != nil {
		return // refused by Check
	}
	source := &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: text}}
	if !dynamic {
		action.Body = source
		return
	}
	action.BodyFormat = &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_TextFormatSource{TextFormatSource: source},
	}
}

func statusOf(spec *egv1a1.HTTPDirectResponseFilter) int {
	if spec.StatusCode == nil {
		return defaultStatus
	}
	return *spec.StatusCode
}

// bodyOf returns the body, and whether there is any: that of a ConfigMap is under its key, or else the first value in
// the order of the keys.
func bodyOf(a model.Attached, spec *egv1a1.HTTPDirectResponseFilter) ([]byte, bool) {
	switch {
	case spec.Body == nil:
		return nil, false
	case len(a.Objects) == 0:
		if spec.Body.Inline == nil {
			return nil, true
		}
		return []byte(*spec.Body.Inline), true
	}
	data := a.Objects[0].Data
	if body, ok := data[bodyKey]; ok {
		return body, true
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		return data[key], true
	}
	return nil, false
}

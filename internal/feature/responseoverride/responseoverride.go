// Package responseoverride is the field responseOverride of a BackendTrafficPolicy: what clients get in the place of
// certain responses.
//
// It is the filter envoy.filters.http.custom_response, whose matcher list has an entry for each override; the first
// that matches wins. It comes before all other filters, so that it sees what these answer, too: source says whether an
// override is for answers of Envoy (Local), of backends (Backend) or for both (All, the default).
//
// response becomes a LocalResponsePolicy: body and contentType, statusCode, header. A response without a body is sent
// with an empty one. Envoy reads the values of headers as formats; here they are data, as everywhere. A body may have
// command operators: see package format.
//
// redirect becomes a LocalResponsePolicy with a Location, as the API's comments say of each of its fields. Envoy's
// RedirectPolicy, which Envoy Gateway uses, sends the request itself to another route of the listener and gives the
// answer a status of 301 or 302 without a Location; for a host that the listener does not serve it does nothing.
package responseoverride

import (
	"fmt"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/custom_response/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/body"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field responseOverride.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Referrer   = Feature{}
)

// filterName is what the filter is called.
const filterName = "custom_response"

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.responseOverride" }

// References returns the ConfigMaps that hold bodies.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	for i, o := range a.Spec.([]*egv1a1.ResponseOverride) {
		if o.Response == nil {
			continue
		}
		if ref, ok := body.Reference(o.Response.Body, fmt.Sprintf("%s[%d].response.body", a.Path, i)); ok {
			out = append(out, ref)
		}
	}
	return out
}

// objectsOf returns for each override the ConfigMap that holds its body, nothing if none does.
func objectsOf(a model.Attached) [][]model.Object {
	rest := a.Objects
	overrides := a.Spec.([]*egv1a1.ResponseOverride)
	out := make([][]model.Object, len(overrides))
	for i, o := range overrides {
		if o.Response == nil {
			continue
		}
		if _, ok := body.Reference(o.Response.Body, ""); ok && len(rest) > 0 {
			out[i], rest = rest[:1], rest[1:]
		}
	}
	return out
}

// HTTPFilters adds the filter that replaces responses.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	list := &xdsmatcherv3.Matcher_MatcherList{}
	objects := objectsOf(a)
	for i, o := range a.Spec.([]*egv1a1.ResponseOverride) {
		list.Matchers = append(list.Matchers, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: condition(o),
			OnMatch: &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
				// Envoy tells policies apart by their names.
				Action: &xdscorev3.TypedExtensionConfig{
					Name: fmt.Sprintf("override/%d", i), TypedConfig: feature.Pack(answer(o, objects[i], s.Route)),
				},
			}},
		})
	}
	if len(list.GetMatchers()) == 0 {
		return
	}
	s.Add(filterName, &filterv3.CustomResponse{CustomResponseMatcher: &xdsmatcherv3.Matcher{
		MatcherType: &xdsmatcherv3.Matcher_MatcherList_{MatcherList: list},
	}})
}

// answer returns what is sent in the place of the response.
func answer(o *egv1a1.ResponseOverride, objects []model.Object, route *feature.Route) *localv3.LocalResponsePolicy {
	if o.Redirect != nil {
		return redirect(o.Redirect, route)
	}
	spec := o.Response
	out := &localv3.LocalResponsePolicy{}
	out.Body, out.BodyFormat = body.Envoy(spec.Body, objects)
	if spec.StatusCode != nil {
		out.StatusCode = wrapperspb.UInt32(uint32(*spec.StatusCode)) //nolint:gosec // checked
	}
	edit := header.Edit{}
	if spec.ContentType != nil && *spec.ContentType != "" {
		edit.Apply(&gwv1.HTTPHeaderFilter{Set: []gwv1.HTTPHeader{{Name: "content-type", Value: *spec.ContentType}}})
	}
	if spec.Header != nil {
		edit.Apply(spec.Header)
	}
	out.ResponseHeadersToAdd = edit.Add
	return out
}

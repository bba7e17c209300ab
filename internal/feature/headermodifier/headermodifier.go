// Package headermodifier is the filters RequestHeaderModifier and ResponseHeaderModifier: set, add and remove headers
// (Gateway API: HTTPHeaderFilter).
//
// They become request_headers_to_add and request_headers_to_remove, or response_headers_to_add and
// response_headers_to_remove, of the Envoy route: set is append_action OVERWRITE_IF_EXISTS_OR_ADD, add is
// APPEND_IF_EXISTS_OR_ADD. Envoy reads values as formats, so percent signs are doubled: what a user wrote is data.
//
// Envoy removes before it adds, whatever the order of the filters was. When several filters meet on one route (those of
// a backend come after those of its rule), a later set or remove therefore takes back what an earlier filter added.
//
// Envoy refuses host among the headers to add. Setting it in a request is host_rewrite_literal instead; adding to it or
// removing it is refused, because a request has exactly one host.
package headermodifier

import (
	"fmt"
	"regexp"
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Request is the feature of the filter RequestHeaderModifier.
type Request struct{}

// Response is the feature of the filter ResponseHeaderModifier.
type Response struct{}

var (
	_ feature.Checker      = Request{}
	_ feature.RouteApplier = Request{}
	_ feature.Checker      = Response{}
	_ feature.RouteApplier = Response{}
)

// hostValue is a host name or address with an optional port (RFC 9110, section 7.2).
var hostValue = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// Name returns the filter's type.
func (Request) Name() string { return string(gwv1.HTTPRouteFilterRequestHeaderModifier) }

// Name returns the filter's type.
func (Response) Name() string { return string(gwv1.HTTPRouteFilterResponseHeaderModifier) }

// Check refuses header names and values that Envoy would refuse or that frame messages, a header named twice, and a
// Host that cannot be set.
func (Request) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	return header.Check(a.Spec.(*gwv1.HTTPHeaderFilter), func(op, name, value string) error {
		switch {
		case op != ".set":
			return fmt.Errorf("%s can only be set: a request has exactly one", name)
		case !hostValue.MatchString(value):
			return fmt.Errorf("%q is not a host: write a host name with an optional port", value)
		case rewritesHost(rule):
			return fmt.Errorf("%s is also rewritten by the rule's URLRewrite filter: keep one of them", name)
		}
		return nil
	})
}

// Check refuses header names and values that Envoy would refuse or that frame messages, and a header named twice.
func (Response) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	return header.Check(a.Spec.(*gwv1.HTTPHeaderFilter), header.NoHost)
}

// ApplyRoute changes the headers of requests.
func (Request) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPHeaderFilter)
	edit := header.Edit{Add: r.Proto.RequestHeadersToAdd, Remove: r.Proto.RequestHeadersToRemove}
	edit.Apply(spec)
	r.Proto.RequestHeadersToAdd, r.Proto.RequestHeadersToRemove = edit.Add, edit.Remove
	for _, h := range spec.Set {
		if action := r.Action(); action != nil && header.IsHost(string(h.Name)) {
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: h.Value}
		}
	}
}

// ApplyRoute changes the headers of responses.
func (Response) ApplyRoute(r *feature.Route, a model.Attached) {
	edit := header.Edit{Add: r.Proto.ResponseHeadersToAdd, Remove: r.Proto.ResponseHeadersToRemove}
	edit.Apply(a.Spec.(*gwv1.HTTPHeaderFilter))
	r.Proto.ResponseHeadersToAdd, r.Proto.ResponseHeadersToRemove = edit.Add, edit.Remove
}

func rewritesHost(rule *model.Rule) bool {
	return slices.ContainsFunc(rule.Attached, func(a model.Attached) bool {
		rewrite, ok := a.Spec.(*gwv1.HTTPURLRewriteFilter)
		return ok && rewrite.Hostname != nil
	})
}

// Package rewrite is the filter URLRewrite: change the host and path that the backend sees (Gateway API:
// HTTPURLRewriteFilter).
//
// The hostname becomes host_rewrite_literal of the RouteAction. ReplaceFullPath becomes regex_rewrite, since
// prefix_rewrite replaces the whole path only of routes that match it exactly; ReplacePrefixMatch becomes
// prefix_rewrite or regex_rewrite (see package pathmodifier). Envoy applies both to the path alone and keeps the query.
// A backend finds the host that the client sent in X-Forwarded-Host (append_x_forwarded_host), as behind Envoy Gateway.
//
// What Envoy can do beyond the Gateway API is [Extended].
package rewrite

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/pathmodifier"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter URLRewrite.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

// Name returns the filter's type.
func (Feature) Name() string { return string(gwv1.HTTPRouteFilterURLRewrite) }

// Check refuses path modifiers that cannot be applied. The hostname is checked by the CRD's schema.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	return pathmodifier.Check(a.Spec.(*gwv1.HTTPURLRewriteFilter).Path, rule)
}

// ApplyRoute rewrites the host and path of requests. A path rewrite replaces that of an earlier filter: those of a
// backend come after those of its rule.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	action := r.Action()
	if action == nil {
		return
	}
	spec := a.Spec.(*gwv1.HTTPURLRewriteFilter)
	if spec.Hostname != nil {
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: string(*spec.Hostname)}
		action.AppendXForwardedHost = true
	}
	switch {
	case spec.Path == nil:
	case spec.Path.Type == gwv1.FullPathHTTPPathModifier:
		action.PrefixRewrite, action.RegexRewrite = "", pathmodifier.Full(*spec.Path.ReplaceFullPath)
	default:
		action.PrefixRewrite, action.RegexRewrite = pathmodifier.Prefix(r.Match, *spec.Path.ReplacePrefixMatch)
	}
}

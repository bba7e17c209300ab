// Package redirect is the filter RequestRedirect: answer with a redirect (Gateway API: HTTPRequestRedirectFilter).
//
// The route's action becomes a RedirectAction: scheme_redirect, host_redirect, port_redirect, response_code, and for
// the path path_redirect, prefix_rewrite or regex_rewrite (see package pathmodifier). Envoy keeps the query.
//
// Envoy writes port_redirect into the Location whatever it is, and without it and host_redirect repeats the request's
// Host with its port. So the port that the specification asks for (HTTPRequestRedirectFilter.port) is left out when it
// is the scheme's own, as the specification prefers, if the Host cannot be expected to have another: if the hostname is
// replaced, or the listener's port is its own scheme's, so that clients do not write it. Else it is written.
package redirect

import (
	"fmt"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/pathmodifier"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the filter RequestRedirect.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
)

// codes are the status codes of the specification in Envoy's terms.
var codes = map[int]routev3.RedirectAction_RedirectResponseCode{
	301: routev3.RedirectAction_MOVED_PERMANENTLY,
	302: routev3.RedirectAction_FOUND,
	303: routev3.RedirectAction_SEE_OTHER,
	307: routev3.RedirectAction_TEMPORARY_REDIRECT,
	308: routev3.RedirectAction_PERMANENT_REDIRECT,
}

// wellKnown are the ports that a Location leaves out.
var wellKnown = map[string]uint32{"http": 80, "https": 443}

const defaultCode = 302

// Name returns the filter's type.
func (Feature) Name() string { return string(gwv1.HTTPRouteFilterRequestRedirect) }

// Check refuses unknown schemes, status codes and path modifiers.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*gwv1.HTTPRequestRedirectFilter)
	problems := pathmodifier.Check(spec.Path, rule)
	if spec.Scheme != nil && wellKnown[*spec.Scheme] == 0 {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf("The scheme %q is not supported: use http or https", *spec.Scheme),
			Path: ".scheme",
		})
	}
	if spec.StatusCode != nil {
		if _, ok := codes[*spec.StatusCode]; !ok {
			problems = append(problems, feature.Problem{
				Reason:  "UnsupportedValue",
				Message: fmt.Sprintf("The status code %d is not a redirect: use 301, 302, 303, 307 or 308", *spec.StatusCode),
				Path:    ".statusCode",
			})
		}
	}
	return problems
}

// ApplyRoute replaces the route's action.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPRequestRedirectFilter)
	action := &routev3.RedirectAction{PortRedirect: port(r, spec), ResponseCode: codes[defaultCode]}
	if spec.StatusCode != nil {
		action.ResponseCode = codes[*spec.StatusCode]
	}
	if spec.Scheme != nil {
		action.SchemeRewriteSpecifier = &routev3.RedirectAction_SchemeRedirect{SchemeRedirect: *spec.Scheme}
	}
	if spec.Hostname != nil {
		action.HostRedirect = string(*spec.Hostname)
	}
	setPath(action, spec.Path, r.Match)
	r.Proto.Action = &routev3.Route_Redirect{Redirect: action}
}

func setPath(action *routev3.RedirectAction, m *gwv1.HTTPPathModifier, match model.Match) {
	switch {
	case m == nil:
	case m.Type == gwv1.FullPathHTTPPathModifier:
		action.PathRewriteSpecifier = &routev3.RedirectAction_PathRedirect{PathRedirect: *m.ReplaceFullPath}
	default:
		prefix, regex := pathmodifier.Prefix(match, *m.ReplacePrefixMatch)
		switch {
		case prefix != "":
			action.PathRewriteSpecifier = &routev3.RedirectAction_PrefixRewrite{PrefixRewrite: prefix}
		case regex != nil:
			action.PathRewriteSpecifier = &routev3.RedirectAction_RegexRewrite{RegexRewrite: regex}
		}
	}
}

// port returns the port_redirect: the port to write into the Location, or 0 to write none.
func port(r *feature.Route, spec *gwv1.HTTPRequestRedirectFilter) uint32 {
	listenerScheme := "http"
	if r.Secure {
		listenerScheme = "https"
	}
	scheme, port := listenerScheme, uint32(r.Port)
	if spec.Scheme != nil {
		scheme, port = *spec.Scheme, wellKnown[*spec.Scheme]
	}
	if spec.Port != nil {
		port = uint32(*spec.Port) //nolint:gosec // 1 to 65535 by the CRD
	}
	hostHasNone := spec.Hostname != nil || uint32(r.Port) == wellKnown[listenerScheme]
	if port == wellKnown[scheme] && hostHasNone {
		return 0
	}
	return port
}

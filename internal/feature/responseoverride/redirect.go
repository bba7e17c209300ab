package responseoverride

import (
	"fmt"
	"net/http"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	localv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/custom_response/local_response_policy/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
)

// Formats of what Envoy knows of the request when it writes the Location.
const (
	requestScheme = "%REQ(:SCHEME)%"
	requestPath   = "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"
	listenerPort  = "%DOWNSTREAM_LOCAL_PORT%"
)

// wellKnown are the ports that a URL does without.
var wellKnown = map[string]gwv1.PortNumber{"http": 80, "https": 443}

// checkRedirect refuses what leads nowhere. Envoy cannot tell the host of a request without its port, nor what it was
// before a rewrite: without a hostname the Location is a path, which the client takes for one at the same host.
func checkRedirect(refused *policy.Refusals, at string, spec *egv1a1.CustomRedirect) {
	switch status := policy.Or(spec.StatusCode, http.StatusFound); status {
	case http.StatusFound, http.StatusMovedPermanently:
	default:
		refused.Add(at+".statusCode", "The status code %d is no redirect of the API: use 301 or 302", status)
	}
	if s := spec.Scheme; s != nil && wellKnown[*s] == 0 {
		refused.Add(at+".scheme", "The scheme %q is not supported: use http or https", *s)
	}
	if p := spec.Path; p != nil {
		switch full := policy.Or(p.ReplaceFullPath, ""); {
		case p.Type != gwv1.FullPathHTTPPathModifier || p.ReplaceFullPath == nil:
			refused.Add(at+".path.type", "Only the whole path can be replaced here: use ReplaceFullPath")
		case !strings.HasPrefix(full, "/") || strings.HasPrefix(full, "//") || strings.HasPrefix(full, `/\`):
			refused.Add(at+".path.replaceFullPath", "The text %q is no path: begin it with one slash", full)
		case header.CheckValue(full) != nil:
			refused.Add(at+".path.replaceFullPath", "Invalid path: %v", header.CheckValue(full))
		}
	}
	switch {
	case policy.Or(spec.Hostname, "") != "":
	case spec.Scheme != nil || spec.Port != nil:
		refused.Add(at+".hostname", "A redirect to another scheme or port needs the host: add hostname")
	case spec.Path == nil:
		refused.Add(at, "This redirect leads to where the request came from: add hostname or path")
	}
}

// redirect returns the answer that sends clients elsewhere. route is nil where it is for several.
func redirect(spec *egv1a1.CustomRedirect, route *feature.Route) *localv3.LocalResponsePolicy {
	return &localv3.LocalResponsePolicy{
		StatusCode: wrapperspb.UInt32(uint32(policy.Or(spec.StatusCode, http.StatusFound))), //nolint:gosec // checked
		ResponseHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: "location", Value: location(spec, route)},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}
}

// location returns the format of the Location.
func location(spec *egv1a1.CustomRedirect, route *feature.Route) string {
	path := requestPath
	if spec.Path != nil {
		path = header.Literal(*spec.Path.ReplaceFullPath)
	}
	host := string(policy.Or(spec.Hostname, ""))
	if host == "" {
		return path
	}
	return policy.Or(spec.Scheme, requestScheme) + "://" + header.Literal(host) + port(spec, route) + path
}

// port returns the port of a Location behind a colon, empty if the URL does without: that of the redirect, else the
// well-known one of its scheme, else that of the listener.
func port(spec *egv1a1.CustomRedirect, route *feature.Route) string {
	scheme := policy.Or(spec.Scheme, "")
	switch {
	case spec.Port != nil && *spec.Port == wellKnown[scheme]:
		return ""
	case spec.Port != nil:
		return fmt.Sprintf(":%d", *spec.Port)
	case scheme != "":
		return ""
	case route == nil:
		return ":" + listenerPort
	case !route.Secure && route.Port == 80 || route.Secure && route.Port == 443:
		return ""
	}
	return fmt.Sprintf(":%d", route.Port)
}

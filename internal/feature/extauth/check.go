package extauth

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// pathChars is the CRD's pattern of HTTPAuthConfig.path. The specification wants it checked again before use.
var pathChars = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})*$`)

// Check refuses unknown protocols, header names and paths that are none, and more than one ExternalAuth for a request.
// A backend that does not resolve is not refused: that is said in the route's ResolvedRefs condition, which the
// conformance tests expect beside an accepted route, and requests fail closed.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	problems := checkSpec(a.Spec.(*gwv1.HTTPExternalAuthFilter))
	if crowded(rule) {
		problems = append(problems, feature.Problem{
			Reason: "IncompatibleFilters",
			Message: "More than one ExternalAuth filter would apply to the same request, and one would replace the other: " +
				"keep one on the rule, or one on each backend",
		})
	}
	return problems
}

func checkSpec(spec *gwv1.HTTPExternalAuthFilter) []feature.Problem {
	var problems []feature.Problem
	refuse := func(path, format string, args ...any) {
		problems = append(problems, feature.Problem{
			Reason: "UnsupportedValue", Message: fmt.Sprintf(format, args...), Path: path,
		})
	}
	names := func(path string, list []string) {
		for i, name := range list {
			if err := header.CheckName(name); err != nil {
				refuse(fmt.Sprintf("%s[%d]", path, i), "Invalid header: %v", err)
			}
		}
	}
	switch spec.ExternalAuthProtocol {
	case gwv1.HTTPRouteExternalAuthGRPCProtocol:
		if spec.GRPCAuthConfig != nil {
			names(".grpc.allowedHeaders", spec.GRPCAuthConfig.AllowedRequestHeaders)
		}
	case gwv1.HTTPRouteExternalAuthHTTPProtocol:
		if config := spec.HTTPAuthConfig; config != nil {
			names(".http.allowedHeaders", config.AllowedRequestHeaders)
			names(".http.allowedResponseHeaders", config.AllowedResponseHeaders)
			if !safePath(config.Path) {
				refuse(".http.path", "The path %q cannot be a prefix: leave out query, fragment, empty segments and "+
					"the segments . and ..", config.Path)
			}
		}
	default:
		refuse(".protocol", "The protocol %q is not supported: use HTTP or GRPC", spec.ExternalAuthProtocol)
	}
	if spec.ForwardBody != nil && spec.ForwardBody.MaxSize < 0 {
		refuse(".forwardBody.maxSize", "The size %d is negative: use 0 to keep the body", spec.ForwardBody.MaxSize)
	}
	return problems
}

// crowded says whether some request of the rule would meet two ExternalAuth filters.
func crowded(rule *model.Rule) bool {
	count := func(attached []model.Attached) int {
		n := 0
		for _, a := range attached {
			if a.Feature == string(gwv1.HTTPRouteFilterExternalAuth) {
				n++
			}
		}
		return n
	}
	most := 0
	for _, b := range rule.Backends {
		most = max(most, count(b.Attached))
	}
	return count(rule.Attached)+most > 1
}

// safePath says whether a request's path can be appended to path and mean the same to every server.
func safePath(path string) bool {
	if !pathChars.MatchString(path) {
		return false
	}
	dots := strings.ReplaceAll(strings.ToLower(path), "%2e", ".")
	segments := strings.Split(strings.Trim(strings.ReplaceAll(dots, "%2f", "/"), "/"), "/")
	return len(segments) == 1 && segments[0] == "" || !slices.ContainsFunc(segments, func(s string) bool {
		return s == "" || s == "." || s == ".."
	})
}

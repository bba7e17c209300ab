package rewrite

import (
	"fmt"
	"regexp/syntax"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Extended is the feature of the field urlRewrite of an HTTPRouteFilter (Envoy Gateway: HTTPURLRewriteFilter).
//
// The path becomes regex_rewrite, the hostname host_rewrite_header, auto_host_rewrite or host_rewrite_path_regex, and
// appendXForwardedHost append_x_forwarded_host of the RouteAction.
type Extended struct{}

var (
	_ feature.Checker      = Extended{}
	_ feature.RouteApplier = Extended{}
)

// Name returns the name of the field.
func (Extended) Name() string { return "HTTPRouteFilter.urlRewrite" }

// Check refuses regular expressions that Envoy would refuse, substitutions that do not go with theirs, and a second
// rewrite of the host or the path in the same rule or backend.
func (Extended) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.HTTPURLRewriteFilter)
	var problems []feature.Problem
	refuse := func(path string, err error) {
		if err != nil {
			problems = append(problems, feature.Problem{
				Reason: "UnsupportedValue", Message: "It cannot be rewritten so: " + err.Error(), Path: path,
			})
		}
	}
	if spec.Path != nil && spec.Path.ReplaceRegexMatch != nil {
		m := spec.Path.ReplaceRegexMatch
		refuse(".path.replaceRegexMatch", checkRegex(m.Pattern, m.Substitution))
	}
	if host := spec.Hostname; host != nil {
		refuse(".hostname", checkHost(host))
	}
	if host := spec.Hostname; host != nil && host.Header != nil {
		refuse(".hostname.header", header.CheckName(*host.Header))
	}
	if host := spec.Hostname; host != nil && host.PathRegex != nil {
		refuse(".hostname.pathRegex", checkRegex(host.PathRegex.Pattern, host.PathRegex.Substitution))
	}
	return append(problems, conflicts(a, rule)...)
}

// checkHost returns an error unless the host has what its type needs.
func checkHost(host *egv1a1.HTTPHostnameModifier) error {
	switch {
	case host.Type == egv1a1.HeaderHTTPHostnameModifier && host.Header == nil,
		host.Type == egv1a1.PathRegexHTTPHostnameModifier && host.PathRegex == nil:
		return fmt.Errorf("the type is %s, but what it names is missing: add it", host.Type)
	}
	return nil
}

// checkRegex returns what is wrong with a pattern and its substitution: where they do not fit, Envoy would leave the
// text as it is.
func checkRegex(pattern, substitution string) error {
	if err := resolve.CheckRegex(pattern); err != nil {
		return err
	}
	if err := header.CheckValue(substitution); err != nil {
		return err
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return err
	}
	groups := parsed.MaxCap()
	for i := 0; i < len(substitution); i++ {
		if substitution[i] != '\\' {
			continue
		}
		i++
		switch {
		case i < len(substitution) && substitution[i] == '\\':
		case i == len(substitution) || substitution[i] < '0' || substitution[i] > '9':
			return fmt.Errorf(`the substitution %q has a backslash without a digit: write \\ for a backslash`, substitution)
		case int(substitution[i]-'0') > groups:
			return fmt.Errorf(`the substitution %q names group \%c, but the pattern has %d: add it or leave it out`,
				substitution, substitution[i], groups)
		}
	}
	return nil
}

// part says what a configuration rewrites.
type part struct{ host, path bool }

func partOf(a model.Attached) part {
	switch spec := a.Spec.(type) {
	case *egv1a1.HTTPURLRewriteFilter:
		return part{host: spec.Hostname != nil, path: spec.Path != nil}
	case *gwv1.HTTPURLRewriteFilter:
		return part{host: spec.Hostname != nil, path: spec.Path != nil}
	case *gwv1.HTTPHeaderFilter:
		for _, h := range spec.Set {
			if header.IsHost(string(h.Name)) && a.Feature == string(gwv1.HTTPRouteFilterRequestHeaderModifier) {
				return part{host: true}
			}
		}
	}
	return part{}
}

// conflicts says which part of the request another filter at the same place rewrites too, and that there is nothing to
// rewrite where requests are redirected.
func conflicts(a model.Attached, rule *model.Rule) []feature.Problem {
	own := partOf(a)
	for _, other := range feature.Beside(a, rule) {
		if feature.Same(a, other) {
			continue
		}
		what, theirs := "", partOf(other)
		switch {
		case own.path && theirs.path:
			what = "The path is rewritten by " + other.Feature + " too"
		case own.host && theirs.host:
			what = "The host is rewritten by " + other.Feature + " too"
		case other.Feature == string(gwv1.HTTPRouteFilterRequestRedirect) && (own.path || own.host):
			what = "Requests are redirected"
		default:
			continue
		}
		return []feature.Problem{{Reason: "IncompatibleFilters", Message: what + ": keep one of the filters"}}
	}
	return nil
}

// ApplyRoute rewrites the host and path of requests. As in [Feature.ApplyRoute], what is said of a backend replaces
// what is said of its rule.
func (Extended) ApplyRoute(r *feature.Route, a model.Attached) {
	action := r.Action()
	if action == nil {
		return
	}
	spec := a.Spec.(*egv1a1.HTTPURLRewriteFilter)
	if host := spec.Hostname; host != nil {
		setHost(action, host)
		action.AppendXForwardedHost = true
	}
	if spec.AppendXForwardedHost != nil {
		action.AppendXForwardedHost = *spec.AppendXForwardedHost && action.GetHostRewriteSpecifier() != nil
	}
	if spec.Path != nil && spec.Path.ReplaceRegexMatch != nil {
		m := spec.Path.ReplaceRegexMatch
		action.PrefixRewrite, action.RegexRewrite = "", substitute(m.Pattern, m.Substitution)
	}
}

func setHost(action *routev3.RouteAction, host *egv1a1.HTTPHostnameModifier) {
	switch host.Type {
	case egv1a1.HeaderHTTPHostnameModifier:
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteHeader{HostRewriteHeader: *host.Header}
	case egv1a1.BackendHTTPHostnameModifier:
		action.HostRewriteSpecifier = &routev3.RouteAction_AutoHostRewrite{AutoHostRewrite: wrapperspb.Bool(true)}
	case egv1a1.PathRegexHTTPHostnameModifier:
		action.HostRewriteSpecifier = &routev3.RouteAction_HostRewritePathRegex{
			HostRewritePathRegex: substitute(host.PathRegex.Pattern, host.PathRegex.Substitution),
		}
	}
}

func substitute(pattern, substitution string) *matcherv3.RegexMatchAndSubstitute {
	return &matcherv3.RegexMatchAndSubstitute{
		Pattern: &matcherv3.RegexMatcher{Regex: pattern}, Substitution: substitution,
	}
}

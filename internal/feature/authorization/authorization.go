// Package authorization is SecurityPolicy.authorization: decide by who sent a request, and what it is for, whether it
// may pass.
//
// It is Envoy's rbac with a matcher: a list of rules, of which the first that matches decides, and an action for all
// other requests (on_no_match), which is to deny them. All that a rule says must hold (and_matcher), and one of several
// values (or_matcher).
//
// clientCIDRs are matched with the client's address as Envoy has it, behind what detects it (SourceIPInput). jwt is
// matched with what jwt_authn writes to its dynamic metadata under the name of the provider, which has to be one of the
// same policy: then no other filter writes there. methods, path and headers are matched with the request's headers,
// cel with its attributes. A claim, header or attribute that is not there does not match. A header with several values
// is denied for one of them, and allowed only for a value that is there alone.
//
// Connections of TLSRoutes and TCPRoutes are let in by clientCIDRs: the ranges of addresses that the rules come to are
// the source_prefix_ranges of their filter chain. Others have none and are closed.
//
// clientIPGeoLocations are matched with what geoip finds of the client's address, again as Envoy has it, in the
// databases of the EnvoyProxy (geoIP). It writes that to headers: those that clients bring are removed before, and
// backends do not see any. What is not found does not match, but an address that is in no database of anonymous ones is
// none of these.
//
// The path is matched without the query, also by regular expressions, so that nobody gets around a rule by adding one.
package authorization

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/predicate"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of SecurityPolicy.authorization.
type Feature struct{}

var (
	_ feature.Checker     = Feature{}
	_ feature.FilterUser  = Feature{}
	_ feature.Guard       = Feature{}
	_ feature.StreamGuard = Feature{}
	_ feature.Locator     = Feature{}
)

const filter = "envoy.filters.http.rbac"

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".authorization" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// HTTPFilters adds the filter that decides.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.Authorization)
	otherwise := egv1a1.AuthorizationActionDeny
	if spec.DefaultAction != nil {
		otherwise = *spec.DefaultAction
	}
	tree := &xdsmatcherv3.Matcher{OnNoMatch: action("default", otherwise)}
	var list []*xdsmatcherv3.Matcher_MatcherList_FieldMatcher
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		list = append(list, &xdsmatcherv3.Matcher_MatcherList_FieldMatcher{
			Predicate: predicate.All(conditions(rule)), OnMatch: action(nameOf(rule, i), rule.Action),
		})
	}
	if len(list) > 0 { // Envoy takes no empty list
		tree.MatcherType = &xdsmatcherv3.Matcher_MatcherList_{
			MatcherList: &xdsmatcherv3.Matcher_MatcherList{Matchers: list},
		}
	}
	locate(s, a)
	s.Add(filter, &rbacv3.RBAC{Matcher: tree})
	forget(s, a)
}

// nameOf returns the name by which Envoy says in its logs which rule decided.
func nameOf(rule *egv1a1.AuthorizationRule, index int) string {
	if rule.Name != nil && *rule.Name != "" {
		return *rule.Name
	}
	return fmt.Sprintf("rules[%d]", index)
}

// action is what is done with a request. Everything but Allow denies it.
func action(name string, do egv1a1.AuthorizationAction) *xdsmatcherv3.Matcher_OnMatch {
	config := &rbacconfigv3.Action{Name: name, Action: rbacconfigv3.RBAC_DENY}
	if do == egv1a1.AuthorizationActionAllow {
		config.Action = rbacconfigv3.RBAC_ALLOW
	}
	return &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
		Action: &xdscorev3.TypedExtensionConfig{Name: name, TypedConfig: feature.Pack(config)},
	}}
}

// conditions returns what a request has to be for a rule to match it.
func conditions(rule *egv1a1.AuthorizationRule) []*predicate.Predicate {
	var out []*predicate.Predicate
	if op := rule.Operation; op != nil {
		if len(op.Methods) > 0 {
			out = append(out, methods(op.Methods))
		}
		if op.Path != nil {
			out = append(out, path(op.Path))
		}
	}
	if who := rule.Principal; who != nil {
		if len(who.ClientCIDRs) > 0 {
			out = append(out, addresses(who.ClientCIDRs))
		}
		if len(who.ClientIPGeoLocations) > 0 {
			out = append(out, places(who.ClientIPGeoLocations))
		}
		if who.JWT != nil {
			out = append(out, token(who.JWT)...)
		}
		for _, h := range who.Headers {
			out = append(out, listed(h, rule.Action))
		}
	}
	if rule.CEL != nil {
		if parsed, err := parse(string(*rule.CEL)); err == nil { // refused by Check
			out = append(out, expression(parsed))
		}
	}
	return out
}

// listed matches a header with values. Whoever sends a header can send it twice, and proxies append to it: so a rule
// that denies looks for its values among all of them, and one that allows matches only what is there alone.
func listed(h egv1a1.AuthorizationHeaderMatch, action egv1a1.AuthorizationAction) *predicate.Predicate {
	if action == egv1a1.AuthorizationActionDeny {
		return headerAmong(h.Name, h.Values)
	}
	return headerValue(h.Name, h.Values, false)
}

func methods(list []gwv1.HTTPMethod) *predicate.Predicate {
	values := make([]string, len(list))
	for i, method := range list {
		values[i] = string(method)
	}
	return headerValue(":method", values, true)
}

// path matches paths whatever their query is. A semicolon begins parameters of the last segment, which servers leave
// out when they look for what the path names.
func path(spec *egv1a1.PathMatch) *predicate.Predicate {
	var regex string
	switch kind, value := pathType(spec), spec.Value; kind {
	case gwv1.PathMatchRegularExpression:
		regex = "(?:" + value + ")(?:[?#].*)?"
	case gwv1.PathMatchExact:
		regex = regexp.QuoteMeta(value) + "(?:[?#;].*)?"
	default:
		regex = regexp.QuoteMeta(strings.TrimSuffix(value, "/")) + "(?:[/?#;].*)?"
	}
	p := predicate.Text("path", requestHeader(":path"), predicate.Matching(regex))
	if spec.Invert != nil && *spec.Invert {
		return predicate.Not(p)
	}
	return p
}

func pathType(spec *egv1a1.PathMatch) gwv1.PathMatchType {
	if spec.Type == nil {
		return gwv1.PathMatchPathPrefix
	}
	return *spec.Type
}

// token matches claims of a token. Scopes are in one of two claims.
func token(who *egv1a1.JWTPrincipal) []*predicate.Predicate {
	var out []*predicate.Predicate
	for _, scope := range who.Scopes {
		out = append(out, predicate.Any([]*predicate.Predicate{
			claim(who.Provider, "scope", inList(string(scope))), claim(who.Provider, "scp", inList(string(scope))),
		}))
	}
	for _, c := range who.Claims {
		var values []*predicate.Predicate
		for _, value := range c.Values {
			want := exactly(value)
			if c.ValueType != nil && *c.ValueType == egv1a1.JWTClaimValueTypeStringArray {
				want = inList(value)
			}
			values = append(values, claim(who.Provider, c.Name, want))
		}
		out = append(out, predicate.Any(values))
	}
	return out
}

// ranges returns the addresses that CIDRs are for.
func ranges(list []egv1a1.CIDR) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		prefix, err := netip.ParsePrefix(string(text))
		if err != nil {
			return nil, fmt.Errorf("%q is no range of addresses: write it like 192.0.2.0/24 or 2001:db8::/64", text)
		}
		out = append(out, prefix.Masked())
	}
	return out, nil
}

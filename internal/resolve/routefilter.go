package resolve

import (
	"fmt"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// directResponse is the feature of the field of that name. A rule with it needs no backends.
const directResponse = "HTTPRouteFilter.directResponse"

// routeFilter is what an HTTPRouteFilter asks of the rules and backends that refer to it.
type routeFilter struct {
	// Attached is what it asks of features.
	Attached []model.Attached
	// Cookies are the alternatives of spec.matches: of one of them all cookies have to match.
	Cookies [][]model.NamedMatch
	// Extensions are the objects that it stands for, if it is for an extension server.
	Extensions []model.Extension
	// Report says what cannot be applied. Its paths are those of the HTTPRouteFilter, which has no status: the routes that
	// refer to it have it in theirs.
	Report status.Report
}

func (t *Tables) addRouteFilters(e *incr.Engine) {
	t.routeFilters = incr.NewTable(e, "route filters", t.routeFilter, t.in.routeFilters)
}

func routeFilterRef(name model.Name) model.Ref {
	return model.Ref{Group: model.GroupEnvoyGateway, Kind: model.KindHTTPRouteFilter, Name: name}
}

func (t *Tables) routeFilter(r *incr.Reader, key model.Name) (*routeFilter, bool) {
	o, ok := incr.Get(r, t.in.routeFilters, key)
	if !ok {
		return nil, false
	}
	v := routeFilterResolver{t: t, r: r, ref: routeFilterRef(key), routeFilter: &routeFilter{}}
	for _, field := range takeApart(&o.Spec) {
		if matches, ok := field.Value.([]egv1a1.HTTPRouteMatchFilter); ok {
			v.cookies(matches)
			continue
		}
		v.attach(field)
	}
	return v.routeFilter, true
}

// routeFilterResolver resolves one HTTPRouteFilter.
type routeFilterResolver struct {
	t   *Tables
	r   *incr.Reader
	ref model.Ref
	*routeFilter
}

// attach adds a field of the spec with the objects that it refers to.
func (v *routeFilterResolver) attach(field asked) {
	a := model.Attached{
		Feature: featureOf(model.KindHTTPRouteFilter, field.Name), Spec: field.Value,
		Path: "spec." + field.Name, Source: v.ref,
	}
	if v.t.opts.References != nil {
		for _, ref := range v.t.opts.References(a) {
			object, reason, message := v.t.object(v.r, v.ref, ref.Object)
			if reason != "" {
				v.issue(status.ResolvedRefs, reason, ref.Path, message)
			}
			a.Objects = append(a.Objects, object)
		}
	}
	v.Attached = append(v.Attached, a)
}

func (v *routeFilterResolver) issue(condition, reason, path, message string) {
	v.Report = append(v.Report, status.Issue{
		Object: v.ref, Condition: condition, Reason: reason, Path: path, Message: message,
	})
}

// cookies resolves spec.matches.
func (v *routeFilterResolver) cookies(matches []egv1a1.HTTPRouteMatchFilter) {
	for i := range matches {
		var all []model.NamedMatch
		for j, c := range matches[i].Cookies {
			m := model.NamedMatch{Name: c.Name, ValueMatch: model.ValueMatch{Type: model.Exact, Value: c.Value}}
			if deref(c.Type, egv1a1.CookieMatchExact) == egv1a1.CookieMatchRegularExpression {
				m.Type = model.Regex
				if err := CheckRegex(c.Value); err != nil {
					path := fmt.Sprintf("spec.matches[%d].cookies[%d].value", i, j)
					v.issue(status.Accepted, status.ReasonUnsupportedValue, path, err.Error())
				}
			}
			all = append(all, m)
		}
		v.Cookies = append(v.Cookies, all)
	}
}

// extension returns what a filter of type ExtensionRef asks for, or why it cannot be applied. The object is always in
// the namespace of the route.
func (b *ruleBuilder) extension(ref *gwv1.LocalObjectReference, path string) (*routeFilter, string) {
	if b.t.extends(string(ref.Group), string(ref.Kind)) {
		return b.foreign(model.Ref{
			Group: string(ref.Group), Kind: string(ref.Kind),
			Name: model.Name{Namespace: b.key.Namespace, Name: string(ref.Name)},
		}, path)
	}
	if string(ref.Group) != model.GroupEnvoyGateway || string(ref.Kind) != model.KindHTTPRouteFilter {
		b.issue(status.ResolvedRefs, status.ReasonInvalidKind, path,
			fmt.Sprintf("%s of group %q is not a filter that this version of Sluice knows: use an HTTPRouteFilter of group %s",
				ref.Kind, ref.Group, model.GroupEnvoyGateway))
		return nil, status.ReasonInvalidKind
	}
	name := model.Name{Namespace: b.key.Namespace, Name: string(ref.Name)}
	found, ok := incr.Get(b.r, b.t.routeFilters, name)
	if !ok {
		b.issue(status.ResolvedRefs, status.ReasonBackendNotFound, path,
			fmt.Sprintf("%s does not exist", routeFilterRef(name)))
		return nil, status.ReasonBackendNotFound
	}
	for _, issue := range found.Report {
		b.issue(issue.Condition, issue.Reason, path, fmt.Sprintf("%s, %s: %s", issue.Object, issue.Path, issue.Message))
	}
	out := &routeFilter{Cookies: found.Cookies, Attached: slices.Clone(found.Attached)}
	for i := range out.Attached {
		out.Attached[i].Via = path
	}
	return out, found.Report.Reason()
}

// cookies restricts the rule to requests that one of the alternatives of a filter matches too. Only one filter of a
// rule may do so, as Envoy Gateway has it: whether those of several are alternatives or conditions nobody could tell.
func (b *ruleBuilder) cookies(alternatives [][]model.NamedMatch, path string) {
	switch {
	case len(alternatives) == 0:
		return
	case b.restricted:
		b.issue(status.Accepted, status.ReasonUnsupportedValue, path,
			"Another filter of the rule has matches already: keep them in one HTTPRouteFilter")
		b.fail(status.ReasonUnsupportedValue)
		return
	}
	b.restricted = true
	var out []model.Match
	for _, m := range b.Matches {
		for _, cookies := range alternatives {
			m.Cookies = cookies
			out = append(out, m)
		}
	}
	b.Matches = out
}

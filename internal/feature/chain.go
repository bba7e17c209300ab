package feature

import (
	"fmt"
	"net/netip"
	"slices"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Chain is the ordered list of features. The order is that in which HTTP filters run in Envoy and in which features
// are applied to a route.
type Chain struct {
	features []Feature
	rank     map[string]int
}

// NewChain returns the chain of the given features. It panics if two have the same name: that is a mistake in the
// program.
func NewChain(features ...Feature) *Chain {
	c := &Chain{features: features, rank: make(map[string]int, len(features))}
	for i, f := range features {
		if _, dup := c.rank[f.Name()]; dup {
			panic("feature: two features are named " + f.Name())
		}
		c.rank[f.Name()] = i
	}
	return c
}

// Features returns the features in chain order.
func (c *Chain) Features() []Feature { return slices.Clone(c.features) }

// Check asks the features for what they refuse in a route. A rule with a problem gets a Fault, so that its requests
// are answered with 500 rather than served without what was asked for.
func (c *Chain) Check(route *model.Route) status.Report {
	var report status.Report
	for i := range route.Rules {
		rule := &route.Rules[i]
		for _, a := range everyAttached(rule) {
			for _, p := range c.check(a, rule) {
				issue := status.Issue{
					Object: route.Key.Ref(), Section: status.Section{Rule: i + 1}, Condition: status.Accepted,
					Reason: p.Reason, Message: p.Message, Path: a.Path + p.Path,
				}
				if a.Via != "" {
					issue.Path, issue.Message = a.Via, a.Source.String()+", "+issue.Path+": "+issue.Message
				}
				report = append(report, issue)
				if rule.Fault == nil {
					rule.Fault = &model.Fault{Status: 500, Why: p.Reason}
				}
			}
		}
	}
	return report
}

// CheckAttached asks the features for what they refuse of what is attached to anything but a route: to a listener, to a
// backend. The issues have their Path, but neither Object nor Section.
func (c *Chain) CheckAttached(attached []model.Attached) status.Report {
	var report status.Report
	for _, a := range attached {
		report = append(report, issues(a, c.check(a, &model.Rule{Attached: attached}))...)
	}
	return report
}

func (c *Chain) check(a model.Attached, rule *model.Rule) []Problem {
	rank, ok := c.rank[a.Feature]
	if !ok {
		return []Problem{{
			Reason:  "UnsupportedValue",
			Message: fmt.Sprintf("%s is not supported by this version of Sluice: remove it", a.Feature),
		}}
	}
	if f, ok := c.features[rank].(Checker); ok {
		return f.Check(a, rule)
	}
	return nil
}

// ApplyRoute applies the attached configurations to a route in chain order.
func (c *Chain) ApplyRoute(r *Route, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(RouteApplier); ok {
			f.ApplyRoute(r, a)
		}
	}
}

// ApplyCluster applies what is attached to a backend to its cluster, in chain order.
func (c *Chain) ApplyCluster(cluster *Cluster, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(ClusterApplier); ok {
			f.ApplyCluster(cluster, a)
		}
	}
}

// ApplyEndpoints applies what is attached to a backend to its endpoints, in chain order.
func (c *Chain) ApplyEndpoints(endpoints *endpointv3.ClusterLoadAssignment, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(EndpointApplier); ok {
			f.ApplyEndpoints(endpoints, a)
		}
	}
}

// ApplyListener applies what policies of a Gateway ask for to one of its listeners, in chain order.
func (c *Chain) ApplyListener(l *Listener, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(ListenerApplier); ok {
			f.ApplyListener(l, a)
		}
	}
}

// ApplyHost applies what is asked for all of a proxy to a virtual host, in chain order.
func (c *Chain) ApplyHost(h *routev3.VirtualHost, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(HostApplier); ok {
			f.ApplyHost(h, a)
		}
	}
}

// AccessLogs returns the access logs that policies ask for, in chain order.
func (c *Chain) AccessLogs(attached []model.Attached) *Logs {
	out := &Logs{}
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(Logger); ok {
			f.AccessLogs(out, a)
		}
	}
	return out
}

// PortSettings returns what is asked of a whole port, as a text to compare; empty for nothing: see [PortApplier].
func (c *Chain) PortSettings(a model.Attached) string {
	if f, ok := c.feature(a.Feature).(PortApplier); ok {
		return f.PortSettings(a)
	}
	return ""
}

// ApplyPort applies what all listeners of a port ask of it, in chain order.
func (c *Chain) ApplyPort(p *Port, attached []model.Attached) {
	for _, a := range c.sorted(attached) {
		if f, ok := c.features[c.rank[a.Feature]].(PortApplier); ok {
			f.ApplyPort(p, a)
		}
	}
}

// CheckListener returns why a listener cannot have what is asked of a feature: see [ListenerChecker]. The issues have
// Path, Reason and Message.
func (c *Chain) CheckListener(a model.Attached, l *model.Listener, hostnames []string) status.Report {
	f, ok := c.feature(a.Feature).(ListenerChecker)
	if !ok {
		return nil
	}
	return issues(a, f.CheckListener(a, l, hostnames))
}

// issues are the problems of what is attached as issues without an object.
func issues(a model.Attached, problems []Problem) status.Report {
	var report status.Report
	for _, p := range problems {
		report = append(report, status.Issue{
			Condition: status.Accepted, Reason: p.Reason, Message: p.Message, Path: a.Path + p.Path,
		})
	}
	return report
}

// UsesProxy reports whether a feature needs what the EnvoyProxy of the Gateway registers: see [ProxyUser].
func (c *Chain) UsesProxy(name string) bool {
	_, ok := c.feature(name).(ProxyUser)
	return ok
}

// CheckProxy returns what of a is not registered: see [ProxyUser]. The issues have Path, Reason and Message.
func (c *Chain) CheckProxy(a model.Attached) status.Report {
	f, ok := c.feature(a.Feature).(ProxyUser)
	if !ok {
		return nil
	}
	return issues(a, f.CheckProxy(a))
}

// OverQUIC reports whether what is asked of a feature is that clients reach a listener by QUIC too: see [QUICUser].
func (c *Chain) OverQUIC(a model.Attached) bool {
	f, ok := c.feature(a.Feature).(QUICUser)
	return ok && f.OverQUIC(a)
}

// Filters adds the HTTP filters that the attached configurations need to s: filters of a listener in the order in which
// they were written, all else in chain order.
func (c *Chain) Filters(s *Scope, attached []model.Attached) {
	list := c.sorted(attached)
	slices.SortStableFunc(list, func(a, b model.Attached) int { return a.Index - b.Index })
	s.Attached = attached
	for _, a := range list {
		if _, apart := c.features[c.rank[a.Feature]].(Apart); apart && s.Route == nil {
			continue
		}
		if f, ok := c.features[c.rank[a.Feature]].(FilterUser); ok {
			s.guard, s.adding = c.Guards(a.Feature), c.rank[a.Feature]
			f.HTTPFilters(s, a)
		}
	}
}

// References returns the references to other objects in what is asked of a feature, none if there is no such feature.
func (c *Chain) References(a model.Attached) []resolve.Reference {
	if f, ok := c.feature(a.Feature).(Referrer); ok {
		return f.References(a)
	}
	return nil
}

// Guards reports whether a feature keeps requests away from backends: see [Guard].
func (c *Chain) Guards(name string) bool {
	_, ok := c.feature(name).(Guard)
	return ok
}

// Opens reports whether requests are to pass what guards them while it cannot be applied: see [Opener].
func (c *Chain) Opens(a model.Attached) bool {
	f, ok := c.feature(a.Feature).(Opener)
	return ok && f.Opens(a)
}

// Clusters reports whether what is asked of a feature shapes the clusters of backends or their endpoints: see
// [ClusterApplier], [EndpointApplier], [ServiceRouter] and [ClusterChooser].
func (c *Chain) Clusters(a model.Attached) bool {
	f := c.feature(a.Feature)
	if chooser, ok := f.(ClusterChooser); ok && !chooser.ShapesCluster(a) {
		return false
	}
	_, cluster := f.(ClusterApplier)
	_, endpoints := f.(EndpointApplier)
	_, router := f.(ServiceRouter)
	return cluster || endpoints || router
}

// ShapesStreams reports whether what is asked of a feature shapes how connections and packets are passed on to
// backends, whatever they carry.
func (c *Chain) ShapesStreams(a model.Attached) bool {
	_, http := c.feature(a.Feature).(HTTPShaper)
	return !http && c.Clusters(a)
}

// GuardsStreams reports whether a feature can say who may make connections: see [StreamGuard].
func (c *Chain) GuardsStreams(name string) bool {
	_, ok := c.feature(name).(StreamGuard)
	return ok
}

// CheckStream returns what is asked of a [StreamGuard] that connections do not have. The issues have Path, Reason and
// Message.
func (c *Chain) CheckStream(a model.Attached) status.Report {
	f, ok := c.feature(a.Feature).(StreamGuard)
	if !ok {
		return nil
	}
	return issues(a, f.CheckStream(a))
}

// CheckPlaces returns what is asked of a [Locator] that no database has. The issues have Path, Reason and Message.
func (c *Chain) CheckPlaces(a model.Attached) status.Report {
	f, ok := c.feature(a.Feature).(Locator)
	if !ok {
		return nil
	}
	return issues(a, f.CheckPlaces(a))
}

// Sources returns the ranges of the addresses from which connections are let in; false if they are from anywhere. No
// more than one of what is attached can be for a [StreamGuard].
func (c *Chain) Sources(attached []model.Attached) (ranges []netip.Prefix, limited bool) {
	for _, a := range attached {
		if f, ok := c.feature(a.Feature).(StreamGuard); ok {
			return f.Sources(a), true
		}
	}
	return nil, false
}

// ToService reports whether the attached configurations of a backend have requests sent to the address of its Service.
// The last one that says something of it holds: the more specific ones come behind the others.
func (c *Chain) ToService(attached []model.Attached) bool {
	out := false
	for _, a := range attached {
		if f, ok := c.feature(a.Feature).(ServiceRouter); ok {
			out = f.ToService(a)
		}
	}
	return out
}

// Apart reports whether some of the attached configurations are for features that count for each route by itself.
func (c *Chain) Apart(attached []model.Attached) bool {
	return slices.ContainsFunc(attached, func(a model.Attached) bool {
		_, ok := c.feature(a.Feature).(Apart)
		return ok
	})
}

// feature returns the feature of a name, nil if there is none.
func (c *Chain) feature(name string) Feature {
	if rank, ok := c.rank[name]; ok {
		return c.features[rank]
	}
	return nil
}

// Filtered reports whether some of the attached configurations are for features that are made of HTTP filters.
func (c *Chain) Filtered(attached []model.Attached) bool {
	return slices.ContainsFunc(attached, func(a model.Attached) bool {
		_, ok := c.feature(a.Feature).(FilterUser)
		return ok
	})
}

// Standing returns the filters that every listener has, in chain order.
func (c *Chain) Standing() []HTTPFilter {
	var out []HTTPFilter
	for _, f := range c.features {
		if s, ok := f.(Stander); ok {
			out = append(out, s.Standing()...)
		}
	}
	return out
}

// Pins reports whether a feature of the rule holds clients to an endpoint: see [Pinner].
func (c *Chain) Pins(rule *model.Rule) bool {
	return slices.ContainsFunc(c.sorted(rule.Attached), func(a model.Attached) bool {
		_, ok := c.features[c.rank[a.Feature]].(Pinner)
		return ok
	})
}

// Matches returns the matches of a rule, with those that its features need, and those of policies that hold for it.
func (c *Chain) Matches(rule *model.Rule, policies []model.Attached) []model.Match {
	out := slices.Clone(rule.Matches)
	for _, a := range c.sorted(slices.Concat(policies, everyAttached(rule))) {
		f, ok := c.features[c.rank[a.Feature]].(Matcher)
		if !ok {
			continue
		}
		for _, m := range rule.Matches {
			out = append(out, f.Matches(a, rule, m)...)
		}
	}
	return out
}

// sorted returns the attached configurations that have a feature, in chain order; those of one feature stay in the
// order of the spec.
func (c *Chain) sorted(attached []model.Attached) []model.Attached {
	out := make([]model.Attached, 0, len(attached))
	for _, a := range attached {
		if _, ok := c.rank[a.Feature]; ok {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b model.Attached) int { return c.rank[a.Feature] - c.rank[b.Feature] })
	return out
}

func everyAttached(rule *model.Rule) []model.Attached {
	out := slices.Clone(rule.Attached)
	for _, b := range rule.Backends {
		out = append(out, b.Attached...)
	}
	return out
}

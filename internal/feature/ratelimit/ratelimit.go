// Package ratelimit is the field rateLimit of BackendTrafficPolicy: how many requests of some kind may pass in a
// second, a minute, ... a year.
//
// Local limits are Envoy's local_ratelimit, with token buckets in each Envoy. Global limits are Envoy's ratelimit,
// which asks `sluice ratelimit`, the same for all Envoys of a fleet. Both take what identifies a request, and what it
// costs, from the actions of envoy.config.route.v3.RateLimit; the descriptors of a global limit hold the limit too, so
// that the service needs no configuration (see the package internal/ratelimit).
//
// It guards: while it cannot be applied, the requests that it is for are answered with 500.
package ratelimit

import (
	"fmt"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the field rateLimit of BackendTrafficPolicy.
type Feature struct {
	// Service is how Envoys ask about global limits; nil refuses policies with global limits.
	Service *Service
}

// Service is how an Envoy asks about global limits.
type Service struct {
	// Timeout is how long a request waits for the answer (RateLimit.timeout), 0 for DefaultTimeout.
	Timeout time.Duration
	// FailClosed has requests answered with 500 while there is no answer (RateLimit.failure_mode_deny).
	FailClosed bool
}

// DefaultTimeout is the most that the service can add to a request.
const DefaultTimeout = 10 * time.Millisecond

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.rateLimit" }

// Guards does nothing: having it is what counts.
func (Feature) Guards() {}

// The names of the filters, which are also those of their kinds.
const (
	localFilter  = "envoy.filters.http.local_ratelimit"
	globalFilter = "envoy.filters.http.ratelimit"
)

// Check refuses what cannot be matched or counted.
func (f Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	c := &checker{}
	global, local := limits(a)
	if f.Service == nil && len(global) > 0 {
		c.refuse(".global", "Global rate limits need the service that counts requests, which does not run here: set "+
			"rateLimit.enabled in the chart, or use local limits")
	}
	spec := a.Spec.(*egv1a1.RateLimitSpec)
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if t := spec.Type; t != nil {
		if *t == egv1a1.GlobalRateLimitType && spec.Global == nil || *t == egv1a1.LocalRateLimitType && spec.Local == nil {
			c.refuse(".type", "The type is %s, and there are no such limits: write them, or remove the type", *t)
		}
	}
	for _, r := range global {
		c.rule(r, ".global")
	}
	for _, r := range local {
		c.rule(r, ".local")
		if r.spec.Cost != nil && r.spec.Cost.Response != nil {
			c.refuse(r.path(".local")+".cost.response", "Local limits cannot count the cost of responses: use a global limit")
		}
		if r.spec.Limit.FromMetadata != nil {
			c.refuse(r.path(".local")+".limit.fromMetadata", "Local limits cannot be taken from metadata: use a global limit")
		}
	}
	if len(c.problems) == 0 && len(branches(local)) > maxBranches {
		c.refuse(".local.rules", "The rule without clientSelectors is for requests that none of the others is for, and "+
			"the others have too many conditions to tell these: use fewer conditions")
	}
	return c.problems
}

// HTTPFilters adds the filters, the local one first: what it refuses nobody has to be asked about.
func (f Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	global, local := limits(a)
	if len(local) > 0 {
		s.Add(localFilter, localConfig(local, s.Route == nil))
	}
	if len(global) > 0 {
		s.Add(globalFilter, f.globalConfig(global))
	}
}

// rule is a rule with where it was written.
type rule struct {
	spec *egv1a1.RateLimitRule
	// policy is the one that it was written in, index its place there.
	policy model.Ref
	index  int
	// own says that it was written in the policy that is checked, and not in the one that this is merged with.
	own bool
}

// path is the field of the rule, relative to that of the feature.
func (r rule) path(list string) string { return fmt.Sprintf("%s.rules[%d]", list, r.index) }

// name tells the rule apart from those of all policies.
func (r rule) name() string { return fmt.Sprintf("%s/%d", r.policy.Name, r.index) }

// limits returns the rules of both kinds. With mergeType StrategicMerge those of the policy of the listener come first,
// under their own names: the counters that they share with other routes stay the same.
func limits(a model.Attached) (global, local []rule) {
	spec := a.Spec.(*egv1a1.RateLimitSpec)
	var below *egv1a1.RateLimitSpec
	if a.Under != nil {
		below = a.Under.Spec.(*egv1a1.RateLimitSpec)
	}
	of := func(rules func(*egv1a1.RateLimitSpec) []egv1a1.RateLimitRule) []rule {
		if below == nil || len(rules(below)) == 0 {
			return list(rules(spec), a.Source, true)
		}
		under := list(rules(below), a.Under.Source, false)
		if sameRules(rules(spec), rules(below)) {
			return under // the policy itself has none
		}
		own := list(rules(spec), a.Source, true)
		if !a.Under.Strategic {
			return own
		}
		return append(under, own...)
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	only := func(t egv1a1.RateLimitType) bool { return spec.Type == nil || *spec.Type == t }
	if only(egv1a1.GlobalRateLimitType) {
		global = of(func(s *egv1a1.RateLimitSpec) []egv1a1.RateLimitRule {
			if s.Global == nil {
				return nil
			}
			return s.Global.Rules
		})
	}
	if only(egv1a1.LocalRateLimitType) {
		local = of(func(s *egv1a1.RateLimitSpec) []egv1a1.RateLimitRule {
			if s.Local == nil {
				return nil
			}
			return s.Local.Rules
		})
	}
	return global, local
}

func list(rules []egv1a1.RateLimitRule, policy model.Ref, own bool) []rule {
	var out []rule
	for i := range rules {
		out = append(out, rule{spec: &rules[i], policy: policy, index: i, own: own})
	}
	return out
}

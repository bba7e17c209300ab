package ratelimit

import (
	"fmt"
	"math"
	"slices"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	count "github.com/sluice-gateway/sluice/internal/ratelimit"
)

// maxValues is how many values of a rule have a bucket of their own at a time, the ones used last: Envoy Gateway's
// number.
const maxValues = 10_000

// maxBranches bounds what tells requests that no rule is for: see branches.
const maxBranches = 64

// localConfig is the filter that counts by itself. perRoute has each route counted apart, where the filter serves
// several; else each has a filter.
func localConfig(rules []rule, perRoute bool) *filterv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{
		DefaultValue: &typev3.FractionalPercent{Numerator: 100, Denominator: typev3.FractionalPercent_HUNDRED},
	}
	out := &filterv3.LocalRateLimit{
		StatPrefix: "policy", FilterEnabled: all, FilterEnforced: all,
		EnableXRatelimitHeaders: commonv3.XRateLimitHeadersRFCVersion_DRAFT_VERSION_03,
		EnableRetryAfterHeader:  true,
		// Required, and never empty. Every limit is a descriptor, whose interval must be a multiple of this one's.
		TokenBucket:                     bucket(math.MaxUint32, time.Second),
		AlwaysConsumeDefaultTokenBucket: wrapperspb.Bool(false),
		MaxDynamicDescriptors:           wrapperspb.UInt32(maxValues),
	}
	for i, r := range rules {
		l := &localRule{rule: r, perRoute: perRoute}
		l.begin(i)
		if len(r.spec.ClientSelectors) == 0 {
			l.addRest(branches(rules))
		} else {
			l.addConditions(r.conditions())
		}
		l.finish(out)
	}
	return out
}

// localRule is a rule on its way to a bucket, and lists of actions of which each leads a request there.
type localRule struct {
	rule
	perRoute bool
	common   []*routev3.RateLimit_Action
	entries  []*commonv3.RateLimitDescriptor_Entry
	lists    [][]*routev3.RateLimit_Action
}

// begin adds what tells the rule apart.
func (l *localRule) begin(index int) {
	name := fmt.Sprint(index)
	l.common = append(l.common, constant("rule", name))
	l.entries = append(l.entries, entry("rule", name))
	if l.perRoute && (l.spec.Shared == nil || !*l.spec.Shared) {
		l.common = append(l.common, addressAction("route", routeName, anywhere, false))
		l.entries = append(l.entries, entry("route", ""))
	}
}

// entry is one of a descriptor. Without a value it is any value, with a bucket for each.
func entry(key, value string) *commonv3.RateLimitDescriptor_Entry {
	return &commonv3.RateLimitDescriptor_Entry{Key: key, Value: value}
}

// addConditions adds the conditions of the rule.
func (l *localRule) addConditions(conditions []condition) {
	actions := slices.Clone(l.common)
	for i, c := range conditions {
		key := fmt.Sprintf("match-%d", i)
		actions = append(actions, c.holds(key))
		l.entries = append(l.entries, entry(key, key))
		if c.value != nil {
			key = fmt.Sprintf("value-%d", i)
			actions = append(actions, c.value(key))
			l.entries = append(l.entries, entry(key, ""))
		}
	}
	l.lists = [][]*routev3.RateLimit_Action{actions}
}

// addRest has the rule hold for requests that no other rule is for. Each branch is a list of actions of its own. All
// lead to one bucket, so their descriptors have to be the same.
func (l *localRule) addRest(branches [][]matcher) {
	longest := 0
	for _, b := range branches {
		longest = max(longest, len(b))
	}
	const key = "none"
	for range longest {
		l.entries = append(l.entries, entry(key, key))
	}
	for _, branch := range branches {
		actions := slices.Clone(l.common)
		for _, m := range branch {
			actions = append(actions, m(key))
		}
		for range longest - len(branch) {
			actions = append(actions, constant(key, key))
		}
		l.lists = append(l.lists, actions)
	}
}

// branches returns in which ways a request can be one that no rule with selectors is for. No request is one in two
// ways. With only rules without selectors that is one way, without a condition.
//
// A rule is not for a request if its first condition fails, or the first holds and the second fails, and so on; of each
// rule one of these is true. The number of ways is the product of the numbers of conditions; beyond maxBranches it
// stops counting.
func branches(rules []rule) [][]matcher {
	out := [][]matcher{nil}
	rest := slices.ContainsFunc(rules, func(r rule) bool { return len(r.spec.ClientSelectors) == 0 })
	for _, r := range rules {
		conditions := r.conditions()
		if !rest || len(r.spec.ClientSelectors) == 0 {
			continue
		}
		var next [][]matcher
		for _, before := range out {
			for i, c := range conditions {
				branch := slices.Clone(before)
				for _, held := range conditions[:i] {
					branch = append(branch, held.holds)
				}
				next = append(next, append(branch, c.fails))
			}
		}
		if out = next; len(out) > maxBranches {
			break
		}
	}
	return out
}

// finish adds the bucket, and what leads to it.
func (l *localRule) finish(out *filterv3.LocalRateLimit) {
	unit, _ := count.ParseUnit(string(l.spec.Limit.Unit)) // Check has refused what is none
	requests, addend := l.spec.Limit.Requests, hits(nil)
	if l.spec.Cost != nil {
		addend = hits(l.spec.Cost.Request)
	}
	if requests == 0 {
		// Envoy has no empty buckets: so one token, and two for a request.
		requests, addend = 1, &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(2)}
	}
	for _, actions := range l.lists {
		out.RateLimits = append(out.RateLimits, &routev3.RateLimit{
			Actions: actions, HitsAddend: addend, XRatelimitOption: l.headers(),
		})
	}
	out.Descriptors = append(out.Descriptors, &commonv3.LocalRateLimitDescriptor{
		Entries: l.entries, TokenBucket: bucket(requests, unit.Length()),
		ShadowMode: l.spec.ShadowMode != nil && *l.spec.ShadowMode,
	})
}

func bucket(tokens uint32, interval time.Duration) *typev3.TokenBucket {
	return &typev3.TokenBucket{
		MaxTokens: tokens, TokensPerFill: wrapperspb.UInt32(tokens), FillInterval: durationpb.New(interval),
	}
}

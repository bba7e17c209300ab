package fleet

import (
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// statPrefixes are the families of which there is one per process, however large the configuration.
var statPrefixes = []string{
	"cluster_manager.",
	"control_plane.",
	"listener_manager.",
	"overload.",
	"server.",
}

// statSuffixes are what is counted for each listener, each HTTP connection manager and each cluster.
var statSuffixes = []string{
	".downstream_cx_active",
	".downstream_cx_overflow",
	".downstream_cx_total",
	".downstream_global_cx_overflow",
	".downstream_rq_1xx",
	".downstream_rq_2xx",
	".downstream_rq_3xx",
	".downstream_rq_4xx",
	".downstream_rq_5xx",
	".downstream_rq_active",
	".downstream_rq_time",
	".downstream_rq_total",
	".http_local_rate_limit.enforced",
	".http_local_rate_limit.ok",
	".http_local_rate_limit.rate_limited",
	".ratelimit.error",
	".ratelimit.failure_mode_allowed",
	".ratelimit.ok",
	".ratelimit.over_limit",
	".upstream_cx_connect_fail",
	".upstream_rq_2xx",
	".upstream_rq_4xx",
	".upstream_rq_5xx",
	".upstream_rq_total",
}

// statsConfig says which stats exist at all: stats_config. By default every cluster in use has more than a hundred,
// which is more than half of the memory that it costs; what is on the list costs a tenth of that. A cluster that is to
// have more has its own stats_matcher. more are kept besides.
func statsConfig(more []*matcherv3.StringMatcher) *metricsv3.StatsConfig {
	list := &matcherv3.ListStringMatcher{}
	for _, prefix := range statPrefixes {
		list.Patterns = append(list.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: prefix},
		})
	}
	for _, suffix := range statSuffixes {
		list.Patterns = append(list.Patterns, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: suffix},
		})
	}
	list.Patterns = append(list.Patterns, more...)
	return &metricsv3.StatsConfig{
		StatsMatcher: &metricsv3.StatsMatcher{
			StatsMatcher: &metricsv3.StatsMatcher_InclusionList{InclusionList: list},
		},
	}
}

// Package metrics is the field telemetry.metrics of an EnvoyProxy, as far as it is said to Envoys by xDS: what is
// counted for clusters and virtual hosts. What is in their bootstrap is the business of package fleet: matches, sinks
// and prometheus.
//
// enablePerEndpointStats and enableRequestResponseSizesStats are track_cluster_stats of every cluster of the Envoys,
// which then have all the stats that Envoy counts for a cluster (stats_matcher), rather than the few that are kept by
// default. clusterStatName is the alt_stat_name of clusters. A cluster is of a backend here, and shared by all routes
// to it, so of the operators only %BACKEND_REFS% has a value: the namespace and name of the backend.
// enableVirtualHostStats is a virtual cluster for all requests of each virtual host:
// vhost.HOST.vcluster.HOST.upstream_rq_total and the like, the dots in the second HOST replaced by underscores.
package metrics

import (
	"fmt"
	"regexp"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/collector"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of the field telemetry.metrics.
type Feature struct{}

var (
	_ feature.Checker        = Feature{}
	_ feature.Referrer       = Feature{}
	_ feature.ClusterApplier = Feature{}
	_ feature.HostApplier    = Feature{}
)

// statOperator is an operator in a name of stats.
var statOperator = regexp.MustCompile(`%[^%]*%?`)

// Name returns the name of the field.
func (Feature) Name() string { return "EnvoyProxy.telemetry.metrics" }

// References returns the sinks.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	spec := a.Spec.(*egv1a1.ProxyMetrics)
	for i := range spec.Sinks {
		path := fmt.Sprintf("%s.sinks[%d].openTelemetry", a.Path, i)
		if otel := spec.Sinks[i].OpenTelemetry; otel != nil {
			if ref := collector.Reference(&otel.BackendCluster, address(otel), path, model.AppGRPC); ref != nil {
				out = append(out, *ref)
			}
		}
	}
	return out
}

// address is where a sink is without backendRefs.
func address(otel *egv1a1.ProxyOpenTelemetrySink) collector.Address {
	//lint:ignore SA1019 deprecated, but part of the API and of objects that people have
	return collector.Address{Host: otel.Host, Port: otel.Port}
}

// Check refuses names of clusters that there are not, expressions that Envoy does not take, and sinks that cannot be
// reported to.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.ProxyMetrics)
	var r policy.Refusals
	for _, found := range statOperator.FindAllString(policy.Or(spec.ClusterStatName, ""), -1) {
		if found != egv1a1.StatFormatterBackendRefs {
			r.Add(".clusterStatName", "There is no operator %q: a cluster is of a backend here, whichever routes lead to it; "+
				"use %s, and telemetry.metrics.routeStatName of a BackendTrafficPolicy to count by route", found,
				egv1a1.StatFormatterBackendRefs)
		}
	}
	if policy.Or(spec.EnableGRPCStats, false) {
		r.Add(".enableGRPCStats", "The filter that counts gRPC calls is not supported: remove it")
	}
	for i := range spec.Matches {
		if m := &spec.Matches[i]; policy.Or(m.Type, egv1a1.StringMatchExact) == egv1a1.StringMatchRegularExpression {
			if err := resolve.CheckRegex(m.Value); err != nil {
				r.Add(fmt.Sprintf(".matches[%d].value", i), "Invalid regular expression: %v", err)
			}
		}
	}
	for i := range spec.Sinks {
		path := fmt.Sprintf(".sinks[%d].openTelemetry", i)
		otel := spec.Sinks[i].OpenTelemetry
		if otel == nil {
			r.Add(path, "The sink is nowhere: set it")
			continue
		}
		collector.Check(&r, path, &otel.BackendCluster, address(otel))
		collector.CheckHeaders(&r, path+".headers", otel.Headers)
		collector.CheckResource(&r, path+".resourceAttributes", otel.ResourceAttributes)
		if otel.BackendSettings != nil {
			r.Add(path+".backendSettings", "A sink is in the bootstrap of Envoy, where these do not apply: remove it")
		}
	}
	return r
}

// ApplyCluster says what is counted for a cluster, and under which name.
func (Feature) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.ProxyMetrics)
	endpoints := policy.Or(spec.EnablePerEndpointStats, false)
	sizes := policy.Or(spec.EnableRequestResponseSizesStats, false)
	if endpoints || sizes {
		c.Proto.TrackClusterStats = &clusterv3.TrackClusterStats{PerEndpointStats: endpoints, RequestResponseSizes: sizes}
		c.Proto.StatsMatcher = &metricsv3.StatsMatcher{StatsMatcher: &metricsv3.StatsMatcher_RejectAll{}}
	}
	if name := policy.Or(spec.ClusterStatName, ""); name != "" {
		c.Proto.AltStatName = strings.ReplaceAll(name, egv1a1.StatFormatterBackendRefs, backends(c.Backend.Key))
	}
}

// backends are the backends of a cluster, as the operator has them.
func backends(key model.BackendKey) string {
	if parts := key.Parts(); len(parts) > 0 {
		names := make([]string, len(parts))
		for i, p := range parts {
			names[i] = p.Backend.Name.String()
		}
		return strings.Join(names, "|")
	}
	return key.Name.String()
}

// ApplyHost has the requests of a virtual host counted.
func (Feature) ApplyHost(h *routev3.VirtualHost, a model.Attached) {
	if !policy.Or(a.Spec.(*egv1a1.ProxyMetrics).EnableVirtualHostStats, false) {
		return
	}
	h.VirtualClusters = append(h.VirtualClusters, &routev3.VirtualCluster{
		Name: strings.ReplaceAll(h.GetName(), ".", "_"),
		Headers: []*routev3.HeaderMatcher{{
			Name: ":authority", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true},
		}},
	})
}

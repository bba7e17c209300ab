package healthcheck

import (
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Log is the feature of the field telemetry.healthCheckLog of an EnvoyProxy: where active checks are written down whose
// policy says nothing of it (event_logger of every health check).
type Log struct{}

var (
	_ feature.Checker        = Log{}
	_ feature.ClusterApplier = Log{}
)

// Name returns the name of the field.
func (Log) Name() string { return "EnvoyProxy.telemetry.healthCheckLog" }

// Check refuses sinks that are nowhere.
func (Log) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var r policy.Refusals
	for i, sink := range a.Spec.(*egv1a1.ProxyHealthCheckLog).Sinks {
		if i > 0 || sink.File == nil || sink.File.Path == "" {
			r.Add(fmt.Sprintf(".sinks[%d]", i), "Envoy writes to one file: use one sink, with the path of a file")
		}
	}
	return r
}

// ApplyCluster has the checks of the cluster written down.
func (Log) ApplyCluster(c *feature.Cluster, a model.Attached) {
	for _, check := range c.Proto.GetHealthChecks() {
		if len(check.GetEventLogger()) == 0 {
			applyLog(check, a.Spec.(*egv1a1.ProxyHealthCheckLog))
		}
	}
}

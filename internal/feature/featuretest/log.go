package featuretest

import (
	"testing"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// describeLogs adds access logs, and the backends that they need, to what is written.
func describeLogs(t *testing.T, logs *feature.Logs, out map[string]any) {
	t.Helper()
	for name, logs := range map[string][]*accesslogv3.AccessLog{
		"listenerLogs": logs.Listener, "routeLogs": logs.Route, "upstreamLogs": logs.Upstream,
	} {
		var list []any
		for _, log := range logs {
			list = append(list, jsonValue(t, log))
		}
		if list != nil {
			out[name] = list
		}
	}
	var needs []string
	for _, b := range logs.Needs {
		needs = append(needs, b.String())
	}
	if needs != nil {
		out["logNeeds"] = needs
	}
}

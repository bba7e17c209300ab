package resolve

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// LaunchOptions are what the resolution of launches depends on besides the objects.
type LaunchOptions struct {
	// Check returns why no Envoy can be started as an EnvoyProxy says, each problem with its field; may be nil.
	Check func(*egv1a1.EnvoyProxySpec) error
}

// Launch is how the Envoy of a proxy without a fleet is to be started: what the EnvoyProxies of its Gateways say about
// that.
type Launch struct {
	// Spec has only the fields that Envoy has to know from its start. Where EnvoyProxies differ, that of the first by name
	// holds, as the statuses of the others say. It is never nil.
	Spec *egv1a1.EnvoyProxySpec
	// Sinks are where metrics are sent (telemetry.metrics.sinks of Spec), in the order of the spec.
	Sinks []FleetSink
	// Hold is why it is not known how the Envoy should be started; empty if it is. One that runs then stays as it is.
	Hold string
}

// Launched is what became of a launch.
type Launched struct {
	// Problem is why no Envoy could be started like that; empty if one runs.
	Problem string
}

// launchField is a field of an EnvoyProxy that Envoy has to know from its start.
type launchField struct {
	path string
	// take copies the field, and returns false if it is not set.
	take func(into, from *egv1a1.EnvoyProxySpec) bool
}

// metricsOf returns what an EnvoyProxy says of metrics, to be changed if it is into.
func metricsOf(spec *egv1a1.EnvoyProxySpec, change bool) *egv1a1.ProxyMetrics {
	telemetry := spec.Telemetry
	if telemetry == nil {
		telemetry = &egv1a1.ProxyTelemetry{}
	}
	if telemetry.Metrics == nil && !change {
		return &egv1a1.ProxyMetrics{}
	}
	if telemetry.Metrics == nil {
		telemetry.Metrics = &egv1a1.ProxyMetrics{}
	}
	if change {
		spec.Telemetry = telemetry
	}
	return telemetry.Metrics
}

// sinksField is the path of the sinks of metrics.
const sinksField = "telemetry.metrics.sinks"

// launchFields are all of them, by path.
var launchFields = []launchField{
	{"bootstrap", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.Bootstrap = from.Bootstrap
		return from.Bootstrap != nil
	}},
	{"concurrency", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.Concurrency = from.Concurrency
		return from.Concurrency != nil
	}},
	{"extraArgs", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.ExtraArgs = from.ExtraArgs
		return len(from.ExtraArgs) > 0
	}},
	{"ipFamily", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.IPFamily = from.IPFamily
		return from.IPFamily != nil
	}},
	{"logging", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.Logging = from.Logging
		return len(from.Logging.Level) > 0 && !maps.Equal(from.Logging.Level, unsaidLevels)
	}},
	{"shutdown", func(into, from *egv1a1.EnvoyProxySpec) bool {
		into.Shutdown = from.Shutdown
		return from.Shutdown != nil
	}},
	{"telemetry.metrics.matches", func(into, from *egv1a1.EnvoyProxySpec) bool {
		metricsOf(into, true).Matches = metricsOf(from, false).Matches
		return len(metricsOf(from, false).Matches) > 0
	}},
	{"telemetry.metrics.prometheus", func(into, from *egv1a1.EnvoyProxySpec) bool {
		metricsOf(into, true).Prometheus = metricsOf(from, false).Prometheus
		return metricsOf(from, false).Prometheus != nil
	}},
	{sinksField, func(into, from *egv1a1.EnvoyProxySpec) bool {
		metricsOf(into, true).Sinks = metricsOf(from, false).Sinks
		return len(metricsOf(from, false).Sinks) > 0
	}},
}

// unsaidLevels are what the schema of EnvoyProxy fills in where nothing is said of logging. They are how Envoy is
// started anyhow, so an EnvoyProxy about something else has no other Envoy take over.
var unsaidLevels = map[egv1a1.ProxyLogComponent]egv1a1.LogLevel{egv1a1.LogComponentDefault: egv1a1.LogLevelWarn}

// only returns an EnvoyProxy with one field of another; false if it is not set.
func (f launchField) only(from *egv1a1.EnvoyProxySpec) (*egv1a1.EnvoyProxySpec, bool) {
	out := &egv1a1.EnvoyProxySpec{}
	return out, f.take(out, from)
}

func (t *Tables) addLaunches(e *incr.Engine) {
	t.Launches = incr.NewTable(e, "launches", t.launch, t.proxyUses)
}

// launch merges what the EnvoyProxies of a proxy say. It reads each of them once, however many Gateways have it.
func (t *Tables) launch(r *incr.Reader, key model.ProxyName) (*Launch, bool) {
	if t.opts.Launches == nil {
		return nil, false
	}
	out := &Launch{Spec: &egv1a1.EnvoyProxySpec{}}
	set := map[string]bool{}
	for _, use := range t.proxyUses.Keys(r, key) {
		spec, problem := t.usedProxy(r, use.Key)
		if problem != "" {
			out.Hold = problem
		}
		if spec == nil {
			continue
		}
		for _, f := range launchFields {
			if _, has := f.only(spec); !has || set[f.path] {
				continue
			}
			set[f.path] = true
			f.take(out.Spec, spec)
			if f.path == sinksField {
				out.Sinks = t.sinks(r, use.Key)
			}
		}
	}
	return out, true
}

// usedProxy returns the EnvoyProxy that Gateways have, merged; nil if they have none, with the reason if they should
// have one.
func (t *Tables) usedProxy(r *incr.Reader, key mergedKey) (*egv1a1.EnvoyProxySpec, string) {
	for _, name := range []model.Name{key.Own, key.Parent} {
		if name == (model.Name{}) {
			continue
		}
		if _, problem := t.envoyProxy(r, name); problem != "" {
			return nil, problem
		}
	}
	return t.registry(r, key.Own, key.Parent), ""
}

// launchNotes returns what of an EnvoyProxy does not hold for the Envoy of a proxy, because that of another Gateway
// there says something else.
func (t *Tables) launchNotes(r *incr.Reader, proxy model.ProxyName, spec *egv1a1.EnvoyProxySpec) []string {
	launch, ok := incr.Get(r, t.Launches, proxy)
	if !ok {
		return nil
	}
	var lost []string
	for _, f := range launchFields {
		own, has := f.only(spec)
		held, _ := f.only(launch.Spec)
		if has && !reflect.DeepEqual(own, held) {
			lost = append(lost, "spec."+f.path)
		}
	}
	if len(lost) == 0 {
		return nil
	}
	slices.Sort(lost)
	return []string{fmt.Sprintf("the EnvoyProxy of another Gateway, which shares the Envoy, says otherwise in %s, "+
		"and holds", strings.Join(lost, ", "))}
}

// launchProblem returns why the Envoy of a proxy is not started as its EnvoyProxies say; empty if it is.
func (t *Tables) launchProblem(r *incr.Reader, proxy model.ProxyName) status.Report {
	launched, ok := incr.Get(r, t.Launched, proxy)
	if !ok || launched.Problem == "" {
		return nil
	}
	return status.Report{{
		Reason:  status.ReasonInvalidParameters,
		Message: "Envoy is not started as this and other EnvoyProxies say: " + launched.Problem,
	}}
}

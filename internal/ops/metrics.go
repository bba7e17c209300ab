// Package ops is how a running Sluice is watched: metrics, health and the admin API.
package ops

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/xds"
)

// Metrics are Sluice's own metrics, in Prometheus' form. Envoy's are Envoy's.
type Metrics struct {
	registry   *prometheus.Registry
	stage      *prometheus.HistogramVec
	recomputed *prometheus.CounterVec
	faults     prometheus.Counter
	pushes     *prometheus.CounterVec
	pushed     *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	acks       *prometheus.CounterVec
	nacks      *prometheus.CounterVec
	live       prometheus.Histogram
	ack        *prometheus.HistogramVec
	connected  prometheus.Gauge
	problems   prometheus.Gauge
	stale      prometheus.Gauge
}

// durations are from 100 microseconds, about what one change costs, to 13 seconds.
var durations = prometheus.ExponentialBuckets(0.0001, 2, 18)

// NewRegistry returns a registry with the metrics of the process and of the Go runtime.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// NewMetrics returns the metrics, registered in a registry of their own.
func NewMetrics() *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: "sluice", Name: name, Help: help}, labels)
	}
	m := &Metrics{
		registry: NewRegistry(),
		stage: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "stage_duration_seconds", Buckets: durations,
			Help: "Time that one batch of changes spent in a stage: read, compute, push.",
		}, []string{"stage"}),
		recomputed: counter("recomputed_keys_total", "Keys recomputed, by table of the engine.", "table"),
		faults: prometheus.NewCounter(prometheus.CounterOpts{
			Namespace: "sluice", Name: "faults_total",
			Help: "Keys that could not be computed because of a bug in Sluice; each kept its last good value.",
		}),
		pushes: counter("xds_pushes_total", "Responses sent to Envoys, by resource type.", "type"),
		pushed: counter("xds_pushed_resources_total", "Resources sent to Envoys, by resource type.", "type"),
		bytes:  counter("xds_pushed_bytes_total", "Bytes sent to Envoys, by resource type.", "type"),
		acks:   counter("xds_acks_total", "Responses that Envoys accepted, by resource type.", "type"),
		nacks:  counter("xds_nacks_total", "Resources that Envoys refused, by resource type.", "type"),
		live: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "live_duration_seconds", Buckets: durations,
			Help: "Time from handing changes to the xDS server until all connected Envoys had ACKed them.",
		}),
		ack: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "sluice", Name: "xds_ack_duration_seconds", Buckets: durations,
			Help: "Time from sending a response until Envoy accepted it, by resource type. Clusters are warm then.",
		}, []string{"type"}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sluice", Name: "xds_connected", Help: "Envoys connected now.",
		}),
		problems: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sluice", Name: "problems", Help: "Problems in what was read, now.",
		}),
		stale: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "sluice", Name: "stale_keys",
			Help: "Key sets of token issuers (remoteJWKS) that cannot be fetched anew, now: those from before are used.",
		}),
	}
	for t := range xds.Types() {
		// From the start, so that an alert can tell none from unknown.
		for _, c := range []*prometheus.CounterVec{m.pushes, m.pushed, m.bytes, m.acks, m.nacks} {
			c.WithLabelValues(t.String())
		}
		m.ack.WithLabelValues(t.String())
	}
	m.registry.MustRegister(
		m.stage, m.recomputed, m.faults, m.pushes, m.pushed, m.bytes, m.acks, m.nacks, m.live, m.ack, m.connected, m.problems,
		m.stale,
	)
	return m
}

// Registry is where the metrics are, for others that belong to the same process.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Stage records the time that a batch spent in a stage.
func (m *Metrics) Stage(name string, took time.Duration) {
	m.stage.WithLabelValues(name).Observe(took.Seconds())
}

// Computed records the work of one commit of the engine.
func (m *Metrics) Computed(r incr.Result) {
	for _, t := range r.Tables {
		m.recomputed.WithLabelValues(t.Table).Add(float64(t.Recomputed))
	}
	m.faults.Add(float64(len(r.Faults)))
}

// Problems records how many problems there are now.
func (m *Metrics) Problems(n int) { m.problems.Set(float64(n)) }

// StaleKeys records how many sets of keys cannot be fetched anew now.
func (m *Metrics) StaleKeys(n int) { m.stale.Set(float64(n)) }

// Observe records an event of the xDS server.
func (m *Metrics) Observe(e xds.Event) {
	kind := e.Type.String()
	switch e.Kind {
	case xds.Pushed:
		m.pushes.WithLabelValues(kind).Inc()
		m.pushed.WithLabelValues(kind).Add(float64(e.Resources))
		m.bytes.WithLabelValues(kind).Add(float64(e.Bytes))
	case xds.Acked:
		m.acks.WithLabelValues(kind).Inc()
		m.ack.WithLabelValues(kind).Observe(e.Took.Seconds())
	case xds.Rejected:
		m.nacks.WithLabelValues(kind).Inc()
	case xds.Live:
		m.live.Observe(e.Took.Seconds())
	case xds.Connected:
		m.connected.Inc()
	case xds.Disconnected:
		m.connected.Dec()
	}
}

package service

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
)

// Metrics are those of the service, a prometheus.Collector.
type Metrics struct {
	decisions *prometheus.CounterVec
	failures  *prometheus.CounterVec
	duration  prometheus.Histogram

	mu    sync.RWMutex
	rules map[string]*rule
	// memory is nil if the counters are elsewhere.
	memory *ratelimit.Memory
	usage  [3]*prometheus.Desc
}

// rule are the counters of one rule, found once.
type rule struct{ ok, over, shadow prometheus.Counter }

// The reasons of sluice_ratelimit_failures_total.
const (
	reasonInvalid = "invalid" // a request that is not understood
	reasonSlow    = "slow"    // the store did not answer in time
	reasonStore   = "store"   // the store answered with an error, or there is no connection
	reasonAway    = "away"    // the store was not asked, after several failures
	reasonGone    = "gone"    // Envoy did not wait for the answer
)

const (
	// maxRules is how many rules have metrics of their own. There are as many as operators write; the bound is for an
	// Envoy that is not what it seems.
	maxRules  = 4096
	otherRule = "other"
)

// NewMetrics returns metrics that are not registered anywhere.
func NewMetrics() *Metrics {
	name := func(s string) string { return prometheus.BuildFQName("sluice", "ratelimit", s) }
	m := &Metrics{
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("decisions_total"),
			Help: "Decisions by rule: ok, over, or shadow for what would be over but is not enforced.",
		}, []string{"rule", "decision"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: name("failures_total"),
			Help: "Requests of Envoy without a decision, by reason. Envoy lets them pass, or not, as it was told.",
		}, []string{"reason"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name("store_duration_seconds"), Help: "Time that a decision waited for the counters.",
			Buckets: prometheus.ExponentialBuckets(0.000002, 4, 9),
		}),
		rules: map[string]*rule{},
		usage: [3]*prometheus.Desc{
			prometheus.NewDesc(name("counters"), "Counters in memory.", nil, nil),
			prometheus.NewDesc(name("counter_bytes"), "About what the counters take in memory.", nil, nil),
			prometheus.NewDesc(name("evicted_counters_total"),
				"Counters that were dropped before they had expired, because memory was used up.", nil, nil),
		},
	}
	for _, r := range []string{reasonInvalid, reasonSlow, reasonStore, reasonAway, reasonGone} {
		// From the start, so that an alert can tell none from unknown.
		m.failures.WithLabelValues(r)
	}
	return m
}

// Watch has the usage of a store in memory reported too.
func (m *Metrics) Watch(memory *ratelimit.Memory) { m.memory = memory }

// Describe is that of prometheus.Collector.
func (m *Metrics) Describe(out chan<- *prometheus.Desc) {
	m.decisions.Describe(out)
	m.failures.Describe(out)
	m.duration.Describe(out)
	for _, d := range m.usage {
		out <- d
	}
}

// Collect is that of prometheus.Collector.
func (m *Metrics) Collect(out chan<- prometheus.Metric) {
	m.decisions.Collect(out)
	m.failures.Collect(out)
	m.duration.Collect(out)
	if m.memory == nil {
		return
	}
	u := m.memory.Usage()
	out <- prometheus.MustNewConstMetric(m.usage[0], prometheus.GaugeValue, float64(u.Counters))
	out <- prometheus.MustNewConstMetric(m.usage[1], prometheus.GaugeValue, float64(u.Bytes))
	out <- prometheus.MustNewConstMetric(m.usage[2], prometheus.CounterValue, float64(u.Evicted))
}

func (m *Metrics) failed(reason string) { m.failures.WithLabelValues(reason).Inc() }
func (m *Metrics) took(d time.Duration) { m.duration.Observe(d.Seconds()) }
func (m *Metrics) of(name string) (r *rule) {
	m.mu.RLock()
	r = m.rules[name]
	m.mu.RUnlock()
	if r != nil {
		return r
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.rules) >= maxRules {
		name = otherRule
	}
	if r = m.rules[name]; r == nil {
		r = &rule{
			ok:     m.decisions.WithLabelValues(name, "ok"),
			over:   m.decisions.WithLabelValues(name, "over"),
			shadow: m.decisions.WithLabelValues(name, "shadow"),
		}
		m.rules[name] = r
	}
	return r
}

// decided counts a decision.
func (m *Metrics) decided(d *ratelimit.Descriptor, over bool) {
	r := m.of(d.Rule)
	switch {
	case !over:
		r.ok.Inc()
	case d.Shadow:
		r.shadow.Inc()
	default:
		r.over.Inc()
	}
}

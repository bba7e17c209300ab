package kube

import "github.com/prometheus/client_golang/prometheus"

// metrics are what is counted of a writer.
type metrics struct {
	waiting *prometheus.Desc
	writes  *prometheus.CounterVec
}

func newMetrics() metrics {
	m := metrics{
		waiting: prometheus.NewDesc("sluice_status_waiting",
			"Objects whose status is still to be written, 0 where another replica leads.", nil, nil),
		writes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "sluice", Name: "status_writes_total",
			Help: "Statuses that were written to the API server, by result: ok, or failed for what is tried again.",
		}, []string{"result"}),
	}
	// From the start, so that an alert can tell none from unknown.
	for _, result := range []string{resultOK, resultFailed} {
		m.writes.WithLabelValues(result)
	}
	return m
}

const (
	resultOK     = "ok"
	resultFailed = "failed"
)

// Describe implements [prometheus.Collector].
func (w *Writer) Describe(out chan<- *prometheus.Desc) {
	out <- w.metrics.waiting
	w.metrics.writes.Describe(out)
}

// Collect implements [prometheus.Collector].
func (w *Writer) Collect(out chan<- prometheus.Metric) {
	out <- prometheus.MustNewConstMetric(w.metrics.waiting, prometheus.GaugeValue, float64(w.waiting()))
	w.metrics.writes.Collect(out)
}

// waiting is how many objects there are whose status is to be written.
func (w *Writer) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queue == nil {
		return 0
	}
	n := 0
	for _, o := range w.objects {
		if !o.done() {
			n++
		}
	}
	return n
}

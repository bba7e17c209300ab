package ops

import (
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
)

// Process says whose metrics they are: OpenTelemetry's resource.
type Process struct {
	// Name is service.name, Instance service.instance.id, Version service.version.
	Name, Instance, Version string
	// Started is when the sums began.
	Started time.Time
}

// export returns what a process gathers at a time as an OTLP request.
func (p Process) export(from prometheus.Gatherer, now time.Time) (*collectorv1.ExportMetricsServiceRequest, error) {
	families, err := from.Gather()
	if err != nil {
		return nil, fmt.Errorf("gather: %w", err)
	}
	e := exporter{start: nanos(p.Started), now: nanos(now)}
	scope := &metricsv1.ScopeMetrics{Scope: &commonv1.InstrumentationScope{Name: p.Name, Version: p.Version}}
	for _, family := range families {
		if m := e.metric(family); m != nil {
			scope.Metrics = append(scope.Metrics, m)
		}
	}
	return &collectorv1.ExportMetricsServiceRequest{ResourceMetrics: []*metricsv1.ResourceMetrics{{
		Resource: &resourcev1.Resource{Attributes: []*commonv1.KeyValue{
			attribute("service.name", p.Name), attribute("service.instance.id", p.Instance),
			attribute("service.version", p.Version),
		}},
		ScopeMetrics: []*metricsv1.ScopeMetrics{scope},
	}}}, nil
}

func nanos(t time.Time) uint64 { return uint64(t.UnixNano()) } //nolint:gosec // later than 1970

func attribute(name, value string) *commonv1.KeyValue {
	return &commonv1.KeyValue{
		Key: name, Value: &commonv1.AnyValue{Value: &commonv1.AnyValue_StringValue{StringValue: value}},
	}
}

// exporter makes OTLP of Prometheus' form, as the OpenTelemetry specification maps the one to the other.
type exporter struct{ start, now uint64 }

// metric returns a family of metrics; nil for a type that Sluice has none of.
func (e exporter) metric(family *dto.MetricFamily) *metricsv1.Metric {
	out := &metricsv1.Metric{Name: family.GetName(), Description: family.GetHelp()}
	switch family.GetType() {
	case dto.MetricType_COUNTER:
		out.Data = &metricsv1.Metric_Sum{Sum: &metricsv1.Sum{
			AggregationTemporality: metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE, IsMonotonic: true,
			DataPoints: e.numbers(family, func(m *dto.Metric) float64 { return m.GetCounter().GetValue() }),
		}}
	case dto.MetricType_GAUGE:
		out.Data = &metricsv1.Metric_Gauge{Gauge: &metricsv1.Gauge{
			DataPoints: e.numbers(family, func(m *dto.Metric) float64 { return m.GetGauge().GetValue() }),
		}}
	case dto.MetricType_HISTOGRAM:
		out.Data = &metricsv1.Metric_Histogram{Histogram: &metricsv1.Histogram{
			AggregationTemporality: metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
			DataPoints:             e.histograms(family),
		}}
	case dto.MetricType_SUMMARY:
		out.Data = &metricsv1.Metric_Summary{Summary: &metricsv1.Summary{DataPoints: e.summaries(family)}}
	default:
		return nil
	}
	return out
}

func (e exporter) numbers(family *dto.MetricFamily, value func(*dto.Metric) float64) []*metricsv1.NumberDataPoint {
	var out []*metricsv1.NumberDataPoint
	for _, m := range family.GetMetric() {
		out = append(out, &metricsv1.NumberDataPoint{
			Attributes: attributes(m), StartTimeUnixNano: e.start, TimeUnixNano: e.now,
			Value: &metricsv1.NumberDataPoint_AsDouble{AsDouble: value(m)},
		})
	}
	return out
}

// histograms have counts of each bucket alone, where Prometheus has those of all lower ones in it, and a last one above
// all bounds.
func (e exporter) histograms(family *dto.MetricFamily) []*metricsv1.HistogramDataPoint {
	var out []*metricsv1.HistogramDataPoint
	for _, m := range family.GetMetric() {
		h := m.GetHistogram()
		sum := h.GetSampleSum()
		point := &metricsv1.HistogramDataPoint{
			Attributes: attributes(m), StartTimeUnixNano: e.start, TimeUnixNano: e.now, Count: h.GetSampleCount(), Sum: &sum,
		}
		var below uint64
		for _, b := range h.GetBucket() {
			point.ExplicitBounds = append(point.ExplicitBounds, b.GetUpperBound())
			point.BucketCounts = append(point.BucketCounts, b.GetCumulativeCount()-below)
			below = b.GetCumulativeCount()
		}
		point.BucketCounts = append(point.BucketCounts, h.GetSampleCount()-below)
		out = append(out, point)
	}
	return out
}

func (e exporter) summaries(family *dto.MetricFamily) []*metricsv1.SummaryDataPoint {
	var out []*metricsv1.SummaryDataPoint
	for _, m := range family.GetMetric() {
		s := m.GetSummary()
		point := &metricsv1.SummaryDataPoint{
			Attributes: attributes(m), StartTimeUnixNano: e.start, TimeUnixNano: e.now, Count: s.GetSampleCount(),
			Sum: s.GetSampleSum(),
		}
		for _, q := range s.GetQuantile() {
			point.QuantileValues = append(point.QuantileValues, &metricsv1.SummaryDataPoint_ValueAtQuantile{
				Quantile: q.GetQuantile(), Value: q.GetValue(),
			})
		}
		out = append(out, point)
	}
	return out
}

func attributes(m *dto.Metric) []*commonv1.KeyValue {
	var out []*commonv1.KeyValue
	for _, label := range m.GetLabel() {
		out = append(out, attribute(label.GetName(), label.GetValue()))
	}
	return out
}

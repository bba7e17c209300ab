package ops

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// collector is an OpenTelemetry collector that hands on what it gets; while down it refuses.
type collector struct {
	collectorv1.UnimplementedMetricsServiceServer
	got chan *collectorv1.ExportMetricsServiceRequest

	mu   sync.Mutex
	down bool
}

func (c *collector) refuses() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.down
}

func (c *collector) setDown(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

func (c *collector) Export(
	_ context.Context, r *collectorv1.ExportMetricsServiceRequest,
) (*collectorv1.ExportMetricsServiceResponse, error) {
	if c.refuses() {
		return nil, status.Error(codes.Unavailable, "the collector is down")
	}
	select {
	case c.got <- r:
	default: // nobody looks at this one
	}
	return &collectorv1.ExportMetricsServiceResponse{}, nil
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	message := &collectorv1.ExportMetricsServiceRequest{}
	if err != nil || r.URL.Path != "/v1/metrics" || proto.Unmarshal(body, message) != nil {
		http.Error(w, "no metrics", http.StatusBadRequest)
		return
	}
	if _, err := c.Export(r.Context(), message); err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// listen serves both protocols, and returns a sink for each.
func (c *collector) listen(t *testing.T) map[string]Sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collectorv1.RegisterMetricsServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	web := httptest.NewServer(c)
	t.Cleanup(web.Close)
	return map[string]Sink{
		"grpc": {Address: l.Addr().String(), Interval: 10 * time.Millisecond},
		"http": {Address: strings.TrimPrefix(web.URL, "http://"), Interval: 10 * time.Millisecond, HTTP: true},
	}
}

// log is what was logged.
type log struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *log) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), text)
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s: " + what)
		}
	}
}

// Metrics arrive in both protocols, whatever happens to the collector meanwhile.
func TestSink(t *testing.T) {
	for name := range (&collector{}).listen(t) {
		t.Run(name, func(t *testing.T) {
			c := &collector{got: make(chan *collectorv1.ExportMetricsServiceRequest, 1), down: true}
			sink := c.listen(t)[name]
			registry := prometheus.NewRegistry()
			counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "things_total", Help: "Things."})
			registry.MustRegister(counter)
			counter.Add(3)
			ctx, cancel := context.WithCancel(t.Context())
			said, done := &log{}, make(chan error, 1)
			logger := slog.New(slog.NewTextHandler(said, nil))
			go func() { done <- sink.Push(ctx, registry, Process{Name: "sluice"}, logger) }()
			await(t, "that it fails is logged", func() bool { return said.count("cannot be pushed") == 1 })
			c.setDown(false)
			await(t, "that it works again is logged", func() bool { return said.count("pushed again") == 1 })
			if got := value(t, <-c.got); got != 3 {
				t.Errorf("%v things, want 3", got)
			}
			if n := said.count("cannot be pushed"); n != 1 {
				t.Errorf("it is logged %d times that it fails", n)
			}
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
}

// What happened last is pushed at the end.
func TestSinkPushesAtTheEnd(t *testing.T) {
	c := &collector{got: make(chan *collectorv1.ExportMetricsServiceRequest, 1)}
	sink := c.listen(t)["grpc"]
	sink.Interval = time.Hour
	registry := prometheus.NewRegistry()
	gauge := prometheus.NewGauge(prometheus.GaugeOpts{Name: "level"})
	registry.MustRegister(gauge)
	gauge.Set(7)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sink.Push(ctx, registry, Process{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if got := value(t, <-c.got); got != 7 {
		t.Errorf("the level is %v, want 7", got)
	}
}

// value returns that of the only number of a request.
func value(t *testing.T, r *collectorv1.ExportMetricsServiceRequest) float64 {
	t.Helper()
	metrics := r.GetResourceMetrics()[0].GetScopeMetrics()[0].GetMetrics()
	if len(metrics) != 1 {
		t.Fatalf("%d metrics", len(metrics))
	}
	points := append(metrics[0].GetSum().GetDataPoints(), metrics[0].GetGauge().GetDataPoints()...)
	return points[0].GetAsDouble()
}

func TestExport(t *testing.T) {
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total", Help: "Counts."}, []string{"type"})
	histogram := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h", Buckets: []float64{1, 2}})
	summary := prometheus.NewSummary(prometheus.SummaryOpts{Name: "s", Objectives: map[float64]float64{0.5: 0.1}})
	registry.MustRegister(counter, histogram, summary)
	counter.WithLabelValues("x").Add(2)
	for _, v := range []float64{0.5, 1.5, 1.6, 9} {
		histogram.Observe(v)
	}
	summary.Observe(4)
	process := Process{Name: "sluice", Instance: "one", Version: "v1", Started: time.Unix(1, 0)}
	request, err := process.export(registry, time.Unix(2, 0))
	if err != nil {
		t.Fatal(err)
	}
	all := request.GetResourceMetrics()[0]
	var who []string
	for _, a := range all.GetResource().GetAttributes() {
		who = append(who, a.GetKey()+"="+a.GetValue().GetStringValue())
	}
	want := []string{"service.name=sluice", "service.instance.id=one", "service.version=v1"}
	if diff := cmp.Diff(want, who); diff != "" {
		t.Error(diff)
	}
	metrics := map[string]*metricsv1.Metric{}
	for _, m := range all.GetScopeMetrics()[0].GetMetrics() {
		metrics[m.GetName()] = m
	}
	sum := metrics["c_total"].GetSum()
	point := sum.GetDataPoints()[0]
	if !sum.GetIsMonotonic() || point.GetAsDouble() != 2 || point.GetAttributes()[0].GetKey() != "type" ||
		point.GetStartTimeUnixNano() != 1e9 || point.GetTimeUnixNano() != 2e9 ||
		metrics["c_total"].Description != "Counts." {
		t.Errorf("the counter is %v", metrics["c_total"])
	}
	h := metrics["h"].GetHistogram().GetDataPoints()[0]
	if diff := cmp.Diff([]uint64{1, 2, 1}, h.GetBucketCounts()); diff != "" || h.GetCount() != 4 || h.GetSum() != 12.6 {
		t.Errorf("the histogram is %v: %s", h, diff)
	}
	s := metrics["s"].GetSummary().GetDataPoints()[0]
	if s.GetCount() != 1 || s.GetSum() != 4 || s.GetQuantileValues()[0].GetValue() != 4 {
		t.Errorf("the summary is %v", s)
	}
}

package e2e

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// span is what tests look at of a span that was reported.
type span struct {
	name, trace string
	// kind is 2 for what Envoy got, 3 for what it sent.
	kind uint64
	// attributes are the span's, and the resource's with "resource:" before their names.
	attributes map[string]string
	// token is the header x-token of the export.
	token string
}

// collector is an OpenTelemetry collector: it keeps the spans, log entries and metrics that it gets as OTLP over gRPC.
type collector struct {
	port    int
	mu      sync.Mutex
	spans   []span
	entries []entry
	metrics map[string]metric
}

// entry is what tests look at of a log entry that was reported.
type entry struct {
	body string
	// attributes are the entry's, and the resource's with "resource:" before their names.
	attributes map[string]string
	// token is the header x-token of the export.
	token string
}

// metric is what tests look at of a metric that was reported last under a name.
type metric struct {
	delta bool
	// resource are the attributes of the resource.
	resource map[string]string
	token    string
}

// rawCodec passes messages on as bytes: the tests need a few fields of OTLP, and no further module for them.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

var _ encoding.CodecV2 = rawCodec{}

func startCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{port: l.Addr().(*net.TCPAddr).Port, metrics: map[string]metric{}}
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(c.export))
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return c
}

// exports are the services that the collector has.
var exports = map[string]func(*collector, []byte, string) error{
	"/opentelemetry.proto.collector.trace.v1.TraceService/Export":     (*collector).add,
	"/opentelemetry.proto.collector.logs.v1.LogsService/Export":       (*collector).addEntries,
	"/opentelemetry.proto.collector.metrics.v1.MetricsService/Export": (*collector).addMetrics,
}

func (c *collector) export(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	take, ok := exports[method]
	if !ok {
		return fmt.Errorf("the method is %s", method)
	}
	var token string
	if md, _ := metadata.FromIncomingContext(stream.Context()); len(md.Get("x-token")) > 0 {
		token = md.Get("x-token")[0]
	}
	for {
		var request []byte
		if err := stream.RecvMsg(&request); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		if err := take(c, request, token); err != nil {
			return err
		}
		if err := stream.SendMsg(&[]byte{}); err != nil {
			return err
		}
	}
}

func (c *collector) addEntries(request []byte, token string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, message := range fields(request)[1] {
		var group logsv1.ResourceLogs
		if err := proto.Unmarshal(message, &group); err != nil {
			return err
		}
		for _, scope := range group.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				e := entry{token: token, body: record.GetBody().GetStringValue(), attributes: map[string]string{}}
				for _, a := range record.GetAttributes() {
					e.attributes[a.GetKey()] = a.GetValue().GetStringValue()
				}
				for _, a := range group.GetResource().GetAttributes() {
					e.attributes["resource:"+a.GetKey()] = a.GetValue().GetStringValue()
				}
				c.entries = append(c.entries, e)
			}
		}
	}
	return nil
}

func (c *collector) addMetrics(request []byte, token string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, message := range fields(request)[1] {
		var group metricsv1.ResourceMetrics
		if err := proto.Unmarshal(message, &group); err != nil {
			return err
		}
		m := metric{token: token, resource: map[string]string{}}
		for _, a := range group.GetResource().GetAttributes() {
			m.resource[a.GetKey()] = a.GetValue().GetStringValue()
		}
		for _, scope := range group.GetScopeMetrics() {
			for _, one := range scope.GetMetrics() {
				m.delta = one.GetSum().GetAggregationTemporality() == delta ||
					one.GetHistogram().GetAggregationTemporality() == delta
				c.metrics[one.GetName()] = m
			}
		}
	}
	return nil
}

const delta = metricsv1.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA

// metric returns what was reported last under a name.
func (c *collector) metric(name string) (metric, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	m, ok := c.metrics[name]
	return m, ok
}

// metricNames are the names of the metrics that were reported, sorted.
func (c *collector) metricNames() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.metrics))
}

// entry returns the first log entry with an attribute "id" of that value.
func (c *collector) entry(id string) (entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.entries {
		if e.attributes["id"] == id {
			return e, true
		}
	}
	return entry{}, false
}

func (c *collector) add(request []byte, token string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resourceSpans := range fields(request)[1] {
		group := fields(resourceSpans)
		shared := map[string]string{}
		for _, resource := range group[1] {
			for name, value := range attributes(fields(resource)[1]) {
				shared["resource:"+name] = value
			}
		}
		for _, scope := range group[2] {
			for _, one := range fields(scope)[2] {
				c.spans = append(c.spans, readSpan(one, shared, token))
			}
		}
	}
	return nil
}

func readSpan(message []byte, shared map[string]string, token string) span {
	f := fields(message)
	out := span{token: token, attributes: attributes(f[9])}
	for name, value := range shared {
		out.attributes[name] = value
	}
	if len(f[1]) > 0 {
		out.trace = fmt.Sprintf("%x", f[1][0])
	}
	if len(f[5]) > 0 {
		out.name = string(f[5][0])
	}
	if len(f[6]) > 0 {
		out.kind, _ = protowire.ConsumeVarint(f[6][0])
	}
	return out
}

// attributes reads a list of KeyValue whose values are strings.
func attributes(list [][]byte) map[string]string {
	out := map[string]string{}
	for _, one := range list {
		f := fields(one)
		if len(f[1]) > 0 && len(f[2]) > 0 && len(fields(f[2][0])[1]) > 0 {
			out[string(f[1][0])] = string(fields(f[2][0])[1][0])
		}
	}
	return out
}

// fields returns the values of a message's fields: the contents of those with a length, the bytes of others.
func fields(message []byte) map[protowire.Number][][]byte {
	out := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return out
		}
		message = message[n:]
		size := protowire.ConsumeFieldValue(number, typ, message)
		if size < 0 {
			return out
		}
		value := message[:size]
		if typ == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(value)
		}
		out[number] = append(out[number], value)
		message = message[size:]
	}
	return out
}

// of returns the spans with an attribute "id" of that value.
func (c *collector) of(id string) []span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []span
	for _, s := range c.spans {
		if s.attributes["id"] == id {
			out = append(out, s)
		}
	}
	return out
}

// appears says whether spans with that attribute come within the time in which Envoy sends what it has.
func (c *collector) appears(id string) bool {
	for end := time.Now().Add(6 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if len(c.of(id)) > 0 {
			return true
		}
	}
	return false
}

package service_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/ratelimittest"
	"github.com/sluice-gateway/sluice/internal/ratelimit/redis"
	"github.com/sluice-gateway/sluice/internal/ratelimit/service"
)

// start serves, and returns a client over loopback and what is measured.
func start(t testing.TB, o service.Options) (rlsv3.RateLimitServiceClient, func(metric string) float64) {
	t.Helper()
	o.Metrics = service.NewMetrics()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(o.Metrics)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(service.ServerOptions()...)
	service.New(o).Register(server)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	return rlsv3.NewRateLimitServiceClient(connection), func(metric string) float64 { return read(t, registry, metric) }
}

// read returns the value of a metric, which is written as name or name{value,value}: values in the order of labels.
func read(t testing.TB, registry *prometheus.Registry, metric string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	name, labels, _ := strings.Cut(strings.TrimSuffix(metric, "}"), "{")
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var have []string
			for _, l := range m.GetLabel() {
				have = append(have, l.GetValue())
			}
			if strings.Join(have, ",") == labels {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return 0
}

func descriptor(pairs ...string) *commonv3.RateLimitDescriptor {
	out := &commonv3.RateLimitDescriptor{}
	for i := 0; i+1 < len(pairs); i += 2 {
		out.Entries = append(out.Entries, &commonv3.RateLimitDescriptor_Entry{Key: pairs[i], Value: pairs[i+1]})
	}
	return out
}

func ask(descriptors ...*commonv3.RateLimitDescriptor) *rlsv3.RateLimitRequest {
	return &rlsv3.RateLimitRequest{Domain: "sluice", Descriptors: descriptors}
}

func TestAnswers(t *testing.T) {
	client, metric := start(t, service.Options{Store: ratelimit.NewMemory(0)})
	request := ask(
		descriptor(ratelimit.KeyRule, "hard", ratelimit.KeyLimit, "2/Week", ratelimit.KeyMode, ratelimit.ModeTell),
		descriptor("who", "anybody"),
		descriptor(ratelimit.KeyRule, "soft", ratelimit.KeyLimit, "1/Day", ratelimit.KeyMode, ratelimit.ModeShadow),
	)
	const ok, over = rlsv3.RateLimitResponse_OK, rlsv3.RateLimitResponse_OVER_LIMIT
	state := func(code rlsv3.RateLimitResponse_Code, limit, left uint32, unit int32, hours time.Duration,
	) *rlsv3.RateLimitResponse_DescriptorStatus {
		return &rlsv3.RateLimitResponse_DescriptorStatus{
			Code: code, LimitRemaining: left, DurationUntilReset: durationpb.New(hours * time.Hour),
			CurrentLimit: &rlsv3.RateLimitResponse_RateLimit{
				RequestsPerUnit: limit, Unit: rlsv3.RateLimitResponse_RateLimit_Unit(unit),
			},
		}
	}
	const week, day = int32(rlsv3.RateLimitResponse_RateLimit_WEEK), int32(rlsv3.RateLimitResponse_RateLimit_DAY)
	none := &rlsv3.RateLimitResponse_DescriptorStatus{Code: ok}
	passed := &structpb.Struct{Fields: map[string]*structpb.Value{
		ratelimit.MetadataPassed: structpb.NewStringValue("true"),
	}}
	for i, want := range []*rlsv3.RateLimitResponse{
		{OverallCode: ok, DynamicMetadata: passed, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{
			state(ok, 2, 1, week, 168), none, state(ok, 1, 0, day, 24),
		}},
		{OverallCode: ok, DynamicMetadata: passed, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{
			state(ok, 2, 0, week, 168), none, state(ok, 1, 0, day, 24),
		}},
		{OverallCode: over, Statuses: []*rlsv3.RateLimitResponse_DescriptorStatus{
			state(over, 2, 0, week, 168), none, state(ok, 1, 0, day, 24),
		}},
	} {
		got, err := client.ShouldRateLimit(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
			t.Errorf("answer %d (-want +got):\n%s", i, diff)
		}
	}
	for name, want := range map[string]float64{
		"sluice_ratelimit_decisions_total{ok,hard}": 2, "sluice_ratelimit_decisions_total{over,hard}": 1,
		"sluice_ratelimit_decisions_total{ok,soft}": 1, "sluice_ratelimit_decisions_total{shadow,soft}": 2,
	} {
		if got := metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}

// TestTheSameCounterTwice has a request take twice from one counter.
func TestTheSameCounterTwice(t *testing.T) {
	client, _ := start(t, service.Options{Store: ratelimit.NewMemory(0)})
	twice := descriptor(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "5/Day")
	for _, want := range []uint32{3, 1, 1} {
		got, err := client.ShouldRateLimit(t.Context(), ask(twice, twice))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range got.GetStatuses() {
			if s.GetLimitRemaining() != want {
				t.Errorf("%d left, want %d", s.GetLimitRemaining(), want)
			}
		}
	}
}

func TestRequestThatIsNotUnderstood(t *testing.T) {
	client, metric := start(t, service.Options{Store: ratelimit.NewMemory(0)})
	_, err := client.ShouldRateLimit(t.Context(), ask(descriptor(ratelimit.KeyLimit, "many")))
	if status.Code(err) != codes.InvalidArgument || metric("sluice_ratelimit_failures_total{invalid}") != 1 {
		t.Errorf("error %v, counted %v", err, metric("sluice_ratelimit_failures_total{invalid}"))
	}
}

// stub is a store that does as it is told: it fails, or hangs until it is not waited for any more.
type stub struct {
	err   atomic.Pointer[error]
	hangs atomic.Bool
	asked atomic.Int64
}

func (s *stub) Take(ctx context.Context, _ []ratelimit.Hit, _ []ratelimit.Answer) error {
	s.asked.Add(1)
	if s.hangs.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if err := s.err.Load(); err != nil {
		return *err
	}
	return nil
}

var limited = descriptor(ratelimit.KeyRule, "r", ratelimit.KeyLimit, "5/Day")

// TestStoreThatHangs is drill F37: after a few requests nobody waits any more, and when the store is back it is asked
// again within the time that it was left alone for.
func TestStoreThatHangs(t *testing.T) {
	store := &stub{}
	store.hangs.Store(true)
	client, metric := start(t, service.Options{Store: store, Budget: 5 * time.Millisecond})
	const requests = 50
	for range requests {
		if _, err := client.ShouldRateLimit(t.Context(), ask(limited)); status.Code(err) != codes.Unavailable {
			t.Fatalf("error %v, want Unavailable", err)
		}
	}
	slow, away := metric("sluice_ratelimit_failures_total{slow}"), metric("sluice_ratelimit_failures_total{away}")
	if slow < 5 || away < requests/2 || slow+away != requests {
		t.Errorf("%v requests waited and %v did not, of %d: want 5 to wait, and one each half second", slow, away, requests)
	}
	store.hangs.Store(false)
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if _, err := client.ShouldRateLimit(t.Context(), ask(limited)); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the store is back, and is not asked")
		}
	}
	// Now every request is let through to it.
	before := store.asked.Load()
	for range 10 {
		if _, err := client.ShouldRateLimit(t.Context(), ask(limited)); err != nil {
			t.Fatal(err)
		}
	}
	if got := store.asked.Load() - before; got != 10 {
		t.Errorf("the store was asked %d times for 10 requests after it was back", got)
	}
}

func TestStoreThatFails(t *testing.T) {
	store := &stub{}
	broken := errors.New("broken")
	store.err.Store(&broken)
	client, metric := start(t, service.Options{Store: store})
	_, err := client.ShouldRateLimit(t.Context(), ask(limited))
	if status.Code(err) != codes.Unavailable || metric("sluice_ratelimit_failures_total{store}") != 1 {
		t.Errorf("error %v, counted %v", err, metric("sluice_ratelimit_failures_total{store}"))
	}
}

// TestRedisThatStops is drill F37 with a real server that is stopped, killed and started again.
func TestRedisThatStops(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	store, err := redis.New(redis.Options{URL: server.Address})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		store.Run(ctx)
	}()
	defer func() {
		cancel()
		<-done
	}()
	client, _ := start(t, service.Options{Store: store})
	works := func(want bool) {
		t.Helper()
		var err error
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
			if _, err = client.ShouldRateLimit(t.Context(), ask(limited)); (err == nil) == want {
				return
			}
		}
		t.Fatalf("after ten seconds the service still answers with %v", err)
	}
	works(true)
	server.Signal(t, syscall.SIGSTOP)
	works(false)
	server.Signal(t, syscall.SIGCONT)
	works(true)
	server.Kill()
	works(false)
	server.Start(t)
	works(true)
}

// BenchmarkDecision is a decision with all that the service does but the transport.
func BenchmarkDecision(b *testing.B) {
	server := service.New(service.Options{Store: ratelimit.NewMemory(0)})
	request := ask(descriptor(ratelimit.KeyRule, "ns/policy/0", ratelimit.KeyRoute, "httproute/ns/route/1",
		ratelimit.KeyLimit, "1000/Second", "rule-0-match-0", "user-1234"))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := server.ShouldRateLimit(context.Background(), request); err != nil {
			b.Fatal(err)
		}
	}
}

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/test/bench/process"
	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// counting is a `sluice ratelimit` under measurement, with one core, and connections to it as an Envoy with two workers
// has.
type counting struct {
	process *process.Process
	clients []rlsv3.RateLimitServiceClient
	conns   []*grpc.ClientConn
}

// rateLimit measures what decisions cost, how long they take, and what counters need.
func rateLimit(ctx context.Context, b *bench) error {
	long, keys := 10*time.Second, 1_000_000
	if b.quick {
		long, keys = time.Second, 50_000
	}
	c, err := b.startCounting()
	if err != nil {
		return err
	}
	defer c.stop()
	decisions, cpu, err := c.saturate(ctx, long)
	if err != nil {
		return err
	}
	each := cpu / time.Duration(decisions)
	b.table.Add(table.Row{What: "CPU of a rate-limit decision", Measured: ms(each), Target: 0.02,
		Note: fmt.Sprintf("%.0f a second on one core", float64(time.Second)/float64(each))})
	const rate = 5000
	latencies, err := c.pace(ctx, rate, long)
	if err != nil {
		return err
	}
	quantile := func(q float64) time.Duration { return latencies[int(q*float64(len(latencies)-1))] }
	b.table.Add(table.Row{What: fmt.Sprintf("rate-limit decision at %d a second, p99", rate), Measured: ms(quantile(0.99)),
		Target: 1, Note: fmt.Sprintf("p50 %v, of %d", quantile(0.5).Round(time.Microsecond), len(latencies))})
	if err := c.flood(ctx, keys); err != nil {
		return err
	}
	now, _, err := usage.Resident(c.process.PID())
	if err != nil {
		return err
	}
	b.table.Add(table.Row{
		What: fmt.Sprintf("memory of %d rate-limit counters", keys), Unit: table.Mebibytes, Measured: now,
	})
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (b *bench) startCounting() (*counting, error) {
	dir, err := b.folder("ratelimit")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	adminPort, err := freePort()
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	c := &counting{}
	c.process, err = process.Start(filepath.Join(dir, "log"), "env", "GOMAXPROCS=1", b.sluice, "ratelimit",
		"--address", address, "--admin-address", fmt.Sprintf("127.0.0.1:%d", adminPort))
	if err != nil {
		return nil, err
	}
	for range 2 {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			c.stop()
			return nil, err
		}
		c.conns = append(c.conns, conn)
		c.clients = append(c.clients, rlsv3.NewRateLimitServiceClient(conn))
	}
	if err := c.ask(context.Background(), 0); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

func (c *counting) stop() {
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.process.Stop()
}

// ask has one request decided, as Envoy asks for a rule with a limit per user.
func (c *counting) ask(ctx context.Context, user int) error {
	entry := func(key, value string) *commonv3.RateLimitDescriptor_Entry {
		return &commonv3.RateLimitDescriptor_Entry{Key: key, Value: value}
	}
	descriptor := &commonv3.RateLimitDescriptor{Entries: []*commonv3.RateLimitDescriptor_Entry{
		entry(ratelimit.KeyRule, "shop/limits/0"), entry(ratelimit.KeyLimit, "1000/Hour"),
		entry(ratelimit.KeyRoute, "httproute/shop/cart/1"), entry("match-0", "match-0"),
		entry("value-0", fmt.Sprintf("user-%07d", user)),
	}}
	_, err := c.clients[user%len(c.clients)].ShouldRateLimit(ctx, &rlsv3.RateLimitRequest{
		Domain: ratelimit.Domain, Descriptors: []*commonv3.RateLimitDescriptor{descriptor},
	}, grpc.WaitForReady(true))
	return err
}

// saturate asks as fast as answers come, and returns how many came and what they cost.
func (c *counting) saturate(ctx context.Context, long time.Duration) (decisions int64, cpu time.Duration, err error) {
	pid := c.process.PID()
	before, err := usage.CPU(pid)
	if err != nil {
		return 0, 0, err
	}
	var count atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	end := time.Now().Add(long)
	for caller := range 128 {
		all.Go(func() {
			for i := caller; time.Now().Before(end) && failed.Load() == nil; i += 128 {
				if err := c.ask(ctx, i%10_000); err != nil {
					failed.Store(&err)
				}
				count.Add(1)
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	after, err := usage.CPU(pid)
	return count.Load(), after - before, err
}

// pace asks at a fixed rate, whether or not answers come, and returns how long they took, sorted.
func (c *counting) pace(ctx context.Context, rate int, long time.Duration) ([]time.Duration, error) {
	every := time.Second / time.Duration(rate)
	latencies := make([]time.Duration, int(long/every))
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	begin := time.Now()
	for i := range latencies {
		due := begin.Add(time.Duration(i) * every)
		time.Sleep(time.Until(due))
		all.Go(func() {
			sent := time.Now()
			if err := c.ask(ctx, i%10_000); err != nil {
				failed.Store(&err)
			}
			latencies[i] = time.Since(sent)
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	slices.Sort(latencies)
	return latencies, nil
}

// flood has as many users as keys ask once each.
func (c *counting) flood(ctx context.Context, keys int) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var all sync.WaitGroup
	for range 128 {
		all.Go(func() {
			for i := int(next.Add(1)); i <= keys && failed.Load() == nil; i = int(next.Add(1)) {
				if err := c.ask(ctx, i); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

package redis_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/ratelimit"
	"github.com/sluice-gateway/sluice/internal/ratelimit/ratelimittest"
	"github.com/sluice-gateway/sluice/internal/ratelimit/redis"
)

// connect returns a store that is connected.
func connect(t *testing.T, url string) *redis.Store {
	t.Helper()
	store, err := redis.New(redis.Options{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	run(t, store)
	await(t, store)
	return store
}

func run(t *testing.T, store *redis.Store) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { store.Run(ctx) })
	t.Cleanup(func() {
		cancel()
		done.Wait()
	})
}

// await waits until the store answers.
func await(t *testing.T, store *redis.Store) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if _, err = one(store, hit(ratelimittest.NewKey(), 1), time.Second); err == nil {
			return
		}
	}
	t.Fatalf("the store does not answer: %v", err)
}

func hit(k ratelimit.Key, requests uint32) ratelimit.Hit {
	return ratelimit.Hit{Key: k, Limit: ratelimit.Limit{Requests: requests, Unit: ratelimit.Hour}, Cost: 1}
}

func one(store ratelimit.Store, h ratelimit.Hit, within time.Duration) (ratelimit.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	var answers [1]ratelimit.Answer
	err := store.Take(ctx, []ratelimit.Hit{h}, answers[:])
	return answers[0], err
}

func TestRedis(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	ratelimittest.Conform(t, connect(t, server.Address))
}

func TestPassword(t *testing.T) {
	server := ratelimittest.StartRedis(t, "--requirepass", "s3cret")
	store := connect(t, "redis://:s3cret@"+server.Address+"/2")
	if a, err := one(store, hit(ratelimittest.NewKey(), 5), time.Second); err != nil || a.Remaining != 4 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestURLThatIsNone(t *testing.T) {
	_, err := redis.New(redis.Options{URL: "http://:s3cret@localhost"})
	if err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("error %v, want one that does not tell the password", err)
	}
}

// TestServicesShareALimit has two services count in one Redis, all at the same time.
func TestServicesShareALimit(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	stores := []*redis.Store{connect(t, server.Address), connect(t, server.Address)}
	a, b := hit(ratelimittest.NewKey(), 300), hit(ratelimittest.NewKey(), 500)
	var through atomic.Int64
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			hits, answers := []ratelimit.Hit{a, b}, make([]ratelimit.Answer, 2)
			for range 100 {
				if err := stores[i%2].Take(context.Background(), hits, answers); err != nil {
					t.Error(err)
				}
				if !ratelimit.Refused(hits, answers) {
					through.Add(1)
				}
			}
		})
	}
	all.Wait()
	if through.Load() != 300 {
		t.Errorf("%d requests passed, want exactly 300", through.Load())
	}
	if last, err := one(stores[0], b, time.Second); err != nil || last.Remaining != 199 {
		t.Errorf("of the limit of 500, 300 of which passed: %+v, %v; want 199 left after one more", last, err)
	}
}

// TestNeverMoreThanTheLimitInAnyWindow is the promise of a Store, held against the script.
func TestNeverMoreThanTheLimitInAnyWindow(t *testing.T) {
	store := connect(t, ratelimittest.StartRedis(t).Address)
	r := rand.New(rand.NewPCG(1, 2))
	h := hit(ratelimittest.NewKey(), 40)
	var at time.Duration
	var log []time.Duration
	for range 3000 {
		if r.IntN(4) == 0 {
			step := time.Duration(r.Int64N(int64(5 * time.Minute)))
			store.Advance(step)
			at += step
		}
		a, err := one(store, h, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Over {
			log = append(log, at)
		}
	}
	from := 0
	for i, end := range log {
		// at stands still while the server's clock goes on: a second is more than all of it.
		for log[from] <= end-time.Hour+time.Second {
			from++
		}
		if passed := i - from + 1; passed > 40 {
			t.Fatalf("%d passed in the hour before %v, with a limit of 40", passed, end)
		}
	}
	if len(log) < 400 {
		t.Errorf("only %d requests passed, which is no test", len(log))
	}
}

func TestCountersExpire(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	store := connect(t, server.Address)
	before := server.Keys(t)
	h := hit(ratelimittest.NewKey(), 5)
	h.Limit.Unit = ratelimit.Second
	if _, err := one(store, h, time.Second); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if server.Keys(t) == before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the counter of a second is still there after ten")
		}
	}
}

// TestServerThatStops shows what a request waits for while the server answers nothing, is gone, and is back.
func TestServerThatStops(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	store := connect(t, server.Address)
	const budget, slack = 7 * time.Millisecond, 100 * time.Millisecond
	refuses := func(what string) {
		t.Helper()
		for range 20 {
			began := time.Now()
			_, err := one(store, hit(ratelimittest.NewKey(), 5), budget)
			if took := time.Since(began); err == nil || took > slack {
				t.Fatalf("%s: error %v after %v, want one within %v", what, err, took, budget)
			}
		}
	}
	server.Signal(t, syscall.SIGSTOP)
	refuses("while the server is stopped")
	server.Signal(t, syscall.SIGCONT)
	await(t, store)
	server.Kill()
	refuses("while there is no server")
	server.Start(t)
	await(t, store)
}

func TestServerThatComesLater(t *testing.T) {
	server := ratelimittest.StartRedis(t)
	server.Kill()
	store, err := redis.New(redis.Options{URL: server.Address})
	if err != nil {
		t.Fatal(err)
	}
	run(t, store)
	if _, err := one(store, hit(ratelimittest.NewKey(), 1), time.Second); !errors.Is(err, redis.ErrNotConnected) {
		t.Errorf("without a server: %v, want %v", err, redis.ErrNotConnected)
	}
	server.Start(t)
	await(t, store)
}

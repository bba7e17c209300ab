package local_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/fleet"
	"github.com/sluice-gateway/sluice/internal/fleet/envoytest"
	"github.com/sluice-gateway/sluice/internal/fleet/local"
)

// place is where Envoys take over from one another.
type place struct {
	*local.Slot
	config local.Config
	url    string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	port, upstream, dir := freePort(t), newSlowUpstream(t), runtimeDir(t)
	p := &place{Slot: &local.Slot{}, url: "http://127.0.0.1:" + strconv.Itoa(int(port)), config: local.Config{
		Binary: envoytest.Binary(t), Dir: dir, Concurrency: 1, Drain: fleet.Drain{Timeout: deadline},
		Bootstrap: marshalled(t, staticBootstrap(t, fleetConfig(dir), port, upstream.Listener.Addr())),
	}}
	t.Cleanup(func() {
		_ = p.Stop(context.Background()) // at worst it cuts something off
		_ = dir.Remove()
	})
	p.run(t)
	eventually(t, deadline, "Envoy serves", func() bool {
		_, err := get(p.url)
		return err == nil
	})
	return p
}

func (p *place) run(t *testing.T) {
	t.Helper()
	if loss, err := p.Run(t.Context(), p.config); err != nil || loss != nil {
		t.Fatalf("lost %v, error %v", loss, err)
	}
}

// shortConnections makes one connection after the other, each with a request, until it is told to stop.
func shortConnections(url string, clients int) (stop func() (sent, failed int64, last error)) {
	var sent, failed atomic.Int64
	var last atomic.Value
	var working sync.WaitGroup
	done := make(chan struct{})
	for range clients {
		working.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				sent.Add(1)
				if body, err := get(url); err != nil || body != "answer" {
					failed.Add(1)
					last.Store(fmt.Errorf("%q: %w", body, err))
				}
			}
		})
	}
	return func() (int64, int64, error) {
		close(done)
		working.Wait()
		err, _ := last.Load().(error)
		return sent.Load(), failed.Load(), err
	}
}

// TestEnvoysTakeOver has one Envoy after the other take over, with more workers and with fewer, while connections come
// all the time that last for one request. None is lost, and nothing is left of those before.
func TestEnvoysTakeOver(t *testing.T) {
	p := newPlace(t)
	stop := shortConnections(p.url, 4)
	for round, concurrency := range []int{2, 1, 3, 1} {
		before := p.Current().Pid()
		p.config.Concurrency = concurrency
		p.run(t)
		if pid := p.Current().Pid(); pid == before || !gone(before) {
			t.Errorf("round %d: Envoy is process %d, before it was %d, which is to be gone", round, pid, before)
		}
		if left, err := filepath.Glob(p.config.Dir.Path() + "/admin.*"); err != nil || len(left) != 2 {
			t.Errorf("round %d: the admin sockets are %v, %v; want one, and the link to it", round, left, err)
		}
		info, err := local.Admin{Socket: p.config.Dir.AdminSocket()}.ServerInfo(t.Context())
		if err != nil || int(info.CommandLineOptions.Concurrency) != concurrency {
			t.Errorf("round %d: the admin interface is of %v, %v", round, info.GetCommandLineOptions(), err)
		}
	}
	sent, failed, err := stop()
	if failed > 0 || sent < 100 {
		t.Errorf("%d of %d connections failed, the last with: %v", failed, sent, err)
	}
	t.Logf("%d connections", sent)
}

// TestNobodyTakesOver has Envoys that cannot: the one that serves goes on.
func TestNobodyTakesOver(t *testing.T) {
	p := newPlace(t)
	before := p.Current().Pid()
	stop := shortConnections(p.url, 2)
	broken := p.config
	broken.Bootstrap = []byte(strings.Replace(string(p.config.Bootstrap), `"static_resources"`, `"no_such_field"`, 1))
	var crash local.Crash
	if _, err := p.Run(t.Context(), broken); !errors.As(err, &crash) || !strings.Contains(err.Error(), "no_such_field") {
		t.Errorf("a bootstrap that Envoy does not take: %v, want its words", err)
	}
	// It waits for its configuration, and so listens on nothing yet.
	late := p.config
	late.Bootstrap = []byte(strings.Replace(string(p.config.Bootstrap), `"static_resources"`,
		`"dynamic_resources": {"lds_config": {"ads": {}, "initial_fetch_timeout": "0s"}, "ads_config": {"api_type": `+
			`"DELTA_GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "upstream"}}]}},`+
			`"static_resources"`, 1))
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := p.Run(ctx, late); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an Envoy without configuration: %v", err)
	}
	if left, err := filepath.Glob(p.config.Dir.Path() + "/*.1.*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if now := p.Current().Pid(); now != before {
		t.Errorf("Envoy is process %d, before it was %d", now, before)
	}
	if sent, failed, err := stop(); failed > 0 || sent == 0 {
		t.Errorf("%d of %d connections failed: %v", failed, sent, err)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := p.Run(t.Context(), p.config); !errors.Is(err, local.ErrSlotStopped) {
		t.Errorf("after Stop: %v", err)
	}
	if entries, err := os.ReadDir(p.config.Dir.Path()); err != nil || len(entries) > 2 {
		t.Errorf("left behind: %v, %v; want the lock and the link only", entries, err)
	}
}

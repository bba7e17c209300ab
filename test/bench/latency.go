package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/process"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// bareEnvoy is what somebody would write by hand for one route, and nothing else.
const bareEnvoy = `
static_resources:
  listeners:
  - name: http
    address: {socket_address: {address: 127.0.0.1, port_value: %[1]d}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          route_config:
            virtual_hosts:
            - name: host
              domains: ["%[2]s"]
              routes:
              - match: {prefix: /}
                route: {cluster: backend}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: backend
    type: STATIC
    load_assignment:
      cluster_name: backend
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: %[3]s, port_value: %[4]d}}}
`

// startBare runs an Envoy with a hand-written configuration for route 0.
func startBare(b *bench) (*gateway, error) {
	root, err := b.folder("bare")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	path := filepath.Join(root, "envoy.yaml")
	content := fmt.Appendf(nil, bareEnvoy, port, host(0), backendAddress(0), b.backend)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return nil, err
	}
	began := time.Now()
	p, err := process.Start(filepath.Join(root, "log"), b.envoy, "-c", path, "--concurrency", "1", "--use-dynamic-base-id",
		"--log-level", "warn")
	if err != nil {
		return nil, err
	}
	return &gateway{Process: p, address: fmt.Sprintf("127.0.0.1:%d", port), began: began}, nil
}

// latency compares a request through Sluice's Envoy with one through a bare Envoy. Both run all the time and are asked
// in turn, in rounds so short that whatever else the machine does hits both.
func latency(ctx context.Context, b *bench) error {
	bare, err := startBare(b)
	if err != nil {
		return err
	}
	defer bare.Stop()
	own, err := startSluice(b, 1, false)
	if err != nil {
		return err
	}
	defer own.Stop()
	rounds := 100
	if b.quick {
		rounds = 10
	}
	req := load.NewRequest(host(0), firstPath, nil)
	a, z, err := compare(ctx, rounds, side{own, req}, side{bare, req})
	if err != nil {
		return err
	}
	for _, q := range []struct {
		name       string
		own, other time.Duration
	}{{"p50", a.p50, z.p50}, {"p99", a.p99, z.p99}} {
		b.table.Add(table.Row{What: "latency, share of a bare Envoy's, " + q.name, Unit: table.Ratio, Target: 1.03,
			Measured: float64(q.own) / float64(q.other), Note: fmt.Sprintf("%v, bare %v", q.own, q.other)})
	}
	return nil
}

// side is one of two things to compare.
type side struct {
	*gateway
	request load.Request
}

// quantiles are medians over rounds: a round that something else disturbed does not count.
type quantiles struct{ p50, p99 time.Duration }

// compare asks two sides in turn, each for half a second, in alternating order.
func compare(ctx context.Context, rounds int, a, b side) (quantiles, quantiles, error) {
	sides := []side{a, b}
	p50, p99 := make([][]time.Duration, 2), make([][]time.Duration, 2)
	for _, s := range sides {
		if err := s.settle(ctx); err != nil {
			return quantiles{}, quantiles{}, err
		}
	}
	for round := range rounds {
		for turn := range sides {
			i := (round + turn) % 2
			round, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
			result := load.Run(round, load.Config{
				Address: sides[i].address, Requests: []load.Request{sides[i].request}, Conns: 2,
			})
			cancel()
			if err := ctx.Err(); err != nil {
				return quantiles{}, quantiles{}, err
			}
			if result.Failed() > 0 {
				return quantiles{}, quantiles{}, fmt.Errorf("%v", result)
			}
			p50[i] = append(p50[i], result.Quantile(0.5))
			p99[i] = append(p99[i], result.Quantile(0.99))
		}
	}
	return quantiles{median(p50[0]), median(p99[0])}, quantiles{median(p50[1]), median(p99[1])}, nil
}

// settle waits until a side serves, and warms it up.
func (s side) settle(ctx context.Context) error {
	conn := load.NewConn(s.address)
	defer conn.Close()
	for deadline := time.Now().Add(time.Minute); ; {
		status, err := conn.Do(s.request)
		if err == nil && status == 200 {
			break
		}
		if ended := s.Running(); ended != nil {
			return ended
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%s does not serve: status %d, error %v", s.address, status, err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	warm, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	load.Run(warm, load.Config{Address: s.address, Requests: []load.Request{s.request}, Conns: 2})
	return ctx.Err()
}

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

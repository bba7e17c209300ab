package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
	"github.com/sluice-gateway/sluice/test/bench/usage"
)

// deniedHeader is what the policy looks at.
const deniedHeader = "x-denied"

// securityPolicy denies requests with one value of a header.
const securityPolicy = `apiVersion: gateway.envoyproxy.io/v1alpha1
kind: SecurityPolicy
metadata: {name: edited, namespace: default}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: %s, name: %s}]
  authorization:
    defaultAction: Allow
    rules:
    - action: Deny
      principal: {headers: [{name: %s, values: [%s]}]}
`

// target is what the policy is attached to.
type target struct {
	what, kind, name string
	// change and cpu are what was promised for the largest size, in milliseconds.
	change, cpu float64
}

// policy measures edits of a policy of a Gateway with many routes, and of one of these.
func policy(ctx context.Context, b *bench) error {
	n := slices.Max(b.routes)
	g, err := startSluice(b, n, false)
	if err != nil {
		return err
	}
	defer g.Stop()
	if _, err := g.coldStart(ctx); err != nil {
		return err
	}
	for _, t := range []target{
		{what: "a Gateway with %d routes", kind: "Gateway", name: "gw", change: 200, cpu: 100},
		{what: "one of %d routes", kind: "HTTPRoute", name: "route-0", change: changeTarget[n], cpu: cpuTarget[n]},
	} {
		if n != 5000 {
			t.change, t.cpu = 0, 0
		}
		t.what = fmt.Sprintf("policy of "+t.what, n)
		if err := b.policyOf(ctx, g, t); err != nil {
			return fmt.Errorf("%s: %w", t.what, err)
		}
	}
	return nil
}

// policyOf measures edits of the policy of one target, under load.
func (b *bench) policyOf(ctx context.Context, g *gateway, t target) error {
	samples := 20
	if b.quick {
		samples = 5
	}
	stop := load.Start(load.Config{Address: g.address, Conns: 4, Rate: 1000, Requests: []load.Request{
		load.NewRequest(host(0), firstPath, nil), load.NewRequest(host(1), firstPath, nil),
		load.NewRequest(host(len(g.config.paths)-1), firstPath, nil),
	}})
	took, cpu, err := g.policyEdits(ctx, t, samples)
	result := stop()
	if err != nil {
		return err
	}
	b.table.Add(table.Row{What: t.what + ": written to in force", Measured: table.InMilliseconds(took), Target: t.change,
		Note: fmt.Sprintf("p50 of %d", samples)})
	b.table.Add(table.Row{What: t.what + ": control plane CPU of it", Target: t.cpu,
		Measured: table.InMilliseconds(cpu) / float64(samples), Note: fmt.Sprintf("mean of %d", samples)})
	b.table.Add(table.Row{What: t.what + ": requests lost meanwhile", Unit: table.Requests,
		Measured: float64(result.Failed()), Note: result.String()})
	return nil
}

// policyEdits edits the policy so often, and returns the median time until it is in force, and the CPU time that the
// control plane took for all edits.
func (g *gateway) policyEdits(ctx context.Context, t target, samples int) (median, cpu time.Duration, err error) {
	conn := load.NewConn(g.address)
	defer conn.Close()
	var took []time.Duration
	var before time.Duration
	// The first makes the policy: it is no edit.
	for i := range samples + 1 {
		if i == 1 {
			if before, err = usage.CPU(g.controlPlane()...); err != nil {
				return 0, 0, err
			}
		}
		time.Sleep(50 * time.Millisecond)
		value := fmt.Sprintf("v%d", i)
		denied := load.NewRequest(host(0), firstPath, map[string]string{deniedHeader: value})
		begin := time.Now()
		text := fmt.Appendf(nil, securityPolicy, t.kind, t.name, deniedHeader, value)
		if err := g.config.write("policy.yaml", text); err != nil {
			return 0, 0, err
		}
		at, err := g.until(ctx, conn, denied, 403)
		if err != nil {
			return 0, 0, fmt.Errorf("edit %d: %w", i, err)
		}
		if i > 0 {
			took = append(took, at.Sub(begin))
		}
	}
	after, err := usage.CPU(g.controlPlane()...)
	slices.Sort(took)
	return took[len(took)/2], after - before, err
}

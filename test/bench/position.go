package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// position compares the last with the first of many routes of one host.
func position(ctx context.Context, b *bench) error {
	n, rounds := slices.Max(b.routes), 60
	if b.quick {
		rounds = 10
	}
	root, err := b.folder("position")
	if err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	c := &config{port: port, backend: b.backend}
	if err := c.create(root, "sluice", 1); err != nil {
		return err
	}
	var routes bytes.Buffer
	for i := range n {
		fmt.Fprintf(&routes, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: position-%05[1]d, namespace: default}
spec:
  parentRefs: [{name: gw}]
  hostnames: [position.example.com]
  rules:
  - matches: [{path: {type: PathPrefix, value: /position-%05[1]d}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-0}]
`, i)
	}
	if err := c.write("position.yaml", routes.Bytes()); err != nil {
		return err
	}
	g, err := b.runSluice(root, c)
	if err != nil {
		return err
	}
	defer g.Stop()
	at := func(i int) side {
		return side{g, load.NewRequest("position.example.com", fmt.Sprintf("/position-%05d", i), nil)}
	}
	last, first, err := compare(ctx, rounds, at(n-1), at(0))
	if err != nil {
		return err
	}
	b.table.Add(table.Row{What: fmt.Sprintf("last of %d routes of a host, share of the first's p50", n), Unit: table.Ratio,
		Measured: float64(last.p50) / float64(first.p50), Target: 1.1,
		Note: fmt.Sprintf("%v, first %v", last.p50, first.p50)})
	return nil
}

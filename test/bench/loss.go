package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// versions are what the edited route goes through: other backends, weights, filters and rule orders.
var versions = []string{
	`
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-0}]`, `
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-1}]`, `
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: backend-0, weight: 3}
    - {group: gateway.envoyproxy.io, kind: Backend, name: backend-2, weight: 1}`, `
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: backend-0, weight: 1}
    - {group: gateway.envoyproxy.io, kind: Backend, name: backend-2, weight: 3}`, `
  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-a, value: b}]}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-3}]`, `
  - backendRefs:
    - {group: gateway.envoyproxy.io, kind: Backend, name: backend-3}
    - group: gateway.envoyproxy.io
      kind: Backend
      name: backend-4
      filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-a, value: b}]}}]`, `
  - matches: [{path: {type: PathPrefix, value: /x}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-1}]
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-2}]`, `
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-2}]
  - matches: [{path: {type: PathPrefix, value: /x}}]
    backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: backend-5}]`,
}

const editedRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: edited, namespace: default}
spec:
  parentRefs: [{name: gw}]
  hostnames: [edited.example.com]
  rules:%s
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata: {name: fresh, namespace: default}
spec:
  endpoints: [{ip: {address: 127.2.0.%d, port: %d}}]
`

// fresh is a version whose backend's address is another each time.
const fresh = `
  - backendRefs: [{group: gateway.envoyproxy.io, kind: Backend, name: fresh}]`

// loss counts the requests that are lost while one route of a hundred is edited five times a second under load.
func loss(ctx context.Context, b *bench) error {
	duration := time.Minute
	if b.quick {
		duration = 5 * time.Second
	}
	g, err := startSluice(b, 100, false)
	if err != nil {
		return err
	}
	defer g.Stop()
	edit := func(i int) error {
		version := fresh
		if i%(len(versions)+1) < len(versions) {
			version = versions[i%(len(versions)+1)]
		}
		return g.config.write("edited.yaml", fmt.Appendf(nil, editedRoute, version, i%250+1, b.backend))
	}
	if err := edit(0); err != nil {
		return err
	}
	conn := load.NewConn(g.address)
	defer conn.Close()
	if _, err := g.wait(ctx, conn, "edited.example.com", "/"); err != nil {
		return err
	}
	stop := load.Start(load.Config{Address: g.address, Conns: 8, Rate: 4000, Requests: []load.Request{
		load.NewRequest("edited.example.com", "/", nil), load.NewRequest("edited.example.com", "/x/y", nil),
		load.NewRequest(host(7), firstPath, nil),
	}})
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	edits := 0
	for begin := time.Now(); time.Since(begin) < duration && err == nil && ctx.Err() == nil; <-ticker.C {
		edits++
		err = edit(edits)
	}
	result := stop()
	b.table.Add(table.Row{What: fmt.Sprintf("requests lost in %d edits in %v", edits, duration), Unit: table.Requests,
		Measured: float64(result.Failed()), Note: result.String()})
	if err != nil {
		return err
	}
	return ctx.Err()
}

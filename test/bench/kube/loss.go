package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// The load under which requests are counted: 200 ms apart, as gateway-api-bench edits.
const (
	loadRate   = 1500
	loadConns  = 8
	editPeriod = 200 * time.Millisecond
	edits      = 40
)

// loss edits one route forty times, five times a second, under load: its backend and a filter of that backend, there
// and back. It counts requests without a 200.
func loss(ctx context.Context, w *world) error {
	for _, n := range w.routes {
		if n > w.n {
			if err := w.grow(ctx, n); err != nil {
				return err
			}
		}
	}
	result, err := w.underLoad(ctx, load.NewRequest(host(0), path(0), nil), edits, func(k int) error {
		return w.apply(ctx, editedRoute(k))
	})
	if err != nil {
		return err
	}
	w.add(table.Row{What: fmt.Sprintf("requests lost in %d edits of a live route, %d routes", edits, w.n),
		Unit: table.Requests, Measured: float64(result.Failed()), Note: result.String()})
	return w.apply(ctx, route(0, path(0)))
}

// editedRoute is route 0 with the backend of route 0 or 1, and with or without a filter.
func editedRoute(k int) object {
	o := route(0, path(0))
	backend := map[string]any{"name": name(k % 2), "port": int64(80)}
	if k%2 == 1 {
		backend["filters"] = []any{map[string]any{
			"type": "ResponseHeaderModifier",
			"responseHeaderModifier": map[string]any{
				"add": []any{map[string]any{"name": "x-edited", "value": fmt.Sprint(k)}},
			},
		}}
	}
	spec := o.Object["spec"].(map[string]any)
	spec["rules"].([]any)[0].(map[string]any)["backendRefs"] = []any{backend}
	return o
}

// underLoad makes changes at the edit period while a request is sent all the time, and some time longer.
func (w *world) underLoad(ctx context.Context, req load.Request, n int, change func(k int) error) (load.Result, error) {
	stop := load.Start(load.Config{Address: w.address, Conns: loadConns, Rate: loadRate, Requests: []load.Request{req}})
	ticker := time.NewTicker(editPeriod)
	defer ticker.Stop()
	var err error
	for k := 1; k <= n && err == nil; k++ {
		select {
		case <-ticker.C:
			err = change(k)
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	// What the last change breaks is lost, too. A peer takes seconds until it is live.
	select {
	case <-time.After(5 * time.Second):
	case <-ctx.Done():
	}
	return stop(), err
}

package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// failover has a Service with four backends under load, one of which goes and comes back again and again, as pods do
// in a rollout: it is taken out of the Service's endpoints and still answers for a while. It counts requests without a
// 200.
func failover(ctx context.Context, w *world) error {
	const app = "failover"
	ports := slices.Concat([]int{w.backends.ok}, w.backends.spare)
	if err := w.apply(ctx, service(app)); err != nil {
		return err
	}
	slice := func(i int, ready bool) error {
		return w.apply(ctx, endpoint(fmt.Sprintf("%s-%d", app, i), app, ports[i], ready))
	}
	for i := range ports {
		if err := slice(i, true); err != nil {
			return err
		}
	}
	const hostname = app + ".example.com"
	if err := w.apply(ctx, routeTo(app, hostname, "/", gatewayParent(), app)); err != nil {
		return err
	}
	req := load.NewRequest(hostname, "/", nil)
	conn := load.NewConn(w.address)
	defer conn.Close()
	if _, _, err := w.answers(ctx, conn, req, statusOK); err != nil {
		return err
	}
	const changes = 40
	result, err := w.underLoad(ctx, req, changes, func(k int) error {
		return slice((k-1)/2%len(ports), k%2 == 0) // k counts from 1: each goes, and comes back with the next change
	})
	if err != nil {
		return err
	}
	w.add(table.Row{What: fmt.Sprintf("requests lost while endpoints go and come %d times", changes),
		Unit: table.Requests, Measured: float64(result.Failed()), Note: result.String()})
	return w.remove(ctx, routeResource, app)
}

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
	"github.com/sluice-gateway/sluice/test/bench/table"
)

// listenerSets attaches ListenerSets with one listener each, and routes to each of them, and measures how long it takes
// until the last is served, and one more.
func listenerSets(ctx context.Context, w *world) error {
	sets, each := 100, 16
	if w.quick {
		sets, each = 5, 2
	}
	if err := w.grow(ctx, 1); err != nil {
		return err
	}
	began := time.Now()
	for s := range sets {
		if err := w.listenerSet(ctx, s, each); err != nil {
			return err
		}
	}
	made := time.Now()
	conn := load.NewConn(w.address)
	defer conn.Close()
	last := load.NewRequest(setHost(sets-1), path(each-1), nil)
	if _, _, err := w.answers(ctx, conn, last, statusOK); err != nil {
		return err
	}
	w.add(table.Row{What: fmt.Sprintf("%d ListenerSets with %d routes each, last live after it is made", sets, each),
		Measured: table.InMilliseconds(time.Since(made)),
		Note:     fmt.Sprintf("made in %v", made.Sub(began).Round(time.Millisecond))})
	for s := range sets {
		if err := w.attached(ctx, listenerSetResource, setName(s), each); err != nil {
			return err
		}
	}
	var times []time.Duration
	for k := range 10 {
		if err := w.listenerSet(ctx, sets+k, 1); err != nil {
			return err
		}
		from := time.Now()
		at, _, err := w.answers(ctx, conn, load.NewRequest(setHost(sets+k), path(0), nil), statusOK)
		if err != nil {
			return err
		}
		times = append(times, at.Sub(from))
	}
	w.add(table.Row{What: fmt.Sprintf("new ListenerSet with a route to first 200, %d of them", sets),
		Measured: table.InMilliseconds(median(times)), Note: fmt.Sprintf("p50 of %d", len(times))})
	return nil
}

func setName(s int) string { return fmt.Sprintf("set-%04d", s) }

func setHost(s int) string { return setName(s) + ".example.com" }

// listenerSet makes one with routes to the backend of route 0.
func (w *world) listenerSet(ctx context.Context, s, routes int) error {
	err := w.apply(ctx, newObject(listenerSetResource, "ListenerSet", setName(s), map[string]any{
		"spec": map[string]any{
			"parentRef": map[string]any{"name": gatewayName},
			"listeners": []any{map[string]any{
				"name": "http", "port": int64(gatewayPort), "protocol": "HTTP", "hostname": setHost(s),
			}},
		},
	}))
	parent := map[string]any{"group": listenerSetResource.Group, "kind": "ListenerSet", "name": setName(s)}
	for r := 0; r < routes && err == nil; r++ {
		err = w.apply(ctx, routeTo(fmt.Sprintf("%s-%d", setName(s), r), setHost(s), path(r), parent, name(0)))
	}
	return err
}

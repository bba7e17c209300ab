package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/sluice-gateway/sluice/test/bench/load"
)

// tally is how requests were answered: how many with which status, 0 for no answer, and how long they and the slowest
// took.
type tally struct {
	by      map[int]int
	slowest time.Duration
	took    []time.Duration
}

// asked sends requests to a host one after the other for a while. They are counted for the total; which of the answers
// are right is for the drill to say.
func (in *instance) asked(
	ctx context.Context, length time.Duration, host string, header map[string]string,
) (tally, error) {
	conn := load.NewConn(in.address())
	defer conn.Close()
	out := tally{by: map[int]int{}}
	request := load.NewRequest(host, "/", header)
	for began := time.Now(); time.Since(began) < length && ctx.Err() == nil; {
		sent := time.Now()
		status, err := conn.Do(request)
		if err != nil {
			status = 0
		}
		out.by[status]++
		out.took = append(out.took, time.Since(sent))
		out.slowest = max(out.slowest, time.Since(sent))
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return out, err
		}
	}
	in.f.count(out.total(), 0)
	return out, ctx.Err()
}

func (t tally) total() int {
	n := 0
	for _, count := range t.by {
		n += count
	}
	return n
}

// add returns both together.
func (t tally) add(o tally) tally {
	out := tally{by: maps.Clone(t.by), slowest: max(t.slowest, o.slowest),
		took: slices.Concat(t.took, o.took)}
	if out.by == nil {
		out.by = map[int]int{}
	}
	for status, n := range o.by {
		out.by[status] += n
	}
	return out
}

// quantile returns how long a share of the requests took at most, 0 if there were none.
func (t tally) quantile(share float64) time.Duration {
	if len(t.took) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(t.took))[int(share*float64(len(t.took)-1))]
}

// other returns how many answers had none of the statuses.
func (t tally) other(statuses ...int) int {
	n := 0
	for status, count := range t.by {
		if !slices.Contains(statuses, status) {
			n += count
		}
	}
	return n
}

// String returns how often each status came.
func (t tally) String() string {
	var out []string
	for _, status := range slices.Sorted(maps.Keys(t.by)) {
		out = append(out, fmt.Sprintf("%d x %d", t.by[status], status))
	}
	return strings.Join(out, ", ")
}

// becomes waits until a request with headers is answered with a status, and returns how long that took.
func (in *instance) becomes(
	ctx context.Context, host string, header map[string]string, status int,
) (time.Duration, error) {
	conn := load.NewConn(in.address())
	defer conn.Close()
	began := time.Now()
	err := eventually(ctx, patience, func() error {
		got, err := conn.Do(load.NewRequest(host, "/", header))
		if err == nil && got != status {
			err = fmt.Errorf("%s is answered with %d, want %d", host, got, status)
		}
		return err
	})
	return time.Since(began), err
}

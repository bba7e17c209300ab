package extension

import (
	"context"
	"errors"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestFailed: a call that was given up at its deadline says so, whoever of the two was first, and counts as one to a
// server that is not there; what a server says before stays what it says.
func TestFailed(t *testing.T) {
	const (
		reset = "stream terminated by RST_STREAM with error code: CANCEL"
		over  = "DeadlineExceeded: context deadline exceeded"
	)
	for _, test := range []struct {
		name        string
		left        time.Duration
		err         error
		want        string
		unreachable bool
	}{
		{"here", -time.Millisecond, status.FromContextError(context.DeadlineExceeded).Err(), over, true},
		{"there, and known here", -time.Millisecond, status.Error(codes.DeadlineExceeded, reset), over, true},
		{"there first", 10 * time.Millisecond, status.Error(codes.Canceled, reset), over, true},
		{"long before", time.Minute, status.Error(codes.Canceled, reset), "Canceled: " + reset, false},
		{
			"by a server that waited for another", time.Minute, status.Error(codes.DeadlineExceeded, "no row in time"),
			"DeadlineExceeded: no row in time", true,
		},
		{
			"refused at the last moment", 10 * time.Millisecond, status.Error(codes.PermissionDenied, "not this host"),
			"PermissionDenied: not this host", false,
		},
		{"no status", time.Minute, errors.New("odd"), "Unknown: odd", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			ctx, cancel := context.WithDeadline(t.Context(), time.Now().Add(test.left))
			defer cancel()
			err := failed(ctx, test.err)
			if err.Error() != test.want || (unreachable(err) != nil) != test.unreachable {
				t.Errorf("got %q, unreachable: %v; want %q, %v", err, unreachable(err) != nil, test.want, test.unreachable)
			}
		})
	}
}

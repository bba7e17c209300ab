package fetch

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sluice-gateway/sluice/internal/model"
)

// TestKeptForALimitedTime says what becomes of something that is to be kept for an hour when its server fails: it stays
// for that hour, which is said together with why, and no longer.
func TestKeptForALimitedTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)
	var delivered []model.Fetched
	var stale []int
	f := New(Options{
		Deliver: func(_ model.Fetch, got model.Fetched) { delivered = append(delivered, got) },
		Stale:   func(n int) { stale = append(stale, n) },
	})
	f.now = func() time.Time { return now }
	work := f.newTask(model.NewFetch(model.FetchSpec{
		Kind: model.FetchHTTP, URL: "http://a.example", Every: time.Minute, Keep: time.Hour,
	}))
	one := found{data: []byte("one"), tag: "1"}
	failed, other := errors.New("it is away"), errors.New("it hangs")
	had := model.Fetched{
		Data: []byte("one"), SHA256: "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed",
	}
	old := func(why string, since time.Time) model.Fetched {
		out := had
		out.Stale = model.Stale{Error: why, Since: since, Until: since.Add(time.Hour + time.Minute)}
		return out
	}
	start := now.Truncate(time.Second)
	steps := []struct {
		what string
		// after is how much later it is.
		after time.Duration
		got   found
		err   error
		// least and most are the bounds of what is waited for.
		least, most time.Duration
		// want is what is delivered, nil for nothing; stale how many are stale then.
		want  *model.Fetched
		stale int
	}{
		{"nothing yet", 0, found{}, failed, time.Second, 2 * time.Second, &model.Fetched{Error: "it is away"}, 0},
		{"still nothing", 0, found{}, failed, 2 * time.Second, 3 * time.Second, nil, 0},
		{"there it is", 0, one, nil, time.Minute, time.Minute, &had, 0},
		{"the same", time.Minute, one, nil, time.Minute, time.Minute, nil, 0},
		{"not changed", time.Minute, found{}, errSame, time.Minute, time.Minute, nil, 0},
		{"away", time.Minute, found{}, failed, time.Second, 2 * time.Second,
			new(old("it is away", start.Add(2*time.Minute))), 1},
		{"away for the same reason", time.Second, found{}, failed, 2 * time.Second, 3 * time.Second, nil, 1},
		{"away for another", time.Second, found{}, other, 4 * time.Second, 5 * time.Second,
			new(old("it hangs", start.Add(2*time.Minute))), 1},
		{"back, not changed", time.Minute, found{}, errSame, time.Minute, time.Minute, &had, 0},
		{"a second before the end", time.Hour + time.Minute - time.Second, found{}, failed, time.Second, time.Second,
			new(old("it is away", start.Add(4*time.Minute+2*time.Second))), 1},
		{"the end", time.Second, found{}, failed, 2 * time.Second, 3 * time.Second, &model.Fetched{Error: "it is away"}, 0},
		{"back", time.Minute, one, nil, time.Minute, time.Minute, &had, 0},
	}
	for _, s := range steps {
		now, delivered = now.Add(s.after), nil
		if s.what == "a second before the end" {
			// What is asked for last is what it was confirmed to be.
			if work.tag != "1" {
				t.Errorf("the tag is %q", work.tag)
			}
		}
		wait, more := work.settle(s.got, s.err)
		if !more || wait < s.least || wait > s.most {
			t.Errorf("%s: wait %v, %t, want %v to %v", s.what, wait, more, s.least, s.most)
		}
		var want []model.Fetched
		if s.want != nil {
			want = append(want, *s.want)
		}
		if diff := cmp.Diff(want, delivered); diff != "" {
			t.Errorf("%s: delivered (-want +got):\n%s", s.what, diff)
		}
		if f.stale != s.stale || s.stale > 0 && stale[len(stale)-1] != s.stale {
			t.Errorf("%s: %d are stale, told were %v, want %d", s.what, f.stale, stale, s.stale)
		}
		if s.what == "the end" && work.tag != "" {
			t.Error("the server is asked for what has changed of what is gone")
		}
	}
	work.settle(found{}, failed)
	work.end()
	if stale[len(stale)-1] != 0 {
		t.Error("what is not wanted any more is counted as stale")
	}
}

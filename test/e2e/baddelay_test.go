package e2e

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// What is promised about bad objects: how long at most it takes, nine times out of ten, until a status says why, and
// until what was mended is served.
const tellWithin, healWithin = 5 * time.Second, 2 * time.Second

// delays are how long something took, by what.
type delays map[string]time.Duration

// p90 is what nine of ten did not exceed.
func (d delays) p90() time.Duration {
	all := slices.Sorted(maps.Values(d))
	return all[len(all)*9/10]
}

// String says how long it took, and for what longest.
func (d delays) String() string {
	all := slices.Sorted(maps.Values(d))
	out := fmt.Sprintf("p50 %v, p90 %v", all[len(all)/2].Round(time.Millisecond), d.p90().Round(time.Millisecond))
	for name, took := range d {
		if took == all[len(all)-1] {
			out += fmt.Sprintf(", longest %v for %s", took.Round(time.Millisecond), name)
		}
	}
	return out
}

// inTime holds what was measured to what is promised. A machine that is so busy that an edit of a good route takes
// long is given as much more time: ten such edits.
func (w *badWorld) inTime(t *testing.T) {
	t.Helper()
	t.Logf("a status says why within %v; what is mended is served within %v; edits of good routes beside it: %v", w.told,
		w.healed, w.edited)
	busy := 10 * w.edited.p90()
	if got, want := w.told.p90(), max(tellWithin, busy); got > want {
		t.Errorf("at p90 a status says why within %v, want %v", got, want)
	}
	if got, want := w.healed.p90(), max(healWithin, busy); got > want {
		t.Errorf("at p90 what is mended is served within %v, want %v", got, want)
	}
}

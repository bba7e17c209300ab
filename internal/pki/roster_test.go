package pki_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/sluice-gateway/sluice/internal/pki"
)

// TestAdoptedIsNewest adopts an authority in the second in which another was made, and by a clock that is behind. What
// is adopted comes last all the same, in every reading of the list, and so is what signs in the end.
func TestAdoptedIsNewest(t *testing.T) {
	for name, at := range map[string]time.Time{"same second": start, "clock behind": start.Add(-time.Minute)} {
		t.Run(name, func(t *testing.T) {
			// The authorities are random: an order that depends on their bytes comes out right every second time.
			for range 20 {
				own, _ := advance(t, newRoster(t), start)
				theirs, _ := advance(t, newRoster(t), start.Add(-day))
				roster := adopt(t, own, theirs, at)
				if want := append(own.Bundle(), theirs.Bundle()...); !bytes.Equal(roster.Bundle(), want) {
					t.Fatal("the adopted authority does not come after the other")
				}
				clk := &clock{start.Add(term.Settle)}
				a := pki.NewAuthority(clk.read)
				a.Set(roster)
				pair, err := a.Issue("ns/gw")
				if err != nil {
					t.Fatal(err)
				}
				if !verifies(t, pair, theirs.Bundle(), clk.now) {
					t.Fatal("another authority than the adopted one signs")
				}
			}
		})
	}
}

// adopt returns a list with the authority of another list, as it is read from the Secret.
func adopt(t *testing.T, r, theirs pki.Roster, now time.Time) pki.Roster {
	t.Helper()
	data, err := theirs.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.Index(data, []byte("-----BEGIN PRIVATE"))
	r, changed, err := r.Adopt(data[:at], data[at:], now)
	if err != nil || !changed {
		t.Fatalf("adopt: changed %v, %v", changed, err)
	}
	if data, err = r.Marshal(); err != nil {
		t.Fatal(err)
	}
	if r, err = pki.ParseRoster(data, term); err != nil {
		t.Fatal(err)
	}
	return r
}

package pki

import (
	"bytes"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Term is how long things last.
type Term struct {
	// CA is the life of an authority; its successor is made when half of it is over.
	CA time.Duration
	// Settle is how long a new authority is trusted before it signs: the time in which all Envoys have surely got the
	// new list.
	Settle time.Duration
	// Leaf is the life of a certificate; it is renewed when half of it is over.
	Leaf time.Duration
}

// DefaultTerm leaves weeks to mend whatever keeps certificates from being renewed.
var DefaultTerm = Term{CA: 3 * 365 * 24 * time.Hour, Settle: 24 * time.Hour, Leaf: 90 * 24 * time.Hour}

// Roster is the list of authorities as it is kept: certificates and keys in PEM. It is a value.
type Roster struct {
	term Term
	all  []ca
}

// ParseRoster reads a list made by [Roster.Marshal]. An empty one is a list without authorities.
func ParseRoster(data []byte, term Term) (Roster, error) {
	all, err := parseCAs(data)
	if err != nil {
		return Roster{}, err
	}
	return Roster{term, sortCAs(all)}, nil
}

// Marshal returns the list, with all keys.
func (r Roster) Marshal() ([]byte, error) {
	var out []byte
	for _, c := range r.all {
		var err error
		if out, err = c.marshal(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Advance returns the list as it should be now: with a new authority if there is none or the newest is past the middle
// of its life, and without those that nothing valid depends on. changed says whether that is another list.
func (r Roster) Advance(now time.Time) (next Roster, changed bool, err error) {
	next = r.pruned(now)
	changed = len(next.all) != len(r.all)
	if n := len(next.all); n > 0 && now.Before(middle(next.all[n-1])) {
		return next, changed, nil
	}
	c, err := newCA(now, r.term.CA)
	if err != nil {
		return r, false, err
	}
	next.all = append(slices.Clone(next.all), c)
	return next, true, nil
}

// Adopt returns the list with an authority that someone else makes and renews: its certificate and key in PEM, as in a
// kubernetes.io/tls Secret. It takes the place of those that Advance makes. changed says whether that is another list.
func (r Roster) Adopt(certificate, key []byte, now time.Time) (next Roster, changed bool, err error) {
	block, _ := pem.Decode(certificate)
	if block == nil || block.Type != pemCertificate {
		return r, false, errors.New("the CA has no certificate in PEM")
	}
	all, err := parseCAs(slices.Concat(pem.EncodeToMemory(block), key))
	switch {
	case err != nil:
		return r, false, err
	case len(all) != 1:
		return r, false, errors.New("the CA has no key in PEM")
	case now.After(all[0].cert.NotAfter):
		return r, false, fmt.Errorf("CA %q expired at %s", all[0].cert.Subject, all[0].cert.NotAfter.Format(time.RFC3339))
	}
	next = r.pruned(now)
	changed = len(next.all) != len(r.all)
	if slices.ContainsFunc(next.all, all[0].same) {
		return next, changed, nil
	}
	all[0].since = now.UTC().Truncate(time.Second)
	if n := len(next.all); n > 0 && all[0].since.Before(next.all[n-1].since) {
		// Made by a replica whose clock is ahead. What is adopted is to sign after all that was there.
		all[0].since = next.all[n-1].since
	}
	next.all = append(slices.Clone(next.all), all[0])
	return next, true, nil
}

// middle is when half of an authority's life is over.
func middle(c ca) time.Time {
	return c.since.Add(c.cert.NotAfter.Sub(c.since) / 2)
}

// signer returns the index of the authority that signs: the newest that everybody has heard of, or the oldest if nobody
// can have heard of any.
func (r Roster) signer(now time.Time) int {
	for i := len(r.all) - 1; i > 0; i-- {
		if !now.Before(r.from(i)) {
			return i
		}
	}
	return 0
}

// from is when an authority that is not the first starts to sign.
func (r Roster) from(i int) time.Time { return r.all[i].since.Add(r.term.Settle) }

// pruned leaves out authorities that are expired, and those whose successor has signed for so long that nothing of
// theirs is valid.
func (r Roster) pruned(now time.Time) Roster {
	out := Roster{term: r.term}
	for i, c := range r.all {
		replaced := i+1 < len(r.all) && now.After(r.from(i+1).Add(r.term.Leaf))
		if !replaced && now.Before(c.cert.NotAfter) {
			out.all = append(out.all, c)
		}
	}
	return out
}

// turn returns when the next thing changes by itself: another signer.
func (r Roster) turn(now time.Time) (time.Time, bool) {
	for i := range r.all {
		if i > 0 && now.Before(r.from(i)) {
			return r.from(i), true
		}
	}
	return time.Time{}, false
}

// Bundle returns the certificates of all authorities in PEM, oldest first: what is to be trusted.
func (r Roster) Bundle() []byte {
	var out bytes.Buffer
	for _, c := range r.all {
		_ = pem.Encode(&out, &pem.Block{Type: pemCertificate, Bytes: c.cert.Raw}) // a Buffer takes everything
	}
	return out.Bytes()
}

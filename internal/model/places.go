package model

import (
	"cmp"
	"strings"
	"unique"
)

// Databases are the files in which proxies look up where clients are (EnvoyProxy.geoIP): their paths as the proxies
// have them, empty for none.
type Databases struct {
	City, Country, ASN, ISP, Anonymous string
}

// Places are the [Databases] that a Gateway's proxies have. The zero value is none; make others with
// [Databases.Places].
type Places struct {
	handle unique.Handle[Databases]
}

// Places returns the databases as a small value to compare.
func (d Databases) Places() Places {
	if d == (Databases{}) {
		return Places{}
	}
	return Places{handle: unique.Make(d)}
}

// Databases returns what the places were made of.
func (p Places) Databases() Databases {
	if p == (Places{}) {
		return Databases{}
	}
	return p.handle.Value()
}

// Compare orders places by their paths.
func (p Places) Compare(o Places) int {
	if p == o {
		return 0
	}
	a, b := p.Databases(), o.Databases()
	return cmp.Or(strings.Compare(a.City, b.City), strings.Compare(a.Country, b.Country), strings.Compare(a.ASN, b.ASN),
		strings.Compare(a.ISP, b.ISP), strings.Compare(a.Anonymous, b.Anonymous))
}

// Equal reports whether the two are the same.
func (p Places) Equal(o Places) bool { return p == o }

package model

import (
	"cmp"
	"net/url"
	"strings"
	"time"
	"unique"
)

// FetchKind is how something is fetched.
type FetchKind string

const (
	// FetchHTTP is one GET of a URL.
	FetchHTTP FetchKind = "http"
	// FetchWasmImage is the Wasm module in an OCI image: the URL is REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@DIGEST.
	FetchWasmImage FetchKind = "image"
	// FetchJWKS is the public keys of a JSON Web Key Set (RFC 7517), by one GET of a URL that is not redirected.
	FetchJWKS FetchKind = "jwks"
)

// FetchSpec is everything that says what is to be fetched, and how.
type FetchSpec struct {
	Kind FetchKind
	// URL is where it is; for an image its name.
	URL string
	// SHA256 is what it has to hash to, in hexadecimal; of an image, the digest of its manifest. Empty for anything.
	SHA256 string
	// CA is PEM of certificate authorities that are trusted besides those of the system.
	CA string
	// Credentials is a Docker config.json with the credentials for registries, empty for none.
	Credentials string
	// Limit is the size in bytes above which it is refused.
	Limit int64
	// Every is how often it is looked for again, 0 for never: what is found once is kept.
	Every time.Duration
	// Keep is how long what was found stays when it is to be looked for again and cannot be had, 0 for any time.
	Keep time.Duration
}

// Fetch is something that is to be fetched from a server. Two with the same spec are one, whoever wants them. Make it
// with [NewFetch].
type Fetch struct {
	handle unique.Handle[FetchSpec]
}

// NewFetch returns the fetch of a spec.
func NewFetch(s FetchSpec) Fetch { return Fetch{handle: unique.Make(s)} }

// Spec returns what the fetch was made of.
func (f Fetch) Spec() FetchSpec {
	if f == (Fetch{}) {
		return FetchSpec{}
	}
	return f.handle.Value()
}

// Compare orders by kind, URL, and everything else.
func (f Fetch) Compare(o Fetch) int {
	if f == o {
		return 0
	}
	a, b := f.Spec(), o.Spec()
	return cmp.Or(strings.Compare(string(a.Kind), string(b.Kind)), strings.Compare(a.URL, b.URL),
		strings.Compare(a.SHA256, b.SHA256), strings.Compare(a.CA, b.CA), strings.Compare(a.Credentials, b.Credentials),
		cmp.Compare(a.Limit, b.Limit), cmp.Compare(a.Every, b.Every), cmp.Compare(a.Keep, b.Keep))
}

// Equal reports whether the two are the same.
func (f Fetch) Equal(o Fetch) bool { return f == o }

// String returns the URL for messages: without a user, a password, a query and a fragment, in which secrets may be.
func (f Fetch) String() string {
	s := f.Spec()
	if s.Kind == FetchWasmImage {
		return s.URL
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return "an invalid URL"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	return u.String()
}

// Fetched is what became of a [Fetch].
type Fetched struct {
	// Data is what was fetched, never changed; nil if nothing was.
	Data []byte
	// SHA256 is the hash of Data in hexadecimal.
	SHA256 string
	// Error is why nothing was fetched so far, or is kept any more, one clause for a message; empty if something is.
	Error string
	// Stale says that Data could not be fetched anew when it was time to; the zero value that it is up to date, or is
	// kept for any time.
	Stale Stale
}

// Stale says of something that was fetched, and is kept for a limited time, that it cannot be fetched anew.
type Stale struct {
	// Error is why, one clause for a message.
	Error string
	// Since is when it was fetched last, Until how long it is kept; in UTC and whole seconds.
	Since, Until time.Time
}

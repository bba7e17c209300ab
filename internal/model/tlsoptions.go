package model

import (
	"strings"
	"unique"
)

// TLSOptions says which TLS is spoken with backends. The zero value says nothing: Sluice's defaults hold. It is small,
// because it is part of the key of every backend; make it with [TLSSettings.Options].
type TLSOptions struct {
	handle unique.Handle[string]
}

// TLSSettings are the contents of [TLSOptions]. What is empty is left to the defaults. No value has one of the
// characters "~", "=", ",", ";", "^", "@" and "+".
type TLSSettings struct {
	// MinVersion and MaxVersion are 1.0 to 1.3.
	MinVersion, MaxVersion string
	// Ciphers are for TLS up to 1.2, Curves those of the key exchange.
	Ciphers, Curves []string
	// Signatures are signature algorithms, ALPN application protocols in order of preference.
	Signatures, ALPN []string
}

// The separators between fields, and between the values of a list.
const (
	tlsFieldMark = ";"
	tlsListMark  = "^"
)

// Options returns the settings as a key.
func (s TLSSettings) Options() TLSOptions {
	list := func(values []string) string { return strings.Join(values, tlsListMark) }
	text := strings.Join([]string{
		s.MinVersion, s.MaxVersion, list(s.Ciphers), list(s.Curves), list(s.Signatures), list(s.ALPN),
	}, tlsFieldMark)
	return tlsOptions(text)
}

func tlsOptions(text string) TLSOptions {
	if strings.Trim(text, tlsFieldMark) == "" {
		return TLSOptions{}
	}
	return TLSOptions{handle: unique.Make(text)}
}

func (o TLSOptions) text() string {
	if o == (TLSOptions{}) {
		return ""
	}
	return o.handle.Value()
}

// Settings returns what the options say.
func (o TLSOptions) Settings() TLSSettings {
	var out TLSSettings
	lists := []*[]string{&out.Ciphers, &out.Curves, &out.Signatures, &out.ALPN}
	for i, field := range strings.Split(o.text(), tlsFieldMark) {
		switch {
		case field == "":
		case i == 0:
			out.MinVersion = field
		case i == 1:
			out.MaxVersion = field
		case i-2 < len(lists):
			*lists[i-2] = strings.Split(field, tlsListMark)
		}
	}
	return out
}

// Or returns the options with what others say where these say nothing.
func (o TLSOptions) Or(under TLSOptions) TLSOptions {
	if o == (TLSOptions{}) || under == (TLSOptions{}) {
		return tlsOptions(o.text() + under.text()) // one of them is empty
	}
	over, below := strings.Split(o.text(), tlsFieldMark), strings.Split(under.text(), tlsFieldMark)
	for i := range over {
		if over[i] == "" {
			over[i] = below[i]
		}
	}
	return tlsOptions(strings.Join(over, tlsFieldMark))
}

// Compare orders options by what they say.
func (o TLSOptions) Compare(p TLSOptions) int {
	if o == p {
		return 0
	}
	return strings.Compare(o.text(), p.text())
}

// Equal reports whether the two are the same.
func (o TLSOptions) Equal(p TLSOptions) bool { return o == p }

// tlsMark is what the suffix of a cluster with TLS options starts with.
const tlsMark = "tls/"

// String returns tls/ and the settings, the fields with ";" between them; it is empty for the zero value.
func (o TLSOptions) String() string {
	if o == (TLSOptions{}) {
		return ""
	}
	return tlsMark + o.text()
}

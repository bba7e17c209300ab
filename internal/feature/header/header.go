// Package header knows which header names and values a user may write into Envoy's configuration.
//
// Envoy refuses a whole RouteConfiguration for one bad header, and forwards what it does not refuse, so the features
// that take header names or values from users ask here first.
package header

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxValue is the largest value in bytes that Envoy's HeaderValue.value takes, halved: escaping can double it.
const maxValue = 16384 / 2

// managed are the headers that frame a message or belong to one connection (RFC 9110, sections 6.4.1 and 7.6.1).
// Whoever could set them could smuggle requests into connections that other routes share.
var managed = []string{
	"connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// CheckName returns what is wrong with name as the name of a header that a user reads or names, or nil: it must be a
// token (RFC 9110, section 5.6.2), which pseudo headers like :path are not.
func CheckName(name string) error {
	if strings.HasPrefix(name, ":") {
		return fmt.Errorf("%q is a pseudo header: these belong to the protocol, name an ordinary header", name)
	}
	if name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenChar(r) }) {
		return fmt.Errorf("%q is not a header name: use letters, digits and any of !#$%%&'*+-.^_`|~", name)
	}
	return nil
}

// CheckMutable returns what is wrong with name as the name of a header that a user adds, sets or removes, or nil:
// besides being a name it must not be one that Envoy manages. Host is mutable for this purpose.
func CheckMutable(name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if slices.Contains(managed, strings.ToLower(name)) {
		return fmt.Errorf("%s is managed by Envoy, because it frames the message or the connection: remove it", name)
	}
	return nil
}

// CheckValue returns what is wrong with value as a header's value, or nil. Visible characters, spaces, tabs and
// characters beyond ASCII are allowed (RFC 9110, section 5.5).
func CheckValue(value string) error {
	switch {
	case len(value) > maxValue:
		return fmt.Errorf("the value is %d bytes long: shorten it to %d", len(value), maxValue)
	case !utf8.ValidString(value):
		return fmt.Errorf("the value is not UTF-8: remove the other bytes")
	case strings.ContainsFunc(value, func(r rune) bool { return r != '\t' && (r < ' ' || r == 0x7f) }):
		return fmt.Errorf("the value %q has control characters: remove them", value)
	}
	return nil
}

// Literal returns value as Envoy's substitution formatter has to see it to write it unchanged: what a user wrote is
// data, never a format.
func Literal(value string) string { return strings.ReplaceAll(value, "%", "%%") }

func isTokenChar(r rune) bool {
	switch {
	case '0' <= r && r <= '9', 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z':
		return true
	}
	return strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

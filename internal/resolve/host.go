package resolve

import (
	"cmp"
	"strings"
)

// A host pattern is a host name, "*." and a suffix, or "" for every host. "*.example.com" matches any number of labels
// in front of example.com, but at least one (Gateway API, Hostname). Patterns are lower case.

const wildcard = "*."

// covers says whether every host that matches b also matches a.
func covers(a, b string) bool {
	switch {
	case a == "" || a == b:
		return true
	case b == "" || !strings.HasPrefix(a, wildcard):
		return false
	default:
		// Behind the star is ".suffix": of "*.b.c" it covers "a.b.c" and "*.a.b.c", but not "b.c".
		return strings.HasSuffix(b, a[1:])
	}
}

// intersect returns the pattern of the hosts that match both, and whether there are any. Two patterns are either
// disjoint or one covers the other.
func intersect(a, b string) (string, bool) {
	switch {
	case covers(a, b):
		return b, true
	case covers(b, a):
		return a, true
	default:
		return "", false
	}
}

// widen returns the next less specific pattern that covers a pattern: that of "a.b.c" is "*.b.c", of "*.b.c" "*.c", of
// "c" and "*.c" the pattern of every host. It returns false for the latter.
func widen(pattern string) (string, bool) {
	if pattern == "" {
		return "", false
	}
	rest := strings.TrimPrefix(pattern, wildcard)
	dot := strings.IndexByte(rest, '.')
	if dot < 0 {
		return "", true
	}
	return wildcard + rest[dot+1:], true
}

// compareHosts orders patterns from the most to the least specific: exact names, then wildcards with more labels before
// those with fewer, then every host; alphabetically where that says nothing.
func compareHosts(a, b string) int {
	return cmp.Or(cmp.Compare(vagueness(a), vagueness(b)), strings.Compare(a, b))
}

func vagueness(pattern string) int {
	const everything = 1 << 10
	switch {
	case pattern == "":
		return everything
	case strings.HasPrefix(pattern, wildcard):
		return everything - 1 - strings.Count(pattern, ".")
	default:
		return 0
	}
}

// domain returns the pattern as Envoy writes it: "*" for every host.
func domain(pattern string) string {
	if pattern == "" {
		return "*"
	}
	return pattern
}

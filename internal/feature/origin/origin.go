// Package origin is what features have in common that let in pages by their origin (RFC 6454): which origins can be
// allowed, and how Envoy finds them.
package origin

import (
	"net"
	"regexp"
	"strconv"
	"strings"

	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// Any allows every origin.
const Any = "*"

// What a wildcard stands for: labels of a host name, any number of them, or all of an address.
const (
	labels  = `[a-z0-9._-]+`
	address = `\[[0-9a-f:.]+\]`
)

// pattern takes an origin apart: scheme, host with or without a wildcard, port.
var pattern = regexp.MustCompile(
	`^([a-z][a-z0-9+.-]*)://((?:\*\.)?[a-z0-9._-]+|\*|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?$`)

// Origin is an origin that is allowed, in lower case. Host can be "*", or begin with "*." for one label or more. Port
// is empty for the scheme's own.
type Origin struct{ Scheme, Host, Port string }

// Parse takes an origin apart, and says whether it is one. [Any] is none.
func Parse(text string) (Origin, bool) {
	parts := pattern.FindStringSubmatch(strings.ToLower(text))
	if parts == nil {
		return Origin{}, false
	}
	out := Origin{Scheme: parts[1], Host: parts[2], Port: parts[3]}
	if strings.HasPrefix(out.Host, "[") && net.ParseIP(strings.Trim(out.Host, "[]")) == nil {
		return Origin{}, false
	}
	port, err := strconv.Atoi(out.Port)
	return out, out.Port == "" || err == nil && port >= 1 && port <= 65535
}

// Web reports whether the origin is that of pages on the web, whose schemes are http and https.
func (o Origin) Web() bool { return o.Scheme == "http" || o.Scheme == "https" }

// Match returns the matcher of what browsers send in the header Origin.
func (o Origin) Match() *matcherv3.StringMatcher {
	return regex(regexp.QuoteMeta(o.Scheme) + "://" + o.hostAndPort())
}

// MatchHost returns the matcher of host and port alone.
func (o Origin) MatchHost() *matcherv3.StringMatcher { return regex(o.hostAndPort()) }

// MatchAny returns the matcher of every origin.
func MatchAny() *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: Any}}
}

func regex(expr string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: "(?i)" + expr},
	}}
}

// hostAndPort is a regular expression for the host and the port. Browsers leave out a port that is the scheme's own, so
// with and without it are the same origin. Hosts are compared without regard to case.
func (o Origin) hostAndPort() string {
	var expr string
	switch {
	case o.Host == Any:
		expr = "(" + labels + "|" + address + ")"
	case strings.HasPrefix(o.Host, "*."):
		expr = labels + regexp.QuoteMeta(o.Host[1:])
	default:
		expr = regexp.QuoteMeta(o.Host)
	}
	own := map[string]string{"http": "80", "https": "443"}[o.Scheme]
	switch {
	case own != "" && (o.Port == "" || o.Port == own):
		return expr + "(:" + own + ")?"
	case o.Port != "":
		return expr + ":" + o.Port
	default:
		return expr
	}
}

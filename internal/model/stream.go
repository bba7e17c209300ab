package model

import (
	"cmp"
	"fmt"
	"strings"
	"time"
)

// StreamKey identifies what one route can take of a listener of protocol TLS, TCP or UDP: the connections for a
// hostname by SNI, or everything.
type StreamKey struct {
	Port     PortKey
	Listener ListenerKey
	// Domain is a host name, "*.suffix", or "*" for everything. It is lower case.
	Domain string
}

// Compare orders streams by port, listener, then domain.
func (k StreamKey) Compare(o StreamKey) int {
	return cmp.Or(k.Port.Compare(o.Port), k.Listener.Compare(o.Listener), strings.Compare(k.Domain, o.Domain))
}

// String returns transport/PORT/LISTENER/DOMAIN, the listener as in [ListenerKey.String].
func (k StreamKey) String() string {
	return fmt.Sprintf("%s/%d/%s/%s", k.Port.Transport, k.Port.Port, k.Listener, k.Domain)
}

// KindUDPPort is the kind of the [BackendKey] that stands for everything that the datagrams of a UDP port can be sent
// to: see [UDPPort].
const KindUDPPort = "UDPPort"

// UDPPort returns the key of the cluster of a UDP port.
func UDPPort(port uint16) BackendKey { return BackendKey{Kind: KindUDPPort, Port: port, Use: AppUDP} }

// StreamBinding is a TLSRoute, TCPRoute or UDPRoute attached to one listener. Of several routes that are bound to the
// same domain of a listener one takes its connections: see [Claim.Compare].
type StreamBinding struct {
	Port     PortKey
	Listener ListenerKey
	// Hosts are the domains that the route wants: that of a TCP or UDP listener is "*".
	Hosts []BoundHost
	// Client is what the listener's Gateway shows to backends.
	Client ClientCertificate
	// Above are the policies that hold for the listener.
	Above PolicyStack
	// Created is the time at which the route was made, zero in files.
	Created time.Time
}

// Keys returns the streams that the route wants.
func (b StreamBinding) Keys() []StreamKey {
	out := make([]StreamKey, 0, len(b.Hosts))
	for _, h := range b.Hosts {
		out = append(out, StreamKey{Port: b.Port, Listener: b.Listener, Domain: h.Domain})
	}
	return out
}

// From returns the route's own hostname that a domain came from, and whether the route wants the domain at all.
func (b StreamBinding) From(domain string) (string, bool) {
	for _, h := range b.Hosts {
		if h.Domain == domain {
			return h.From, true
		}
	}
	return "", false
}

// Claim is what the precedence between routes that want the same stream depends on.
type Claim struct {
	Route   RouteKey
	Created time.Time
	// From is the route's own hostname.
	From string
}

// Compare orders claims, the one that takes the connections first: that with the more specific hostname (TLSRouteSpec
// .hostnames: the largest number of characters in a matching non-wildcard hostname, then in a matching hostname), then
// the older route, then the one whose name comes first.
func (c Claim) Compare(o Claim) int {
	exact := func(h string) int {
		if h == "" || strings.HasPrefix(h, "*") {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(exact(c.From), exact(o.From)), cmp.Compare(len(o.From), len(c.From)),
		c.Created.Compare(o.Created), c.Route.Compare(o.Route))
}

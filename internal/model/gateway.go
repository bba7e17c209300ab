package model

import (
	"cmp"
	"fmt"
	"strings"
	"unique"
)

// Protocol is what a listener speaks, as the Gateway API names it.
type Protocol string

// The protocols of the Gateway API.
const (
	HTTP  Protocol = "HTTP"
	HTTPS Protocol = "HTTPS"
	TLS   Protocol = "TLS"
	TCP   Protocol = "TCP"
	UDP   Protocol = "UDP"
)

// Transport is the transport protocol of a port. A TCP port and a UDP port of one number are two ports: they share
// nothing.
type Transport uint8

// The transport protocols.
const (
	// OverTCP is that of every protocol but UDP.
	OverTCP Transport = iota
	OverUDP
)

// String returns tcp or udp.
func (t Transport) String() string {
	if t == OverUDP {
		return "udp"
	}
	return "tcp"
}

// Transport returns what the protocol runs over.
func (p Protocol) Transport() Transport {
	if p == UDP {
		return OverUDP
	}
	return OverTCP
}

// ProxyName identifies a fleet of identical Envoys: the Gateways that share it are served by the same Envoys. On one
// machine there is a single proxy for everything.
type ProxyName string

// Compare orders proxies by name.
func (p ProxyName) Compare(o ProxyName) int { return strings.Compare(string(p), string(o)) }

// Gateway is a Gateway of one of our classes, its listeners checked one by one but not yet against those of others.
type Gateway struct {
	Name  Name
	Proxy ProxyName
	// Listeners are in the order of the spec. Those that are not Valid are there for their status only.
	Listeners []Listener
}

// ListenerKey identifies a listener: the object it is written in and its name there.
type ListenerKey struct {
	// Source is a Gateway or a ListenerSet.
	Source Ref
	// Name is the listener's name, unique in its source.
	Name string
}

// Compare orders listener keys by source, then name.
func (k ListenerKey) Compare(o ListenerKey) int {
	return cmp.Or(k.Source.Compare(o.Source), strings.Compare(k.Name, o.Name))
}

// String returns namespace/gateway/listener, with the kind before it if the source is not a Gateway.
func (k ListenerKey) String() string {
	name := k.Source.Name.String() + "/" + k.Name
	if k.Source.Kind != KindGateway {
		return strings.ToLower(k.Source.Kind) + "/" + name
	}
	return name
}

// Listener is one listener of a Gateway.
type Listener struct {
	Key      ListenerKey
	Port     uint16
	Protocol Protocol
	// Hostname is empty when the listener takes every host; it can start with "*.". It is lower case.
	Hostname string
	// Passthrough leaves TLS to the backend: connections are told apart by SNI alone.
	Passthrough bool
	// Certificates are the Secrets that a terminating listener serves, in the order of the spec; only valid ones.
	Certificates []Name
	// Clients says how the certificates of clients are validated; nil if clients are not asked for one.
	Clients *ClientValidation
	// Filters is what the listener's own filters ask of features, in the order of the spec: they act on every request
	// that the listener takes, before a route is chosen.
	Filters []Attached
	// Fault, if not nil, is what every request is answered with instead: one of the filters could not be applied.
	Fault *Fault
	// Valid says that the listener can be programmed, as far as it alone can tell.
	Valid bool
}

// PortKey returns the port of a proxy that the listener is on.
func (l *Listener) PortKey(proxy ProxyName) PortKey {
	return PortKey{Proxy: proxy, Port: l.Port, Transport: l.Protocol.Transport()}
}

// ClientValidation is how an HTTPS listener validates the certificates of clients.
type ClientValidation struct {
	// Trust says who may have signed a client's certificate.
	Trust Trust
	// Optional lets in clients without a certificate, or with one that is not valid: it is for the backends to decide.
	Optional bool
}

// ClientCertificate is how a Gateway connects to backends by TLS: the certificate that it shows, and the TLS it speaks.
type ClientCertificate struct {
	// Secret holds the certificate; empty if the Gateway has none.
	Secret Name
	// Broken says that the Gateway names a certificate that cannot be used: it must not connect to backends by TLS.
	Broken bool
	// Options is the TLS that it speaks with them.
	Options TLSOptions
}

// Compare orders client certificates by Secret and options, broken ones last.
func (c ClientCertificate) Compare(o ClientCertificate) int {
	return cmp.Or(compareBool(c.Broken, o.Broken), c.Secret.Compare(o.Secret), c.Options.Compare(o.Options))
}

// PortKey is a port of a proxy.
type PortKey struct {
	Proxy     ProxyName
	Port      uint16
	Transport Transport
}

// Compare orders ports by proxy, then number, then transport.
func (k PortKey) Compare(o PortKey) int {
	return cmp.Or(k.Proxy.Compare(o.Proxy), cmp.Compare(k.Port, o.Port), cmp.Compare(k.Transport, o.Transport))
}

// String returns proxy:port, with /udp behind it for a UDP port.
func (k PortKey) String() string {
	if k.Transport == OverUDP {
		return fmt.Sprintf("%s:%d/udp", k.Proxy, k.Port)
	}
	return fmt.Sprintf("%s:%d", k.Proxy, k.Port)
}

// Port is everything that shares one socket of a proxy: the valid listeners of all its Gateways and their ListenerSets
// on one port, but for those that lost a conflict.
type Port struct {
	Key PortKey
	// Protocol is that of the listeners; HTTPS for any mix of HTTPS and TLS listeners, which SNI tells apart.
	Protocol Protocol
	// Listeners that won, most specific hostname first, the catch-all last.
	Listeners []Listener
}

// Conflict says why a listener cannot share its port.
type Conflict struct {
	// Reason is HostnameConflict or ProtocolConflict.
	Reason string
	// With is the listener that has precedence.
	With ListenerKey
}

// RouteTableKey identifies one Envoy RouteConfiguration. All plain HTTP listeners of a port share one, told apart by
// host; each HTTPS listener has its own, told apart by SNI before that. It is small, because it is part of the keys of
// every route and host; make it with [HTTPTable] or [HTTPSTable].
type RouteTableKey struct {
	table unique.Handle[routeTable]
}

type routeTable struct {
	port     PortKey
	listener ListenerKey
}

// HTTPTable returns the key of the route table of a plain HTTP port.
func HTTPTable(port PortKey) RouteTableKey {
	return RouteTableKey{table: unique.Make(routeTable{port: port})}
}

// HTTPSTable returns the key of the route table of an HTTPS listener on a port.
func HTTPSTable(port PortKey, listener ListenerKey) RouteTableKey {
	return RouteTableKey{table: unique.Make(routeTable{port: port, listener: listener})}
}

// Port returns the port that the table is served on.
func (k RouteTableKey) Port() PortKey { return k.table.Value().port }

// Listener returns the HTTPS listener that the table is of, the zero value for that of a plain HTTP port.
func (k RouteTableKey) Listener() ListenerKey { return k.table.Value().listener }

// Secure reports whether the table is that of an HTTPS listener.
func (k RouteTableKey) Secure() bool { return k.Listener() != ListenerKey{} }

// Compare orders route tables by port, then listener.
func (k RouteTableKey) Compare(o RouteTableKey) int {
	if k == o {
		return 0
	}
	return cmp.Or(k.Port().Compare(o.Port()), k.Listener().Compare(o.Listener()))
}

// String is the name of the Envoy RouteConfiguration: http/PORT or https/PORT/LISTENER, the listener as in
// [ListenerKey.String]. None of the parts can contain a slash, so it is injective.
func (k RouteTableKey) String() string {
	if !k.Secure() {
		return fmt.Sprintf("http/%d", k.Port().Port)
	}
	return fmt.Sprintf("https/%d/%s", k.Port().Port, k.Listener())
}

// HostKey identifies one Envoy virtual host: a domain of a route table.
type HostKey struct {
	Table RouteTableKey
	// Domain is a host name, "*.suffix", or "*". It is lower case and has no port.
	Domain string
}

// Compare orders hosts by table, then domain.
func (k HostKey) Compare(o HostKey) int {
	return cmp.Or(k.Table.Compare(o.Table), strings.Compare(k.Domain, o.Domain))
}

// String returns table/domain.
func (k HostKey) String() string { return k.Table.String() + "/" + k.Domain }

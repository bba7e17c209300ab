package model

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// BackendKey identifies what a reference to a backend means: the object and, for a Service, the port.
type BackendKey struct {
	// Kind is KindService, KindBackend or KindXBackend, or KindSplit or KindUDPPort for what stands for several of these;
	// for an object that an extension server understands it is Kind.group. It is empty for an invalid reference.
	Kind string
	Name
	// Port is the Service's port, 0 for the other kinds.
	Port uint16
	// Use is AppGRPC when a GRPCRoute refers to the backend, AppUDP when a UDPRoute does, else empty: gRPC needs HTTP/2
	// where HTTP would be served by HTTP/1.1, so a backend used both ways has two clusters; and a Service has TCP and UDP
	// ports of one number.
	Use AppProtocol
	// Client is the Secret with the certificate that the proxy shows to the backend, empty for none. Gateways have
	// certificates of their own, so a backend that several of them use has a cluster for each.
	Client Name
	// Options is the TLS that the proxy speaks with the backend, as the EnvoyProxy of the Gateway has it.
	Options TLSOptions
	// Passthrough marks a backend that is secured by TLS when it is sent the TLS of clients, to which the proxy adds
	// none.
	Passthrough bool
	// Settings says where the settings of its connections come from, if a policy of what leads to it has some: a backend
	// that is used with different ones has a cluster for each.
	Settings SettingsKey
}

// Compare orders backends by kind, namespace, name and port.
func (k BackendKey) Compare(o BackendKey) int {
	return cmp.Or(strings.Compare(k.Kind, o.Kind), k.Name.Compare(o.Name), cmp.Compare(k.Port, o.Port),
		strings.Compare(string(k.Use), string(o.Use)), k.Client.Compare(o.Client), k.Options.Compare(o.Options),
		compareBool(k.Passthrough, o.Passthrough), k.Settings.Compare(o.Settings))
}

// compareBool orders false before true.
func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	default:
		return 1
	}
}

// Shared returns the key without what only one Gateway, listener or policy brings to it: that of the backend's entry
// in the model.
func (k BackendKey) Shared() BackendKey {
	k.Client, k.Options, k.Passthrough, k.Settings = Name{}, TLSOptions{}, false, SettingsKey{}
	return k
}

// The suffixes of the names of clusters, behind a "~".
const (
	clientMark      = "client/"
	passthroughMark = "passthrough"
)

// String is the name of the Envoy cluster: kind/namespace/name/port, lower case kind, with ~grpc or ~udp behind it,
// and ~client/namespace/name for a client certificate, ~tls/... as [TLSOptions.String] or ~passthrough, and
// ~settings/... as [SettingsKey.String]. It never depends on the routes that use the backend, so that they share one
// connection pool and one health state.
func (k BackendKey) String() string {
	switch k.Kind {
	case KindSplit:
		return splitName(k.Name.Name)
	case KindUDPPort:
		return fmt.Sprintf("udp/%d", k.Port)
	case kindLocal:
		return LocalCluster
	}
	name := fmt.Sprintf("%s/%s/%s", strings.ToLower(k.Kind), k.Namespace, k.Name.Name)
	if k.Port != 0 {
		name += fmt.Sprintf("/%d", k.Port)
	}
	if k.Use != AppHTTP {
		name += "~" + string(k.Use)
	}
	if k.Client != (Name{}) {
		name += "~" + clientMark + k.Client.String()
	}
	if k.Options != (TLSOptions{}) {
		name += "~" + k.Options.String()
	}
	if k.Passthrough {
		name += "~" + passthroughMark
	}
	if k.Settings != (SettingsKey{}) {
		name += "~" + k.Settings.String()
	}
	return name
}

// ExtensionBackend returns the key of an object that an extension server understands, as a backend. port is 0 unless
// the reference has one.
func ExtensionBackend(to Ref, port uint16, use AppProtocol) BackendKey {
	return BackendKey{Kind: GroupKind{Group: to.Group, Kind: to.Kind}.String(), Name: to.Name, Port: port, Use: use}
}

// Extension says whether the backend is an object that an extension server understands.
func (k BackendKey) Extension() bool { return strings.Contains(k.Kind, ".") }

// Authority is what the backend is called in requests that Envoy makes itself: the name of its object within the
// cluster, the host of a server. Names of clusters have slashes, which some servers refuse.
func (k BackendKey) Authority() string {
	if k.Kind == KindServer {
		return k.Name.Name
	}
	return k.Name.Name + "." + k.Namespace
}

// Ref returns the backend's object.
func (k BackendKey) Ref() Ref {
	if kind, group, ok := strings.Cut(k.Kind, "."); ok {
		return Ref{Group: group, Kind: kind, Name: k.Name}
	}
	r := Ref{Kind: k.Kind, Name: k.Name}
	switch k.Kind {
	case KindBackend:
		r.Group = GroupEnvoyGateway
	case KindXBackend:
		r.Group = GroupGatewayX
	}
	return r
}

// AppProtocol is what a backend speaks.
type AppProtocol string

// The application protocols that change how Envoy talks to a backend.
const (
	// AppHTTP is HTTP/1.1, the default.
	AppHTTP AppProtocol = ""
	// AppH2C is HTTP/2 with prior knowledge over cleartext.
	AppH2C AppProtocol = "h2c"
	// AppWS is WebSocket over HTTP/1.1.
	AppWS AppProtocol = "ws"
	// AppUDP is datagrams.
	AppUDP AppProtocol = "udp"
	// AppGRPC is what a GRPCRoute speaks to a backend that does not say: HTTP/2.
	AppGRPC AppProtocol = "grpc"
)

// Backend is what Envoy needs to know of a backend except its endpoints.
type Backend struct {
	Key BackendKey
	// Protocol is what the Service's appProtocol or the Backend's appProtocols ask for or, failing these, Key.Use.
	Protocol AppProtocol
	// Address says how endpoints are written.
	Address AddressKind
	// Service is the address of the Service itself (ClusterIP), nil for a headless one and for all other kinds.
	Service *Endpoint
	// Fallback marks a Backend that takes traffic only when the others of a rule are unhealthy.
	Fallback bool
	// Prefer is what the Service says of zones.
	Prefer ZonePreference
	// Attached is what policies of the backend ask of features for its cluster.
	Attached []Attached
	// TLS is nil for cleartext.
	TLS *BackendTLS
	// Extension is the object, if an extension server understands it and nobody else.
	Extension Extension
	// Barred says that it is to be connected to by TLS, but that this cannot be done as was asked for: nothing may be
	// sent to it but the TLS of clients.
	Barred bool
}

// Alike reports whether one cluster can have the endpoints of both backends.
func (b *Backend) Alike(o *Backend) bool {
	return b.Protocol == o.Protocol && b.TLS.Equal(o.TLS) && reflect.DeepEqual(b.Attached, o.Attached)
}

// BackendTLS is how a connection to a backend is secured.
type BackendTLS struct {
	// Ask says which server name the proxy asks for, SNI which one if it is fixed.
	Ask AskedName
	SNI string
	// Trust says who may have signed the backend's certificate.
	Trust Trust
	// Names are what the backend's certificate has to be for: it needs one of them. If there are none it is the name that
	// was asked for.
	Names []SubjectName
	// Insecure says that the certificate is not verified at all: Trust and Names are empty.
	Insecure bool
	// Client is the Secret with the certificate that the proxy shows whichever Gateway it serves; if it is empty that in
	// [BackendKey.Client] is shown.
	Client Name
	// Options come before those in [BackendKey.Options].
	Options TLSOptions
}

// AskedName says which server name a proxy asks a backend for (SNI, RFC 6066 section 3).
type AskedName uint8

const (
	// AskFixed asks for [BackendTLS.SNI].
	AskFixed AskedName = iota
	// AskHost asks for the host of the request.
	AskHost
	// AskEndpoint asks for the host name of the endpoint.
	AskEndpoint
)

// Equal reports whether the two secure connections alike.
func (t *BackendTLS) Equal(o *BackendTLS) bool {
	if t == nil || o == nil {
		return t == o
	}
	return t.Ask == o.Ask && t.SNI == o.SNI && t.Trust == o.Trust && slices.Equal(t.Names, o.Names) &&
		t.Insecure == o.Insecure && t.Client == o.Client && t.Options == o.Options
}

// SubjectName is a subject alternative name of a certificate (RFC 5280 section 4.2.1.6).
type SubjectName struct {
	// URI says that Value is a URI, compared as it is; else it is a DNS name that can start with "*.".
	URI   bool
	Value string
}

// AddressKind says how the endpoints of a backend are found.
type AddressKind int

const (
	// AddressIP endpoints are delivered by EDS.
	AddressIP AddressKind = iota
	// AddressDNS endpoints are host names that Envoy resolves.
	AddressDNS
	// AddressUnix endpoints are Unix sockets.
	AddressUnix
	// AddressDynamic has no endpoints: Envoy resolves the host of each request, or the server name that a client asks for
	// by TLS.
	AddressDynamic
)

// Endpoint is one address of a backend.
type Endpoint struct {
	// Address is an IP address, a host name or the path of a Unix socket.
	Address string
	// Port is 0 for a Unix socket.
	Port uint16
	// Hostname, if set, is what active health checks and auto host rewrites use.
	Hostname string
	// Zone is the endpoint's zone, may be empty.
	Zone string
	// Draining endpoints take no new requests unless there is no other (Kubernetes: serving and terminating).
	Draining bool
}

// Compare orders endpoints by address and port.
func (e Endpoint) Compare(o Endpoint) int {
	return cmp.Or(strings.Compare(e.Address, o.Address), cmp.Compare(e.Port, o.Port),
		strings.Compare(e.Hostname, o.Hostname), strings.Compare(e.Zone, o.Zone))
}

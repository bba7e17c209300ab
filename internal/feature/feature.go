// Package feature is the contract between the pipeline and the capabilities of Sluice, and the chain in which they are
// applied.
//
// A feature is one folder below this one: what it checks, what it becomes in Envoy, its tests and its page. It
// implements [Feature] and whichever of [Checker], [RouteApplier], [FilterUser], [ClusterApplier], [EndpointApplier]
// and [ListenerApplier] it needs; the [Chain] finds out which. Features never import one another, and nothing outside a
// feature's folder knows its fields.
package feature

import (
	"net/netip"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is one capability, told apart by its name.
type Feature interface {
	// Name is what [model.Attached.Feature] says. For a filter of a route it is the filter's type, for example
	// "URLRewrite"; for a field of a rule the name of the field's type without its prefix, for example "Retry".
	Name() string
}

// Checker is a feature that can refuse what a user wrote beyond what the CRD's schema refuses.
type Checker interface {
	// Check returns what is wrong with a, which is on the rule or on one of its backends. It must not change either. For
	// what is not attached to a route the rule has nothing but all that is attached there.
	Check(a model.Attached, rule *model.Rule) []Problem
}

// Problem is one thing that a feature refuses.
type Problem struct {
	// Reason is a reason of the route's Accepted condition: UnsupportedValue, IncompatibleFilters.
	Reason string
	// Message is one sentence that says what is wrong and what to do.
	Message string
	// Path is the field, relative to the Attached's path: ".path.replacePrefixMatch"; may be empty.
	Path string
}

// RouteApplier is a feature that shapes the Envoy route of a rule.
type RouteApplier interface {
	// ApplyRoute changes r.Proto for a. Everything that a user can get wrong has been refused by Check before.
	ApplyRoute(r *Route, a model.Attached)
}

// ClusterApplier is a feature that shapes the Envoy cluster of a backend: what a policy says of the backend itself,
// whichever routes lead to it.
type ClusterApplier interface {
	// ApplyCluster changes c.Proto for a, which is attached to the backend.
	ApplyCluster(c *Cluster, a model.Attached)
}

// ClusterChooser is a [ClusterApplier] that shapes no cluster for some of what is asked of it. Routes for which a
// policy asks for nothing else share the clusters of those without one.
type ClusterChooser interface {
	// ShapesCluster reports whether a shapes a cluster.
	ShapesCluster(a model.Attached) bool
}

// EndpointApplier is a feature that shapes what Envoy is told of the endpoints of a backend.
type EndpointApplier interface {
	// ApplyEndpoints changes e for a, which is attached to the backend. The endpoints are grouped by zone if a [ZoneUser]
	// needs it, but those of a cluster of several backends by backend: such groups have a weight already.
	ApplyEndpoints(e *endpointv3.ClusterLoadAssignment, a model.Attached)
}

// HTTPShaper is a [ClusterApplier] that says how HTTP is spoken: clusters of TLSRoutes, TCPRoutes and UDPRoutes do not
// speak it.
type HTTPShaper interface {
	// ShapesHTTP does nothing: having it is what counts.
	ShapesHTTP()
}

// Locator is a feature that looks up where clients are.
type Locator interface {
	// CheckPlaces returns what a asks for that is in none of the databases of a.Places.
	CheckPlaces(a model.Attached) []Problem
}

// StreamGuard is a [Guard] that can also say who may make connections that carry whatever they like: those of TLSRoutes
// and TCPRoutes.
type StreamGuard interface {
	// CheckStream returns what a asks for that connections do not have.
	CheckStream(a model.Attached) []Problem
	// Sources returns the ranges of the addresses from which a lets in connections.
	Sources(a model.Attached) []netip.Prefix
}

// ServiceRouter is a feature that can have requests sent to the address of a Service in the place of its endpoints.
type ServiceRouter interface {
	// ToService reports whether a asks for that, rather than for the endpoints.
	ToService(a model.Attached) bool
}

// Apart is a [FilterUser] whose filters count something for each route by itself. The routes that a policy of a
// listener holds for do not share its filters then: each has its own, and with them all others that act on it.
type Apart interface {
	// IsApart does nothing: having it is what counts.
	IsApart()
}

// ListenerApplier is a feature that shapes how the listeners of a Gateway take connections and speak HTTP, as a policy
// of the Gateway says.
//
// What it does is in the listener: a change drains the connections of the listeners of that Gateway, of no others. The
// plain HTTP listeners of a port share a connection manager, so there it is applied only if all Gateways with listeners
// on the port ask for the same.
type ListenerApplier interface {
	// ApplyListener changes l for a, which is attached to the listener or its Gateway.
	ApplyListener(l *Listener, a model.Attached)
}

// HostApplier is a feature that shapes the virtual hosts of a proxy.
type HostApplier interface {
	// ApplyHost changes h, which has no routes yet, for a.
	ApplyHost(h *routev3.VirtualHost, a model.Attached)
}

// Logger is a feature that has what a listener does written down.
type Logger interface {
	// AccessLogs adds the access logs that a asks for.
	AccessLogs(l *Logs, a model.Attached)
}

// PortApplier is a feature with settings of a whole port: of its socket, and of what is done with a connection before
// it is known which listener it is for. They are applied only if all listeners of the port ask for the same.
type PortApplier interface {
	// PortSettings returns what a asks of the port, as a text to compare; empty for nothing.
	PortSettings(a model.Attached) string
	// ApplyPort changes p, which the listeners of the port share, for a.
	ApplyPort(p *Port, a model.Attached)
}

// ListenerChecker is a feature that some listeners cannot have.
type ListenerChecker interface {
	// CheckListener returns why a cannot be applied to l. hostnames are those of all listeners that share l's connection
	// manager, l's own among them.
	CheckListener(a model.Attached, l *model.Listener, hostnames []string) []Problem
}

// ProxyUser is a feature of which policies can ask only for what the operator has registered in the EnvoyProxy of the
// Gateway. It is given that as [model.Attached.Proxy], an *EnvoyProxySpec that may be nil.
type ProxyUser interface {
	// CheckProxy returns what of a is not registered, or cannot be used as it is.
	CheckProxy(a model.Attached) []Problem
}

// QUICUser is a feature that can have clients reach an HTTPS listener by QUIC too, that is by HTTP/3: on the UDP port
// of the same number, with the same certificates and routes.
type QUICUser interface {
	// OverQUIC reports whether a asks for that.
	OverQUIC(a model.Attached) bool
}

// FilterUser is a feature made of HTTP filters.
//
// Envoy has them from the route that serves a request, not from the listener: they act on connections that are open
// already, and a change drains none. See [Scope].
type FilterUser interface {
	// HTTPFilters adds to s the filters that requests have to pass because of a.
	HTTPFilters(s *Scope, a model.Attached)
}

// Stander is a feature with HTTP filters of which Envoy reads the configuration from the route itself
// (typed_per_filter_config, [Scope.Set]). They are on every listener.
type Stander interface {
	// Standing returns the filters. They do nothing for routes without configuration of their own.
	Standing() []HTTPFilter
}

// Matcher is a feature that needs more requests than the rule's matches take.
type Matcher interface {
	// Matches returns the matches that a needs besides m, which is one of the rule's.
	Matches(a model.Attached, rule *model.Rule, m model.Match) []model.Match
}

// HTTPFilter is an HTTP filter of a listener.
type HTTPFilter struct {
	// Name is the filter's name in Envoy, and what a route's typed_per_filter_config is keyed by.
	Name string
	// Config is the filter's listener-level configuration.
	Config proto.Message
	// Disabled says that it runs only for routes that enable it (HttpFilter.disabled).
	Disabled bool
}

const (
	// GRPCWeb is the name of the feature that every rule of a GRPCRoute has without asking for it.
	GRPCWeb = "GRPCWeb"
	// GRPCWebFilter is the name of its filter, which listeners can switch on and off.
	GRPCWebFilter = "envoy.filters.http.grpc_web"
)

// Referrer is a feature whose configuration refers to other objects.
type Referrer interface {
	// References returns the references in a, in a fixed order: what they lead to is in the Backends, Objects and Fetched
	// of what the feature is then given, each in that order. It is asked again with what was fetched, which can say what
	// the references behind it are.
	References(a model.Attached) []resolve.Reference
}

// Guard is a feature that keeps requests away from backends. While its configuration cannot be applied, every request
// that it would guard is answered with 500.
type Guard interface {
	// Guards does nothing: having it is what counts.
	Guards()
}

// Opener is a [Guard] that can be told to let requests pass while it cannot be applied.
type Opener interface {
	// Opens reports whether a asks for that.
	Opens(a model.Attached) bool
}

// Pinner is a feature that holds clients to one of the endpoints that a rule can send them to. The endpoints of all of
// the rule's backends are then those of one cluster: a split over several would be drawn anew for each request.
type Pinner interface {
	// Pins does nothing: having it is what counts.
	Pins()
}

// Route is an Envoy route while features are applied to it.
type Route struct {
	// Proto has its match, and its action if the rule has backends: a RouteAction with cluster or weighted_clusters.
	Proto *routev3.Route
	// Key is that of the route that Rule is a rule of, Match the one of its matches that Proto is for.
	Key   model.RouteKey
	Rule  *model.Rule
	Match model.Match
	// Port and Secure are those of the listener that the route is served on.
	Port   uint16
	Secure bool
	// Needs collects the backends that the route sends requests to, those of its action included.
	Needs []model.BackendKey
}

// Action returns the route's RouteAction, or nil if it redirects or responds directly.
func (r *Route) Action() *routev3.RouteAction { return r.Proto.GetRoute() }

// Set configures a filter that every listener has.
func (r *Route) Set(filter string, config proto.Message) {
	if r.Proto.TypedPerFilterConfig == nil {
		r.Proto.TypedPerFilterConfig = map[string]*anypb.Any{}
	}
	r.Proto.TypedPerFilterConfig[filter] = Pack(config)
}

// Use returns the cluster of a backend that a feature sends requests to, and notes that the route needs it. For an
// invalid backend it returns a name that no cluster has.
func (r *Route) Use(b model.BackendKey) string { return use(&r.Needs, b) }

// Cluster is an Envoy cluster while features are applied to it.
type Cluster struct {
	// Proto is complete but for what the features add. It has one entry of circuit_breakers.thresholds, that of the
	// default priority.
	Proto *clusterv3.Cluster
	// Backend is what the cluster is made of; for the cluster of several backends, what they have in common.
	Backend *model.Backend
}

// Port is an Envoy listener while features are applied to it: what all listeners of a TCP port share. Its filter chains
// are not in it.
type Port struct {
	Proto *listenerv3.Listener
}

// Listener is a filter chain of an Envoy listener while features are applied to it: that of a listener for HTTP or
// HTTPS, or of a route for TLS or TCP connections.
type Listener struct {
	// Chain is the filter chain, without its transport socket and its last filter. Filters that features add run before
	// that one.
	Chain *listenerv3.FilterChain
	// TLS is how connections are secured; nil without TLS, and if the backend ends it.
	TLS *tlsv3.DownstreamTlsContext
	// Manager is the connection manager, complete but for what the features add; nil without HTTP.
	Manager *hcmv3.HttpConnectionManager
	// Proxy passes connections on; nil with HTTP.
	Proxy *tcpv3.TcpProxy
	// Name is that of the listener; of plain HTTP listeners that share a port, that of the most specific.
	Name model.ListenerKey
	// Hostnames are those of the listener or, for plain HTTP, of all on the port, the most specific first; empty ones are
	// left out.
	Hostnames []string
	// QUIC says that the filter chain is for HTTP/3. Envoy cannot ask clients for certificates there: a chain of which TLS
	// does is left out.
	QUIC bool
	// Needs collects the backends that the listener itself sends requests to.
	Needs []model.BackendKey
}

// Logs are the access logs of a listener while features add theirs.
type Logs struct {
	// Listener is for its connections (Listener.access_log), Route for requests, connections and sessions that are passed
	// on (access_log of connection managers and proxies), and Upstream for requests as backends get them
	// (Router.upstream_log).
	Listener, Route, Upstream []*accesslogv3.AccessLog
	// Needs collects the backends that entries are sent to.
	Needs []model.BackendKey
}

// Use is like [Route.Use].
func (l *Logs) Use(b model.BackendKey) string { return use(&l.Needs, b) }

// Use is like [Route.Use].
func (l *Listener) Use(b model.BackendKey) string { return use(&l.Needs, b) }

func use(needs *[]model.BackendKey, b model.BackendKey) string {
	if b == (model.BackendKey{}) {
		return InvalidCluster
	}
	*needs = append(*needs, b)
	return b.String()
}

// MaxDirectResponse is the size in bytes of the largest body of a direct response, the API server's limit for what can
// hold one (RouteConfiguration.max_direct_response_body_size_bytes).
const MaxDirectResponse = 1 << 20

// InvalidCluster is the name that stands for an invalid backend. No cluster has it: requests to it are answered with
// the route's cluster_not_found_response_code, 500.
const InvalidCluster = "invalid"

package resolve

import (
	"net/netip"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
	gwxv1a1 "sigs.k8s.io/gateway-api/apisx/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// Options is what the resolution depends on besides the objects.
type Options struct {
	// Controllers are the controller names of GatewayClasses that are ours.
	Controllers []string
	// Proxy returns the proxy that serves a Gateway. With Fleets, a class with mergeGateways has one proxy instead: its
	// name is that of the class.
	Proxy func(gateway model.Name) model.ProxyName
	// Fleets says that there is a fleet of Envoys for each proxy, shaped by EnvoyProxies; nil on a single machine.
	Fleets *FleetOptions
	// Launches says that each proxy is one Envoy, started as EnvoyProxies say; nil where fleets are, and where nothing is
	// started.
	Launches *LaunchOptions
	// Check adds what features refuse in a route, and gives the rules that it refuses a Fault; may be nil. Its issues
	// have Section.Rule and Path filled, and their Condition is Accepted.
	Check func(*model.Route) status.Report
	// CheckAttached returns what features refuse of what is attached to a listener or a backend; may be nil. Its issues
	// have Path, Reason and Message filled.
	CheckAttached func([]model.Attached) status.Report
	// References returns the references to other objects in what is asked of a feature, in a fixed order; may be nil.
	References func(model.Attached) []Reference
	// Guards says whether a feature keeps requests away from backends: while it cannot be applied, the requests that it
	// would guard are answered with 500. nil if none does.
	Guards func(feature string) bool
	// Opens says whether requests are to pass while something that guards them cannot be applied, because it asks for
	// that itself; nil if nothing does.
	Opens func(model.Attached) bool
	// Clusters says whether what is asked of a feature shapes the clusters of backends; nil if nothing does.
	Clusters func(a model.Attached) bool
	// ShapesStreams says whether what is asked of a feature shapes how connections and packets are passed on to backends,
	// whatever they carry; nil if everything does.
	ShapesStreams func(a model.Attached) bool
	// GuardsStreams says whether a feature can say who may make connections, whatever they carry; nil if none can.
	GuardsStreams func(feature string) bool
	// CheckStream returns what is asked of such a feature that connections do not have; may be nil. Its issues have Path,
	// Reason and Message filled.
	CheckStream func(a model.Attached) status.Report
	// CheckPlaces returns what is asked of a feature for which its Places lack a database; may be nil. Its issues have
	// Path, Reason and Message filled.
	CheckPlaces func(a model.Attached) status.Report
	// PortSettings returns what is asked of a whole port, as a text to compare, empty for nothing; may be nil.
	PortSettings func(model.Attached) string
	// UsesProxy says whether a feature can be asked only for what the EnvoyProxy of the Gateway registers, and CheckProxy
	// what of it is not registered there (Attached.Proxy); nil if there is no such feature. Its issues have Path, Reason
	// and Message filled.
	UsesProxy  func(feature string) bool
	CheckProxy func(model.Attached) status.Report
	// OverQUIC says whether a feature is asked to have a listener reached by QUIC too; nil if none is.
	OverQUIC func(model.Attached) bool
	// CheckListener returns why a listener cannot have what is asked of a feature; may be nil. hostnames are those of all
	// listeners that share its connection manager. Its issues have Path, Reason and Message filled.
	CheckListener func(a model.Attached, l *model.Listener, hostnames []string) status.Report
	// Features are the Gateway API features that the rest of the program adds to those of this package: they are
	// listed in the status of our GatewayClasses.
	Features []gwv1.FeatureName
	// Usable says whether the proxies can bind a specific address from spec.addresses; nil if they always bind all
	// addresses. See [Gateway.Addresses].
	Usable func(netip.Addr) bool
	// LocalBackends allows Backends to name loopback and link-local addresses, "localhost" and Unix sockets. On one
	// machine that is what they are for; in a cluster it would open the proxy's own admin interface and the cloud's
	// metadata service to route authors.
	LocalBackends bool
	// NoBackends refuses objects of kind Backend: the operator does not want route authors to name hosts of their own.
	NoBackends bool
	// Patches allows EnvoyPatchPolicies: who writes one can have Envoy do all that it can.
	Patches bool
	// Scope is which namespaces are read, nil for all: what is not there may then merely not be seen.
	Scope *resource.Scope
	// Extensions are the extension servers: what they understand can be named in routes.
	Extensions []model.ExtensionManager
	// SystemCAs is the path of the CA certificates of the system that the proxies run on, empty if there are none.
	SystemCAs string
	// Fetches says that there is somebody who fetches what is in Tables.Fetches. Else what cannot be applied without it is
	// no mistake that would be reported.
	Fetches bool
}

// Tables are the results: the model, and the statuses.
type Tables struct {
	// Unbound are the ports that a proxy cannot bind, and why. Such a port has no entry in Ports; to have it tried
	// again, delete it here.
	Unbound *incr.Input[model.PortKey, string]
	// Refused are the routes that Envoy refused.
	Refused *incr.Input[model.RouteKey, Refusal]
	// Withheld says of routes what extension servers have not done for them; it is said in their statuses.
	Withheld *incr.Input[model.RouteKey, string]
	// Fetched is what became of Fetches, as far as it is known.
	Fetched *incr.Input[model.Fetch, model.Fetched]
	// Launched is what became of Launches, as far as it is known.
	Launched *incr.Input[model.ProxyName, Launched]

	// Gateways are the Gateways of our classes.
	Gateways *incr.Table[model.Name, Gateway]
	// ListenerSets are the ListenerSets whose parent is one of our Gateways, let in or not.
	ListenerSets *incr.Table[model.Name, ListenerSet]
	// Seats are the valid listeners, conflicts decided.
	Seats *incr.Table[model.ListenerKey, *Seat]
	// Fleets are the Envoys that the Gateways are to have; empty without [Options.Fleets].
	Fleets *incr.Table[model.ProxyName, *Fleet]
	// Launches are how the Envoys of proxies with Gateways are to be started; empty without [Options.Launches].
	Launches *incr.Table[model.ProxyName, *Launch]
	// Ports are the ports on which some valid listener takes traffic.
	Ports *incr.Table[model.PortKey, model.Port]
	// QUIC are the HTTPS listeners, of the TCP port of the same number, that are reached by QUIC on a UDP port.
	QUIC *incr.Table[model.PortKey, []model.ListenerKey]
	// Routes are the routes that name one of our Gateways as a parent, attached or not.
	Routes *incr.Table[model.RouteKey, *Route]
	// Bindings say where each route is attached.
	Bindings *incr.Table[model.RouteKey, Bindings]
	// Hosts are the routes that serve a domain of a route table. A listener's hostname that no route serves is not in
	// it: a proxy still has to answer it with 404 rather than from a less specific listener.
	Hosts *incr.Index[model.HostKey, model.RouteKey, Bindings]
	// Streams are the routes that want a stream, StreamOwners the one of them that takes its connections or packets. A
	// stream that no route wants is in neither: a proxy refuses it, rather than give it to a less specific listener.
	Streams      *incr.Index[model.StreamKey, model.RouteKey, Bindings]
	StreamOwners *incr.Table[model.StreamKey, model.RouteKey]
	// Backends are the backends that some route refers to.
	Backends *incr.Table[model.BackendKey, model.Backend]
	// Endpoints are the addresses of the same backends, sorted; the value is empty, not missing, if there are none.
	Endpoints *incr.Table[model.BackendKey, []model.Endpoint]
	// Certificates are the Secrets that valid listeners serve, and those that Gateways show to backends.
	Certificates *incr.Table[model.Name, Certificate]
	// Authorities are the CA certificates of every trust that a listener or a policy of backends has.
	Authorities *incr.Table[model.Trust, Authority]

	// Fetches are what policies want to be fetched that hold for something.
	Fetches *incr.Table[model.Fetch, struct{}]

	// GatewayClassStatus, GatewayStatus, ListenerSetStatus, RouteStatus, BackendStatus, EnvoyProxyStatus and
	// XBackendStatus have an entry for each object that is ours to report on: an XBackend is while a Gateway of ours uses
	// it. The times of transitions are left zero, and Programmed to [status.Program] and [status.ProgramListenerSet].
	GatewayClassStatus *incr.Table[model.Name, gwv1.GatewayClassStatus]
	GatewayStatus      *incr.Table[model.Name, gwv1.GatewayStatus]
	ListenerSetStatus  *incr.Table[model.Name, gwv1.ListenerSetStatus]
	RouteStatus        *incr.Table[model.RouteKey, gwv1.RouteStatus]
	BackendStatus      *incr.Table[model.Name, egv1a1.BackendStatus]
	EnvoyProxyStatus   *incr.Table[model.Name, egv1a1.EnvoyProxyStatus]
	// GatewayPolicies are what the policies of a Gateway ask of features for its listeners, for Gateways with any.
	GatewayPolicies *incr.Table[model.Name, []model.Attached]
	// Policies are the policies of all kinds, those that are for no traffic of ours included: their status has no
	// ancestors.
	Policies       *incr.Table[model.Ref, Policy]
	XBackendStatus *incr.Table[model.Name, gwxv1a1.BackendStatus]
	// PatchPolicies are the EnvoyPatchPolicies that are in force.
	PatchPolicies *incr.Table[model.Name, *PatchPolicy]

	opts    Options
	in      inputs
	classes *incr.Table[model.Name, class]
	// parameters are the EnvoyProxies; classesUsing and gatewaysUsing are ours that refer to one.
	parameters    *incr.Table[model.Name, parameters]
	classesUsing  *incr.Index[model.Name, model.Name, class]
	gatewaysUsing *incr.Index[model.Name, model.Name, *ownGateway]
	// ours are the Gateways whose class names one of our controllers; controllers the same without the Gateway's spec.
	ours        *incr.Table[model.Name, *ownGateway]
	controllers *incr.Table[model.Name, string]
	grants      *incr.Index[resource.Grant, model.Name, *gwv1.ReferenceGrant]
	pairs       *incr.Table[model.Name, *pair]
	// defaults are our default Gateways by scope.
	defaults *incr.Index[scope, model.Name, *ownGateway]
	// hosting and setParents are what a ListenerSet needs to know of its Gateway, and a route of a ListenerSet.
	hosting    *incr.Table[model.Name, hosting]
	setParents *incr.Table[model.Name, setParent]
	// attachedSets are the accepted ListenerSets of a Gateway.
	attachedSets *incr.Index[model.Name, model.Name, acceptance]
	// listenerKeys are the keys of all listeners, valid or not.
	listenerKeys []incr.KeySource[model.ListenerKey]
	// sourceKeys are the Gateways and ListenerSets.
	sourceKeys []incr.KeySource[model.Ref]
	doors      *incr.Table[model.ListenerKey, *door]
	sections   *incr.Table[model.Ref, []section]
	contenders *incr.Table[model.ListenerKey, *contender]
	claims     *incr.Index[claimKey, model.ListenerKey, *contender]
	arenas     *incr.Table[model.PortKey, arena]
	owners     *incr.Table[claimKey, owner]
	// narrower are the owners of hostnames that a wildcard, or every host, covers.
	narrower        *incr.Index[claimKey, claimKey, owner]
	labels          *incr.Table[model.Name, map[string]string]
	services        *incr.Table[model.Name, *service]
	externals       *incr.Table[model.Name, *external]
	slices          *incr.Index[model.Name, model.Name, *discoveryv1.EndpointSlice]
	namedSlices     *incr.Index[model.Name, model.Name, *discoveryv1.EndpointSlice]
	fleetSlices     *incr.Index[model.Name, model.Name, *discoveryv1.EndpointSlice]
	routeKeys       []incr.KeySource[model.RouteKey]
	references      *incr.Index[model.BackendKey, model.RouteKey, *Route]
	attached        *incr.Index[model.ListenerKey, model.RouteKey, Bindings]
	bundles         *incr.Table[model.Ref, *bundle]
	revocations     *incr.Table[model.Ref, *bundle]
	tlsPolicies     *incr.Table[model.Name, *tlsPolicy]
	tlsHolders      *incr.Table[model.Ref, holders]
	guards          *incr.Table[model.Ref, []sectionGuard]
	ownTLS          *incr.Table[model.Ref, *ownTLS]
	ownGuards       *incr.Table[model.Ref, ownGuard]
	uses            *incr.Index[model.Ref, useKey, struct{}]
	trafficPolicies *incr.Table[model.Name, *trafficPolicy]
	trafficHolders  *incr.Table[model.Ref, holders]
	// onRoutes is what policies of backends ask of features for the routes that lead there.
	onRoutes         *incr.Table[model.Ref, []model.Attached]
	routeFilters     *incr.Table[model.Name, *routeFilter]
	telemetries      *incr.Table[model.Name, *telemetry]
	telemetryHolders *incr.Table[model.Ref, holders]
	xbackends        *incr.Table[model.Name, *xbackend]
	pods             *incr.Table[model.Name, *pod]
	podLabels        *incr.Index[labelKey, model.Name, *pod]

	// envoyPolicies are the keys of the policies of Envoy Gateway of all kinds, targeting where they are attached, and
	// policyFields what they ask for.
	envoyPolicies    []incr.KeySource[model.Ref]
	targeting        *incr.Table[model.Ref, *targeting]
	policyFields     *incr.Table[model.Ref, *policyFields]
	policiesOfRoute  *incr.Index[model.RouteKey, model.Ref, *targeting]
	policiesOfSource *incr.Index[model.Ref, model.Ref, *targeting]
	selectors        *incr.Table[selectorScope, []boundSelector]
	// sourcePolicies hold for Gateways and ListenerSets, stacks for listeners, routePolicies for routes.
	sourcePolicies *incr.Table[model.Ref, heldPolicies]
	stacks         *incr.Table[model.ListenerKey, model.PolicyStack]
	// accords are what the ClientTrafficPolicies of the listeners of a port agree on.
	accords *incr.Table[model.PortKey, *accord]
	// registries are the EnvoyProxies of Gateways that register something for policies to use.
	registries *incr.Table[model.Name, mergedKey]
	// quicDoors are the listeners that are to be reached by QUIC, with the UDP port for that.
	quicDoors      *incr.Table[model.ListenerKey, model.PortKey]
	quicByProxy    *incr.Index[model.ProxyName, model.ListenerKey, model.PortKey]
	selectedRoutes *incr.Table[model.RouteKey, []model.Ref]
	routePolicies  *incr.Table[model.RouteKey, heldPolicies]
	// proxyUses are the EnvoyProxies of the Gateways of a proxy.
	proxyUses *incr.Index[model.ProxyName, proxyUse, struct{}]
	// proxyFields are what EnvoyProxies ask of features, proxyWide what those of all Gateways of a proxy do.
	proxyFields *incr.Table[mergedKey, *policyFields]
	proxyWide   *incr.Table[model.ProxyName, []model.Attached]
	// usesOfPolicy is what became of policies, displacedByRoutes and displacedBySources what more specific ones took
	// from them. policyBackends are the backends that they use themselves.
	usesOfPolicy       *incr.Index[model.Ref, policyUse, struct{}]
	displacedByRoutes  *incr.Index[model.Ref, model.RouteKey, *policyUses]
	displacedBySources *incr.Index[model.Ref, model.Ref, *policyUses]
	policyBackends     *incr.Table[model.Ref, []useKey]
	// extensions are the objects that extension servers understand; extensionPolicies is nil if none of them is a policy.
	extensions        *incr.Table[model.Ref, model.Extension]
	extensionPolicies *extensionPolicies
}

// inputs are the kinds that the package reads.
type inputs struct {
	classes      *incr.Input[model.Name, *gwv1.GatewayClass]
	gateways     *incr.Input[model.Name, *gwv1.Gateway]
	sets         *incr.Input[model.Name, *gwv1.ListenerSet]
	httpRoutes   *incr.Input[model.Name, *gwv1.HTTPRoute]
	grpcRoutes   *incr.Input[model.Name, *gwv1.GRPCRoute]
	tlsRoutes    *incr.Input[model.Name, *gwv1.TLSRoute]
	tcpRoutes    *incr.Input[model.Name, *gwv1.TCPRoute]
	udpRoutes    *incr.Input[model.Name, *gwv1.UDPRoute]
	grants       *incr.Input[model.Name, *gwv1.ReferenceGrant]
	backends     *incr.Input[model.Name, *egv1a1.Backend]
	envoyProxies *incr.Input[model.Name, *egv1a1.EnvoyProxy]
	services     *incr.Input[model.Name, *corev1.Service]
	slices       *incr.Input[model.Name, *discoveryv1.EndpointSlice]
	secrets      *incr.Input[model.Name, *corev1.Secret]
	namespaces   *incr.Input[model.Name, *corev1.Namespace]

	configMaps     *incr.Input[model.Name, *corev1.ConfigMap]
	trustBundles   *incr.Input[model.Name, *certificatesv1.ClusterTrustBundle]
	backendTraffic *incr.Input[model.Name, *gwxv1a1.XBackendTrafficPolicy]
	telemetry      *incr.Input[model.Name, *gwxv1a1.XTelemetryPolicy]
	routeFilters   *incr.Input[model.Name, *egv1a1.HTTPRouteFilter]
	backendTLS     *incr.Input[model.Name, *gwv1.BackendTLSPolicy]
	xbackends      *incr.Input[model.Name, *gwxv1a1.XBackend]
	pods           *incr.Input[model.Name, *corev1.Pod]

	clientTraffic *incr.Input[model.Name, *egv1a1.ClientTrafficPolicy]
	envoyTraffic  *incr.Input[model.Name, *egv1a1.BackendTrafficPolicy]
	security      *incr.Input[model.Name, *egv1a1.SecurityPolicy]
	extensions    *incr.Input[model.Name, *egv1a1.EnvoyExtensionPolicy]
	patches       *incr.Input[model.Name, *egv1a1.EnvoyPatchPolicy]

	extensionObjects *extensionInput
}

// readInputs returns the kinds as the store has them.
func readInputs(store *resource.Store) inputs {
	return inputs{
		classes:      resource.Of[*gwv1.GatewayClass](store),
		gateways:     resource.Of[*gwv1.Gateway](store),
		sets:         resource.Of[*gwv1.ListenerSet](store),
		httpRoutes:   resource.Of[*gwv1.HTTPRoute](store),
		grpcRoutes:   resource.Of[*gwv1.GRPCRoute](store),
		tlsRoutes:    resource.Of[*gwv1.TLSRoute](store),
		tcpRoutes:    resource.Of[*gwv1.TCPRoute](store),
		udpRoutes:    resource.Of[*gwv1.UDPRoute](store),
		grants:       resource.Of[*gwv1.ReferenceGrant](store),
		backends:     resource.Of[*egv1a1.Backend](store),
		envoyProxies: resource.Of[*egv1a1.EnvoyProxy](store),
		services:     resource.Of[*corev1.Service](store),
		slices:       resource.Of[*discoveryv1.EndpointSlice](store),
		secrets:      resource.Of[*corev1.Secret](store),
		namespaces:   resource.Of[*corev1.Namespace](store),

		configMaps:     resource.Of[*corev1.ConfigMap](store),
		trustBundles:   resource.Of[*certificatesv1.ClusterTrustBundle](store),
		backendTraffic: resource.Of[*gwxv1a1.XBackendTrafficPolicy](store),
		telemetry:      resource.Of[*gwxv1a1.XTelemetryPolicy](store),
		routeFilters:   resource.Of[*egv1a1.HTTPRouteFilter](store),
		backendTLS:     resource.Of[*gwv1.BackendTLSPolicy](store),
		xbackends:      resource.Of[*gwxv1a1.XBackend](store),
		pods:           resource.Of[*corev1.Pod](store),

		clientTraffic: resource.Of[*egv1a1.ClientTrafficPolicy](store),
		envoyTraffic:  resource.Of[*egv1a1.BackendTrafficPolicy](store),
		security:      resource.Of[*egv1a1.SecurityPolicy](store),
		extensions:    resource.Of[*egv1a1.EnvoyExtensionPolicy](store),
		patches:       resource.Of[*egv1a1.EnvoyPatchPolicy](store),

		extensionObjects: store.Extensions(),
	}
}

// New adds the tables to the engine, behind the inputs of the store.
func New(e *incr.Engine, store *resource.Store, opts Options) *Tables {
	t := &Tables{
		opts:     opts,
		Unbound:  incr.NewInput[model.PortKey, string](e, "unbound"),
		Refused:  incr.NewInput[model.RouteKey, Refusal](e, "refused"),
		Fetched:  incr.NewInput[model.Fetch, model.Fetched](e, "fetched"),
		Withheld: incr.NewInput[model.RouteKey, string](e, "withheld"),
		Launched: incr.NewInput[model.ProxyName, Launched](e, "launched"),
		in:       readInputs(store),
	}
	// The order is that of dependence: a table reads only what was added before it.
	t.addViews(e)
	t.addParameters(e)
	t.addClasses(e)
	t.addGrants(e)
	t.addXBackends(e)
	t.addCertificatePairs(e)
	t.addBundles(e)
	t.addTLSPolicies(e)
	t.addOwnTLS(e)
	t.addTrafficPolicies(e)
	t.addGateways(e)
	t.addListenerSets(e)
	t.addPatchPolicies(e)
	t.addDoors(e)
	t.addRegistries(e)
	t.addPolicyFields(e)
	t.addProxyFields(e)
	t.addProxyWide(e)
	t.addQUICDoors(e)
	t.addFleets(e)
	t.addTelemetry(e)
	t.addPorts(e)
	t.addAccords(e)
	t.addQUIC(e)
	t.addCertificates(e)
	t.addAuthorities(e)
	t.addRouteFilters(e)
	t.addExtensions(e)
	t.addRoutes(e)
	t.addRoutePolicies(e)
	t.addBindings(e)
	t.addStreams(e)
	t.addPolicyUses(e)
	t.addExtensionPolicies(e)
	t.addUses(e)
	t.addBackends(e)
	t.addLaunches(e)
	t.addStatuses(e)
	t.addPolicies(e)
	return t
}

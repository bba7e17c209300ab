package envoy

import (
	"slices"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dnscommonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	leastv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/least_request/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/xds"
)

const (
	// connectTimeout is how long a connection to a backend may take.
	connectTimeout = 10 * time.Second
	// endpointsTimeout bounds how long Envoy waits for the endpoints of a new cluster before it takes the cluster as
	// it is. The server sends them together, so only a lost message waits this long.
	endpointsTimeout = 2 * time.Second
	// dnsSettle is how long the routes to a new DNS cluster wait for its first answer. The cluster itself does not
	// wait: Envoy would hold back all other clusters with it.
	dnsSettle = 150 * time.Millisecond
	// maxRetries is how many retries a cluster may have under way at a time.
	maxRetries = 1024
	// bufferLimit is Envoy's recommendation for edge proxies: 32 KiB per connection.
	bufferLimit = 32 << 10
)

// The HTTP/2 limits that Envoy recommends for edge proxies.
const (
	http2Streams          = 100
	http2StreamWindow     = 64 << 10
	http2ConnectionWindow = 1 << 20
)

// cluster returns the Envoy cluster of a backend. Its name and contents do not depend on the routes that use it.
// Endpoints are inline where Envoy cannot take them from EDS: DNS names and Unix sockets.
func cluster(chain *feature.Chain, b model.Backend, endpoints []model.Endpoint) *xds.Resource {
	if !zoned(chain, &b, b.Attached) {
		endpoints = withoutZones(endpoints)
	}
	return clusterWith(b, endpoints, func(c *clusterv3.Cluster) {
		chain.ApplyCluster(&feature.Cluster{Proto: c, Backend: &b}, b.Attached)
		if c.LoadAssignment != nil {
			chain.ApplyEndpoints(c.LoadAssignment, b.Attached)
		}
	})
}

// clusterOwners are the objects that make a cluster what it is beyond that of the backend itself: the policies that its
// settings are from if there are some, which have a status, else the backend.
func clusterOwners(k model.BackendKey) []model.Ref {
	if k.Settings == (model.SettingsKey{}) || k.Settings.Kind() == model.KindEnvoyProxy {
		return []model.Ref{k.Ref()}
	}
	return k.Settings.Policies()
}

// clusterWith is cluster with a last change to it.
func clusterWith(b model.Backend, endpoints []model.Endpoint, change func(*clusterv3.Cluster)) *xds.Resource {
	c := newCluster(&b, endpoints)
	r := &xds.Resource{Name: c.Name, Owners: clusterOwners(b.Key)}
	if b.Address == model.AddressDNS {
		r.Settle = dnsSettle
	}
	change(c)
	if b.Address == model.AddressDynamic {
		finishDynamic(c)
	}
	r.Checked = len(c.GetHealthChecks()) > 0
	r.Body = marshal(c)
	r.Hash = hash(r.Body)
	return r
}

// newCluster returns the cluster of a backend before features have changed it.
func newCluster(b *model.Backend, endpoints []model.Endpoint) *clusterv3.Cluster {
	name := b.Key.String()
	c := &clusterv3.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(connectTimeout),
		PerConnectionBufferLimitBytes: wrapperspb.UInt32(bufferLimit),
		LbPolicy:                      clusterv3.Cluster_LEAST_REQUEST,
		// An endpoint that is gone gets no more requests, whatever its health checks said last.
		IgnoreHealthOnHostRemoval: true,
		// Envoy's own limit is 3 retries at a time, which would undo what a route asks for.
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxRetries: wrapperspb.UInt32(maxRetries),
		}}},
	}
	if prefer := feature.PreferZone(b.Prefer); prefer != nil {
		c.LbPolicy = clusterv3.Cluster_LOAD_BALANCING_POLICY_CONFIG
		c.LoadBalancingPolicy = leastRequest(prefer)
	}
	switch b.Address {
	case model.AddressIP:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS}
		c.EdsClusterConfig = &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads(endpointsTimeout)}
	case model.AddressUnix:
		c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		c.LoadAssignment = loadAssignment(name, endpoints)
	case model.AddressDNS:
		c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.cluster.dns",
			TypedConfig: toAny(&dnsv3.DnsCluster{
				DnsLookupFamily: dnscommonv3.DnsLookupFamily_V4_PREFERRED,
				RespectDnsTtl:   true,
			}),
		}}
		c.LoadAssignment = loadAssignment(name, endpoints)
		c.WaitForWarmOnInit = wrapperspb.Bool(false)
	case model.AddressDynamic:
		c.ClusterDiscoveryType = dynamicDiscovery()
	}
	if b.TLS != nil {
		c.TransportSocket = backendSocket(b.TLS, b.Key)
	}
	if options := httpOptions(b); options != nil {
		c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": toAny(options),
		}
	}
	return c
}

// httpOptions are how HTTP is spoken with a backend, nil for HTTP/1.1. Which version it is depends on the application
// protocols that TLS is to offer (ALPN), if that is said; and TLS can ask for the host of the request.
func httpOptions(b *model.Backend) *httpv3.HttpProtocolOptions {
	http2 := b.Protocol == model.AppH2C || b.Protocol == model.AppGRPC
	if b.TLS == nil {
		if http2 {
			return &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: explicitly(true)}
		}
		return nil
	}
	alpn := b.TLS.Options.Or(b.Key.Options).Settings().ALPN
	offers := slices.Contains(alpn, "h2")
	out := &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: explicitly(http2 || offers)}
	if offers && !http2 && len(alpn) > 1 {
		out.UpstreamProtocolOptions = &httpv3.HttpProtocolOptions_AutoConfig{
			AutoConfig: &httpv3.HttpProtocolOptions_AutoHttpConfig{Http2ProtocolOptions: http2Limits()},
		}
	}
	switch {
	case b.Address == model.AddressDynamic && b.TLS.Ask != model.AskFixed:
		// The host can be an address, for which no server name is asked: then the certificate has to be for the address.
		out.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{
			AutoSni: true, AutoSanValidation: !b.TLS.Insecure,
		}
	case b.TLS.Ask == model.AskHost:
		out.UpstreamHttpProtocolOptions = &corev3.UpstreamHttpProtocolOptions{AutoSni: true}
	case !http2 && !offers:
		return nil
	}
	return out
}

// explicitly is one version of HTTP: 2 or 1.1.
func explicitly(http2 bool) *httpv3.HttpProtocolOptions_ExplicitHttpConfig_ {
	config := &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
		ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{
			HttpProtocolOptions: &corev3.Http1ProtocolOptions{},
		},
	}
	if http2 {
		config.ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
			Http2ProtocolOptions: http2Limits(),
		}
	}
	return &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: config}
}

func http2Limits() *corev3.Http2ProtocolOptions {
	return &corev3.Http2ProtocolOptions{
		InitialStreamWindowSize:     wrapperspb.UInt32(http2StreamWindow),
		InitialConnectionWindowSize: wrapperspb.UInt32(http2ConnectionWindow),
	}
}

// ads is the configuration source of everything that Envoy asks for by name. A timeout of 0 waits for ever.
func ads(initialFetch time.Duration) *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(initialFetch),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// leastRequest is the default of how an endpoint is chosen, for a cluster whose localities mean something.
func leastRequest(locality *commonv3.LocalityLbConfig) *clusterv3.LoadBalancingPolicy {
	return &clusterv3.LoadBalancingPolicy{Policies: []*clusterv3.LoadBalancingPolicy_Policy{{
		TypedExtensionConfig: &corev3.TypedExtensionConfig{
			Name:        "envoy.load_balancing_policies.least_request",
			TypedConfig: toAny(&leastv3.LeastRequest{LocalityLbConfig: locality}),
		},
	}}}
}

// zoned says whether the endpoints of a backend are grouped by zone: an Envoy that knows its own would otherwise prefer
// that of its own accord.
func zoned(chain *feature.Chain, b *model.Backend, attached []model.Attached) bool {
	return b.Prefer != (model.ZonePreference{}) || chain.Zoned(attached)
}

// withoutZones returns the endpoints as of no zone.
func withoutZones(list []model.Endpoint) []model.Endpoint {
	out := slices.Clone(list)
	for i := range out {
		out[i].Zone = ""
	}
	return out
}

// endpoints returns the EDS resource of a backend with IP endpoints, as what is attached to the backend shapes them:
// empty ones too, a cluster waits for it.
func endpoints(
	chain *feature.Chain, b *model.Backend, attached []model.Attached, list []model.Endpoint,
) *xds.Resource {
	key := b.Key
	if !zoned(chain, b, attached) {
		list = withoutZones(list)
	}
	out := loadAssignment(key.String(), list)
	chain.ApplyEndpoints(out, attached)
	return endpointsResource(out, []model.Ref{key.Ref()})
}

func endpointsResource(e *endpointv3.ClusterLoadAssignment, owners []model.Ref) *xds.Resource {
	body := marshal(e)
	return &xds.Resource{Name: e.GetClusterName(), Body: body, Hash: hash(body), Owners: owners}
}

// loadAssignment groups the endpoints by zone. They are sorted, so the zones come out sorted too.
func loadAssignment(name string, list []model.Endpoint) *endpointv3.ClusterLoadAssignment {
	out := &endpointv3.ClusterLoadAssignment{ClusterName: name}
	zones := map[string]*endpointv3.LocalityLbEndpoints{}
	var names []string
	for _, e := range list {
		zone, ok := zones[e.Zone]
		if !ok {
			zone = &endpointv3.LocalityLbEndpoints{}
			if e.Zone != "" {
				zone.Locality = &corev3.Locality{Zone: e.Zone}
			}
			zones[e.Zone] = zone
			names = append(names, e.Zone)
		}
		zone.LbEndpoints = append(zone.LbEndpoints, lbEndpoint(e))
	}
	slices.Sort(names)
	for _, z := range names {
		out.Endpoints = append(out.Endpoints, zones[z])
	}
	return out
}

func lbEndpoint(e model.Endpoint) *endpointv3.LbEndpoint {
	out := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{
		Endpoint: &endpointv3.Endpoint{Address: address(e), Hostname: e.Hostname},
	}}
	if e.Draining {
		out.HealthStatus = corev3.HealthStatus_DRAINING
	}
	return out
}

func address(e model.Endpoint) *corev3.Address {
	if e.Port == 0 {
		return &corev3.Address{Address: &corev3.Address_Pipe{Pipe: &corev3.Pipe{Path: e.Address}}}
	}
	return socketAddress(e.Address, e.Port)
}

func socketAddress(host string, port uint16) *corev3.Address {
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(port)},
	}}}
}

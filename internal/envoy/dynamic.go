package envoy

import (
	"fmt"
	"hash/fnv"
	"time"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dynamicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dnscachev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	sniv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

const (
	// dynamicRefresh is how often a host is resolved again whose records do not say it.
	dynamicRefresh = 30 * time.Second
	// sniPort is where the servers are that TLS is passed on to: a server name has no port.
	sniPort = 443
	// dnsCacheName is what the names of all caches begin with.
	dnsCacheName = "dns"
)

// dynamicDiscovery is how a cluster finds its endpoints by the hosts that requests are for. Clients say which these
// are, so no host is known by an address that only the proxy's own machine, its link or its cloud should reach. It is
// the addresses that are looked at, to which connections are made then: no name and no other spelling gets by.
func dynamicDiscovery() *clusterv3.Cluster_ClusterType {
	denied := &matcherv3.AddressMatcher{}
	for _, p := range model.OwnRanges() {
		denied.Ranges = append(denied.Ranges, &xdscorev3.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())), //nolint:gosec // at most 128
		})
	}
	return dynamicType(&dnscachev3.DnsCacheConfig{
		Name:                  dnsCacheName,
		DnsLookupFamily:       clusterv3.Cluster_V4_PREFERRED,
		DnsRefreshRate:        durationpb.New(dynamicRefresh),
		ResolvedAddressFilter: denied,
	})
}

func dynamicType(cache *dnscachev3.DnsCacheConfig) *clusterv3.Cluster_ClusterType {
	return &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dynamic_forward_proxy",
		TypedConfig: toAny(&dynamicv3.ClusterConfig{
			ClusterImplementationSpecifier: &dynamicv3.ClusterConfig_DnsCacheConfig{DnsCacheConfig: cache},
			// Envoy insists on deriving name and certificate of a server from the host, even where a policy says another.
			AllowInsecureClusterOptions: true,
		}),
	}}
}

// finishDynamic takes from a dynamic cluster what features gave it that such a cluster cannot have: it chooses
// endpoints itself, and has none to check before somebody asks for them.
func finishDynamic(c *clusterv3.Cluster) {
	c.LbPolicy, c.LoadBalancingPolicy, c.CommonLbConfig = clusterv3.Cluster_CLUSTER_PROVIDED, nil, nil
	c.HealthChecks = nil
	// Envoy refuses two caches of one name that are not the same.
	cache := dnsCache(c)
	sum := fnv.New64a()
	_, _ = sum.Write(marshal(cache)) // never fails
	cache.Name = fmt.Sprintf("%s/%x", dnsCacheName, sum.Sum(nil))
	c.ClusterDiscoveryType = dynamicType(cache)
}

// dnsCache returns where a dynamic cluster keeps what it has resolved.
func dnsCache(c *clusterv3.Cluster) *dnscachev3.DnsCacheConfig {
	config := &dynamicv3.ClusterConfig{}
	if err := c.GetClusterType().GetTypedConfig().UnmarshalTo(config); err != nil {
		panic("envoy: the cluster is not dynamic: " + err.Error()) // a mistake in the program
	}
	return config.GetDnsCacheConfig()
}

// resolveServerName returns the filter that looks up the server name of a connection, if it is passed on to a dynamic
// resolver: the cluster takes it from the cache that both share.
func (b *builder) resolveServerName(
	r *incr.Reader, proxy model.ProxyName, backends []model.WeightedBackend,
) []*listenerv3.Filter {
	if len(backends) != 1 {
		return nil
	}
	backend, ok := b.backendFor(r, BackendKey{Proxy: proxy, Backend: backends[0].Backend})
	if !ok || backend.Address != model.AddressDynamic {
		return nil
	}
	c := newCluster(&backend, nil)
	b.opts.Chain.ApplyCluster(&feature.Cluster{Proto: c, Backend: &backend}, backend.Attached)
	finishDynamic(c)
	return []*listenerv3.Filter{{
		Name: "envoy.filters.network.sni_dynamic_forward_proxy",
		ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: toAny(&sniv3.FilterConfig{
			DnsCacheConfig: dnsCache(c), PortSpecifier: &sniv3.FilterConfig_PortValue{PortValue: sniPort},
		})},
	}}
}

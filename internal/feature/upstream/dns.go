package upstream

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	dynamicv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// DNS is the feature of the field dns.
type DNS struct{}

var (
	_ feature.Checker        = DNS{}
	_ feature.ClusterApplier = DNS{}
)

// families are the lookups of the API. Envoy's AUTO asks for IPv6 first.
var families = map[egv1a1.DNSLookupFamily]commonv3.DnsLookupFamily{
	egv1a1.IPv4DNSLookupFamily:          commonv3.DnsLookupFamily_V4_ONLY,
	egv1a1.IPv6DNSLookupFamily:          commonv3.DnsLookupFamily_V6_ONLY,
	egv1a1.IPv4PreferredDNSLookupFamily: commonv3.DnsLookupFamily_V4_PREFERRED,
	egv1a1.IPv6PreferredDNSLookupFamily: commonv3.DnsLookupFamily_AUTO,
	egv1a1.IPv4AndIPv6DNSLookupFamily:   commonv3.DnsLookupFamily_ALL,
}

// dynamicFamilies are the same for dynamic resolvers.
var dynamicFamilies = map[egv1a1.DNSLookupFamily]clusterv3.Cluster_DnsLookupFamily{
	egv1a1.IPv4DNSLookupFamily:          clusterv3.Cluster_V4_ONLY,
	egv1a1.IPv6DNSLookupFamily:          clusterv3.Cluster_V6_ONLY,
	egv1a1.IPv4PreferredDNSLookupFamily: clusterv3.Cluster_V4_PREFERRED,
	egv1a1.IPv6PreferredDNSLookupFamily: clusterv3.Cluster_AUTO,
	egv1a1.IPv4AndIPv6DNSLookupFamily:   clusterv3.Cluster_ALL,
}

// Name returns the name of the policy's field.
func (DNS) Name() string { return "BackendTrafficPolicy.dns" }

// Check refuses what Envoy cannot have.
func (DNS) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.DNS)
	var refused policy.Refusals
	refused.Duration(".dnsRefreshRate", spec.DNSRefreshRate, time.Millisecond)
	if f := spec.LookupFamily; f != nil {
		if _, ok := families[*f]; !ok {
			refused.Add(".lookupFamily", "There is no family %q: use IPv4, IPv6, IPv4Preferred, IPv6Preferred or IPv4AndIPv6",
				*f)
		}
	}
	return refused
}

// ApplyCluster sets how host names are resolved; a cluster of addresses stays as it is.
func (DNS) ApplyCluster(c *feature.Cluster, a model.Attached) {
	spec := a.Spec.(*egv1a1.DNS)
	packed := c.Proto.GetClusterType().GetTypedConfig()
	switch {
	case packed.MessageIs(&dnsv3.DnsCluster{}):
		config := unpack(packed, &dnsv3.DnsCluster{})
		if spec.DNSRefreshRate != nil {
			config.DnsRefreshRate = policy.Duration(spec.DNSRefreshRate)
		}
		if spec.RespectDNSTTL != nil {
			config.RespectDnsTtl = *spec.RespectDNSTTL
		}
		if spec.LookupFamily != nil {
			config.DnsLookupFamily = families[*spec.LookupFamily]
		}
		c.Proto.GetClusterType().TypedConfig = feature.Pack(config)
	case packed.MessageIs(&dynamicv3.ClusterConfig{}):
		config := unpack(packed, &dynamicv3.ClusterConfig{})
		cache := config.GetDnsCacheConfig()
		if spec.DNSRefreshRate != nil {
			cache.DnsRefreshRate = policy.Duration(spec.DNSRefreshRate)
		}
		if spec.LookupFamily != nil {
			cache.DnsLookupFamily = dynamicFamilies[*spec.LookupFamily]
		}
		c.Proto.GetClusterType().TypedConfig = feature.Pack(config)
	}
}

func unpack[M proto.Message](packed *anypb.Any, into M) M {
	if err := packed.UnmarshalTo(into); err != nil {
		panic("upstream: the type of the cluster cannot be read: " + err.Error()) // a mistake in the program
	}
	return into
}

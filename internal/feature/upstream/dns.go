package upstream

import (
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"

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
	config := &dnsv3.DnsCluster{}
	packed := c.Proto.GetClusterType().GetTypedConfig()
	if !packed.MessageIs(config) {
		return
	}
	if err := packed.UnmarshalTo(config); err != nil {
		panic("upstream: the cluster's type is no DnsCluster: " + err.Error()) // a mistake in the program
	}
	spec := a.Spec.(*egv1a1.DNS)
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
}

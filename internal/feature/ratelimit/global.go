package ratelimit

import (
	"cmp"
	"fmt"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/config/ratelimit/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/type/metadata/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	count "github.com/sluice-gateway/sluice/internal/ratelimit"
)

// globalConfig is the filter that asks.
func (f Feature) globalConfig(rules []rule) *filterv3.RateLimit {
	service := f.Service
	if service == nil {
		service = &Service{FailClosed: true} // Check has refused it: nobody gets here
	}
	out := &filterv3.RateLimit{
		Domain:          count.Domain,
		Timeout:         durationpb.New(cmp.Or(service.Timeout, DefaultTimeout)),
		FailureModeDeny: service.FailClosed,
		RateLimitService: &ratelimitv3.RateLimitServiceConfig{
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: count.Cluster},
			}},
			TransportApiVersion: corev3.ApiVersion_V3,
		},
		EnableXRatelimitHeaders:        filterv3.RateLimit_DRAFT_VERSION_03,
		EnableRetryAfterHeader:         true,
		DisableXEnvoyRatelimitedHeader: true,
	}
	for _, r := range rules {
		out.RateLimits = append(out.RateLimits, r.global()...)
	}
	return out
}

// global returns what is counted when a request arrives, and if responses cost something, when one has been sent.
func (r rule) global() []*routev3.RateLimit {
	var response *egv1a1.RateLimitCostSpecifier
	var request *egv1a1.RateLimitCostSpecifier
	if c := r.spec.Cost; c != nil {
		request, response = c.Request, c.Response
	}
	var modes []*routev3.RateLimit_Action
	if r.spec.ShadowMode != nil && *r.spec.ShadowMode {
		modes = append(modes, constant(count.KeyMode, count.ModeShadow))
	}
	if response != nil {
		modes = append(modes, constant(count.KeyMode, count.ModeTell))
	}
	out := []*routev3.RateLimit{{
		Actions: r.globalActions(modes), HitsAddend: hits(request), Limit: r.override(), XRatelimitOption: r.headers(),
	}}
	if response == nil {
		return out
	}
	return append(out, &routev3.RateLimit{
		Actions: r.globalActions([]*routev3.RateLimit_Action{constant(count.KeyMode, count.ModeCharge), hasPassed()}),
		// The limit again, because the descriptor that is charged must be the one that was asked about.
		HitsAddend: hits(response), Limit: r.override(), XRatelimitOption: r.headers(), ApplyOnStreamDone: true,
	})
}

// globalActions are the entries of a descriptor of the rule.
func (r rule) globalActions(modes []*routev3.RateLimit_Action) []*routev3.RateLimit_Action {
	unit, _ := count.ParseUnit(string(r.spec.Limit.Unit)) // Check has refused what is none
	limit := count.Limit{Requests: r.spec.Limit.Requests, Unit: unit}
	out := []*routev3.RateLimit_Action{constant(count.KeyRule, r.name()), constant(count.KeyLimit, limit.String())}
	if r.spec.Shared == nil || !*r.spec.Shared {
		out = append(out, addressAction(count.KeyRoute, routeName, anywhere, false))
	}
	out = append(out, modes...)
	for i, c := range r.conditions() {
		key := fmt.Sprintf("match-%d", i)
		out = append(out, c.holds(key))
		if c.value != nil {
			out = append(out, c.value(key))
		}
	}
	return out
}

// routeName is Envoy's format of the name of the route. Only some actions take a format: it is added by one that is
// true of any client's address.
const routeName = "%ROUTE_NAME%"

func constant(key, value string) *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_GenericKey_{
		GenericKey: &routev3.RateLimit_Action_GenericKey{DescriptorKey: key, DescriptorValue: value},
	}}
}

// hasPassed keeps a response from being charged if the request was refused: then the metadata that the service has set
// for those that pass is not there.
func hasPassed() *routev3.RateLimit_Action {
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_Metadata{
		Metadata: &routev3.RateLimit_Action_MetaData{
			DescriptorKey: count.MetadataPassed, MetadataKey: metadataKey(globalFilter, count.MetadataPassed),
			Source: routev3.RateLimit_Action_MetaData_DYNAMIC,
		},
	}}
}

func metadataKey(namespace, key string) *metadatav3.MetadataKey {
	return &metadatav3.MetadataKey{Key: namespace, Path: []*metadatav3.MetadataKey_PathSegment{
		{Segment: &metadatav3.MetadataKey_PathSegment_Key{Key: key}},
	}}
}

// hits is what a request or response costs, nil for one.
func hits(cost *egv1a1.RateLimitCostSpecifier) *routev3.RateLimit_HitsAddend {
	switch {
	case cost == nil:
		return nil
	case cost.From == egv1a1.RateLimitCostFromMetadata && cost.Metadata != nil:
		return &routev3.RateLimit_HitsAddend{
			Format: fmt.Sprintf("%%DYNAMIC_METADATA(%s:%s)%%", cost.Metadata.Namespace, cost.Metadata.Key),
		}
	case cost.Number != nil:
		return &routev3.RateLimit_HitsAddend{Number: wrapperspb.UInt64(*cost.Number)}
	}
	return nil
}

// override takes the limit from the metadata of the request, if it is there.
func (r rule) override() *routev3.RateLimit_Override {
	m := r.spec.Limit.FromMetadata
	if m == nil {
		return nil
	}
	return &routev3.RateLimit_Override{OverrideSpecifier: &routev3.RateLimit_Override_DynamicMetadata_{
		DynamicMetadata: &routev3.RateLimit_Override_DynamicMetadata{MetadataKey: metadataKey(m.Namespace, m.Key)},
	}}
}

func (r rule) headers() routev3.RateLimit_XRateLimitOption {
	if r.spec.XRateLimitHeaders == nil {
		return routev3.RateLimit_UNSPECIFIED
	}
	switch *r.spec.XRateLimitHeaders {
	case egv1a1.XRateLimitHeadersOptionDisabled:
		return routev3.RateLimit_OFF
	case egv1a1.XRateLimitHeadersOptionDraftVersion03:
		return routev3.RateLimit_DRAFT_VERSION_03
	}
	return routev3.RateLimit_UNSPECIFIED
}

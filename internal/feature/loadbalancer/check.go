package loadbalancer

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"
	"unicode"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// largestTable is the largest that Envoy can have (Maglev.table_size).
const largestTable = 5000011

// Check refuses what does not belong to the type, and what this version of Sluice cannot do. Two policies that are
// merged can have what the schema refuses of one.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.LoadBalancer)
	var refused policy.Refusals
	switch spec.Type {
	case egv1a1.LeastRequestLoadBalancerType, egv1a1.RoundRobinLoadBalancerType:
	case egv1a1.RandomLoadBalancerType:
		refuseSlowStart(&refused, spec)
	case egv1a1.ConsistentHashLoadBalancerType:
		refuseSlowStart(&refused, spec)
		if policy.Inline(a) {
			refused.Add(".consistentHash", "Requests that a policy makes itself have nothing to hash: use another type")
		}
		checkHash(&refused, spec.ConsistentHash)
	case egv1a1.BackendUtilizationLoadBalancerType:
		checkUtilization(&refused, spec.BackendUtilization)
	default:
		refused.Add(".type", "The type %q is not supported by this version of Sluice: use LeastRequest, RoundRobin, "+
			"Random, ConsistentHash or BackendUtilization", spec.Type)
	}
	if spec.SlowStart != nil {
		refused.Duration(".slowStart.window", spec.SlowStart.Window, time.Millisecond)
		if spec.SlowStart.Window == nil {
			refused.Add(".slowStart.window", "The window is missing: say how long an endpoint takes to warm up")
		}
	}
	checkZones(&refused, spec)
	checkOverride(&refused, spec.EndpointOverride)
	return refused
}

func checkZones(refused *policy.Refusals, spec *egv1a1.LoadBalancer) {
	if spec.ZoneAware == nil {
		return
	}
	const path = ".zoneAware"
	checkOwnZone(refused, spec)
	seen := map[string]bool{}
	for i, z := range spec.ZoneAware.WeightedZones {
		at := fmt.Sprintf("%s.weightedZones[%d]", path, i)
		if seen[z.Zone] {
			refused.Add(at+".zone", "The zone %q is there more than once: leave one", z.Zone)
		}
		seen[z.Zone] = true
		if z.Weight < 1 {
			refused.Add(at+".weight", "The weight is 0, which Envoy takes for none: use 1 or more")
		}
	}
}

// checkOwnZone refuses a preference for the proxy's own zone where it would have no effect.
func checkOwnZone(refused *policy.Refusals, spec *egv1a1.LoadBalancer) {
	own := spec.ZoneAware.PreferLocal
	if own == nil {
		return
	}
	const path = ".zoneAware.preferLocal"
	switch {
	case spec.Type == egv1a1.ConsistentHashLoadBalancerType || spec.Type == egv1a1.BackendUtilizationLoadBalancerType:
		refused.Add(path, "The type %s does not look at the proxy's zone: use weightedZones, or another type", spec.Type)
	case len(spec.ZoneAware.WeightedZones) > 0:
		refused.Add(path, "Zones have weights, which hold in all zones: remove preferLocal or weightedZones")
	}
	if n := own.PercentageEnabled; n != nil && *n > 100 {
		refused.Add(path+".percentageEnabled", "The number %d is no percentage: use 0 to 100", *n)
	}
}

func refuseSlowStart(refused *policy.Refusals, spec *egv1a1.LoadBalancer) {
	if spec.SlowStart != nil {
		refused.Add(".slowStart", "With the type %s endpoints cannot start slowly: remove slowStart, or use RoundRobin "+
			"or LeastRequest", spec.Type)
	}
}

func checkHash(refused *policy.Refusals, spec *egv1a1.ConsistentHash) {
	const path = ".consistentHash"
	if spec == nil {
		refused.Add(path, "Nothing says what is hashed: add consistentHash")
		return
	}
	if n := spec.TableSize; n != nil && (*n > largestTable || !new(big.Int).SetUint64(*n).ProbablyPrime(0)) {
		refused.Add(path+".tableSize", "The table size %d cannot be used: use a prime number up to %d", *n, largestTable)
	}
	missing := func(field string) { refused.Add(path+field, "The type %s needs this field: add it", spec.Type) }
	switch spec.Type {
	case egv1a1.SourceIPConsistentHashType:
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	case egv1a1.HeaderConsistentHashType:
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		if spec.Header == nil {
			missing(".header")
		}
	case egv1a1.HeadersConsistentHashType:
		if len(spec.Headers) == 0 {
			missing(".headers")
		}
	case egv1a1.QueryParamsConsistentHashType:
		if len(spec.QueryParams) == 0 {
			missing(".queryParams")
		}
	case egv1a1.CookieConsistentHashType:
		if spec.Cookie == nil {
			missing(".cookie")
			return
		}
		refused.Duration(path+".cookie.ttl", spec.Cookie.TTL, 0)
	default:
		refused.Add(path+".type", "There is no type %q: use SourceIP, Header, Headers, Cookie or QueryParams", spec.Type)
	}
	checkHashNames(refused, spec)
}

// checkHashNames refuses empty names, which Envoy refuses with the route.
func checkHashNames(refused *policy.Refusals, spec *egv1a1.ConsistentHash) {
	check := func(path, name string) {
		if name == "" {
			refused.Add(".consistentHash"+path+".name", "The name is empty: say what to hash")
		}
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if spec.Header != nil {
		//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
		check(".header", spec.Header.Name)
	}
	for i, h := range spec.Headers {
		check(fmt.Sprintf(".headers[%d]", i), h.Name)
	}
	for i, q := range spec.QueryParams {
		check(fmt.Sprintf(".queryParams[%d]", i), q.Name)
	}
	if spec.Cookie != nil {
		check(".cookie", spec.Cookie.Name)
		checkAttributes(refused, spec.Cookie.Attributes)
	}
}

// checkAttributes refuses attributes of a cookie that would be others, or end the header that sets it.
func checkAttributes(refused *policy.Refusals, attributes map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := header.CheckName(name); err != nil {
			refused.Add(".consistentHash.cookie.attributes", "Invalid attribute: %v", err)
		}
		value := attributes[name]
		if strings.ContainsFunc(value, func(r rune) bool { return r == ';' || unicode.IsControl(r) }) {
			refused.Add(".consistentHash.cookie.attributes", "The attribute %q has the value %q: "+
				"leave out semicolons and control characters", name, value)
		}
	}
}

func checkUtilization(refused *policy.Refusals, spec *egv1a1.BackendUtilization) {
	const path = ".backendUtilization"
	if spec == nil {
		return
	}
	refused.Duration(path+".blackoutPeriod", spec.BlackoutPeriod, 0)
	refused.Duration(path+".weightExpirationPeriod", spec.WeightExpirationPeriod, 0)
	refused.Duration(path+".weightUpdatePeriod", spec.WeightUpdatePeriod, 0)
	if band := spec.OutOfBand; band != nil {
		refused.Duration(path+".outOfBand.reportingPeriod", band.ReportingPeriod, time.Millisecond)
		if n := band.Port; n != nil && (*n < 1 || *n > 65535) {
			refused.Add(path+".outOfBand.port", "The number %d is no port: use 1 to 65535", *n)
		}
	}
}

func checkOverride(refused *policy.Refusals, spec *egv1a1.EndpointOverride) {
	if spec == nil {
		return
	}
	if len(spec.ExtractFrom) == 0 {
		refused.Add(".endpointOverride.extractFrom", "Nothing says where the endpoint is named: add a header")
	}
	for i, from := range spec.ExtractFrom {
		if from.Header == nil || *from.Header == "" {
			refused.Add(fmt.Sprintf(".endpointOverride.extractFrom[%d].header", i), "The header is missing: add its name")
		}
	}
}

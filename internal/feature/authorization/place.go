package authorization

import (
	"fmt"
	"slices"
	"strconv"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	geoipv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/geoip/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	providerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/geoip_providers/common/v3"
	maxmindv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/geoip_providers/maxmind/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/predicate"
	"github.com/sluice-gateway/sluice/internal/model"
)

// The filters around the one that decides: what clients say of places is removed, the place is looked up, and what was
// found removed again.
const (
	geoFilter    = "envoy.filters.http.geoip"
	beforeFilter = geoFilter + "/before"
	behindFilter = geoFilter + "/behind"
)

// fact is something that is known of a place.
type fact struct {
	// name is that of the field of the API, and the end of the name of the header that geoip writes.
	name, value string
	// not says that it must not be so.
	not bool
}

func (f fact) header() string { return "x-sluice-place-" + f.name }

// The names of what is known of a place.
const (
	country, region, city, asn, isp            = "country", "region", "city", "asn", "isp"
	anonymous, vpn, hosting, torNetwork, relay = "anonymous", "vpn", "hosting", "tor", "proxy"
)

// facts returns what has to be known of a place for it to be the one of a rule.
func facts(at *egv1a1.ClientIPGeoLocation) []fact {
	var out []fact
	text := func(name string, value *string) {
		if value != nil {
			out = append(out, fact{name: name, value: *value})
		}
	}
	flag := func(name string, value *bool) {
		if value != nil {
			out = append(out, fact{name: name, value: "true", not: !*value})
		}
	}
	text(country, at.Country)
	text(region, at.Region)
	text(city, at.City)
	if at.ASN != nil {
		number := strconv.FormatUint(uint64(*at.ASN), 10)
		text(asn, &number)
	}
	text(isp, at.ISP)
	if who := at.Anonymous; who != nil {
		flag(anonymous, who.IsAnonymous)
		flag(vpn, who.IsVPN)
		flag(hosting, who.IsHosting)
		flag(torNetwork, who.IsTor)
		flag(relay, who.IsProxy)
	}
	return out
}

// places matches clients that are in one of several places.
func places(list []egv1a1.ClientIPGeoLocation) *predicate.Predicate {
	var out []*predicate.Predicate
	for i := range list {
		var all []*predicate.Predicate
		for _, f := range facts(&list[i]) {
			one := headerValue(f.header(), []string{f.value}, true)
			if f.not {
				one = predicate.Not(one)
			}
			all = append(all, one)
		}
		if len(all) > 0 { // others are refused by Check
			out = append(out, predicate.All(all))
		}
	}
	return predicate.Any(out)
}

// asked returns what the rules want to know of places, by name, each once and sorted, and the first field that wants
// it.
func asked(spec *egv1a1.Authorization) (names []string, fields map[string]string) {
	fields = map[string]string{}
	for i := range spec.Rules {
		who := spec.Rules[i].Principal
		if who == nil {
			continue
		}
		for j := range who.ClientIPGeoLocations {
			for _, f := range facts(&who.ClientIPGeoLocations[j]) {
				if _, ok := fields[f.name]; !ok {
					names = append(names, f.name)
					fields[f.name] = fmt.Sprintf(".rules[%d].principal.clientIPGeoLocations[%d]", i, j)
				}
			}
		}
	}
	slices.Sort(names)
	return names, fields
}

// CheckPlaces refuses places of which the proxies have no database.
func (Feature) CheckPlaces(a model.Attached) []feature.Problem {
	has := a.Places.Databases()
	var c checker
	names, fields := asked(a.Spec.(*egv1a1.Authorization))
	for _, name := range names {
		source := ""
		switch name {
		case country:
			source = lacking("countryDbSource or cityDbSource", has.Country+has.City)
		case region, city:
			source = lacking("cityDbSource", has.City)
		case asn:
			source = lacking("asnDbSource or ispDbSource", has.ASN+has.ISP)
		case isp:
			source = lacking("ispDbSource", has.ISP)
		default:
			source = lacking("anonymousIpDbSource", has.Anonymous)
		}
		if source != "" {
			c.refuse(fields[name], "No database says the %s of a client: the EnvoyProxy of the Gateway has to name one in "+
				"spec.geoIP.provider.maxMind, as %s", name, source)
		}
	}
	return c.problems
}

// lacking returns the name of a source if there is no path.
func lacking(source, path string) string {
	if path != "" {
		return ""
	}
	return source
}

// locate adds the filters that look up where the client is, if a rule asks for it.
func locate(s *feature.Scope, a model.Attached) {
	names, _ := asked(a.Spec.(*egv1a1.Authorization))
	if len(names) == 0 {
		return
	}
	keys := &providerv3.CommonGeoipProviderConfig_GeolocationFieldKeys{}
	into := map[string]*string{
		country: &keys.Country, region: &keys.Region, city: &keys.City, asn: &keys.Asn, isp: &keys.Isp,
		anonymous: &keys.Anon, vpn: &keys.AnonVpn, hosting: &keys.AnonHosting, torNetwork: &keys.AnonTor,
		relay: &keys.AnonProxy,
	}
	for _, name := range names {
		*into[name] = fact{name: name}.header()
	}
	has := a.Places.Databases()
	s.Add(beforeFilter, removing(names))
	s.Add(geoFilter, &geoipv3.Geoip{Provider: &corev3.TypedExtensionConfig{
		Name: "envoy.geoip_providers.maxmind",
		TypedConfig: feature.Pack(&maxmindv3.MaxMindConfig{
			CityDbPath: has.City, CountryDbPath: has.Country, AsnDbPath: has.ASN, IspDbPath: has.ISP, AnonDbPath: has.Anonymous,
			CommonProviderConfig: &providerv3.CommonGeoipProviderConfig{GeoFieldKeys: keys},
		}),
	}})
}

// forget removes what was found for the filter that decides.
func forget(s *feature.Scope, a model.Attached) {
	if names, _ := asked(a.Spec.(*egv1a1.Authorization)); len(names) > 0 {
		s.Add(behindFilter, removing(names))
	}
}

// removing returns a filter that removes the headers of what is known of places.
func removing(names []string) *headerv3.HeaderMutation {
	out := &headerv3.Mutations{}
	for _, name := range names {
		out.RequestMutations = append(out.RequestMutations, &mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: fact{name: name}.header()},
		})
	}
	return &headerv3.HeaderMutation{Mutations: out}
}

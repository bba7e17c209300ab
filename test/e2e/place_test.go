package e2e

import (
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/test/mmdb"
)

// writePlaces writes databases for the EnvoyProxy of a test, and returns what it says of them, in flow style.
func writePlaces(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	write := func(name string, places map[string]mmdb.Record) string {
		path := filepath.Join(folder, name+".mmdb")
		parsed := map[netip.Prefix]mmdb.Record{}
		for prefix, record := range places {
			parsed[netip.MustParsePrefix(prefix)] = record
		}
		if err := mmdb.Write(path, name, parsed); err != nil {
			t.Fatal(err)
		}
		return "{local: {path: " + path + "}}"
	}
	city := func(country, region, name string) mmdb.Record {
		return mmdb.Record{
			"country": mmdb.Record{"iso_code": country}, "subdivisions": []any{mmdb.Record{"iso_code": region}},
			"city": mmdb.Record{"names": mmdb.Record{"en": name}},
		}
	}
	return "geoIP: {provider: {type: MaxMind, maxMind: {" + strings.Join([]string{
		"cityDbSource: " + write("GeoLite2-City", map[string]mmdb.Record{
			"203.0.113.0/24": city("DE", "BY", "Munich"), "198.51.100.0/24": city("FR", "IDF", "Paris"),
		}),
		"asnDbSource: " + write("GeoLite2-ASN", map[string]mmdb.Record{
			"203.0.113.0/25": {"autonomous_system_number": uint32(64500), "autonomous_system_organization": "A"},
		}),
		"anonymousIpDbSource: " + write("GeoIP2-Anonymous-IP", map[string]mmdb.Record{
			"203.0.113.9/32": {"is_anonymous": true, "is_anonymous_vpn": true},
		}),
	}, ", ") + "}}}"
}

// placedGateway is a Gateway with an EnvoyProxy that believes what X-Forwarded-For says.
const placedGateway = `
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  gatewayClassName: sluice
  infrastructure: {parametersRef: {group: gateway.envoyproxy.io, kind: EnvoyProxy, name: settings}}
  listeners:
  - {name: http, protocol: HTTP, port: ${HTTP}}
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: ClientTrafficPolicy
metadata: {name: hops}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: gw}]
  clientIPDetection: {xForwardedFor: {numTrustedHops: 1}}
`

// placed is the authorization of a policy with one rule for places, in flow style.
func placed(action, otherwise, where string) string {
	return "\n  authorization: {defaultAction: " + otherwise + ", rules: [{action: " + action +
		", principal: {clientIPGeoLocations: [" + where + "]}}]}\n"
}

// TestPlaces lets in and denies by where the databases say that clients are. What clients say of themselves counts for
// nothing.
func TestPlaces(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": placedGateway, "backends.yaml": backendsYAML, "proxy.yaml": envoyProxy(writePlaces(t)),
		"routes.yaml": guardedRoute("country", placed("Allow", "Deny", "{country: de}")) +
			guardedRoute("not-there", placed("Deny", "Allow", "{country: FR}")) +
			guardedRoute("city", placed("Allow", "Deny", "{country: FR, region: BY}, {city: munich, region: BY}")) +
			guardedRoute("asn", placed("Allow", "Deny", "{asn: 64500}")) +
			guardedRoute("vpn", placed("Deny", "Allow", "{anonymous: {isVPN: true}}")) +
			guardedRoute("known", placed("Allow", "Deny", "{country: DE, anonymous: {isAnonymous: false}}")) +
			guardedRoute("isp", placed("Allow", "Deny", "{isp: A}")),
	})
	const german, vpn, french, nowhere = "203.0.113.7", "203.0.113.9", "198.51.100.7", "192.0.2.7"
	const other = "203.0.113.200" // in Munich, but of no system that is known
	for host, want := range map[string]map[string]int{
		"country":   {german: 200, vpn: 200, french: 403, nowhere: 403},
		"not-there": {german: 200, french: 403, nowhere: 200},
		"city":      {german: 200, french: 403, nowhere: 403},
		"asn":       {german: 200, other: 403, french: 403},
		"vpn":       {german: 200, vpn: 403, nowhere: 200},
		"known":     {german: 200, vpn: 403, french: 403, nowhere: 403},
		"isp":       {german: 500, nowhere: 500},
	} {
		for client, status := range want {
			t.Run(host+" from "+client, func(t *testing.T) {
				in.must(t, request{host: host + ".example", header: []string{
					"x-forwarded-for: " + client, "x-sluice-place-country: DE", "x-sluice-place-asn: 64500",
					"x-sluice-place-city: Munich", "x-sluice-place-region: BY",
				}}, expect{status: status})
			})
		}
	}
	in.must(t, request{host: "country.example", header: []string{"x-forwarded-for: " + german}},
		expect{backend: "one", received: []string{"x-sluice-place-country:"}})
	in.condition(t, conditionWant{
		kind: "SecurityPolicy", name: "default/isp", condition: "Accepted=False/Invalid", message: "as ispDbSource",
	})
	in.condition(t, conditionWant{kind: "SecurityPolicy", name: "default/city", condition: "Accepted=True/Accepted"})
}

// TestA21MissingDatabase: where the file is not there, or is none, nobody is let in.
func TestA21MissingDatabase(t *testing.T) {
	t.Parallel()
	in := start(t, files{
		"gateway.yaml": placedGateway, "backends.yaml": backendsYAML,
		"proxy.yaml": envoyProxy("geoIP: {provider: {type: MaxMind, maxMind: {countryDbSource: {local: {path: " +
			filepath.Join(t.TempDir(), "none.mmdb") + "}}}}}"),
		"routes.yaml": guardedRoute("country", placed("Deny", "Allow", "{country: FR}")) +
			guardedRoute("open", placed("Allow", "Allow", "{country: FR}")) + route("plain", "[plain.example]",
			[2]string{"plain", `[{path: {value: /}}]`}),
	})
	in.want(t, request{host: "plain.example"}, expect{status: 200})
	for _, host := range []string{"country.example", "open.example"} {
		a, err := in.send(t.Context(), request{host: host})
		if err != nil || a.status == 200 {
			t.Errorf("%s answers %d (%v), want nobody to be let in", host, a.status, err)
		}
	}
}

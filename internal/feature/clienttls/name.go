package clienttls

import (
	"fmt"
	"regexp"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"github.com/sluice-gateway/sluice/internal/feature/policy"
)

// nameList is one of the lists of names that a certificate can be for.
type nameList struct {
	field string
	kind  tlsv3.SubjectAltNameMatcher_SanType
	names []egv1a1.StringMatch
}

func nameLists(spec *egv1a1.SubjectAltNames) []nameList {
	return []nameList{
		{"dnsNames", tlsv3.SubjectAltNameMatcher_DNS, spec.DNSNames},
		{"emailAddresses", tlsv3.SubjectAltNameMatcher_EMAIL, spec.EmailAddresses},
		{"ipAddresses", tlsv3.SubjectAltNameMatcher_IP_ADDRESS, spec.IPAddresses},
		{"uris", tlsv3.SubjectAltNameMatcher_URI, spec.URIs},
	}
}

// names are the names of which a certificate has to be for one.
func names(spec *egv1a1.SubjectAltNames) []*tlsv3.SubjectAltNameMatcher {
	if spec == nil {
		return nil
	}
	var out []*tlsv3.SubjectAltNameMatcher
	for _, list := range nameLists(spec) {
		for _, n := range list.names {
			out = append(out, &tlsv3.SubjectAltNameMatcher{SanType: list.kind, Matcher: policy.Matcher(n)})
		}
	}
	for _, n := range spec.OtherNames {
		out = append(out, &tlsv3.SubjectAltNameMatcher{
			SanType: tlsv3.SubjectAltNameMatcher_OTHER_NAME, Oid: n.Oid, Matcher: policy.Matcher(n.StringMatch),
		})
	}
	return out
}

// oid is an object identifier in dotted notation, as far as Envoy takes it.
var oid = regexp.MustCompile(`^[0-2](\.(0|[1-9][0-9]{0,17}))+$`)

func checkNames(refused *policy.Refusals, path string, spec *egv1a1.SubjectAltNames) {
	if spec == nil {
		return
	}
	if len(names(spec)) == 0 {
		refused.Add(path, "It has no names, so it would let in everybody: add some, or remove it")
	}
	for _, list := range nameLists(spec) {
		for i, n := range list.names {
			refused.Match(fmt.Sprintf("%s.%s[%d]", path, list.field, i), n)
		}
	}
	for i, n := range spec.OtherNames {
		at := fmt.Sprintf("%s.otherNames[%d]", path, i)
		refused.Match(at, n.StringMatch)
		if !oid.MatchString(n.Oid) {
			refused.Add(at+".oid", "The text %q is no object identifier: write it like 1.3.6.1.4.1.311.20.2.3", n.Oid)
		}
	}
}

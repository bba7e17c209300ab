package xds

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/cespare/xxhash/v2"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// numScopes is among how many route configurations the hosts of a large one are divided (SRDS).
const numScopes = 1 << scopeBits

const scopeBits = 4

// ScopeHeader is the header by which Envoy finds the scope of a request. Envoy sets it before it looks for a route, and
// removes it before the request goes to a backend.
const ScopeHeader = "x-sluice-scope"

// scopeOf returns the scope of an exact host. Envoy has to come to the same by what it can compute of a host without
// code of ours: each bit is the parity of how many characters of it are in a set, which is a regular language. Case
// does not matter to it, nor does a port.
func scopeOf(host string) uint8 {
	var scope uint8
	for i := 0; i < len(host) && host[i] != ':'; i++ {
		scope ^= scopeCodes[host[i]]
	}
	return scope
}

// scopeSets are the characters that count for each bit, as in a regular expression. Names that differ by a counter or
// by a word are about as often in one scope as in another. Few ranges make a small expression, of which Envoy allows no
// large ones.
var scopeSets = [scopeBits]string{"0-36b-emo-u", "246-9bd-mp-u", "015-79ks-tv-x", "13-69g-jp-t"}

// hostCharacters are all that a host can have; in requests in upper case, too.
const hostCharacters = "-.0123456789abcdefghijklmnopqrstuvwxyz"

// scopeCodes are the bits of each character that a host can have.
var scopeCodes = func() (codes [256]uint8) {
	for bit, set := range scopeSets {
		for i := 0; i < len(set); i++ {
			first, last := set[i], set[i]
			if i+2 < len(set) && set[i+1] == '-' {
				last = set[i+2]
				i += 2
			}
			for c := first; c <= last; c++ {
				codes[c] |= 1 << bit
				codes[unicode.ToUpper(rune(c))] |= 1 << bit
			}
		}
	}
	return codes
}()

// scopeExpression computes scopeOf in Envoy (CEL).
var scopeExpression = func() string {
	terms := make([]string, scopeBits)
	for bit := range terms {
		in, out := scopeClass(bit, 1), scopeClass(bit, 0)
		terms[bit] = fmt.Sprintf("(request.host.matches('^(?:%[2]s|%[1]s%[2]s*%[1]s)*(?::|$)') ? 0 : %[3]d)", in, out, 1<<bit)
	}
	return strings.Join(terms, " + ")
}()

// scopeClass is the class of the characters of hosts whose bit has the value.
func scopeClass(bit int, value uint8) string {
	var class strings.Builder
	for _, all := range []string{"-.", "09", "az", "AZ"} {
		for first := int(all[0]); first <= int(all[1]); first++ {
			last := first
			for last <= int(all[1]) && scopeCodes[last]>>bit&1 == value {
				last++
			}
			if last--; last > first {
				fmt.Fprintf(&class, "%c-%c", first, last)
			} else if last == first {
				fmt.Fprintf(&class, "%c", first)
			}
			first = max(first, last)
		}
	}
	return "[" + class.String() + "]"
}

// scopeName is the name of a scope of a route configuration, and of what is in it, and what ScopeHeader is set to.
func scopeName(table string, scope uint8) string { return fmt.Sprintf("%s~%d", table, scope) }

// adsSource is this server, waited for without a timeout.
func adsSource() *corev3.ConfigSource {
	return &corev3.ConfigSource{
		ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
		InitialFetchTimeout:   durationpb.New(0),
		ResourceApiVersion:    corev3.ApiVersion_V3,
	}
}

// scopeResource tells Envoy which requests have a scope.
func scopeResource(name string) *Resource {
	body := mustMarshal(&routev3.ScopedRouteConfiguration{
		Name: name, RouteConfigurationName: name,
		Key: &routev3.ScopedRouteConfiguration_Key{Fragments: []*routev3.ScopedRouteConfiguration_Key_Fragment{{
			Type: &routev3.ScopedRouteConfiguration_Key_Fragment_StringKey{StringKey: name},
		}}},
	})
	return &Resource{Name: name, Hash: xxhash.Sum64(body), Body: body}
}

// scopeSuffix is what the configuration of a scope has besides: the header is for Envoy alone.
var scopeSuffix = mustMarshal(&routev3.RouteConfiguration{RequestHeadersToRemove: []string{ScopeHeader}})

// scopeBody is the body of a route configuration under the name of a scope: of two names in a message the last counts.
func scopeBody(body []byte, name string) []byte {
	const fieldName = 1 // RouteConfiguration.name
	out := make([]byte, 0, len(body)+len(scopeSuffix)+len(name)+8)
	out = append(out, body...)
	out = append(out, scopeSuffix...)
	return protowire.AppendString(protowire.AppendTag(out, fieldName, protowire.BytesType), name)
}

func mustMarshal(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		panic(err) // it has no text of users
	}
	return b
}

// withScopes has the HTTP connection managers of a listener look for routes in scopes where the route configuration
// that they ask for is one of those that are divided. It returns the listener, and these; nothing if there are none.
func withScopes(body []byte, divided func(table string) bool) (listener []byte, tables []string) {
	var l listenerv3.Listener
	if proto.Unmarshal(body, &l) != nil {
		return nil, nil // Envoy will say what is wrong with it
	}
	chains := append(l.GetFilterChains(), l.GetDefaultFilterChain())
	for _, chain := range chains {
		for _, filter := range chain.GetFilters() {
			var hcm hcmv3.HttpConnectionManager
			config := filter.GetTypedConfig()
			if !config.MessageIs(&hcm) || config.UnmarshalTo(&hcm) != nil {
				continue
			}
			table := hcm.GetRds().GetRouteConfigName()
			if !divided(table) {
				continue
			}
			scopeManager(&hcm, table)
			config.Value = mustMarshal(&hcm)
			tables = append(tables, table)
		}
	}
	if len(tables) == 0 {
		return nil, nil
	}
	return mustMarshal(&l), tables
}

// scopeManager has a connection manager look for routes in the scopes of a route configuration.
func scopeManager(hcm *hcmv3.HttpConnectionManager, table string) {
	early, err := anypb.New(&earlyv3.HeaderMutation{Mutations: []*mutationv3.HeaderMutation{{
		Action: &mutationv3.HeaderMutation_Append{Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: ScopeHeader, Value: table + "~%CEL(" + scopeExpression + ")%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}}})
	if err != nil {
		panic(err) // it has no text of users
	}
	hcm.EarlyHeaderMutationExtensions = append(hcm.EarlyHeaderMutationExtensions, &corev3.TypedExtensionConfig{
		Name: "envoy.http.early_header_mutation.header_mutation", TypedConfig: early,
	})
	type fragment = hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{ScopedRoutes: &hcmv3.ScopedRoutes{
		Name: table,
		ScopeKeyBuilder: &hcmv3.ScopedRoutes_ScopeKeyBuilder{Fragments: []*fragment{{
			Type: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_{
				HeaderValueExtractor: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor{
					Name: ScopeHeader,
					ExtractType: &hcmv3.ScopedRoutes_ScopeKeyBuilder_FragmentBuilder_HeaderValueExtractor_Index{
						Index: 0,
					},
				},
			},
		}}},
		RdsConfigSource: adsSource(),
		ConfigSpecifier: &hcmv3.ScopedRoutes_ScopedRds{
			ScopedRds: &hcmv3.ScopedRds{ScopedRdsConfigSource: adsSource()},
		},
	}}
}

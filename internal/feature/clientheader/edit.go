package clientheader

import (
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	rulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
)

// lateFilter is the filter that changes the headers of responses.
const lateFilter = "late_response_headers"

// edit has headers of requests changed before all else, and those of responses after all else.
func edit(m *hcmv3.HttpConnectionManager, spec *egv1a1.HeaderSettings) {
	if early := mutations(spec.EarlyRequestHeaders); len(early) > 0 {
		m.EarlyHeaderMutationExtensions = append(m.EarlyHeaderMutationExtensions, &corev3.TypedExtensionConfig{
			Name:        "envoy.http.early_header_mutation.header_mutation",
			TypedConfig: feature.Pack(&earlyv3.HeaderMutation{Mutations: early}),
		})
	}
	late := mutations(spec.LateResponseHeaders)
	if policy.Or(spec.DisableRateLimitHeaders, false) {
		for _, name := range rateLimitHeaders {
			late = append(late, &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Remove{Remove: name}})
		}
	}
	if len(late) > 0 {
		config := &mutationv3.HeaderMutation{Mutations: &mutationv3.Mutations{ResponseMutations: late}}
		m.HttpFilters = slices.Insert(m.HttpFilters, 0, &hcmv3.HttpFilter{
			Name: lateFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: feature.Pack(config)},
		})
	}
}

// rateLimitHeaders are those that filters of rate limits add to responses.
var rateLimitHeaders = []string{"x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}

// fingerprints are the values that are no text but a fingerprint of the client's TLS handshake: see tls.fingerprints.
var fingerprints = []string{"%TLS_JA3_FINGERPRINT%", "%TLS_JA4_FINGERPRINT%"}

// value returns a header's value as Envoy's formatter has to see it.
func value(text string) string {
	if slices.Contains(fingerprints, text) {
		return text
	}
	return header.Literal(text)
}

// mutations are the changes in the order in which Envoy makes them.
func mutations(spec *egv1a1.HTTPHeaderFilter) []*rulesv3.HeaderMutation {
	if spec == nil {
		return nil
	}
	var out []*rulesv3.HeaderMutation
	add := func(list []gwv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
		for _, h := range list {
			out = append(out, &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Append{
				Append: &corev3.HeaderValueOption{
					Header:       &corev3.HeaderValue{Key: string(h.Name), Value: value(h.Value)},
					AppendAction: action,
				},
			}})
		}
	}
	add(spec.AddIfAbsent, corev3.HeaderValueOption_ADD_IF_ABSENT)
	add(spec.Add, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	add(spec.Set, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
	for _, name := range spec.Remove {
		out = append(out, &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_Remove{Remove: name}})
	}
	for _, match := range spec.RemoveOnMatch {
		out = append(out, &rulesv3.HeaderMutation{Action: &rulesv3.HeaderMutation_RemoveOnMatch_{
			RemoveOnMatch: &rulesv3.HeaderMutation_RemoveOnMatch{KeyMatcher: policy.Matcher(match)},
		}})
	}
	return out
}

// Package jwt is SecurityPolicy.jwt: let in who has a JSON Web Token (RFC 7519) of one of a list of issuers.
//
// It is Envoy's jwt_authn, with a provider for each of providers, and one rule for all requests: requires_any of them,
// and allow_missing (optional) or allow_missing_or_failed (failOpen). issuer, audiences, extractFrom (from_headers,
// from_params, from_cookies), claimToHeaders (claim_to_headers) and recomputeRoute (clear_route_cache) are the
// provider's. The token stays on the request (forward).
//
// localJWKS is local_jwks. So is remoteJWKS once Sluice has fetched the keys, which it does every cacheDuration (5m) if
// the URL's own host has them: an Envoy that has fetched keys forgets them whenever routes change (ADR 13). Until then,
// and where there are backendRefs or a cacheDuration below 5s, it is remote_jwks, asked through the cluster of its
// backend, or of its URL's own host. The keys are then fetched when a request needs them and kept (cache_duration);
// backendSettings has the timeout (10s) and the retry_policy of that, and what is the cluster's. Envoy can fetch them
// ahead (async_fetch), but not well for filters that live in routes: a worker thread may be the last to let go of a
// route, and with it of a timer of the main thread. Without it there is nothing that failedRefetchDuration could mean,
// and it is refused.
//
// A verified token is written to the dynamic metadata of the filter, under the name of the provider
// (payload_in_metadata), with scope and scp as lists (space_delimited_claims): SecurityPolicy.authorization reads it.
//
// Backends trust the headers of claims, so a client must not bring them: a header_mutation filter in front removes
// them.
package jwt

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/emptypb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/duration"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// Feature is the feature of SecurityPolicy.jwt.
type Feature struct{}

var (
	_ feature.Checker    = Feature{}
	_ feature.FilterUser = Feature{}
	_ feature.Guard      = Feature{}
	_ feature.Referrer   = Feature{}
)

const (
	cleanFilter  = "envoy.filters.http.jwt_authn/clean"
	verifyFilter = "envoy.filters.http.jwt_authn"
)

// Envoy Gateway's defaults: how long keys are kept, and how long a server may take to answer with them.
const (
	cacheDuration = 5 * time.Minute
	fetchTimeout  = 10 * time.Second
)

// Name returns the field's name.
func (Feature) Name() string { return model.KindSecurityPolicy + ".jwt" }

// Guards says that nothing gets by it.
func (Feature) Guards() {}

// References returns where keys are: the servers of remoteJWKS, the keys themselves, and what localJWKS refers to.
func (Feature) References(a model.Attached) []resolve.Reference {
	var out []resolve.Reference
	providers := a.Spec.(*egv1a1.JWT).Providers
	for i := range providers {
		path := fmt.Sprintf("%s.providers[%d]", a.Path, i)
		out = append(out, servers(&providers[i], path+".remoteJWKS")...)
		if ref, ok := fetched(&providers[i], path+".remoteJWKS"); ok {
			out = append(out, ref)
		}
		if ref := keysRef(&providers[i]); ref != nil {
			out = append(out, resolve.Reference{Path: path + ".localJWKS.valueRef", Object: ref})
		}
	}
	return out
}

// What is fetched of keys, beside when: see [model.FetchSpec].
const (
	// shortest is the shortest cacheDuration for which Sluice fetches keys, so that no issuer has it push more often.
	shortest = 5 * time.Second
	// largest is the size in bytes of the largest key set that is read: with certificates they are some 20 KiB.
	largest = 256 << 10
	// outlive is how long keys are used that cannot be fetched anew. Who makes tokens cannot make any meanwhile, so after
	// a day hardly one is left that holds.
	outlive = 24 * time.Hour
)

// fetched returns the reference to the keys of a provider as Sluice fetches them; ok is false if it does not.
func fetched(p *egv1a1.JWTProvider, path string) (ref resolve.Reference, ok bool) {
	remote := p.RemoteJWKS
	if remote == nil || len(policy.BackendReferences(&remote.BackendCluster, "", model.AppHTTP)) > 0 {
		return ref, false
	}
	every := cacheDuration
	if remote.CacheDuration != nil {
		var err error
		if every, err = duration.Parse(*remote.CacheDuration); err != nil || every < shortest {
			return ref, false
		}
	}
	_, ok = model.Server(remote.URI)
	return resolve.Reference{Path: path + ".uri", Fetch: &resolve.FetchReference{
		Kind: model.FetchJWKS, URL: remote.URI, Limit: largest, Every: every, Keep: outlive,
		Instead: "Envoy fetches the keys itself, and again whenever routes change",
	}}, ok
}

// servers returns the references to the backends, or to the server, that have the keys of a provider.
func servers(p *egv1a1.JWTProvider, path string) []resolve.Reference {
	remote := p.RemoteJWKS
	if remote == nil {
		return nil
	}
	if out := policy.BackendReferences(&remote.BackendCluster, path, model.AppHTTP); len(out) > 0 || remote.URI == "" {
		return out
	}
	return []resolve.Reference{{
		Path: path + ".uri", URL: remote.URI, Settings: policy.OfCluster(remote.BackendSettings),
	}}
}

// keysRef returns the reference of localJWKS; it is nil if there is none.
func keysRef(p *egv1a1.JWTProvider) *resolve.ObjectReference {
	if p.LocalJWKS == nil || !byReference(p.LocalJWKS) || p.LocalJWKS.ValueRef == nil {
		return nil
	}
	ref := p.LocalJWKS.ValueRef
	return &resolve.ObjectReference{Group: string(ref.Group), Kind: string(ref.Kind), Name: string(ref.Name)}
}

func byReference(local *egv1a1.LocalJWKS) bool {
	return local.Type != nil && *local.Type == egv1a1.LocalJWKSTypeValueRef
}

// source is where the keys of a provider are.
type source struct {
	backends []model.BackendKey
	// keys is the text of localJWKS, or of what was fetched; has says that there is one.
	keys string
	has  bool
}

// sources returns where the keys of each provider are, from what their references lead to.
func sources(a model.Attached) []source {
	providers := a.Spec.(*egv1a1.JWT).Providers
	out := make([]source, len(providers))
	backends, objects, results := a.Backends, a.Objects, a.Fetched
	for i := range providers {
		p := &providers[i]
		n := min(len(servers(p, "")), len(backends))
		out[i].backends, backends = backends[:n], backends[n:]
		if _, ok := fetched(p, ""); ok && len(results) > 0 {
			out[i].keys, out[i].has = string(results[0].Data), results[0].Data != nil
			results = results[1:]
		}
		switch {
		case p.LocalJWKS == nil:
		case keysRef(p) != nil && len(objects) > 0:
			out[i].keys, out[i].has = keysOf(objects[0].Data)
			objects = objects[1:]
		case !byReference(p.LocalJWKS) && p.LocalJWKS.Inline != nil:
			out[i].keys, out[i].has = *p.LocalJWKS.Inline, true
		}
	}
	return out
}

// keysOf returns what is under the key jwks, or else under the first.
func keysOf(data map[string][]byte) (string, bool) {
	if text, ok := data["jwks"]; ok {
		return string(text), true
	}
	for _, key := range slices.Sorted(maps.Keys(data)) {
		return string(data[key]), true
	}
	return "", false
}

// HTTPFilters adds the filter that removes headers of claims, and the one that verifies tokens.
func (Feature) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*egv1a1.JWT)
	if names := claimHeaders(spec); len(names) > 0 {
		s.Add(cleanFilter, clean(names))
	}
	config := &jwtv3.JwtAuthentication{Providers: map[string]*jwtv3.JwtProvider{}}
	var accepted []*jwtv3.JwtRequirement
	for i, from := range sources(a) {
		p := &spec.Providers[i]
		config.Providers[p.Name] = provider(s, p, from)
		accepted = append(accepted, &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_ProviderName{ProviderName: p.Name},
		})
	}
	switch {
	case spec.FailOpen != nil && *spec.FailOpen:
		accepted = append(accepted, &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_AllowMissingOrFailed{AllowMissingOrFailed: &emptypb.Empty{}},
		})
	case spec.Optional != nil && *spec.Optional:
		accepted = append(accepted, &jwtv3.JwtRequirement{
			RequiresType: &jwtv3.JwtRequirement_AllowMissing{AllowMissing: &emptypb.Empty{}},
		})
	}
	// Requests that no rule matches are let in. Every request has a path with this prefix, even one that has no path.
	every := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: ""}}
	config.Rules = []*jwtv3.RequirementRule{{
		Match: every, RequirementType: &jwtv3.RequirementRule_Requires{Requires: requirement(accepted)},
	}}
	s.Add(verifyFilter, config)
}

// requirement returns the only one, or that one of several is met: Envoy takes no list of one.
func requirement(list []*jwtv3.JwtRequirement) *jwtv3.JwtRequirement {
	if len(list) == 1 {
		return list[0]
	}
	return &jwtv3.JwtRequirement{RequiresType: &jwtv3.JwtRequirement_RequiresAny{
		RequiresAny: &jwtv3.JwtRequirementOrList{Requirements: list},
	}}
}

func provider(s *feature.Scope, p *egv1a1.JWTProvider, from source) *jwtv3.JwtProvider {
	out := &jwtv3.JwtProvider{
		Issuer: p.Issuer, Audiences: p.Audiences, Forward: true, PayloadInMetadata: p.Name,
		NormalizePayloadInMetadata: &jwtv3.JwtProvider_NormalizePayload{SpaceDelimitedClaims: []string{"scope", "scp"}},
		ClearRouteCache:            p.RecomputeRoute != nil && *p.RecomputeRoute,
	}
	for _, c := range p.ClaimToHeaders {
		out.ClaimToHeaders = append(out.ClaimToHeaders, &jwtv3.JwtClaimToHeader{
			HeaderName: c.Header, ClaimName: c.Claim,
		})
	}
	if extract := p.ExtractFrom; extract != nil {
		for _, h := range extract.Headers {
			from := &jwtv3.JwtHeader{Name: h.Name}
			if h.ValuePrefix != nil {
				from.ValuePrefix = *h.ValuePrefix
			}
			out.FromHeaders = append(out.FromHeaders, from)
		}
		out.FromParams, out.FromCookies = extract.Params, extract.Cookies
	}
	var cluster string
	if p.RemoteJWKS != nil {
		// Also while there are keys: when they are not kept any longer, nobody should have to wait for the cluster.
		cluster = s.Use(policy.Backend(&p.RemoteJWKS.BackendCluster, from.backends))
	}
	if from.has {
		out.JwksSourceSpecifier = &jwtv3.JwtProvider_LocalJwks{
			LocalJwks: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: from.keys}},
		}
		return out
	}
	out.JwksSourceSpecifier = &jwtv3.JwtProvider_RemoteJwks{RemoteJwks: remote(p.RemoteJWKS, cluster)}
	return out
}

func remote(spec *egv1a1.RemoteJWKS, cluster string) *jwtv3.RemoteJwks {
	return &jwtv3.RemoteJwks{
		HttpUri: &corev3.HttpUri{
			Uri:              spec.URI,
			HttpUpstreamType: &corev3.HttpUri_Cluster{Cluster: cluster},
			Timeout:          durationpb.New(policy.RequestTimeout(spec.BackendSettings, fetchTimeout)),
		},
		RetryPolicy:   policy.RetryPolicy(spec.BackendSettings),
		CacheDuration: durationpb.New(durationOf(spec.CacheDuration, cacheDuration)),
	}
}

func durationOf(d *gwv1.Duration, otherwise time.Duration) time.Duration {
	if d == nil {
		return otherwise
	}
	return duration.MustParse(*d)
}

// claimHeaders returns the headers that claims become, in lower case, sorted, each once.
func claimHeaders(spec *egv1a1.JWT) []string {
	var out []string
	for i := range spec.Providers {
		for _, c := range spec.Providers[i].ClaimToHeaders {
			out = append(out, strings.ToLower(c.Header))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// clean removes headers from requests.
func clean(names []string) *headerv3.HeaderMutation {
	mutations := &headerv3.Mutations{}
	for _, name := range names {
		mutations.RequestMutations = append(mutations.RequestMutations, &mutationv3.HeaderMutation{
			Action: &mutationv3.HeaderMutation_Remove{Remove: name},
		})
	}
	return &headerv3.HeaderMutation{Mutations: mutations}
}

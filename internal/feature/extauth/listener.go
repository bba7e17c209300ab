package extauth

import (
	"fmt"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	headerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/perroute"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Listener is the feature of the filter ExternalAuth of a listener (Gateway API: ListenerFilters, GEP-5224). It asks
// about every request that the listener takes, whatever becomes of it, preflights and requests for paths that nobody
// serves included.
//
// Its filters are others than those of routes, since a route can ask a second service. There is one for each position
// in the listener's list; only those of the first position stand on every listener, as one is all that most need. What
// the service changes of the request is seen by the routes (clear_route_cache), but the host is never changed: it has
// chosen the listener.
type Listener struct{}

var (
	_ feature.Checker     = Listener{}
	_ feature.HostApplier = Listener{}
	_ feature.Stander     = Listener{}
	_ feature.FilterUser  = Listener{}
)

// chosen are the headers that have chosen the listener.
const chosen = `(?i)host|:authority`

// Name returns the name of the feature.
func (Listener) Name() string { return model.ListenerFilter(string(gwv1.ListenerFilterExternalAuth)) }

// Check refuses what it refuses in a route, except a second service: a listener's filters are asked one by one.
func (Listener) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	return checkSpec(a.Spec.(*gwv1.HTTPExternalAuthFilter))
}

// Standing returns the filters of the first position, for both protocols.
func (Listener) Standing() []feature.HTTPFilter {
	grpc := &gwv1.HTTPExternalAuthFilter{ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthGRPCProtocol}
	http := &gwv1.HTTPExternalAuthFilter{ExternalAuthProtocol: gwv1.HTTPRouteExternalAuthHTTPProtocol}
	return []feature.HTTPFilter{cleaner(0), asker(0, grpc), asker(0, http)}
}

// HTTPFilters returns the filters that are not standing ones.
func (Listener) HTTPFilters(a model.Attached) []feature.HTTPFilter {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	var out []feature.HTTPFilter
	if a.Index > 0 {
		out = append(out, cleaner(a.Index))
	}
	if a.Index > 0 || len(requestHeaders(spec)) > 0 {
		out = append(out, asker(a.Index, spec))
	}
	return out
}

// ApplyHost enables the filters for the host.
func (Listener) ApplyHost(h *feature.Host, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	perroute.SetHost(h.Proto, askerName(a.Index, spec), ask(spec, a, h.Use))
	if mutations := clean(spec); mutations != nil {
		perroute.SetHost(h.Proto, cleanerName(a.Index), mutations)
	}
}

func cleaner(index int) feature.HTTPFilter {
	return feature.HTTPFilter{
		Name: cleanerName(index), Config: &headerv3.HeaderMutation{Mutations: &headerv3.Mutations{}}, Disabled: true,
	}
}

func asker(index int, spec *gwv1.HTTPExternalAuthFilter) feature.HTTPFilter {
	config := listenerConfig(spec)
	config.ClearRouteCache = true
	if isGRPC(spec) {
		config.DecoderHeaderMutationRules = &mutationv3.HeaderMutationRules{
			AllowAllRouting:    wrapperspb.Bool(true),
			DisallowExpression: &matcherv3.RegexMatcher{Regex: chosen},
		}
	}
	return feature.HTTPFilter{Name: askerName(index, spec), Config: config, Disabled: true}
}

// The filters run in the order of their names.
func cleanerName(index int) string {
	return fmt.Sprintf("envoy.filters.http.ext_authz/listener/%02d/1-clean", index)
}

func askerName(index int, spec *gwv1.HTTPExternalAuthFilter) string {
	protocol := "http"
	if isGRPC(spec) {
		protocol = "grpc"
	}
	return fmt.Sprintf("envoy.filters.http.ext_authz/listener/%02d/2-%s%s", index, protocol, listed(spec))
}

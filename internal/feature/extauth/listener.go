package extauth

import (
	"fmt"

	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Listener is the feature of the filter ExternalAuth of a listener (Gateway API: ListenerFilters, GEP-5224). It asks
// about every request that the listener takes, whatever becomes of it, preflights and requests for paths that nobody
// serves included.
//
// What the service changes of the request is seen by the routes (clear_route_cache), but the host is never changed: it
// has chosen the listener.
type Listener struct{}

var (
	_ feature.Checker    = Listener{}
	_ feature.FilterUser = Listener{}
)

// chosen are the headers that have chosen the listener.
const chosen = `(?i)host|:authority`

// Name returns the name of the feature.
func (Listener) Name() string { return model.ListenerFilter(string(gwv1.ListenerFilterExternalAuth)) }

// Check refuses what it refuses in a route, except a second service: a listener's filters are asked one by one.
func (Listener) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	return checkSpec(a.Spec.(*gwv1.HTTPExternalAuthFilter))
}

// HTTPFilters adds the filters for the position in the listener's list.
func (Listener) HTTPFilters(s *feature.Scope, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPExternalAuthFilter)
	if cleaner := clean(forged(spec)); cleaner != nil {
		s.Add(fmt.Sprintf("%s/%d", cleanFilter, a.Index), cleaner)
	}
	config := ask(s, spec, a)
	config.ClearRouteCache = true
	if isGRPC(spec) {
		config.DecoderHeaderMutationRules = &mutationv3.HeaderMutationRules{
			AllowAllRouting:    wrapperspb.Bool(true),
			DisallowExpression: &matcherv3.RegexMatcher{Regex: chosen},
		}
	}
	s.Add(fmt.Sprintf("%s/%d", askFilter, a.Index), config)
}

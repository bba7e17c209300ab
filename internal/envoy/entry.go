package envoy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// entry is one Envoy route of a rule, marshalled, with what its place among the routes of a host depends on.
type entry struct {
	Path model.ValueMatch
	Rank rank
	// Body is the marshalled Route.
	Body []byte
	// Needs are the backends that the route sends requests to, sorted.
	Needs []model.BackendKey
	// Clusters are the names of others that an extension server has it send requests to.
	Clusters []string
	// Failed says that an extension server was asked for it and has failed.
	Failed bool
}

// rank orders routes within a host, as the Gateway API's "precedence" paragraphs of HTTPRouteRule.matches and
// GRPCRouteRule.matches say. Where rules are tried in their own order all that the matches decide is zero. Cookies come
// behind headers, as Envoy Gateway has them.
type rank struct {
	PathRank int // 0 exact, 1 regex, 2 prefix; for gRPC a regex comes last
	PathLen  int
	Method   bool
	Headers  int
	Cookies  int
	Query    int
	Created  time.Time
	Route    model.RouteKey
	Rule     int
	Match    int
	Part     int // of a rule that is split over several Envoy routes
}

func (r rank) compare(o rank) int {
	return cmp.Or(
		cmp.Compare(r.PathRank, o.PathRank),
		compareDesc(r.PathLen, o.PathLen),
		compareBool(r.Method, o.Method),
		compareDesc(r.Headers, o.Headers),
		compareDesc(r.Cookies, o.Cookies),
		compareDesc(r.Query, o.Query),
		r.Created.Compare(o.Created),
		r.Route.Compare(o.Route),
		cmp.Compare(r.Rule, o.Rule),
		cmp.Compare(r.Match, o.Match),
		cmp.Compare(r.Part, o.Part),
	)
}

// site is where a route is served: what is the same for all of its rules.
type site struct {
	chain  *feature.Chain
	route  *model.Route
	port   uint16
	secure bool
	// place is where the filters of the route run.
	place feature.Place
	// gear is what the proxies have and do.
	gear model.Gear
	// policies are nil where there are none.
	policies *policing
	// backend looks up what is known of a backend.
	backend func(model.BackendKey) (model.Backend, bool)
	// extend has extension servers change a route; nil if there are none. verdict is what they have done so far.
	extend  func(rule *model.Rule, e *entry, name string) verdict
	verdict verdict
	// asked are the policies that have asked for something so far, each once.
	asked []model.Ref
}

// entries returns the Envoy routes of all rules of a route, in spec order.
func (s *site) entries() []entry {
	var out []entry
	for i := range s.route.Rules {
		rule, policed := s.policed(&s.route.Rules[i])
		for m, match := range s.chain.Matches(rule, policed.Attached) {
			out = append(out, s.forMatch(rule, policed, m, match)...)
		}
	}
	return out
}

func (s *site) forMatch(rule *model.Rule, policed resolve.Policed, index int, match model.Match) []entry {
	var out []entry
	for part, share := range s.together(rule, shares(rule)) {
		r := &feature.Route{
			Proto: &routev3.Route{
				Name:  routeName(s.route.Key, rule),
				Match: routeMatch(match, s.route.Key.Kind == model.KindGRPCRoute),
			},
			Key: s.route.Key, Rule: rule, Match: match, Port: s.port, Secure: s.secure,
		}
		if share.millionths < fractionUnits {
			r.Proto.Match.RuntimeFraction = fraction(share.millionths)
		}
		setAction(r, rule.Fault, share)
		if rule.Fault == nil {
			s.apply(r, policed, append(slices.Clone(rule.Attached), share.attached...))
		}
		if r.Proto.Action == nil {
			r.Proto.Action = respond(500)
		}
		slices.SortFunc(r.Needs, model.BackendKey.Compare)
		e := entry{
			Path: match.Path, Rank: s.rank(rule, index, part, match),
			Body: marshal(r.Proto), Needs: slices.Compact(r.Needs),
		}
		if s.extend != nil && rule.Fault == nil {
			s.verdict = s.verdict.join(s.extend(rule, &e, r.Proto.GetName()))
		}
		out = append(out, e)
	}
	return out
}

// policed returns what policies ask for a rule, and the rule with backends that have the settings of these.
func (s *site) policed(rule *model.Rule) (*model.Rule, resolve.Policed) {
	if s.policies == nil {
		return rule, resolve.Policed{}
	}
	filtered := s.chain.Filtered(rule.Attached)
	for _, b := range rule.Backends {
		filtered = filtered || s.chain.Filtered(b.Attached)
	}
	policed := s.policies.rule(rule, filtered)
	for _, a := range policed.Attached {
		if !slices.Contains(s.asked, a.Source) {
			s.asked = append(s.asked, a.Source)
		}
	}
	if policed.Settings == (model.SettingsKey{}) {
		return rule, policed
	}
	out := *rule
	out.Backends = slices.Clone(rule.Backends)
	for i := range out.Backends {
		if b := &out.Backends[i].Backend; *b != (model.BackendKey{}) {
			b.Settings = policed.Settings
		}
	}
	return &out, policed
}

// apply gives a route what policies ask for, and what is attached to it: that comes later, since it is nearer.
func (s *site) apply(r *feature.Route, policed resolve.Policed, attached []model.Attached) {
	all := slices.Concat(policed.Attached, attached)
	if r.Rule.GRPC {
		all = append(all, model.Attached{Feature: feature.GRPCWeb})
	}
	s.chain.ApplyRoute(r, all)
	if !policed.Own && !s.chain.Filtered(attached) {
		if s.policies != nil && s.policies.describes() {
			r.Describe()
		}
		return // the filters of its listener's policies are elsewhere, for all routes
	}
	scope, wider := &feature.Scope{Route: r}, (*feature.Scope)(nil)
	s.chain.Filters(scope, all)
	scope.Reorder(s.gear.Filters)
	if policed.Denied != "" {
		scope.Deny()
	}
	if s.policies != nil {
		wider = s.policies.wider()
	}
	filters := scope.Fill(s.place, wider)
	if r.Proto.TypedPerFilterConfig == nil {
		r.Proto.TypedPerFilterConfig = filters
	} else {
		maps.Copy(r.Proto.TypedPerFilterConfig, filters)
	}
	r.Needs = append(r.Needs, scope.Needs...)
}

// together puts the backends of a rule in one cluster if a feature asks for it, or if one of them is a fallback for the
// others, and if Envoy can: if all of them have addresses that EDS can deliver, speak the same protocol, have the same
// policies, and no filters of their own.
func (s *site) together(rule *model.Rule, all []share) []share {
	if len(all) != 1 || len(all[0].backends) < 2 {
		return all
	}
	wanted := s.chain.Pins(rule)
	var first model.Backend
	for i, b := range all[0].backends {
		found, ok := s.backend(b.Backend)
		if i == 0 {
			first = found
		}
		if !ok || found.Address != model.AddressIP || b.Backend.Extension() || !found.Alike(&first) {
			return all
		}
		wanted = wanted || found.Fallback
	}
	if !wanted {
		return all
	}
	one := all[0]
	one.backends = []model.WeightedBackend{{Backend: model.Split(one.backends), Weight: 1}}
	return []share{one}
}

func (s *site) rank(rule *model.Rule, index, part int, match model.Match) rank {
	if s.gear.InOrder {
		return rank{Created: s.route.Created, Route: s.route.Key, Rule: rule.Index, Match: index, Part: part}
	}
	r := rank{
		PathLen: len(match.Path.Value), Method: match.Method != "",
		Headers: len(match.Headers), Cookies: len(match.Cookies), Query: len(match.Query),
		Created: s.route.Created, Route: s.route.Key, Rule: rule.Index, Match: index, Part: part,
	}
	switch {
	case match.Path.Type == model.Regex && s.route.Key.Kind == model.KindGRPCRoute:
		r.PathRank = 3
	case match.Path.Type == model.Regex:
		r.PathRank = 1
	case match.Path.Type == model.Prefix, match.Path.Type == model.Connect:
		r.PathRank = 2
	}
	return r
}

// routeName leads from a log line or a metric back to the rule: kind/namespace/route/rule, with the rule's name if it
// has one, else its index.
func routeName(key model.RouteKey, rule *model.Rule) string {
	name := rule.Name
	if name == "" {
		name = fmt.Sprint(rule.Index)
	}
	return strings.ToLower(key.Kind) + "/" + key.Name.String() + "/" + name
}

// setAction gives the route what its share of the backends asks for. Without backends it stays without an action:
// a redirect brings its own.
func setAction(r *feature.Route, fault *model.Fault, share share) {
	switch {
	case fault != nil:
		r.Proto.Action = respond(fault.Status)
	case len(share.backends) > 0:
		r.Proto.Action = forward(r, share.backends)
	}
}

func respond(status uint32) *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: status}}
}

// forward splits the requests over the backends by weight. Envoy's default of 15 s for the whole request is switched
// off: the Gateway API has no timeout unless one is asked for.
func forward(r *feature.Route, backends []model.WeightedBackend) *routev3.Route_Route {
	action := &routev3.RouteAction{Timeout: durationpb.New(0)}
	if len(backends) == 1 {
		action.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: r.Use(backends[0].Backend)}
	} else {
		weighted := &routev3.WeightedCluster{}
		for _, b := range backends {
			weighted.Clusters = append(weighted.Clusters, &routev3.WeightedCluster_ClusterWeight{
				Name: r.Use(b.Backend), Weight: wrapperspb.UInt32(b.Weight),
			})
		}
		action.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: weighted}
	}
	if slices.ContainsFunc(backends, func(b model.WeightedBackend) bool { return b.Backend == (model.BackendKey{}) }) {
		action.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
		if r.Key.Kind == model.KindGRPCRoute {
			// Envoy makes it UNAVAILABLE, as the Gateway API wants; of 500 it would make UNKNOWN.
			action.ClusterNotFoundResponseCode = routev3.RouteAction_SERVICE_UNAVAILABLE
		}
	}
	return &routev3.Route_Route{Route: action}
}

// share is the part of a rule's requests that is treated alike.
type share struct {
	backends []model.WeightedBackend
	attached []model.Attached
	// millionths of all requests that this share and those before it take together.
	millionths uint32
}

// shares divides a rule into what Envoy can say in one route. Usually that is everything. A backend with filters of
// its own needs a route of its own, because most of what a filter can ask for is a property of the route.
func shares(rule *model.Rule) []share {
	var backends []model.WeightedBackend
	var total uint64
	filtered := false
	for _, b := range rule.Backends {
		if b.Weight == 0 {
			continue
		}
		backends = append(backends, b)
		total += uint64(b.Weight)
		filtered = filtered || len(b.Attached) > 0
	}
	switch {
	case len(backends) == 1:
		return []share{{backends: backends, attached: backends[0].Attached, millionths: fractionUnits}}
	case !filtered:
		return []share{{backends: backends, millionths: fractionUnits}}
	}
	var out []share
	var sum uint64
	for _, b := range backends {
		sum += uint64(b.Weight)
		// Rounded to the nearest millionth; the last is exactly all that is left.
		cumulative := uint32((sum*fractionUnits + total/2) / total) //nolint:gosec // at most fractionUnits
		out = append(out, share{
			backends: []model.WeightedBackend{b}, attached: b.Attached, millionths: cumulative,
		})
	}
	return out
}

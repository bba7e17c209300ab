package feature

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcherv3 "github.com/cncf/xds/go/xds/type/matcher/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacconfigv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	compositev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/composite/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	chainv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/filter_chain/v3"
	mutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	metadatav3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_metadata/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Scope is what HTTP filters act on, while features add theirs: an Envoy route, or all routes of a virtual host or of a
// route table that have no filters of their own.
type Scope struct {
	// Route is the route, nil if the filters are for more than one.
	Route *Route
	// Filters are the filters that requests pass, in this order.
	Filters []*corev3.TypedExtensionConfig
	// PerFilter configures the filters that every listener has: see [Stander].
	PerFilter map[string]*anypb.Any
	// Needs collects the backends that the filters ask.
	Needs []model.BackendKey
	// Attached is everything that is asked for here.
	Attached []model.Attached

	// inner are those of PerFilter that are for one of Filters.
	inner []string
	// guards are the names of those filters that keep requests away from backends.
	guards []string
	guard  bool
	// owners are the features that have added the filters, by the name of these, adding the one that adds some now: their
	// places in the chain.
	owners map[string]int
	adding int
	// described says that the routes are to say what they were made of.
	described bool
}

// Add adds a filter. One that was added before under the same name is replaced: the more specific configuration comes
// later. Its configuration has to be complete: it finds no typed_per_filter_config.
func (s *Scope) Add(name string, config proto.Message) {
	if s.guard && !slices.Contains(s.guards, name) {
		s.guards = append(s.guards, name)
	}
	if s.owners == nil {
		s.owners = map[string]int{}
	}
	s.owners[name] = s.adding
	filter := &corev3.TypedExtensionConfig{Name: name, TypedConfig: Pack(config)}
	at := slices.IndexFunc(s.Filters, func(f *corev3.TypedExtensionConfig) bool { return f.GetName() == name })
	if at >= 0 {
		s.Filters[at] = filter
		return
	}
	s.Filters = append(s.Filters, filter)
}

// AddWith adds a filter like Add, with configuration that Envoy takes from nowhere but a route
// (typed_per_filter_config). Envoy joins what the table, the host and the route say of one filter, so the name must be
// one that no other configuration has. Behind filters of listeners ([OfRouteLate]) there is no such configuration:
// requests are denied.
func (s *Scope) AddWith(name string, config, ofRoute proto.Message) {
	s.Add(name, config)
	s.Set(name, ofRoute)
	if !slices.Contains(s.inner, name) {
		s.inner = append(s.inner, name)
	}
}

// Set configures a filter that every listener has. It replaces what was set before, as Add does.
func (s *Scope) Set(filter string, config proto.Message) {
	if s.PerFilter == nil {
		s.PerFilter = map[string]*anypb.Any{}
	}
	s.PerFilter[filter] = Pack(config)
}

// Use is like [Route.Use].
func (s *Scope) Use(b model.BackendKey) string { return use(&s.Needs, b) }

// Deny has every request answered with 500, whatever other filters there are.
func (s *Scope) Deny() { s.Filters = append([]*corev3.TypedExtensionConfig{deny()}, s.Filters...) }

// Closed returns a scope in which every request is answered with 500 that would pass the filters of this one: what
// stands in for them when Envoy refuses them. Routes with filters of their own go on with these.
func (s *Scope) Closed() *Scope {
	marked := s.marked()
	if len(marked) == 0 {
		return &Scope{}
	}
	closed := deny()
	closed.Name = marked[0].GetName() // routes that have filters of their own cover it
	return &Scope{Filters: []*corev3.TypedExtensionConfig{closed}}
}

// Empty reports whether the scope has no filters at all.
func (s *Scope) Empty() bool { return len(s.Filters) == 0 && len(s.PerFilter) == 0 }

// Equal reports whether two scopes, both of no route, have the same filters.
func (s *Scope) Equal(o *Scope) bool {
	same := func(a, b *corev3.TypedExtensionConfig) bool { return proto.Equal(a, b) }
	return s.described == o.described && slices.EqualFunc(s.Filters, o.Filters, same) && slices.Equal(s.Needs, o.Needs) &&
		slices.Equal(s.guards, o.guards) && maps.EqualFunc(s.PerFilter, o.PerFilter, func(a, b *anypb.Any) bool {
		return proto.Equal(a, b)
	})
}

// Place is one in the filters of a listener where those of a [Scope] run.
type Place int

const (
	// OfListener is for the filters of listeners, before all others.
	OfListener Place = iota
	// OfRoute is for the filters of routes, and of the policies that hold for them. Envoy takes them from the route that
	// the request has when it arrives.
	OfRoute
	// OfRouteLate is the same behind filters of listeners, which can change the request and with it its route: Envoy takes
	// them from the route that the request has when it gets there. There can be no more than [MaxLate].
	OfRouteLate
)

// MaxLate is how many filters there can be [OfRouteLate]: each needs a place of its own.
const MaxLate = 16

// The names of the filters of every listener. They do nothing, but for routes whose typed_per_filter_config has
// something for them.
const (
	listenerSlot = "listener"
	routeSlot    = "route"
	// sealSlot comes last. A filter can change the request so that a route serves it that others have been chosen for. If
	// that has guards, the seal lets in only requests that have passed the very same.
	sealSlot = "seal"
)

func lateSlot(i int) string { return fmt.Sprintf("late/%02d", i) }

// Places are the filters of every listener: those before the standing ones, and those behind them. late says whether
// filters can be [OfRouteLate].
func Places(late bool) (before, behind []HTTPFilter) {
	chain := func(name string) HTTPFilter { return HTTPFilter{Name: name, Config: &chainv3.FilterChainConfig{}} }
	single := func(name string) HTTPFilter { return HTTPFilter{Name: name, Config: &compositev3.Composite{}} }
	before = []HTTPFilter{chain(listenerSlot)}
	behind = []HTTPFilter{chain(routeSlot)}
	for i := range MaxLate {
		if late {
			behind = append(behind, single(lateSlot(i)))
		}
	}
	return before, append(behind, single(sealSlot))
}

// Fill returns the typed_per_filter_config with which the filters run in a place; nil if there is nothing to say. wider
// is the scope of the virtual host or the route table around this one, whose filters would run otherwise; it may be
// nil.
func (s *Scope) Fill(place Place, wider *Scope) map[string]*anypb.Any {
	out := perFilter(maps.Clone(s.PerFilter))
	if wider == nil {
		wider = &Scope{}
	}
	for name := range wider.PerFilter {
		if _, own := out[name]; !own && !slices.Contains(wider.inner, name) {
			out.set(name, &routev3.FilterConfig{Disabled: true})
		}
	}
	switch place {
	case OfListener:
		out.chain(listenerSlot, s.Filters)
		return out
	case OfRoute:
		out.chain(routeSlot, append(s.marked(), cover(s.marked(), wider.marked())...))
	case OfRouteLate:
		filters := s.marked()
		if len(filters) > MaxLate || len(s.inner) > 0 {
			filters = []*corev3.TypedExtensionConfig{deny()}
		}
		for i := range max(len(filters), min(len(wider.marked()), MaxLate)) {
			out.single(lateSlot(i), filters, i)
		}
	}
	switch {
	case len(s.guards) > 0:
		out.single(sealSlot, []*corev3.TypedExtensionConfig{s.seal()}, 0)
	case len(wider.guards) > 0:
		out.single(sealSlot, nil, 0)
	}
	return out
}

// deny returns a filter that answers every request with 500.
func deny() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: "deny", TypedConfig: Pack(&faultv3.HTTPFault{Abort: &faultv3.FaultAbort{
		ErrorType:  &faultv3.FaultAbort_HttpStatus{HttpStatus: 500},
		Percentage: &typev3.FractionalPercent{Numerator: 100},
	}})}
}

// marked are the filters with, before all others, the one that marks requests if there are guards.
func (s *Scope) marked() []*corev3.TypedExtensionConfig {
	if len(s.guards) == 0 {
		return slices.Clone(s.Filters)
	}
	return append([]*corev3.TypedExtensionConfig{s.mark()}, s.Filters...)
}

// cover returns filters that do nothing in place of those of a wider scope that are not among the filters.
func cover(filters, wider []*corev3.TypedExtensionConfig) []*corev3.TypedExtensionConfig {
	var out []*corev3.TypedExtensionConfig
	for _, w := range wider {
		has := func(f *corev3.TypedExtensionConfig) bool { return f.GetName() == w.GetName() }
		if !slices.ContainsFunc(filters, has) {
			out = append(out, &corev3.TypedExtensionConfig{
				Name: w.GetName(), TypedConfig: Pack(&mutationv3.HeaderMutation{}),
			})
		}
	}
	return out
}

// perFilter is a typed_per_filter_config.
type perFilter map[string]*anypb.Any

func (p *perFilter) set(name string, m proto.Message) {
	if *p == nil {
		*p = perFilter{}
	}
	(*p)[name] = Pack(m)
}

func (p *perFilter) chain(slot string, filters []*corev3.TypedExtensionConfig) {
	if len(filters) > 0 {
		p.set(slot, &chainv3.FilterChainConfigPerRoute{FilterChain: &chainv3.FilterChain{Filters: filters}})
	}
}

// single has the filter of an index run in a slot, and none if there is no such filter.
func (p *perFilter) single(slot string, filters []*corev3.TypedExtensionConfig, index int) {
	matcher := &xdsmatcherv3.Matcher{}
	if index < len(filters) {
		action := &compositev3.ExecuteFilterAction{TypedConfig: filters[index]}
		matcher.OnNoMatch = &xdsmatcherv3.Matcher_OnMatch{OnMatch: &xdsmatcherv3.Matcher_OnMatch_Action{
			Action: &xdscorev3.TypedExtensionConfig{Name: slot, TypedConfig: Pack(action)},
		}}
	}
	p.set(slot, &compositev3.CompositePerRoute{Matcher: matcher})
}

// What the filter that marks requests is called, and where it writes what the seal reads.
const (
	markFilter    = "mark"
	markNamespace = "sluice"
	markKey       = "guards"
)

// mark is the filter that says which guards a request has before it.
func (s *Scope) mark() *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: markFilter, TypedConfig: Pack(&metadatav3.Config{
		Metadata: []*metadatav3.Metadata{{
			MetadataNamespace: markNamespace, AllowOverwrite: true,
			Value: &structpb.Struct{Fields: map[string]*structpb.Value{markKey: structpb.NewStringValue(s.digest())}},
		}},
	})}
}

// digest tells guards apart that differ in anything.
func (s *Scope) digest() string {
	sum := fnv.New128a()
	for _, f := range s.Filters {
		if slices.Contains(s.guards, f.GetName()) {
			_, _ = fmt.Fprintf(sum, "%s %d ", f.GetName(), len(f.GetTypedConfig().GetValue())) // never fails
			_, _ = sum.Write(f.GetTypedConfig().GetValue())
		}
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// seal is the filter that lets in requests with the mark of these guards.
func (s *Scope) seal() *corev3.TypedExtensionConfig {
	marked := &matcherv3.MetadataMatcher{
		Filter: markNamespace,
		Path: []*matcherv3.MetadataMatcher_PathSegment{{
			Segment: &matcherv3.MetadataMatcher_PathSegment_Key{Key: markKey},
		}},
		Value: &matcherv3.ValueMatcher{MatchPattern: &matcherv3.ValueMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: s.digest()}},
		}},
	}
	return &corev3.TypedExtensionConfig{Name: sealSlot, TypedConfig: Pack(&rbacv3.RBAC{Rules: &rbacconfigv3.RBAC{
		Action: rbacconfigv3.RBAC_ALLOW,
		Policies: map[string]*rbacconfigv3.Policy{sealSlot: {
			Permissions: []*rbacconfigv3.Permission{{Rule: &rbacconfigv3.Permission_Any{Any: true}}},
			Principals: []*rbacconfigv3.Principal{{Identifier: &rbacconfigv3.Principal_SourcedMetadata{
				SourcedMetadata: &rbacconfigv3.SourcedMetadata{
					MetadataMatcher: marked, MetadataSource: rbacconfigv3.MetadataSource_DYNAMIC,
				},
			}}},
		}},
	}})}
}

// Pack returns m as an Any with deterministic bytes.
func Pack(m proto.Message) *anypb.Any {
	packed := &anypb.Any{}
	// Marshalling fails only for text that is not UTF-8, and what users write is UTF-8 by way of JSON.
	if err := anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		panic(fmt.Sprintf("feature: marshal %s: %v", m.ProtoReflect().Descriptor().FullName(), err))
	}
	return packed
}

package ratelimit

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	xdscorev3 "github.com/cncf/xds/go/xds/core/v3"
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// condition is one thing that has to be true of a request. As an action it adds an entry to the descriptor if it is
// true, and keeps there from being a descriptor if it is not.
type condition struct {
	// holds and fails are what is true of requests that meet it, and of those that do not.
	holds, fails matcher
	// value adds the value that it is about, so that each has a counter of its own; nil if there is one for all.
	value action
}

// matcher returns an action that adds the entry key=key if something is true.
type matcher func(key string) *routev3.RateLimit_Action

// action returns an action that adds an entry with the key and a value of the request.
type action func(key string) *routev3.RateLimit_Action

// conditions returns what has to be true for the rule to hold: all of them.
func (r rule) conditions() []condition {
	var out []condition
	for i := range r.spec.ClientSelectors {
		s := &r.spec.ClientSelectors[i]
		for j := range s.Headers {
			out = append(out, headerCondition(&s.Headers[j]))
		}
		if c, ok := methodCondition(s.Methods); ok {
			out = append(out, c)
		}
		if s.Path != nil {
			out = append(out, pathCondition(s.Path))
		}
		if s.SourceCIDR != nil {
			out = append(out, sourceCondition(s.SourceCIDR))
		}
		for j := range s.QueryParams {
			out = append(out, queryCondition(&s.QueryParams[j]))
		}
	}
	return out
}

// The types of header and query matches, which are the same.
const (
	exact    = "Exact"
	regular  = "RegularExpression"
	distinct = "Distinct"
)

// match is what a header or a query parameter is compared with.
type match struct {
	kind   string
	value  *string
	invert bool
}

func headerMatch(h *egv1a1.HeaderMatch) match {
	out := match{kind: exact, value: h.Value, invert: h.Invert != nil && *h.Invert}
	if h.Type != nil {
		out.kind = string(*h.Type)
	}
	return out
}

func queryMatch(q *egv1a1.QueryParamMatch) match {
	out := match{kind: exact, value: q.Value, invert: q.Invert != nil && *q.Invert}
	if q.Type != nil {
		out.kind = string(*q.Type)
	}
	return out
}

// text returns the match of the value, nil if any will do.
func (m match) text() *matcherv3.StringMatcher {
	switch {
	case m.kind == distinct:
		return nil
	case m.kind == regular:
		return regex(*m.value)
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: *m.value}}
}

func regex(expr string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{
		SafeRegex: &matcherv3.RegexMatcher{Regex: expr},
	}}
}

// either is a condition of a matcher with a flag that turns it around; inverted is the user's.
func either(m func(key string, expect bool) *routev3.RateLimit_Action, inverted bool) condition {
	return condition{
		holds: func(key string) *routev3.RateLimit_Action { return m(key, !inverted) },
		fails: func(key string) *routev3.RateLimit_Action { return m(key, inverted) },
	}
}

// headerAction says whether a header matches. A nil text asks only whether it is there.
func headerAction(name string, text *matcherv3.StringMatcher) func(string, bool) *routev3.RateLimit_Action {
	return func(key string, expect bool) *routev3.RateLimit_Action {
		m := &routev3.HeaderMatcher{Name: name}
		if text == nil {
			m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		} else {
			m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: text}
		}
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_HeaderValueMatch_{
			HeaderValueMatch: &routev3.RateLimit_Action_HeaderValueMatch{
				DescriptorKey: key, DescriptorValue: key, ExpectMatch: wrapperspb.Bool(expect),
				Headers: []*routev3.HeaderMatcher{m},
			},
		}}
	}
}

func headerCondition(h *egv1a1.HeaderMatch) condition {
	m, name := headerMatch(h), strings.ToLower(h.Name)
	if name == "host" {
		name = ":authority" // as Envoy has it, whatever the version of HTTP
	}
	out := either(headerAction(name, m.text()), m.invert)
	if m.kind == distinct {
		out.value = func(key string) *routev3.RateLimit_Action {
			return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RequestHeaders_{
				RequestHeaders: &routev3.RateLimit_Action_RequestHeaders{HeaderName: name, DescriptorKey: key},
			}}
		}
	}
	return out
}

func queryCondition(q *egv1a1.QueryParamMatch) condition {
	m := queryMatch(q)
	out := either(func(key string, expect bool) *routev3.RateLimit_Action {
		p := &routev3.QueryParameterMatcher{Name: q.Name}
		if text := m.text(); text == nil {
			p.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: true}
		} else {
			p.QueryParameterMatchSpecifier = &routev3.QueryParameterMatcher_StringMatch{StringMatch: text}
		}
		return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameterValueMatch_{
			QueryParameterValueMatch: &routev3.RateLimit_Action_QueryParameterValueMatch{
				DescriptorKey: key, DescriptorValue: key, ExpectMatch: wrapperspb.Bool(expect),
				QueryParameters: []*routev3.QueryParameterMatcher{p},
			},
		}}
	}, m.invert)
	if m.kind == distinct {
		out.value = func(key string) *routev3.RateLimit_Action {
			return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_QueryParameters_{
				QueryParameters: &routev3.RateLimit_Action_QueryParameters{QueryParameterName: q.Name, DescriptorKey: key},
			}}
		}
	}
	return out
}

// methodCondition is true of requests with any of the methods, and with any but one that is inverted. It is nothing if
// that is all requests.
func methodCondition(methods []egv1a1.MethodMatch) (condition, bool) {
	var these, except []string
	for _, m := range methods {
		if m.Invert != nil && *m.Invert {
			except = append(except, string(m.Value))
		} else {
			these = append(these, string(m.Value))
		}
	}
	slices.Sort(except)
	except = slices.Compact(except)
	switch {
	case len(methods) == 0 || len(except) > 1:
		return condition{}, false // no request has two methods
	case len(except) == 1 && slices.Contains(these, except[0]):
		return condition{}, false
	case len(except) == 1:
		return either(headerAction(":method", oneOf(except)), true), true
	}
	return either(headerAction(":method", oneOf(these)), false), true
}

func oneOf(list []string) *matcherv3.StringMatcher {
	if len(list) == 1 {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: list[0]}}
	}
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = regexp.QuoteMeta(s)
	}
	return regex(strings.Join(quoted, "|"))
}

func pathType(p *egv1a1.PathMatch) gwv1.PathMatchType {
	if p.Type == nil {
		return gwv1.PathMatchPathPrefix
	}
	return *p.Type
}

// pathCondition is about the path without the query, which Envoy's header :path has too: otherwise a query would be a
// way around the limit.
func pathCondition(p *egv1a1.PathMatch) condition {
	const query = `(\?.*)?`
	value := p.Value
	var text *matcherv3.StringMatcher
	switch pathType(p) {
	case gwv1.PathMatchExact:
		text = regex(regexp.QuoteMeta(value) + query)
	case gwv1.PathMatchRegularExpression:
		text = regex("(" + value + ")" + query)
	default:
		text = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "/"}}
		if value = strings.TrimSuffix(value, "/"); value != "" {
			text = regex(regexp.QuoteMeta(value) + `([/?].*)?`)
		}
	}
	return either(headerAction(":path", text), p.Invert != nil && *p.Invert)
}

// remoteAddress is Envoy's format of the client's address.
const remoteAddress = "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"

// anywhere are all addresses.
var anywhere = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}

// addressAction adds a value, in Envoy's format, if the client is in one of the ranges; if invert, if it is in none.
func addressAction(key, value string, ranges []netip.Prefix, invert bool) *routev3.RateLimit_Action {
	m := &matcherv3.AddressMatcher{InvertMatch: invert}
	for _, p := range ranges {
		m.Ranges = append(m.Ranges, &xdscorev3.CidrRange{
			AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits())), //nolint:gosec // at most 128
		})
	}
	return &routev3.RateLimit_Action{ActionSpecifier: &routev3.RateLimit_Action_RemoteAddressMatch_{
		RemoteAddressMatch: &routev3.RateLimit_Action_RemoteAddressMatch{
			// A format without a value would drop the descriptor, and with it the limit.
			DescriptorKey: key, DescriptorValue: value, DefaultValue: "-", AddressMatcher: m,
		},
	}}
}

func sourceCondition(s *egv1a1.SourceMatch) condition {
	// Check has refused what is none.
	prefix, _ := netip.ParsePrefix(s.Value)
	ranges := []netip.Prefix{prefix.Masked()}
	out := either(func(key string, expect bool) *routev3.RateLimit_Action {
		return addressAction(key, key, ranges, !expect)
	}, s.Invert != nil && *s.Invert)
	if s.Type != nil && *s.Type == egv1a1.SourceMatchDistinct {
		out.value = func(key string) *routev3.RateLimit_Action {
			return addressAction(key, remoteAddress, anywhere, false)
		}
	}
	return out
}

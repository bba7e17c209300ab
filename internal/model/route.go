package model

import (
	"cmp"
	"strings"
	"time"
)

// RouteKey identifies a route of any kind.
type RouteKey struct {
	// Kind is KindHTTPRoute, KindGRPCRoute, KindTLSRoute, KindTCPRoute or KindUDPRoute.
	Kind string
	Name
}

// Compare orders routes by namespace and name, then kind: the order in which the Gateway API breaks ties.
func (k RouteKey) Compare(o RouteKey) int {
	return cmp.Or(k.Name.Compare(o.Name), strings.Compare(k.Kind, o.Kind))
}

// String returns Kind/namespace/name.
func (k RouteKey) String() string { return k.Kind + "/" + k.Name.String() }

// Ref returns the route as a reference.
func (k RouteKey) Ref() Ref { return Ref{Group: GroupGateway, Kind: k.Kind, Name: k.Name} }

// Route is a route of any kind with its references resolved. Where it is attached is in its [Binding]s or
// [StreamBinding]s.
type Route struct {
	Key RouteKey
	// Created breaks ties between equally specific matches: the older route wins. It is zero in files, where the name
	// alone decides.
	Created time.Time
	// Rules are in the order of the spec. A rule that cannot be applied is still here, with a Fault.
	Rules []Rule
}

// EachBackend calls f for every backend that the route refers to, those of its filters included.
func (r *Route) EachBackend(f func(*BackendKey)) {
	attached := func(list []Attached) {
		for i := range list {
			for j := range list[i].Backends {
				f(&list[i].Backends[j])
			}
		}
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		attached(rule.Attached)
		for j := range rule.Backends {
			f(&rule.Backends[j].Backend)
			attached(rule.Backends[j].Attached)
		}
	}
}

// WithBackends returns a copy of the route with its backends changed by f; the route itself stays as it is.
func (r *Route) WithBackends(f func(*BackendKey)) Route {
	out := *r
	attached := func(list []Attached) []Attached {
		list = append([]Attached(nil), list...)
		for i := range list {
			list[i].Backends = append([]BackendKey(nil), list[i].Backends...)
		}
		return list
	}
	out.Rules = append([]Rule(nil), r.Rules...)
	for i := range out.Rules {
		rule := &out.Rules[i]
		rule.Attached = attached(rule.Attached)
		rule.Backends = append([]WeightedBackend(nil), rule.Backends...)
		for j := range rule.Backends {
			rule.Backends[j].Attached = attached(rule.Backends[j].Attached)
		}
	}
	out.EachBackend(f)
	return out
}

// Rule is one rule of a route.
type Rule struct {
	// Index is the rule's position in the spec, Name its optional name.
	Index int
	Name  string
	// GRPC is set for a rule of a GRPCRoute.
	GRPC bool
	// Matches is never empty for HTTP and gRPC: a rule without matches has the one that matches everything. Rules of
	// other kinds of routes have none.
	Matches []Match
	// Backends share the traffic by weight. It may be empty: a redirect needs none.
	Backends []WeightedBackend
	// Attached is what the rule's filters and fields ask of features, in the order of the spec.
	Attached []Attached
	// Extensions are the objects of the rule that extension servers understand: those that filters name, then backends.
	Extensions []Extension
	// Fault, if not nil, is what every request of the rule is answered with instead: the rule could not be applied.
	// Connections and packets are refused.
	Fault *Fault
}

// Fault is the answer to requests that cannot be served as configured.
type Fault struct {
	// Status is the HTTP status, 500 for everything invalid (Gateway API: "a 500 status code").
	Status uint32
	// Why is a short reason for logs and headers, made of letters only: it becomes Envoy's response code detail.
	Why string
}

// MatchType is how a value is compared.
type MatchType int

// The ways to compare. Prefix is by path element: /a matches /a and /a/b but not /ab. Connect is for paths alone: it
// takes CONNECT requests, which have none.
const (
	Exact MatchType = iota
	Prefix
	Regex
	Connect
)

// Match is one alternative of a rule: all of its conditions have to hold. That of a GRPCRoute takes gRPC requests only.
type Match struct {
	Path ValueMatch
	// Method is empty for any.
	Method string
	// Headers have lower case names, each at most once (the first in the spec wins).
	Headers []NamedMatch
	// Query parameters, case-sensitive, each at most once.
	Query []NamedMatch
	// Cookies, case-sensitive. All have to match, those of one name too.
	Cookies []NamedMatch
}

// ValueMatch compares one string.
type ValueMatch struct {
	Type  MatchType
	Value string
}

// NamedMatch compares the value of a header, a query parameter or a cookie.
type NamedMatch struct {
	Name string
	ValueMatch
}

// WeightedBackend is one backend of a rule.
type WeightedBackend struct {
	// Weight is relative to the sum of the rule's weights; 0 takes no traffic.
	Weight uint32
	// Backend is the zero value when the reference is invalid: its share of the requests is answered with 500.
	Backend BackendKey
	// Fallback has it take requests only as the others fail, as a Backend can also say itself.
	Fallback bool
	// Attached is what the filters of this backend reference ask of features: they apply to its share only.
	Attached []Attached
}

// Attached is configuration for one feature, on a rule, on one of its backends, or on a listener.
type Attached struct {
	// Feature is the name of the feature it is for.
	Feature string
	// Spec is what the user wrote: the API type that the feature documents, never changed.
	Spec any
	// Backends are the backend references inside Spec, resolved, in the order of the spec. An invalid one is the zero
	// value.
	Backends []BackendKey
	// Objects are the other objects that Spec refers to, in the order of the spec.
	Objects []Object
	// Trust is in the CA certificates that Spec refers to, the zero value if there are none.
	Trust Trust
	// Fetched is what the things in Spec hold that are fetched from servers, in the order of the spec.
	Fetched []Fetched
	// Proxy is the EnvoyProxy of the Gateway, for features that need what is registered there; else nil.
	Proxy any
	// Places are the databases of places that the proxies have on which a policy holds; the zero value elsewhere.
	Places Places
	// Under is the same field of the policy that the one of Source is merged with, if both have it; else nil.
	Under *Under
	// Broken says that it cannot be applied: something that Spec refers to cannot be used. What became of it is decided
	// where it is attached; features never see it.
	Broken bool
	// Path is the field that it was written in, for messages: "spec.rules[0].filters[1]".
	Path string
	// Source is the object that it was written in, if that is not the one that it is attached to: a policy, the backend
	// that a route leads to, or a filter that it refers to.
	Source Ref
	// Via is the field of a route that refers to Source, empty if none does: "spec.rules[0].filters[1].extensionRef".
	Via string
	// Index is its position among the filters of a listener, which run in exactly that order; 0 for everything else.
	Index int
}

// Under is a field of a policy as it was written, before another policy was merged into it.
type Under struct {
	// Spec is the field's value, of the same type as that of [Attached.Spec].
	Spec any
	// Source is the policy.
	Source Ref
	// Strategic says that the policies are merged by mergeType StrategicMerge: lists may be joined.
	Strategic bool
}

// Object is an object that configuration refers to, a Secret or a ConfigMap.
type Object struct {
	Ref Ref
	// Data is what it holds, never changed; nil if it cannot be used.
	Data map[string][]byte
}

// ListenerFilter returns the name of the feature that a filter of a listener is for. It is not that of the filter of
// the same type in a route: both can apply to one request.
func ListenerFilter(typ string) string { return "Listener" + typ }

// Binding is a route attached to one listener.
type Binding struct {
	Listener ListenerKey
	Table    RouteTableKey
	// Client is what the listener's Gateway shows to backends.
	Client ClientCertificate
	// Above are the policies that hold for the listener.
	Above PolicyStack
	// Hosts are the domains of the listener that the route serves: what its hostnames and the listener's have in
	// common, less what a more specific listener of the port owns.
	Hosts []BoundHost
}

// BoundHost is a domain that a route serves on a listener.
type BoundHost struct {
	// Domain as in HostKey.
	Domain string
	// From is the route's own hostname that the domain came from ("" if it has none). Between routes that serve the
	// same domain the more specific hostname has precedence over every match.
	From string
}

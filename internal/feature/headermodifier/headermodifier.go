// Package headermodifier is the filters RequestHeaderModifier and ResponseHeaderModifier: set, add and remove headers
// (Gateway API: HTTPHeaderFilter).
//
// They become request_headers_to_add and request_headers_to_remove, or response_headers_to_add and
// response_headers_to_remove, of the Envoy route: set is append_action OVERWRITE_IF_EXISTS_OR_ADD, add is
// APPEND_IF_EXISTS_OR_ADD. Envoy reads values as formats, so percent signs are doubled: what a user wrote is data.
//
// Envoy removes before it adds, whatever the order of the filters was. When several filters meet on one route (those of
// a backend come after those of its rule), a later set or remove therefore takes back what an earlier filter added.
//
// Envoy refuses host among the headers to add. Setting it in a request is host_rewrite_literal instead; adding to it or
// removing it is refused, because a request has exactly one host.
package headermodifier

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Request is the feature of the filter RequestHeaderModifier.
type Request struct{}

// Response is the feature of the filter ResponseHeaderModifier.
type Response struct{}

var (
	_ feature.Checker      = Request{}
	_ feature.RouteApplier = Request{}
	_ feature.Checker      = Response{}
	_ feature.RouteApplier = Response{}
)

// hostValue is a host name or address with an optional port (RFC 9110, section 7.2).
var hostValue = regexp.MustCompile(`^([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$`)

// Name returns the filter's type.
func (Request) Name() string { return string(gwv1.HTTPRouteFilterRequestHeaderModifier) }

// Name returns the filter's type.
func (Response) Name() string { return string(gwv1.HTTPRouteFilterResponseHeaderModifier) }

// Check refuses header names and values that Envoy would refuse or that frame messages, a header named twice, and a
// Host that cannot be set.
func (Request) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	return check(a.Spec.(*gwv1.HTTPHeaderFilter), func(op, name, value string) error {
		switch {
		case op != ".set":
			return fmt.Errorf("%s can only be set: a request has exactly one", name)
		case !hostValue.MatchString(value):
			return fmt.Errorf("%q is not a host: write a host name with an optional port", value)
		case rewritesHost(rule):
			return fmt.Errorf("%s is also rewritten by the rule's URLRewrite filter: keep one of them", name)
		}
		return nil
	})
}

// Check refuses header names and values that Envoy would refuse or that frame messages, and a header named twice.
func (Response) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	return check(a.Spec.(*gwv1.HTTPHeaderFilter), func(_, name, _ string) error {
		return fmt.Errorf("%s has no meaning in a response: remove it", name)
	})
}

// ApplyRoute changes the headers of requests.
func (Request) ApplyRoute(r *feature.Route, a model.Attached) {
	spec := a.Spec.(*gwv1.HTTPHeaderFilter)
	ops := headerOps{add: r.Proto.RequestHeadersToAdd, remove: r.Proto.RequestHeadersToRemove}
	ops.apply(spec)
	r.Proto.RequestHeadersToAdd, r.Proto.RequestHeadersToRemove = ops.add, ops.remove
	for _, h := range spec.Set {
		if action := r.Action(); action != nil && isHost(string(h.Name)) {
			action.HostRewriteSpecifier = &routev3.RouteAction_HostRewriteLiteral{HostRewriteLiteral: h.Value}
		}
	}
}

// ApplyRoute changes the headers of responses.
func (Response) ApplyRoute(r *feature.Route, a model.Attached) {
	ops := headerOps{add: r.Proto.ResponseHeadersToAdd, remove: r.Proto.ResponseHeadersToRemove}
	ops.apply(a.Spec.(*gwv1.HTTPHeaderFilter))
	r.Proto.ResponseHeadersToAdd, r.Proto.ResponseHeadersToRemove = ops.add, ops.remove
}

// headerOps are the lists that a route has for one direction.
type headerOps struct {
	add    []*corev3.HeaderValueOption
	remove []string
}

func (o *headerOps) apply(spec *gwv1.HTTPHeaderFilter) {
	for _, name := range spec.Remove {
		o.forget(name)
		if !slices.Contains(o.remove, strings.ToLower(name)) {
			o.remove = append(o.remove, strings.ToLower(name))
		}
	}
	for _, h := range spec.Set {
		if !isHost(string(h.Name)) {
			o.forget(string(h.Name))
			o.append(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
		}
	}
	for _, h := range spec.Add {
		o.append(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
}

func (o *headerOps) append(h gwv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
	o.add = append(o.add, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: string(h.Name), Value: header.Literal(h.Value)},
		AppendAction: action,
	})
}

// forget drops what earlier filters add to a header.
func (o *headerOps) forget(name string) {
	o.add = slices.DeleteFunc(o.add, func(h *corev3.HeaderValueOption) bool {
		return strings.EqualFold(h.GetHeader().GetKey(), name)
	})
}

// check asks host about every use of the Host header, and knows the rest itself.
func check(spec *gwv1.HTTPHeaderFilter, host func(op, name, value string) error) []feature.Problem {
	var problems []feature.Problem
	seen := map[string]bool{}
	one := func(op string, i int, name, value string) {
		err := header.CheckMutable(name)
		switch {
		case err != nil:
		case seen[strings.ToLower(name)]:
			err = fmt.Errorf("%s is named more than once: leave one action for it", name)
		case isHost(name):
			err = host(op, name, value)
		default:
			err = header.CheckValue(value)
		}
		seen[strings.ToLower(name)] = true
		if err != nil {
			problems = append(problems, feature.Problem{
				Reason: "UnsupportedValue", Message: "Invalid header: " + err.Error(), Path: fmt.Sprintf("%s[%d]", op, i),
			})
		}
	}
	for i, h := range spec.Set {
		one(".set", i, string(h.Name), h.Value)
	}
	for i, h := range spec.Add {
		one(".add", i, string(h.Name), h.Value)
	}
	for i, name := range spec.Remove {
		one(".remove", i, name, "")
	}
	return problems
}

func isHost(name string) bool { return strings.EqualFold(name, "host") }

func rewritesHost(rule *model.Rule) bool {
	return slices.ContainsFunc(rule.Attached, func(a model.Attached) bool {
		rewrite, ok := a.Spec.(*gwv1.HTTPURLRewriteFilter)
		return ok && rewrite.Hostname != nil
	})
}

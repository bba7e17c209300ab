package header

import (
	"fmt"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// Edit are the changes that a route makes to the headers of one direction, as Envoy has them.
type Edit struct {
	Add    []*corev3.HeaderValueOption
	Remove []string
}

// Apply adds what a filter asks for. Envoy removes before it adds: a later set or remove takes back what was added
// before. Host is left alone: see [IsHost].
func (e *Edit) Apply(spec *gwv1.HTTPHeaderFilter) {
	for _, name := range spec.Remove {
		e.forget(name)
		if !slices.Contains(e.Remove, strings.ToLower(name)) {
			e.Remove = append(e.Remove, strings.ToLower(name))
		}
	}
	for _, h := range spec.Set {
		if !IsHost(string(h.Name)) {
			e.forget(string(h.Name))
			e.append(h, corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD)
		}
	}
	for _, h := range spec.Add {
		e.append(h, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD)
	}
}

func (e *Edit) append(h gwv1.HTTPHeader, action corev3.HeaderValueOption_HeaderAppendAction) {
	e.Add = append(e.Add, &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: string(h.Name), Value: Literal(h.Value)},
		AppendAction: action,
	})
}

// forget drops what earlier filters add to a header.
func (e *Edit) forget(name string) {
	e.Add = slices.DeleteFunc(e.Add, func(h *corev3.HeaderValueOption) bool {
		return strings.EqualFold(h.GetHeader().GetKey(), name)
	})
}

// Check returns what Envoy would refuse of a filter, headers that frame messages, and headers that are named twice. It
// asks host about every use of the Host header: op is ".set", ".add" or ".remove".
func Check(spec *gwv1.HTTPHeaderFilter, host func(op, name, value string) error) []feature.Problem {
	var problems []feature.Problem
	seen := map[string]bool{}
	one := func(op string, i int, name, value string) {
		err := CheckMutable(name)
		switch {
		case err != nil:
		case seen[strings.ToLower(name)]:
			err = fmt.Errorf("%s is named more than once: leave one action for it", name)
		case IsHost(name):
			err = host(op, name, value)
		default:
			err = CheckValue(value)
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

// NoHost is what [Check] asks about Host in a response.
func NoHost(_, name, _ string) error {
	return fmt.Errorf("%s has no meaning in a response: remove it", name)
}

// IsHost says whether a header is Host, which Envoy refuses among the headers to add.
func IsHost(name string) bool { return strings.EqualFold(name, "host") }

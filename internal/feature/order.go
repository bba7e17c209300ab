package feature

import (
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/sluice-gateway/sluice/internal/model"
)

// Reorder has the filters run in another order than that of the chain. What a feature has added moves as a whole: some
// of it prepares the filter that has the name.
func (s *Scope) Reorder(order model.FilterOrder) {
	for _, move := range order.Moves() {
		groups := s.groups()
		is := func(name string) func(group) bool {
			return func(g group) bool { return slices.Contains(g.kinds, name) }
		}
		if !slices.ContainsFunc(groups, is(move.Name)) || !slices.ContainsFunc(groups, is(move.Anchor)) {
			continue
		}
		var moved, others []group
		for _, g := range groups {
			if is(move.Name)(g) && !is(move.Anchor)(g) {
				moved = append(moved, g)
			} else {
				others = append(others, g)
			}
		}
		at := slices.IndexFunc(others, is(move.Anchor))
		if move.After {
			for i, g := range others {
				if is(move.Anchor)(g) {
					at = i + 1
				}
			}
		}
		s.Filters = s.Filters[:0]
		for _, g := range slices.Concat(others[:at], moved, others[at:]) {
			s.Filters = append(s.Filters, g.filters...)
		}
	}
}

// group is what one feature has added.
type group struct {
	filters []*corev3.TypedExtensionConfig
	// kinds are Envoy's names of the kinds of filters, but for those that only prepare others.
	kinds []string
}

// preparing are the kinds of filters that come with others.
var preparing = []string{"envoy.filters.http.header_mutation", "envoy.filters.http.set_metadata"}

// groups returns the filters as features have added them.
func (s *Scope) groups() []group {
	var out []group
	last := 0
	for i, f := range s.Filters {
		if owner := s.owners[f.GetName()]; i == 0 || owner != last {
			last = owner
			out = append(out, group{})
		}
		g := &out[len(out)-1]
		g.filters = append(g.filters, f)
		if kind := kindOf(f); !slices.Contains(preparing, kind) {
			g.kinds = append(g.kinds, kind)
		}
	}
	for i := range out {
		if len(out[i].kinds) == 0 {
			out[i].kinds = []string{kindOf(out[i].filters[0])}
		}
	}
	return out
}

// kindOf returns Envoy's name of a kind of filter: envoy.filters.http.ext_authz for what is configured by
// envoy.extensions.filters.http.ext_authz.v3.ExtAuthz.
func kindOf(f *corev3.TypedExtensionConfig) string {
	_, message, _ := strings.Cut(f.GetTypedConfig().GetTypeUrl(), "/")
	_, kind, _ := strings.Cut(message, ".filters.http.")
	kind, _, _ = strings.Cut(kind, ".")
	return "envoy.filters.http." + kind
}

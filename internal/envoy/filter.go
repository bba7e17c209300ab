package envoy

import (
	"cmp"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// filterUse is an HTTP filter that some route needs on its listener, marshalled so that it can be compared.
type filterUse struct {
	Rank     int
	Name     string
	Disabled bool
	// Type is the type URL of Config.
	Type   string
	Config []byte
	// Idle is what a host says so that the filter runs for all of its routes, and does nothing for those that do not
	// configure it. It is nil for a filter that needs none.
	Idle *anypb.Any
}

func (f filterUse) compare(o filterUse) int {
	return cmp.Or(cmp.Compare(f.Rank, o.Rank), strings.Compare(f.Name, o.Name))
}

// standing returns the filters that every listener has.
func standing(chain *feature.Chain) []filterUse {
	var out []filterUse
	for _, f := range chain.Standing() {
		out = append(out, use(f))
	}
	return out
}

func use(f feature.RankedFilter) filterUse {
	packed := toAny(f.Config)
	out := filterUse{Rank: f.Rank, Name: f.Name, Disabled: f.Disabled, Type: packed.TypeUrl, Config: packed.Value}
	if f.Idle != nil {
		out.Idle = toAny(f.Idle)
	}
	return out
}

// filterUses returns the filters that the rules of a route need besides those, each once, in chain order.
func filterUses(chain *feature.Chain, route *model.Route) []filterUse {
	var out []filterUse
	for i := range route.Rules {
		if route.Rules[i].Fault != nil {
			continue
		}
		for _, f := range chain.HTTPFilters(&route.Rules[i]) {
			out = append(out, use(f))
		}
	}
	return distinct(out)
}

// distinct sorts the filters in chain order and drops those that are there twice.
func distinct(filters []filterUse) []filterUse {
	slices.SortStableFunc(filters, filterUse.compare)
	return slices.CompactFunc(filters, func(a, b filterUse) bool { return a.compare(b) == 0 })
}

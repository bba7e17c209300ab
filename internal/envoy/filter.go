package envoy

import (
	"slices"

	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
)

// httpFilters are the HTTP filters of every connection manager but the router, which comes last. What routes and
// listeners need has its places there: no route changes a listener. late says that listeners have filters of their own.
func httpFilters(chain *feature.Chain, late bool) []*hcmv3.HttpFilter {
	before, behind := feature.Places(late)
	all := slices.Concat(before, chain.Standing(), behind)
	out := make([]*hcmv3.HttpFilter, 0, len(all)+1)
	for _, f := range all {
		out = append(out, &hcmv3.HttpFilter{
			Name: f.Name, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: toAny(f.Config)}, Disabled: f.Disabled,
		})
	}
	return out
}

package policy

import (
	"fmt"
	"slices"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resolve"
)

// BackendReferences returns the references to the backends of a cluster that a policy makes requests to, at path. The
// feature has [RetryPolicy] and [RequestTimeout] of their settings, and has the rest checked by [Refusals.Backends].
func BackendReferences(c *egv1a1.BackendCluster, path string, use model.AppProtocol) []resolve.Reference {
	settings := OfCluster(c.BackendSettings)
	var out []resolve.Reference
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if ref := c.BackendRef; ref != nil {
		out = append(out, resolve.Reference{Path: path + ".backendRef", Backend: ref, Use: use, Settings: settings})
	}
	for i := range c.BackendRefs {
		out = append(out, resolve.Reference{
			Path:    fmt.Sprintf("%s.backendRefs[%d]", path, i),
			Backend: &c.BackendRefs[i].BackendObjectReference, Use: use, Settings: settings,
		})
	}
	for i := range out {
		if len(out) > 1 {
			out[i].Among = path
		}
	}
	return out
}

// Backend returns what requests to a cluster are sent to. found is what its references have led to, in their order:
// several backends share the requests by weight, and fallbacks get some as the others fail. Without references it is
// the server that a URL has led to. It is the zero value if none of them can be used.
func Backend(c *egv1a1.BackendCluster, found []model.BackendKey) model.BackendKey {
	refs := c.BackendRefs
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if c.BackendRef != nil {
		refs = append([]egv1a1.BackendRef{{}}, refs...)
	}
	if len(refs) == 0 && len(found) > 0 {
		return found[0]
	}
	var parts []model.WeightedBackend
	for i := range refs[:min(len(refs), len(found))] {
		part := model.WeightedBackend{
			Backend: found[i], Weight: Or(refs[i].Weight, 1), Fallback: Or(refs[i].Fallback, false),
		}
		if part.Weight > 0 && part.Backend != (model.BackendKey{}) {
			parts = append(parts, part)
		}
	}
	switch len(parts) {
	case 0:
		return model.BackendKey{}
	case 1:
		return parts[0].Backend
	}
	return model.Split(parts)
}

// Backends refuses what cannot be done with the backends of a cluster that a policy makes requests to, at path.
func (r *Refusals) Backends(path string, c *egv1a1.BackendCluster) {
	r.Requests(path+".backendSettings", c.BackendSettings)
	r.Shares(path, c)
}

// Shares refuses weights with which no backend of a cluster would get requests, and a fallback for no other.
func (r *Refusals) Shares(path string, c *egv1a1.BackendCluster) {
	gets := func(ref egv1a1.BackendRef) bool { return Or(ref.Weight, 1) > 0 }
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if n := len(c.BackendRefs); n > 0 && c.BackendRef == nil && !slices.ContainsFunc(c.BackendRefs, gets) {
		r.Add(path+".backendRefs[0].weight", "No backend would get requests: leave the weight out, or use at least 1")
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if len(c.BackendRefs) == 1 && c.BackendRef == nil && Or(c.BackendRefs[0].Fallback, false) {
		r.Add(path+".backendRefs[0].fallback", "There is no other backend that it could be the fallback for: remove it")
	}
}

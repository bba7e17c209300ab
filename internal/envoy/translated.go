package envoy

import (
	"slices"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Decision is what has become of a cluster about which extension servers decide with all others. A route does not lead
// to one that is not there yet.
type Decision struct {
	// Failed says why it is not there, one sentence for a message; empty if it is, or is not to be.
	Failed string
}

// undecided says whether a cluster is not there because extension servers have not decided about it.
func (b *builder) undecided(r *incr.Reader, k BackendKey) verdict {
	if b.decided == nil {
		return verdict{}
	}
	d, ok := incr.Get(r, b.decided, k)
	return verdict{Pending: !ok, Failed: d.Failed}
}

// addTranslated adds the proxies about whose whole configuration extension servers are asked.
func (b *builder) addTranslated(e *incr.Engine, out *Tables) {
	if !b.servers.takes(model.HookTranslation) {
		return
	}
	out.Decided = b.decided
	out.Translated = incr.NewTable(e, "translated proxies", func(
		r *incr.Reader, proxy model.ProxyName,
	) ([]model.Extension, bool) {
		var policies []model.Extension
		for _, port := range b.portsOf.Keys(r, proxy) {
			for _, l := range b.listenersOn(r, port) {
				for _, p := range b.in.ListenerExtensionPolicies(r, l) {
					if !slices.Contains(policies, p) {
						policies = append(policies, p)
					}
				}
			}
		}
		slices.SortFunc(policies, func(a, b model.Extension) int { return a.Ref.Compare(b.Ref) })
		return policies, true
	}, b.portsOf)
}

package resolve

import (
	"fmt"
	"slices"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/resource"
	"github.com/sluice-gateway/sluice/internal/status"
)

// addExtensions adds the objects that extension servers understand, in the form in which they are given to them.
func (t *Tables) addExtensions(e *incr.Engine) {
	t.extensions = incr.NewTable(e, "extensions", func(r *incr.Reader, ref model.Ref) (model.Extension, bool) {
		o, ok := incr.Get(r, t.in.extensionObjects, ref)
		if !ok {
			return model.Extension{}, false
		}
		data, err := o.MarshalJSON()
		return model.Extension{Ref: ref, JSON: string(data)}, err == nil // it was read as JSON
	}, t.in.extensionObjects)
}

// extends says whether an extension server understands a kind as a filter of routes or as a backend.
func (t *Tables) extends(group, kind string) bool {
	return slices.ContainsFunc(t.opts.Extensions, func(m model.ExtensionManager) bool {
		return slices.Contains(m.Resources, model.GroupKind{Group: group, Kind: kind})
	})
}

// extends says whether an extension server understands a kind as a policy.
func (t *Tables) extendsPolicies(group, kind string) bool {
	return slices.ContainsFunc(t.opts.Extensions, func(m model.ExtensionManager) bool {
		return slices.Contains(m.Policies, model.GroupKind{Group: group, Kind: kind})
	})
}

// foreign returns the filter that an object is which an extension server understands, or why there is none.
func (b *ruleBuilder) foreign(ref model.Ref, path string) (*routeFilter, string) {
	found, ok := incr.Get(b.r, b.t.extensions, ref)
	if !ok {
		b.issue(status.ResolvedRefs, status.ReasonBackendNotFound, path, fmt.Sprintf("%s does not exist", ref))
		return nil, status.ReasonBackendNotFound
	}
	return &routeFilter{Extensions: []model.Extension{found}}, ""
}

// extend adds objects that extension servers are given with the routes of the rule, each once.
func (b *ruleBuilder) extend(list ...model.Extension) {
	for _, e := range list {
		if !slices.Contains(b.Extensions, e) {
			b.Extensions = append(b.Extensions, e)
		}
	}
}

// checkExtension returns why a backend that is for an extension server cannot be used, or no reason.
func (t *Tables) checkExtension(r *incr.Reader, _ model.Ref, key model.BackendKey) (reason, message string) {
	if _, ok := incr.Get(r, t.extensions, key.Ref()); !ok {
		return status.ReasonBackendNotFound, fmt.Sprintf("%s does not exist", key.Ref())
	}
	return "", ""
}

// extensionInput is the input of the objects that extension servers understand.
type extensionInput = incr.Input[model.Ref, *resource.Extension]

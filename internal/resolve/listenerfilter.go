package resolve

import (
	"fmt"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// filters resolves the filters of the listener. One that can never be applied makes that the listener is not accepted;
// if it only lacks what it refers to, every request is answered with 500 until that is there.
func (v *listenerResolver) filters() ([]model.Attached, *model.Fault) {
	if v.spec.Filters == nil {
		return nil, nil
	}
	var out []model.Attached
	var fault *model.Fault
	for i := range v.spec.Filters.Requests {
		a, reason := v.filter(&v.spec.Filters.Requests[i], i)
		if reason != "" && fault == nil {
			fault = &model.Fault{Status: 500, Why: reason}
		}
		out = append(out, a)
	}
	if fault == nil && v.t.opts.CheckAttached != nil {
		for _, issue := range v.t.opts.CheckAttached(out) {
			v.refuse(issue.Reason, issue.Path, issue.Message)
		}
	}
	return out, fault
}

// filter returns the configuration of one filter, or why it cannot be applied.
func (v *listenerResolver) filter(spec *gwv1.ListenerFilter, index int) (model.Attached, string) {
	path := fmt.Sprintf(".filters.requests[%d]", index)
	a := model.Attached{Feature: model.ListenerFilter(string(spec.Type)), Path: path, Index: index}
	switch {
	case spec.Type == gwv1.ListenerFilterExternalAuth && spec.ExternalAuth != nil:
		use := model.AppHTTP
		if spec.ExternalAuth.ExternalAuthProtocol == gwv1.HTTPRouteExternalAuthGRPCProtocol {
			use = model.AppGRPC
		}
		found := v.t.backendOf(v.r, v.ref, &spec.ExternalAuth.BackendRef, use)
		if found.Reason != "" {
			v.issue(status.ResolvedRefs, found.Reason, path+".externalAuth.backendRef", found.Message)
		}
		a.Spec, a.Backends = spec.ExternalAuth, []model.BackendKey{found.key()}
		if found.Barred {
			return a, string(gwv1.PolicyReasonInvalid)
		}
		return a, found.Reason
	case spec.Type == gwv1.ListenerFilterExtensionRef && spec.ExtensionRef != nil:
		v.issue(status.ResolvedRefs, status.ReasonInvalidKind, path+".extensionRef",
			fmt.Sprintf("%s of group %q is not a filter that this version of Sluice knows",
				spec.ExtensionRef.Kind, spec.ExtensionRef.Group))
		return a, status.ReasonInvalidKind
	default:
		v.refuse(status.ReasonUnsupportedValue, path+".type",
			fmt.Sprintf("%q is not a filter that this version of Sluice knows: use ExternalAuth", spec.Type))
		return a, status.ReasonUnsupportedValue
	}
}

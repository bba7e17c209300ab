// Package clientpath is the field path of a ClientTrafficPolicy: what becomes of the paths that clients send before a
// route is chosen, and before any policy looks at them.
//
// escapedSlashesAction is path_with_escaped_slashes_action of the connection manager, disableMergeSlashes switches
// its merge_slashes off. Both are on by default, as in Envoy Gateway: %2F and %5C are unescaped and the client is
// redirected, adjacent slashes become one. Paths are always normalized (RFC 3986, normalize_path): a policy cannot
// change that.
package clientpath

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field path.
type Feature struct{}

var (
	_ feature.Checker         = Feature{}
	_ feature.ListenerApplier = Feature{}
)

var actions = map[egv1a1.PathEscapedSlashAction]hcmv3.HttpConnectionManager_PathWithEscapedSlashesAction{
	egv1a1.KeepUnchangedAction: hcmv3.HttpConnectionManager_KEEP_UNCHANGED,
	egv1a1.RejectRequestAction: hcmv3.HttpConnectionManager_REJECT_REQUEST,
	egv1a1.UnescapeAndForward:  hcmv3.HttpConnectionManager_UNESCAPE_AND_FORWARD,
	egv1a1.UnescapeAndRedirect: hcmv3.HttpConnectionManager_UNESCAPE_AND_REDIRECT,
}

// Name returns the name of the policy's field.
func (Feature) Name() string { return model.KindClientTrafficPolicy + ".path" }

// Check refuses an action that there is not.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	var refused policy.Refusals
	if action := a.Spec.(*egv1a1.PathSettings).EscapedSlashesAction; action != nil {
		if _, ok := actions[*action]; !ok {
			refused.Add(".escapedSlashesAction", "There is no action %q: use KeepUnchanged, RejectRequest, "+
				"UnescapeAndForward or UnescapeAndRedirect", *action)
		}
	}
	return refused
}

// ApplyListener says how paths are normalized.
func (Feature) ApplyListener(l *feature.Listener, a model.Attached) {
	spec := a.Spec.(*egv1a1.PathSettings)
	if l.Manager == nil {
		return
	}
	if spec.EscapedSlashesAction != nil {
		l.Manager.PathWithEscapedSlashesAction = actions[*spec.EscapedSlashesAction]
	}
	if spec.DisableMergeSlashes != nil {
		l.Manager.MergeSlashes = !*spec.DisableMergeSlashes
	}
}

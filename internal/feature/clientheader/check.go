package clientheader

import (
	"fmt"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Check refuses actions that there are not, and changes to headers without which there is no message.
func (Feature) Check(a model.Attached, _ *model.Rule) []feature.Problem {
	spec := a.Spec.(*egv1a1.HeaderSettings)
	var refused policy.Refusals
	if x := spec.XForwardedClientCert; x != nil {
		mode := policy.Or(x.Mode, egv1a1.XFCCForwardModeSanitize)
		if _, ok := certificateModes[mode]; !ok {
			refused.Add(".xForwardedClientCert.mode", "There is no mode %q: use Sanitize, ForwardOnly, AppendForward, "+
				"SanitizeSet or AlwaysForwardOnly", mode)
		}
		adds := mode == egv1a1.XFCCForwardModeAppendForward || mode == egv1a1.XFCCForwardModeSanitizeSet
		if len(x.CertDetailsToAdd) > 0 && !adds {
			refused.Add(".xForwardedClientCert.certDetailsToAdd", "The mode %s adds nothing: use AppendForward or "+
				"SanitizeSet", mode)
		}
	}
	if u := spec.WithUnderscoresAction; u != nil {
		if _, ok := underscoreActions[*u]; !ok {
			refused.Add(".withUnderscoresAction", "There is no action %q: use Allow, RejectRequest or DropHeader", *u)
		}
	}
	//lint:ignore SA1019 deprecated, but part of the API and of policies that people have
	if spec.RequestID != nil && spec.PreserveXRequestID != nil {
		refused.Add(".preserveXRequestID", "It contradicts requestID: remove it")
	}
	if id := spec.RequestID; id != nil {
		if _, ok := requestIDs[*id]; !ok {
			refused.Add(".requestID", "There is no action %q: use Generate, PreserveOrGenerate, Preserve or Disable", *id)
		}
	}
	checkEdit(&refused, ".earlyRequestHeaders", spec.EarlyRequestHeaders)
	checkEdit(&refused, ".lateResponseHeaders", spec.LateResponseHeaders)
	return refused
}

func checkEdit(refused *policy.Refusals, at string, spec *egv1a1.HTTPHeaderFilter) {
	if spec == nil {
		return
	}
	name := func(path, name string) {
		if err := header.CheckMutable(name); err != nil {
			refused.Add(path, "Invalid header: %v", err)
		} else if header.IsHost(name) {
			refused.Add(path, "Routes are chosen by Host: it cannot be changed for a whole listener; let a route rewrite it")
		}
	}
	for i, h := range spec.AddIfAbsent {
		name(fmt.Sprintf("%s.addIfAbsent[%d].name", at, i), string(h.Name))
		checkValue(refused, fmt.Sprintf("%s.addIfAbsent[%d].value", at, i), h.Value)
	}
	for i, h := range spec.Add {
		name(fmt.Sprintf("%s.add[%d].name", at, i), string(h.Name))
		checkValue(refused, fmt.Sprintf("%s.add[%d].value", at, i), h.Value)
	}
	for i, h := range spec.Set {
		name(fmt.Sprintf("%s.set[%d].name", at, i), string(h.Name))
		checkValue(refused, fmt.Sprintf("%s.set[%d].value", at, i), h.Value)
	}
	for i, n := range spec.Remove {
		name(fmt.Sprintf("%s.remove[%d]", at, i), n)
	}
	for i, m := range spec.RemoveOnMatch {
		path := fmt.Sprintf("%s.removeOnMatch[%d]", at, i)
		refused.Match(path, m)
		for _, needed := range needed {
			if policy.Matches(m, needed) {
				refused.Add(path+".value", "It takes %s away too, without which there is no message: write it more narrowly",
					needed)
				break
			}
		}
	}
}

func checkValue(refused *policy.Refusals, path, value string) {
	if err := header.CheckValue(value); err != nil {
		refused.Add(path, "Invalid header: %v", err)
	}
}

// needed are the headers that frame a message and say what it is for, as Envoy names them.
var needed = strings.Fields(":authority :method :path :scheme :protocol :status host connection content-length " +
	"keep-alive proxy-connection te trailer transfer-encoding upgrade")

// Package upgrade is the field httpUpgrade of a BackendTrafficPolicy: to which other protocols clients may switch a
// request.
//
// It is upgrade_configs of the RouteAction. Without the field a route allows websocket, as the connection manager does;
// with it those of the list alone. The type CONNECT has the route serve CONNECT requests too, next to all others: these
// have no path, so the path of the rule does not count for them, but its headers do. The backend has to be a proxy that
// understands CONNECT; with connect.terminate Envoy sends it what is inside as TCP (connect_config).
//
// An upgrade to h2c is refused: what clients send then are requests again, and would pass no route and no policy.
//
// requestBuffer waits for the end of a request, which an upgraded one does not have: the two exclude one another, and a
// requestBuffer alone switches websocket off.
package upgrade

import (
	"fmt"
	"slices"
	"strings"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/feature/header"
	"github.com/sluice-gateway/sluice/internal/feature/policy"
	"github.com/sluice-gateway/sluice/internal/model"
)

// Feature is the feature of the field httpUpgrade.
type Feature struct{}

var (
	_ feature.Checker      = Feature{}
	_ feature.RouteApplier = Feature{}
	_ feature.Matcher      = Feature{}
)

const (
	websocket = "websocket"
	connect   = "CONNECT"
	// smuggling is a protocol in which the client goes on to send requests, which the backend would take for ones that
	// have passed the routes.
	smuggling = "h2c"
)

// Name returns the name of the policy's field.
func (Feature) Name() string { return "BackendTrafficPolicy.httpUpgrade" }

// Check refuses what is no protocol, and what contradicts it.
func (Feature) Check(a model.Attached, rule *model.Rule) []feature.Problem {
	var refused policy.Refusals
	var seen []string
	for i, u := range a.Spec.([]*egv1a1.ProtocolUpgradeConfig) {
		at, kind := fmt.Sprintf("[%d]", i), strings.ToLower(u.Type)
		switch {
		case !isProtocol(u.Type):
			refused.Add(at+".type", "The type %q is no protocol: use websocket, CONNECT or spdy/3.1, for example", u.Type)
		case kind == smuggling:
			refused.Add(at+".type", "Inside of a request that is upgraded to h2c clients could send others past the Gateway: "+
				"remove it; for a backend that speaks HTTP/2 set its appProtocol")
		}
		if slices.Contains(seen, kind) {
			refused.Add(at+".type", "The type %s is there more than once: leave one", u.Type)
		}
		seen = append(seen, kind)
		if u.Connect != nil && !isConnect(u) {
			refused.Add(at+".connect", "This is for the type CONNECT alone: remove it")
		}
	}
	if rule != nil && len(seen) > 0 {
		for _, other := range rule.Attached {
			if other.Feature == "BackendTrafficPolicy.requestBuffer" {
				refused.Add("", "A request that is upgraded has no end that requestBuffer could wait for: remove one of the two")
			}
		}
	}
	return refused
}

// isProtocol says whether a type can be in the header Upgrade: a name, and perhaps a version (RFC 9110, section 7.8).
func isProtocol(kind string) bool {
	name, version, versioned := strings.Cut(kind, "/")
	return header.CheckName(name) == nil && (!versioned || header.CheckName(version) == nil)
}

func isConnect(u *egv1a1.ProtocolUpgradeConfig) bool { return strings.EqualFold(u.Type, connect) }

// Matches returns the match of CONNECT requests, if there are to be any.
func (Feature) Matches(a model.Attached, _ *model.Rule, m model.Match) []model.Match {
	list := a.Spec.([]*egv1a1.ProtocolUpgradeConfig)
	if !slices.ContainsFunc(list, isConnect) || m.Method != "" && m.Method != connect || len(m.Query) > 0 {
		return nil
	}
	return []model.Match{{Path: model.ValueMatch{Type: model.Connect}, Headers: m.Headers, Cookies: m.Cookies}}
}

// ApplyRoute allows the protocols of the list.
func (Feature) ApplyRoute(r *feature.Route, a model.Attached) {
	list, action := a.Spec.([]*egv1a1.ProtocolUpgradeConfig), r.Action()
	if action == nil || len(list) == 0 {
		return
	}
	action.UpgradeConfigs = nil
	for _, u := range list {
		config := &routev3.RouteAction_UpgradeConfig{UpgradeType: u.Type}
		if isConnect(u) {
			config.UpgradeType = connect // which Envoy looks for as it is written
			if u.Connect != nil && policy.Or(u.Connect.Terminate, false) {
				config.ConnectConfig = &routev3.RouteAction_UpgradeConfig_ConnectConfig{}
			}
		}
		action.UpgradeConfigs = append(action.UpgradeConfigs, config)
	}
	if !slices.ContainsFunc(list, func(u *egv1a1.ProtocolUpgradeConfig) bool {
		return strings.EqualFold(u.Type, websocket)
	}) {
		action.UpgradeConfigs = append(action.UpgradeConfigs, &routev3.RouteAction_UpgradeConfig{
			UpgradeType: websocket, Enabled: wrapperspb.Bool(false),
		})
	}
}

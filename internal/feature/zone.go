package feature

import (
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/load_balancing_policies/common/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/sluice-gateway/sluice/internal/model"
)

// ZoneUser is a feature whose effect depends on the zones of endpoints. The endpoints of a cluster are grouped by zone
// only for such a feature, or because the Service asks for it: an Envoy that knows the zones of many endpoints, and its
// own, would spread requests by them of its own accord.
type ZoneUser interface {
	// UsesZones reports whether a does.
	UsesZones(a model.Attached) bool
}

// Zoned reports whether something of what is attached to a backend needs the zones of its endpoints.
func (c *Chain) Zoned(attached []model.Attached) bool {
	for _, a := range attached {
		if f, ok := c.feature(a.Feature).(ZoneUser); ok && f.UsesZones(a) {
			return true
		}
	}
	return false
}

// PreferZone is what a Service says of zones as a load balancing policy has it; nil if it says nothing.
func PreferZone(p model.ZonePreference) *commonv3.LocalityLbConfig {
	if p == (model.ZonePreference{}) {
		return nil
	}
	return &commonv3.LocalityLbConfig{LocalityConfigSpecifier: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_{
		ZoneAwareLbConfig: &commonv3.LocalityLbConfig_ZoneAwareLbConfig{
			MinClusterSize: wrapperspb.UInt64(p.MinEndpoints),
			ForceLocalZone: &commonv3.LocalityLbConfig_ZoneAwareLbConfig_ForceLocalZone{
				MinSize: wrapperspb.UInt32(p.MinLocal),
			},
		},
	}}
}

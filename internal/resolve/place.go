package resolve

import (
	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"
	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
	"github.com/sluice-gateway/sluice/internal/status"
)

// gearOf returns what an EnvoyProxy says that proxies have and do; it may be nil.
func gearOf(spec *egv1a1.EnvoyProxySpec) model.Gear {
	if spec == nil {
		return model.Gear{}
	}
	var moves []model.FilterMove
	for _, p := range spec.FilterOrder {
		move := model.FilterMove{Name: string(p.Name), Anchor: string(deref(p.Before, ""))}
		if p.After != nil {
			move.Anchor, move.After = string(*p.After), true
		}
		moves = append(moves, move)
	}
	return model.Gear{
		Places: placesOf(spec), InOrder: deref(spec.PreserveRouteOrder, false), Filters: model.OrderFilters(moves),
	}
}

// placesOf returns the databases of places that an EnvoyProxy says its proxies have (spec.geoIP).
func placesOf(spec *egv1a1.EnvoyProxySpec) model.Places {
	if spec.GeoIP == nil || spec.GeoIP.Provider.MaxMind == nil {
		return model.Places{}
	}
	path := func(source *egv1a1.GeoIPDBSource) string {
		if source == nil {
			return ""
		}
		return source.Local.Path
	}
	from := spec.GeoIP.Provider.MaxMind
	return model.Databases{
		City: path(from.CityDBSource), Country: path(from.CountryDBSource), ASN: path(from.ASNDBSource),
		ISP: path(from.ISPDBSource), Anonymous: path(from.AnonymousIPDBSource),
	}.Places()
}

// place gives what policies ask for the databases of the proxies on which they hold. What asks for one that these do
// not have cannot be applied there, and is left out. The list is changed.
func (t *Tables) place(list []model.Attached, places model.Places) (out []model.Attached, lacking bool) {
	if t.opts.CheckPlaces == nil {
		return list, false
	}
	out = list[:0]
	for _, a := range list {
		a.Places = places
		if len(t.opts.CheckPlaces(a)) > 0 {
			lacking = true
			continue
		}
		out = append(out, a)
	}
	return out, lacking
}

// unplaced returns an issue for each database that a policy asks for and the proxies of a Gateway do not have.
func (t *Tables) unplaced(r *incr.Reader, use policyUse) status.Report {
	gw, ok := incr.Get(r, t.Gateways, use.Gateway)
	if !ok || t.opts.CheckPlaces == nil {
		return nil
	}
	var out status.Report
	fields := t.fieldsOf(r, mergedKey{Kind: use.Policy.Kind, Own: use.Policy.Name, Parent: use.Parent})
	for _, a := range fields.Attached {
		a.Places = gw.Gear.Places
		for _, issue := range t.opts.CheckPlaces(a) {
			issue.Object, issue.Reason = use.Policy, string(gwv1.PolicyReasonInvalid)
			out = append(out, issue)
		}
	}
	return out
}

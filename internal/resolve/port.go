package resolve

import (
	"cmp"
	"slices"
	"strings"

	gwv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/sluice-gateway/sluice/internal/incr"
	"github.com/sluice-gateway/sluice/internal/model"
)

// verdict says which of the valid listeners on a port take its traffic.
type verdict struct {
	// Winners are the listeners by hostname.
	Winners   map[string]model.ListenerKey
	Conflicts map[model.ListenerKey]model.Conflict
}

// claimKey is a hostname of a port: at most one listener owns it.
type claimKey struct {
	Port     model.PortKey
	Hostname string
}

// Compare orders claims by port, then hostname.
func (k claimKey) Compare(o claimKey) int {
	return cmp.Or(k.Port.Compare(o.Port), strings.Compare(k.Hostname, o.Hostname))
}

// owner is the listener that a hostname of a port belongs to.
type owner = model.ListenerKey

func (t *Tables) addPorts(e *incr.Engine) {
	byPort := incr.NewIndex(e, "gateways by port", t.Gateways, func(_ model.Name, gw Gateway) []model.PortKey {
		var out []model.PortKey
		for i := range gw.Listeners {
			if gw.Listeners[i].Valid {
				out = append(out, gw.Listeners[i].PortKey(gw.Proxy))
			}
		}
		return out
	})
	t.verdicts = incr.NewTable(e, "verdicts", func(r *incr.Reader, key model.PortKey) (*verdict, bool) {
		var gateways []Gateway
		for _, gw := range byPort.Values(r, key) {
			gateways = append(gateways, gw)
		}
		return judge(key, gateways), true
	}, byPort)
	claims := incr.NewIndex(e, "claims", t.verdicts, func(port model.PortKey, v *verdict) []claimKey {
		var out []claimKey
		for hostname := range v.Winners {
			out = append(out, claimKey{Port: port, Hostname: hostname})
		}
		return out
	})
	t.owners = incr.NewTable(e, "owners", func(r *incr.Reader, key claimKey) (owner, bool) {
		v, ok := incr.Get(r, t.verdicts, key.Port)
		if !ok {
			return owner{}, false
		}
		winner, ok := v.Winners[key.Hostname]
		return winner, ok
	}, claims)
	t.Ports = incr.NewTable(e, "ports", func(r *incr.Reader, key model.PortKey) (model.Port, bool) {
		if _, unbound := incr.Get(r, t.Unbound, key); unbound {
			return model.Port{}, false
		}
		v, ok := incr.Get(r, t.verdicts, key)
		if !ok {
			return model.Port{}, false
		}
		port := model.Port{Key: key, Conflicts: v.Conflicts}
		for _, gw := range byPort.Values(r, key) {
			for _, l := range gw.Listeners {
				if winner, ok := v.Winners[l.Hostname]; ok && winner == l.Key {
					port.Protocol = l.Protocol
					port.Listeners = append(port.Listeners, l)
				}
			}
		}
		slices.SortFunc(port.Listeners, func(a, b model.Listener) int { return compareHosts(a.Hostname, b.Hostname) })
		return port, len(port.Listeners) > 0
	}, byPort)
}

// judge decides the conflicts on a port. Within one Gateway nobody wins: "the implementation MUST NOT pick one
// conflicting Listener as the winner" (Gateway API, GatewaySpec.Listeners). Between Gateways the older one has
// precedence, then the one whose name comes first; a listener that cannot be programmed takes no part.
func judge(port model.PortKey, gateways []Gateway) *verdict {
	slices.SortStableFunc(gateways, func(a, b Gateway) int {
		return cmp.Or(a.Created.Compare(b.Created), a.Name.Compare(b.Name))
	})
	v := &verdict{Winners: map[string]model.ListenerKey{}, Conflicts: map[model.ListenerKey]model.Conflict{}}
	var first *model.Listener
	for _, gw := range gateways {
		for _, l := range v.distinct(port, gw) {
			if first == nil {
				first = l
			}
			holder, taken := v.Winners[l.Hostname]
			switch {
			case l.Protocol != first.Protocol:
				v.conflict(l, gwv1.ListenerReasonProtocolConflict, first.Key)
			case taken:
				v.conflict(l, gwv1.ListenerReasonHostnameConflict, holder)
			default:
				v.Winners[l.Hostname] = l.Key
			}
		}
	}
	return v
}

// distinct returns the valid listeners of a Gateway on the port that do not conflict with one another.
func (v *verdict) distinct(port model.PortKey, gw Gateway) []*model.Listener {
	var own, out []*model.Listener
	for i := range gw.Listeners {
		if l := &gw.Listeners[i]; l.Valid && l.PortKey(port.Proxy) == port {
			own = append(own, l)
		}
	}
	for _, l := range own {
		rival := slices.IndexFunc(own, func(o *model.Listener) bool { return o.Protocol != l.Protocol })
		reason := gwv1.ListenerReasonProtocolConflict
		if rival < 0 {
			rival = slices.IndexFunc(own, func(o *model.Listener) bool { return o != l && o.Hostname == l.Hostname })
			reason = gwv1.ListenerReasonHostnameConflict
		}
		if rival < 0 {
			out = append(out, l)
			continue
		}
		v.conflict(l, reason, own[rival].Key)
	}
	return out
}

func (v *verdict) conflict(l *model.Listener, reason gwv1.ListenerConditionReason, with model.ListenerKey) {
	v.Conflicts[l.Key] = model.Conflict{Reason: string(reason), With: with}
}

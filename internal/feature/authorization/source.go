package authorization

import (
	"fmt"
	"net/netip"

	egv1a1 "github.com/envoyproxy/gateway/api/v1alpha1"

	"github.com/sluice-gateway/sluice/internal/feature"
	"github.com/sluice-gateway/sluice/internal/model"
)

// CheckStream refuses what is not said of the address of a client: of a connection nothing else is known.
func (Feature) CheckStream(a model.Attached) []feature.Problem {
	var c checker
	spec := a.Spec.(*egv1a1.Authorization)
	for i := range spec.Rules {
		c.path = fmt.Sprintf(".rules[%d]", i)
		if rule := &spec.Rules[i]; !addressesOnly(rule) {
			c.refuse("", "Of the connections of a TCPRoute only the client's address is known: say who the rule is for by "+
				"principal.clientCIDRs alone")
		}
	}
	return c.problems
}

// addressesOnly reports whether a rule goes by nothing but the client's address.
func addressesOnly(rule *egv1a1.AuthorizationRule) bool {
	who := rule.Principal
	return rule.CEL == nil && rule.Operation == nil && who != nil && len(who.ClientCIDRs) > 0 && who.JWT == nil &&
		len(who.Headers)+len(who.ClientIPGeoLocations) == 0
}

// verdict is a rule about addresses.
type verdict struct {
	ranges []netip.Prefix
	allow  bool
}

// Sources returns the addresses from which connections are let in. Of a rule that asks for more than addresses nobody
// knows whether it holds: it lets nobody in, and if it denies it denies all that it might be for.
//
// Connections are told apart by their filter chain, before anything is done with them. Envoy's own rbac for connections
// decides when the client has sent something: until then it would have let a server that speaks first speak.
func (Feature) Sources(a model.Attached) []netip.Prefix {
	spec := a.Spec.(*egv1a1.Authorization)
	everybody := []netip.Prefix{
		netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0),
	}
	var rules []verdict
	for i := range spec.Rules {
		rule := &spec.Rules[i]
		v := verdict{ranges: everybody, allow: rule.Action == egv1a1.AuthorizationActionAllow}
		if who := rule.Principal; who != nil && len(who.ClientCIDRs) > 0 {
			v.ranges, _ = ranges(who.ClientCIDRs) // refused by Check
		}
		if !v.allow || addressesOnly(rule) {
			rules = append(rules, v)
		}
	}
	otherwise := spec.DefaultAction != nil && *spec.DefaultAction == egv1a1.AuthorizationActionAllow
	rules = append(rules, verdict{ranges: everybody, allow: otherwise})
	var out []netip.Prefix
	for _, family := range everybody {
		out = append(out, allowed(family, rules)...)
	}
	return out
}

// allowed returns the parts of a range that rules allow, of which the first that an address is in decides; the last
// rule is about all addresses.
func allowed(within netip.Prefix, rules []verdict) []netip.Prefix {
	var near []verdict
	for _, rule := range rules {
		v := verdict{allow: rule.allow}
		for _, p := range rule.ranges {
			if !p.Overlaps(within) {
				continue
			}
			v.ranges = append(v.ranges, p)
			if p.Bits() > within.Bits() {
				continue
			}
			switch {
			case len(near) > 0:
				near = append(near, verdict{ranges: []netip.Prefix{p}, allow: rule.allow})
				return halves(within, near)
			case rule.allow:
				return []netip.Prefix{within}
			default:
				return nil
			}
		}
		if len(v.ranges) > 0 {
			near = append(near, v)
		}
	}
	return nil
}

// halves is allowed for a range of which rules are about parts.
func halves(within netip.Prefix, rules []verdict) []netip.Prefix {
	low := netip.PrefixFrom(within.Addr(), within.Bits()+1)
	high := netip.PrefixFrom(withBit(within.Addr(), within.Bits()), within.Bits()+1)
	out := append(allowed(low, rules), allowed(high, rules)...)
	if len(out) == 2 && out[0] == low && out[1] == high {
		return []netip.Prefix{within}
	}
	return out
}

// withBit returns the address with the bit of an index set, counted from the left.
func withBit(ip netip.Addr, index int) netip.Addr {
	bytes := ip.AsSlice()
	bytes[index/8] |= 0x80 >> (index % 8)
	out, _ := netip.AddrFromSlice(bytes) // as long as it was
	return out
}

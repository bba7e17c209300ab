package model

import (
	"net/netip"
	"slices"
)

// own are the addresses that lead to whoever connects to them: of IPv4 "this" network (RFC 1122), loopback, link-local
// with most metadata services, multicast and broadcast, and the metadata services of clouds that are elsewhere
// (Alibaba, Azure and Oracle); of IPv6 the same, with that of AWS, which is inside of what is private.
var own = func() []netip.Prefix {
	var out []netip.Prefix
	for _, text := range []string{
		"0.0.0.0/8", "100.100.100.200/32", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16", "192.0.0.192/32",
		"224.0.0.0/4", "255.255.255.255/32", "::/127", "fd00:ec2::254/128", "fe80::/10", "ff00::/8",
	} {
		out = append(out, netip.MustParsePrefix(text))
	}
	return out
}()

// translations are the prefixes of IPv6 addresses that lead to the IPv4 address in their last 32 bits: mapped ones (RFC
// 4291), and those behind which IPv6-only networks reach one (RFC 6052).
var translations = []netip.Prefix{netip.MustParsePrefix("::ffff:0:0/96"), netip.MustParsePrefix("64:ff9b::/96")}

// OwnAddress reports whether whoever connects to an address gets to its own machine or link, or to the metadata service
// of its cloud, which tells credentials to everybody on the machine: nothing that people who are not trusted may name.
// An address that is no single machine's is one as well.
func OwnAddress(ip netip.Addr) bool {
	ip = ip.WithZone("")
	return !ip.IsValid() || slices.ContainsFunc(ownRanges, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// OwnRanges returns the ranges of the addresses of [OwnAddress].
func OwnRanges() []netip.Prefix { return slices.Clone(ownRanges) }

// ownRanges are the ranges of own, and of the addresses that lead to one of these.
var ownRanges = func() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range own {
		out = append(out, p)
		if !p.Addr().Is4() {
			continue
		}
		last := p.Addr().As4()
		for _, t := range translations {
			full := t.Addr().As16()
			copy(full[12:], last[:])
			out = append(out, netip.PrefixFrom(netip.AddrFrom16(full), t.Bits()+p.Bits()))
		}
	}
	return out
}()

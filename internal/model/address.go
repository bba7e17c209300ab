package model

import (
	"net/netip"
	"slices"
)

// metadataServices are the addresses of the metadata services of clouds that are not link-local: those of AWS over IPv6
// (inside of what is private), Alibaba, Azure and Oracle.
var metadataServices = []netip.Addr{
	netip.MustParseAddr("fd00:ec2::254"), netip.MustParseAddr("100.100.100.200"), netip.MustParseAddr("168.63.129.16"),
	netip.MustParseAddr("192.0.0.192"),
}

// translated is the prefix behind which IPv6-only networks reach an IPv4 address (RFC 6052).
var translated = netip.MustParsePrefix("64:ff9b::/96")

// OwnAddress reports whether whoever connects to an address gets to its own machine or link, or to the metadata service
// of its cloud, which tells credentials to everybody on the machine: nothing that people who are not trusted may name.
// An address that is no single machine's is one as well.
func OwnAddress(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() && translated.Contains(ip) {
		b := ip.As16()
		ip = netip.AddrFrom4([4]byte(b[12:]))
	}
	return !ip.IsValid() || ip.IsLoopback() || ip.IsUnspecified() || ip.IsLinkLocalUnicast() || ip.IsMulticast() ||
		slices.Contains(metadataServices, ip)
}

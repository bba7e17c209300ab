package model_test

import (
	"net/netip"
	"testing"

	"github.com/sluice-gateway/sluice/internal/model"
)

// TestOwnAddress: an address is one's own whichever way it is written.
func TestOwnAddress(t *testing.T) {
	for text, want := range map[string]bool{
		"127.0.0.1": true, "127.8.9.1": true, "0.0.0.0": true, "169.254.169.254": true, "224.0.0.1": true,
		"100.100.100.200": true, "168.63.129.16": true, "192.0.0.192": true, "255.255.255.255": true, "::1": true,
		"::": true, "fe80::1%eth0": true, "fd00:ec2::254": true, "ff02::1": true, "::ffff:127.0.0.1": true,
		"64:ff9b::169.254.169.254": true, "64:ff9b::192.0.2.1": false,
		"10.0.0.1": false, "192.0.2.1": false, "100.100.100.201": false, "2001:db8::1": false, "fd00::2": false,
		"::ffff:10.0.0.1": false, "::2": false,
	} {
		if got := model.OwnAddress(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is one's own: %v, want %v", text, got, want)
		}
	}
	if !model.OwnAddress(netip.Addr{}) {
		t.Error("no address is nobody else's")
	}
}

package gateway

import (
	"net/netip"
	"testing"
)

// S13: which addresses an SDP may send the gateway to.
func TestMSRPConnectsToAllowedNetworksOnly(t *testing.T) {
	loopback, private, public := netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("10.1.2.3"), netip.MustParseAddr("203.0.113.9")
	own := []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	for _, c := range []struct {
		networks []netip.Prefix
		core     netip.Addr
		peer     string
		want     bool
	}{
		{nil, public, "8.8.8.8", true},
		{nil, public, "64:ff9b::10.0.0.1", false}, // behind NAT64, and 6to4
		{nil, public, "2002:a00:1::1", false},
		{nil, private, "::10.0.0.1", false},
		{nil, public, "127.0.0.1", false},
		{nil, public, "10.0.0.1", false},
		{nil, public, "::1", false},
		{nil, public, "::ffff:127.0.0.1", false},
		{nil, public, "100.64.1.1", false},
		{nil, public, "0.0.0.0", false},
		{nil, loopback, "127.0.0.7", true},
		{nil, loopback, "10.0.0.1", false},
		{nil, private, "10.0.0.1", true},
		{nil, private, "127.0.0.1", false},
		{nil, private, "169.254.169.254", false},
		{nil, loopback, "fe80::1", false},
		{own, loopback, "192.168.7.9", true},
		{own, loopback, "127.0.0.1", false},
		{[]netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}, public, "169.254.169.254", false},
	} {
		if got := newPeerPolicy(c.networks, c.core).allows(netip.MustParseAddr(c.peer)); got != c.want {
			t.Errorf("networks %v, core %v: allows(%s) = %v, want %v", c.networks, c.core, c.peer, got, c.want)
		}
	}
}

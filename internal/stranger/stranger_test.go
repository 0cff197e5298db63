package stranger

import (
	"net/netip"
	"testing"
)

// F54, S13: whom a file's address may lead to.
func TestPeersArePublicOrListed(t *testing.T) {
	listed := Peers{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("0.0.0.0/0")}
	for _, c := range []struct {
		addr           string
		public, listed bool
	}{
		{"8.8.8.8", true, true}, {"2606:4700::1111", true, true}, {"::ffff:8.8.8.8", true, true},
		{"169.254.169.254", false, false}, {"::ffff:169.254.169.254", false, false}, {"fe80::1", false, false}, {"fe80::1%lo", false, false}, {"224.0.0.1", false, false}, {"ff02::1", false, false}, {"0.0.0.0", false, false}, {"::", false, false},
		{"127.0.0.1", false, true}, {"::ffff:127.0.0.1", false, true}, {"10.1.2.3", false, true}, {"192.168.0.1", false, true}, {"172.16.0.1", false, true}, {"100.64.0.1", false, true}, {"255.255.255.255", false, true}, {"198.18.0.1", false, true}, {"0.1.2.3", false, true},
		{"::1", false, false}, {"fd00::1", false, false}, {"64:ff9b::a9fe:a9fe", false, false}, {"2002:a9fe:a9fe::1", false, false}, {"::169.254.169.254", false, false}, {"2001:db8::1", false, false}, {"2001::1", false, false}, {"fec0::1", false, false},
	} {
		a := netip.MustParseAddr(c.addr)
		if got := (Peers)(nil).Allows(a); got != c.public {
			t.Errorf("without a list, %s is allowed: %v", a, got)
		}
		if got := listed.Allows(a); got != c.listed {
			t.Errorf("with a list, %s is allowed: %v", a, got)
		}
	}
	if listed.Allows(netip.Addr{}) {
		t.Error("no address at all is allowed")
	}
}

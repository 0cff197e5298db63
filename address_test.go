package latchkey

import (
	"strings"
	"testing"
)

func TestAddressesAreReadIntoOneForm(t *testing.T) {
	for _, c := range []struct{ in, identity, whole string }{
		{"sip:a@cc.com", "sip:a@cc.com", "sip:a@cc.com"},
		{"SIP:a@CC.com:5060;Transport=TCP", "sip:a@cc.com", "sip:a@cc.com:5060;transport=tcp"},
		{"sips:a%40x@cc.com", "sips:a%40x@cc.com", "sips:a%40x@cc.com"},
		{"sip:%61@cc.com", "sip:a@cc.com", "sip:a@cc.com"},
		{"tel:+86-138-0000-0000", "tel:+8613800000000", "tel:+8613800000000"},
		{"sip:+8613800000000@cc.com;user=phone", "sip:+8613800000000@cc.com", "sip:+8613800000000@cc.com;user=phone"},
		{"sip:cc.com", "sip:cc.com", "sip:cc.com"},
		{"sip:a@[2001:DB8::1]:5070", "sip:a@[2001:db8::1]", "sip:a@[2001:db8::1]:5070"},
	} {
		a, err := ParseAddress(c.in)
		if err != nil || a.Identity() != c.identity || a.String() != c.whole {
			t.Errorf("ParseAddress(%q) = %q, %q, %v, want %q, %q", c.in, a.Identity(), a.String(), err, c.identity, c.whole)
		}
	}
}

// S7: an address can't carry a header, a next hop or an end of line.
func TestAddressesThatSteerAreRefused(t *testing.T) {
	for _, in := range []string{
		"", "a@cc.com", "sip:", "http://cc.com", "sip:a@", "sip:@cc.com", "sip:a@cc.com?Route=x", "sip:a@cc.com;maddr=10.0.0.1", "sip:a@cc.com;lr",
		"sip:a@cc.com\r\nVia: x", "sip:a:secret@cc.com", "sip:a%0d@cc.com", "sip:a%zz@cc.com", "sip:a@cc.com:0", "sip:a@cc.com:99999", "sip:a@c_c.com",
		"<sip:a@cc.com>", "sip:a@[::1", "sip:a@[fe80::1%25eth0]", "tel:911", "sip:a@cc.com;", "sip:a@b@cc.com", "sip:a@cc.com," + "sip:b@cc.com",
		"sip:" + strings.Repeat("a", 600) + "@cc.com",
	} {
		if a, err := ParseAddress(in); err == nil {
			t.Errorf("ParseAddress(%q) = %v, want an error", in, a)
		}
	}
}

func TestRelationNamesItsInviterOnly(t *testing.T) {
	rel := Relation{Inviter: "sip:a@cc.com", InviterTel: "+8613800000001"}
	for address, want := range map[string]bool{
		"sip:a@cc.com": true, "sip:a@cc.com;gr=x": true, "sip:a@cc.com:5060": true, "tel:+8613800000001": true,
		"sip:+8613800000001@cc.com;user=phone": true,
		"sip:A@cc.com":                         false, "sip:a@cc.org": false, "tel:+8613800000002": false, "sip:+8613800000001@evil.example;user=phone": false, "sips:a@cc.com": false,
	} {
		if got := rel.Names(MustAddress(address)); got != want {
			t.Errorf("Names(%s) = %v, want %v", address, got, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"sip:a@cc.com", "tel:+8613800000000;ext=1", "sip:[::1]:5060;x=y", "sips:%61;b@h.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := ParseAddress(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(a.String(), "\r\n\x00 <>\"") {
			t.Fatalf("ParseAddress(%q) lets %q through", s, a)
		}
		again, err := ParseAddress(a.String())
		if err != nil || again != a {
			t.Fatalf("ParseAddress(%q) = %q, read again: %q, %v", s, a, again, err)
		}
	})
}

package latchkey

import (
	"strings"
	"testing"
)

func TestIdentifiersThatReachSomebody(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"b@cc.com", "b@cc.com"},
		{"B.Other+tag@CC.Com", "b.other+tag@cc.com"},
		{"+8613800000000", "+8613800000000"},
		{"tel:+86-138 0000(0000)", "+8613800000000"},
		{"mailto:b@cc.com", "b@cc.com"},
		{"+b@cc.com", "+b@cc.com"},
		{"b_at_x@cc.com", "b_at_x@cc.com"},
	} {
		id, err := ParseIdentifier(c.in)
		if err != nil || id.Value != c.want {
			t.Errorf("ParseIdentifier(%q) = %v, %v, want %q", c.in, id, err, c.want)
		}
	}
}

// F17: what would break a mail header, a SIP URI or a mailbox is refused.
func TestIdentifiersThatReachNobodyAreRefused(t *testing.T) {
	for _, in := range []string{
		"", "@", "b@", "@cc.com", "b", "sip:evil", "b@cc.com\r\nBcc: x@y", "b@cc..com", "b@-cc.com", "b c@cc.com", "b@cc.com, c@cc.com",
		"Bob <b@cc.com>", `"b"@cc.com`, "b@c\x00c.com", strings.Repeat("a", 400) + "@cc.com", "b@" + strings.Repeat("a.", 130) + "com",
		"+", "+1", "+01234567", "+1234567890123456", "+12345x", "12345678", "tel:110",
	} {
		id, err := ParseIdentifier(in)
		if err == nil {
			t.Errorf("ParseIdentifier(%q) = %v, want an error", in, id)
		} else if !Is(err, KindBadIdentifier) {
			t.Errorf("ParseIdentifier(%q): kind %v, want %v", in, KindOf(err), KindBadIdentifier)
		}
	}
}

func FuzzParseIdentifier(f *testing.F) {
	for _, s := range []string{"b@cc.com", "+8613800000000", "tel:+1-555-000", "x@[1.2.3.4]", "ü@bücher.example"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseIdentifier(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(id.Value, "\r\n\x00 <>\"") {
			t.Fatalf("ParseIdentifier(%q) lets %q through", s, id.Value)
		}
		if again, err := ParseIdentifier(id.Value); err != nil || again != id {
			t.Fatalf("ParseIdentifier(%q) = %v, read again: %v, %v", s, id, again, err)
		}
	})
}

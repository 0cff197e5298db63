package guest

import (
	"context"
	"strings"
	"testing"

	"latchkey"
)

// nobody is a directory without subscribers; somebody has some.
type subscribers map[string]bool

func (s subscribers) Find(context.Context, latchkey.Identifier) (latchkey.Subscriber, error) {
	return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
}

func (s subscribers) FindURI(_ context.Context, a latchkey.Address) (latchkey.Subscriber, error) {
	if s[a.Identity()] {
		return latchkey.Subscriber{URI: a}, nil
	}
	return latchkey.Subscriber{}, latchkey.Errorf(latchkey.KindNotFound, "")
}

// counter is a store of which only the series is used.
type counter struct {
	Store
	n int64
}

func (c *counter) NextSerial(context.Context, string) (int64, error) { c.n++; return c.n, nil }

func deskFor(scheme Scheme, taken ...string) *Desk {
	s := subscribers{}
	for _, uri := range taken {
		s[uri] = true
	}
	return New(&counter{}, s, nil, nil, Options{Domain: "guest.example", PublicURL: "http://x", Scheme: scheme})
}

func identifier(t testing.TB, s string) latchkey.Identifier {
	t.Helper()
	id, err := latchkey.ParseIdentifier(s)
	if err != nil {
		t.Fatalf("ParseIdentifier(%q) = %v", s, err)
	}
	return id
}

// R9: the account is made as the scheme says, odd mailboxes included.
func TestAccountOfEachScheme(t *testing.T) {
	long := strings.Repeat("ü", 30) + "@" + strings.Repeat("ä.", 60) + "de" // too long in percent-encoding
	for _, c := range []struct {
		scheme Scheme
		id     string
		want   latchkey.AccountID
	}{
		{Mapped, "b@cc.com", "sip:b_at_cc.com@guest.example"},
		{Mapped, "B.B@CC.com", "sip:b.b_at_cc.com@guest.example"},
		{Mapped, "+8613800000000", "sip:+8613800000000@guest.example"},
		{Mapped, "a_at_b@cc.com", "sip:a_at_b_at_cc.com@guest.example"},
		{Mapped, "a+tag@cc.com", "sip:a+tag_at_cc.com@guest.example"},
		{Mapped, "o'neil@cc.com", "sip:o'neil_at_cc.com@guest.example"},
		{Mapped, "a%41@cc.com", "sip:a%2541_at_cc.com@guest.example"},
		{Mapped, "a#b@cc.com", "sip:a%23b_at_cc.com@guest.example"},
		{Mapped, "ü@cc.com", "sip:%C3%BC_at_cc.com@guest.example"},
		{Mapped, "a?b@cc.com", "sip:g1@guest.example"}, // a ? ends the user part for some parsers
		{Mapped, long, "sip:g1@guest.example"},
		{Identical, "b@cc.com", "sip:b@cc.com"},
		{Identical, "+8613800000000", "sip:+8613800000000@guest.example"},
		{Identical, "+8613800000000@guest.example", "sip:+8613800000000_at_guest.example@guest.example"},
		{Identical, "g1@GUEST.example", "sip:g1_at_guest.example@guest.example"},
		{Identical, "b@bücher.example", "sip:b_at_b%C3%BCcher.example@guest.example"},
		{Serial, "b@cc.com", "sip:g1@guest.example"},
		{Serial, "+8613800000000", "sip:g1@guest.example"},
	} {
		got, _, err := deskFor(c.scheme).allot(t.Context(), identifier(t, c.id))
		if err != nil || got != c.want {
			t.Errorf("%s of %s = %s, %v, want %s", c.scheme, c.id, got, err, c.want)
		}
		if again, err := latchkey.ParseAddress(string(got)); err != nil || again.Identity() != string(got) {
			t.Errorf("%s does not parse back to itself: %s, %v", got, again, err)
		}
	}
}

// R9: an account that a subscriber has is not given away.
func TestSubscribersAddressIsNotAllotted(t *testing.T) {
	for scheme, taken := range map[Scheme][]string{
		Mapped:    {"sip:b_at_cc.com@guest.example", "sip:g1@guest.example"},
		Identical: {"sip:b@cc.com", "sip:g1@guest.example"},
		Serial:    {"sip:g1@guest.example"},
	} {
		if got, _, err := deskFor(scheme, taken...).allot(t.Context(), identifier(t, "b@cc.com")); err != nil || got != "sip:g2@guest.example" {
			t.Errorf("%s: %s, %v, want the second serial", scheme, got, err)
		}
	}
}

// R9: no two identifiers get the same account, under no scheme, and each account parses back to itself.
func FuzzAccountsAreUnique(f *testing.F) {
	for _, pair := range [][2]string{
		{"b@cc.com", "B@CC.COM"}, {"a_at_b@cc.com", "a@b_at_cc.com"}, {"a_at_b@cc.com", "a@b.cc.com"}, {"+8613800000000", "+8613800000000@guest.example"},
		{"g1@guest.example", "g1_at_guest.example@guest.example"}, {"x_at_guest.example@guest.example", "x@guest.example"},
		{"a%40b@cc.com", "a_at_b@cc.com"}, {"a%2Bb@cc.com", "a+b@cc.com"}, {"ü@cc.com", "%C3%BC@cc.com"}, {"b@bücher.de", "b@xn--bcher-kva.de"},
		{"b@cc.com", "b@cc.co"}, {"+8613800000000", "+861380000000"}, {"k@x.de", "\u212a@x.de"}, {"a/b@cc.com", "a=b@cc.com"}, {"a?b@cc.com", "a@cc.com"},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		first, err := latchkey.ParseIdentifier(a)
		if err != nil {
			return
		}
		second, err := latchkey.ParseIdentifier(b)
		if err != nil {
			return
		}
		for _, scheme := range []Scheme{Mapped, Identical, Serial} {
			d := deskFor(scheme) // one desk: serial numbers go on
			x, _, err := d.allot(t.Context(), first)
			if err != nil {
				t.Fatalf("%s of %q = %v", scheme, a, err)
			}
			y, _, err := d.allot(t.Context(), second)
			if err != nil {
				t.Fatalf("%s of %q = %v", scheme, b, err)
			}
			if x == y && first != second {
				t.Errorf("%s: %q and %q both get %s", scheme, a, b, x)
			}
			if p, err := latchkey.ParseAddress(string(x)); err != nil || p.Identity() != string(x) || strings.ContainsAny(string(x), " \r\n<>\"") {
				t.Errorf("%s of %q is %q, which reads back as %s, %v", scheme, a, x, p, err)
			}
			if accountOf(string(x)) != x || accountOf(strings.TrimPrefix(string(x), "sip:")) != x {
				t.Errorf("a guest can't log in as %q", x)
			}
		}
	})
}

func TestOptionsThatCannotWorkAreNamed(t *testing.T) {
	good := Options{Domain: "guest.example", PublicURL: "https://x"}
	if err := good.Validate(); err != nil {
		t.Errorf("Validate = %v", err)
	}
	for word, o := range map[string]Options{
		"domain":           {Domain: "a b", PublicURL: good.PublicURL},
		"domain: \"x:5060": {Domain: "x:5060", PublicURL: good.PublicURL},
		"public-url":       {Domain: good.Domain, PublicURL: "ftp://x"},
		"public-url: \"ht": {Domain: good.Domain, PublicURL: "http://x/?a=b"},
		"account-scheme":   {Domain: good.Domain, PublicURL: good.PublicURL, Scheme: "x"},
		"link-style":       {Domain: good.Domain, PublicURL: good.PublicURL, LinkStyle: "x"},
		"account-lifetime": {Domain: good.Domain, PublicURL: good.PublicURL, Lifetime: -1},
	} {
		if err := o.Validate(); err == nil || !strings.HasPrefix(err.Error(), word) {
			t.Errorf("Validate = %v, want it to begin with %q", err, word)
		}
	}
}

// R9, F10: under the scheme directory the directory's account is taken, and its password kept for SIP until the account is gone.
func TestAllottedAccountIsTaken(t *testing.T) {
	b, c := identifier(t, "b@cc.com"), identifier(t, "c@cc.com")
	d := deskFor(Allotted)
	d.opt.Allot = func(_ context.Context, id latchkey.Identifier) (latchkey.AccountID, latchkey.Secret, error) {
		if id == c {
			return "", "", latchkey.Errorf(latchkey.KindDirectoryTimeout, "")
		}
		return "sip:x1@guest.example", "of " + latchkey.Secret(id.Value), nil
	}
	if got, password, err := d.allot(t.Context(), b); err != nil || got != "sip:x1@guest.example" || password != "of b@cc.com" {
		t.Errorf("allot = %s, %v", got, err)
	}
	if _, _, err := d.allot(t.Context(), c); !latchkey.Is(err, latchkey.KindDirectoryTimeout) {
		t.Errorf("allot without an answer = %v, want the directory's failure", err)
	}
	if err := (Options{Domain: "x", PublicURL: "http://x", Scheme: Allotted}).Validate(); err == nil {
		t.Error("Validate without Allot = nil")
	}
}

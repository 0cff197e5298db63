package msrp_test

import (
	"strings"
	"testing"

	"latchkey/msrp"
)

// B4.01: RFC 4975 §6.1.
func TestURIsAreComparedByTheirParts(t *testing.T) {
	const base = "msrp://host.example.com:8888/9di4eae923wzd;tcp"
	for _, c := range []struct {
		other string
		equal bool
		why   string
	}{
		{base, true, "the same"},
		{"MSRP://HOST.Example.com:8888/9di4eae923wzd;TCP", true, "scheme, host and transport have no case"},
		{"msrp://alice@host.example.com:8888/9di4eae923wzd;tcp", true, "userinfo does not count"},
		{"msrp://host.example.com:8888/9di4eae923wzd;tcp;x=y", true, "further parameters don't count"},
		{"msrps://host.example.com:8888/9di4eae923wzd;tcp", false, "scheme"},
		{"msrp://other.example.com:8888/9di4eae923wzd;tcp", false, "host"},
		{"msrp://host.example.com:8889/9di4eae923wzd;tcp", false, "port"},
		{"msrp://host.example.com/9di4eae923wzd;tcp", false, "a missing port equals no explicit one"},
		{"msrp://host.example.com:8888/9DI4eae923wzd;tcp", false, "session ids have case"},
		{"msrp://host.example.com:8888/9di4eae923wz;tcp", false, "session id"},
		{"msrp://host.example.com:8888;tcp", false, "no session id"},
		{"msrp://host.example.com:8888/9di4eae923wzd;ws", false, "transport"},
	} {
		a, b := uri(t, base), uri(t, c.other)
		if a.Equal(b) != c.equal || b.Equal(a) != c.equal {
			t.Errorf("%s: Equal(%s) = %v, want %v", c.why, c.other, !c.equal, c.equal)
		}
	}
	if a, b := uri(t, "msrp://[::1]:2855/x;tcp"), uri(t, "msrp://[0:0::0:1]:2855/x;tcp"); !a.Equal(b) {
		t.Error("two ways to write one IPv6 address differ")
	}
	if a, b := uri(t, "msrp://[::1]:2855/x;tcp"), uri(t, "msrp://[::2]:2855/x;tcp"); a.Equal(b) {
		t.Error("two IPv6 addresses are equal")
	}
	// The default port is no explicit one, even where it is the same (§6.1).
	if a, b := uri(t, "msrp://a.example:2855/x;tcp"), uri(t, "msrp://a.example/x;tcp"); a.Equal(b) {
		t.Error("an explicit port equals a missing one")
	}
}

// RFC 4975 §9.
func TestURIsAreReadByTheGrammar(t *testing.T) {
	for in, want := range map[string]msrp.URI{
		"msrp://a.example:2855/abc;tcp":           {Host: "a.example", Port: 2855, SessionID: "abc", Transport: "tcp"},
		"msrps://a.example/abc;tcp":               {Secure: true, Host: "a.example", SessionID: "abc", Transport: "tcp"},
		"msrp://a.example;tcp":                    {Host: "a.example", Transport: "tcp"},
		"msrp://[2001:db8::1]:9/a;tcp":            {Host: "[2001:db8::1]", Port: 9, SessionID: "a", Transport: "tcp"},
		"msrp://[2001:db8::1]/a;tcp":              {Host: "[2001:db8::1]", SessionID: "a", Transport: "tcp"},
		"msrp://u;v=1@a.example:1/s;ws;p;q=r":     {User: "u;v=1", Host: "a.example", Port: 1, SessionID: "s", Transport: "ws", Params: ";p;q=r"},
		"msrp://a.example:2855/a/b+c=d.~_-/@;tcp": {Host: "a.example", Port: 2855, SessionID: "a/b+c=d.~_-/@", Transport: "tcp"},
	} {
		got, err := msrp.ParseURI(in)
		if err != nil || got != want || got.String() != in {
			t.Errorf("ParseURI(%s) = %+v, %v, want %+v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "msrp:", "msrp://", "msrp://;tcp", "msrp:///x;tcp", "sip:a@b", "http://a/x;tcp", "msrp://a/x", "msrp://a/x;", "msrp://a/;tcp", "msrp://a:/x;tcp",
		"msrp://a:0/x;tcp", "msrp://a:65536/x;tcp", "msrp://a:-1/x;tcp", "msrp://a:b/x;tcp", "msrp://a b/x;tcp", "msrp://a/x;t/p", "msrp://[::1/x;tcp", "msrp://[]/x;tcp",
		"msrp://[::1]9/x;tcp", "msrp://a:1:2/x;tcp", "msrp://@a/x;tcp", "msrp://a/x\r\n;tcp", "msrp://a/\x00;tcp", "msrp://ä/x;tcp", "msrp://a/" + strings.Repeat("x", 1024) + ";tcp",
	} {
		if u, err := msrp.ParseURI(in); err == nil {
			t.Errorf("ParseURI(%.60q) = %+v, want an error", in, u)
		}
	}
}

func TestPathsHaveOneToSixteenHops(t *testing.T) {
	hop := "msrp://a.example:1/x;tcp"
	for n, ok := range map[int]bool{0: false, 1: true, 2: true, 16: true, 17: false} {
		p, err := msrp.ParsePath(strings.Join(strings.Fields(strings.Repeat(hop+" ", n)), " "))
		if (err == nil) != ok || ok && (len(p) != n || p.String() != strings.TrimSpace(strings.Repeat(hop+" ", n))) {
			t.Errorf("a path of %d hops: %v, %v", n, p, err)
		}
	}
}

// B4.02: RFC 4975 §14.1 asks for 80 bits. Each of 128 bits is set in about half of the ids.
func TestSessionIDsCantBeGuessed(t *testing.T) {
	const n = 2000
	seen, ones := map[string]bool{}, [128]int{}
	for range n {
		id := msrp.NewSessionID()
		if len(id) != 32 || seen[id] {
			t.Fatalf("id %q: %d characters, seen %v", id, len(id), seen[id])
		}
		seen[id] = true
		for i, c := range id {
			v := strings.IndexRune("0123456789abcdef", c)
			for b := range 4 {
				ones[4*i+b] += v >> b & 1
			}
		}
	}
	for i, c := range ones {
		if c < n*2/5 || c > n*3/5 { // nine standard deviations
			t.Errorf("bit %d is set in %d of %d ids", i, c, n)
		}
	}
}

// FuzzURI: what is read is written and read again the same, in one line.
func FuzzURI(f *testing.F) {
	for _, s := range []string{"msrp://a.example:2855/abc;tcp", "msrps://u@[::1]:9/a/b;ws;p=q", "msrp://a;tcp", "MSRP://A:1/@;TCP;", "msrp://u;x@a/y;tcp"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		u, err := msrp.ParseURI(in)
		if err != nil {
			return
		}
		again, err := msrp.ParseURI(u.String())
		if err != nil || again != u || !again.Equal(u) {
			t.Errorf("%q is %+v, then %+v, %v", in, u, again, err)
		}
		if strings.ContainsAny(u.String(), "\r\n \x00") {
			t.Errorf("%q can break out of its line", u.String())
		}
	})
}

package msrp

import (
	"strings"
	"testing"
)

// B4.20: the examples of RFC 7616 §3.9.1, which RFC 4976 §9.1 follows in all that counts here.
func TestDigestIsThatOfTheExamples(t *testing.T) {
	for algorithm, want := range map[string]string{
		"MD5":     "8ca523f5e9506fed4657c9700eebdbec",
		"SHA-256": "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
	} {
		c, err := parseChallenge(`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=` + algorithm +
			`, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`)
		if err != nil {
			t.Fatalf("%s: %v", algorithm, err)
		}
		p := c.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", 1)
		for _, part := range []string{
			`response="` + want + `"`, `algorithm=` + algorithm, `qop=auth`, `nc=00000001`, `opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`, `username="Mufasa"`,
			`uri="/dir/index.html"`, `realm="http-auth@example.org"`,
		} {
			if !strings.Contains(p.field.Value, part) {
				t.Errorf("%s: %s has no %s", algorithm, p.field.Value, part)
			}
		}
	}
}

// B4.20, S8: which challenges are answered, and that none can break out of its quotes.
func TestOnlySoundChallengesAreAnswered(t *testing.T) {
	for _, c := range []struct{ text, want string }{ // want: realm|nonce|rank, or a part of the error after !
		{`Digest realm="r", nonce="n", qop="auth"`, "r|n|0"},
		{`digest Realm=r , NONCE = n,qop=auth,stale=TRUE, domain="a b"`, "r|n|0"},
		{`Digest realm="", nonce="n"`, "|n|0"},
		{`Digest realm="a\"b\\c", nonce="n", algorithm="SHA-256"`, `a"b\c|n|1`},
		{`Digest ,realm="r",, nonce="n",`, "r|n|0"},
		{`Basic realm="r"`, "!scheme"},
		{`Digest`, "!without realm"},
		{`Digest nonce="n"`, "!without realm"},
		{`Digest realm="r", nonce=""`, "!without realm or nonce"},
		{`Digest realm="r", nonce="n", algorithm=MD5-sess`, "!algorithm"},
		{`Digest realm="r", nonce="n", qop="auth-int"`, "!qop"},
		{`Digest realm="r", nonce="n`, "!quotes"},
		{`Digest realm="r" nonce="n"`, "!behind"},
		{`Digest realm="r", realm="s", nonce="n"`, "!twice"},
		{`Digest realm=, nonce="n"`, "!no value"},
		{`Digest realm`, "!without value"},
		{`Digest realm="r", nonce="` + strings.Repeat("n", 1025) + `"`, "!too long"},
		{`Digest realm="r", nonce="n"` + strings.Repeat(`, a=b`, 40), "!twice"},
	} {
		got, err := parseChallenge(c.text)
		if why, ok := strings.CutPrefix(c.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), why) {
				t.Errorf("%s = %v, want an error with %q", c.text, err, why)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.text, err)
		} else if is := got.realm + "|" + got.nonce + "|" + string(rune('0'+got.rank)); is != c.want {
			t.Errorf("%s = %s, want %s", c.text, is, c.want)
		}
	}
}

// FuzzChallenge: whatever a relay writes (B4.20), an answer to it is one line of text, and reading that gives the challenge's own
// realm, nonce and opaque again.
func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="relay.example", nonce="abc", qop="auth,auth-int", opaque="x", algorithm=SHA-256, stale=true`)
	f.Add(`Digest realm="a\"b\\", nonce="\n", domain="x"`)
	f.Add(`digest ,realm=r , NONCE = n,,algorithm="md5",opaque=""`)
	f.Add(`Basic realm="x"`)
	f.Add(`Digest realm="r" nonce`)
	f.Fuzz(func(t *testing.T, s string) {
		if !isText(s) {
			return // which the head's reader refuses
		}
		c, err := parseChallenge(s)
		if err != nil {
			return
		}
		p := c.answer("alice", `pass"word`, AUTH, "msrp://relay.example:2855;tcp", "cn", 1)
		if !isText(p.field.Value) || len(p.field.Value) > 2*(len(s)+200)+300 {
			t.Fatalf("%q: answer %q", s, p.field.Value)
		}
		rest, ok := strings.CutPrefix(p.field.Value, "Digest ")
		back, err := parseParams(rest)
		if !ok || err != nil {
			t.Fatalf("%q: answer %q: %v", s, p.field.Value, err)
		}
		opaque, there := back["opaque"]
		if back["realm"] != c.realm || back["nonce"] != c.nonce || there != (c.opaque != nil) || there && opaque != *c.opaque || back["username"] != "alice" || back["qop"] != "auth" {
			t.Fatalf("%q: answer %q", s, p.field.Value)
		}
	})
}

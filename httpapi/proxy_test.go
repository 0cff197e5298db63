package httpapi

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"latchkey"
	"latchkey/internal/limit"
)

// trusting is a facade behind proxies in 192.0.2.0/28 and one IPv6 network.
func trusting(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, Options{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/28"), netip.MustParsePrefix("2001:db8:1::/64")}, Guard: limit.NewGuard(limit.Limits{Place: 3})})
	alice := latchkey.Subscriber{URI: latchkey.MustAddress(aliceURI), Name: "Alice", Tel: aliceTel, State: latchkey.Active}
	w.desk.b[latchkey.Identifier{Kind: latchkey.Mail, Value: "a@cc.com"}] = alice
	return w
}

// each makes one header field of each value.
func each(name string, values ...string) change {
	return func(r *http.Request) {
		for _, v := range values {
			r.Header.Add(name, v)
		}
	}
}

func cameFrom(addr string) change { return func(r *http.Request) { r.RemoteAddr = addr } }

// R2: a trusted proxy names the inviter, quoted or not, by one of their identities; a password is not asked for.
func TestTrustedProxyNamesTheInviter(t *testing.T) {
	for _, values := range [][]string{
		{aliceURI}, {`"` + aliceURI + `"`}, {"<sip:a@CC.com;user=phone>"}, {`"sip:a-private@cc.com", "` + aliceURI + `"`}, {`"tel:+8613800000009"`, `"` + aliceURI + `" , `},
	} {
		w := trusting(t)
		w.do("POST", "/rcsgw/invitee/user", `{"email":"b@cc.com"}`, each(assertedHeader, values...)).wants(201)
		w.do("GET", "/rcsgw/invitee/user", "", each(assertedHeader, values...)).wants(200)
		w.do("GET", "/rcsgw/user/r@cc.com", "", each(assertedHeader, values...)).wants(200)
		w.do("DELETE", "/rcsgw/invitee/user", "", each(assertedHeader, values...), cameFrom("[2001:db8:1::7]:80")).wants(204)
		if got := w.desk.noted(); !strings.Contains(got[0], aliceURI) || !strings.Contains(got[len(got)-1], aliceURI) {
			t.Errorf("%q: %q, want all of it by Alice", values, got)
		}
	}
}

// S11: from anybody else the field is nothing, and no identity opens the guests' half.
func TestAssertedIdentityOfStrangersIsIgnored(t *testing.T) {
	w := trusting(t)
	for _, addr := range []string{"192.0.2.16:80", "203.0.113.1:80", "[2001:db8:2::1]:80", "nowhere"} {
		w.do("POST", "/rcsgw/invitee/user", `{"email":"b@cc.com"}`, each(assertedHeader, aliceURI), cameFrom(addr), each("X-Forwarded-For", "192.0.2.1")).problem(latchkey.KindUnauthorized)
	}
	open := newWorld(t, Options{})
	open.desk.b = w.desk.b
	open.do("DELETE", "/rcsgw/invitee/user", "", each(assertedHeader, aliceURI)).problem(latchkey.KindUnauthorized)
	w.do("GET", eventsPath, "", each(assertedHeader, account)).problem(latchkey.KindUnauthorized)
	if got := append(w.desk.noted(), open.desk.noted()...); len(got) != 0 {
		t.Errorf("the desk was asked: %q", got)
	}
}

func TestOddAssertedIdentitiesAreRefused(t *testing.T) {
	w := trusting(t)
	for value, kind := range map[string]latchkey.Kind{
		"": latchkey.KindNotAllowed, "a@cc.com": latchkey.KindBadRequest, `"sip:a@cc.com" x`: latchkey.KindBadRequest, "sip:nobody@cc.com": latchkey.KindNotAllowed,
		`"sip:a@cc.com", "sip:r@cc.com"`: latchkey.KindNotAllowed, strings.Repeat(`"sip:a@cc.com",`, 30): latchkey.KindBadRequest,
	} {
		w.do("DELETE", "/rcsgw/invitee/user", "", each(assertedHeader, value)).problem(kind)
	}
	// S5: a browser that the proxy knows is not used by other sites.
	w.do("DELETE", "/rcsgw/invitee/user", "", each(assertedHeader, aliceURI), header("Sec-Fetch-Site", "cross-site")).problem(latchkey.KindNotAllowed)
	// Credentials that are shown count, and wrong ones are wrong.
	w.do("DELETE", "/rcsgw/invitee/user", "", each(assertedHeader, aliceURI), func(r *http.Request) { r.SetBasicAuth(aliceURI, "wrong") }).problem(latchkey.KindUnauthorized)
	if got := w.desk.noted(); len(got) != 0 {
		t.Errorf("the desk was asked: %q", got)
	}
}

// S4: behind a trusted proxy the client's own address counts, and nothing that the client can make up.
func TestClientsAddressComesFromTrustedProxiesAlone(t *testing.T) {
	w := trusting(t)
	const proxy, second, client = "192.0.2.1:80", "192.0.2.2", "203.0.113.9"
	for _, c := range []struct {
		peer      string
		forwarded []string
		old       []string
		want      string
	}{
		{proxy, nil, nil, "192.0.2.1"},
		{proxy, nil, []string{client}, client},
		{proxy, nil, []string{"10.0.0.1, " + client + ", " + second}, client},
		{proxy, nil, []string{"10.0.0.1", client}, client},
		{proxy, nil, []string{client + ":4711"}, client},
		{proxy, nil, []string{"[2001:db8::17]:4711"}, "2001:db8::17"},
		{proxy, nil, []string{"2001:db8::17"}, "2001:db8::17"},
		{proxy, nil, []string{"unknown"}, "192.0.2.1"},
		{proxy, nil, []string{client + ", what?, " + second}, second},
		{proxy, nil, []string{"192.0.2.3"}, "192.0.2.3"}, // proxies all the way
		{proxy, []string{"for=" + client + ";proto=https;by=192.0.2.1"}, nil, client},
		{proxy, []string{`For="[2001:db8::17]:4711"`}, nil, "2001:db8::17"},
		{proxy, []string{`for=10.0.0.1, for=` + client, "for=" + second}, nil, client},
		{proxy, []string{"proto=https"}, nil, "192.0.2.1"},
		{proxy, []string{"for=_hidden, for=" + second}, nil, second},
		{proxy, []string{"for=" + client}, []string{client}, client},
		{proxy, []string{"for=10.9.9.9"}, []string{client}, "192.0.2.1"}, // one of the two is made up
		{client + ":80", []string{"for=10.9.9.9"}, []string{"10.9.9.9"}, client},
	} {
		r := request(t.Context(), "GET", "/", "", cameFrom(c.peer), each("Forwarded", c.forwarded...), each("X-Forwarded-For", c.old...))
		if got := w.api.remote(r).String(); got != c.want {
			t.Errorf("from %s with Forwarded %q and X-Forwarded-For %q: %s, want %s", c.peer, c.forwarded, c.old, got, c.want)
		}
	}
	guess := func(from string) response {
		return w.do("GET", "/rcsgw/invitee/user", "", func(r *http.Request) { r.SetBasicAuth("sip:x@cc.com", "guess") }, each("X-Forwarded-For", from))
	}
	for range 3 {
		guess(client).problem(latchkey.KindUnauthorized)
	}
	guess(client).problem(latchkey.KindTooManyRequests)
	guess("10.9.9.9, " + client).problem(latchkey.KindTooManyRequests)
	guess("203.0.113.10").problem(latchkey.KindUnauthorized) // another client of the same proxy
	if !strings.Contains(w.log.String(), "from="+client) {
		t.Errorf("the access log lacks the client's address:\n%s", w.log)
	}
}

func FuzzHeadersOfProxies(f *testing.F) {
	for _, s := range []string{`for=192.0.2.43, for="[2001:db8:cafe::17]:4711";proto=https`, "203.0.113.9, 192.0.2.2", `"sip:a@cc.com", "tel:+86"`, `<sip:a,b@cc.com>,x`, `a"b,c"d,`, ";;=,,", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		parts := commas([]string{s})
		if n := strings.Count(s, ","); len(parts) > n+1 {
			t.Fatalf("%q has %d parts", s, len(parts))
		}
		// A list of what is free of quotes and commas comes back as it went in.
		plain := strings.Map(func(r rune) rune {
			if strings.ContainsRune(`",<> `, r) {
				return 'x'
			}
			return r
		}, s)
		if plain = strings.TrimSpace(plain); !slices.Equal(commas([]string{plain + " , " + plain}), []string{plain, plain}) {
			t.Fatalf("commas of %q twice = %q", plain, commas([]string{plain + " , " + plain}))
		}
		for _, way := range [][]string{forwardedFor([]string{s}), xForwardedFor([]string{s})} {
			if len(way) != len(parts) {
				t.Fatalf("%q: %d addresses of %d parts", s, len(way), len(parts))
			}
		}
	})
}

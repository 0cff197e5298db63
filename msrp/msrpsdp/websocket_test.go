package msrpsdp_test

import (
	"errors"
	"strings"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// B4.21, RFC 7977 §5.2: over WebSocket the m-line stays that of TCP, the path alone says ws, and the browser is the one to connect.
func TestPathsOfWebSocketsAreReadAndWritten(t *testing.T) {
	for _, c := range []struct {
		name, proto, theirs, ours string
		tls                       bool
	}{
		{"wss", "TCP/TLS/MSRP", "msrps://df7jal23ls0d.invalid:9/browser;ws", "msrps://chat.example:443/ours;ws", true},
		{"ws", "TCP/MSRP", "msrp://df7jal23ls0d.invalid:9/browser;ws", "msrp://chat.example:80/ours;ws", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			uri, err := msrp.ParseURI(c.ours)
			if err != nil {
				t.Fatal(err)
			}
			own := us()
			own.Addr, own.Port, own.URI, own.TLS = uri.Host, uri.Port, uri, c.tls

			answer, role, err := msrpsdp.Answer(offer("m=message 9 "+c.proto+" *", types, "a=setup:active", "a=path:"+c.theirs), own, msrpsdp.Active)
			if err != nil {
				t.Fatal(err)
			}
			if role.Active || role.Remote.String() != c.theirs || role.Remote[0].Transport != "ws" {
				t.Errorf("the role is %+v", role)
			}
			if a := attributes(t, answer, 0); a["path"] != c.ours || a["setup"] != "passive" || !strings.Contains(string(answer), " "+c.proto+" *") {
				t.Errorf("the answer is\n%s", answer)
			}

			mine, err := msrpsdp.Offer(own)
			if err != nil {
				t.Fatal(err)
			}
			if a := attributes(t, mine, 0); a["path"] != c.ours || !strings.Contains(string(mine), " "+c.proto+" *") {
				t.Errorf("the offer is\n%s", mine)
			}
			role, _, err = msrpsdp.Conclude(mine, offer("m=message 9 "+c.proto+" *", types, "a=setup:active", "a=path:"+c.theirs))
			if err != nil || role.Active || role.Remote.String() != c.theirs {
				t.Errorf("the browser's answer is concluded with %+v, %v", role, err)
			}
		})
	}
}

// B4.21, RFC 7977 §5.1, §5.2: of a WebSocket client c=/m= and fingerprint don't count, and nobody connects to it; offers and answers over WebSocket and over TCP don't go
// together. Behind a relay a browser is like any other.
func TestWebSocketsAreATransportOfTheirOwn(t *testing.T) {
	local := func(uri string) msrpsdp.Local {
		u, err := msrp.ParseURI(uri)
		if err != nil {
			t.Fatal(err)
		}
		l := us()
		l.Addr, l.Port, l.URI, l.TLS = u.Host, u.Port, u, u.Secure
		return l
	}
	web, plain := local("msrps://chat.example:443/ours;ws"), local("msrps://chat.example:2855/ours;tcp")
	const browser, relay = "a=path:msrps://df7jal23ls0d.invalid:2855/x;ws", "a=path:msrps://192.0.2.7:7000/r;tcp msrps://df7jal23ls0d.invalid:2855/x;ws"
	for _, c := range []struct {
		name, setup, path string
		own               msrpsdp.Local
		taken             bool
	}{
		{"elsewhere in c=", "a=setup:active", browser, web, true},
		{"either way", "a=setup:actpass", browser, web, true},
		{"waits for us", "a=setup:passive", browser, web, false},
		{"no port for it", "a=setup:active", browser, plain, false},
		{"tcp to a port for it", "a=setup:active", "a=path:msrps://192.0.2.7:7000/x;tcp", web, false},
		{"behind a relay", "a=setup:active", relay, plain, true},
		{"behind a relay, to a port for it", "a=setup:active", relay, web, false},
	} {
		lines := []string{"m=message 7000 TCP/TLS/MSRP *", types, c.setup, c.path}
		if c.path == browser {
			lines = append(lines, "a=fingerprint:SHA-256 of other media")
		}
		theirs := offer(lines...)
		_, role, err := msrpsdp.Answer(theirs, c.own, msrpsdp.Active)
		if (err == nil) != c.taken || err != nil && !errors.Is(err, msrpsdp.ErrNotAcceptable) {
			t.Errorf("%s: Answer = %v, want it taken: %v", c.name, err, c.taken)
		}
		if web := c.path == browser; err == nil && (role.Active && web || role.Peer.WebSocket() != web) {
			t.Errorf("%s: the role is %+v", c.name, role)
		}
		mine, err := msrpsdp.Offer(c.own)
		if err != nil {
			t.Fatal(err)
		}
		role, _, err = msrpsdp.Conclude(mine, theirs)
		switch {
		case c.taken && c.setup == "a=setup:active" && err != nil:
			t.Errorf("%s: Conclude = %v", c.name, err)
		case !c.taken && !errors.Is(err, msrpsdp.ErrNotAcceptable):
			t.Errorf("%s: Conclude = %+v, %v, want it refused", c.name, role, err)
		}
		if role.FallBack && c.path == browser {
			t.Errorf("%s: falls back", c.name)
		}
	}
}

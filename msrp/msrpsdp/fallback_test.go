package msrpsdp_test

import (
	"errors"
	"testing"

	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

const (
	// As RFC 4976 §11 has it: c=/m= are the endpoint's own, a relay stands in front of it.
	relayPath = "a=path:msrp://relay.example:9000/r1;tcp msrp://192.0.2.7:7000/s1;tcp"
	relay     = "relay.example:9000"
)

func ourRelay() msrp.Path {
	return msrp.Path{{Host: "relay.home.example", Port: 2855, SessionID: "r0", Transport: "tcp"}}
}

// B4.17, F49: the three cases in which RFC 6714 §4.2 asks for another offer without CEMA, and those beside them.
func TestFallsBackFromCEMA(t *testing.T) {
	const own, elsewhere = "7000", "7001" // of m=; 7000 is in the path
	for _, c := range []struct {
		name     string
		relayed  bool // we have a relay
		lines    []string
		fallBack bool
		active   bool
		dial     string
	}{
		{"cema in the answer", false, message(elsewhere, types, "a=setup:active", path, cema), false, false, ""},
		{"cema in the answer, we connect", false, message(elsewhere, types, "a=setup:passive", path, cema), false, true, "192.0.2.7:7001"},
		{"nothing changed, they connect", false, message(own, types, "a=setup:active", path), false, false, ""},
		{"nothing changed, we connect", false, message(own, types, "a=setup:passive", path), false, true, "192.0.2.7:7000"},
		{"(1) changed, they connect", false, message(elsewhere, types, "a=setup:active", path), true, false, ""},
		{"(1) changed, they connect by their relay", false, message(elsewhere, types, "a=setup:active", relayPath), true, false, ""},
		{"(2) changed, we connect by our relay", true, message(elsewhere, types, "a=setup:passive", path), true, true, ""},
		{"(2) the same by default", true, message(elsewhere, types, path), true, true, ""},
		{"(3) changed, we connect to their relay", false, message(elsewhere, types, "a=setup:passive", relayPath), true, true, relay},
		{"(3) the same by default", false, message(elsewhere, types, relayPath), true, true, relay},
		{"changed, no relays, we connect: to c=/m=", false, message(elsewhere, types, "a=setup:passive", path), false, true, "192.0.2.7:7001"},
		{"their relay, c=/m= their own: nobody in between", false, message(own, types, "a=setup:passive", relayPath), false, true, relay},
		{"their relay, c=/m= the relay's", false, message("9000", "c=IN IP4 relay.example", types, "a=setup:passive", relayPath), false, true, relay},
		{"our relay, nothing changed", true, message(own, types, "a=setup:passive", path), false, true, ""},
		{"port 9 is no place", false, message("9", types, "a=setup:active", path), false, false, ""},
	} {
		l := us()
		l.CEMA = true
		if c.relayed {
			l.Relays = ourRelay()
		}
		o, err := msrpsdp.Offer(l)
		if err != nil {
			t.Fatal(err)
		}
		role, m, err := msrpsdp.Conclude(o, offer(c.lines...))
		if err != nil || role.FallBack != c.fallBack || role.Active != c.active || role.Dial != c.dial || msrpsdp.FallBack(m, c.active, c.relayed) != c.fallBack {
			t.Errorf("%s: %+v, %v, want fall back: %v, active: %v, dial %q", c.name, role, err, c.fallBack, c.active, c.dial)
		}
	}
	// Without CEMA of our own there is nothing to fall back from.
	o, _ := msrpsdp.Offer(us())
	if role, _, err := msrpsdp.Conclude(o, offer(message(elsewhere, types, "a=setup:active", path)...)); err != nil || role.FallBack {
		t.Errorf("%+v, %v", role, err)
	}
}

// RFC 6714 §4.3: an answer has CEMA where the offer has, unless relays forbid it. RFC 4976 §11: c=/m= may be the endpoint's own.
func TestRelaysKeepCEMAOutOfAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		relayed bool
		lines   []string
		cema    bool
		setup   string
		dial    string
	}{
		{"no relay", false, message("7000", types, "a=setup:actpass", path, cema), true, "active", "192.0.2.7:7000"},
		{"(1) both have relays", true, message("7000", types, "a=setup:actpass", relayPath, cema), false, "active", ""},
		{"(2) the offerer has, and connects", false, message("7000", types, "a=setup:active", relayPath, cema), false, "passive", ""},
		{"(2) the same by default", false, message("7000", types, relayPath, cema), false, "passive", ""},
		{"(3) we have, and the offerer is passive", true, message("7000", types, "a=setup:passive", path, cema), false, "active", ""},
		{"the offerer has, we connect to c=/m=", false, message("9000", "c=IN IP4 relay.example", types, "a=setup:actpass", relayPath, cema), true, "active", relay},
		{"we have: passive, whatever is preferred", true, message("7000", types, "a=setup:actpass", path, cema), true, "passive", ""},
		{"a relay without CEMA, c=/m= its own", false, message("7000", types, "a=setup:actpass", relayPath), false, "active", relay},
	} {
		l := us()
		if c.relayed {
			l.Relays = ourRelay()
		}
		answer, role, err := msrpsdp.Answer(offer(c.lines...), l, msrpsdp.Active)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		a := attributes(t, answer, 0)
		if _, has := a["msrp-cema"]; has != c.cema || a["setup"] != c.setup || role.Dial != c.dial || role.Active != (c.setup == "active") {
			t.Errorf("%s: cema %v, setup %s, %+v, want %v, %s, %q", c.name, has, a["setup"], role, c.cema, c.setup, c.dial)
		}
	}
	if _, _, err := msrpsdp.Answer(offer(message("7001", types, "a=setup:actpass", relayPath)...), us(), ""); !errors.Is(err, msrpsdp.ErrNotAcceptable) {
		t.Errorf("a place that is none of the path's, without CEMA: %v", err)
	}
}

// RFC 6714 §4.2, RFC 4976 §5.1: relays stand before our own URI; with CEMA c=/m= are the first one's.
func TestRelaysAreOffered(t *testing.T) {
	l := us()
	l.Relays = ourRelay()
	for cema, want := range map[bool]msrpsdp.Media{false: {Addr: "198.51.100.1", Port: 2855}, true: {Addr: "relay.home.example", Port: 2855}} {
		l.CEMA = cema
		o, err := msrpsdp.Offer(l)
		m, err2 := msrpsdp.Parse(o)
		if err != nil || err2 != nil || m.Addr != want.Addr || m.Port != want.Port || m.Path.String() != "msrp://relay.home.example:2855/r0;tcp msrp://198.51.100.1:2855/ours;tcp" {
			t.Errorf("CEMA %v: %+v, %v, %v", cema, m, err, err2)
		}
	}
	l.CEMA, l.Setup = true, msrpsdp.Active
	if o, err := msrpsdp.Offer(l); err == nil {
		t.Errorf("CEMA and a relay, but not actpass:\n%s", o)
	}
	l.Setup, l.Relays[0].SessionID = "", "a\nb"
	if o, err := msrpsdp.Offer(l); err == nil {
		t.Errorf("a line break in a relay's URI (S8):\n%s", o)
	}
}

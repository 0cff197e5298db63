package b2bua

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"
)

// crossroads is an engine that bridges everything, with a caller and a called peer that share no sockets. The called one
// is the core, too: side's own wire.
type crossroads struct {
	*side
	a *wire
}

// through is a handler that bridges every call.
type through struct {
	engine *Engine
	onward Onward
}

func (h through) ServeInvite(in *Incoming) { _ = h.engine.Bridge(in, h.onward) }

// Passes says that everything is bridged.
func (through) Passes(*sip.Request) bool { return true }

// onward says how the calls from now on are bridged.
func (x *crossroads) onward(o Onward) { x.engine.Handle(through{x.engine, o}) }

func newCrossroads(t *testing.T, network string, ts timers) *crossroads {
	t.Helper()
	a := newWire(t)
	x := &crossroads{a: a}
	t.Cleanup(func() { // after the engine's end
		x.engine.mu.Lock()
		defer x.engine.mu.Unlock()
		if len(x.engine.bridged) > 0 || len(x.engine.incoming) > 0 {
			t.Errorf("%d dialogs of bridges and %d INVITEs are left", len(x.engine.bridged), len(x.engine.incoming))
		}
	})
	x.side = newSideWith(t, network, ts)
	x.onward(Onward{})
	t.Cleanup(func() {
		a.silent()
		a.mu.Lock()
		a.auto = true
		a.mu.Unlock()
	})
	return x
}

// bridged runs a test over UDP and TCP.
func bridged(t *testing.T, f func(t *testing.T, x *crossroads)) { bridgedWith(t, patient, f) }

func bridgedWith(t *testing.T, ts timers, f func(t *testing.T, x *crossroads)) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			f(t, newCrossroads(t, network, ts))
		})
	}
}

// calling is a call through the bridge: what each side knows of it.
type calling struct {
	x      *crossroads
	a      *talk
	invite *text // as B got it
	b      *talk
}

func (x *crossroads) begin(callID, offer string, fields ...string) *calling {
	x.t.Helper()
	c := &calling{x: x, a: x.callerOn(x.a, callID)}
	c.a.send("INVITE", offer, fields...)
	c.invite = x.w.expect("INVITE")
	return c
}

// talkB is B's view of the dialog with a tag.
func (c *calling) talkB(tag string) *talk { return c.x.talkOf(c.invite, tag, c.invite.reply) }

// stand is a standing call; B's tag is b1.
func (x *crossroads) stand(callID string, fields ...string) *calling {
	x.t.Helper()
	c := x.begin(callID, offer1, fields...)
	c.invite.answer("200 OK", "b1", answer1, x.contact(), "Allow: INVITE, ACK, BYE, UPDATE")
	ok := c.a.final("INVITE", c.a.seq)
	c.a.opened(ok)
	c.a.send("ACK", "")
	ack := x.w.expect("ACK")
	c.b = c.talkB("b1")
	c.b.out = ack.reply
	return c
}

// end hangs up from A.
func (c *calling) end() {
	c.x.t.Helper()
	if res := c.a.ask("BYE", ""); res.code() != 200 {
		c.x.t.Errorf("BYE = %s", res.first)
	}
	c.x.w.expect("BYE").answer("200 OK", "", "")
}

func (d *talk) tag() string { return param(d.local, "tag") }

// F61, B2.15: leg B has a Call-ID, tags, CSeq, Via and Contact of its own; the Route behind ours goes on byte for byte, Max-Forwards
// is one less, and everything else is carried untouched, both ways.
func TestCallIsCarriedLegByLeg(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		here := x.engine.sip.Addrs()[0].HostPort
		odi := "<sip:iscmark@" + x.w.addr + ";lr;s=1;h=0;d=%31;transport=" + x.network + ";X=y>"
		body := "--b\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\n" + offer1 + "\r\n--b\r\nContent-Type: application/x-any\r\n\r\n\x00\xff\r\n--b--"
		c := x.begin("secret-call", body, "Route: <sip:"+here+";lr>, "+odi, "Content-Type: multipart/mixed;boundary=b", "X-Any: one", "X-Any: two; q=\"a,b\"",
			"P-Charging-Vector: icid-value=1234", "User-Agent: phone/1", "Supported: 100rel, timer, x-ext", "Require: recipient-list-invite", "Subject: hi",
			"Contact: <sip:a@"+x.a.addr+";transport="+x.network+">;+g.oma.sip-im;+sip.instance=\"<urn:x>\"")
		m := c.invite
		if got := m.all("Route"); len(got) != 1 || got[0] != odi {
			t.Errorf("Route %q, want %q", got, odi)
		}
		if m.uri() != c.a.target || m.get("Max-Forwards") != "69" || m.body != body || m.seq() != 1 {
			t.Errorf("INVITE\n%s", m.raw)
		}
		for _, own := range []string{"secret-call", "tag=" + c.a.tag(), x.a.addr} {
			head, _, _ := strings.Cut(m.raw, "\r\n\r\n")
			if strings.Contains(head, own) {
				t.Errorf("%s leaks to B:\n%s", own, m.raw)
			}
		}
		if via := m.all("Via"); len(via) != 1 || param(m.get("From"), "tag") == "" || strings.Contains(m.get("To"), "tag") {
			t.Errorf("INVITE\n%s", m.raw)
		}
		for name, want := range map[string][]string{
			"X-Any": {"one", `two; q="a,b"`}, "P-Charging-Vector": {"icid-value=1234"}, "User-Agent": {"phone/1"}, "Subject": {"hi"},
			"Supported": {"100rel, x-ext, timer"}, "Require": {"recipient-list-invite"}, "Content-Type": {"multipart/mixed;boundary=b"},
		} {
			if got := m.all(name); !slices.Equal(got, want) {
				t.Errorf("%s = %q, want %q", name, got, want)
			}
		}
		if contact := m.get("Contact"); !strings.Contains(contact, "+g.oma.sip-im") || !strings.Contains(contact, "urn:x") {
			t.Errorf("Contact = %s", contact)
		}
		b := inside(m.get("Contact"))
		m.answer("180 Ringing", "b-secret", "", "Contact: <sip:b@"+x.w.addr+";transport="+x.network+">;+b", "X-Back: 1", "Server: b/2", "Record-Route: <sip:"+x.w.addr+";lr;transport="+x.network+">")
		ringing := x.a.expect("180 INVITE")
		m.answer("200 Fine", "b-secret", answer1, "Contact: <sip:b@"+x.w.addr+";transport="+x.network+">;+b", "X-Back: 2", "Server: b/2",
			"Record-Route: <sip:"+x.w.addr+";lr;transport="+x.network+">")
		ok := c.a.final("INVITE", c.a.seq)
		for _, res := range []*text{ringing, ok} {
			if strings.Contains(res.raw, "b-secret") || strings.Contains(res.raw, x.w.addr) || strings.Contains(res.raw, m.get("Call-ID")) || len(res.all("Server")) != 1 || res.get("Server") != "b/2" ||
				!strings.Contains(res.get("Contact"), ";+b") {
				t.Errorf("response\n%s", res.raw)
			}
		}
		if ok.first != "SIP/2.0 200 Fine" || ok.get("X-Back") != "2" || ok.body != answer1 || ok.get("To") != ringing.get("To") {
			t.Errorf("200\n%s", ok.raw)
		}
		c.a.opened(ok)
		c.a.send("ACK", "", "X-Any: ack")
		ack := x.w.expect("ACK")
		if ack.get("X-Any") != "ack" || ack.seq() != 1 || ack.get("Route") == "" || strings.Contains(ack.raw, x.a.addr) {
			t.Errorf("ACK\n%s", ack.raw)
		}
		c.b = c.talkB("b-secret")
		c.b.target = b
		// F61: later requests carry what they say of the charging, too; BYE, too, from each side.
		c.a.send("INFO", "any\x00thing", "Content-Type: x/y", "P-Charging-Vector: icid-value=1234")
		info := x.w.expect("INFO")
		if info.body != "any\x00thing" || info.get("Content-Type") != "x/y" || info.get("P-Charging-Vector") != "icid-value=1234" || info.seq() != 2 {
			t.Errorf("INFO\n%s", info.raw)
		}
		info.answer("299 Why Not", "", "re", "Content-Type: x/z")
		if res := c.a.final("INFO", c.a.seq); res.first != "SIP/2.0 299 Why Not" || res.body != "re" || res.get("Content-Type") != "x/z" {
			t.Errorf("INFO =\n%s", res.raw)
		}
		if res := c.b.ask("BYE", "", "Reason: SIP;cause=200"); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		bye := x.a.expect("BYE")
		if bye.get("Reason") != "SIP;cause=200" || bye.get("Call-ID") != "secret-call" || bye.get("To") != c.a.local {
			t.Errorf("BYE\n%s", bye.raw)
		}
		bye.answer("200 OK", "", "")
	})
}

// Any method goes through in a dialog, from each side, with what it is answered.
func TestAnyMethodGoesThrough(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.stand("call")
		for _, from := range []Side{SideA, SideB} {
			d, there := c.a, x.w
			if from == SideB {
				d, there = c.b, x.a
			}
			for i, method := range []string{"INFO", "MESSAGE", "REFER", "NOTIFY", "SUBSCRIBE", "OPTIONS", "PUBLISH", "FOO"} {
				d.send(method, "b "+method, "Content-Type: text/plain", "X-N: "+fmt.Sprint(i))
				m := there.expect(method)
				if m.body != "b "+method || m.get("X-N") != fmt.Sprint(i) || m.get("Call-ID") == d.callID {
					t.Errorf("%s\n%s", method, m.raw)
				}
				m.answer("100 Trying", "", "")
				m.answer(fmt.Sprint(202+i%2*200, " So"), "", "r", "Content-Type: text/plain", "Warning: 399 x \"y\"", "Retry-After: 7")
				if res := d.final(method, d.seq); res.first != fmt.Sprint("SIP/2.0 ", 202+i%2*200, " So") || res.body != "r" || res.get("Warning") == "" || res.get("Retry-After") != "7" {
					t.Errorf("%s = %s", method, res.raw)
				}
			}
		}
		c.end()
	})
}

// B2.04, F41: each fork of B has an early dialog of its own at A. The first 2xx wins; the other one gets its ACK and BYE. A 199 ends
// the early dialog that it speaks of (RFC 6228).
func TestForksAreDialogsAtTheCaller(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1, "Supported: 199")
		to := map[string]string{}
		for _, tag := range []string{"b1", "b2", "b3"} {
			c.invite.answer("180 Ringing", tag, "", x.contact(), "X-Fork: "+tag)
			ringing := x.a.expect("180 INVITE")
			if ringing.get("X-Fork") != tag {
				t.Fatalf("180\n%s", ringing.raw)
			}
			to[tag] = ringing.get("To")
		}
		if to["b1"] == to["b2"] || to["b2"] == to["b3"] {
			t.Errorf("To = %q", to)
		}
		if n := x.engine.Bridged(); n != 3 {
			t.Errorf("Bridged = %d, want 3", n)
		}
		c.invite.answer("199 Early Dialog Terminated", "b3", "", x.contact())
		if res := x.a.expect("199 INVITE"); res.get("To") != to["b3"] {
			t.Errorf("199\n%s", res.raw)
		}
		until(t, func() bool { return x.engine.Bridged() == 2 })
		// §4: one that opens a dialog that wasn't there is discarded.
		c.invite.answer("199 Early Dialog Terminated", "b4", "", x.contact())
		c.invite.answer("183 Session Progress", "b2", "", x.contact())
		if res := x.a.pick("1xx", func(m *text) bool { return m.code() > 100 && m.code() < 200 && !x.a.seen[m.raw] }); res.code() != 183 {
			t.Errorf("199 of no dialog\n%s", res.raw)
		}
		c.invite.answer("200 OK", "b2", answer1, x.contact())
		ok := c.a.final("INVITE", c.a.seq)
		if ok.get("To") != to["b2"] {
			t.Errorf("200\n%s", ok.raw)
		}
		other := c.invite.response("200 OK", "b1", answer2, x.contact())
		c.invite.reply(other)
		ack := x.w.expect("ACK")
		bye := x.w.expect("BYE")
		if param(ack.get("To"), "tag") != "b1" || param(bye.get("To"), "tag") != "b1" {
			t.Errorf("the other 200:\n%s\n%s", ack.raw, bye.raw)
		}
		bye.answer("200 OK", "", "")
		c.invite.reply(other)
		x.w.again(ack)
		c.a.opened(ok)
		c.a.send("ACK", "")
		if ack := x.w.expect("ACK"); param(ack.get("To"), "tag") != "b2" {
			t.Errorf("ACK\n%s", ack.raw)
		}
		// B5.09: a BYE that crosses ours.
		b1 := c.talkB("b1")
		if res := b1.ask("BYE", ""); res.code() != 200 {
			t.Errorf("crossing BYE = %s", res.first)
		}
		x.a.forget()
		c.end()
		if x.engine.Bridged() != 0 {
			t.Errorf("Bridged = %d", x.engine.Bridged())
		}
	})
}

// B2.04, RFC 6228 §5, §6: a caller who knows 199 is told of each early dialog that ends by a refusal which it doesn't hear of, since the INVITE is
// repeated; not of one whose refusal follows at once, and not a caller who doesn't know 199 or wants all 1xx reliable.
func TestCallerIsToldOfForksThatEnd(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		for i, c := range []struct {
			fields []string
			told   bool
		}{{[]string{"Supported: 199, timer"}, true}, {[]string{"Supported: timer"}, false}, {[]string{"Supported: 199", "Require: 100rel"}, false}, {[]string{"Supported: 199", "Proxy-Require: 100rel"}, false}} {
			call := x.begin(fmt.Sprint("call", i), offer1, c.fields...)
			to := map[string]string{}
			ring := func(tag string) {
				call.invite.answer("180 Ringing", tag, "", x.contact())
				to[tag] = x.a.expect("180 INVITE").get("To")
			}
			ended := func(want string, tags ...string) {
				t.Helper()
				left := map[string]bool{}
				for _, tag := range tags {
					left[to[tag]] = true
				}
				for len(left) > 0 && c.told {
					res := x.a.expect("199 INVITE")
					if !left[res.get("To")] || res.get("Reason") != want || res.get("RSeq") != "" || res.body != "" || res.get("Contact") == "" {
						t.Fatalf("199\n%s\nwant it for %v, with %s", res.raw, left, want)
					}
					delete(left, res.get("To"))
				}
			}
			ring("b1")
			ring("b2")
			call.invite.answer("422 Session Interval Too Small", "b2", "", "Min-SE: 2000")
			x.w.expect("ACK")
			ended("SIP;cause=422", "b1", "b2")
			call.invite = x.w.expect("INVITE")
			ring("b3")
			ring("b4")
			if to["b3"] == to["b1"] || to["b3"] == to["b2"] {
				t.Errorf("a new early dialog has To %s, as one that has ended", to["b3"])
			}
			call.invite.answer("199 Early Dialog Terminated", "b4", "", x.contact())
			if res := x.a.expect("199 INVITE"); res.get("To") != to["b4"] {
				t.Errorf("199\n%s", res.raw)
			}
			call.invite.answer("486 Busy Here", "b3", "")
			x.w.expect("ACK")
			if res := call.a.final("INVITE", call.a.seq); res.code() != 486 {
				t.Errorf("final\n%s", res.raw)
			}
			x.a.silent()
		}
	})
}

// B2.05: reliable responses are numbered on each leg, and their PRACK goes all the way, with offer and answer; a repeat of
// the response is passed on, one out of order is not.
func TestPRACKGoesAllTheWay(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1, "Supported: 100rel")
		first := c.invite.response("183 Session Progress", "b1", answer1, x.contact(), "Require: 100rel", "RSeq: 5000")
		c.invite.reply(first)
		got := x.a.expect("183 INVITE")
		if !strings.Contains(got.get("Require"), "100rel") || got.get("RSeq") == "" || got.get("RSeq") == "5000" || got.body != answer1 {
			t.Errorf("183\n%s", got.raw)
		}
		c.invite.reply(first)
		x.a.again(got)
		c.invite.answer("180 Ringing", "b1", "", x.contact(), "Require: 100rel", "RSeq: 5007") // too early
		c.a.opened(got)
		invited := c.a.seq
		c.a.send("PRACK", offer2, fmt.Sprintf("RAck: %s %d INVITE", got.get("RSeq"), invited))
		prack := x.w.expect("PRACK")
		if prack.get("RAck") != "5000 1 INVITE" || prack.body != offer2 || param(prack.get("To"), "tag") != "b1" || prack.seq() != 2 {
			t.Errorf("PRACK\n%s", prack.raw)
		}
		prack.answer("200 OK", "", answer2)
		if res := c.a.final("PRACK", c.a.seq); res.code() != 200 || res.body != answer2 {
			t.Errorf("PRACK = %s", res.raw)
		}
		if res := c.a.ask("PRACK", "", fmt.Sprintf("RAck: %s %d INVITE", got.get("RSeq"), invited)); res.code() != 481 {
			t.Errorf("the same PRACK = %s, want 481", res.first)
		}
		if res := c.a.ask("PRACK", "", "RAck: 1"); res.code() != 400 {
			t.Errorf("PRACK with half a RAck = %s, want 400", res.first)
		}
		c.invite.answer("180 Ringing", "b1", "", x.contact(), "Require: 100rel", "RSeq: 5001")
		second := x.a.expect("180 INVITE")
		var n, m uint32
		_, _ = fmt.Sscan(got.get("RSeq"), &n)
		if _, _ = fmt.Sscan(second.get("RSeq"), &m); m != n+1 {
			t.Errorf("RSeq %d after %d", m, n)
		}
		c.a.send("PRACK", "", fmt.Sprintf("RAck: %d %d INVITE", m, invited))
		prack = x.w.expect("PRACK")
		if prack.get("RAck") != "5001 1 INVITE" {
			t.Errorf("PRACK\n%s", prack.raw)
		}
		prack.answer("200 OK", "", "")
		c.a.final("PRACK", c.a.seq)
		// UPDATE in the early dialog, from each side.
		c.b = c.talkB("b1")
		for _, d := range []*talk{c.a, c.b} {
			there := x.w
			if d == c.b {
				there = x.a
			}
			d.send("UPDATE", offer2)
			u := there.expect("UPDATE")
			if u.body != offer2 || u.get("Contact") == "" {
				t.Errorf("UPDATE\n%s", u.raw)
			}
			u.answer("200 OK", "", answer2, "Contact: <sip:new@"+there.addr+";transport="+x.network+">")
			if res := d.final("UPDATE", d.seq); res.code() != 200 || res.body != answer2 || strings.Contains(res.raw, there.addr) {
				t.Errorf("UPDATE = %s", res.raw)
			}
		}
		c.invite.answer("200 OK", "b1", "", x.contact())
		c.a.opened(c.a.final("INVITE", invited))
		c.a.out(c.a.text("ACK", invited, ""))
		x.w.expect("ACK")
		c.end()
	})
}

// B2.05, RFC 3311 §5.2: an offer while one of the same side has no answer is 500 with Retry-After, one while the other side's has none is 491.
func TestOffersDoNotCross(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.invite.answer("180 Ringing", "b1", "", x.contact())
		ringing := x.a.expect("180 INVITE")
		c.a.opened(ringing)
		if res := c.a.ask("UPDATE", offer2); res.code() != 500 || res.get("Retry-After") == "" {
			t.Errorf("UPDATE of the one who offers = %s", res.raw)
		}
		b := c.talkB("b1")
		if res := b.ask("UPDATE", offer2); res.code() != 491 {
			t.Errorf("UPDATE of the other = %s", res.first)
		}
		c.invite.answer("486 Busy Here", "b1", "")
		c.a.acknowledge(c.a.final("INVITE", 1))
		x.w.expect("ACK")

		// The same for re-INVITEs.
		c = x.stand("call-2")
		c.a.send("INVITE", offer2)
		re := x.w.expect("INVITE")
		again := c.a.ask("INVITE", offer2)
		if again.code() != 500 || again.get("Retry-After") == "" {
			t.Errorf("a second re-INVITE = %s", again.raw)
		}
		c.a.acknowledge(again)
		glare := c.b.ask("INVITE", offer2)
		if glare.code() != 491 {
			t.Errorf("a re-INVITE of the other side = %s", glare.first)
		}
		c.b.acknowledge(glare)
		re.answer("491 Request Pending", "", "")
		x.w.expect("ACK")
		res := c.a.final("INVITE", c.a.seq-1)
		if res.code() != 491 {
			t.Errorf("re-INVITE = %s", res.first)
		}
		c.a.acknowledge(res)
		// And later it is fine.
		c.b.send("INVITE", offer2)
		x.a.expect("INVITE").answer("200 OK", "", answer2, "Contact: <"+c.a.contact()+">")
		if res := c.b.final("INVITE", c.b.seq); res.code() != 200 || res.body != answer2 {
			t.Errorf("re-INVITE = %s", res.raw)
		}
		c.b.send("ACK", "")
		x.a.expect("ACK")
		c.end()
	})
}

// B2.05: hold and back again by re-INVITE, from each side, with the ACK and its body.
func TestReinviteGoesThrough(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		// A call for each direction: a re-INVITE right behind the 487 of the other side's may rightly get 491.
		for _, side := range []string{"a", "b"} {
			c := x.stand("call-" + side)
			d, there := c.a, x.w
			if side == "b" {
				d, there = c.b, x.a
			}
			hold := offer1 + "a=sendonly\r\n"
			d.send("INVITE", hold, "X-Any: re")
			m := there.expect("INVITE")
			if m.body != hold || m.get("X-Any") != "re" {
				t.Errorf("re-INVITE\n%s", m.raw)
			}
			m.answer("180 Ringing", "", "")
			d.w.expect("180 INVITE")
			ok := m.response("200 OK", "", answer2, "Contact: <sip:moved@"+there.addr+";transport="+x.network+">")
			m.reply(ok)
			res := d.final("INVITE", d.seq)
			if res.code() != 200 || res.body != answer2 {
				t.Errorf("re-INVITE = %s", res.raw)
			}
			d.send("ACK", "")
			ack := there.expect("ACK")
			if ack.uri() != "sip:moved@"+there.addr+";transport="+x.network || ack.seq() != m.seq() {
				t.Errorf("ACK\n%s", ack.raw)
			}
			m.reply(ok) // RFC 6026: a repeat is acknowledged again, and A sees nothing of it
			there.again(ack)
			// Without an offer: it comes in the 200, and the answer in the ACK (B2.06).
			d.send("INVITE", "")
			m = there.expect("INVITE")
			m.answer("200 OK", "", offer2, "Contact: <sip:moved@"+there.addr+";transport="+x.network+">")
			if res := d.final("INVITE", d.seq); res.body != offer2 {
				t.Errorf("re-INVITE without offer = %s", res.raw)
			}
			d.send("ACK", answer1)
			if ack := there.expect("ACK"); ack.body != answer1 {
				t.Errorf("ACK\n%s", ack.raw)
			}
			// Refused: the session stays.
			d.send("INVITE", offer2)
			there.expect("INVITE").answer("488 Not Acceptable Here", "", "", "Warning: 304 x \"no\"")
			there.expect("ACK")
			no := d.final("INVITE", d.seq)
			if no.code() != 488 || no.get("Warning") == "" {
				t.Errorf("re-INVITE = %s", no.raw)
			}
			d.acknowledge(no)
			// Cancelled.
			d.send("INVITE", offer2)
			m = there.expect("INVITE")
			m.answer("100 Trying", "", "")
			d.w.pick("100", func(m *text) bool { return m.is("100 INVITE") && m.seq() == d.seq })
			d.cancel(d.invited)
			cancel := there.expect("CANCEL")
			cancel.answer("200 OK", "", "")
			m.answer("487 Request Terminated", "", "")
			there.expect("ACK")
			d.w.expect("200 CANCEL")
			no = d.final("INVITE", d.seq)
			if no.code() != 487 {
				t.Errorf("cancelled re-INVITE = %s", no.first)
			}
			d.acknowledge(no)
			x.a.forget()
			x.w.forget()
			c.end()
		}
	})
}

// B2.06: an INVITE without offer gets B's in the 200, or in a reliable 183, and A's answer goes back in ACK or PRACK.
func TestLateOfferGoesThrough(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", "")
		if c.invite.body != "" {
			t.Errorf("INVITE\n%s", c.invite.raw)
		}
		c.invite.answer("200 OK", "b1", offer1, x.contact())
		ok := c.a.final("INVITE", 1)
		if ok.body != offer1 {
			t.Errorf("200\n%s", ok.raw)
		}
		c.a.opened(ok)
		c.a.send("ACK", answer1)
		if ack := x.w.expect("ACK"); ack.body != answer1 || ack.get("Content-Type") != "application/sdp" {
			t.Errorf("ACK\n%s", ack.raw)
		}
		c.end()
		c = x.begin("call-2", "", "Supported: 100rel")
		c.invite.answer("183 Session Progress", "b1", offer1, x.contact(), "Require: 100rel", "RSeq: 1")
		got := x.a.expect("183 INVITE")
		c.a.opened(got)
		if got.body != offer1 {
			t.Errorf("183\n%s", got.raw)
		}
		c.a.send("PRACK", answer1, "RAck: "+got.get("RSeq")+" 1 INVITE")
		prack := x.w.expect("PRACK")
		if prack.body != answer1 {
			t.Errorf("PRACK\n%s", prack.raw)
		}
		prack.answer("200 OK", "", "")
		c.a.final("PRACK", 2)
		c.invite.answer("200 OK", "b1", "", x.contact())
		c.a.final("INVITE", 1)
		c.a.out(c.a.text("ACK", 1, ""))
		x.w.expect("ACK")
		c.end()
	})
}

// A refusal goes back with what it says; 3xx with where else to ask.
func TestRefusalIsCarried(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		for i, c := range []struct{ status, field string }{
			{"486 Busy", "Reason: Q.850;cause=17"}, {"480 Gone", "Retry-After: 77"}, {"603 No", "Warning: 399 b \"x\""}, {"302 Moved", "Contact: <sip:else@where.example>;q=0.5"},
			{"407 Proxy", "Proxy-Authenticate: Digest realm=\"r\", nonce=\"n\""},
		} {
			call := x.begin(fmt.Sprint("call-", i), offer1)
			call.invite.answer("180 Ringing", "b1", "", x.contact())
			x.a.expect("180 INVITE")
			call.invite.answer(c.status, "b1", "", c.field)
			x.w.expect("ACK")
			res := call.a.final("INVITE", 1)
			name, value, _ := strings.Cut(c.field, ": ")
			if res.first != "SIP/2.0 "+c.status || res.get(name) != value {
				t.Errorf("%s\n%s", c.status, res.raw)
			}
			call.a.acknowledge(res)
			if x.engine.Bridged() != 0 {
				t.Errorf("Bridged = %d", x.engine.Bridged())
			}
		}
	})
}

// B2.03: A's CANCEL goes on to B, with its Reason, and not before B's first 1xx.
func TestCancelGoesOn(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.a.cancel(c.a.invited, "Reason: SIP;cause=200;text=\"elsewhere\"")
		x.a.expect("200 CANCEL")
		no := c.a.final("INVITE", 1)
		if no.code() != 487 {
			t.Errorf("INVITE = %s", no.first)
		}
		c.a.acknowledge(no)
		x.w.silent()
		c.invite.answer("180 Ringing", "b1", "", x.contact())
		cancel := x.w.expect("CANCEL")
		if cancel.branch() != c.invite.branch() || cancel.get("Reason") != "SIP;cause=200;text=\"elsewhere\"" || cancel.get("To") != c.invite.get("To") {
			t.Errorf("CANCEL\n%s", cancel.raw)
		}
		cancel.answer("200 OK", "", "")
		c.invite.answer("487 Request Terminated", "b1", "")
		x.w.expect("ACK")
		x.a.silent()
	})
}

// F42, B2.03: a 200 that crosses the CANCEL is acknowledged and hung up.
func TestAnswerThatCrossesTheCancelIsHungUp(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.invite.answer("180 Ringing", "b1", "", x.contact())
		x.a.expect("180 INVITE")
		c.a.cancel(c.a.invited)
		x.a.expect("200 CANCEL")
		no := c.a.final("INVITE", 1)
		c.a.acknowledge(no)
		if no.code() != 487 {
			t.Errorf("INVITE = %s", no.first)
		}
		x.w.expect("CANCEL").answer("481 Call/Transaction Does Not Exist", "", "")
		c.invite.answer("200 OK", "b1", answer1, x.contact())
		x.w.expect("ACK")
		x.w.expect("BYE").answer("200 OK", "", "")
		x.a.silent()
	})
}

// B5.09: BYEs that cross are both 200. RFC 3261 §15.1.2: A's BYE on an early dialog ends the INVITE with 487; B's is refused.
func TestBYEs(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.stand("call")
		if res := c.a.ask("BYE", "bye", "Content-Type: x/y"); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		if res := c.b.ask("BYE", ""); res.code() != 200 {
			t.Errorf("crossing BYE = %s", res.first)
		}
		bye := x.w.expect("BYE")
		if bye.body != "bye" {
			t.Errorf("BYE\n%s", bye.raw)
		}
		bye.answer("481 Call/Transaction Does Not Exist", "", "")
		if res := c.a.ask("INFO", ""); res.code() != 481 {
			t.Errorf("INFO after the end = %s", res.first)
		}
		c = x.begin("call-2", offer1)
		c.invite.answer("180 Ringing", "b1", "", x.contact())
		c.a.opened(x.a.expect("180 INVITE"))
		if res := c.talkB("b1").ask("BYE", ""); res.code() != 481 {
			t.Errorf("BYE of the callee = %s", res.first)
		}
		if res := c.a.ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		no := c.a.final("INVITE", 1)
		c.a.acknowledge(no)
		x.w.expect("CANCEL").answer("200 OK", "", "")
		c.invite.answer("487 Request Terminated", "b1", "")
		x.w.expect("ACK")
		if no.code() != 487 {
			t.Errorf("INVITE = %s", no.first)
		}
	})
}

// RFC 6026: the 200 is repeated to A until its ACK, and a repeated INVITE is no new one; B's repeats are acknowledged again.
func TestStrayAnswersAreAcknowledgedAgain(t *testing.T) {
	t.Parallel()
	x := newCrossroads(t, "udp", patient)
	c := &calling{x: x, a: x.callerOn(x.a, "call")}
	c.a.seq++
	invite := c.a.text("INVITE", 1, offer1)
	c.a.out(invite)
	c.invite = x.w.expect("INVITE")
	answer := c.invite.response("200 OK", "b1", answer1, x.contact())
	c.invite.reply(answer)
	ok := c.a.final("INVITE", 1)
	c.a.out(invite)
	x.a.again(ok)
	x.a.again(ok)
	c.invite.reply(answer)
	x.w.silent() // no ACK yet: A's shall go all the way
	c.a.opened(ok)
	c.a.send("ACK", "")
	ack := x.w.expect("ACK")
	c.invite.reply(answer)
	x.w.again(ack)
	c.a.send("ACK", "")
	c.a.out(invite)
	x.a.forget()
	c.end()
}

// RFC 3261 §13.3.1.4: without A's ACK both sides are hung up, B with an ACK first.
func TestBridgedCallWithoutACKIsHungUp(t *testing.T) {
	t.Parallel()
	bridgedWith(t, impatient, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.invite.answer("200 OK", "b1", answer1, x.contact())
		c.a.final("INVITE", 1)
		x.w.expect("ACK")
		x.w.expect("BYE").answer("200 OK", "", "")
		x.a.expect("BYE").answer("200 OK", "", "")
		x.a.forget()
	})
}

// RFC 3261 §15: B hangs up before A's ACK is there; A hears of it after its ACK.
func TestBYEWaitsForTheACK(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.begin("call", offer1)
		c.invite.answer("200 OK", "b1", answer1, x.contact())
		ok := c.a.final("INVITE", 1)
		c.a.opened(ok)
		if res := c.talkB("b1").ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		x.w.expect("ACK")
		x.a.again(ok)
		if x.a.forget(); len(x.a.unread()) > 0 {
			t.Errorf("before the ACK: %q", x.a.unread())
		}
		c.a.send("ACK", "")
		x.a.expect("BYE").answer("200 OK", "", "")
		x.a.forget()
	})
}

// RFC 3261 §8.2.2.3: an extension that nobody knows is refused with its name; those of the two ends are theirs.
func TestUnknownRequireIsRefused(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		d := x.callerOn(x.a, "call")
		no := d.ask("INVITE", offer1, "Require: precondition, x-unheard-of")
		if no.code() != 420 || no.get("Unsupported") != "x-unheard-of" {
			t.Errorf("INVITE = %s", no.raw)
		}
		d.acknowledge(no)
		c := x.stand("call-2")
		if res := c.a.ask("INFO", "", "Require: x-unheard-of"); res.code() != 420 || res.get("Unsupported") != "x-unheard-of" {
			t.Errorf("INFO = %s", res.raw)
		}
		if res := c.a.ask("INFO", "", "Max-Forwards: 0"); res.code() != 400 {
			t.Errorf("INFO with two Max-Forwards = %s", res.first)
		}
		c.end()
	})
}

// A next hop that isn't there is 504, and so is one that stays silent.
func TestLostCallIsRefused(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		d := x.callerOn(x.a, "call")
		no := d.ask("INVITE", offer1, "Route: <sip:me;lr>, <sip:127.0.0.1:1;lr;transport=tcp>")
		if no.code() != 504 {
			t.Errorf("INVITE = %s, want 504", no.raw)
		}
		d.acknowledge(no)
	})
}

// Shutdown cancels what rings and hangs up what stands, on both sides.
func TestShutdownHangsUpBridges(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		x.stand("call")
		c := x.begin("call-2", offer1)
		c.invite.answer("180 Ringing", "b9", "", x.contact())
		x.a.expect("180 INVITE")
		over := make(chan error, 1)
		go func() { over <- x.engine.Shutdown(ctxOf(t)) }() // ends with the calls
		no := c.a.final("INVITE", 1)
		if no.code() != 503 {
			t.Errorf("INVITE = %s", no.first)
		}
		c.a.acknowledge(no)
		x.w.expect("CANCEL").answer("200 OK", "", "")
		c.invite.answer("487 Request Terminated", "b9", "")
		x.w.expect("ACK")
		x.w.expect("BYE").answer("200 OK", "", "")
		x.a.expect("BYE").answer("200 OK", "", "")
		if err := <-over; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
	})
}

// RFC 3261 §15: whose re-INVITE is answered and not acknowledged yet when Shutdown begins hears of the end after the ACK, and Shutdown waits for that.
func TestShutdownWaitsForTheACK(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.stand("call")
		c.a.send("INVITE", offer2)
		x.w.expect("INVITE").answer("200 OK", "", answer1, x.contact())
		c.a.final("INVITE", c.a.seq)
		over := make(chan error, 1)
		go func() { over <- x.engine.Shutdown(ctxOf(t)) }() // ends with the calls
		x.w.expect("ACK")
		x.w.expect("BYE").answer("200 OK", "", "")
		select {
		case err := <-over:
			t.Errorf("Shutdown = %v before the ACK", err)
			over <- err
		case <-time.After(50 * time.Millisecond):
		}
		c.a.send("ACK", "")
		x.a.expect("BYE").answer("200 OK", "", "")
		if err := <-over; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		x.a.forget()
	})
}

// scribe rewrites descriptions and notes what it was asked.
type scribe struct {
	mu   sync.Mutex
	said []string
	fail string
}

func (s *scribe) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.said = append(s.said, fmt.Sprintf(format, args...))
}

func (s *scribe) list() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.said, ", ")
}

func (s *scribe) rewrite(what, fork string, from Side, sdp []byte) ([]byte, error) {
	s.note("%s %s %s", what, fork, from)
	if s.fail == what {
		return nil, errors.New("no")
	}
	return []byte(strings.Replace(string(sdp), "s=-", "s="+what+fork, 1)), nil
}

func (s *scribe) Offer(fork string, from Side, sdp []byte) ([]byte, error) {
	return s.rewrite("offer", fork, from, sdp)
}
func (s *scribe) Answer(fork string, from Side, sdp []byte) ([]byte, error) {
	return s.rewrite("answer", fork, from, sdp)
}
func (s *scribe) Rejected(fork string, from Side) { s.note("rejected %s %s", fork, from) }
func (s *scribe) Kept(fork string)                { s.note("kept %s", fork) }
func (s *scribe) Close()                          { s.note("close") }

// guard is a border that marks everything and refuses some.
type guard struct{}

func (guard) Request(in, out *sip.Request, toward Side) *Refusal {
	if in.Method == "FOO" {
		return &Refusal{Code: 403, Header: []Field{{"X-Why", "no"}}}
	}
	out.AppendHeader(sip.NewHeader("X-Toward", toward.String()))
	return nil
}

func (guard) Response(in, out *sip.Response, toward Side) {
	out.AppendHeader(sip.NewHeader("X-Toward", toward.String()))
}

// Border and media see every message once, and each offer and answer with its fork.
func TestBorderAndMediaSeeEverything(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		s := &scribe{}
		x.onward(Onward{Border: guard{}, Media: s})
		body := "--b\r\nContent-Type: application/sdp\r\nContent-Length: " + fmt.Sprint(len(offer1)) + "\r\n\r\n" + offer1 + "\r\n--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--"
		c := x.begin("call", body, "Content-Type: multipart/mixed;boundary=b")
		rewritten := strings.Replace(offer1, "s=-", "s=offer", 1)
		want := strings.Replace(strings.Replace(body, offer1, rewritten, 1), fmt.Sprint("Length: ", len(offer1)), fmt.Sprint("Length: ", len(rewritten)), 1)
		if c.invite.body != want || c.invite.get("X-Toward") != "B" {
			t.Errorf("INVITE\n%s\nwant\n%s", c.invite.raw, want)
		}
		c.invite.answer("183 Session Progress", "b1", answer1, x.contact())
		if res := x.a.expect("183 INVITE"); !strings.Contains(res.body, "s=answerb1") || res.get("X-Toward") != "A" {
			t.Errorf("183\n%s", res.raw)
		}
		c.invite.answer("183 Session Progress", "b2", answer2, x.contact())
		if res := x.a.expect("183 INVITE"); !strings.Contains(res.body, "s=answerb2") {
			t.Errorf("183\n%s", res.raw)
		}
		c.invite.answer("200 OK", "b1", answer1, x.contact())
		ok := c.a.final("INVITE", 1)
		if !strings.Contains(ok.body, "s=answerb1") {
			t.Errorf("200\n%s", ok.raw)
		}
		c.a.opened(ok)
		c.a.send("ACK", "")
		if ack := x.w.expect("ACK"); ack.get("X-Toward") != "B" {
			t.Errorf("ACK\n%s", ack.raw)
		}
		c.b = c.talkB("b1")
		if res := c.a.ask("FOO", ""); res.code() != 403 || res.get("X-Why") != "no" {
			t.Errorf("FOO = %s", res.raw)
		}
		c.b.send("UPDATE", offer2)
		u := x.a.expect("UPDATE")
		if !strings.Contains(u.body, "s=offerb1") || u.get("X-Toward") != "A" {
			t.Errorf("UPDATE\n%s", u.raw)
		}
		u.answer("488 Not Acceptable Here", "", "")
		c.b.final("UPDATE", c.b.seq)
		c.end()
		wanted := "offer  A, answer b1 B, answer b2 B, kept b1, offer b1 B, rejected b1 B, close"
		until(t, func() bool { return s.list() == wanted || strings.Contains(s.list(), "close") })
		if got := s.list(); got != wanted {
			t.Errorf("media heard\n%s, want\n%s", got, wanted)
		}
	})
}

// What the media can't do is refused: the offer of an INVITE with 488, the answer of B with 488 to A and a BYE to B.
func TestMediaMayRefuse(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		s := &scribe{fail: "offer"}
		x.onward(Onward{Media: s})
		d := x.callerOn(x.a, "call")
		no := d.ask("INVITE", offer1)
		d.acknowledge(no)
		if no.code() != 488 {
			t.Errorf("INVITE = %s", no.first)
		}
		until(t, func() bool { return s.list() == "offer  A, close" })
		s = &scribe{fail: "answer"}
		x.onward(Onward{Media: s})
		c := x.begin("call-2", offer1)
		c.invite.answer("200 OK", "b1", answer1, x.contact())
		no = c.a.final("INVITE", 1)
		c.a.acknowledge(no)
		if no.code() != 488 {
			t.Errorf("INVITE = %s", no.first)
		}
		x.w.expect("ACK")
		x.w.expect("BYE").answer("200 OK", "", "")
		x.a.silent()
		until(t, func() bool { return strings.HasSuffix(s.list(), ", close") })
	})
}

// RFC 3261 §12.2.2: requests that overtake each other go on in their order; a re-INVITE that overtakes an ACK waits for it; one that is
// old is 500, and a number that is missing is not waited for long.
func TestBridgeKeepsTheOrder(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		c := x.stand("call")
		if c.a.send("INFO", ""); true {
			x.w.expect("INFO").answer("200 OK", "", "")
			c.a.final("INFO", c.a.seq)
		}
		var p *pair
		for _, q := range x.engine.pairs() {
			p = q
		}
		p.turns.do(func() { x.engine.gap = patience })
		n := c.a.seq
		c.a.out(c.a.text("MESSAGE", n+3, ""))
		c.a.out(c.a.text("FOO", n+2, ""))
		c.a.out(c.a.text("INFO", n+1, ""))
		for i, method := range []string{"INFO", "FOO", "MESSAGE"} {
			m := x.w.expect(method)
			if m.seq() != 3+i {
				t.Errorf("%s has number %d, want %d", method, m.seq(), 3+i)
			}
			m.answer("200 OK", "", "")
			c.a.final(method, n+1+i)
		}
		c.a.seq = n + 3
		c.a.send("INVITE", offer2)
		x.w.expect("INVITE").answer("200 OK", "", answer2, x.contact())
		c.a.final("INVITE", n+4)
		next := c.a.text("INVITE", n+5, offer1)
		c.a.out(next)
		x.w.silent()
		c.a.out(c.a.text("ACK", n+4, ""))
		x.w.expect("ACK")
		x.w.expect("INVITE").answer("200 OK", "", answer1, x.contact())
		c.a.final("INVITE", n+5)
		c.a.out(c.a.text("ACK", n+5, ""))
		x.w.expect("ACK")
		if res := func() *text { c.a.out(c.a.text("INFO", n+2, "")); return c.a.final("INFO", n+2) }(); res.code() != 500 {
			t.Errorf("an old INFO = %s", res.first)
		}
		p.turns.do(func() { x.engine.gap = gapWait })
		c.a.seq = n + 15
		c.end()
	})
}

// alternative is a media with two offers.
type alternative struct{ offers []string }

func (m *alternative) Again() []byte {
	if len(m.offers) == 0 {
		return nil
	}
	next := m.offers[0]
	m.offers = m.offers[1:]
	return []byte(next)
}
func (*alternative) Offer(_ string, _ Side, sdp []byte) ([]byte, error)  { return sdp, nil }
func (*alternative) Answer(_ string, _ Side, sdp []byte) ([]byte, error) { return sdp, nil }
func (*alternative) Rejected(string, Side)                               {}
func (*alternative) Kept(string)                                         {}
func (*alternative) Close()                                              {}

// RFC 3261 §21.4.26: who can't take an offer gets another one, if there is one, before the caller hears of it; a re-INVITE has one only.
func TestOtherOfferFollowsA488(t *testing.T) {
	t.Parallel()
	bridged(t, func(t *testing.T, x *crossroads) {
		for _, taken := range []bool{true, false} {
			offers := []string{offer2}
			if taken {
				offers = append(offers, offer1) // that nobody may ask for
			}
			x.onward(Onward{Media: &alternative{offers}})
			c := x.begin(fmt.Sprint("call", taken), offer1)
			no := func(m *text) {
				m.answer("488 Not Acceptable Here", "b0", "")
				x.w.expect("ACK")
			}
			no(c.invite)
			again := x.w.expect("INVITE")
			if again.body != offer2 || again.seq() != 2 || again.get("Call-ID") != c.invite.get("Call-ID") || again.branch() == c.invite.branch() {
				t.Errorf("INVITE\n%s", again.raw)
			}
			c.invite = again
			if !taken {
				no(again)
				refused := c.a.final("INVITE", c.a.seq)
				if refused.code() != 488 {
					t.Errorf("%s", refused.raw)
				}
				c.a.acknowledge(refused)
				continue
			}
			again.answer("200 OK", "b1", answer2, x.contact())
			ok := c.a.final("INVITE", c.a.seq)
			if ok.code() != 200 || ok.body != answer2 {
				t.Errorf("%s", ok.raw)
			}
			c.a.opened(ok)
			c.a.send("ACK", "")
			x.w.expect("ACK")
			x.onward(Onward{})
			c.a.send("INVITE", offer1)
			no(x.w.expect("INVITE"))
			refused := c.a.final("INVITE", c.a.seq)
			if refused.code() != 488 {
				t.Errorf("re-INVITE: %s", refused.raw)
			}
			c.a.acknowledge(refused)
			c.end()
		}
	})
}

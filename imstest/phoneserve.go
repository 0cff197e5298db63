package imstest

import (
	"fmt"
	"strings"
	"time"
)

// serve takes a request. It runs on the node's reader and does not block.
func (p *Phone) serve(m *Message, src source) {
	p.pmu.Lock()
	p.received = append(p.received, m)
	p.pmu.Unlock()
	inDialog := param(m.Get("To"), "tag") != ""
	switch m.Method {
	case "OPTIONS":
		p.options(m, src)
	case "INVITE":
		if inDialog {
			p.reinvited(m, src)
		} else {
			p.invited(m, src)
		}
	case "ACK":
		p.acknowledged(m)
	case "CANCEL":
		p.pmu.Lock()
		c := p.ringing[param(firstOf(m, "Via"), "branch")]
		p.pmu.Unlock()
		if c == nil {
			p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
			return
		}
		p.respond(m, src, reply(m, 200, "OK", c.localTag))
		c.onceCancel.Do(func() { close(c.cancelled) })
	case "MESSAGE":
		p.paged(m, src)
	case "BYE", "PRACK", "UPDATE", "INFO":
		c := p.dialog(m)
		if c == nil {
			p.pmu.Lock()
			crossed := m.Method == "BYE" && p.noticed["ended "+dialogKey(m)]
			p.pmu.Unlock()
			if crossed { // both hung up at once (PROTOCOLS B5.09)
				p.respond(m, src, reply(m, 200, "OK", ""))
				return
			}
			p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
			return
		}
		p.ordered(c, m)
		p.within200(c, m, src)
	default:
		p.respond(m, src, reply(m, 405, "Method Not Allowed", token()).Add("Allow", phoneAllow))
	}
}

const phoneAllow = "INVITE, ACK, CANCEL, BYE, OPTIONS, MESSAGE, PRACK, UPDATE"

// options answers what others ask about the phone (PROTOCOLS B3.01).
func (p *Phone) options(m *Message, src source) {
	manner := p.mannered()
	if manner.OptionsMute {
		return
	}
	code, reason := manner.OptionsCode, "Answer"
	if code == 0 {
		code, reason = 200, "OK"
	}
	res := reply(m, code, reason, token())
	if code == 200 {
		res.Add("Contact", p.contact(true)).Add("Allow", phoneAllow).Add("Accept", "application/sdp, message/cpim")
	}
	p.respond(m, src, res)
}

// within200 answers a request of a dialog.
func (p *Phone) within200(c *phoneCall, m *Message, src source) {
	switch m.Method {
	case "BYE":
		p.respond(m, src, reply(m, 200, "OK", ""))
		c.onceCancel.Do(func() { close(c.cancelled) }) // RFC 3261 §15.1.2: a BYE also ends what rings
		p.forget(c)
		p.tell(PhoneEvent{Type: "hangup", Peer: c.peer, ID: c.callID})
	case "PRACK":
		c.mu.Lock()
		want := fmt.Sprintf("%d %d INVITE", c.rseq, number(c.invite))
		got := strings.Join(strings.Fields(m.Get("RAck")), " ")
		ok := c.rseq != 0 && got == want
		first := false
		select {
		case <-c.pracked:
		default:
			if first = ok; ok {
				close(c.pracked)
			}
		}
		c.mu.Unlock()
		if !ok || !first {
			p.violation("PRACK with RAck %q, want %q once (RFC 3262 §7.2)", got, want)
			p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", ""))
			return
		}
		p.respond(m, src, reply(m, 200, "OK", ""))
	default:
		p.respond(m, src, reply(m, 200, "OK", "").Add("Contact", p.contact(false)))
	}
}

// acknowledged takes the ACK of a 200 to an INVITE or re-INVITE.
func (p *Phone) acknowledged(m *Message) {
	c := p.dialog(m)
	if c == nil {
		p.log.Debug("ack outside of a dialog", "call_id", m.Get("Call-ID"))
		return
	}
	c.mu.Lock()
	acked := c.acks[number(m)]
	if acked == nil {
		c.mu.Unlock()
		p.violation("ACK with CSeq %q, which no INVITE of the dialog has (RFC 3261 §13.2.2.4)", m.Get("CSeq"))
		return
	}
	select {
	case <-acked:
	default:
		close(acked)
	}
	c.mu.Unlock()
}

// ordered notes a CSeq that does not grow (RFC 3261 §12.2.2).
func (p *Phone) ordered(c *phoneCall, m *Message) {
	c.mu.Lock()
	before := c.remoteSeq
	c.remoteSeq = number(m)
	c.mu.Unlock()
	if number(m) <= before && before != 0 {
		p.violation("%s with CSeq %d after %d", m.Method, number(m), before)
	}
	if m.Get("Route") != "" {
		p.violation("%s reached the phone with Route %q", m.Method, m.Get("Route"))
	}
}

// dialogKey names the dialog that a request which came belongs to.
func dialogKey(m *Message) string { return m.Get("Call-ID") + " " + param(m.Get("To"), "tag") }

func (p *Phone) dialog(m *Message) *phoneCall {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	c := p.dialogs[dialogKey(m)]
	if c != nil && param(m.Get("From"), "tag") != c.remoteTag {
		return nil
	}
	return c
}

func (c *phoneCall) end() {
	c.once.Do(func() { close(c.over) })
	if ep := c.endpoint(); ep != nil {
		ep.close()
	}
}

func (p *Phone) forget(c *phoneCall) {
	p.pmu.Lock()
	delete(p.dialogs, c.callID+" "+c.localTag)
	p.noticed["ended "+c.callID+" "+c.localTag] = true
	if p.calls[c.peer] == c {
		delete(p.calls, c.peer)
	}
	p.pmu.Unlock()
	c.end()
}

// accept sends a 200 to an INVITE until its ACK comes (RFC 3261 §13.3.1.4). It reports false where none came
// or the call ended.
func (p *Phone) accept(c *phoneCall, m *Message, src source, res *Message) bool {
	acked := make(chan struct{})
	c.mu.Lock()
	c.acks[number(m)] = acked
	c.mu.Unlock()
	p.respond(m, src, res)
	for wait, begin := t1, time.Now(); ; wait = min(2*wait, t2) {
		select {
		case <-acked:
			return true
		case <-c.over:
			return false
		case <-p.done:
			return false
		case <-time.After(wait):
		}
		if time.Since(begin) > 64*t1 {
			p.violation("no ACK for the 200 of %s", c.callID)
			return false
		}
		_ = p.write(res, src)
	}
}

package imstest

import (
	"fmt"
	"strings"
	"time"
)

// invited takes an INVITE and leaves the answer to a goroutine of the call.
func (p *Phone) invited(m *Message, src source) {
	peer := aor(uriOf(m.Get("From")))
	if pai := firstOf(m, "P-Asserted-Identity"); pai != "" {
		peer = aor(uriOf(pai))
	}
	c := newPhoneCall(peer, m.Get("Call-ID"))
	c.remoteTag, c.invite = param(m.Get("From"), "tag"), m
	c.local, c.remote = "<"+uriOf(m.Get("To"))+">", "<"+uriOf(m.Get("From"))+">"
	c.target, c.routes = uriOf(firstOf(m, "Contact")), m.All("Record-Route")
	p.ordered(c, m)
	branch := param(firstOf(m, "Via"), "branch")
	p.pmu.Lock()
	p.ringing[branch] = c
	p.dialogs[c.callID+" "+c.localTag] = c // early, for PRACK and BYE
	p.pmu.Unlock()
	p.spawn(func() {
		ok := p.answer(c, m, src)
		p.pmu.Lock()
		delete(p.ringing, branch)
		p.pmu.Unlock()
		if !ok {
			p.forget(c)
		}
	})
}

// answer answers an INVITE as the phone's manner says. It reports whether the call is up.
func (p *Phone) answer(c *phoneCall, m *Message, src source) bool {
	manner := p.mannered()
	refuse := func(code int, reason string) bool {
		p.respond(m, src, reply(m, code, reason, c.localTag))
		return false
	}
	if required := m.Get("Require"); required != "" && required != "100rel" {
		p.respond(m, src, reply(m, 420, "Bad Extension", c.localTag).Add("Unsupported", required))
		return false
	}
	if manner.RingFor > 0 {
		if !p.ring(c, m, src, manner) && !manner.Hasty {
			return refuse(487, "Request Terminated")
		}
	}
	if manner.AnswerCode >= 300 {
		return refuse(manner.AnswerCode, "No")
	}
	for _, name := range []string{"Conversation-ID", "Contribution-ID"} {
		if m.Get(name) == "" {
			p.violation("INVITE without %s (PROTOCOLS B3.04)", name)
		}
	}
	sdp, cpim, err := m.bodies()
	var media remoteMedia
	if err == nil {
		media, err = readSDP(sdp)
	}
	if err != nil {
		p.violation("INVITE: %v", err)
		return refuse(488, "Not Acceptable Here")
	}
	if media.file != nil {
		if code := p.checkFile(m, media, manner); code != 200 {
			return refuse(code, "No")
		}
	} else {
		p.checkSDP("INVITE", media, sdp)
	}
	if manner.Transport == "tcp" && media.tls || manner.Transport == "tls" && !media.tls {
		return refuse(488, "Not Acceptable Here")
	}
	ep, setup, err := p.join(c, media, manner)
	if err != nil {
		return refuse(500, "Server Internal Error")
	}
	if media.file != nil {
		if ep.file, err = p.takeFile(c, ep, media, manner); err != nil {
			return refuse(500, "Server Internal Error")
		}
	}
	res := reply(m, 200, "OK", c.localTag).Add("Contact", p.contact(true)).Add("Allow", phoneAllow).Add("Content-Type", "application/sdp")
	res.Body = p.sdp(ep, setup)
	c.swap(ep)
	select {
	case <-c.cancelled: // before the 200 left
		if !manner.Hasty {
			return refuse(487, "Request Terminated")
		}
	default:
	}
	p.pmu.Lock()
	delete(p.ringing, param(firstOf(m, "Via"), "branch"))
	if ep.file == nil {
		p.calls[c.peer] = c
	}
	p.pmu.Unlock()
	if setup == "passive" && !manner.MuteMSRP {
		ep.accept()
	}
	if manner.Hasty {
		p.spawn(func() { p.connectAs(c, ep, setup, media) })
	}
	if !p.accept(c, m, src, res) {
		p.bye(c)
		return false
	}
	if ep.file == nil {
		p.tell(PhoneEvent{Type: "call", Peer: c.peer, ID: c.callID})
	}
	if cpim != nil {
		p.arrived(c, nil, "message/cpim", cpim)
	}
	if !manner.Hasty {
		p.connectAs(c, ep, setup, media)
	}
	return true
}

// ring sends 180 and waits. It reports false where the caller gave up.
func (p *Phone) ring(c *phoneCall, m *Message, src source, manner Manner) bool {
	res := reply(m, 180, "Ringing", c.localTag).Add("Contact", p.contact(false))
	var repeat <-chan time.Time
	if manner.Reliable && (strings.Contains(m.Get("Supported"), "100rel") || m.Get("Require") == "100rel") {
		c.mu.Lock()
		c.rseq = 1
		c.mu.Unlock()
		res.Add("Require", "100rel").Add("RSeq", "1")
		ticker := time.NewTicker(t1) // RFC 3262 §3: the interval doubles; here it needn't
		defer ticker.Stop()
		repeat = ticker.C
	}
	p.respond(m, src, res)
	answer := time.After(manner.RingFor)
	pracked := c.pracked
	for {
		select {
		case <-answer:
			if repeat != nil { // RFC 3262 §3: the final response waits for the PRACK
				answer = nil
				continue
			}
			return true
		case <-pracked:
			pracked, repeat = nil, nil
			if answer == nil {
				return true
			}
		case <-repeat:
			_ = p.write(res, src)
		case <-c.cancelled:
			return false
		case <-p.done:
			return false
		}
	}
}

// join makes an MSRP session for an offer and chooses this side's role (RFC 6135 §4.2.2): phones behind NAT are active.
func (p *Phone) join(c *phoneCall, offer remoteMedia, manner Manner) (*endpoint, string, error) {
	ep := p.newSession(c)
	ep.tls = offer.tls
	ep.expect(offer)
	if err := ep.listen(); err != nil {
		return nil, "", err
	}
	switch offer.setup {
	case "active":
		return ep, "passive", nil
	case "passive":
		p.violation("the offer is a=setup:passive (RFC 6135 §4.2.1)")
		return ep, "active", nil
	case "actpass":
	default:
		p.violation("the offer's a=setup is %q (RFC 6135 §4.2.1)", offer.setup)
		return ep, "passive", nil // RFC 4975 §8.5: without it, the offerer connects
	}
	if manner.Setup == "" {
		return ep, "active", nil
	}
	return ep, manner.Setup, nil
}

func (p *Phone) newSession(c *phoneCall) *endpoint {
	var ep *endpoint
	ep = newEndpoint(p, func(_, contentType string, body []byte) { p.arrived(c, ep, contentType, body) })
	ep.call = c
	return ep
}

// signalling is how long a BYE or re-INVITE may come behind the end of MSRP that belongs to it: they take different ways.
const signalling = 10 * time.Second

// connectAs connects MSRP where this side is the active one.
func (p *Phone) connectAs(c *phoneCall, ep *endpoint, setup string, media remoteMedia) {
	manner := p.mannered()
	if manner.MuteMSRP || manner.NoMedia {
		return
	}
	if setup != "active" {
		p.spawn(func() { p.awaitMedia(c, ep) })
		return
	}
	ep.ln.Close()
	if manner.LateMSRP > 0 {
		select {
		case <-time.After(manner.LateMSRP):
		case <-c.over:
			return
		case <-p.done:
			return
		}
	}
	addr := media.addr(!manner.NoCEMA)
	err := ep.connect(addr)
	if err == nil {
		p.tell(PhoneEvent{Type: "media", Peer: c.peer, ID: c.callID})
		return
	}
	for end := time.Now().Add(signalling); c.endpoint() == ep; { // with a re-INVITE it is another one
		if time.Now().After(end) {
			p.violation("msrp: the empty SEND to %s was not answered 200: %v", addr, err)
			return
		}
		select {
		case <-c.over: // the call ended meanwhile
			return
		case <-p.done:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// awaitMedia tells when the peer's connection is up.
func (p *Phone) awaitMedia(c *phoneCall, ep *endpoint) {
	select {
	case <-ep.up:
		p.tell(PhoneEvent{Type: "media", Peer: c.peer, ID: c.callID})
	case <-ep.done:
	case <-p.done:
	}
}

// reinvited answers a re-INVITE: with what stands, or, where the peer has a new path, with a new session.
func (p *Phone) reinvited(m *Message, src source) {
	c := p.dialog(m)
	if c == nil {
		p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
		return
	}
	p.ordered(c, m)
	p.spawn(func() {
		if err := p.reanswer(c, m, src); err != nil {
			p.log.Debug("re-invite", "error", err)
		}
	})
}

func (p *Phone) reanswer(c *phoneCall, m *Message, src source) error {
	old, manner := c.endpoint(), p.mannered()
	if old == nil || c.isRenewing() { // RFC 3261 §14.2
		p.respond(m, src, reply(m, 491, "Request Pending", ""))
		return fmt.Errorf("re-INVITE before the call was up, or across one of the phone's own")
	}
	if manner.ReofferCode >= 300 {
		p.respond(m, src, reply(m, manner.ReofferCode, "No", ""))
		return nil
	}
	sdp, _, err := m.bodies()
	var media remoteMedia
	if err == nil {
		media, err = readSDP(sdp)
	}
	if err != nil {
		p.respond(m, src, reply(m, 488, "Not Acceptable Here", ""))
		return err
	}
	p.checkSDP("re-INVITE", media, sdp)
	res := reply(m, 200, "OK", "").Add("Contact", p.contact(false)).Add("Content-Type", "application/sdp")
	if media.path == old.remotePath() { // RFC 4975 §8.4: nothing changes
		setup := "passive"
		if media.setup == "passive" {
			setup = "active"
		}
		res.Body = p.sdp(old, setup)
		p.accept(c, m, src, res)
		return nil
	}
	ep, setup, err := p.join(c, media, manner)
	if err != nil {
		p.respond(m, src, reply(m, 500, "Server Internal Error", ""))
		return err
	}
	res.Body = p.sdp(ep, setup)
	c.swap(ep)
	if setup == "passive" && !manner.MuteMSRP {
		ep.accept()
	}
	if p.accept(c, m, src, res) {
		p.connectAs(c, ep, setup, media)
	}
	return nil
}

package imstest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// invited answers an INVITE as the phone's manner says.
func (p *Phone) invited(m *Message, src source) {
	manner := p.mannered()
	p.pmu.Lock()
	p.invites = append(p.invites, m)
	p.pmu.Unlock()
	if manner.AnswerCode >= 300 {
		p.respond(m, src, reply(m, manner.AnswerCode, "No", token()))
		return
	}
	peer := aor(uriOf(m.Get("From")))
	if pai := m.Get("P-Asserted-Identity"); pai != "" {
		peer = aor(uriOf(pai))
	}
	c := &phoneCall{
		peer: peer, callID: m.Get("Call-ID"), localTag: token(), remoteTag: param(m.Get("From"), "tag"), invite: m,
		local: "<" + uriOf(m.Get("To")) + ">", remote: "<" + uriOf(m.Get("From")) + ">", target: uriOf(m.Get("Contact")), routes: m.All("Record-Route"),
		over: make(chan struct{}), acked: make(chan struct{}), cancelled: make(chan struct{}),
	}
	p.ordered(c, m)
	branch := param(firstOf(m, "Via"), "branch")
	p.pmu.Lock()
	p.ringing[branch] = c
	p.pmu.Unlock()
	defer func() {
		p.pmu.Lock()
		delete(p.ringing, branch)
		p.pmu.Unlock()
	}()
	if manner.RingFor > 0 {
		p.respond(m, src, reply(m, 180, "Ringing", c.localTag).Add("Contact", p.contact(false)))
		select {
		case <-time.After(manner.RingFor):
		case <-c.cancelled:
			p.respond(m, src, reply(m, 487, "Request Terminated", c.localTag))
			return
		case <-p.done:
			return
		}
	}
	media, err := readSDP(m.Body)
	if err != nil {
		p.violation("INVITE: %v", err)
		p.respond(m, src, reply(m, 488, "Not Acceptable Here", c.localTag))
		return
	}
	for _, name := range []string{"Conversation-ID", "Contribution-ID"} {
		if m.Get(name) == "" {
			p.violation("INVITE without %s (PROTOCOLS B3.04)", name)
		}
	}
	ep := newEndpoint(p, func(id, contentType string, body []byte) { p.arrived(c, id, contentType, body) })
	ep.setRemote(media.path)
	c.ep = ep
	if err := ep.listen(); err != nil {
		p.respond(m, src, reply(m, 500, "Server Internal Error", c.localTag))
		return
	}
	// RFC 6135: the answerer chooses where the offer is actpass; phones behind NAT are active.
	setup := manner.Setup
	switch media.setup {
	case "active":
		setup = "passive"
	case "passive":
		p.violation("the offer is a=setup:passive (RFC 6135 §4.2.1)")
		setup = "active"
	default:
		if setup == "" {
			setup = "active"
		}
	}
	res := reply(m, 200, "OK", c.localTag).Add("Contact", p.contact(true)).Add("Content-Type", "application/sdp")
	res.Body = p.sdp(ep, setup)
	p.pmu.Lock()
	p.dialogs[c.callID+" "+c.localTag] = c
	p.calls[peer] = c
	p.pmu.Unlock()
	if setup == "passive" && !manner.MuteMSRP {
		ep.accept()
	}
	p.respond(m, src, res)
	for wait, begin := t1, time.Now(); ; wait = min(2*wait, t2) {
		select {
		case <-c.acked:
			p.joined(c, setup, media.addr)
			return
		case <-c.over:
			return
		case <-p.done:
			return
		case <-time.After(wait):
			if time.Since(begin) > 64*t1 {
				p.violation("no ACK for the 200 of %s", c.callID)
				p.forget(c)
				return
			}
			_ = p.write(res, src)
		}
	}
}

// joined connects MSRP where this side is the active one.
func (p *Phone) joined(c *phoneCall, setup, addr string) {
	p.tell(PhoneEvent{Type: "call", Peer: c.peer, ID: c.callID})
	manner := p.mannered()
	if setup != "active" || manner.MuteMSRP {
		return
	}
	c.ep.ln.Close()
	if manner.LateMSRP > 0 {
		select {
		case <-time.After(manner.LateMSRP):
		case <-c.over:
			return
		}
	}
	if err := c.ep.connect(addr); err != nil {
		p.log.Debug("msrp connect", "error", err)
	}
}

// reinvited answers a re-INVITE with what stands.
func (p *Phone) reinvited(m *Message, src source) {
	c := p.dialog(m)
	if c == nil {
		p.respond(m, src, reply(m, 481, "Call/Transaction Does Not Exist", token()))
		return
	}
	p.ordered(c, m)
	res := reply(m, 200, "OK", "").Add("Contact", p.contact(false)).Add("Content-Type", "application/sdp")
	res.Body = p.sdp(c.ep, "passive")
	p.respond(m, src, res)
}

// arrived takes a message of the chat.
func (p *Phone) arrived(c *phoneCall, id, contentType string, body []byte) {
	if strings.HasPrefix(contentType, "application/im-iscomposing+xml") {
		p.composes(c, body)
		return
	}
	if contentType != "message/cpim" {
		p.violation("msrp: content type %q was not offered", contentType)
		return
	}
	e, err := readEnvelope(body)
	if err != nil {
		p.violation("%v", err)
		return
	}
	switch e.mediaType() {
	case "message/imdn+xml":
		id, status := imdnID.FindSubmatch(e.body), imdnStatus.FindSubmatch(e.body)
		if id == nil || status == nil {
			p.violation("imdn without message-id or status: %s", e.body)
			return
		}
		if e.header["imdn.Disposition-Notification"] != "" {
			p.violation("an IMDN asks for an IMDN (RFC 5438 §7.2.1)")
		}
		p.tell(PhoneEvent{Type: "receipt", Peer: c.peer, ID: string(id[1]), Status: string(status[1])})
	case "application/im-iscomposing+xml":
		p.composes(c, e.body)
	default:
		wants := e.header["imdn.Disposition-Notification"]
		if wants != "" && (e.header["DateTime"] == "" || e.header["imdn.Message-ID"] == "") {
			p.violation("cpim asks for IMDN without DateTime or Message-ID (RFC 5438 §7.1.1)")
		}
		p.tell(PhoneEvent{Type: "message", Peer: c.peer, ID: e.header["imdn.Message-ID"], Text: string(e.body), Wants: wants})
		if strings.Contains(wants, "positive-delivery") && !p.mannered().NoReceipts {
			p.running.Go(func() { p.receipt(c, e.header["imdn.Message-ID"], "delivery", "delivered") })
		}
	}
}

func (p *Phone) composes(c *phoneCall, body []byte) {
	state := stateOf.FindSubmatch(body)
	if state == nil {
		p.violation("is-composing without state: %s", body)
		return
	}
	p.tell(PhoneEvent{Type: "composing", Peer: c.peer, Active: string(state[1]) == "active"})
}

func (p *Phone) receipt(c *phoneCall, id, kind, status string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	doc := imdnDocument(id, p.opt.URI, kind, status)
	_ = c.ep.send(ctx, token(), "message/cpim", writeEnvelope(p.opt.URI, c.peer, token(), "", "message/imdn+xml", doc))
}

// Display says that the user has read a message of the peer (a displayed IMDN).
func (p *Phone) Display(peer, id string) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c != nil {
		p.receipt(c, id, "display", "displayed")
	}
}

// Send sends a text to a peer, opening the chat if need be, and returns its imdn.Message-ID.
func (p *Phone) Send(ctx context.Context, peer, text string) (string, error) {
	return p.SendAs(ctx, peer, text, token())
}

// SendAs is Send under a given imdn.Message-ID.
func (p *Phone) SendAs(ctx context.Context, peer, text, id string) (string, error) {
	c, err := p.Call(ctx, peer)
	if err != nil {
		return "", err
	}
	body := writeEnvelope(p.opt.URI, peer, id, "positive-delivery, display", "text/plain; charset=utf-8", text)
	return id, c.ep.send(ctx, token(), "message/cpim", body)
}

// Composing tells the peer of an open chat whether the user is typing.
func (p *Phone) Composing(ctx context.Context, peer string, active bool) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	return c.ep.send(ctx, token(), "application/im-iscomposing+xml", []byte(composingDocument(active)))
}

// Call opens a chat with a peer, or returns the open one.
func (p *Phone) Call(ctx context.Context, peer string) (*phoneCall, error) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c != nil {
		select {
		case <-c.ep.done:
			p.forget(c)
		default:
			return c, nil
		}
	}
	return p.call(ctx, peer, "")
}

// CallWith opens a chat whose INVITE carries a first message beside its offer (SIMPLE IM, PROTOCOLS B3.04).
func (p *Phone) CallWith(ctx context.Context, peer, text string) (id string, err error) {
	_, err = p.call(ctx, peer, text)
	return "", err
}

func (p *Phone) call(ctx context.Context, peer, first string) (*phoneCall, error) {
	manner := p.mannered()
	c := &phoneCall{
		peer: peer, callID: token(), localTag: token(), local: "<" + p.opt.URI + ">", remote: "<" + peer + ">", seq: 1,
		over: make(chan struct{}), acked: make(chan struct{}), cancelled: make(chan struct{}),
	}
	c.ep = newEndpoint(p, func(id, contentType string, body []byte) { p.arrived(c, id, contentType, body) })
	if err := c.ep.listen(); err != nil {
		return nil, err
	}
	setup := "actpass"
	if manner.Setup == "active" {
		setup = "active"
	}
	sdp := p.sdp(c.ep, setup)
	m := &Message{Method: "INVITE", URI: peer}
	m.Add("Max-Forwards", "70").Add("From", c.local+";tag="+c.localTag).Add("To", c.remote).Add("Call-ID", c.callID).Add("CSeq", "1 INVITE").
		Add("Contact", p.contact(true)).Add("Route", "<sip:"+p.opt.Core+";lr>").Add("Allow", "INVITE, ACK, CANCEL, BYE, OPTIONS").
		Add("Contribution-ID", token()).Add("Conversation-ID", token())
	if first == "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = sdp
	} else {
		b := "boundary" + token()
		m.Add("Content-Type", `multipart/mixed;boundary="`+b+`"`)
		m.Body = fmt.Appendf(nil, "--%s\r\nContent-Type: application/sdp\r\n\r\n%s\r\n--%s\r\nContent-Type: message/cpim\r\n\r\n%s\r\n--%s--\r\n",
			b, sdp, b, writeEnvelope(p.opt.URI, peer, token(), "positive-delivery", "text/plain", first), b)
	}
	to := p.core()
	if len(m.Bytes()) > 1100 {
		to.network = "tcp"
	}
	if setup == "actpass" && !manner.MuteMSRP {
		c.ep.accept()
	}
	tx := p.send(ctx, m, to, "")
	for {
		select {
		case res := <-tx.responses:
			switch {
			case res.Status < 200:
			case res.Status < 300:
				return c, p.established(ctx, c, m, res, to)
			default:
				c.ep.close()
				ack := &Message{Method: "ACK", URI: m.URI}
				ack.Add("Via", firstOf(m, "Via")).Add("Max-Forwards", "70").Add("From", m.Get("From")).Add("To", res.Get("To")).
					Add("Call-ID", c.callID).Add("CSeq", "1 ACK").Add("Route", "<sip:"+p.opt.Core+";lr>")
				_ = p.write(ack, to)
				return nil, &Refusal{res.Status, res.Reason}
			}
		case <-ctx.Done():
			cancel := cancelOf(m)
			p.send(context.Background(), cancel, to, param(firstOf(m, "Via"), "branch"))
			c.ep.close()
			return nil, ctx.Err()
		case <-p.done:
			return nil, errNoAnswer
		}
	}
}

// Refusal is a final response of 300 and up to a call of the phone.
type Refusal struct {
	Status int
	Reason string
}

// Error tells code and phrase.
func (r *Refusal) Error() string { return fmt.Sprintf("refused: %d %s", r.Status, r.Reason) }

func (p *Phone) established(ctx context.Context, c *phoneCall, m, res *Message, to source) error {
	c.remoteTag = param(res.Get("To"), "tag")
	c.target = uriOf(res.Get("Contact"))
	rr := res.All("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		c.routes = append(c.routes, rr[i])
	}
	p.pmu.Lock()
	p.dialogs[c.callID+" "+c.localTag] = c
	p.calls[c.peer] = c
	p.pmu.Unlock()
	ack := p.within(c, "ACK", 1)
	next := p.nextOf(c)
	ack.Push("Via", p.via(next.network, "z9hG4bK"+token()))
	if err := p.write(ack, next); err != nil {
		return err
	}
	media, err := readSDP(res.Body)
	if err != nil {
		p.violation("200 OK: %v", err)
		return err
	}
	c.ep.setRemote(media.path)
	p.tell(PhoneEvent{Type: "call", Peer: c.peer, ID: c.callID})
	switch media.setup {
	case "active":
		select {
		case <-c.ep.up:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	case "passive":
		c.ep.ln.Close()
		return c.ep.connect(media.addr)
	}
	p.violation("the answer's a=setup is %q (RFC 6135 §4.2)", media.setup)
	return errors.New("no role in the answer")
}

// within makes a request of the dialog.
func (p *Phone) within(c *phoneCall, method string, seq int) *Message {
	m := &Message{Method: method, URI: c.target}
	for _, r := range c.routes {
		m.Add("Route", r)
	}
	m.Add("Max-Forwards", "70").Add("From", c.local+";tag="+c.localTag).Add("To", c.remote+";tag="+c.remoteTag).
		Add("Call-ID", c.callID).Add("CSeq", fmt.Sprintf("%d %s", seq, method))
	if method == "INVITE" {
		m.Add("Contact", p.contact(false))
	}
	return m
}

func (p *Phone) nextOf(c *phoneCall) source {
	uri := c.target
	if len(c.routes) > 0 {
		uri = uriOf(c.routes[0])
	}
	addr, network := hostPort(uri)
	return source{network: network, addr: addr}
}

// HangUp ends the chat with a peer by BYE.
func (p *Phone) HangUp(ctx context.Context, peer string) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	c.seq++
	res, err := p.do(ctx, p.within(c, "BYE", c.seq), p.nextOf(c))
	p.forget(c)
	if err == nil && res.Status != 200 {
		return fmt.Errorf("bye: %d %s", res.Status, res.Reason)
	}
	return err
}

// Cut closes the chat's TCP connection without a word.
func (p *Phone) Cut(peer string) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c != nil {
		c.ep.close()
	}
}

// Chatting reports whether a chat with the peer is open.
func (p *Phone) Chatting(peer string) bool {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	return p.calls[peer] != nil
}

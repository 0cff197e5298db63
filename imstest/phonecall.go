package imstest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Refusal is a final response of 300 and up to a request of the phone.
type Refusal struct {
	Status int
	Reason string
}

// Error tells code and phrase.
func (r *Refusal) Error() string { return fmt.Sprintf("refused: %d %s", r.Status, r.Reason) }

// Call opens a chat with a peer, or returns the open one.
func (p *Phone) Call(ctx context.Context, peer string) (*phoneCall, error) {
	if c := p.standing(peer); c != nil {
		return c, nil
	}
	return p.call(ctx, peer, "", "", chatService)
}

// CallWith opens a chat whose INVITE carries a first message beside its offer (SIMPLE IM, PROTOCOLS B3.04),
// and returns the message's imdn.Message-ID.
func (p *Phone) CallWith(ctx context.Context, peer, text string) (id string, err error) {
	id = token()
	_, err = p.call(ctx, peer, text, id, chatService)
	return id, err
}

// standing is the open chat with a peer. A chat whose MSRP session is gone is forgotten, with a BYE.
func (p *Phone) standing(peer string) *phoneCall {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return nil
	}
	select {
	case <-c.endpoint().done:
		p.spawn(func() { p.bye(c) })
		return nil
	default:
		return c
	}
}

// chatService is a chat's service of CPM.
const chatService = "oma.cpm.session"

func (p *Phone) call(ctx context.Context, peer, first, id, service string) (*phoneCall, error) {
	manner := p.mannered()
	c := newPhoneCall(peer, token())
	c.local, c.remote, c.seq = "<"+p.opt.URI+">", "<"+peer+">", 1
	ep := p.newSession(c)
	ep.tls = manner.Transport == "tls"
	if err := ep.listen(); err != nil {
		return nil, err
	}
	c.swap(ep)
	setup := "actpass"
	if manner.Setup == "active" {
		setup = "active"
	}
	m := p.inviteOf(c, p.sdp(ep, setup), first, id, service)
	if setup == "actpass" && !manner.MuteMSRP {
		ep.accept()
	}
	tx := p.send(context.WithoutCancel(ctx), m, p.core(), "")
	res, err := p.outcome(ctx, tx)
	if err != nil {
		c.end()
		p.spawn(func() { p.abandon(c, m, tx) })
		return nil, err
	}
	if res.Status >= 300 {
		p.settle(c, m, res, tx)
		p.spawn(func() { p.afterwards(c, m, tx) })
		c.end()
		return nil, &Refusal{res.Status, res.Reason}
	}
	if err := p.confirm(c, res); err != nil {
		return nil, err
	}
	p.spawn(func() { p.afterwards(c, m, tx) })
	p.tell(PhoneEvent{Type: "call", Peer: c.peer, ID: c.callID})
	if err := p.conclude(ctx, c, ep, res, "200 OK"); err != nil {
		p.bye(c)
		return nil, err
	}
	return c, nil
}

// outcome waits for the final response of an INVITE.
func (p *Phone) outcome(ctx context.Context, tx *clientTx) (*Message, error) {
	for {
		select {
		case res := <-tx.responses:
			if res.Status >= 200 {
				return res, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.done:
			return nil, errNoAnswer
		}
	}
}

// inviteOf makes the INVITE of a chat, alone or with a first message.
func (p *Phone) inviteOf(c *phoneCall, sdp []byte, first, id, service string) *Message {
	m := &Message{Method: "INVITE", URI: c.peer}
	m.Add("Max-Forwards", "70").Add("From", c.local+";tag="+c.localTag).Add("To", c.remote).Add("Call-ID", c.callID).Add("CSeq", "1 INVITE").
		Add("Contact", p.contact(true)).Add("Route", "<sip:"+p.opt.Core+";lr>").Add("Allow", phoneAllow).
		Add("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi."+service).
		Add("Accept-Contact", `*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.`+service+`"`).
		Add("Contribution-ID", token()).Add("Conversation-ID", token())
	if l := p.mannered().Language; l != "" {
		m.Add("Accept-Language", l)
	}
	if first == "" {
		m.Add("Content-Type", "application/sdp")
		m.Body = sdp
		return m
	}
	b := "boundary" + token()
	m.Add("Content-Type", `multipart/mixed;boundary="`+b+`"`)
	m.Body = fmt.Appendf(nil, "--%s\r\nContent-Type: application/sdp\r\n\r\n%s\r\n--%s\r\nContent-Type: message/cpim\r\n\r\n%s\r\n--%s--\r\n",
		b, sdp, b, writeEnvelope(p.opt.URI, c.peer, id, "positive-delivery, display", "text/plain", first), b)
	return m
}

// confirm makes a dialog of the 200 to a chat's INVITE and sends its ACK.
func (p *Phone) confirm(c *phoneCall, res *Message) error { return p.confirmed(c, res, true) }

func (p *Phone) confirmed(c *phoneCall, res *Message, chat bool) error {
	c.remoteTag = param(res.Get("To"), "tag")
	c.target = uriOf(firstOf(res, "Contact"))
	if len(res.All("Contact")) != 1 {
		p.violation("200 to INVITE with %d Contacts (RFC 3261 §12.1.1)", len(res.All("Contact")))
	}
	rr := res.All("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		c.routes = append(c.routes, rr[i])
	}
	c.mu.Lock()
	c.ack = p.within(c, "ACK", 1)
	next := p.nextOf(c)
	c.ack.Push("Via", p.via(next.network, "z9hG4bK"+token()))
	ack := c.ack
	c.mu.Unlock()
	p.pmu.Lock()
	p.dialogs[c.callID+" "+c.localTag] = c
	if chat {
		p.calls[c.peer] = c
	}
	p.pmu.Unlock()
	return p.sendACK(ack, next)
}

// sendACK sends the ACK of a 2xx, unless it is lost on its way.
func (p *Phone) sendACK(ack *Message, next source) error {
	if p.mannered().LostACK {
		return nil
	}
	return p.write(ack, next)
}

// conclude reads an answer and brings MSRP up as it says.
func (p *Phone) conclude(ctx context.Context, c *phoneCall, ep *endpoint, res *Message, what string) error {
	media, err := readSDP(res.Body)
	if err != nil || mediaType(res.Get("Content-Type")) != "application/sdp" {
		p.violation("%s: %v, content type %q", what, err, res.Get("Content-Type"))
		return errors.New("no answer in the response")
	}
	p.checkSDP(what, media, res.Body)
	manner := p.mannered()
	if manner.NoCEMA && media.cema {
		p.violation("%s has msrp-cema, the offer had none (RFC 6714 §4.3)", what)
	}
	if media.tls != ep.tls {
		p.violation("%s changes the transport (RFC 3264 §6)", what)
	}
	ep.expect(media)
	role := map[string]string{"active": "passive", "passive": "active"}[media.setup]
	if role == "" || media.setup == "active" && manner.Setup == "active" {
		p.violation("the answer's a=setup is %q (RFC 6135 §4.2.2)", media.setup)
		return errors.New("no role in the answer")
	}
	if manner.MuteMSRP {
		return nil
	}
	if role == "active" {
		p.connectAs(c, ep, role, media)
		select {
		case <-ep.up:
			return nil
		default:
			return errors.New("msrp did not come up")
		}
	}
	select {
	case <-ep.up:
		p.tell(PhoneEvent{Type: "media", Peer: c.peer, ID: c.callID})
		return nil
	case <-c.over:
		return errors.New("the peer hung up")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// afterwards takes what comes after the first final response: repeats, and 200s of other devices,
// each of which is answered with ACK and BYE (RFC 3261 §13.2.2.4).
func (p *Phone) afterwards(c *phoneCall, m *Message, tx *clientTx) {
	limit := time.NewTimer(64 * t1)
	defer limit.Stop()
	for {
		select {
		case res := <-tx.responses:
			p.settle(c, m, res, tx)
		case <-limit.C:
			return
		case <-p.done:
			return
		}
	}
}

// settle answers a final response of an INVITE by the ACK that is due.
func (p *Phone) settle(c *phoneCall, m, res *Message, tx *clientTx) {
	switch {
	case res.Status < 200:
	case res.Status >= 300:
		_ = p.write(ackOf(m, res), tx.to)
	case param(res.Get("To"), "tag") == c.remoteTag:
		c.mu.Lock()
		ack := c.ack
		c.mu.Unlock()
		if ack != nil {
			_ = p.sendACK(ack, p.nextOf(c))
		}
	default:
		p.decline(c, res)
	}
}

// decline ends a dialog that nobody wants: ACK and BYE.
func (p *Phone) decline(c *phoneCall, res *Message) {
	other := newPhoneCall(c.peer, c.callID)
	other.localTag, other.local, other.remote = c.localTag, c.local, c.remote
	other.remoteTag, other.target = param(res.Get("To"), "tag"), uriOf(firstOf(res, "Contact"))
	rr := res.All("Record-Route")
	for i := len(rr) - 1; i >= 0; i-- {
		other.routes = append(other.routes, rr[i])
	}
	ack := p.within(other, "ACK", 1)
	next := p.nextOf(other)
	ack.Push("Via", p.via(next.network, "z9hG4bK"+token()))
	_ = p.write(ack, next)
	p.send(context.Background(), p.within(other, "BYE", 2), next, "")
}

// abandon cancels an INVITE, once a response came, and ends what crosses the CANCEL (F42).
func (p *Phone) abandon(c *phoneCall, m *Message, tx *clientTx) {
	c.end()
	limit := time.NewTimer(64 * t1)
	defer limit.Stop()
	select {
	case <-tx.seen:
	case <-limit.C:
		return
	case <-p.done:
		return
	}
	select {
	case <-tx.final:
	default:
		p.send(context.Background(), cancelOf(m), tx.to, param(firstOf(m, "Via"), "branch"))
	}
	for {
		select {
		case res := <-tx.responses:
			if res.Status >= 200 && res.Status < 300 {
				p.decline(c, res)
			} else {
				p.settle(c, m, res, tx)
			}
		case <-limit.C:
			return
		case <-p.done:
			return
		}
	}
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

// Renew offers the peer of an open chat a new MSRP session in the same dialog, as a client does
// whose connection broke (RFC 4975 §5.4, F38).
func (p *Phone) Renew(ctx context.Context, peer string) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	ep := p.newSession(c)
	ep.tls = c.endpoint().tls
	if err := ep.listen(); err != nil {
		return err
	}
	c.setRenewing(true)
	defer c.setRenewing(false)
	m := p.within(c, "INVITE", c.nextSeq()).Add("Content-Type", "application/sdp")
	setup := "actpass"
	if p.mannered().Setup == "active" {
		setup = "active"
	}
	m.Body = p.sdp(ep, setup)
	if setup == "actpass" {
		ep.accept()
	}
	next := p.nextOf(c)
	tx := p.send(ctx, m, next, "")
	res, err := p.outcome(ctx, tx)
	if err != nil {
		ep.close()
		return err
	}
	if res.Status >= 300 {
		ep.close()
		_ = p.write(ackOf(m, res), tx.to)
		return &Refusal{res.Status, res.Reason}
	}
	ack := p.within(c, "ACK", number(m))
	ack.Push("Via", p.via(next.network, "z9hG4bK"+token()))
	if err := p.write(ack, next); err != nil {
		return err
	}
	c.swap(ep)
	return p.conclude(ctx, c, ep, res, "200 to the re-INVITE")
}

// Reoffer sends a re-INVITE for the open chat with a peer that has the same path and one line more, or, of a direction or of the medium,
// another one. It returns the final response; the connection is left as it is.
func (p *Phone) Reoffer(ctx context.Context, peer, line string) (*Message, error) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return nil, errors.New("no chat is open")
	}
	seq := c.nextSeq()
	var body []string
	for _, l := range strings.Split(strings.TrimSuffix(string(p.sdp(c.endpoint(), "actpass")), "\r\n"), "\r\n") {
		switch {
		case strings.HasPrefix(l, "o="):
			ep := c.endpoint()
			l = strings.Replace(l, fmt.Sprint(" ", ep.born.UnixMicro(), " "), fmt.Sprint(" ", ep.born.UnixMicro()+int64(seq), " "), 1)
		case strings.HasPrefix(l, "m=") && strings.HasPrefix(line, "m="), l == "a=sendrecv" && (line == "a=sendonly" || line == "a=sendrecv"):
			l = line
		}
		body = append(body, l)
	}
	if !slices.Contains(body, line) {
		body = append(body, line)
	}
	m := p.within(c, "INVITE", seq).Add("Content-Type", "application/sdp")
	m.Body = []byte(strings.Join(body, "\r\n") + "\r\n")
	next := p.nextOf(c)
	tx := p.send(ctx, m, next, "")
	res, err := p.outcome(ctx, tx)
	switch {
	case err != nil:
		return nil, err
	case res.Status >= 300:
		return res, p.write(ackOf(m, res), tx.to)
	}
	ack := p.within(c, "ACK", seq)
	ack.Push("Via", p.via(next.network, "z9hG4bK"+token()))
	return res, p.write(ack, next)
}

func (c *phoneCall) setRenewing(out bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewing = out
}

func (c *phoneCall) isRenewing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renewing
}

// cut closes the connection in the middle of a message, as the phone's manner says.
func (p *Phone) cut(c *phoneCall, ep *endpoint, message string) {
	p.tell(PhoneEvent{Type: "cut", Peer: c.peer, ID: message})
	ep.close()
	if !p.mannered().Renews {
		return
	}
	p.spawn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 64*t1)
		defer cancel()
		if err := p.Renew(ctx, c.peer); err != nil { // the peer's own offer may have crossed it
			p.log.Debug("not renewed", "error", err)
		}
	})
}

// Took reports whether the MSRP session of the open chat has a whole message with this MSRP Message-ID.
func (p *Phone) Took(peer, message string) bool {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return false
	}
	ep := c.endpoint()
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.taken[message]
}

// HangUp ends the chat with a peer by BYE.
func (p *Phone) HangUp(ctx context.Context, peer string) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	defer p.forget(c)
	res, err := p.do(ctx, p.within(c, "BYE", c.nextSeq()), p.nextOf(c))
	if err == nil && res.Status != 200 {
		p.violation("BYE was answered %d", res.Status)
		return fmt.Errorf("bye: %w", &Refusal{res.Status, res.Reason})
	}
	return err
}

// bye ends a call that came to nothing.
func (p *Phone) bye(c *phoneCall) {
	select {
	case <-c.over: // the peer said it already
		return
	default:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	p.pmu.Lock()
	if p.calls[c.peer] == c {
		delete(p.calls, c.peer)
	}
	p.pmu.Unlock()
	_, _ = p.do(ctx, p.within(c, "BYE", c.nextSeq()), p.nextOf(c))
	p.forget(c)
}

// Cut closes the chat's TCP connection without a word.
func (p *Phone) Cut(peer string) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c != nil {
		c.endpoint().close()
	}
}

// Chatting reports whether a chat with the peer is open.
func (p *Phone) Chatting(peer string) bool {
	p.pmu.Lock()
	defer p.pmu.Unlock()
	return p.calls[peer] != nil
}

// Within sends a request without a body within the open chat with a peer and returns the final response.
func (p *Phone) Within(ctx context.Context, peer, method string) (*Message, error) {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return nil, errors.New("no chat is open")
	}
	m := p.within(c, method, c.nextSeq()).Add("Contact", p.contact(false))
	return p.do(ctx, m, p.nextOf(c))
}

// Ask sends a request outside of any dialog, such as SUBSCRIBE, and returns the final response.
func (p *Phone) Ask(ctx context.Context, method, peer string, fields ...Field) (*Message, error) {
	m := &Message{Method: method, URI: peer}
	m.Add("Max-Forwards", "70").Add("From", "<"+p.opt.URI+">;tag="+token()).Add("To", "<"+peer+">").Add("Call-ID", token()).Add("CSeq", "1 "+method).
		Add("Contact", p.contact(false)).Add("Route", "<sip:"+p.opt.Core+";lr>")
	m.Fields = append(m.Fields, fields...)
	return p.do(ctx, m, p.core())
}

// Options asks the core about a peer and returns the final response.
func (p *Phone) Options(ctx context.Context, peer string) (*Message, error) {
	m := &Message{Method: "OPTIONS", URI: peer}
	m.Add("Max-Forwards", "70").Add("From", "<"+p.opt.URI+">;tag="+token()).Add("To", "<"+peer+">").Add("Call-ID", token()).Add("CSeq", "1 OPTIONS").
		Add("Contact", p.contact(true)).Add("Accept", "application/sdp").Add("Route", "<sip:"+p.opt.Core+";lr>")
	return p.do(ctx, m, p.core())
}

// Break closes the chat's TCP connection without a word, as a radio link that is lost, and stays in the call.
func (p *Phone) Break(ctx context.Context, peer string) error {
	p.pmu.Lock()
	c := p.calls[peer]
	p.pmu.Unlock()
	if c == nil {
		return errors.New("no chat is open")
	}
	select {
	case <-c.endpoint().up:
	case <-ctx.Done():
		return ctx.Err()
	}
	c.endpoint().close()
	return nil
}

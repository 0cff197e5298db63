package imstest

import (
	"context"
	"fmt"
	"strings"
)

// Page sends a SIP MESSAGE outside of any chat (RFC 3428).
func (p *Phone) Page(ctx context.Context, peer, contentType string, body []byte) error {
	_, err := p.PageAs(ctx, peer, contentType, body, token())
	return err
}

// PageAs is Page under a given Call-ID, in a transaction of its own. It returns the final response, also with a *Refusal.
func (p *Phone) PageAs(ctx context.Context, peer, contentType string, body []byte, callID string) (*Message, error) {
	m := &Message{Method: "MESSAGE", URI: peer, Body: body}
	m.Add("Max-Forwards", "70").Add("From", "<"+p.opt.URI+">;tag="+token()).Add("To", "<"+peer+">").Add("Call-ID", callID).Add("CSeq", "1 MESSAGE").
		Add("Content-Type", contentType).Add("Route", "<sip:"+p.opt.Core+";lr>").
		Add("P-Preferred-Service", "urn:urn-7:3gpp-service.ims.icsi.oma.cpm.msg").
		Add("Accept-Contact", `*;+g.3gpp.icsi-ref="urn%3Aurn-7%3A3gpp-service.ims.icsi.oma.cpm.msg"`)
	if l := p.mannered().Language; l != "" {
		m.Add("Accept-Language", l)
	}
	res, err := p.do(ctx, m, p.core())
	if err == nil && res.Status >= 300 {
		return res, &Refusal{res.Status, res.Reason}
	}
	return res, err
}

// SendPage sends a text in CPIM by SIP MESSAGE and asks for both notifications. It returns its imdn.Message-ID.
func (p *Phone) SendPage(ctx context.Context, peer, text string) (id string, err error) {
	id = token()
	return id, p.Page(ctx, peer, "message/cpim", writeEnvelope(p.opt.URI, peer, id, "positive-delivery, display", "text/plain; charset=utf-8", text))
}

// PageComposing tells a peer by SIP MESSAGE whether the user is typing.
func (p *Phone) PageComposing(ctx context.Context, peer string, active bool) error {
	return p.Page(ctx, peer, "message/cpim", writeEnvelope(p.opt.URI, peer, token(), "", "application/im-iscomposing+xml", composingDocument(active)))
}

// SendLarge sends a text in a call of its own, as clients in pager mode do with what is too long for a MESSAGE.
func (p *Phone) SendLarge(ctx context.Context, peer, text string) (id string, err error) {
	id = token()
	c, err := p.call(ctx, peer, "", "", "oma.cpm.largemsg")
	if err != nil {
		return id, err
	}
	defer p.bye(c)
	return id, c.endpoint().send(ctx, token(), "message/cpim", writeEnvelope(p.opt.URI, peer, id, "positive-delivery, display", "text/plain; charset=utf-8", text))
}

// paged takes a SIP MESSAGE.
func (p *Phone) paged(m *Message, src source) {
	peer := aor(uriOf(m.Get("From")))
	if pai := firstOf(m, "P-Asserted-Identity"); pai != "" {
		peer = aor(uriOf(pai))
	}
	p.checkPage(m)
	media := mediaType(m.Get("Content-Type"))
	if p.mannered().PageMute {
		return
	}
	switch code := p.mannered().PageCode; {
	case code >= 300:
		p.respond(m, src, reply(m, code, "No", token()))
	case media == "message/cpim":
		p.respond(m, src, reply(m, max(200, code), "OK", token()))
		p.opened(peer, m.Body, nil, nil)
	case media == "text/plain":
		p.respond(m, src, reply(m, max(200, code), "OK", token()))
		p.tell(PhoneEvent{Type: "message", Peer: peer, Text: string(m.Body)})
	default:
		p.respond(m, src, reply(m, 415, "Unsupported Media Type", token()).Add("Accept", "message/cpim, text/plain"))
	}
}

// checkPage notes what a MESSAGE lacks, or has too much of (RFC 3428 §4, §8).
func (p *Phone) checkPage(m *Message) {
	if e, err := readEnvelope(m.Body); err == nil && e.mediaType() == "text/plain" && len(m.Bytes()) > 1300+p.travelled(m) {
		p.violation("MESSAGE of %d bytes with a text (RFC 3428 §8)", len(m.Bytes()))
	}
	for _, name := range []string{"Accept-Contact", "P-Preferred-Service"} {
		if v := m.Get(name); v != "" && !strings.Contains(v, "oma.cpm.msg") {
			p.violation("MESSAGE with %s: %s (PROTOCOLS B2.13)", name, v)
		}
	}
}

// travelled is how much of a request the core has added.
func (p *Phone) travelled(m *Message) (n int) {
	for _, f := range m.Fields {
		if f.Name == "Via" || f.Name == "P-Asserted-Identity" || f.Name == "P-Called-Party-ID" {
			n += len(fmt.Sprint(f.Name, ": ", f.Value, "\r\n"))
		}
	}
	return n
}

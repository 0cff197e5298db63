package b2bua

import (
	"context"
	"slices"
	"strings"
	"unique"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// manners are what an end of a bridge has said of itself last. What we send the other end without being asked says the same, as what is
// carried does: else a refresh would take back what the two have agreed on.
type manners struct {
	supported, require, allow string // of its INVITEs, and of responses to them
	features                  string // parameters of its Contact there (RFC 3840 §9)
}

// heard notes what a message says of who sent it. An UPDATE need not say all of it again.
func (e *end) heard(m message) {
	e.learn(m)
	_, asks := m.(*sip.Request)
	if m.CSeq().MethodName != sip.INVITE {
		return
	}
	var said manners
	if e.manners != (unique.Handle[manners]{}) {
		said = e.manners.Value()
	}
	others := func(tags []string) string {
		return strings.Join(slices.DeleteFunc(tags, func(tag string) bool { return strings.EqualFold(tag, "timer") }), ", ")
	}
	if tags := append(dialog.Tokens(m, "Supported"), dialog.Tokens(m, "k")...); len(tags) > 0 {
		said.supported = others(tags)
	}
	if tags := dialog.Tokens(m, "Allow"); len(tags) > 0 {
		said.allow = strings.Join(tags, ", ")
	}
	if asks {
		said.require = others(dialog.Tokens(m, "Require"))
	}
	if contact := m.Contact(); contact != nil {
		features := contact.Params.Clone()
		features.Remove("+sip.instance") // it tells phones apart, and all alike share one note
		said.features = features.ToString(';')
	}
	e.manners = unique.Make(said)
}

// signed is a request that nobody but us sends, as the border wants it.
func (b *bridge) signed(req *sip.Request, toward Side) *sip.Request {
	if o, ok := b.border.(Originator); ok {
		o.Own(req, toward)
	}
	return req
}

// own makes an INVITE or UPDATE of ours for one side. Its Supported and Require are those of the first one in the dialog (RFC 4028 §7.4).
func (p *pair) own(s Side, method sip.RequestMethod, sdp []byte) *sip.Request {
	e, other := &p.ends[s], &p.ends[s.Other()]
	req := p.signed(e.state.Request(method), s)
	p.engine.contact(req, req.From().Address)
	said := manners{}
	if other.manners != (unique.Handle[manners]{}) {
		said = other.manners.Value()
	}
	if said.supported != "" {
		req.RemoveHeader("Supported") // the one of dialog.State
		req.AppendHeader(sip.NewHeader("Supported", said.supported+", timer"))
	}
	var address sip.Uri
	if contact := req.Contact(); contact != nil && said.features != "" {
		features := sip.NewParams()
		if _, err := sip.ParseAddressValue("<sip:x.invalid>;"+said.features, &address, &features); err == nil {
			contact.Params = features
		}
	}
	if method != sip.INVITE {
		return req
	}
	if said.require != "" { // in other requests 100rel must not stand (RFC 3262 §4)
		req.AppendHeader(sip.NewHeader("Require", said.require))
	}
	if said.allow == "" {
		said.allow = allow
	}
	req.AppendHeader(sip.NewHeader("Allow", said.allow))
	req.AppendHeader(sip.NewHeader("Content-Type", sdpType))
	req.SetBody(sdp)
	return req
}

// prack acknowledges a reliable provisional response to an INVITE of our own (RFC 3262 §4), and notes what it says of the session.
func (c *crossing) prack(res *sip.Response) {
	p, n := c.pair, dialog.RSeq(res)
	if n == 0 || p.over || c.rseq != 0 && n != c.rseq+1 {
		return // a repeat, or out of order
	}
	if c.rseq = n; c.said == nil {
		c.said = bodyPart(res, sdpType) // RFC 3262 §5: the first one counts
	}
	req := p.signed(p.ends[c.from.Other()].state.Request(sip.PRACK), c.from.Other())
	req.AppendHeader(sip.NewHeader("RAck", dialog.RAck(n, c.out.CSeq().SeqNo, sip.INVITE)))
	p.engine.running.Go(func() { // ends with its transaction
		ctx, cancel := context.WithTimeout(context.Background(), p.engine.h())
		defer cancel()
		_, _ = p.engine.sip.DoOnce(ctx, req)
	})
}

// answer is what the other side has answered to an INVITE of our own, in the 2xx or in a reliable response before it.
func (c *crossing) answer(res *sip.Response) []byte {
	if c.said != nil {
		return c.said
	}
	return bodyPart(res, sdpType)
}

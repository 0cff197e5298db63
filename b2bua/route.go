package b2bua

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Route carries a request outside of dialogs on, by way of the Routes behind ours, and its final response back: MESSAGE, OPTIONS, PUBLISH and
// the like. A request that opens a dialog of its own, SUBSCRIBE or REFER, keeps its Call-ID, tags and Contact, and the dialog then
// passes us by, as it passes a proxy that doesn't record its route (TS 24.229 §5.7.4, unverified).
func (g *Engine) Route(t *sipua.Transaction, border Border) {
	if !g.begin() {
		_ = t.Respond(503, "", sip.NewHeader("Retry-After", "5"))
		return
	}
	defer g.calls.Done()
	in := t.Request
	dialogs := in.Method == sip.SUBSCRIBE || in.Method == sip.REFER
	merged, fresh := g.takeOnce(in, dialogs)
	if !fresh {
		_ = t.Respond(482, "")
		return
	}
	kept := false
	defer func() {
		if !kept || !t.OnEnd(func() { g.untake(merged) }) {
			g.untake(merged) // who was refused may ask again
		}
	}()
	out := g.outward(in, dialogs)
	if refused := border.Request(in, out, SideB); refused != nil {
		g.Refuse(t, refused)
		return
	}
	ctx, cancel := context.WithTimeout(g.stopped, g.h()) // timer F
	defer cancel()
	res, err := g.sip.Do(ctx, out)
	if err != nil {
		code := 408 // RFC 3261 §8.1.3.1, §16.9: silence and a transport that fails
		if !errors.Is(err, sipua.ErrTimeout) {
			code = 503
		}
		g.log.Info("request not carried on", "method", in.Method, latchkey.LogCallID, in.CallID().Value(), latchkey.LogError, err)
		_ = t.Respond(code, "")
		return
	}
	kept = res.IsSuccess()
	back := t.Response(res.StatusCode, res.Reason)
	back.RemoveHeader("Server")
	for _, h := range res.Headers() {
		if !named(h, "Via", "From", "To", "Call-ID", "CSeq", "Record-Route", "Content-Length", "Contact") {
			back.AppendHeader(sip.HeaderClone(h))
		}
	}
	switch contact := res.Contact(); {
	case dialogs:
		for _, name := range []string{"Record-Route", "Contact"} {
			back.RemoveHeader(name)
			sip.CopyHeaders(name, res, back)
		}
		back.RemoveHeader("To")
		back.AppendHeader(sip.HeaderClone(res.To()))
	case contact != nil && res.StatusCode < 300:
		own := g.contactHeader(in.To().Address, in)
		own.Params = contact.Params.Clone()
		back.AppendHeader(own)
	case contact != nil:
		sip.CopyHeaders("Contact", res, back) // where else to ask (RFC 3261 §20.10)
	}
	back.SetBody(res.Body())
	border.Response(res, back, SideA)
	_ = t.Send(back)
}

// takeOnce notes a request that is to go on, and reports whether it is the first (RFC 3261 §8.2.2.2): of one that came by another way, too, whoever gets both
// from us can't tell, since each has a Call-ID of its own. One that keeps its Call-ID may come again for the one who is called, as its Routes or P-Served-User say.
func (g *Engine) takeOnce(in *sip.Request, dialogs bool) (key string, fresh bool) {
	remote, _ := in.From().Params.Get("tag")
	names := []string{in.Method.String(), in.Recipient.String(), in.CallID().Value(), remote, strconv.FormatUint(uint64(in.CSeq().SeqNo), 10)}
	if dialogs {
		names = append(append(names, first(in, "P-Served-User")), dialog.Values(in, "Route")...)
	}
	key = strings.Join(names, "\x00")
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.taken[key] {
		return key, false
	}
	g.taken[key] = true
	return key, true
}

func (g *Engine) untake(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.taken, key)
}

// outward makes the request of the other side. dialogs: the two ends have one of their own, so what names it stays.
func (g *Engine) outward(in *sip.Request, dialogs bool) *sip.Request {
	out := sip.NewRequest(in.Method, *in.Recipient.Clone())
	sipua.AddRoute(out, g.core)
	for _, h := range in.Headers() {
		if !named(h, "Via", "Route", "Record-Route", "Content-Length", "From", "Call-ID", "CSeq", "Contact") {
			out.AppendHeader(sip.HeaderClone(h))
		}
	}
	if dialogs {
		for _, name := range []string{"From", "Call-ID", "CSeq", "Contact", "Record-Route"} {
			sip.CopyHeaders(name, in, out)
		}
	} else {
		from := in.From()
		params := from.Params.Clone()
		params.Remove("tag")
		params.Add("tag", sipua.NewToken())
		out.AppendHeader(&sip.FromHeader{DisplayName: from.DisplayName, Address: from.Address, Params: params})
		callID := sip.CallIDHeader(sipua.NewToken())
		out.AppendHeader(&callID)
		out.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: in.Method})
		if contact := in.Contact(); contact != nil {
			g.contact(out, from.Address)
			if own := out.Contact(); own != nil {
				own.Params = contact.Params.Clone()
			}
		}
	}
	out.SetBody(in.Body())
	return out
}

// Refuse answers a request as a border says.
func (g *Engine) Refuse(t *sipua.Transaction, refused *Refusal) {
	res := t.Response(refused.Code, refused.Reason)
	if addFields(res, refused.Header) == nil {
		_ = t.Send(res)
	}
}

// NotAllowed answers a request whose method nobody here takes (RFC 3261 §8.2.1), or knows (§21.5.2).
func (g *Engine) NotAllowed(t *sipua.Transaction) {
	code := 405
	if !sipua.Recognized(string(t.Request.Method)) {
		code = 501
	}
	_ = t.Respond(code, "", sip.NewHeader("Allow", g.allowed()))
}

// TrustsHost reports whether a host's assertions are believed.
func (g *Engine) TrustsHost(host string) bool { return g.trusted[canonicalHost(host)] }

// Owns reports whether a Route value's URI leads to this endpoint: to an address that it listens on.
func (g *Engine) Owns(route string) bool {
	var u sip.Uri
	if err := sip.ParseUri(dialog.URI(route), &u); err != nil {
		return false
	}
	return g.sip.Owns(u)
}

// HangUp ends a bridged call for a reason of ours (RFC 3326), by BYE on both sides. callID is that of the side that called.
func (g *Engine) HangUp(callID, reason string) {
	for _, p := range g.pairs() {
		if p.ends[SideA].state.CallID != callID {
			continue
		}
		var byes []*sip.Request
		p.turns.do(func() { byes = p.hangUp(SideA, nil, reason) })
		p.send(byes)
	}
}

package b2bua

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// take takes the next request of a dialog. What goes on goes in this order; its responses are read by r's own goroutine.
func (p *pair) take(s Side, r *inDialog) {
	defer close(r.done)
	// A panic here would leave the one whose turn it is without an answer.
	defer func() {
		if v := recover(); v != nil {
			p.engine.log.Error("bridge panicked", "method", r.t.Request.Method, "panic", v, "stack", string(debug.Stack()))
			_ = r.t.Respond(500, "")
		}
	}()
	req := r.t.Request
	if p.over {
		answerAfterEnd(r.t)
		return
	}
	if err := p.ends[s].state.Take(req); err != nil {
		answerOutOfOrder(r.t)
		return
	}
	p.ends[s].heard(req)
	switch req.Method {
	case sip.BYE:
		p.takeBYE(s, r)
	case sip.INVITE:
		p.takeINVITE(s, r)
	default:
		p.takeOther(s, r)
	}
}

// takeBYE answers at once, since nothing that the other side says could keep the dialog.
func (p *pair) takeBYE(s Side, r *inDialog) {
	t := r.t
	c := p.invite
	if c.early() {
		if s == SideB {
			_ = t.Respond(481, "") // RFC 3261 §15: the callee doesn't hang up before it has answered
			return
		}
		_ = t.Respond(200, "")
		p.hangUp(s, nil, "") // RFC 3261 §15.1.2: the INVITE gets 487
		return
	}
	_ = t.Respond(200, "")
	byes := p.hangUp(s, t.Request, "")
	r.then = func() { // no goroutine is kept for what ends by itself
		for _, bye := range byes {
			ctx, cancel := context.WithTimeout(context.Background(), p.engine.h())
			if tx, err := p.engine.sip.Start(ctx, bye); err == nil {
				tx.Release()
			}
			cancel()
		}
	}
}

// busy answers what may not begin now; false: it may. RFC 3261 §14.2, RFC 3311 §5.2: 491 where an offer or INVITE of the
// other side is under way, 500 where one of this side is.
func (p *pair) busy(s Side, t *sipua.Transaction, offers bool) bool {
	c := p.invite
	invites := t.Request.Method == sip.INVITE
	switch {
	case invites && c != nil && c.from != s, offers && p.offered.open && p.offered.from != s:
		_ = t.Respond(491, "")
	case invites && c != nil, offers && p.offered.open:
		_ = t.Respond(500, "", sip.NewHeader("Retry-After", fmt.Sprint(rand.IntN(10))))
	default:
		return false
	}
	return true
}

// next makes the request that goes on; nil: it was refused.
func (p *pair) next(s Side, t *sipua.Transaction) *sip.Request {
	req := t.Request
	if (req.Method == sip.INVITE || req.Method == sip.UPDATE) && dialog.TooBrief(req) {
		_ = t.Respond(422, "", minSE())
		return nil
	}
	to := &p.ends[s.Other()]
	out := to.state.Request(req.Method)
	if no := p.carryRequest(req, out, s.Other()); no != nil {
		to.state.LocalSeq--
		res := t.Response(no.Code, no.Reason)
		if addFields(res, no.Header) == nil {
			_ = t.Send(res)
		}
		return nil
	}
	if timed(out) {
		to.ask(out)
	}
	return out
}

// anew makes an INVITE or UPDATE that was too brief once more, with the interval that was asked for (RFC 4028 §7.3).
func (p *pair) anew(to Side, out *sip.Request) *sip.Request {
	e := &p.ends[to]
	again := sipua.Clone(out) // what was sent is sipgo's
	again.SetDestination("")
	e.state.LocalSeq++
	again.CSeq().SeqNo = e.state.LocalSeq
	again.RemoveHeader("Session-Expires")
	again.RemoveHeader("Min-SE")
	e.ask(again)
	return again
}

// takeINVITE carries a re-INVITE.
func (p *pair) takeINVITE(s Side, r *inDialog) {
	t := r.t
	offer := bodyPart(t.Request, sdpType)
	if p.busy(s, t, true) {
		return
	}
	out := p.next(s, t)
	if out == nil {
		return
	}
	if len(offer) > 0 {
		becomes, err := p.describe(true, s, offer)
		if err != nil {
			p.refuseOffer(t, err)
			p.ends[s.Other()].state.LocalSeq--
			return
		}
		p.offered = offered{true, s}
		out.SetBody(replacePart(out.Body(), offer, becomes))
	}
	ctx, cancel := context.WithCancel(context.Background())
	in := &Incoming{engine: p.engine, t: t, ctx: ctx, cancel: cancel}
	c := &crossing{
		bridge: p.bridge, asked: in, from: s, out: out, pair: p, late: len(offer) == 0,
		x: map[*pair]*exchange{p: {late: len(offer) == 0}}, other: map[string]*sip.Request{}, acked: make(chan struct{}),
	}
	p.invite = c
	if !t.OnCancel(in.cancelledBy) || !t.OnEnd(cancel) {
		in.cancelled.Store(true)
		cancel()
	}
	_ = t.Respond(100, "")
	c.prepare()
	tx, err := p.engine.sip.Start(ctx, out)
	if err != nil {
		c.final(nil, err)
		cancel()
		return
	}
	r.then = func() {
		defer cancel()
		for c.inv.read(tx); c.again; c.inv.read(tx) {
			if tx = c.anew(ctx); tx == nil {
				return
			}
		}
		if c.ok != nil {
			c.await()
		}
	}
}

func (p *pair) refuseOffer(t *sipua.Transaction, err error) {
	p.engine.log.Info("offer refused", latchkey.LogCallID, t.Request.CallID().Value(), latchkey.LogError, err)
	_ = t.Respond(488, "")
}

// takeOther carries any other request: UPDATE and PRACK with what they say of the session, the rest untouched.
func (p *pair) takeOther(s Side, r *inDialog) {
	t, to := r.t, s.Other()
	var sdp []byte
	if t.Request.Method == sip.UPDATE || t.Request.Method == sip.PRACK {
		sdp = bodyPart(t.Request, sdpType)
	}
	rack := ""
	if t.Request.Method == sip.PRACK {
		var ok bool
		if rack, ok = p.takeRAck(s, t); !ok {
			return
		}
	} else if p.busy(s, t, len(sdp) > 0) {
		return
	}
	out := p.next(s, t)
	if out == nil {
		return
	}
	if rack != "" {
		out.AppendHeader(sip.NewHeader("RAck", rack))
	}
	offers := false
	if len(sdp) > 0 {
		offers = p.offered != offered{true, to}
		becomes, err := p.describe(offers, s, sdp)
		if err != nil {
			p.ends[to].state.LocalSeq--
			p.refuseOffer(t, err)
			return
		}
		p.offered = offered{offers, s}
		out.SetBody(replacePart(out.Body(), sdp, becomes))
		p.ends[to].keep(becomes)
	}
	ctx, cancel := context.WithTimeout(context.Background(), p.engine.h())
	tx, err := p.engine.sip.Start(ctx, out)
	if err != nil {
		cancel()
		p.lost(s, t, err)
		return
	}
	r.then = func() {
		defer cancel()
		defer func() { tx.Terminate() }()
		for tries := 0; ; {
			select {
			case res := <-tx.Responses():
				switch {
				case res.StatusCode == 100:
					continue
				case !sipua.Fits(out, res):
					if !res.IsProvisional() {
						p.turns.do(func() { p.lost(s, t, sipua.ErrMisfit) })
						return
					}
					continue
				}
				again := false
				p.turns.do(func() {
					if again = tries < maxBrief && !p.over && p.ends[to].tooBrief(res); !again {
						p.responded(s, t, res, offers)
						return
					}
					tries++
					out = p.anew(to, out)
					next, err := p.engine.sip.Start(ctx, out)
					if again = err == nil; again {
						tx.Terminate()
						tx = next
						return
					}
					p.lost(s, t, err)
				})
				if !again && !res.IsProvisional() {
					return
				}
			case <-tx.Done():
				p.turns.do(func() { p.lost(s, t, sipua.EndError(tx)) })
				return
			case <-ctx.Done():
				p.turns.do(func() { p.lost(s, t, sipua.ErrTimeout) })
				return
			}
		}
	}
}

// takeRAck says in the callee's numbers what a PRACK acknowledges (RFC 3262 §7.2). false: it matches nothing and is refused.
func (p *pair) takeRAck(s Side, t *sipua.Transaction) (string, bool) {
	h := t.Request.GetHeader("RAck")
	if h == nil {
		_ = t.Respond(400, "Bad Request - no RAck")
		return "", false
	}
	rseq, cseq, method, ok := dialog.ParseRAck(h.Value())
	if !ok {
		_ = t.Respond(400, "Bad Request - RAck")
		return "", false
	}
	if c := p.invite; c != nil && c.asked != nil && c.from == s && method == sip.INVITE && cseq == c.asked.t.Request.CSeq().SeqNo {
		if n, ok := c.x[p].acked(rseq); ok {
			return dialog.RAck(n, c.out.CSeq().SeqNo, sip.INVITE), true
		}
	}
	_ = t.Respond(481, "")
	return "", false
}

// responded carries a response to a request other than INVITE.
func (p *pair) responded(s Side, t *sipua.Transaction, res *sip.Response, offers bool) {
	req := t.Request
	out := t.Response(res.StatusCode, res.Reason)
	p.carryResponse(res, out, req, s)
	sdp := bodyPart(res, sdpType)
	switch {
	case res.IsProvisional():
	case offers && res.IsSuccess() && len(sdp) > 0:
		p.offered.open = false
		answer, err := p.describe(false, s.Other(), sdp)
		if err != nil {
			p.engine.log.Info("bridged call hung up", latchkey.LogCallID, req.CallID().Value(), latchkey.LogError, err)
			_ = t.Respond(488, "")
			p.send(p.hangUp(s, nil, ""))
			return
		}
		out.SetBody(replacePart(out.Body(), sdp, answer))
		p.ends[s].keep(answer)
	case offers:
		p.reject(s)
	}
	if req.Method == sip.UPDATE && res.IsSuccess() && !p.over {
		p.ends[s.Other()].state.Refresh(res)
		if p.invite == nil || p.invite.ok != nil { // RFC 4028 §7.4: timers begin with the session
			timer, field, require := dialog.Asked(req, p.ends[s].timer)
			agreeTo(out, field, require)
			p.start(s, timer)
			p.start(s.Other(), dialog.Granted(res))
		}
	}
	_ = t.Send(out)
	if req.Method == sip.UPDATE && (res.StatusCode == 481 || res.StatusCode == 408) {
		p.send(p.hangUp(s, nil, "")) // RFC 3261 §12.2.1.2
	}
	if !res.IsProvisional() {
		p.follow(s)
	}
}

// lost answers a request that the other side did not.
func (p *pair) lost(s Side, t *sipua.Transaction, err error) {
	code := latchkey.KindCoreTimeout.Row().SIP
	p.engine.log.Info("bridged request is lost", "method", t.Request.Method, latchkey.LogCallID, t.Request.CallID().Value(), latchkey.LogError, err)
	p.reject(s)
	if p.over {
		answerAfterEnd(t)
		return
	}
	_ = t.Respond(code, "")
	if errors.Is(err, sipua.ErrTimeout) {
		p.send(p.hangUp(s, nil, "")) // RFC 3261 §12.2.1.2: a peer that doesn't answer is gone
	}
}

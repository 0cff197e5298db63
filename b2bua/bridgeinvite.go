package b2bua

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// maxBrief bounds how often an INVITE is sent again with a longer session interval (RFC 4028 §7.3).
const maxBrief = 3

// crossing is an INVITE or re-INVITE on its way from one side to the other, until its ACK has gone the same way. Its
// goroutine is that of the asker's transaction. Fields without a word are touched in the bridge's turns only.
type crossing struct {
	*bridge
	asked *Incoming // the asker's transaction; nil: the INVITE is our own (a refresh)
	from  Side
	out   *sip.Request // as it goes on; the transaction's once it was sent
	inv   *invitation

	pair  *pair // of the re-INVITE, or of the first 2xx
	forks map[string]*pair
	x     map[*pair]*exchange
	late  bool   // no offer in it
	brief uint32 // Min-SE of the one who has refused it with 422
	tries int    // how often that was
	offer []byte // another one, for who has refused it with 488
	again bool   // it is to be sent once more
	ok    *sip.Response
	ack   *sip.Request            // of ok, as it went on
	other map[string]*sip.Request // ACKs of 2xx that nobody wants, by To tag
	bye   *sip.Request            // waits for the asker's ACK
	acked chan struct{}           // closed by settle

	rseq      uint32                              // of an INVITE of our own: the last reliable response
	said      []byte                              // and the answer that one brought
	concluded func(res *sip.Response, lost error) // of an INVITE of our own that offers something; nil: it only refreshes
	over      bool                                // it is
}

// Bridge carries an INVITE on to another leg, and all that follows within the dialogs that it makes: provisional responses and forks, PRACK
// and UPDATE, the final response and its ACK, re-INVITEs, any other method, and BYE. It returns when the INVITE has a final response
// that is acknowledged, or none at all; the call then lives on by itself, and ends by a BYE of either side, a session timer
// that runs out, or Shutdown.
//
// The INVITE goes to its R-URI by way of the Routes that stand behind our own (F61), else by way of the core.
func (g *Engine) Bridge(in *Incoming, on Onward) error {
	req := in.t.Request
	b := &bridge{engine: g, border: on.Border, media: on.Media}
	c := &crossing{
		bridge: b, asked: in, from: SideA, late: in.Offer() == nil,
		forks: map[string]*pair{}, x: map[*pair]*exchange{}, other: map[string]*sip.Request{}, acked: make(chan struct{}),
	}
	defer b.turns.do(func() {
		if c.pair == nil {
			b.closeMedia()
		}
	})
	out := g.onward(req)
	if no := b.carryRequest(req, out, SideB); no != nil {
		return in.Refuse(no.Code, no.Reason, no.Header...)
	}
	if sdp := in.Offer(); len(sdp) > 0 && b.media != nil {
		offer, err := b.media.Offer("", SideA, sdp)
		if err != nil {
			g.log.Info("offer refused", latchkey.LogCallID, in.CallID(), latchkey.LogError, err)
			return in.Refuse(488, "")
		}
		out.SetBody(replacePart(out.Body(), sdp, offer))
	}
	t, _, _ := dialog.Asked(req, dialog.Timer{})
	out.AppendHeader(sip.NewHeader("Session-Expires", dialog.Timer{}.AskFor(t.Interval)))
	c.out = out
	return c.run()
}

// onward makes the INVITE of leg B.
func (g *Engine) onward(req *sip.Request) *sip.Request {
	out := sip.NewRequest(sip.INVITE, *req.Recipient.Clone())
	routes := dialog.Values(req, "Route")
	if len(routes) > 0 {
		routes = routes[1:] // the first one led to us (RFC 3261 §16.4)
	}
	if len(routes) == 0 {
		routes = []string{"<" + g.core + ">"}
	}
	for _, r := range routes {
		out.AppendHeader(sip.NewHeader("Route", r)) // byte for byte: an S-CSCF knows the dialog by it (TS 24.229 §5.7.5)
	}
	from, to := req.From(), req.To()
	fromParams := from.Params.Clone()
	fromParams.Add("tag", sipua.NewToken())
	toParams := to.Params.Clone()
	toParams.Remove("tag")
	out.AppendHeader(&sip.FromHeader{DisplayName: from.DisplayName, Address: from.Address, Params: fromParams})
	out.AppendHeader(&sip.ToHeader{DisplayName: to.DisplayName, Address: to.Address, Params: toParams})
	callID, maxForwards := sip.CallIDHeader(sipua.NewToken()), sip.MaxForwardsHeader(70)
	out.AppendHeader(&callID)
	out.AppendHeader(&sip.CSeqHeader{SeqNo: 1, MethodName: sip.INVITE})
	out.AppendHeader(&maxForwards)
	return out
}

// run sends the INVITE on and stays until its final response is acknowledged.
func (c *crossing) run() error {
	for {
		c.prepare()
		tx, err := c.engine.sip.Start(c.asked.ctx, c.out)
		if err != nil {
			c.inv.final(nil, err)
			return fmt.Errorf("bridge: %w", err)
		}
		c.inv.read(tx)
		if !c.again {
			break
		}
		c.again = false
		again := sipua.Clone(c.out) // what was sent is the transaction's
		again.SetDestination("")
		again.CSeq().SeqNo++
		if c.offer != nil {
			again.SetBody(replacePart(again.Body(), bodyPart(again, sdpType), c.offer))
			c.offer = nil
		} else {
			askAgain(again, c.brief)
		}
		c.out = again
	}
	if c.ok != nil {
		c.await()
	}
	return nil
}

// anew sends a re-INVITE once more that was too brief; nil: it can't.
func (c *crossing) anew(ctx context.Context) (tx *sipua.Outgoing) {
	c.turns.do(func() {
		c.again = false
		if c.pair.over {
			return
		}
		c.out = c.pair.anew(c.from.Other(), c.out)
		c.prepare()
		var err error
		if tx, err = c.engine.sip.Start(ctx, c.out); err != nil {
			tx = nil
			c.final(nil, err)
		}
	})
	return tx
}

// prepare makes the invitation that reads what comes back.
func (c *crossing) prepare() {
	inv := &invitation{
		engine: c.engine, req: c.out, brief: true,
		progress: func(res *sip.Response) {
			if res.StatusCode > 100 {
				c.turns.do(func() { c.progress(res) })
			}
		},
		final:    func(res *sip.Response, lost error) { c.turns.do(func() { c.final(res, lost) }) },
		repeated: func(res *sip.Response) { c.turns.do(func() { c.repeated(res) }) },
	}
	if c.asked != nil {
		inv.ringing = ringing
		inv.gone = c.asked.ctx.Done()
		inv.reason = func() []sip.Header {
			if why := c.asked.why.Load(); why != nil {
				return *why
			}
			return nil
		}
	}
	c.inv = inv
}

// early reports whether this is the INVITE that opens the dialogs, and they aren't confirmed yet.
func (c *crossing) early() bool {
	return c != nil && c.asked != nil && c.asked.state != nil && c.ok == nil
}

// reply sends the asker a response; after a final one it does nothing but say so.
func (c *crossing) reply(res *sip.Response) error {
	in := c.asked
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.final {
		return errAnswered
	}
	if !res.IsProvisional() {
		in.final, in.bridged = true, res.IsSuccess()
	}
	return in.send(res)
}

// answered reports whether the asker has a final response, be it the 487 of a CANCEL.
func (c *crossing) answered() bool {
	c.asked.mu.Lock()
	defer c.asked.mu.Unlock()
	return c.asked.final || c.asked.cancelled.Load() || c.asked.ctx.Err() != nil
}

// respond makes the response that a response becomes.
func (c *crossing) respond(res *sip.Response, p *pair) *sip.Response {
	out := c.asked.t.Response(res.StatusCode, res.Reason)
	if p != nil && c.asked.state != nil {
		withTag(out, p.ends[SideA].state.LocalTag)
	}
	c.carryResponse(res, out, c.asked.t.Request, c.from)
	return out
}

// pairOf finds or makes the pair of a response: each tag of B's has one of ours on A's side (RFC 3261 §12.1). Nil: the response
// makes no dialog.
func (c *crossing) pairOf(res *sip.Response) *pair {
	if c.asked == nil || c.asked.state == nil {
		return c.pair
	}
	tag, _ := res.To().Params.Get("tag")
	if p := c.forks[tag]; p != nil || tag == "" || len(c.forks) >= maxForks {
		return p
	}
	state, err := dialog.FromResponse(c.out, res)
	if err != nil {
		return nil
	}
	local := c.asked.t.Tag // which the transaction's own 487 has, too
	if len(c.forks) > 0 {
		local = sipua.NewToken()
	}
	p := c.join(c.asked, local, state)
	p.invite = c
	p.offered = offered{!c.late, SideA}
	c.forks[tag], c.x[p] = p, &exchange{late: c.late}
	p.ends[SideA].heard(c.asked.t.Request)
	p.ends[SideB].heard(res)
	if c.late {
		return p
	}
	p.ends[SideB].keep(bodyPart(c.out, sdpType))
	return p
}

// progress carries a provisional response.
func (c *crossing) progress(res *sip.Response) {
	if c.asked == nil {
		c.prack(res)
		return
	}
	if c.answered() {
		return
	}
	tag, _ := res.To().Params.Get("tag")
	ended := res.StatusCode == 199 && dialog.RSeq(res) == 0
	if ended && c.asked.state != nil && c.forks[tag] == nil {
		return // RFC 6228 §4: the end of a dialog that there never was, as it seems, is discarded
	}
	p := c.pairOf(res)
	if p == nil {
		if tag == "" {
			_ = c.reply(c.respond(res, nil))
		}
		return
	}
	x, rseq := c.x[p], dialog.RSeq(res)
	var number uint32
	if rseq != 0 {
		var fresh bool
		// RFC 3262 §3: from 1 to 2^31-1, at random.
		if number, fresh = x.number(rseq, func() uint32 { return 1 + rand.Uint32N(1<<30) }); !fresh {
			return
		}
	}
	out := c.respond(res, p)
	if err := p.answer(c, x, res, out); err != nil {
		c.engine.log.Info("early description dropped", latchkey.LogCallID, c.asked.CallID(), latchkey.LogError, err)
		out.SetBody(nil)
	}
	if rseq != 0 {
		out.AppendHeader(sip.NewHeader("RSeq", fmt.Sprint(number)))
	}
	_ = c.reply(out)
	if ended && c.asked.state != nil { // RFC 6228 §4: this fork is over
		p.drop()
	}
}

// final carries the final response.
func (c *crossing) final(res *sip.Response, lost error) {
	switch {
	case c.asked == nil:
		c.refreshed(res, lost)
		return
	case res == nil:
		code := latchkey.KindCoreTimeout.Row().SIP
		if errors.Is(lost, errRings) {
			code = 408
		}
		if !c.answered() {
			c.engine.log.Info("bridged call is lost", latchkey.LogCallID, c.asked.CallID(), "code", code, latchkey.LogError, lost)
		}
		c.fail(c.asked.t.Response(code, ""))
		if c.pair != nil && errors.Is(lost, sipua.ErrTimeout) {
			c.pair.send(c.pair.hangUp(SideA, nil, "")) // RFC 3261 §12.2.1.2: a peer that doesn't answer is gone
		}
		return
	case res.IsSuccess():
		c.accept(res)
		return
	case res.StatusCode == 422 && c.brief < dialog.MinInterval(res) && !c.answered() && c.tries < maxBrief:
		// RFC 4028 §7.3: the same once more, with what the peer wants; the asker's own timer is not concerned.
		c.brief, c.again = dialog.MinInterval(res), true
		c.tries++
		if c.pair != nil {
			c.pair.ends[c.from.Other()].tooBrief(res)
		}
		c.endForks(res.StatusCode)
		return
	case res.StatusCode == 488 && c.offersAgain():
		c.endForks(res.StatusCode)
		return
	}
	out := c.respond(res, nil)
	c.fail(out)
	if c.pair != nil && (res.StatusCode == 481 || res.StatusCode == 408) {
		c.pair.send(c.pair.hangUp(SideA, nil, "")) // RFC 3261 §12.2.1.2
	}
}

// offersAgain reports whether an INVITE that opens a call goes out once more with another offer.
func (c *crossing) offersAgain() bool {
	media, ok := c.media.(Alternative)
	if !ok || c.asked.state == nil || c.late || c.answered() {
		return false
	}
	c.offer = media.Again()
	c.again = c.offer != nil
	return c.again
}

// endForks ends the early dialogs for a refusal that is not carried on, and tells the asker of each who knows 199, since nothing else does (RFC 6228
// §6). It is sent unreliably, so not to who wants all of them reliable.
func (c *crossing) endForks(code int) {
	req := c.asked.t.Request
	tell := len(c.forks) > 0 && dialog.HasToken(req, "Supported", "199") && !dialog.HasToken(req, "Require", "100rel") && !dialog.HasToken(req, "Proxy-Require", "100rel") && !c.answered()
	for _, p := range c.forks {
		if tell && !p.over {
			end := c.asked.t.Response(199, "Early Dialog Terminated")
			withTag(end, p.ends[SideA].state.LocalTag)
			end.AppendHeader(c.engine.contactHeader(req.To().Address, req))
			end.AppendHeader(sip.NewHeader("Reason", fmt.Sprintf("SIP;cause=%d", code)))
			_ = c.reply(end)
		}
		p.drop()
	}
}

// fail answers the asker with a refusal; the early dialogs are over with it, without a 199 before it (RFC 6228 §5).
func (c *crossing) fail(out *sip.Response) {
	for _, p := range c.forks {
		p.drop()
	}
	_ = c.reply(out)
	if p := c.pair; p != nil && p.invite == c {
		p.invite = nil
		p.reject(c.from)
		p.follow(c.from)
	}
}

// accept carries a 2xx and makes its pair the one that stays.
func (c *crossing) accept(res *sip.Response) {
	if c.asked.state != nil && c.answered() { // F42: it crossed the CANCEL
		c.unwanted(res)
		c.fail(c.asked.t.Response(487, ""))
		return
	}
	p := c.pairOf(res)
	if p == nil {
		c.unwanted(res)
		c.fail(c.asked.t.Response(502, ""))
		return
	}
	callee := &p.ends[c.from.Other()]
	if c.asked.state != nil {
		// RFC 3261 §13.2.2.4: the route set is that of the 2xx.
		if state, err := dialog.FromResponse(c.out, res); err == nil {
			state.LocalSeq, state.RemoteSeq = callee.state.LocalSeq, callee.state.RemoteSeq
			callee.state = *state
		}
	} else {
		callee.state.Refresh(res)
	}
	c.pair = p
	out := c.respond(res, p)
	err := p.answer(c, c.x[p], res, out)
	timer, field, require := dialog.Asked(c.asked.t.Request, p.ends[c.from].timer)
	agreeTo(out, field, require)
	c.ok = out
	for _, fork := range c.forks {
		if fork != p {
			fork.drop() // RFC 3261 §13.2.2.4; should they answer, too, that is for repeated
		}
	}
	if err != nil {
		c.engine.log.Info("bridged call hung up", latchkey.LogCallID, c.asked.CallID(), latchkey.LogError, err)
		c.ok = nil
		_ = c.reply(c.asked.t.Response(488, ""))
		c.ok = out
		c.acknowledge(nil)
		c.settle()
		if c.asked.state != nil {
			p.leave(SideA)
			p.send(p.onlyB())
		} else {
			p.send(p.hangUp(SideA, nil, ""))
		}
		return
	}
	callee.heard(res)
	if p.media != nil && c.asked.state != nil {
		p.media.Kept(p.fork) // before the caller hears of it: what it sends then comes at once
	}
	if err := c.reply(out); err != nil && c.asked.state == nil { // the re-INVITE was cancelled too late: what the callee accepted stands
		c.acknowledge(nil)
		c.settle()
		c.ok = nil
	} else if err != nil { // the caller is gone, or has its 487 by now
		c.acknowledge(nil)
		c.settle()
		c.ok = nil
		p.leave(SideA)
		p.send(p.onlyB())
		return
	}
	if p.over {
		return
	}
	p.start(c.from, timer)
	p.start(c.from.Other(), dialog.Granted(res))
}

// onlyB hangs up where side A has no dialog.
func (p *pair) onlyB() []*sip.Request {
	byes := p.hangUp(SideA, nil, "")
	for i, bye := range byes {
		if bye.CallID().Value() == p.ends[SideB].state.CallID {
			return byes[i : i+1]
		}
	}
	return nil
}

// await repeats the 2xx until its ACK is there (RFC 3261 §13.3.1.4); without an ACK in 64*T1 both sides are hung up.
func (c *crossing) await() {
	end := time.NewTimer(c.engine.h())
	defer end.Stop()
	wait := c.engine.t1
	repeat := time.NewTimer(wait)
	defer repeat.Stop()
	for {
		select {
		case <-c.acked:
			return
		case <-repeat.C:
			_ = c.asked.t.Send(c.ok)
			wait = min(2*wait, c.engine.t2)
			repeat.Reset(wait)
		case <-end.C:
			c.turns.do(func() {
				if c.over {
					return
				}
				p := c.pair
				if !p.over {
					byes := p.hangUp(SideA, nil, "")
					p.send(byes)
				}
				c.settle()
			})
			return
		}
	}
}

// takeACK takes an ACK; one that nothing waits for acknowledges a repeat (RFC 6026).
func (p *pair) takeACK(s Side, req *sip.Request) {
	c := p.invite
	if c == nil || c.from != s || c.ok == nil || c.asked.t.Request.CSeq().SeqNo != req.CSeq().SeqNo {
		return
	}
	if c.ack == nil {
		c.acknowledge(req)
	}
	c.settle()
	p.follow(s)
}

// acknowledge sends the callee its ACK: what the asker's says, or, where that won't come, an empty one.
func (c *crossing) acknowledge(req *sip.Request) {
	if c.ack != nil {
		return
	}
	p, callee := c.pair, c.from.Other()
	ack := p.ends[callee].state.ACK(c.out.CSeq().SeqNo)
	if req != nil {
		_ = c.carryRequest(req, ack, callee)
		ack.RemoveHeader("Contact")
		if sdp := bodyPart(req, sdpType); len(sdp) > 0 && p.offered == (offered{true, callee}) {
			p.offered.open = false
			answer, err := p.describe(false, c.from, sdp)
			if err != nil {
				c.engine.log.Info("bridged answer dropped", latchkey.LogCallID, c.asked.CallID(), latchkey.LogError, err)
				answer = nil
			}
			ack.SetBody(replacePart(ack.Body(), sdp, answer))
			p.ends[callee].keep(answer)
		}
	}
	p.reject(callee) // an offer in the 2xx without an answer
	c.ack = ack
	if err := c.engine.sip.SendACK(ack, false); err != nil {
		c.engine.log.Info("bridged ack not sent", latchkey.LogCallID, c.asked.CallID(), latchkey.LogError, err)
	}
}

// settle ends the wait for the asker's ACK.
func (c *crossing) settle() {
	if c.over {
		return
	}
	c.over = true
	close(c.acked)
	p := c.pair
	if p.invite == c {
		p.invite = nil
	}
	if c.bye != nil {
		p.leave(c.from)
		p.send([]*sip.Request{c.bye})
	}
}

// repeated takes a 2xx after the first one: a repeat is acknowledged again, another fork's is acknowledged and hung up (F41, RFC 6026 §7.2).
func (c *crossing) repeated(res *sip.Response) {
	tag, _ := res.To().Params.Get("tag")
	switch ack := c.other[tag]; {
	case ack != nil:
		_ = c.engine.sip.SendACK(ack, true)
	case c.pair != nil && tag == c.pair.ends[c.from.Other()].state.RemoteTag:
		if c.ack != nil {
			_ = c.engine.sip.SendACK(c.ack, true)
		}
	case len(c.other) < maxForks:
		c.unwanted(res)
	}
}

// unwanted acknowledges a 2xx whose dialog nobody wants, and hangs up.
func (c *crossing) unwanted(res *sip.Response) {
	state, err := dialog.FromResponse(c.out, res)
	if err != nil {
		return
	}
	if p := c.forks[state.RemoteTag]; p != nil {
		state.LocalSeq = max(state.LocalSeq, p.ends[SideB].state.LocalSeq)
	}
	ack := state.ACK(c.out.CSeq().SeqNo)
	c.other[state.RemoteTag] = ack
	g := c.engine
	g.mu.Lock()
	g.over[state.Key()] = true // a BYE of the other side may cross ours (B5.09)
	g.later(g.over, state.Key())
	g.mu.Unlock()
	if err := g.sip.SendACK(ack, false); err != nil {
		return
	}
	bye := c.signed(state.Request(sip.BYE), c.from.Other())
	g.running.Go(func() { // ends with its request
		ctx, cancel := context.WithTimeout(context.Background(), g.h())
		defer cancel()
		_, _ = g.sip.DoOnce(ctx, bye)
	})
}

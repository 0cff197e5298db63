package b2bua

import (
	"context"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// bridge joins the two legs of a call that goes through: each message of one side goes on to the other in a dialog of its own,
// with its own Call-ID, tags, CSeq, Via and Contact (B2.15). While nothing happens it has no goroutine; what it does
// runs on those of the messages and timers, one at a time.
type bridge struct {
	engine *Engine
	border Border
	media  Media
	turns  turns
	closed bool // the media is
}

// turns lets one at a time work on a bridge, in the order in which they came.
type turns struct {
	mu    sync.Mutex
	taken bool
	next  []chan struct{} // each closed when its owner's turn comes
}

func (t *turns) do(f func()) {
	t.mu.Lock()
	if t.taken {
		mine := make(chan struct{})
		t.next = append(t.next, mine)
		t.mu.Unlock()
		<-mine
	} else {
		t.taken = true
		t.mu.Unlock()
	}
	defer t.leave()
	f()
}

func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.next) == 0 {
		t.taken, t.next = false, nil
		return
	}
	close(t.next[0])
	t.next = t.next[1:]
}

// pair is two dialogs of a bridge that belong together: that of A and that of one fork of B. All but what serve does is done in the
// bridge's turns.
type pair struct {
	*bridge
	fork string // B's tag
	ends [2]end

	invite  *crossing // the INVITE or re-INVITE under way, until its ACK
	offered offered
	over    bool
}

// end is one of the dialogs.
type end struct {
	state   dialog.State
	waiting queue // requests behind a gap in CSeq
	refresh
	manners unique.Handle[manners] // the zero one: nothing was heard yet
}

// offered is an offer that has no answer yet (RFC 3264 §4: there is one at most).
type offered struct {
	open bool
	from Side
}

// pairEnd is what the engine knows a dialog of a bridge by.
type pairEnd struct {
	pair *pair
	side Side
}

// join makes the pair of a dialog on side B, and of one with the tag local on side A. It is known from now on.
func (b *bridge) join(in *Incoming, local string, state *dialog.State) *pair {
	p := &pair{bridge: b, fork: state.RemoteTag}
	p.ends[SideA].state = *dialog.FromRequest(in.t.Request, local)
	p.ends[SideB].state = *state
	g := b.engine
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range p.ends {
		g.bridged[p.ends[s].state.Key()] = pairEnd{p, Side(s)}
	}
	return p
}

// leave forgets one dialog, but not at once that there was one: a BYE of its peer may cross ours (B5.09).
func (p *pair) leave(s Side) {
	g, key := p.engine, p.ends[s].state.Key()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bridged[key].pair == p {
		delete(g.bridged, key)
		g.over[key] = true
		g.later(g.over, key)
	}
}

// drop ends a pair without a word: its early dialogs are over (RFC 3261 §12.3).
func (p *pair) drop() {
	p.over = true
	p.leave(SideA)
	p.leave(SideB)
}

// Bridged is the number of standing pairs of dialogs.
func (g *Engine) Bridged() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return (len(g.bridged) + 1) / 2 // of a pair that waits for an ACK one is left
}

// closeMedia is the last of a bridge.
func (b *bridge) closeMedia() {
	if b.media != nil && !b.closed {
		b.media.Close()
	}
	b.closed = true
}

// serve takes a request within one of the dialogs. It returns when the request is answered.
func (p *pair) serve(s Side, t *sipua.Transaction) {
	if t.Request.Method == sip.ACK {
		p.turns.do(func() { p.takeACK(s, t.Request) })
		return
	}
	r := &inDialog{t: t, done: make(chan struct{})}
	p.turns.do(func() {
		e := &p.ends[s]
		if p.over || !p.gap(s, t.Request) {
			p.take(s, r)
			p.follow(s)
			return
		}
		e.waiting.add(r)
		time.AfterFunc(p.engine.gap, func() {
			p.turns.do(func() { e.waiting.release(r, p.gapOf(s), p.takeOf(s)) })
		})
	})
	<-r.done
	if r.then != nil {
		r.then()
	}
}

// gap reports whether something that was sent before req is missing yet: a number, or the ACK of an INVITE before
// the next offer.
func (p *pair) gap(s Side, req *sip.Request) bool {
	if p.over {
		return false
	}
	c := p.invite
	unacked := c != nil && c.from == s && c.ok != nil && (req.Method == sip.INVITE || req.Method == sip.UPDATE)
	return unacked || p.ends[s].state.Gap(req)
}

func (p *pair) gapOf(s Side) func(*sip.Request) bool {
	return func(req *sip.Request) bool { return p.gap(s, req) }
}

func (p *pair) takeOf(s Side) func(*inDialog) { return func(r *inDialog) { p.take(s, r) } }

func (p *pair) follow(s Side) { p.ends[s].waiting.follow(p.gapOf(s), p.takeOf(s)) }

// hangUp ends both dialogs and returns the BYEs to send. by is the side whose own BYE it was, and bye that; nil: it
// was our idea, for the reason given (RFC 3326), if any.
func (p *pair) hangUp(by Side, bye *sip.Request, reason string) (byes []*sip.Request) {
	if p.over {
		return nil
	}
	c := p.invite
	if c.early() { // nothing to hang up yet (RFC 3261 §15)
		_ = c.asked.Refuse(487, "")
		c.asked.cancel()
		return nil
	}
	p.over = true
	for s := range p.ends {
		p.ends[s].stop()
	}
	held := false // the asker's BYE
	if c != nil && c.ok != nil {
		c.acknowledge(nil) // RFC 3261 §15: the callee gets its ACK before the BYE
		held = bye == nil || by != c.from
	} else if c != nil && c.asked != nil {
		_ = c.asked.Refuse(487, "")
		c.asked.cancel()
	}
	for s := range p.ends {
		side := Side(s)
		if bye != nil && side == by {
			p.leave(side)
			continue
		}
		out := p.ends[s].state.Request(sip.BYE)
		if bye != nil {
			_ = p.carryRequest(bye, out, side)
		} else {
			p.signed(out, side)
			if reason != "" {
				out.AppendHeader(sip.NewHeader("Reason", reason))
			}
		}
		if held && side == c.from {
			c.bye = out // RFC 3261 §15: not before the ACK is there or its time is over
			continue
		}
		p.leave(side)
		byes = append(byes, out)
	}
	if c != nil && c.ok != nil && !held {
		c.settle()
	}
	for s := range p.ends { // what waits behind a gap is answered
		p.follow(Side(s))
	}
	p.closeMedia()
	return byes
}

// send sends BYEs, each until it is answered.
func (p *pair) send(byes []*sip.Request) {
	for _, bye := range byes {
		p.engine.running.Go(func() { // ends with its transaction
			ctx, cancel := context.WithTimeout(context.Background(), p.engine.h())
			defer cancel()
			_, _ = p.engine.sip.DoOnce(ctx, bye)
		})
	}
}

// close hangs up and waits.
func (p *pair) close(ctx context.Context) {
	var byes []*sip.Request
	p.turns.do(func() { byes = p.hangUp(SideA, nil, "") })
	var sent sync.WaitGroup
	for _, bye := range byes {
		sent.Go(func() { _, _ = p.engine.sip.DoOnce(ctx, bye) })
	}
	sent.Wait()
}

// pairs lists what stands.
func (g *Engine) pairs() []*pair {
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []*pair
	for _, e := range g.bridged {
		if e.side == SideB {
			all = append(all, e.pair)
		}
	}
	return slices.Clip(all)
}

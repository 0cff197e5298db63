package b2bua

import (
	"context"
	"sync"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// maxForks bounds what a peer can make us keep for one INVITE.
const maxForks = 32

// early is an early dialog of an INVITE of ours (RFC 3261 §12.1.2).
type early struct {
	engine *Engine

	mu    sync.Mutex // the INVITE's reader, PRACKs and the peer's requests share it
	state *dialog.State
	rseq  uint32        // the last one acknowledged
	sdp   []byte        // the answer, once it came in a reliable response
	prack chan struct{} // closed when the last PRACK is answered; nil: there was none
}

// progress notes early dialogs, and acknowledges reliable provisional responses in their order (RFC 3262 §4).
func (c *call) progress(res *sip.Response) {
	e := c.earlyOf(res)
	if res.StatusCode > 100 && c.inv.OnProgress != nil {
		c.inv.OnProgress(res.StatusCode)
	}
	rseq := dialog.RSeq(res)
	if e == nil || rseq == 0 {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.rseq != 0 && rseq != e.rseq+1 {
		return // a repeat, or out of order: it will come again
	}
	e.rseq = rseq
	if sdp := bodyPart(res, sdpType); len(e.sdp) == 0 {
		e.sdp = sdp
	}
	prack := e.state.Request(sip.PRACK)
	prack.AppendHeader(sip.NewHeader("RAck", dialog.RAck(rseq, c.req.CSeq().SeqNo, sip.INVITE)))
	before, answered := e.prack, make(chan struct{})
	e.prack = answered
	c.engine.running.Go(func() { // ends with its request
		defer close(answered)
		if before != nil {
			<-before // PRACKs leave in the order of their CSeq
		}
		ctx, cancel := context.WithTimeout(context.Background(), c.engine.h())
		defer cancel()
		_, _ = c.engine.sip.DoAuthNext(ctx, prack, c.inv.Credentials, e.next)
	})
}

// earlyOf finds or makes the early dialog of a 1xx; nil if it makes none.
func (c *call) earlyOf(res *sip.Response) *early {
	tag, _ := res.To().Params.Get("tag")
	if e := c.early[tag]; e != nil || tag == "" || res.StatusCode == 100 || len(c.early) >= maxForks {
		return e
	}
	state, err := dialog.FromResponse(c.req, res)
	if err == nil {
		state.Always = always(c.inv.Always)
	}
	if err != nil {
		return nil
	}
	e := &early{engine: c.engine, state: state}
	c.early[tag] = e
	c.engine.mu.Lock()
	c.engine.early[state.Key()] = e
	c.engine.mu.Unlock()
	return e
}

// forgetEarly ends the early dialogs of an INVITE that has a final response.
func (g *Engine) forgetEarly(all map[string]*early) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range all {
		delete(g.early, e.state.Key())
	}
}

// next numbers a repeat.
func (e *early) next() uint32 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state.LocalSeq++
	return e.state.LocalSeq
}

// serve answers what the callee asks before it has answered.
func (e *early) serve(t *sipua.Transaction) {
	if t.Request.Method == sip.ACK {
		return
	}
	e.mu.Lock()
	err := e.state.Take(t.Request)
	answered := len(e.sdp) > 0
	local := e.state.Local
	e.mu.Unlock()
	switch {
	case err != nil:
		answerOutOfOrder(t)
	case t.Request.Method == sip.OPTIONS:
		answerOptions(t)
	case t.Request.Method != sip.UPDATE:
		_ = t.Respond(481, "") // RFC 3261 §15: the callee doesn't hang up an early dialog
	case len(t.Request.Body()) == 0:
		_ = t.Respond(200, "", e.engine.contactHeader(local, t.Request), sip.NewHeader("Allow", allow))
	case !answered:
		_ = t.Respond(491, "") // RFC 3311 §5.2: our own offer has no answer yet
	default:
		_ = t.Respond(488, "")
	}
}

package b2bua

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

var (
	errCancelled = errors.New("the caller has cancelled")
	errAnswered  = errors.New("answered already")
)

// Incoming is an INVITE that asks for a dialog and has no final answer yet.
type Incoming struct {
	engine *Engine
	t      *sipua.Transaction
	key    string // of the dialog
	ctx    context.Context
	cancel context.CancelFunc

	// cancelled is set under the transaction's lock, which every response takes; so no lock of ours may be taken there.
	cancelled atomic.Bool
	why       atomic.Pointer[[]sip.Header] // Reason of the CANCEL

	mu      sync.Mutex
	state   *dialog.State // until leg has it
	leg     *Leg          // once answered
	final   bool
	bridged bool // answered by a bridge
	rseq    uint32
	unacked chan struct{}            // of the last reliable response; closed by its PRACK
	pracks  map[uint32]chan struct{} // reliable responses that wait for one
}

func (g *Engine) serveInvite(t *sipua.Transaction) {
	req := t.Request
	g.mu.Lock()
	h, draining := g.handler, g.draining
	g.mu.Unlock()
	if h == nil || draining && !sipua.Emergency(req) || !g.begin() {
		_ = t.Respond(503, "", sip.NewHeader("Retry-After", "5"))
		return
	}
	defer g.calls.Done()
	if !understood(req) && !passes(h, req) {
		_ = t.Respond(415, "", notUnderstood()...)
		return
	}
	if dialog.TooBrief(req) { // F40
		_ = t.Respond(422, "", minSE())
		return
	}
	remote, _ := req.From().Params.Get("tag")
	merged := fmt.Sprint(req.CallID().Value(), "\x00", remote, "\x00", req.CSeq().SeqNo)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	in := &Incoming{engine: g, t: t, ctx: ctx, cancel: cancel, pracks: map[uint32]chan struct{}{}}
	in.state = dialog.FromRequest(req, t.Tag)
	in.key = in.state.Key()
	g.mu.Lock()
	seen := g.taken[merged]
	if !seen {
		g.taken[merged], g.incoming[in.key] = true, in
	}
	g.mu.Unlock()
	if seen {
		_ = t.Respond(482, "") // RFC 3261 §8.2.2.2: the same INVITE came by another way, too
		return
	}
	defer func() {
		in.mu.Lock()
		answered := in.leg != nil || in.bridged
		in.mu.Unlock() // before g.mu, which Answer takes within in.mu
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.incoming, in.key)
		if !answered {
			delete(g.taken, merged)
		} else {
			g.later(g.taken, merged)
		}
	}()
	if !t.OnCancel(in.cancelledBy) || !t.OnEnd(cancel) {
		return
	}
	_ = t.Respond(100, "") // at once: an S-CSCF waits 5 s only (B1.04)
	h.ServeInvite(in)
	_ = in.Refuse(500, "") // a handler that forgot; no-op otherwise
}

// cancelledBy notes a CANCEL. RFC 3326 §2: its Reason is for whoever cancels on.
func (in *Incoming) cancelledBy(cancel *sip.Request) {
	why := cancel.GetHeaders("Reason")
	in.why.Store(&why)
	in.cancelled.Store(true)
	in.cancel()
}

// Request is the INVITE. Its To has our tag.
func (in *Incoming) Request() *sip.Request { return in.t.Request }

// Context ends when the caller cancels, hangs up or loses its connection.
func (in *Incoming) Context() context.Context { return in.ctx }

// CallID is the INVITE's Call-ID.
func (in *Incoming) CallID() string { return in.t.Request.CallID().Value() }

// Header is the value of the first field called name, or "".
func (in *Incoming) Header(name string) string {
	if h := in.t.Request.GetHeader(name); h != nil {
		return h.Value()
	}
	return ""
}

// Offer is the INVITE's session description, nil if it has none (a late offer).
func (in *Incoming) Offer() []byte { return in.BodyPart(sdpType) }

// BodyPart is the first body part of the type; nil if there is none. multipart is
// searched (RFC 5621 §4.2).
func (in *Incoming) BodyPart(contentType string) []byte { return bodyPart(in.t.Request, contentType) }

// send sends a response unless the caller has cancelled; then the 487 that the transaction has sent is the last word.
func (in *Incoming) send(res *sip.Response) error {
	var err error
	if !in.cancelled.Load() {
		err = in.t.Send(res)
	}
	if in.cancelled.Load() {
		return errCancelled
	}
	return err
}

// Progress sends a 1xx, reliably if the caller requires that (RFC 3262 §3). A reliable one waits until the
// one before it is acknowledged.
func (in *Incoming) Progress(code int) error {
	res := in.t.Response(code, "")
	res.AppendHeader(in.engine.contactHeader(in.t.Request.To().Address, in.t.Request))
	if !dialog.HasToken(in.t.Request, "Require", "100rel") {
		in.mu.Lock()
		defer in.mu.Unlock()
		if in.final {
			return fmt.Errorf("progress: %w", errAnswered)
		}
		return in.send(res)
	}
	in.mu.Lock()
	before := in.unacked
	in.mu.Unlock()
	if before != nil {
		select {
		case <-before:
		case <-in.ctx.Done():
			return fmt.Errorf("progress: %w", in.ctx.Err())
		}
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.final {
		return fmt.Errorf("progress: %w", errAnswered)
	}
	if in.rseq == 0 {
		in.rseq = rand.Uint32N(1 << 30) // RFC 3262 §3: from 1 to 2^31-1, at random
	}
	in.rseq++
	res.AppendHeader(sip.NewHeader("Require", "100rel"))
	res.AppendHeader(sip.NewHeader("RSeq", fmt.Sprint(in.rseq)))
	in.unacked = make(chan struct{})
	in.pracks[in.rseq] = in.unacked
	if err := in.send(res); err != nil {
		return err
	}
	acked := in.unacked
	in.engine.running.Go(func() { in.repeat(res, acked) }) // ends by the PRACK, the final response or the caller's leaving
	return nil
}

// repeat sends a reliable response again until its PRACK is there. Without one in 64*T1 the INVITE
// is refused (RFC 3262 §3).
func (in *Incoming) repeat(res *sip.Response, acked <-chan struct{}) {
	end := time.After(in.engine.h())
	for wait := in.engine.t1; ; wait *= 2 {
		select {
		case <-acked:
			return
		case <-in.ctx.Done():
			return
		case <-end:
			_ = in.Refuse(504, "")
			in.cancel()
			return
		case <-time.After(wait):
			in.mu.Lock()
			if !in.final {
				_ = in.send(res)
			}
			in.mu.Unlock()
		}
	}
}

// serve takes a request within the dialog that our 1xx made.
func (in *Incoming) serve(t *sipua.Transaction) {
	if t.Request.Method == sip.ACK {
		return
	}
	in.mu.Lock()
	if in.leg != nil { // answered in between
		in.mu.Unlock()
		in.leg.serve(t)
		return
	}
	err := in.state.Take(t.Request)
	local := in.state.Local
	in.mu.Unlock()
	switch {
	case err != nil:
		answerOutOfOrder(t)
	case t.Request.Method == sip.PRACK:
		in.servePRACK(t)
	case t.Request.Method == sip.BYE:
		// RFC 3261 §15.1.2: BYE ends an early dialog, too; the INVITE gets 487.
		_ = t.Respond(200, "")
		_ = in.Refuse(487, "")
		in.cancel()
	case t.Request.Method == sip.OPTIONS:
		answerOptions(t)
	case t.Request.Method == sip.UPDATE && len(t.Request.Body()) == 0:
		_ = t.Respond(200, "", in.engine.contactHeader(local, t.Request), sip.NewHeader("Allow", allow))
	case t.Request.Method == sip.UPDATE, t.Request.Method == sip.INVITE:
		// RFC 3311 §5.2, RFC 3261 §14.2: the first offer has no answer yet.
		_ = t.Respond(500, "", sip.NewHeader("Retry-After", fmt.Sprint(rand.IntN(10))))
	default:
		_ = t.Respond(405, "", sip.NewHeader("Allow", allow))
	}
}

// servePRACK answers a PRACK, also one that comes after the final response (RFC 3262 §3).
func (in *Incoming) servePRACK(t *sipua.Transaction) {
	h := t.Request.GetHeader("RAck")
	if h == nil {
		_ = t.Respond(400, "Bad Request - no RAck")
		return
	}
	rseq, cseq, method, ok := dialog.ParseRAck(h.Value())
	if !ok {
		_ = t.Respond(400, "Bad Request - RAck")
		return
	}
	in.mu.Lock()
	acked := in.pracks[rseq]
	if cseq != in.t.Request.CSeq().SeqNo || method != sip.INVITE {
		acked = nil
	} else {
		delete(in.pracks, rseq)
	}
	in.mu.Unlock()
	if acked == nil {
		_ = t.Respond(481, "") // RFC 3262 §3: matches nothing
		return
	}
	close(acked)
	_ = t.Respond(200, "")
}

// Refuse sends a final response of 300 and up. After an answer or a CANCEL it does nothing.
func (in *Incoming) Refuse(code int, reason string, header ...Field) error {
	res := in.t.Response(code, reason)
	if err := addFields(res, header); err != nil {
		return err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.final {
		return nil
	}
	in.final = true
	if err := in.send(res); !errors.Is(err, errCancelled) {
		return err
	}
	return nil
}

// AnswerOptions are what a 200 carries.
type AnswerOptions struct {
	ContentType string
	Body        []byte // the answer, or our offer where the INVITE had none
	Header      []Field
	Always      []Field // of every request of ours in the dialog, such as Charging
	OnReoffer   func(offer []byte) (answer []byte, err error)
}

// Answer accepts the call. It repeats the 200 until the ACK is there (RFC 3261 §13.3.1.4) and
// returns the leg; without an ACK in 64*T1 it hangs up and returns an error. When ctx ends first,
// the leg is hung up as soon as that is allowed.
func (in *Incoming) Answer(ctx context.Context, opt AnswerOptions) (*Leg, error) {
	req := in.t.Request
	res := in.t.Response(200, "")
	res.AppendHeader(in.engine.contactHeader(req.To().Address, req))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	if err := addFields(res, opt.Header); err != nil {
		return nil, err
	}
	if err := addFields(&sip.Response{}, opt.Always); err != nil {
		return nil, err
	}
	if len(opt.Body) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", opt.ContentType))
	}
	res.SetBody(opt.Body)
	in.mu.Lock()
	if in.final || in.cancelled.Load() {
		in.mu.Unlock()
		return nil, fmt.Errorf("answer: %w", errAnswered)
	}
	in.final = true
	in.state.Always = always(opt.Always)
	timer, field, require := dialog.Asked(req, dialog.Timer{})
	agreeTo(res, field, require)
	leg := in.engine.newLeg(in.state, legParts{
		local: opt.Body, remote: in.Offer(), reoffer: opt.OnReoffer, prack: in.servePRACK,
	})
	in.leg = leg
	u := &unacked{late: in.Offer() == nil, acked: make(chan struct{})}
	leg.post(func() {
		leg.acks[req.CSeq().SeqNo], leg.offering = u, u.late
		leg.session.learn(req)
		leg.keepTime(timer)
	})
	err := in.send(res)
	in.mu.Unlock()
	if err != nil {
		leg.end("peer")
		return nil, fmt.Errorf("answer: %w", err)
	}
	acked := make(chan error, 1)
	in.engine.running.Go(func() { acked <- leg.repeat(in.t, res, u) }) // ends by the ACK, 64*T1 or the leg's end
	select {
	case err := <-acked:
		if err != nil {
			return nil, fmt.Errorf("answer: %w", err)
		}
		return leg, nil
	case <-ctx.Done():
		in.engine.running.Go(leg.hangUp)
		return nil, ctx.Err()
	}
}

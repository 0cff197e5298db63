package b2bua

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// gapWait is how long a request waits for one that was sent before it: each request is handed over
// on a goroutine of its own, so neighbours may overtake each other.
const gapWait = 50 * time.Millisecond

// inDialog is a request of the peer on its way through the leg's loop. Its own goroutine waits
// for done, because the transaction ends when the handler returns.
type inDialog struct {
	t    *sipua.Transaction
	done chan struct{}
	then func() // what that goroutine does after done; nil: nothing
}

// serve takes a request of this dialog. It returns when the request is answered.
func (l *Leg) serve(t *sipua.Transaction) {
	if t.Request.Method == sip.ACK {
		l.ack(t.Request)
		return
	}
	r := &inDialog{t: t, done: make(chan struct{})}
	if !l.post(func() { l.order(r) }) {
		answerAfterEnd(t)
		return
	}
	<-r.done
}

// answerAfterEnd answers what comes for a dialog that is over: a BYE that crossed ours is 200 (B5.09).
func answerAfterEnd(t *sipua.Transaction) {
	switch t.Request.Method {
	case sip.ACK:
	case sip.BYE:
		_ = t.Respond(200, "")
	default:
		_ = t.Respond(481, "")
	}
}

func answerOutOfOrder(t *sipua.Transaction) {
	_ = t.Respond(500, "CSeq Out Of Order", sip.NewHeader("Retry-After", "1")) // RFC 3261 §12.2.2
}

func answerOptions(t *sipua.Transaction) {
	_ = t.Respond(200, "", sip.NewHeader("Allow", allow), sip.NewHeader("Accept", sdpType))
}

// order brings requests back into the order of their CSeq (RFC 3261 §12.2.2).
func (l *Leg) order(r *inDialog) {
	if l.state.Gap(r.t.Request) {
		l.waiting.add(r)
		time.AfterFunc(l.engine.gap, func() { l.post(func() { l.waiting.release(r, l.state.Gap, l.take) }) })
		return
	}
	l.take(r)
	l.waiting.follow(l.state.Gap, l.take)
}

// queue holds requests of one dialog behind a gap, in the order of their CSeq.
type queue []*inDialog

func (q *queue) add(r *inDialog) {
	*q = append(*q, r)
	slices.SortStableFunc(*q, func(a, b *inDialog) int {
		return cmp.Compare(a.t.Request.CSeq().SeqNo, b.t.Request.CSeq().SeqNo)
	})
}

// follow takes those that waited for the one just taken.
func (q *queue) follow(gap func(*sip.Request) bool, take func(*inDialog)) {
	for len(*q) > 0 && !gap((*q)[0].t.Request) {
		q.next(take)
	}
}

// release takes a request whose predecessor did not come in time: gaps are legal. Those with
// lower numbers that wait, too, go first.
func (q *queue) release(r *inDialog, gap func(*sip.Request) bool, take func(*inDialog)) {
	for slices.Contains(*q, r) {
		q.next(take)
	}
	q.follow(gap, take)
}

func (q *queue) next(take func(*inDialog)) {
	r := (*q)[0]
	*q = (*q)[1:]
	if len(*q) == 0 {
		*q = nil
	}
	take(r)
}

func (l *Leg) take(r *inDialog) {
	defer close(r.done)
	// A panic here would end the process, since the goroutine is the leg's.
	defer func() {
		if p := recover(); p != nil {
			l.engine.log.Error("leg panicked", "method", r.t.Request.Method, "panic", p, "stack", string(debug.Stack()))
			_ = r.t.Respond(500, "")
		}
	}()
	req := r.t.Request
	if l.Cause() != "" {
		answerAfterEnd(r.t)
		return
	}
	if err := l.state.Take(req); err != nil {
		answerOutOfOrder(r.t)
		return
	}
	switch req.Method {
	case sip.BYE:
		_ = r.t.Respond(200, "")
		l.end("peer")
	case sip.INVITE, sip.UPDATE:
		l.takeOffer(r.t)
	case sip.OPTIONS:
		answerOptions(r.t)
	case sip.PRACK:
		if l.prack != nil {
			l.prack(r.t)
			return
		}
		_ = r.t.Respond(481, "") // RFC 3262 §3: no reliable response of ours is open
	default:
		_ = r.t.Respond(405, "", sip.NewHeader("Allow", allow))
	}
}

// takeOffer answers a re-INVITE or UPDATE. Without a hook the standing session is confirmed
// where the peer offers what it offered before, and anything else is 488, which leaves
// the session as it is (RFC 3261 §14.2).
func (l *Leg) takeOffer(t *sipua.Transaction) {
	invite := t.Request.Method == sip.INVITE
	if !understood(t.Request) {
		_ = t.Respond(415, "", notUnderstood()...)
		return
	}
	if dialog.TooBrief(t.Request) {
		_ = t.Respond(422, "", minSE())
		return
	}
	offer := bodyPart(t.Request, sdpType)
	if l.offering && (invite || len(offer) > 0) {
		_ = t.Respond(491, "") // RFC 3261 §14.2, RFC 3311 §5.2
		return
	}
	var answer []byte
	switch {
	case len(offer) == 0 && !invite: // UPDATE without offer refreshes the target only
	case len(offer) == 0, sameSession(offer, l.remote):
		answer = l.local
	default:
		a, err := l.answer(offer)
		if err != nil {
			l.engine.log.Info("new offer refused", latchkey.LogCallID, l.callID, latchkey.LogError, err)
			_ = t.Respond(488, "")
			return
		}
		answer, l.local, l.remote = a, a, offer
	}
	res := t.Response(200, "")
	res.AppendHeader(l.engine.contactHeader(l.state.Local, t.Request))
	res.AppendHeader(sip.NewHeader("Allow", allow))
	if len(answer) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", sdpType))
		res.SetBody(answer)
	}
	timer, field, require := dialog.Asked(t.Request, l.session.timer)
	agreeTo(res, field, require)
	l.session.learn(t.Request)
	l.keepTime(timer)
	if !invite {
		_ = t.Send(res)
		return
	}
	u := &unacked{late: len(offer) == 0, acked: make(chan struct{})}
	l.acks[t.Request.CSeq().SeqNo], l.offering = u, u.late
	_ = t.Send(res)
	l.engine.running.Go(func() { _ = l.repeat(t, res, u) }) // ends by the ACK, 64*T1 or the leg's end
}

func (l *Leg) answer(offer []byte) ([]byte, error) {
	if l.reoffer == nil {
		return nil, errors.New("nothing else than the standing session")
	}
	a, err := l.reoffer(offer)
	if err == nil && len(a) == 0 {
		err = fmt.Errorf("an empty answer")
	}
	return a, err
}

// sameSession reports whether two descriptions differ in nothing but their o= line.
func sameSession(a, b []byte) bool {
	return bytes.Equal(withoutOrigin(a), withoutOrigin(b))
}

func withoutOrigin(sdp []byte) []byte {
	var out []byte
	for line := range bytes.Lines(sdp) {
		if !bytes.HasPrefix(line, []byte("o=")) {
			out = append(out, bytes.TrimRight(line, "\r\n")...)
			out = append(out, '\n')
		}
	}
	return out
}

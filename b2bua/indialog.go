package b2bua

import (
	"bytes"
	"slices"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/sipua"
)

// inDialog is a request of the peer on its way through the leg's loop. Its sipgo goroutine waits
// for done, because the transaction ends when the handler returns.
type inDialog struct {
	t    *sipua.Transaction
	done chan struct{}
}

// serve takes a request of this dialog. It returns when the request is answered.
func (l *Leg) serve(t *sipua.Transaction) {
	if t.Request.Method == sip.ACK {
		select {
		case l.acked <- bytes.Clone(t.Request.Body()):
		default:
		}
		return
	}
	r := &inDialog{t: t, done: make(chan struct{})}
	if !l.post(func() { l.order(r) }) {
		l.answerAfterEnd(t)
		return
	}
	select {
	case <-r.done:
	case <-time.After(timerH):
	}
}

// answerAfterEnd answers what comes for a dialog that is over: a BYE that crossed ours is 200 (B5.09).
func (l *Leg) answerAfterEnd(t *sipua.Transaction) {
	if t.Request.Method == sip.BYE {
		_ = t.Respond(200, "")
		return
	}
	_ = t.Respond(481, "")
}

// order brings requests back into the order of their CSeq (RFC 3261 §12.2.2).
func (l *Leg) order(r *inDialog) {
	if l.state.Gap(r.t.Request) {
		l.waiting = append(l.waiting, r)
		time.AfterFunc(gapWait, func() { l.post(func() { l.release(r) }) })
		return
	}
	l.take(r)
	for {
		i := slices.IndexFunc(l.waiting, func(w *inDialog) bool { return !l.state.Gap(w.t.Request) })
		if i < 0 {
			return
		}
		next := l.waiting[i]
		l.waiting = slices.Delete(l.waiting, i, i+1)
		l.take(next)
	}
}

// release takes a request whose predecessor did not come in time: gaps are legal. Those with
// lower numbers that wait, too, go first.
func (l *Leg) release(r *inDialog) {
	if !slices.Contains(l.waiting, r) {
		return
	}
	slices.SortFunc(l.waiting, func(a, b *inDialog) int {
		return int(a.t.Request.CSeq().SeqNo) - int(b.t.Request.CSeq().SeqNo)
	})
	for len(l.waiting) > 0 {
		w := l.waiting[0]
		l.waiting = l.waiting[1:]
		l.take(w)
		if w == r {
			return
		}
	}
}

func (l *Leg) take(r *inDialog) {
	defer close(r.done)
	req := r.t.Request
	select {
	case <-l.done:
		l.answerAfterEnd(r.t)
		return
	default:
	}
	if err := l.state.Take(req); err != nil {
		_ = r.t.Respond(500, "CSeq Out Of Order", sip.NewHeader("Retry-After", "1"))
		return
	}
	switch req.Method {
	case sip.BYE:
		_ = r.t.Respond(200, "")
		l.end("peer")
	case sip.INVITE:
		l.takeOffer(r.t, true)
	case sip.UPDATE:
		l.takeOffer(r.t, false)
	case sip.OPTIONS:
		_ = r.t.Respond(200, "", sip.NewHeader("Allow", allow), sip.NewHeader("Accept", "application/sdp"))
	case sip.PRACK:
		_ = r.t.Respond(481, "") // RFC 3262 §3: no reliable response of ours is open
	default:
		_ = r.t.Respond(405, "", sip.NewHeader("Allow", allow))
	}
}

// takeOffer answers a re-INVITE or UPDATE. Without a hook the standing session is confirmed
// where the peer offers what it offered before, and anything else is 488, which leaves
// the session as it is (RFC 3261 §14.2).
func (l *Leg) takeOffer(t *sipua.Transaction, invite bool) {
	if l.inviting {
		_ = t.Respond(491, "")
		return
	}
	offer := bytes.Clone(t.Request.Body())
	var answer []byte
	switch {
	case len(offer) == 0 && !invite: // UPDATE without offer refreshes the target only
	case len(offer) == 0, sameSession(offer, l.remote):
		answer = l.local
	case l.reoffer != nil:
		a, err := l.reoffer(offer)
		if err != nil {
			_ = t.Respond(488, "")
			return
		}
		answer, l.local, l.remote = a, a, offer
	default:
		_ = t.Respond(488, "")
		return
	}
	res := t.Response(200, "")
	contactHeader := l.engine.contactHeader(l.state.Local, t.Request)
	res.AppendHeader(contactHeader)
	res.AppendHeader(sip.NewHeader("Allow", allow))
	if len(answer) > 0 {
		res.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
		res.SetBody(answer)
	}
	_ = t.Send(res)
	if invite {
		l.retransmit(t, res)
	}
}

// retransmit repeats a 2xx to a re-INVITE until its ACK (RFC 3261 §13.3.1.4), beside the loop.
func (l *Leg) retransmit(t *sipua.Transaction, res *sip.Response) {
	select {
	case <-l.acked: // left over from an earlier INVITE
	default:
	}
	l.engine.running.Go(func() {
		wait, end := t1, time.After(timerH)
		for {
			select {
			case <-l.acked:
				return
			case <-l.done:
				return
			case <-t.Done():
				return // the transaction is gone, and with it the way to repeat
			case <-end:
				return
			case <-time.After(wait):
				_ = t.Send(res)
				wait = min(2*wait, t2)
			}
		}
	})
}

// sameSession reports whether two descriptions differ in nothing but their o= version.
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

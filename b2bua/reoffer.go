package b2bua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Reoffer sends a re-INVITE with a new offer and returns the answer. It tries again where the peer
// has an offer of its own under way (491) or asks for credentials. When ctx ends first, the re-INVITE
// is cancelled, and the session stays what it was unless the peer has accepted already.
func (l *Leg) Reoffer(ctx context.Context, sdp []byte) ([]byte, error) {
	busy := false
	if !l.do(func() { busy, l.offering = l.offering, true }) {
		return nil, fmt.Errorf("reoffer: %w", errOver)
	}
	if busy {
		return nil, errors.New("reoffer: an offer is under way")
	}
	res, answer, err := l.reoffers(ctx, sdp)
	if err != nil {
		return nil, fmt.Errorf("reoffer: %w", err)
	}
	if !res.IsSuccess() {
		if res.StatusCode == 481 || res.StatusCode == 408 {
			l.engine.running.Go(func() { _ = l.bye(context.Background(), "", "error") }) // RFC 3261 §12.2.1.2
		}
		return nil, refusedBy(res)
	}
	return answer, nil
}

// reoffers sends re-INVITEs until one has a final answer that counts. answer is the description that it brought, or a reliable 1xx before it. l.offering is false afterwards, or when the last
// one is over.
func (l *Leg) reoffers(ctx context.Context, sdp []byte) (res *sip.Response, answer []byte, err error) {
	var fields []sip.Header // credentials
	for ch := (sipua.Challenges{}); ; {
		var req *sip.Request
		if !l.do(func() {
			if l.Cause() == "" { // the loop may have to do yet
				req = l.state.Request(sip.INVITE)
				l.session.ask(req)
			}
		}) || req == nil {
			return nil, nil, errOver
		}
		l.engine.contact(req, req.From().Address)
		req.AppendHeader(sip.NewHeader("Allow", allow))
		req.RemoveHeader("Supported")
		req.AppendHeader(sip.NewHeader("Supported", "100rel, timer")) // as in the INVITE (RFC 4028 §7.4)
		req.AppendHeader(sip.NewHeader("Content-Type", sdpType))
		for _, h := range fields {
			req.AppendHeader(h)
		}
		req.SetBody(sdp)
		unsent := sipua.Clone(req)
		if res, answer, err = l.reoffer1(ctx, req, sdp); err != nil || res.IsSuccess() {
			return res, answer, err
		}
		again, err := ch.Answer(unsent, res, l.creds)
		if err != nil {
			return nil, nil, err
		}
		switch {
		case again:
			fields = append(unsent.GetHeaders("Authorization"), unsent.GetHeaders("Proxy-Authorization")...)
		case res.StatusCode == 491:
			// RFC 3261 §14.1: in the mean time the peer's own offer may come, so ours isn't out.
			if err := l.standBack(ctx); err != nil {
				return nil, nil, err
			}
		case l.tooBrief(res): // RFC 4028 §7.3
		default:
			return res, nil, nil
		}
		busy := false
		if !l.do(func() { busy, l.offering = l.offering, true }) {
			return nil, nil, errOver
		}
		if busy {
			return nil, nil, errors.New("an offer is under way")
		}
	}
}

// tooBrief reports whether a re-INVITE is to be sent again with a longer session interval.
func (l *Leg) tooBrief(res *sip.Response) (again bool) {
	l.do(func() { again = l.session.tooBrief(res) })
	return again
}

// standBack waits as long as the rule for 491 says: the owner of the Call-ID 2.1 to 4 s, the other one up to 2 s.
func (l *Leg) standBack(ctx context.Context) error {
	select {
	case <-time.After(standBackFor(l.caller)):
		return nil
	case <-l.done:
		return errOver
	case <-ctx.Done():
		return ctx.Err()
	}
}

// reoffer1 sends one re-INVITE. Its reader acknowledges a 2xx in any case.
func (l *Leg) reoffer1(ctx context.Context, req *sip.Request, sdp []byte) (*sip.Response, []byte, error) {
	type outcome struct {
		res    *sip.Response
		answer []byte
		err    error
	}
	result := make(chan outcome, 1)
	var ack *sip.Request // the reader's own, as what follows
	var answer []byte
	var rseq uint32 // of the last reliable 1xx
	gone := make(chan struct{})
	v := &invitation{engine: l.engine, req: req, gone: gone}
	v.progress = func(res *sip.Response) {
		n := dialog.RSeq(res)
		if n == 0 || rseq != 0 && n != rseq+1 {
			return // RFC 3262 §4: a repeat, or out of order
		}
		if rseq = n; answer == nil {
			answer = bodyPart(res, sdpType) // §5: the first one counts
		}
		l.acknowledge(n, req.CSeq().SeqNo)
	}
	v.final = func(res *sip.Response, lost error) {
		if res != nil && len(answer) == 0 {
			answer = bodyPart(res, sdpType)
		}
		ok := l.do(func() {
			l.offering = false
			if res != nil && res.IsSuccess() {
				l.state.Refresh(res)
				l.session.learn(res)
				l.keepTime(dialog.Granted(res))
				l.local, l.remote = sdp, bytes.Clone(answer)
				ack = l.state.ACK(req.CSeq().SeqNo)
			}
		})
		if ack != nil {
			if err := l.engine.sip.SendACK(ack, false); err != nil {
				lost = err
			}
		} else if !ok && lost == nil {
			lost = errOver
		}
		result <- outcome{res, answer, lost}
		if errors.Is(lost, sipua.ErrTimeout) {
			// RFC 3261 §12.2.1.2: a peer that doesn't answer is gone.
			l.engine.running.Go(func() { _ = l.bye(context.Background(), "", "timeout") })
		}
	}
	v.repeated = func(*sip.Response) {
		if ack != nil {
			_ = l.engine.sip.SendACK(ack, true)
		}
	}
	if err := v.send(ctx); err != nil {
		l.post(func() { l.offering = false })
		return nil, nil, err
	}
	select {
	case o := <-result:
		return o.res, o.answer, o.err
	case <-l.done: // a BYE ends the re-INVITE, too; the reader sees to what still comes
		select {
		case o := <-result:
			return o.res, o.answer, o.err
		default:
		}
		close(gone)
		return nil, nil, errOver
	case <-ctx.Done():
		close(gone)
		return nil, nil, ctx.Err()
	}
}

// acknowledge sends the PRACK of a reliable 1xx to a re-INVITE (RFC 3262 §4).
func (l *Leg) acknowledge(rseq, invite uint32) {
	var req *sip.Request
	if !l.do(func() { req = l.state.Request(sip.PRACK) }) {
		return
	}
	req.AppendHeader(sip.NewHeader("RAck", dialog.RAck(rseq, invite, sip.INVITE)))
	l.engine.running.Go(func() { // ends with its request
		ctx, cancel := context.WithTimeout(context.Background(), l.engine.h())
		defer cancel()
		_, _ = l.engine.sip.DoAuthNext(ctx, req, l.creds, l.nextSeq)
	})
}

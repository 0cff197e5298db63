package b2bua

import (
	"context"
	"errors"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// ringing is how long a call that is bridged may ring after the last word of it. RFC 3261 §16.6 step 11: Timer C is more than 3 minutes; a
// callee repeats its 1xx every minute (§13.3.1.1).
const ringing = 3*time.Minute + 5*time.Second

var errRings = errors.New("it rings for too long")

// invitation is the client transaction of one INVITE or re-INVITE. One goroutine reads it to
// its end and calls the functions, so that they need no locks.
type invitation struct {
	engine   *Engine
	req      *sip.Request
	gone     <-chan struct{}                     // closed by the one who waited when it leaves: the INVITE is cancelled then
	reason   func() []sip.Header                 // of that, for the CANCEL; may be nil
	brief    bool                                // the reader leaves with the final response; repeated is called from anywhere then
	ringing  time.Duration                       // Timer C; 0: whoever waits leaves in time
	progress func(res *sip.Response)             // each 1xx
	final    func(res *sip.Response, lost error) // once: the first final response, or why there is none
	repeated func(res *sip.Response)             // each 2xx after that: its repeats and those of forks (RFC 6026 §7.2)
}

// send starts the transaction and its reader.
func (v *invitation) send(ctx context.Context) error {
	tx, err := v.engine.sip.Start(ctx, v.req)
	if err != nil {
		return err
	}
	// Ends with the transaction: by a final response and its timers, by timer B, or 64*T1 after a CANCEL.
	v.engine.running.Go(func() { v.read(tx) })
	return nil
}

func (v *invitation) read(tx *sipua.Outgoing) {
	// 2xx after the first come to a hook, each on a goroutine of its own.
	again, left := make(chan *sip.Response), make(chan struct{})
	defer close(left)
	tx.OnRetransmission(func(res *sip.Response) {
		select {
		case again <- res:
		case <-left:
			if v.brief && sipua.Fits(v.req, res) {
				v.engine.running.Go(func() { v.repeated(res) }) // the transaction waits for nobody
			}
		case <-tx.Done():
		}
	})
	var provisional, finished, cancelled bool
	gone, dead := v.gone, false
	var giveUp, rings <-chan time.Time
	rang, timerC := false, (*time.Timer)(nil)
	if v.ringing > 0 {
		timerC = time.NewTimer(v.ringing)
		defer timerC.Stop()
		rings = timerC.C
	}
	take := func(res *sip.Response) {
		switch {
		case !sipua.Fits(v.req, res):
			// Of a 2xx there will be another, but a refusal has ended the transaction.
			if res.StatusCode >= 300 && !finished {
				finished = true
				if !rang {
					v.final(nil, sipua.ErrMisfit)
				}
			}
		case res.IsProvisional():
			provisional = true
			if timerC != nil && res.StatusCode > 100 { // RFC 3261 §16.7 step 2
				timerC.Reset(v.ringing)
			}
			v.progress(res)
		case rang && !finished: // what the CANCEL has brought, or crossed
			finished = true
			if res.IsSuccess() {
				v.repeated(res)
			}
		case !finished:
			finished = true
			v.final(res, nil)
		case res.IsSuccess():
			v.repeated(res)
		}
	}
	for {
		select {
		case res := <-tx.Responses():
			take(res)
		case res := <-again:
			if res.IsSuccess() {
				take(res)
			}
		case <-gone:
			gone, dead = nil, true
			tx.Settle()
			giveUp = time.After(v.engine.h()) // RFC 3261 §9.1: then the INVITE counts as cancelled
		case <-rings:
			// RFC 3261 §16.8: as if it had said 408, and cancelled.
			rang, gone, dead = true, nil, true
			giveUp = time.After(v.engine.h())
			v.final(nil, errRings)
		case <-giveUp:
			if !finished {
				tx.Terminate()
			}
		case <-tx.Done():
			if !finished && !rang {
				v.final(nil, sipua.EndError(tx))
			}
			return
		}
		// CANCEL may go only after a 1xx (RFC 3261 §9.1), and helps only before a final response.
		if dead && provisional && !finished && !cancelled {
			cancelled = true
			v.cancel(tx.Sent())
		}
		if finished && v.brief {
			return
		}
	}
}

func (v *invitation) cancel(sent *sip.Request) {
	ctx, done := context.WithTimeout(context.Background(), v.engine.h())
	cancel := dialog.Cancel(sent)
	if v.reason != nil {
		for _, h := range v.reason() {
			cancel.AppendHeader(h)
		}
	}
	tx, err := v.engine.sip.StartCancel(ctx, cancel)
	if err != nil {
		done()
		return
	}
	v.engine.running.Go(func() { // ends with the transaction
		defer done()
		for {
			select {
			case res := <-tx.Responses():
				if !res.IsProvisional() {
					tx.Terminate()
					return
				}
			case <-tx.Done():
				return
			}
		}
	})
}

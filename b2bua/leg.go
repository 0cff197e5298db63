package b2bua

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

var errOver = errors.New("the peer hung up")

// Leg is one confirmed dialog. Its state is touched by its loop alone.
type Leg struct {
	engine *Engine
	key    string
	callID string
	caller bool // the dialog's INVITE was ours
	creds  sipua.Credentials
	prack  func(*sipua.Transaction) // takes what acknowledges a 1xx of ours; may be nil

	mu    sync.Mutex // guards what others may read
	queue []func()   // work for the loop
	left  bool       // the loop takes no more
	cause string

	wake chan struct{} // of size 1; closed by nobody
	done chan struct{} // closed once, by end
	once sync.Once

	// confirmed is closed, by confirm, when our 2xx has its ACK or won't get one; at once for a caller.
	confirmed chan struct{}
	confirm   func()

	// The loop's own.
	state    *dialog.State
	local    []byte // SDP that we sent last
	remote   []byte // SDP that the peer sent last
	reoffer  func(offer []byte) (answer []byte, err error)
	waiting  queue               // requests behind a gap in CSeq
	acks     map[uint32]*unacked // 2xx of ours, by CSeq number
	session  refresh
	offering bool // an offer of ours is out (RFC 3261 §14.2: theirs gets 491)
}

// unacked is a 2xx of ours to an INVITE that waits for its ACK.
type unacked struct {
	late  bool          // it holds an offer, and the ACK the answer
	acked chan struct{} // closed by the ACK
}

// legParts is what a leg is made of, beside its dialog.
type legParts struct {
	caller        bool
	local, remote []byte
	reoffer       func(offer []byte) (answer []byte, err error)
	creds         sipua.Credentials
	prack         func(*sipua.Transaction)
}

func (g *Engine) newLeg(s *dialog.State, p legParts) *Leg {
	l := &Leg{
		engine: g, key: s.Key(), callID: s.CallID, caller: p.caller, creds: p.creds, prack: p.prack,
		wake: make(chan struct{}, 1), done: make(chan struct{}), confirmed: make(chan struct{}),
		state: s, local: p.local, remote: p.remote, reoffer: p.reoffer, acks: map[uint32]*unacked{},
	}
	l.confirm = sync.OnceFunc(func() { close(l.confirmed) })
	if p.caller {
		l.confirm()
	}
	g.add(l)
	g.running.Go(l.loop) // ends when the dialog does
	return l
}

// loop does what was posted, to the last of it: who got true from post may wait for its work.
func (l *Leg) loop() {
	for {
		l.mu.Lock()
		work := l.queue
		l.queue = nil
		if len(work) == 0 && l.cause != "" {
			l.left = true
			l.mu.Unlock()
			break
		}
		l.mu.Unlock()
		for _, f := range work {
			f()
		}
		if len(work) == 0 {
			select {
			case <-l.wake:
			case <-l.done:
			}
		}
	}
	l.session.stop()
	for _, r := range l.waiting {
		answerAfterEnd(r.t)
		close(r.done)
	}
}

// post hands work to the loop. It reports false when the dialog is over and its loop has left.
func (l *Leg) post(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.left {
		return false
	}
	l.queue = append(l.queue, f)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

// do runs f in the loop and waits for it. The loop itself must not call it.
func (l *Leg) do(f func()) bool {
	ran := make(chan struct{})
	if !l.post(func() { defer close(ran); f() }) {
		return false
	}
	<-ran
	return true
}

// CallID is the dialog's Call-ID.
func (l *Leg) CallID() string { return l.callID }

// Done is closed when the dialog is over.
func (l *Leg) Done() <-chan struct{} { return l.done }

// Cause says in a word who ended the dialog: "bye" (us), "peer", "timeout", "error"; "" while it stands.
func (l *Leg) Cause() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cause
}

// RemoteSDP is the session description that the peer sent last, also when the dialog is over.
func (l *Leg) RemoteSDP() []byte {
	var b []byte
	if !l.do(func() { b = l.remote }) {
		return l.remote // the loop has left
	}
	return b
}

func (l *Leg) end(cause string) {
	l.once.Do(func() {
		l.engine.drop(l)
		l.mu.Lock()
		l.cause = cause
		l.mu.Unlock()
		close(l.done)
	})
}

// Bye hangs up and waits for the answer. It may be called often; only the first one sends.
// reason is a Reason field value (RFC 3326), or "".
func (l *Leg) Bye(ctx context.Context, reason string) error { return l.bye(ctx, reason, "bye") }

// hangUp is Bye for those who can't wait.
func (l *Leg) hangUp() { _ = l.Bye(context.Background(), "") }

func (l *Leg) bye(ctx context.Context, reason, cause string) error {
	if !sipua.Clean(reason) {
		return errors.New("bye: a line end in the reason")
	}
	select {
	case <-l.confirmed:
	default:
		// RFC 3261 §15: the callee sends no BYE before the ACK is there or its time is over.
		select {
		case <-l.confirmed:
		case <-l.done:
			return nil
		case <-ctx.Done():
			l.engine.running.Go(func() { _ = l.bye(context.Background(), reason, cause) }) // ends by 64*T1 at last
			return ctx.Err()
		}
	}
	var bye *sip.Request
	if !l.do(func() {
		if l.Cause() == "" {
			bye = l.state.Request(sip.BYE)
			l.end(cause)
		}
	}) || bye == nil {
		return nil
	}
	if reason != "" {
		bye.AppendHeader(sip.NewHeader("Reason", reason))
	}
	ctx, cancel := context.WithTimeout(ctx, l.engine.h())
	defer cancel()
	_, err := l.engine.sip.DoAuth(ctx, bye, l.creds)
	return err // RFC 3261 §15.1.1: over in any case, whatever was answered
}

// repeat sends a 2xx of ours again until its ACK is there (RFC 3261 §13.3.1.4). Without an ACK in 64*T1
// the dialog is hung up.
func (l *Leg) repeat(t *sipua.Transaction, res *sip.Response, u *unacked) error {
	end := time.NewTimer(l.engine.h())
	defer end.Stop()
	for wait := l.engine.t1; ; wait = min(2*wait, l.engine.t2) {
		select {
		case <-u.acked:
			l.confirm()
			return nil
		case <-l.done:
			return errOver
		case <-end.C:
			l.confirm()
			l.engine.running.Go(func() { _ = l.bye(context.Background(), "", "timeout") })
			return fmt.Errorf("no ACK: %w", sipua.ErrTimeout)
		case <-time.After(wait):
			_ = t.Send(res)
		}
	}
}

// ack takes an ACK; one that nothing waits for acknowledges a repeat.
func (l *Leg) ack(req *sip.Request) {
	l.post(func() {
		seq := req.CSeq().SeqNo
		u := l.acks[seq]
		if u == nil {
			return
		}
		delete(l.acks, seq)
		if u.late {
			l.offering = false
			if sdp := bodyPart(req, sdpType); len(sdp) > 0 {
				l.remote = sdp
			}
		}
		close(u.acked)
	})
}

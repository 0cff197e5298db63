package b2bua

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// gapWait is how long a request waits for one that was sent before it: sipgo hands over each message
// on a goroutine of its own, so neighbours may overtake each other.
const gapWait = 50 * time.Millisecond

// Leg is one confirmed dialog. Its state is touched by its loop alone.
type Leg struct {
	engine *Engine
	key    string
	callID string
	creds  sipua.Credentials

	inbox chan func()   // work for the loop; closed by nobody, the loop leaves on done
	done  chan struct{} // closed once, by end
	once  sync.Once

	// The loop's own.
	state    *dialog.State
	local    []byte // SDP that we sent last
	remote   []byte // SDP that the peer sent last
	reoffer  func(offer []byte) (answer []byte, err error)
	waiting  []*inDialog // requests behind a gap in CSeq
	inviting bool        // a re-INVITE of ours is out (RFC 3261 §14.2: theirs gets 491)

	mu    sync.Mutex // guards what others may read
	cause string

	acked chan []byte // bodies of ACKs, for Answer
}

func (g *Engine) newLeg(s *dialog.State, local, remote []byte, creds sipua.Credentials) *Leg {
	l := &Leg{
		engine: g, key: s.Key(), callID: s.CallID, creds: creds, state: s, local: local, remote: remote,
		inbox: make(chan func(), 8), done: make(chan struct{}), acked: make(chan []byte, 1),
	}
	g.add(l)
	g.running.Go(l.loop) // ends when the dialog does
	return l
}

func (l *Leg) loop() {
	for {
		select {
		case f := <-l.inbox:
			f()
		case <-l.done:
			for {
				select {
				case f := <-l.inbox: // what was posted before the end is still answered
					f()
				default:
					return
				}
			}
		}
	}
}

// post hands work to the loop. It reports false when the dialog is over.
func (l *Leg) post(f func()) bool {
	select {
	case <-l.done:
		return false
	default:
	}
	select {
	case l.inbox <- f:
		return true
	case <-l.done:
		return false
	}
}

// do runs f in the loop and waits for it.
func (l *Leg) do(f func()) bool {
	ran := make(chan struct{})
	if !l.post(func() { f(); close(ran) }) {
		return false
	}
	select {
	case <-ran:
		return true
	case <-l.done:
		select {
		case <-ran:
			return true
		case <-time.After(100 * time.Millisecond):
			return false
		}
	}
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

// RemoteSDP is the session description that the peer sent last.
func (l *Leg) RemoteSDP() []byte {
	var b []byte
	if !l.do(func() { b = l.remote }) {
		return nil
	}
	return b
}

func (l *Leg) end(cause string) {
	l.once.Do(func() {
		l.mu.Lock()
		l.cause = cause
		l.mu.Unlock()
		l.engine.drop(l)
		close(l.done)
	})
}

// Bye hangs up and waits for the answer. It may be called often; only the first one sends.
// reason is a Reason field value (RFC 3326), or "".
func (l *Leg) Bye(ctx context.Context, reason string) error {
	var bye *sip.Request
	if !l.do(func() {
		if l.Cause() == "" {
			bye = l.state.Request(sip.BYE)
		}
	}) || bye == nil {
		return nil
	}
	if reason != "" {
		bye.AppendHeader(sip.NewHeader("Reason", reason))
	}
	l.end("bye")
	ctx, cancel := context.WithTimeout(ctx, timerH)
	defer cancel()
	_, err := l.engine.sip.DoAuth(ctx, bye, l.creds)
	return err // RFC 3261 §15.1.1: over in any case, whatever was answered
}

// Reoffer sends a re-INVITE with a new offer and returns the answer. errPending (491) may be tried again later.
func (l *Leg) Reoffer(ctx context.Context, sdp []byte) ([]byte, error) {
	var req *sip.Request
	if !l.do(func() {
		if l.inviting {
			return
		}
		l.inviting = true
		req = l.state.Request(sip.INVITE)
	}) {
		return nil, errors.New("reoffer: dialog is over")
	}
	if req == nil {
		return nil, errors.New("reoffer: one is under way")
	}
	defer l.post(func() { l.inviting = false })
	l.engine.contact(req, l.state.Local)
	req.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
	req.SetBody(sdp)
	tx, err := l.engine.sip.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	for {
		select {
		case res := <-tx.Responses():
			if res.IsProvisional() {
				continue
			}
			if !res.IsSuccess() {
				if res.StatusCode == 481 || res.StatusCode == 408 {
					l.end("error") // RFC 3261 §12.2.1.2
				}
				return nil, refusedBy(res)
			}
			answer := bytes.Clone(res.Body())
			var ack *sip.Request
			l.do(func() {
				l.state.Refresh(res)
				l.local, l.remote = sdp, answer
				ack = l.state.ACK(req.CSeq().SeqNo)
			})
			if ack == nil {
				return nil, errors.New("reoffer: dialog is over")
			}
			err := l.engine.sip.SendACK(ack, false)
			tx.OnRetransmission(func(*sip.Response) { _ = l.engine.sip.SendACK(ack, true) })
			l.engine.running.Go(func() { drain(tx) })
			return answer, err
		case <-tx.Done():
			return nil, tx.Err()
		case <-ctx.Done():
			l.engine.running.Go(func() { drain(tx) })
			return nil, ctx.Err()
		}
	}
}

// drain reads a client transaction to its end, since sipgo blocks on whom it hands responses.
func drain(tx *sip.ClientTx) {
	for {
		select {
		case <-tx.Responses():
		case <-tx.Done():
			return
		}
	}
}

package sipua

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// outlet is what transactions write to: the way of a datagram back, or a connection.
type outlet interface {
	write(text []byte) error // one message
	reliable() bool
}

// render writes a message down.
func render(m sip.Message) []byte {
	text := texts.Get().(*buffer)
	defer texts.Put(text)
	text.b = text.b[:0]
	m.StringWrite(text)
	return append(make([]byte, 0, len(text.b)), text.b...)
}

// put writes a message that nobody repeats.
func put(out outlet, m sip.Message) error {
	text := texts.Get().(*buffer)
	defer texts.Put(text)
	text.b = text.b[:0]
	m.StringWrite(text)
	return out.write(text.b)
}

// buffer is a text that grows.
type buffer struct{ b []byte }

// WriteString appends.
func (t *buffer) WriteString(s string) (int, error) {
	t.b = append(t.b, s...)
	return len(s), nil
}

var texts = sync.Pool{New: func() any { return new(buffer) }}

// Why a transaction is over, beside a failure of its own.
var (
	errTerminated = errors.New("transaction terminated")
	errLost       = fmt.Errorf("%w: the connection has gone", ErrTransport)
	errCancelled  = errors.New("transaction cancelled")
)

// phase is the state of a transaction.
type phase byte

const (
	trying     phase = iota // a client's: calling
	proceeding              // there was a 1xx
	accepted                // an INVITE has a 2xx (RFC 6026)
	completed               // it has another final response, or is no INVITE
	confirmed               // of which the ACK is there
	over
)

// serverTx is a server transaction (RFC 3261 §17.2, RFC 6026 §7.1). With its final response it lets go of all but that response's text, which
// is what the 32 seconds that follow are for.
type serverTx struct {
	table  *table
	key    string
	out    outlet
	invite bool
	local  string // the request's To tag

	mu       sync.Mutex // guards what follows; held while a response is written
	phase    phase
	req      *sip.Request // until there is a final response
	last     []byte       // the latest response
	err      error
	timer    *time.Timer // of the 100, then G and H
	wait     time.Duration
	until    time.Time // H
	onCancel func(*sip.Request)
	onEnd    func()
	pending  []func() // what unlock runs
}

func newServerTx(b *table, key string, req *sip.Request, out outlet) *serverTx {
	tx := &serverTx{table: b, key: key, out: out, invite: req.IsInvite(), req: req}
	if to := req.To(); to != nil {
		tx.local, _ = to.Params.Get("tag")
	}
	if tx.invite {
		tx.timer = time.AfterFunc(sip.Timer_1xx, tx.tick) // RFC 3261 §17.2.1: a 100 within 200 ms
	}
	return tx
}

// unlock also calls those who wait for the end, who may look at the transaction again.
func (tx *serverTx) unlock() {
	pending := tx.pending
	tx.pending = nil
	tx.mu.Unlock()
	for _, f := range pending {
		f()
	}
}

// tick is the timer's.
func (tx *serverTx) tick() {
	tx.mu.Lock()
	defer tx.unlock()
	switch {
	case tx.phase == trying && tx.last == nil:
		_ = tx.write(render(untag(sip.NewResponseFromRequest(tx.req, 100, "Trying", nil), tx.req)))
	case tx.phase == completed && tx.invite:
		if now := time.Now(); !now.Before(tx.until) {
			tx.end(errTerminated) // H
		} else if !tx.out.reliable() { // G
			_ = tx.write(tx.last)
			tx.wait = min(2*tx.wait, sip.T2)
			tx.timer.Reset(min(tx.wait, tx.until.Sub(now)))
		}
	}
}

// write sends the latest response. What can't be sent changes nothing (RFC 6026 §8.8): over UDP a repeat of the request brings the response again,
// and a connection that has gone ends its transactions by itself. tx.mu is held.
func (tx *serverTx) write(text []byte) error {
	tx.last = text
	if err := tx.out.write(text); err != nil {
		return fmt.Errorf("%w: %w", ErrTransport, err)
	}
	return nil
}

// respond sends a response. After a final one only a 2xx to an INVITE goes once more, which its sender repeats by itself (RFC 6026 §7.1).
func (tx *serverTx) respond(res *sip.Response) error {
	text := render(res)
	tx.mu.Lock()
	defer tx.unlock()
	switch {
	case tx.phase == over:
		return tx.err
	case tx.phase == accepted:
		if !res.IsSuccess() {
			return nil
		}
	case tx.phase >= completed:
		return tx.err // nil, but after a CANCEL
	}
	return tx.advance(text, res)
}

// advance sends a response and goes on to the phase that it leads to. tx.mu is held.
func (tx *serverTx) advance(text []byte, res *sip.Response) error {
	if tx.timer != nil {
		tx.timer.Stop()
	}
	err := tx.write(text)
	switch {
	case res.IsProvisional():
		tx.phase = proceeding
		return err
	case tx.phase == accepted:
		tx.last = nil
		return err
	case tx.invite && res.IsSuccess():
		tx.phase, tx.last = accepted, nil // a repeat of the INVITE gets nothing
		tx.table.rest(sip.Timer_L, tx)
	case tx.invite:
		tx.phase = completed
		tx.until, tx.wait = time.Now().Add(sip.Timer_H), sip.Timer_G
		first := tx.wait
		if tx.out.reliable() {
			first = sip.Timer_H
		}
		tx.timer.Reset(first)
	case tx.out.reliable():
		tx.end(errTerminated) // J is zero
	default:
		tx.phase = completed
		tx.table.rest(sip.Timer_J, tx)
	}
	tx.req, tx.onCancel = nil, nil
	return err
}

// receive takes a request of this transaction that came again, its CANCEL, or its ACK. It reports false for the ACK of a 2xx with the INVITE's
// branch, which is a request of its own.
func (tx *serverTx) receive(req *sip.Request) bool {
	tx.mu.Lock()
	defer tx.unlock()
	switch {
	case req.IsAck():
		switch {
		case tx.phase == accepted:
			return false
		case tx.phase == completed && tx.invite:
			tx.phase = confirmed
			tx.timer.Stop()
			if tx.out.reliable() {
				tx.end(errTerminated) // I is zero
			} else {
				tx.table.rest(sip.Timer_I, tx)
			}
		}
	case req.IsCancel():
		if tx.phase > proceeding || !tx.invite {
			return true
		}
		if tx.onCancel != nil {
			tx.onCancel(req)
		}
		res := sip.NewResponseFromRequest(tx.req, 487, "Request Terminated", nil) // RFC 3261 §9.2
		tx.err = errCancelled
		_ = tx.advance(render(res), res)
	case tx.last != nil && (tx.phase == trying || tx.phase == proceeding || tx.phase == completed):
		_ = tx.write(tx.last)
	}
	return true
}

// rested is the end of the time in which a transaction only answers repeats.
func (tx *serverTx) rested() { tx.Terminate() }

// Terminate ends the transaction.
func (tx *serverTx) Terminate() {
	tx.mu.Lock()
	defer tx.unlock()
	tx.end(errTerminated)
}

// fail ends the transaction: its connection has gone.
func (tx *serverTx) fail(err error) {
	tx.mu.Lock()
	defer tx.unlock()
	tx.end(err)
}

// leave ends a transaction whose handler has returned without a final response; others end by their timers.
func (tx *serverTx) leave() {
	tx.mu.Lock()
	defer tx.unlock()
	if tx.phase < accepted {
		tx.end(errTerminated)
	}
}

// end is the end. tx.mu is held.
func (tx *serverTx) end(err error) {
	if tx.phase == over {
		return
	}
	tx.phase, tx.err = over, err
	if tx.timer != nil {
		tx.timer.Stop()
	}
	tx.pending = append(tx.pending, func() { tx.table.dropServer(tx) })
	if tx.onEnd != nil {
		tx.pending = append(tx.pending, tx.onEnd)
	}
	tx.req, tx.last, tx.onCancel, tx.onEnd = nil, nil, nil, nil
}

// whenCancelled has f called, under the transaction's lock, by a CANCEL. false: it has been, or the transaction is over.
func (tx *serverTx) whenCancelled(f func(*sip.Request)) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.phase == over || tx.err != nil {
		return false
	}
	if tx.phase <= proceeding {
		tx.onCancel = f
	}
	return true
}

// whenOver has f called at the end, beside those before it. false: it is over.
func (tx *serverTx) whenOver(f func()) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.phase == over {
		return false
	}
	if before := tx.onEnd; before != nil {
		tx.onEnd = func() { before(); f() }
	} else {
		tx.onEnd = f
	}
	return true
}

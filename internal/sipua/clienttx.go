package sipua

import (
	"fmt"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
)

// clientTx is a client transaction (RFC 3261 §17.1, RFC 6026 §7.2). Responses are put down for who reads them, so that whoever brings them
// needn't wait: a final one always, and as many of the 1xx before it as there is room for.
type clientTx struct {
	table     *table
	key       string
	out       outlet
	invite    bool
	responses chan *sip.Response
	done      chan struct{} // closed by over

	mu       sync.Mutex // guards what follows
	phase    phase
	req      *sip.Request
	text     []byte // of req, until there is a response
	err      error
	timer    *time.Timer // A or E, and B or F
	wait     time.Duration
	until    time.Time // B or F
	repeated func(*sip.Response)
	unread   bool // nobody reads the responses
}

// roomFor1xx is how many provisional responses wait for a reader; then the oldest go.
const roomFor1xx = 8

func newClientTx(b *table, key string, req *sip.Request, out outlet) *clientTx {
	return &clientTx{
		table: b, key: key, out: out, invite: req.IsInvite(), req: req, responses: make(chan *sip.Response, roomFor1xx), done: make(chan struct{}),
	}
}

// Responses gives the responses; Done is closed when the transaction is over.
func (tx *clientTx) Responses() <-chan *sip.Response { return tx.responses }
func (tx *clientTx) Done() <-chan struct{}           { return tx.done }

// begin sends the request, unless the endpoint was closed meanwhile.
func (tx *clientTx) begin() error {
	patience := sip.Timer_F
	if tx.invite {
		patience = sip.Timer_B
	}
	tx.mu.Lock()
	if tx.phase == over {
		defer tx.mu.Unlock()
		return tx.err
	}
	text := render(tx.req)
	tx.text, tx.until, tx.wait = text, time.Now().Add(patience), sip.Timer_A
	if first := tx.wait; tx.phase == trying {
		if tx.out.reliable() {
			first = patience
		}
		tx.timer = time.AfterFunc(first, tx.tick)
	}
	tx.mu.Unlock()
	return tx.send(text) // not under the lock: a response may come before this returns
}

// send writes the request. Where that fails, it is over (RFC 3261 §17.1.4).
func (tx *clientTx) send(text []byte) error {
	err := tx.out.write(text)
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrTransport, err)
		tx.fail(err)
	}
	return err
}

// tick is the timer's.
func (tx *clientTx) tick() {
	tx.mu.Lock()
	now := time.Now()
	if tx.phase > proceeding || tx.invite && tx.phase == proceeding {
		tx.mu.Unlock()
		return
	}
	if !now.Before(tx.until) {
		silent := tx.phase == trying
		tx.over(fmt.Errorf("%w: timer B or F", ErrTimeout))
		tx.mu.Unlock()
		if silent && tx.table.silent != nil {
			tx.table.silent(markOf(tx.key))
		}
		return
	}
	if tx.wait *= 2; !tx.invite {
		tx.wait = min(tx.wait, sip.T2)
	}
	text := tx.text
	tx.timer.Reset(min(tx.wait, tx.until.Sub(now)))
	tx.mu.Unlock()
	if !tx.out.reliable() {
		_ = tx.send(text)
	}
}

// receive takes a response. It waits for nothing.
func (tx *clientTx) receive(res *sip.Response) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	switch {
	case tx.phase <= proceeding && res.IsProvisional():
		tx.phase = proceeding
		if tx.invite {
			tx.quiet()
		} else {
			tx.wait = sip.T2 // RFC 3261 §17.1.2.2: from the next repeat on
		}
		tx.hand(res)
	case tx.phase <= proceeding:
		tx.quiet()
		rest := sip.Timer_K
		switch {
		case !tx.invite:
			tx.phase = completed
		case res.IsSuccess():
			tx.phase, rest = accepted, sip.Timer_M
		default:
			tx.phase, rest = completed, sip.Timer_D
			tx.acknowledge(res)
		}
		tx.hand(res)
		if tx.out.reliable() && tx.phase == completed {
			rest = sip.Timer_K // zero by the RFC; but who reads must have the time to
		}
		if tx.phase == accepted || !tx.invite {
			tx.req = nil
		}
		tx.table.rest(rest, tx)
	case tx.phase == accepted && res.IsSuccess():
		if tx.repeated != nil {
			go tx.repeated(res) // ends when it is taken
		}
	case tx.phase == completed && tx.invite && res.StatusCode >= 300:
		tx.acknowledge(res) // RFC 3261 §17.1.1.2: each repeat
	}
}

// quiet ends the repeats. tx.mu is held.
func (tx *clientTx) quiet() {
	if tx.timer != nil {
		tx.timer.Stop()
	}
	tx.text = nil
}

// hand puts a response down. tx.mu is held.
func (tx *clientTx) hand(res *sip.Response) {
	for {
		select {
		case tx.responses <- res:
			return
		default:
		}
		select {
		case <-tx.responses: // a 1xx: of final ones there is one
		default:
		}
	}
}

// acknowledge sends the ACK of a refusal, which belongs to the transaction (RFC 3261 §17.1.1.3). tx.mu is held.
func (tx *clientTx) acknowledge(res *sip.Response) {
	text := render(ackOf(tx.req, res))
	if tx.out.reliable() { // it may take its time
		go func() { _ = tx.out.write(text) }() // ends by the connection's time for it
		return
	}
	_ = tx.out.write(text) // lost, it is asked for again
}

// ackOf makes the ACK of a final response other than 2xx.
func ackOf(invite *sip.Request, res *sip.Response) *sip.Request {
	ack := sip.NewRequest(sip.ACK, invite.Recipient)
	ack.AppendHeader(invite.Via())
	for r := range dialog.All(invite, "Route") {
		ack.AppendHeader(r)
	}
	maxForwards := sip.MaxForwardsHeader(70)
	ack.AppendHeader(&maxForwards)
	ack.AppendHeader(invite.From())
	if to := res.To(); to != nil {
		ack.AppendHeader(to)
	}
	ack.AppendHeader(invite.CallID())
	ack.AppendHeader(&sip.CSeqHeader{SeqNo: invite.CSeq().SeqNo, MethodName: sip.ACK})
	ack.SetBody(nil)
	return ack
}

// ignore says that nobody reads the responses.
func (tx *clientTx) ignore() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.unread = true
}

// OnRetransmission has f called with each 2xx after the first, on a goroutine of its own. false: the transaction is over.
func (tx *clientTx) OnRetransmission(f func(*sip.Response)) bool {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.repeated = f
	return tx.phase != over
}

// rested is the end, unless the final response hasn't been read yet.
func (tx *clientTx) rested() {
	tx.mu.Lock()
	unread := tx.unread || tx.phase == over
	tx.mu.Unlock()
	if len(tx.responses) > 0 && !unread {
		tx.table.rest(sip.Timer_K, tx)
		return
	}
	tx.Terminate()
}

// Terminate ends the transaction without waiting for more.
func (tx *clientTx) Terminate() {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	tx.over(errTerminated)
}

// fail ends the transaction for a failure of the transport, unless the final response is here already, which then is still to be read.
func (tx *clientTx) fail(err error) {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	if tx.phase <= proceeding {
		tx.over(err)
	}
}

// over is the end. tx.mu is held.
func (tx *clientTx) over(err error) {
	if tx.phase == over {
		return
	}
	tx.phase, tx.err = over, err
	tx.quiet()
	tx.req, tx.repeated = nil, nil
	tx.table.dropClient(tx)
	close(tx.done)
}

// Err says why it is over.
func (tx *clientTx) Err() error {
	tx.mu.Lock()
	defer tx.mu.Unlock()
	return tx.err
}

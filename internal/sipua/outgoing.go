package sipua

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"
)

// maxDatagram is the size above which a request goes over TCP: RFC 3261 §18.1.1 asks for
// a congestion-controlled transport above 1300 bytes when the path MTU is unknown.
const maxDatagram = 1300

// Outgoing is a request that was sent, with its client transaction. Where the next hop has several servers and one fails, it is sent to the
// next one, with another branch, and goes on there (RFC 3263 §4.3); who waits for its response notices nothing.
type Outgoing struct {
	endpoint *Endpoint
	hop      sip.Uri
	left     []target // to be tried yet; Start's, then follow's own

	mu       sync.Mutex // guards what follows; never held over I/O
	at       target
	tx       *clientTx
	sent     *sip.Request
	settled  bool // nobody else is tried
	err      error
	repeated func(*sip.Response)

	responses chan *sip.Response // nil: those of tx, which is the only one
	done      chan struct{}      // with responses; closed by follow
	unwanted  chan struct{}      // with responses; closed by Terminate
	leave     sync.Once
}

// Start sends a request and returns its transaction. The request is the transaction's then.
func (e *Endpoint) Start(ctx context.Context, req *sip.Request) (*Outgoing, error) {
	o := &Outgoing{endpoint: e, hop: nextHop(req)}
	err := e.open(ctx, func(ctx context.Context) (err error) {
		if s := e.named(o.hop); s != nil {
			return o.over(s, req)
		}
		if o.left, err = e.targets(ctx, o.hop, callID(req)); err != nil {
			return err
		}
		return o.next(ctx, func() *sip.Request { return req })
	})
	if err != nil {
		return nil, err
	}
	if len(o.left) > 0 && e.begin() {
		o.responses, o.done, o.unwanted = make(chan *sip.Response), make(chan struct{}), make(chan struct{})
		go o.follow() // ends with the last transaction
	}
	return o, nil
}

func callID(req *sip.Request) string {
	if id := req.CallID(); id != nil {
		return id.Value()
	}
	return ""
}

// over sends the request on a connection that is there.
func (o *Outgoing) over(s *link, req *sip.Request) error {
	t := target{network: s.network, addr: s.remote, domain: s.domain}
	o.endpoint.address(req, t, false)
	return o.began(t, req, s)
}

func (o *Outgoing) began(t target, req *sip.Request, conn outlet) error {
	e, now := o.endpoint, time.Now()
	if !e.neighbours.allows(req.Destination(), req, now) {
		e.counts.held(req, "oc")
		return ErrOverload
	}
	tx, err := o.endpoint.table.ask(req, conn)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.at, o.tx, o.sent = t, tx, req
	if o.repeated != nil {
		tx.OnRetransmission(o.repeated)
	}
	return nil
}

// next sends the request that unsent gives to the first server left that can be reached.
func (o *Outgoing) next(ctx context.Context, unsent func() *sip.Request) (err error) {
	for len(o.left) > 0 {
		tried, req := o.left, unsent()
		if e := o.endpoint; !e.load.all && e.silences.some.Load() > 0 && !e.silences.allows(e.neighbours.mark(tried[0].addr.String()), req, time.Now()) {
			e.counts.held(req, "silence")
			o.left, err = tried[1:], errors.Join(err, ErrOverload)
			continue
		}
		conn, t, rest, terr := o.endpoint.reach(ctx, o.left, req)
		if o.left = rest; terr == nil {
			if terr = o.began(t, req, conn); terr == nil {
				return nil
			}
			tried, rest = []target{t}, nil
		}
		err = errors.Join(err, terr)
		if ctx.Err() != nil {
			return err
		}
		if errors.Is(terr, ErrOverload) {
			continue // it lives, and what it must take goes to it
		}
		for _, t := range tried[:len(tried)-len(rest)] {
			o.endpoint.shunned.silent(t)
			o.endpoint.silences.unanswered(o.endpoint.neighbours.mark(t.addr.String()), time.Now())
		}
	}
	return err
}

// reach opens the way to the first of several servers, or to another address of the same host, and writes the request's Via for it. Its
// error is about that server. Large requests go over TCP where we listen for it; one that would do so only for its size goes over UDP where
// that fails (RFC 3261 §18.1.1).
func (e *Endpoint) reach(ctx context.Context, all []target, req *sip.Request) (conn outlet, t target, rest []target, err error) {
	t, rest = all[0], all[1:]
	if t.network == "udp" {
		s, err := e.socketTo(t.addr.Addr())
		if err != nil {
			return nil, t, rest, err
		}
		e.addressFrom(req, t, s.local)
		if e.has("tcp") && length(req) > maxDatagram {
			moved := t
			moved.network = "tcp"
			if s, _, err := e.connect(ctx, []target{moved}); err == nil {
				e.address(req, moved, false)
				return s, t, rest, nil
			} else if ctx.Err() != nil {
				return nil, t, rest, err
			}
		}
		return &way{s, t.addr}, t, rest, nil
	}
	n := 1
	for n < len(all) && all[n].network == t.network && all[n].host == t.host {
		n++
	}
	s, t, err := e.connect(ctx, all[:n])
	if err != nil {
		return nil, all[0], all[n:], err
	}
	e.address(req, t, s.domain != "")
	rest = nil
	for _, other := range all {
		if other != t {
			rest = append(rest, other)
		}
	}
	return s, t, rest, nil
}

// follow carries the transaction on to other servers until one has answered, or nobody is left.
func (o *Outgoing) follow() {
	defer o.endpoint.running.Done()
	defer close(o.done)
	for {
		o.mu.Lock()
		tx, at := o.tx, o.at
		o.mu.Unlock()
		if !o.wait(tx, at) {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 64*sip.T1)
		err := o.endpoint.open(ctx, func(ctx context.Context) error {
			return o.next(ctx, func() *sip.Request { return Clone(o.Sent()) })
		})
		cancel()
		if err != nil {
			o.fail(err)
			return
		}
		if o.isSettled() { // while that was going on
			o.Terminate()
		}
	}
}

func (o *Outgoing) isSettled() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.settled
}

func (o *Outgoing) fail(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
}

// wait passes the responses of one server on. true: it has failed, and there is another one to try.
func (o *Outgoing) wait(tx *clientTx, at target) (again bool) {
	e, req := o.endpoint, o.Sent()
	// A server that says nothing at all is left before the transaction's own end, which the one who waits hardly lives to see.
	silent := time.NewTimer(8 * sip.T1)
	defer silent.Stop()
	more := func() bool { return len(o.left) > 0 && !o.isSettled() }
	final := false
	for {
		select {
		case res := <-tx.Responses():
			silent.Stop()
			if !final && failed(req, res) {
				if res.StatusCode == 503 {
					e.shunned.add(at, retryAfter(res))
				} else {
					e.shunned.silent(at)
				}
				if more() {
					return true // it is acknowledged
				}
			} else {
				e.shunned.back(at)
			}
			final = final || !res.IsProvisional()
			select { // its transaction may be over by now, but this one not before its response was taken
			case o.responses <- res:
			case <-o.unwanted:
				return false
			case <-e.stopped.Done():
				return false
			}
		case <-silent.C:
			if more() {
				e.shunned.silent(at)
				tx.Terminate()
				return true
			}
		case <-tx.Done():
			if final {
				return false
			}
			e.shunned.silent(at)
			return more()
		}
	}
}

// failed reports whether a response says that the server can't do its work (RFC 3263 §4.3). That to a REGISTER a proxy heard nothing from
// the registrar is of the same kind; with a call, it is the callee who is silent.
func failed(req *sip.Request, res *sip.Response) bool {
	return res.StatusCode == 503 || res.StatusCode == 408 && req.Method == sip.REGISTER
}

// Responses gives provisional and final responses, those of the server that answers in the end.
func (o *Outgoing) Responses() <-chan *sip.Response {
	if o.responses != nil {
		return o.responses
	}
	return o.tx.Responses()
}

// Done is closed when the transaction is over.
func (o *Outgoing) Done() <-chan struct{} {
	if o.done != nil {
		return o.done
	}
	return o.tx.Done()
}

// Err says why it is over.
func (o *Outgoing) Err() error {
	o.mu.Lock()
	tx, err := o.tx, o.err
	o.mu.Unlock()
	if err != nil {
		return err
	}
	return tx.Err()
}

// OnRetransmission calls f with each repeat of a final response, on a goroutine of its own. It must not wait for the transaction.
func (o *Outgoing) OnRetransmission(f func(*sip.Response)) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.repeated = f
	return o.tx.OnRetransmission(f)
}

// Settle keeps the request with the server that has it: who cancels it wants no other.
func (o *Outgoing) Settle() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settled = true
}

// Sent is the request as it was sent last; CANCEL takes its Via.
func (o *Outgoing) Sent() *sip.Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent
}

// Terminate ends the transaction without waiting for more.
func (o *Outgoing) Terminate() {
	o.mu.Lock()
	o.settled = true
	tx := o.tx
	o.mu.Unlock()
	if o.unwanted != nil {
		o.leave.Do(func() { close(o.unwanted) })
	}
	tx.Terminate()
}

// Release leaves the transaction to itself: it repeats the request until there is a response, which nobody reads.
func (o *Outgoing) Release() {
	if o.responses == nil {
		o.tx.ignore()
		return
	}
	go func() { // ends with follow
		for {
			select {
			case <-o.responses:
			case <-o.done:
				return
			}
		}
	}()
}

// StartCancel sends a CANCEL, whose Via, destination and transport are those of its INVITE already.
func (e *Endpoint) StartCancel(ctx context.Context, cancel *sip.Request) (*Outgoing, error) {
	o := &Outgoing{endpoint: e, hop: nextHop(cancel)}
	err := e.open(ctx, func(ctx context.Context) error {
		conn, t, err := e.sameWay(ctx, cancel)
		if err != nil {
			return err
		}
		return o.began(t, cancel, conn)
	})
	if err != nil {
		return nil, err
	}
	return o, nil
}

// sameWay is where a request went, or the one whose Via it has.
func (e *Endpoint) sameWay(ctx context.Context, req *sip.Request) (outlet, target, error) {
	to, err := netip.ParseAddrPort(req.Destination())
	if err != nil {
		return nil, target{}, fmt.Errorf("destination: %w", err)
	}
	hop := nextHop(req)
	t := target{network: sip.NetworkToLower(req.Transport()), addr: to, domain: unbracket(hop.Host)}
	if t.network == "udp" {
		s, err := e.socketTo(to.Addr())
		if err != nil {
			return nil, t, err
		}
		return &way{s, to}, t, nil
	}
	if s := e.named(hop); s != nil {
		return s, t, nil
	}
	s, _, err := e.connect(ctx, []target{t})
	if err != nil {
		return nil, t, err
	}
	return s, t, nil
}

// SendACK sends an ACK for a 2xx, which is a transaction of its own (RFC 3261 §13.2.2.4). again
// keeps the Via of the first time.
func (e *Endpoint) SendACK(ack *sip.Request, again bool) error {
	return e.open(context.Background(), func(ctx context.Context) error {
		if again {
			conn, _, err := e.sameWay(ctx, ack)
			if err != nil {
				return err
			}
			return put(conn, ack)
		}
		hop := nextHop(ack)
		if s := e.named(hop); s != nil {
			e.address(ack, target{network: s.network, addr: s.remote, domain: s.domain}, false)
			return put(s, ack)
		}
		left, err := e.targets(ctx, hop, callID(ack))
		for len(left) > 0 {
			var conn outlet
			if conn, _, left, err = e.reach(ctx, left, ack); err == nil {
				if err = put(conn, ack); err == nil {
					return nil
				}
			}
		}
		return err
	})
}

// open runs out, which may open a connection, unless Close has begun, which ends what out may wait for, and waits for out.
func (e *Endpoint) open(ctx context.Context, out func(context.Context) error) error {
	if !e.begin() {
		return errClosed
	}
	defer e.running.Done()
	err := out(ctx)
	if err != nil && e.closed.Load() {
		return errClosed
	}
	return asError(err)
}

// Do sends a copy of a request other than INVITE and returns its final response.
func (e *Endpoint) Do(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	return e.DoOnce(ctx, Clone(req))
}

// DoOnce is Do with the request itself, which nobody needs any more.
func (e *Endpoint) DoOnce(ctx context.Context, req *sip.Request) (*sip.Response, error) {
	tx, err := e.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	defer tx.Terminate()
	for {
		select {
		case res := <-tx.Responses():
			switch {
			case res.IsProvisional():
			case Fits(req, res):
				return res, nil
			default: // it has ended the transaction
				return nil, ErrMisfit
			}
		case <-tx.Done():
			return nil, EndError(tx)
		case <-ctx.Done():
			return nil, asError(ctx.Err())
		}
	}
}

// EndError says why a client transaction ended without a final response; it is never nil.
func EndError(tx *Outgoing) error {
	if err := tx.Err(); err != nil {
		return asError(err)
	}
	return errClosed // unless it is said why
}

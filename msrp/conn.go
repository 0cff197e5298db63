package msrp

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/doze"
	"latchkey/internal/quiet"
)

// ErrClosed is the end of a session that was closed by our side.
var ErrClosed = errors.New("msrp session closed")

const (
	// writeTimeout ends a connection whose peer takes nothing any more.
	writeTimeout = 30 * time.Second
	// partingTime bounds how long responses may take to leave when the last session is closed.
	partingTime = 2 * time.Second
	// quantum is how much of a chunk goes out, in octets, before another sender has its turn.
	quantum = 16 << 10
	// maxPiece bounds what is written at a stretch, and so how long a response waits. Slow connections get maxPlain.
	maxPiece = 64 << 10
	// lingering is how long a reader waits for the next frame before its goroutine ends, where the system can wait without one.
	lingering = 2 * time.Second
)

// conn is one connection, which may carry many sessions (RFC 4975 §5.4). Its reader's goroutine ends when the
// connection does; close ends it. Who writes has the turn (turn.go); without work there is no writer.
type conn struct {
	nc       net.Conn
	out      io.Writer // writes to nc
	log      *slog.Logger
	listener *Listener    // nil on connections that we opened
	client   *RelayClient // of a connection to a relay of ours; else nil
	most     int          // octets that a chunk's body may have here

	turns turns
	done  chan struct{} // closed by close
	once  sync.Once
	err   error // set before done is closed

	mu      sync.Mutex // guards the fields below
	targets targets
	pending map[string]*transaction
	closed  bool // no transaction is added any more

	anchored atomic.Int32 // how many legs there are

	nap doze.Nap // while it waits without a reader

	// The reader's own, for what it passes on; nil while there is none.
	batch *batch
	small *flow
}

// target is what a connection's requests can be for: a session, or one leg of an anchor.
type target interface {
	matches(URI) bool
	bind(*conn) bool
	attached() string // the session id
	trusted() *trust
	Bound() <-chan struct{}
	over() <-chan struct{} // closed when it is over
	end(error)
	expect(*Listener) bool
	unexpect()
	Err() error
}

// targets are those of a connection: one, mostly, and then there is no map.
type targets struct {
	one  target
	more map[string]target // all of them, by their session ids, once there were two
}

func (t *targets) at(id string) target {
	if t.more != nil {
		return t.more[id]
	}
	if t.one != nil && t.one.attached() == id {
		return t.one
	}
	return nil
}

func (t *targets) add(x target) {
	switch {
	case t.more != nil:
		t.more[x.attached()] = x
	case t.one == nil || t.one.attached() == x.attached():
		t.one = x
	default:
		t.more = map[string]target{t.one.attached(): t.one, x.attached(): x}
		t.one = nil
	}
}

// drop reports whether the target was there.
func (t *targets) drop(x target) bool {
	if t.at(x.attached()) != x {
		return false
	}
	t.one = nil
	delete(t.more, x.attached())
	return true
}

func (t *targets) empty() bool { return t.one == nil && len(t.more) == 0 }

func (t *targets) all() iter.Seq[target] {
	if t.one != nil {
		return slices.Values([]target{t.one})
	}
	return maps.Values(t.more)
}

// transaction waits for the response to a SEND of ours.
type transaction struct {
	done  func(error) // called once, beside all locks; nil for a 200
	heard func(*Head) // called with the response before done; nil: its status is all that counts
	timer *time.Timer // runs from the last byte on
}

func newConn(nc net.Conn, l *Listener, log *slog.Logger) *conn {
	c := &conn{nc: nc, out: quiet.Conn(nc), log: log, listener: l, most: math.MaxInt, done: make(chan struct{})}
	if whole, ok := nc.(WholeChunks); ok {
		c.most = max(whole.MaxChunk(), maxPlain)
	}
	c.turns.init()
	return c
}

// WholeChunks may be implemented by a connection that carries each chunk as a whole (RFC 7977 §5.1): chunks that are sent on it, those
// that an Anchor passes on included, have bodies of no more octets than MaxChunk says, or 2048 where that is more.
type WholeChunks interface{ MaxChunk() int }

// start runs the connection's reader. bindWithin bounds the wait for the first request of a session.
func (c *conn) start(bindWithin time.Duration) {
	if bindWithin > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(bindWithin))
	}
	go c.read(c.listener == nil) // ends with close, or sleeps
}

// close ends the connection, its transactions and its sessions. What a session does at its end
// leads back here by detach, so the work is done beside the Once, which is held for the mark alone.
func (c *conn) close(err error) {
	first := false
	c.once.Do(func() {
		first = true
		c.err = err
		close(c.done)
	})
	if !first {
		return
	}
	c.nap.End()
	_ = c.nc.Close()
	c.mu.Lock()
	targets, pending := slices.Collect(c.targets.all()), c.pending
	c.pending, c.closed = nil, true
	c.mu.Unlock()
	for _, t := range pending {
		t.end(err)
	}
	for _, t := range targets {
		t.end(err)
	}
	if c.listener != nil {
		c.listener.remove(c)
	}
}

// lost says that the connection ended, not the session by itself (RFC 4975 §5.4).
func lost(err error) error { return fmt.Errorf("msrp connection lost: %w", err) }

// chunk writes one SEND. Up to 2048 octets it goes as a whole. A longer one is interrupted by a response that waits, for the
// turn of another sender, or because its message is given up (RFC 4975 §7.1.1). piece is how much is written at
// a stretch: it grows while the connection takes it at once.
func (c *conn) chunk(w *Writer, k *chunk) bool {
	piece := &c.turns.piece
	res := written{flag: k.flag}
	if res.err = w.Begin(k.head); res.err != nil {
		k.written <- res
		return true
	}
	if k.head.HasBody {
		for first := true; first || res.n < len(k.body); first = false {
			if !first && c.interrupted(k, &res) {
				break
			}
			part := k.body[res.n:]
			if len(k.body) > maxPlain {
				part = part[:min(len(part), *piece)]
			}
			begin := time.Now()
			c.extend()
			n, err := w.Write(part)
			if err == ErrEndLine && !first {
				res.flag = Incomplete // the sender goes on under another transaction
				break
			}
			res.n += n
			if err == nil && res.n < len(k.body) && !c.put(w) {
				err = c.err
			}
			if res.err = err; err != nil {
				k.written <- res
				c.close(lost(err)) // within a frame there is no way on
				return false
			}
			if time.Since(begin) > 5*time.Millisecond {
				*piece = maxPlain
			} else {
				*piece = min(*piece*2, maxPiece)
			}
		}
	}
	_ = w.End(res.flag)
	ok := c.put(w)
	if !ok {
		res.err = c.err
	}
	k.written <- res
	return ok
}

// interrupted decides whether a chunk ends here, and how.
func (c *conn) interrupted(k *chunk, res *written) bool {
	select {
	case <-k.stop:
		res.flag = Aborted
		return true
	default:
	}
	if c.turns.owed.Load() > 0 || res.n >= quantum && c.turns.waiting.Load() > 0 {
		res.flag = Incomplete
		return true
	}
	return false
}

// send queues a frame without body.
func (c *conn) send(h *Head, flag byte) { c.owe(h.appendEnd(h.appendTo(nil), flag)) }

// respond answers a request (RFC 4975 §7.2), unless it wants no answer.
func (c *conn) respond(req *Head, code int, comment string) {
	// §7.1.4: no asks for no response at all, partial for errors only; a REPORT is never answered (§7.1.2).
	if req.Method == REPORT || req.FailureReport == "no" || req.FailureReport == "partial" && code == StatusOK {
		return
	}
	if !isText(comment) {
		comment = ""
	}
	res := &Head{TransactionID: req.TransactionID, Status: code, Comment: comment, ToPath: req.FromPath, FromPath: req.ToPath}
	// A request without its paths is answered to whoever is there: the grammar wants a URI, the connection knows the way.
	if len(res.ToPath) == 0 {
		res.ToPath = Path{hop(c.nc.RemoteAddr())}
	}
	if len(res.FromPath) == 0 {
		res.FromPath = Path{hop(c.nc.LocalAddr())}
	}
	if req.Method == SEND { // the response to a SEND goes one hop
		res.ToPath = res.ToPath[:1]
	}
	res.FromPath = res.FromPath[:1]
	c.send(res, Complete)
}

// hop is the URI of a place without a session.
func hop(addr net.Addr) URI {
	u := URI{Host: "anonymous.invalid", Transport: "tcp"}
	if host, port, err := net.SplitHostPort(addr.String()); err == nil {
		u.Host = bracketed(host)
		u.Port, _ = strconv.Atoi(port)
	}
	return u
}

// read takes what comes, until the connection closes or has had nothing to say for so long that it sleeps. bound: a session was named
// on it.
func (c *conn) read(bound bool) {
	r := newConnReader(c.nc)
	defer r.release()
	c.batch, c.small = new(batch), new(flow)
	for {
		if bound && r.between() {
			there, err := r.rest()
			if err != nil {
				c.close(lost(err))
				return
			}
			if !there {
				c.shrink()
				if c.sleep(r.idle) {
					return // whoever wakes it starts another reader
				}
				c.batch, c.small = new(batch), new(flow)
			}
		}
		if c.anchored.Load() > 0 && !r.inBody {
			if err := c.relay(r); err != nil {
				c.close(lost(err))
				return
			}
			if bound && r.between() {
				continue
			}
		}
		h, err := r.Next()
		if status, ok := errors.AsType[*StatusError](err); ok {
			if _, err = discard(r); err == nil && h.Method != "" {
				c.respond(h, status.Code, status.Comment)
			}
		} else if err == nil {
			err = c.take(r, h, &bound)
		}
		if err != nil {
			c.close(lost(err))
			return
		}
	}
}

// take handles one frame. An error means that the connection is of no use.
func (c *conn) take(r *Reader, h *Head, bound *bool) error {
	if h.Method == "" {
		if leg := c.legOf(h.ToPath); leg != nil {
			return leg.forward(r, h)
		}
		c.answered(h)
		_, err := discard(r)
		return err
	}
	if h.Method != SEND && h.Method != REPORT {
		_, err := discard(r)
		c.respond(h, StatusUnknownMethod, "Unknown method")
		return err
	}
	t, code := c.targetOf(h)
	if t == nil {
		_, err := discard(r)
		c.respond(h, code, "No such session here")
		return err
	}
	if !*bound {
		*bound = true
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	switch t := t.(type) {
	case *AnchorLeg:
		return t.forward(r, h)
	case *Session:
		if h.Method == SEND {
			return t.receive(c, r, h)
		}
		_, err := discard(r)
		t.report(h)
		return err
	}
	return nil
}

// discard reads over a body and tells its length.
func discard(r *Reader) (int64, error) { return io.Copy(io.Discard, r.Body()) }

// targetOf finds what a request is for: the first one on a connection binds it (RFC 4975 §5.4).
func (c *conn) targetOf(h *Head) (target, int) {
	uri := h.ToPath[0]
	c.mu.Lock()
	t := c.targets.at(uri.SessionID)
	c.mu.Unlock()
	switch {
	case c.client != nil && len(h.ToPath) > 1: // we are no relay
	case t != nil && t.matches(uri):
		return t, 0
	case t == nil && c.listener != nil:
		return c.listener.claim(uri, h.FromPath, c)
	case t == nil && c.client != nil:
		return c.client.claim(uri)
	}
	return nil, StatusNoSession
}

// legOf finds the leg that a response is for.
func (c *conn) legOf(to Path) *AnchorLeg {
	if len(to) == 0 || c.anchored.Load() == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	leg, _ := c.targets.at(to[0].SessionID).(*AnchorLeg)
	return leg
}

// knows reports whether a transaction of ours is open.
func (c *conn) knows(tid string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending[tid] != nil
}

// answered completes the transaction of a response. Without one the response is late: its failure was reported already.
func (c *conn) answered(h *Head) {
	if h.Status == StatusOK {
		c.settle(h, h.TransactionID, nil)
		return
	}
	c.settle(h, h.TransactionID, &StatusError{h.Status, h.Comment})
}

// settle ends a transaction. h is its response; nil: there is none.
func (c *conn) settle(h *Head, tid string, err error) {
	c.mu.Lock()
	t := c.pending[tid]
	delete(c.pending, tid)
	c.mu.Unlock()
	if t == nil {
		return
	}
	if h != nil && t.heard != nil {
		t.heard(h)
	}
	t.end(err)
}

func (t *transaction) end(err error) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.done(err)
}

// expect registers a transaction before its request is written. False: the connection is closed.
func (c *conn) expect(tid string, done func(error)) bool {
	return c.expectHead(tid, nil, done)
}

// expectHead is expect for a request whose response has more to tell than its status.
func (c *conn) expectHead(tid string, heard func(*Head), done func(error)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if c.pending == nil {
		c.pending = map[string]*transaction{}
	}
	c.pending[tid] = &transaction{done: done, heard: heard}
	return true
}

// drop forgets a transaction whose request is not written.
func (c *conn) drop(tid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pending, tid)
}

// arm starts the timer of a transaction whose last byte is out (RFC 4975 §7.1.1).
func (c *conn) arm(tid string, timeout time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.pending[tid]; t != nil {
		t.timer = time.AfterFunc(timeout, func() { c.settle(nil, tid, &StatusError{StatusTimeout, "no response in time"}) })
	}
}

func (c *conn) attach(t target) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, before := c.targets.at(t.attached()).(*AnchorLeg) // whose place is taken over
	c.targets.add(t)
	if _, ok := t.(*AnchorLeg); ok && !before {
		c.anchored.Add(1)
	}
}

// detach takes a target off. A connection that carries none any more is closed.
func (c *conn) detach(t target) {
	c.mu.Lock()
	if c.targets.drop(t) {
		if _, ok := t.(*AnchorLeg); ok {
			c.anchored.Add(-1)
		}
	}
	empty := c.targets.empty()
	c.mu.Unlock()
	if empty {
		c.part()
	}
}

// shrink gives up what a reader needs, and maps that were of use once.
func (c *conn) shrink() {
	c.batch, c.small = nil, nil
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 {
		c.pending = nil
	}
}

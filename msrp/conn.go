package msrp

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
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
)

// conn is one connection, which may carry many sessions (RFC 4975 §5.4). Its reader and
// writer goroutines end when the connection does; close ends it.
type conn struct {
	nc       net.Conn
	log      *slog.Logger
	listener *Listener // nil on connections that we opened

	control chan []byte   // responses, reports, aborts: before the next chunk, and within a chunk of more than 2048 octets
	data    chan *chunk   // unbuffered: senders take turns, so sessions share fairly
	waiting atomic.Int32  // senders at data
	parting chan struct{} // closed by part: what waits in control leaves, then the connection closes
	done    chan struct{} // closed by close
	once    sync.Once
	err     error // set before done is closed

	wmu    sync.Mutex // guards parted
	parted bool

	mu       sync.Mutex // guards the maps
	sessions map[string]*Session
	pending  map[string]*transaction
}

// transaction waits for the response to a SEND of ours.
type transaction struct {
	done  func(error) // called once, beside all locks; nil for a 200
	timer *time.Timer // runs from the last byte on
}

func newConn(nc net.Conn, l *Listener, log *slog.Logger) *conn {
	return &conn{
		nc: nc, log: log, listener: l, control: make(chan []byte, 64), data: make(chan *chunk),
		parting: make(chan struct{}), done: make(chan struct{}), sessions: map[string]*Session{}, pending: map[string]*transaction{},
	}
}

// start runs the connection's two goroutines. bindWithin bounds the wait for the first request of a session.
func (c *conn) start(bindWithin time.Duration) {
	if bindWithin > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(bindWithin))
	}
	go c.write() // ends with close
	go c.read()  // ends with close
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
	_ = c.nc.Close()
	c.mu.Lock()
	sessions := make([]*Session, 0, len(c.sessions))
	for _, s := range c.sessions {
		sessions = append(sessions, s)
	}
	pending := c.pending
	c.pending = nil
	c.mu.Unlock()
	for _, t := range pending {
		t.end(err)
	}
	for _, s := range sessions {
		s.end(err)
	}
	if c.listener != nil {
		c.listener.remove(c)
	}
}

// part closes the connection once the responses that wait have left.
func (c *conn) part() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if !c.parted {
		c.parted = true
		close(c.parting)
		_ = c.nc.SetWriteDeadline(time.Now().Add(partingTime))
	}
}

// extend gives the next write its time.
func (c *conn) extend() {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	if !c.parted {
		_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	}
}

// put writes what was gathered.
func (c *conn) put(w *Writer) bool {
	c.extend()
	if err := w.Flush(); err != nil {
		c.close(lost(err))
		return false
	}
	return true
}

// lost says that the connection ended, not the session by itself (RFC 4975 §5.4).
func lost(err error) error { return fmt.Errorf("msrp connection lost: %w", err) }

func (c *conn) write() {
	w := NewWriter(c.nc)
	piece := maxPlain
	for c.answers(w) {
		select {
		case b := <-c.control:
			w.buf = append(w.buf, b...)
		case k := <-c.data:
			c.waiting.Add(-1)
			if !c.chunk(w, k, &piece) {
				return
			}
		case <-c.parting:
			if c.answers(w) {
				c.close(ErrClosed)
			}
			return
		case <-c.done:
			return
		}
	}
}

// answers writes all control frames that wait, in one go where they are small (RFC 4975 §7.1.1: they go before the next chunk).
func (c *conn) answers(w *Writer) bool {
	for {
		select {
		case b := <-c.control:
			w.buf = append(w.buf, b...)
			if len(w.buf) < gathered {
				continue
			}
			if !c.put(w) {
				return false
			}
		default:
			return c.put(w)
		}
	}
}

// chunk writes one SEND. Up to 2048 octets it goes as a whole. A longer one is interrupted by a response that waits, for the
// turn of another sender, or because its message is given up (RFC 4975 §7.1.1). piece is how much is written at
// a stretch: it grows while the connection takes it at once.
func (c *conn) chunk(w *Writer, k *chunk, piece *int) bool {
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
	if len(c.control) > 0 || res.n >= quantum && c.waiting.Load() > 0 {
		res.flag = Incomplete
		return true
	}
	return false
}

// send queues a frame without body.
func (c *conn) send(h *Head, flag byte) {
	b := h.appendEnd(h.appendTo(nil), flag)
	select {
	case c.control <- b:
	case <-c.done:
	}
}

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

func (c *conn) read() {
	r := NewReader(c.nc)
	bound := c.listener == nil
	for {
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
		c.answered(h)
		_, err := discard(r)
		return err
	}
	if h.Method != SEND && h.Method != REPORT {
		_, err := discard(r)
		c.respond(h, StatusUnknownMethod, "Unknown method")
		return err
	}
	s, code := c.sessionFor(h)
	if s == nil {
		_, err := discard(r)
		c.respond(h, code, "No such session here")
		return err
	}
	if !*bound {
		*bound = true
		_ = c.nc.SetReadDeadline(time.Time{})
	}
	if h.Method == SEND {
		return s.receive(c, r, h)
	}
	_, err := discard(r)
	s.report(h)
	return err
}

// discard reads over a body and tells its length.
func discard(r *Reader) (int64, error) { return io.Copy(io.Discard, r.Body()) }

// sessionFor finds the session of a request: the first one on a connection binds it (RFC 4975 §5.4).
func (c *conn) sessionFor(h *Head) (*Session, int) {
	uri := h.ToPath[0]
	c.mu.Lock()
	s := c.sessions[uri.SessionID]
	c.mu.Unlock()
	switch {
	case s != nil && s.matches(uri):
		return s, 0
	case s == nil && c.listener != nil:
		return c.listener.claim(uri, c)
	}
	return nil, StatusNoSession
}

// answered completes the transaction of a response. Without one the response is late: its failure was reported already.
func (c *conn) answered(h *Head) {
	if h.Status == StatusOK {
		c.settle(h.TransactionID, nil)
		return
	}
	c.settle(h.TransactionID, &StatusError{h.Status, h.Comment})
}

func (c *conn) settle(tid string, err error) {
	c.mu.Lock()
	t := c.pending[tid]
	delete(c.pending, tid)
	c.mu.Unlock()
	if t != nil {
		t.end(err)
	}
}

func (t *transaction) end(err error) {
	if t.timer != nil {
		t.timer.Stop()
	}
	t.done(err)
}

// expect registers a transaction before its request is written. False: the connection is closed.
func (c *conn) expect(tid string, done func(error)) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending == nil {
		return false
	}
	c.pending[tid] = &transaction{done: done}
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
		t.timer = time.AfterFunc(timeout, func() { c.settle(tid, &StatusError{StatusTimeout, "no response in time"}) })
	}
}

func (c *conn) attach(s *Session) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sessions[s.opt.Local.SessionID] = s
}

// detach takes a session off. A connection that carries none any more is closed.
func (c *conn) detach(s *Session) {
	c.mu.Lock()
	if c.sessions[s.opt.Local.SessionID] == s {
		delete(c.sessions, s.opt.Local.SessionID)
	}
	empty := len(c.sessions) == 0
	c.mu.Unlock()
	if empty {
		c.part()
	}
}

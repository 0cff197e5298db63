package msrp

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"
)

// ErrClosed is the end of a session that was closed by our side.
var ErrClosed = errors.New("msrp session closed")

// conn is one connection, which may carry many sessions (RFC 4975 §5.4). Its reader and
// writer goroutines end when the connection does; close ends it.
type conn struct {
	nc       net.Conn
	log      *slog.Logger
	listener *Listener // nil on connections that we opened

	control chan []byte   // responses and reports: never behind more than one chunk
	data    chan *chunk   // unbuffered: senders take turns, so sessions share fairly
	done    chan struct{} // closed by close
	once    sync.Once
	err     error // set before done is closed

	mu       sync.Mutex // guards the maps
	sessions map[string]*Session
	pending  map[string]*transaction
}

// chunk is one SEND on its way to the writer.
type chunk struct {
	head, body, end []byte
	written         chan error // buffered
}

// transaction waits for the response to a SEND of ours.
type transaction struct {
	result chan error // buffered
	timer  *time.Timer
}

func newConn(nc net.Conn, l *Listener, log *slog.Logger) *conn {
	return &conn{
		nc: nc, log: log, listener: l, control: make(chan []byte, 64), data: make(chan *chunk), done: make(chan struct{}),
		sessions: map[string]*Session{}, pending: map[string]*transaction{},
	}
}

// start runs the connection's two goroutines. bindWithin bounds the wait for the first request.
func (c *conn) start(bindWithin time.Duration) {
	if bindWithin > 0 {
		_ = c.nc.SetReadDeadline(time.Now().Add(bindWithin))
	}
	go c.write()
	go c.read()
}

func (c *conn) close(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.done)
		_ = c.nc.Close()
		c.mu.Lock()
		sessions := make([]*Session, 0, len(c.sessions))
		for _, s := range c.sessions {
			sessions = append(sessions, s)
		}
		pending := c.pending
		c.pending = map[string]*transaction{}
		c.mu.Unlock()
		for _, t := range pending {
			t.finish(err)
		}
		for _, s := range sessions {
			s.end(err)
		}
		if c.listener != nil {
			c.listener.remove(c)
		}
	})
}

func (t *transaction) finish(err error) {
	t.timer.Stop()
	select {
	case t.result <- err:
	default:
	}
}

// writeTimeout ends a connection whose peer takes nothing any more.
const writeTimeout = 30 * time.Second

func (c *conn) write() {
	for {
		// RFC 4975 §7.1.1: responses and reports go before the next chunk.
		select {
		case b := <-c.control:
			if !c.put(b) {
				return
			}
			continue
		default:
		}
		select {
		case b := <-c.control:
			if !c.put(b) {
				return
			}
		case k := <-c.data:
			_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
			bufs := net.Buffers{k.head, k.body, k.end}
			_, err := bufs.WriteTo(c.nc)
			k.written <- err
			if err != nil {
				c.close(err)
				return
			}
		case <-c.done:
			return
		}
	}
}

// put writes control frames, all that are waiting in one go.
func (c *conn) put(b []byte) bool {
	for len(b) < 8<<10 {
		select {
		case more := <-c.control:
			b = append(b, more...)
			continue
		default:
		}
		break
	}
	_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	if _, err := c.nc.Write(b); err != nil {
		c.close(err)
		return false
	}
	return true
}

func (c *conn) sendControl(h *Head) {
	b := h.appendEnd(h.appendTo(nil), Complete)
	select {
	case c.control <- b:
	case <-c.done:
	}
}

// respond answers a request (RFC 4975 §7.2): To-Path is the leftmost From-Path URI alone.
func (c *conn) respond(req *Head, code int, comment string) {
	// §7.1.4: no asks for no response at all, partial for errors only; a REPORT is never answered (§7.1.2).
	if req.Method == REPORT || req.FailureReport == "no" || req.FailureReport == "partial" && code == StatusOK {
		return
	}
	if len(req.FromPath) == 0 || len(req.ToPath) == 0 {
		return // there is nobody to answer to
	}
	c.sendControl(&Head{TransactionID: req.TransactionID, Status: code, Comment: comment, ToPath: req.FromPath[:1], FromPath: req.ToPath[:1]})
}

func (c *conn) read() {
	r := NewReader(c.nc)
	bound := false
	for {
		h, err := r.Next()
		var bad *badRequest
		if errors.As(err, &bad) {
			c.skip(r)
			if h.Method != "" {
				c.respond(h, StatusBadRequest, "Bad Request")
			}
			continue
		}
		if err != nil {
			c.close(err)
			return
		}
		if h.Method == "" {
			c.answered(h)
			c.skip(r)
			continue
		}
		s, code := c.sessionFor(h)
		if s == nil {
			c.skip(r)
			if h.Method != REPORT { // §7.1.2
				c.respond(h, code, "")
			}
			continue
		}
		if !bound {
			bound = true
			_ = c.nc.SetReadDeadline(time.Time{})
		}
		switch h.Method {
		case SEND:
			if err := s.receive(r, h); err != nil {
				c.close(err)
				return
			}
		case REPORT:
			c.skip(r)
			s.report(h)
		default:
			c.skip(r)
			c.respond(h, StatusUnknownMethod, "Unknown method")
		}
	}
}

func (c *conn) skip(r *Reader) {
	if _, err := io.Copy(io.Discard, r.Body()); err != nil {
		c.close(err)
	}
}

// sessionFor finds the session of a request: the first one on a connection binds it (RFC 4975 §5.4).
func (c *conn) sessionFor(h *Head) (*Session, int) {
	uri := h.ToPath[0]
	c.mu.Lock()
	s := c.sessions[uri.SessionID]
	c.mu.Unlock()
	if s == nil && c.listener != nil {
		var code int
		if s, code = c.listener.claim(uri, c); s == nil {
			return nil, code
		}
	}
	if s == nil || !s.matches(h) {
		return nil, StatusNoSession
	}
	return s, 0
}

// answered completes the transaction of a response.
func (c *conn) answered(h *Head) {
	c.mu.Lock()
	t := c.pending[h.TransactionID]
	delete(c.pending, h.TransactionID)
	c.mu.Unlock()
	if t == nil {
		return // late: its failure was reported already
	}
	if h.Status == StatusOK {
		t.finish(nil)
		return
	}
	t.finish(&StatusError{h.Status, h.Comment})
}

// expect registers a transaction before its request is written.
func (c *conn) expect(tid string, timeout time.Duration) *transaction {
	t := &transaction{result: make(chan error, 1)}
	t.timer = time.AfterFunc(timeout, func() {
		c.mu.Lock()
		_, open := c.pending[tid]
		delete(c.pending, tid)
		c.mu.Unlock()
		if open {
			t.finish(&StatusError{StatusTimeout, "no response in time"}) // RFC 4975 §7.1.1
		}
	})
	c.mu.Lock()
	c.pending[tid] = t
	c.mu.Unlock()
	return t
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
		c.close(ErrClosed)
	}
}

package msrp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ListenerOptions are what a Listener needs beyond its socket.
type ListenerOptions struct {
	Secure      bool          // URIs are msrps; the socket is one of crypto/tls
	Advertise   string        // host in URIs; default: the socket's own address, so needed where that is 0.0.0.0 or ::
	BindTimeout time.Duration // how long a new connection may take to its first request of a session; default 30 s
	MaxUnbound  int           // connections without a session at one time; more are closed at once; default 1024
	Log         *slog.Logger  // default: none
}

// Listener takes connections of many sessions on one port. A connection belongs to the sessions that its
// requests name (RFC 4975 §5.4).
type Listener struct {
	ln  net.Listener
	opt ListenerOptions

	mu       sync.Mutex // guards the fields below
	expected map[string]target
	conns    map[*conn]bool // true: it is bound
	unbound  int
	closed   bool
	empty    chan struct{} // closed when the listener is closed and has no connection any more
}

// NewListener makes a listener of a socket. Serve runs it. Without a socket (nil) connections come by ServeConn alone.
func NewListener(ln net.Listener, opt ListenerOptions) *Listener {
	if opt.BindTimeout <= 0 {
		opt.BindTimeout = 30 * time.Second
	}
	if opt.MaxUnbound <= 0 {
		opt.MaxUnbound = 1024
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Listener{ln: ln, opt: opt, expected: map[string]target{}, conns: map[*conn]bool{}, empty: make(chan struct{})}
}

// Addr is the socket's address; there must be one.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// NewURI makes a fresh URI on this listener, with an explicit port (RFC 4975 §8.2) and an unguessable session id.
func (l *Listener) NewURI() URI {
	host, port, _ := net.SplitHostPort(l.ln.Addr().String())
	if l.opt.Advertise != "" {
		host = l.opt.Advertise
	}
	n, _ := strconv.Atoi(port)
	return URI{Secure: l.opt.Secure, Host: bracketed(host), Port: n, SessionID: NewSessionID(), Transport: "tcp"}
}

// bracketed is a host as it stands in a URI.
func bracketed(host string) string {
	if strings.Contains(host, ":") && !strings.HasPrefix(host, "[") {
		return "[" + host + "]"
	}
	return host
}

// Expect lets the session be bound by a connection that names it, until Forget or the session's end. Once
// the session's remote path is known, it has its BindTimeout to be bound.
func (l *Listener) Expect(s *Session) { l.await(s) }

// ExpectLeg is Expect for a leg of an Anchor.
func (l *Listener) ExpectLeg(leg *AnchorLeg) { l.await(leg) }

func (l *Listener) await(t target) {
	l.mu.Lock()
	l.expected[t.attached()] = t
	l.mu.Unlock()
	if !t.expect(l) { // it is over
		l.forget(t)
	}
}

// Forget ends the expectation, and the wait for it. A session that is bound stays so.
func (l *Listener) Forget(s *Session) { l.forget(s) }

// ForgetLeg is Forget for a leg of an Anchor.
func (l *Listener) ForgetLeg(leg *AnchorLeg) { l.forget(leg) }

func (l *Listener) forget(t target) {
	l.mu.Lock()
	if l.expected[t.attached()] == t {
		delete(l.expected, t.attached())
	}
	l.mu.Unlock()
	t.unexpect()
}

// claim binds the session that uri names to c, whose first request has this From-Path. Otherwise the code is 481, or 506 where the
// session is bound to another connection (RFC 4975 §5.4).
func (l *Listener) claim(uri URI, from Path, c *conn) (target, int) {
	l.mu.Lock()
	s := l.expected[uri.SessionID]
	l.mu.Unlock()
	if s == nil || !s.matches(uri) || s.Err() != nil {
		return nil, StatusNoSession
	}
	select {
	case <-s.Bound(): // whoever comes second is nobody's concern
		return nil, StatusAlreadyBound
	default:
	}
	if leg, ok := s.(*AnchorLeg); ok && !leg.admits(from, c, l.opt.BindTimeout) {
		return nil, StatusNoSession
	}
	if err := s.trusted().admit(c, s.over(), l.opt.BindTimeout); err != nil {
		if errors.Is(err, ErrFingerprint) {
			s.end(err)
		}
		c.close(err) // what is answered does not leave any more
		return nil, StatusForbidden
	}
	if !s.bind(c) {
		if s.Err() != nil {
			return nil, StatusNoSession
		}
		return nil, StatusAlreadyBound
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if bound, there := l.conns[c]; there && !bound {
		l.conns[c] = true
		l.unbound--
	}
	return s, 0
}

// Serve takes connections until Shutdown or Close, after which it returns nil.
func (l *Listener) Serve() error {
	for {
		nc, err := l.ln.Accept()
		if err != nil {
			l.mu.Lock()
			closed := l.closed
			l.mu.Unlock()
			if closed {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			l.opt.Log.Error("msrp accept", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors: give others time to close
			continue
		}
		if !l.ServeConn(nc) {
			_ = nc.Close()
		}
	}
}

// ServeConn takes a connection that somebody else accepted, such as a WebSocket (package msrpws), and returns at once. False: it is
// not taken, because the listener is closed or has too many connections without a session; it is then for the caller to close.
func (l *Listener) ServeConn(nc net.Conn) bool {
	c := newConn(nc, l, l.opt.Log)
	if !l.add(c) {
		return false
	}
	c.start(l.opt.BindTimeout)
	return true
}

func (l *Listener) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || l.unbound >= l.opt.MaxUnbound {
		return false
	}
	l.conns[c] = false
	l.unbound++
	return true
}

func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound, there := l.conns[c]
	if !there {
		return
	}
	delete(l.conns, c)
	if !bound {
		l.unbound--
	}
	if l.closed && len(l.conns) == 0 {
		close(l.empty)
	}
}

// Shutdown takes no more connections, closes those without a session, and waits until the sessions of
// the others are over. When ctx ends before that, it returns ctx's error; Close then ends what is left.
func (l *Listener) Shutdown(ctx context.Context) error {
	err := l.stop(func(bound bool) bool { return !bound })
	select {
	case <-l.empty:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes the socket and all connections, which ends their sessions. It is idempotent.
func (l *Listener) Close() error {
	return l.stop(func(bool) bool { return true })
}

func (l *Listener) stop(cut func(bound bool) bool) error {
	l.mu.Lock()
	if !l.closed {
		l.closed = true
		if len(l.conns) == 0 {
			close(l.empty)
		}
	}
	var conns []*conn
	for c, bound := range l.conns {
		if cut(bound) {
			conns = append(conns, c)
		}
	}
	l.mu.Unlock()
	var err error
	if l.ln != nil {
		err = l.ln.Close()
	}
	var closing sync.WaitGroup // each may take its time: TLS says goodbye to peers that don't read
	for _, c := range conns {
		closing.Go(func() { c.close(ErrClosed) })
	}
	closing.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

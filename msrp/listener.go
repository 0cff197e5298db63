package msrp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"
)

// ListenerOptions are what a Listener needs beyond its socket.
type ListenerOptions struct {
	Secure      bool          // URIs are msrps
	Advertise   string        // host in URIs; default: the socket's own address
	BindTimeout time.Duration // how long a new connection may take to its first request; default 30 s
	MaxUnbound  int           // connections without a session at one time; default 1024
	Log         *slog.Logger
}

// Listener takes connections of many sessions on one port.
type Listener struct {
	ln  net.Listener
	opt ListenerOptions

	mu       sync.Mutex // guards the fields below
	expected map[string]*Session
	conns    map[*conn]struct{}
	closed   bool
}

// NewListener makes a listener of a socket. Serve runs it.
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
	return &Listener{ln: ln, opt: opt, expected: map[string]*Session{}, conns: map[*conn]struct{}{}}
}

// Addr is the socket's address.
func (l *Listener) Addr() net.Addr { return l.ln.Addr() }

// NewURI makes a fresh URI on this listener with an explicit port (RFC 4975 §8.2).
func (l *Listener) NewURI() URI {
	host, port, _ := net.SplitHostPort(l.ln.Addr().String())
	if l.opt.Advertise != "" {
		host = l.opt.Advertise
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		host = "[" + host + "]"
	}
	n, _ := strconv.Atoi(port)
	return URI{Secure: l.opt.Secure, Host: host, Port: n, SessionID: NewSessionID(), Transport: "tcp"}
}

// Expect lets the session be bound by a connection that names it, until Forget.
func (l *Listener) Expect(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected[s.opt.Local.SessionID] = s
}

// Forget ends the expectation. A session that is bound stays so.
func (l *Listener) Forget(s *Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.expected[s.opt.Local.SessionID] == s {
		delete(l.expected, s.opt.Local.SessionID)
	}
}

// claim binds the session that uri names to c. Otherwise the code is 481, or 506 where the
// session is bound to another connection (RFC 4975 §5.4).
func (l *Listener) claim(uri URI, c *conn) (*Session, int) {
	l.mu.Lock()
	s := l.expected[uri.SessionID]
	l.mu.Unlock()
	if s == nil || !s.opt.Lenient && !uri.Equal(s.opt.Local) {
		return nil, StatusNoSession
	}
	if !s.bind(c) {
		return nil, StatusAlreadyBound
	}
	return s, 0
}

// Serve takes connections until Shutdown. It returns nil after that.
func (l *Listener) Serve() error {
	for {
		nc, err := l.ln.Accept()
		if err != nil {
			l.mu.Lock()
			closed := l.closed
			l.mu.Unlock()
			if closed || errors.Is(err, net.ErrClosed) {
				return nil
			}
			l.opt.Log.Error("msrp accept", "error", err)
			time.Sleep(50 * time.Millisecond) // out of descriptors: give others time to close
			continue
		}
		c := newConn(nc, l, l.opt.Log)
		if !l.add(c) {
			_ = nc.Close()
			continue
		}
		c.start(l.opt.BindTimeout)
	}
}

func (l *Listener) add(c *conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.conns) > l.opt.MaxUnbound+2*len(l.expected) {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *Listener) remove(c *conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
}

// Shutdown closes the socket and all connections.
func (l *Listener) Shutdown(context.Context) error {
	l.mu.Lock()
	l.closed = true
	conns := make([]*conn, 0, len(l.conns))
	for c := range l.conns {
		conns = append(conns, c)
	}
	l.mu.Unlock()
	err := l.ln.Close()
	for _, c := range conns {
		c.close(ErrClosed)
	}
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

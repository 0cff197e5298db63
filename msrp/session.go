package msrp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Handler takes the messages of a session.
type Handler interface {
	// ServeMSRP takes one message. A nil result lets the 200 to its last chunk go; a *StatusError picks
	// another code; any other error is 403. Short messages come one after the other in the order
	// in which they were completed; a long one comes while it is still arriving, on a goroutine of its own.
	ServeMSRP(s *Session, m *IncomingMessage) error
}

// ReportHandler may be implemented by a Handler that asks for reports.
type ReportHandler interface {
	ServeReport(s *Session, r Report)
}

// Report is what a peer said about a message of ours (RFC 4975 §7.1.2).
type Report struct {
	MessageID string
	Range     ByteRange
	Code      int
	Comment   string
}

// SessionOptions make a Session.
type SessionOptions struct {
	Local           URI
	Remote          Path // may be set later, by SetRemote
	Handler         Handler
	AcceptTypes     []string      // nil: all; others get 415
	MaxSize         int64         // of a message in octets; 0: no limit; more gets 413
	ChunkSize       int           // octets a SEND; default 16 KiB
	ResponseTimeout time.Duration // default 30 s (RFC 4975 §7.1.1)
	BindTimeout     time.Duration // how long a listener waits for the first request; default 30 s
	Lenient         bool          // match on the session id alone, as old clients do (sessmatch)
	Log             *slog.Logger
}

// Session is one MSRP session: two paths and, once bound, a connection.
type Session struct {
	opt   SessionOptions
	bound chan struct{} // closed when conn is set
	done  chan struct{} // closed by end
	once  sync.Once

	mu     sync.Mutex // guards the fields below
	remote Path
	conn   *conn
	err    error
	in     map[string]*incoming // messages that are arriving
	seen   []string             // Message-IDs taken lately, oldest first

	work chan *incoming // short messages, in order of completion; its reader ends with done
}

// NewSession makes a session that is not bound yet.
func NewSession(opt SessionOptions) *Session {
	if opt.ChunkSize <= 0 {
		opt.ChunkSize = 16 << 10
	}
	if opt.ResponseTimeout <= 0 {
		opt.ResponseTimeout = 30 * time.Second
	}
	if opt.BindTimeout <= 0 {
		opt.BindTimeout = 30 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{
		opt: opt, remote: opt.Remote, bound: make(chan struct{}), done: make(chan struct{}),
		in: map[string]*incoming{}, work: make(chan *incoming, 64),
	}
	return s
}

// NewSessionID makes an unguessable session id of 128 random bits (RFC 4975 §14.1 asks for 80).
func NewSessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func newTransactionID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Local is the session's own URI.
func (s *Session) Local() URI { return s.opt.Local }

// SetRemote sets the path to the peer, which SDP told. A session must have one before it sends.
func (s *Session) SetRemote(p Path) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote = p
}

// Bound is closed when the session has its connection.
func (s *Session) Bound() <-chan struct{} { return s.bound }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session is over; nil before that.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session, and its connection if no other session uses it. It is idempotent.
func (s *Session) Close() error {
	s.end(ErrClosed)
	return nil
}

func (s *Session) end(err error) {
	s.once.Do(func() {
		s.mu.Lock()
		s.err = err
		c := s.conn
		arriving := s.in
		s.in = map[string]*incoming{}
		close(s.done)
		s.mu.Unlock()
		for _, m := range arriving {
			m.abort(err)
		}
		if c != nil {
			c.detach(s)
		}
	})
}

// bind gives the session its connection. False: it has one, or is over.
func (s *Session) bind(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil || s.err != nil {
		return false
	}
	s.conn = c
	c.attach(s)
	close(s.bound)
	go s.handle() // ends with the session
	return true
}

// matches checks a request's paths against the session's (RFC 4975 §7.3).
func (s *Session) matches(h *Head) bool {
	if s.opt.Lenient {
		return h.ToPath[0].SessionID == s.opt.Local.SessionID
	}
	return h.ToPath[0].Equal(s.opt.Local)
}

// Dial makes a network connection.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Connect makes the session active: it dials addr, binds, sends the empty SEND at once (RFC 4975 §5.4,
// RFC 6135 §4.2.2) and waits for its response. A nil tlsConfig means plain TCP.
func (s *Session) Connect(ctx context.Context, dial Dial, addr string, tlsConfig *tls.Config) error {
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if tlsConfig != nil {
		tc := tls.Client(nc, tlsConfig)
		if err := tc.HandshakeContext(ctx); err != nil {
			_ = nc.Close()
			return fmt.Errorf("connect: %w", err)
		}
		nc = tc
	}
	return s.ConnectOn(ctx, nc)
}

// ConnectOn is Connect on a connection that stands.
func (s *Session) ConnectOn(ctx context.Context, nc net.Conn) error {
	c := newConn(nc, nil, s.opt.Log)
	if !s.bind(c) {
		_ = nc.Close()
		return fmt.Errorf("connect: bound already or closed")
	}
	c.start(0)
	tid := newTransactionID()
	t := c.expect(tid, s.opt.ResponseTimeout)
	// §7.1.1: an empty SEND has the range 1-0/0 and no body.
	c.sendControl(&Head{
		TransactionID: tid, Method: SEND, ToPath: s.remotePath(), FromPath: Path{s.opt.Local},
		MessageID: newTransactionID(), Range: ByteRange{1, 0, 0},
	})
	var err error
	select {
	case err = <-t.result:
	case <-ctx.Done():
		err = ctx.Err()
	case <-s.done:
		err = s.Err()
	}
	if err != nil {
		s.end(err)
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

func (s *Session) remotePath() Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// accepts reports whether the session's accept-types have the content type (RFC 4975 §8.6).
func (s *Session) accepts(contentType string) bool {
	if s.opt.AcceptTypes == nil {
		return true
	}
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	major, _, _ := strings.Cut(t, "/")
	return slices.ContainsFunc(s.opt.AcceptTypes, func(a string) bool {
		a = strings.ToLower(a)
		return a == "*" || a == t || a == major+"/*"
	})
}

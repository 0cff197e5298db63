package msrp

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// ErrNotBound is the end of an expected session that nobody connected to in time.
var ErrNotBound = errors.New("msrp session: no connection from the peer in time")

// Handler takes the messages of a session.
type Handler interface {
	// ServeMSRP takes one message. A nil result lets the 200 to its last chunk go, whether or not all of the
	// body was read; a *StatusError picks another code; any other error is 403. Short messages (64 KiB at most) come one
	// after the other in the order in which they were completed; a long one comes while it is still
	// arriving, on a goroutine of its own, and is held back at the rate at which its body is read.
	ServeMSRP(s *Session, m *IncomingMessage) error
}

// ReportHandler may be implemented by a Handler that asks for reports. ServeReport is called by the connection's reader and must
// not block. A refusal of a message that was sent with Failure-Report partial comes here, too, once Send has returned.
type ReportHandler interface {
	ServeReport(s *Session, r Report)
}

// Report is what a peer said about a message of ours (RFC 4975 §7.1.2).
type Report struct {
	MessageID string
	Range     ByteRange
	Code      int // 200: these bytes have come
	Comment   string
}

// SessionOptions make a Session.
type SessionOptions struct {
	Local           URI
	Remote          Path          // may be set later, by SetRemote
	Via             Path          // our own relays, the nearest one first, which requests pass on their way to Remote; see RelayPath
	Handler         Handler       // nil: messages are refused with 403
	AcceptTypes     []string      // as in a=accept-types, type/* and * included; nil: all; others get 415
	MaxSize         int64         // of a message in octets; 0: no limit; more gets 413
	ChunkSize       int           // octets a SEND, which is what Send keeps in memory; default 16 KiB, at least 2048; fewer where the connection wants it (WholeChunks)
	ResponseTimeout time.Duration // for a response, from the last byte of its request on; default 30 s (RFC 4975 §7.1.1)
	BindTimeout     time.Duration // how long an expected session waits for its connection once Remote is known; default 30 s
	Lenient         bool          // match on the session id alone, as some old clients need (draft-ietf-simple-msrp-sessmatch)
	Log             *slog.Logger  // default: none
}

// Session is one MSRP session: two paths and, once bound, a connection. Its methods may be
// called by several goroutines at a time.
type Session struct {
	opt   SessionOptions
	newID func() string // of transactions
	done  chan struct{} // closed by end

	place // whose mu guards the fields below, too

	remote  Path
	err     error
	in      map[string]*incoming // messages that are arriving
	recent  outcomes             // of messages that came lately
	out     map[string]*outgoing // messages on their way out
	gone    outcomes             // ids of messages that went out lately: REPORTs may come later
	queue   []*incoming          // short messages that wait for the Handler, in order of completion
	serving bool                 // the goroutine of queue runs
	room    *sync.Cond           // queue got shorter, or the session is over
}

// NewSession makes a session that is not bound yet.
func NewSession(opt SessionOptions) *Session {
	if opt.ChunkSize <= 0 {
		opt.ChunkSize = 16 << 10
	}
	opt.ChunkSize = max(opt.ChunkSize, maxPlain) // RFC 4975 §7.1.1: smaller messages are not divided
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
		opt: opt, newID: newTransactionID, remote: opt.Remote, place: newPlace(opt.Remote), done: make(chan struct{}),
		in: map[string]*incoming{}, out: map[string]*outgoing{},
		recent: outcomes{of: map[string]*outcome{}}, gone: outcomes{of: map[string]*outcome{}},
	}
	s.room = sync.NewCond(&s.mu)
	return s
}

// NewSessionID makes an unguessable session id of 128 random bits (RFC 4975 §14.1 asks for 80).
func NewSessionID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// newTransactionID makes an id of 64 random bits (RFC 4975 §7.1: a body can't be made to contain it).
func newTransactionID() string {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// Local is the session's own URI.
func (s *Session) Local() URI { return s.opt.Local }

// Trust says which certificates the peer may show on TLS: those that its description named (RFC 4975 §14.4). A connection
// that shows another one, or none, is closed, which ends the session with ErrFingerprint. It is called before SetRemote: a connection with TLS that
// is faster than the peer's description waits for that.
func (s *Session) Trust(peer ...Fingerprint) { s.trust.set(peer) }

// SetRemote sets the path to the peer, which SDP told. A session must have one before it sends.
func (s *Session) SetRemote(p Path) {
	defer s.trust.describe(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remote = p
	s.expected()
}

// Bound is closed when the session has its connection.
func (s *Session) Bound() <-chan struct{} { return s.bound }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err says why the session is over; nil before that. ErrClosed: we closed it. ErrNotBound: nobody connected. ErrFingerprint: somebody
// else did. A *StatusError: the peer
// does not know it (481), has it elsewhere (506), or reported that bytes are missing. Else the connection was lost.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session, and its connection if no other session uses it; responses that wait still leave. Messages
// on their way are given up. It is idempotent and never fails.
func (s *Session) Close() error {
	s.end(ErrClosed)
	return nil
}

// end ends the session once. A connection that closes ends its sessions, and the last session to leave closes its
// connection; so no lock is held on the way.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	c, l, arriving, leaving := s.conn, s.listener, s.in, s.out
	s.in, s.out, s.queue = nil, nil, nil
	close(s.done)
	s.room.Broadcast()
	s.mu.Unlock()
	for _, m := range arriving {
		m.pipe.closeWrite(err)
	}
	for _, o := range leaving {
		o.fail(fmt.Errorf("send: %w", err))
	}
	if l != nil {
		l.forget(s)
	}
	if c != nil {
		c.detach(s)
	}
}

// expect notes who expects the session. False: it is over.
func (s *Session) expect(l *Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listener = l
	s.expected()
	return s.err == nil
}

// expected starts the wait for the peer's connection, when all is there for it. s.mu is held.
func (s *Session) expected() {
	if len(s.remote) > 0 && s.err == nil {
		s.await(s.opt.BindTimeout, s.end)
	}
}

// bind gives the session its connection. False: it has one, or is over.
func (s *Session) bind(c *conn) bool {
	s.mu.Lock()
	if s.conn != nil || s.err != nil {
		s.mu.Unlock()
		return false
	}
	s.take(s, c)
	s.mu.Unlock()
	select {
	case <-c.done: // it closed meanwhile, perhaps without having seen this session
		s.end(c.err)
	default:
	}
	return true
}

func (s *Session) over() <-chan struct{} { return s.done }

// attached is the name under which a connection finds the session.
func (s *Session) attached() string { return s.opt.Local.SessionID }

func (s *Session) matches(to URI) bool { return reaches(to, s.opt.Local, s.opt.Lenient) }

// Dial makes a network connection, as net.Dialer.DialContext does.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Connect makes the session active: it dials addr, binds, sends the empty SEND at once (RFC 4975 §5.4,
// RFC 6135 §4.2.2) and waits for its response. A nil tlsConfig means plain TCP. After an error the session is over if
// a connection stood, and the error is a *StatusError if the peer refused (481, 506) or was silent (408).
func (s *Session) Connect(ctx context.Context, dial Dial, addr string, tlsConfig *tls.Config) error {
	nc, err := open(ctx, dial, addr, tlsConfig)
	if err != nil {
		return err
	}
	return s.ConnectOn(ctx, nc)
}

// open dials, with TLS where there is a configuration for it.
func open(ctx context.Context, dial Dial, addr string, tlsConfig *tls.Config) (net.Conn, error) {
	nc, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	if tlsConfig == nil {
		return nc, nil
	}
	tc := tls.Client(nc, tlsConfig)
	if err := tc.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return tc, nil
}

// ConnectOn is Connect on a connection that stands. The session owns it from then on.
func (s *Session) ConnectOn(ctx context.Context, nc net.Conn) error {
	remote := s.toPath()
	if len(remote) == 0 {
		_ = nc.Close()
		return errors.New("connect: the remote path is not set")
	}
	return connectOn(ctx, nc, s, remote, s.opt.Local, s.opt.ResponseTimeout, s.opt.Log)
}

// connectOn binds a target to a connection by an empty SEND (RFC 4975 §5.4, §7.1.1: range 1-0/0, no body).
func connectOn(ctx context.Context, nc net.Conn, t target, remote Path, local URI, timeout time.Duration, log *slog.Logger) error {
	if err := t.trusted().check(ctx, nc); err != nil {
		_ = nc.Close()
		t.end(err)
		return fmt.Errorf("connect: %w", err)
	}
	c := newConn(nc, nil, log)
	_ = c.acquire() // what waits for the connection comes behind the SEND that binds it
	if !t.bind(c) {
		_ = nc.Close()
		return errors.New("connect: bound already or closed")
	}
	c.start(0)
	tid, answer := hello(c, remote, local)
	c.release()
	return greeted(ctx, c, t, tid, answer, timeout)
}

// greet sends the empty SEND of a target that is bound, and waits for its response. Without one the target is over.
func greet(ctx context.Context, c *conn, t target, to Path, local URI, timeout time.Duration) error {
	tid, answer := hello(c, to, local)
	return greeted(ctx, c, t, tid, answer, timeout)
}

// hello sends an empty SEND.
func hello(c *conn, to Path, local URI) (tid string, answer <-chan error) {
	h := &Head{
		TransactionID: newTransactionID(), Method: SEND, ToPath: to, FromPath: Path{local},
		MessageID: newTransactionID(), Range: ByteRange{1, 0, 0},
	}
	came := make(chan error, 1)
	if c.expect(h.TransactionID, func(err error) { came <- err }) {
		c.send(h, Complete)
	} else {
		came <- c.err
	}
	return h.TransactionID, came
}

// greeted waits for the response to hello.
func greeted(ctx context.Context, c *conn, t target, tid string, answer <-chan error, timeout time.Duration) error {
	c.arm(tid, timeout)
	var err error
	select {
	case err = <-answer:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err == nil {
		return nil
	}
	t.end(err)
	return fmt.Errorf("bind: %w", err)
}

func (s *Session) remotePath() Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.remote
}

// toPath is the To-Path of requests: our own relays, then the path that the peer told (RFC 4976 §5.1).
func (s *Session) toPath() Path {
	remote := s.remotePath()
	if len(remote) == 0 || len(s.opt.Via) == 0 {
		return remote
	}
	return slices.Concat(s.opt.Via, remote)
}

// accepts reports whether the session's accept-types have the content type.
func (s *Session) accepts(contentType string) bool {
	return acceptsType(s.opt.AcceptTypes, contentType)
}

// acceptsType reports whether accept-types have a content type (RFC 4975 §8.6); nil has all.
func acceptsType(types []string, contentType string) bool {
	if types == nil {
		return true
	}
	t, _, _ := strings.Cut(contentType, ";")
	t = strings.ToLower(strings.TrimSpace(t))
	major, _, _ := strings.Cut(t, "/")
	return slices.ContainsFunc(types, func(a string) bool {
		a = strings.ToLower(a)
		return a == "*" || a == t || a == major+"/*"
	})
}

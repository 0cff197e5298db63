package msrp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Anchor joins two sessions as an MSRP back-to-back user agent: each peer has a session with its own leg, under the
// leg's URI, and what one sends goes to the other with its Message-ID. It works with every peer, since each sees a path
// that ends here (RFC 4975 §5.4).
//
// Chunks are passed on as they come, without a message ever being assembled, and only as fast as the other side takes
// them. The peers' responses and REPORTs pass, too, so that a 200 is the receiver's own word. A chunk of more than 2048
// octets is divided where something else has to go between (RFC 4975 §7.1.1); the responses to its parts become the one that its sender
// waits for. Byte-Range counts a message's octets, so REPORTs stay true. An empty SEND binds or keeps alive one leg, and is
// answered by it.
//
// When one leg is lost or closed both are over: peers that renegotiate get a new Anchor, whose leg may take over the other
// one's connection (AnchorLeg.TakeOver).
type Anchor struct {
	legs    [2]*AnchorLeg
	observe func(Passed)
	linger  time.Duration
	done    chan struct{} // closed by end

	mu  sync.Mutex
	err error
}

// AnchorOptions make an Anchor.
type AnchorOptions struct {
	A, B    LegOptions
	Observe func(Passed)  // called for each request that went through, by the reader of its connection: it must not block; nil: nobody looks
	Linger  time.Duration // how long the connection of one leg stays, for TakeOver, when the other leg is lost; 0: not at all
	Log     *slog.Logger  // default: none
}

// LegOptions are one side of an Anchor.
type LegOptions struct {
	Local       URI
	Remote      Path          // may be set later, by SetRemote
	AcceptTypes []string      // of this side's peer, as in its a=accept-types; nil: all. Others are answered 415 for it
	MaxSize     int64         // of this side's peer, in octets; 0: no limit. What is longer is answered 413 for it
	BindTimeout time.Duration // how long an expected leg waits for its connection once Remote is known; default 30 s
	Lenient     bool          // match on the session id alone (draft-ietf-simple-msrp-sessmatch)
	// OnlyRemote takes the connection of nobody but the session at the end of Remote. Where several phones were called by one offer, all
	// have the leg's URI, and those that were not kept get 481 (RFC 4975 §11.7). Who is faster than Remote waits for it.
	OnlyRemote bool
}

// Passed is a request that an Anchor has passed on, for counters and records.
type Passed struct {
	FromA       bool
	Method      string
	MessageID   string
	ContentType string
	Octets      int64 // of its body
	Flag        byte
}

// NewAnchor makes an anchor whose legs are not bound yet.
func NewAnchor(opt AnchorOptions) *Anchor {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	a := &Anchor{observe: opt.Observe, linger: opt.Linger, done: make(chan struct{})}
	for i, o := range []LegOptions{opt.A, opt.B} {
		if o.BindTimeout <= 0 {
			o.BindTimeout = 30 * time.Second
		}
		l := &AnchorLeg{anchor: a, first: i == 0, opt: o, log: opt.Log, local: o.Local.String(), place: newPlace(o.Remote), told: make(chan struct{})}
		l.remote.Store(pathOf(o.Remote))
		if len(o.Remote) > 0 {
			l.onceTold.Do(func() { close(l.told) })
		}
		a.legs[i] = l
	}
	a.legs[0].other, a.legs[1].other = a.legs[1], a.legs[0]
	return a
}

// A is the leg towards the first peer, B the one towards the second.
func (a *Anchor) A() *AnchorLeg { return a.legs[0] }

// B is the leg towards the second peer.
func (a *Anchor) B() *AnchorLeg { return a.legs[1] }

// Done is closed when the anchor is over.
func (a *Anchor) Done() <-chan struct{} { return a.done }

// Err says why the anchor is over; nil before that.
func (a *Anchor) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

// Close ends both legs. It is idempotent.
func (a *Anchor) Close() error {
	a.end(ErrClosed, nil)
	for _, l := range a.legs {
		l.leave() // those that linger, too
	}
	return nil
}

// end is the end of both. by is the leg that was lost, if one was.
func (a *Anchor) end(err error, by *AnchorLeg) {
	a.mu.Lock()
	if a.err != nil {
		a.mu.Unlock()
		return
	}
	a.err = err
	close(a.done)
	a.mu.Unlock()
	for _, l := range a.legs {
		if by != nil && l != by && a.linger > 0 {
			time.AfterFunc(a.linger, l.leave)
		} else {
			l.leave()
		}
	}
}

// AnchorLeg is one side of an Anchor.
type AnchorLeg struct {
	anchor *Anchor
	first  bool
	other  *AnchorLeg
	opt    LegOptions
	log    *slog.Logger
	local  string // the leg's URI as it is written
	remote atomic.Pointer[legPath]

	frames, octets atomic.Int64 // that came from the leg's peer and went on
	accepted       string       // a content type that the other side takes; the reader's own
	from           string       // a From-Path that could be read; the reader's own

	place // whose mu guards the fields below, too

	told     chan struct{} // closed when remote is known
	onceTold sync.Once

	given    bool     // the connection is another leg's now
	parts    parts    // of chunks to this leg's peer that were divided
	refusals outcomes // messages from this leg's peer that were refused
	refused  atomic.Int32
	divided  atomic.Int32
}

// legPath is a path, and as it is written.
type legPath struct {
	path  Path
	text  string
	first string // its first URI
}

func pathOf(p Path) *legPath {
	w := &legPath{path: p, text: p.String()}
	if len(p) > 0 {
		w.first = p[0].String()
	}
	return w
}

// Local is the leg's own URI, which stands in the description for its peer.
func (l *AnchorLeg) Local() URI { return l.opt.Local }

// Trust says which certificates the leg's peer may show on TLS, as Session.Trust does.
func (l *AnchorLeg) Trust(peer ...Fingerprint) { l.trust.set(peer) }

// SetRemote sets the path to the leg's peer, which its description told.
func (l *AnchorLeg) SetRemote(p Path) {
	defer l.trust.describe(p)
	l.remote.Store(pathOf(p))
	l.onceTold.Do(func() { close(l.told) })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expected()
}

// toldWithin bounds how long a peer's first message waits for the other side's path: it may be faster than the response that tells it.
const toldWithin = 5 * time.Second

// destination is the path to the leg's peer, for which a message that came early waits a little. It may be empty.
func (l *AnchorLeg) destination() *legPath {
	if to := l.remote.Load(); len(to.path) > 0 {
		return to
	}
	wait := time.NewTimer(toldWithin)
	defer wait.Stop()
	select {
	case <-l.told:
	case <-l.anchor.done:
	case <-wait.C:
	}
	return l.remote.Load()
}

// admits reports whether a connection whose first request has this From-Path is that of the leg's peer.
func (l *AnchorLeg) admits(from Path, c *conn, within time.Duration) bool {
	if !l.opt.OnlyRemote {
		return true
	}
	wait := time.NewTimer(within)
	defer wait.Stop()
	select {
	case <-l.told:
	case <-l.anchor.done:
	case <-c.done:
	case <-wait.C:
	}
	remote := l.remote.Load().path
	return len(remote) > 0 && len(from) > 0 && from[len(from)-1].SessionID == remote[len(remote)-1].SessionID
}

// Bound is closed when the leg has its connection.
func (l *AnchorLeg) Bound() <-chan struct{} { return l.bound }

// Counts tells how many requests, and how many octets of bodies, came from the leg's peer and went on.
func (l *AnchorLeg) Counts() (requests, octets int64) { return l.frames.Load(), l.octets.Load() }

// Connect makes the leg the active side, as Session.Connect does.
func (l *AnchorLeg) Connect(ctx context.Context, dial Dial, addr string, tlsConfig *tls.Config) error {
	nc, err := open(ctx, dial, addr, tlsConfig)
	if err != nil {
		return err
	}
	return l.ConnectOn(ctx, nc)
}

// ConnectOn is Connect on a connection that stands. The leg owns it from then on.
func (l *AnchorLeg) ConnectOn(ctx context.Context, nc net.Conn) error {
	remote := l.remote.Load().path
	if len(remote) == 0 {
		_ = nc.Close()
		return errors.New("connect: the remote path is not set")
	}
	return connectOn(ctx, nc, l, remote, l.opt.Local, 30*time.Second, l.log)
}

// Err says why the leg is over; nil before that.
func (l *AnchorLeg) Err() error { return l.anchor.Err() }

func (l *AnchorLeg) over() <-chan struct{} { return l.anchor.done }

func (l *AnchorLeg) attached() string { return l.opt.Local.SessionID }

func (l *AnchorLeg) matches(to URI) bool { return reaches(to, l.opt.Local, l.opt.Lenient) }

// end is called when the leg's connection is over.
func (l *AnchorLeg) end(err error) {
	side := "B"
	if l.first {
		side = "A"
	}
	l.anchor.end(fmt.Errorf("leg %s: %w", side, err), l)
}

// leave takes the leg off its connection and its listener.
func (l *AnchorLeg) leave() {
	l.mu.Lock()
	c, listener := l.conn, l.listener
	if l.given {
		c = nil
	}
	l.mu.Unlock()
	if listener != nil {
		listener.forget(l)
	}
	if c != nil {
		c.detach(l)
	}
}

func (l *AnchorLeg) expect(listener *Listener) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listener = listener
	l.expected()
	return l.anchor.Err() == nil
}

// expected starts the wait for the peer's connection, when all is there for it. l.mu is held.
func (l *AnchorLeg) expected() {
	if len(l.remote.Load().path) > 0 {
		l.await(l.opt.BindTimeout, l.end)
	}
}

func (l *AnchorLeg) bind(c *conn) bool {
	l.mu.Lock()
	if l.conn != nil || l.anchor.Err() != nil {
		l.mu.Unlock()
		return false
	}
	l.take(l, c)
	l.mu.Unlock()
	select {
	case <-c.done: // it closed meanwhile, perhaps without having seen this leg
		l.end(c.err)
	case <-l.anchor.done:
		l.leave()
	default:
	}
	return true
}

// connection is the leg's, nil before it is bound.
func (l *AnchorLeg) connection() *conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.conn
}

// peer waits for the leg's connection.
func (l *AnchorLeg) peer() (*conn, error) {
	select {
	case <-l.bound:
		return l.conn, nil
	default:
	}
	select {
	case <-l.bound:
		return l.conn, nil
	case <-l.anchor.done:
		return nil, l.anchor.Err()
	}
}

// refusal says with which code a SEND of this leg's peer is answered without being passed on; nil: it is passed on.
func (l *AnchorLeg) refusal(h *Head) *StatusError {
	if l.refused.Load() > 0 {
		l.mu.Lock()
		known := l.refusals.of[h.MessageID]
		if known != nil && h.Range.Start <= 1 { // what was refused may be tried again
			l.refusals.drop(h.MessageID)
			l.refused.Store(int32(len(l.refusals.of)))
			known = nil
		}
		l.mu.Unlock()
		if known != nil {
			return &StatusError{known.code, known.comment}
		}
	}
	switch o := &l.other.opt; {
	case !acceptsType(o.AcceptTypes, h.ContentType):
		return l.refuse(h.MessageID, StatusUnsupported, "Unsupported media type")
	case o.MaxSize > 0 && max(h.Range.Total, h.Range.Start-1) > o.MaxSize:
		return l.refuse(h.MessageID, StatusStop, "Message too large")
	}
	return nil
}

// refuse remembers that no more of a message is wanted.
func (l *AnchorLeg) refuse(id string, code int, why string) *StatusError {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.refusals.of == nil {
		l.refusals.of = map[string]*outcome{}
	}
	l.refusals.put(id, &outcome{code: code, comment: why})
	l.refused.Store(int32(len(l.refusals.of)))
	return &StatusError{code, why}
}

// parts are the responses that are awaited for the parts of divided chunks, by the parts' transactions.
type parts struct {
	of    map[string]*whole
	order []string // oldest first
	early string   // the last transaction that was refused without being divided: it may be divided after that
}

// whole is a chunk that went on in several parts.
type whole struct {
	tid    string // of the chunk
	open   int    // parts without response
	answer bool   // a response went back
}

// maxParts bounds how many parts are remembered: some are never answered.
const maxParts = 1024

// divide notes that a chunk, which has the transaction first on this side, goes on under another one. w is nil at the first time.
func (l *AnchorLeg) divide(w *whole, first, part string) *whole {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.parts.of == nil {
		l.parts.of = map[string]*whole{}
	}
	if w == nil {
		w = &whole{tid: first}
		if w.answer = first == l.parts.early; !w.answer {
			w.open++
			l.keep(first, w)
		}
	}
	w.open++
	l.keep(part, w)
	return w
}

func (l *AnchorLeg) keep(tid string, w *whole) {
	l.parts.of[tid] = w
	l.parts.order = append(l.parts.order, tid)
	for len(l.parts.order) > maxParts {
		oldest := l.parts.order[0]
		if w := l.parts.of[oldest]; w != nil {
			w.open-- // as if it had come
		}
		delete(l.parts.of, oldest)
		l.parts.order = l.parts.order[1:]
	}
	l.divided.Store(int32(len(l.parts.of)))
}

// joined tells what becomes of a response to this leg: under which transaction it goes back, if it does.
func (l *AnchorLeg) joined(tid string, status int) (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.parts.of[tid]
	if w == nil {
		if status != StatusOK {
			l.parts.early = tid
		}
		return tid, true
	}
	delete(l.parts.of, tid)
	l.divided.Store(int32(len(l.parts.of)))
	w.open--
	if w.answer || status == StatusOK && w.open > 0 {
		return "", false
	}
	w.answer = true
	return w.tid, true
}

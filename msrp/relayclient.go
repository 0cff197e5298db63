package msrp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// ErrPathChanged is the end of a RelayPath that a relay did not renew but replaced: peers must be told the path of a fresh one.
var ErrPathChanged = errors.New("the relay gave another path instead of the one that was to be renewed")

// RelayAccount is a relay, and what it knows us by.
type RelayAccount struct {
	URI      URI // as it is configured, without a session id: msrps://alice@relay.example.com:2855;tcp
	Username string
	Password string
}

// RelayOptions make a RelayClient.
type RelayOptions struct {
	Relays    []RelayAccount // the one to connect to first, then those that are reached through it (RFC 4976 §5.1); one at least
	Advertise string         // host in our own URIs; default: the connection's address. It is a name, and nobody connects to it
	Expires   time.Duration  // to ask for; 0: the relay chooses. What the relay grants counts
	Timeout   time.Duration  // for each response; default 30 s
	Log       *slog.Logger   // default: none
}

// RelayClient is a connection to an MSRP relay, by which sessions reach peers, and are reached, where no direct connection can be
// made (RFC 4976). Each session has a path of its own, from Authorize; all share the connection. When it is lost all of
// them are over, and a new one has to be made.
type RelayClient struct {
	opt      RelayOptions
	c        *conn
	accounts []*credentials
	waiting  *Listener // without a socket: the sessions that wait for their peer
	done     chan struct{}

	mu    sync.Mutex // guards the fields below
	err   error
	paths map[*RelayPath]bool
}

// ConnectRelay connects to the first relay. Its URI says whether with TLS: msrps needs tlsConfig, msrp none, which RFC 4976 §9.4 forbids outside of a
// host or a test. The relay has to show a certificate for the URI's host, unless tlsConfig names another one (§9.2).
func ConnectRelay(ctx context.Context, dial Dial, tlsConfig *tls.Config, opt RelayOptions) (*RelayClient, error) {
	if len(opt.Relays) == 0 {
		return nil, errors.New("connect: no relay")
	}
	u := opt.Relays[0].URI
	if u.Secure != (tlsConfig != nil) {
		return nil, fmt.Errorf("connect: a configuration of TLS is for relays with msrps, and only for them: %s", u)
	}
	host := strings.Trim(u.Host, "[]")
	if u.Secure && tlsConfig.ServerName == "" {
		tlsConfig = tlsConfig.Clone()
		tlsConfig.ServerName = host
	}
	if u.Port == 0 {
		u.Port = 2855 // RFC 4975 §15.4: the registered port
	}
	nc, err := open(ctx, dial, net.JoinHostPort(host, strconv.Itoa(u.Port)), tlsConfig)
	if err != nil {
		return nil, err
	}
	return NewRelayClient(nc, opt), nil
}

// NewRelayClient is ConnectRelay on a connection that stands. The client owns it from then on. opt has one relay at least.
func NewRelayClient(nc net.Conn, opt RelayOptions) *RelayClient {
	if opt.Timeout <= 0 {
		opt.Timeout = 30 * time.Second
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	r := &RelayClient{
		opt: opt, c: newConn(nc, nil, opt.Log), waiting: NewListener(nil, ListenerOptions{Log: opt.Log}),
		done: make(chan struct{}), paths: map[*RelayPath]bool{},
	}
	for _, a := range opt.Relays {
		r.accounts = append(r.accounts, &credentials{username: a.Username, password: a.Password})
	}
	r.c.client = r
	r.c.attach(hold{r, NewSessionID()})
	r.c.start(0)
	return r
}

// Done is closed when the client is over.
func (r *RelayClient) Done() <-chan struct{} { return r.done }

// Err says why the client is over; nil before that.
func (r *RelayClient) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Close ends the connection once what is owed has left, and with it all paths and sessions. It is idempotent.
func (r *RelayClient) Close() error {
	r.end(ErrClosed)
	r.c.part()
	return nil
}

func (r *RelayClient) end(err error) {
	r.mu.Lock()
	if r.err != nil {
		r.mu.Unlock()
		return
	}
	r.err = err
	paths := r.paths
	r.paths = nil
	close(r.done)
	r.mu.Unlock()
	for p := range paths {
		p.end(err)
	}
	r.waiting.mu.Lock()
	waiting := make([]target, 0, len(r.waiting.expected))
	for _, t := range r.waiting.expected {
		waiting = append(waiting, t)
	}
	r.waiting.mu.Unlock()
	for _, t := range waiting {
		t.end(err)
	}
}

// claim binds a session to the connection when the first request for it comes from behind the relay (RFC 4975 §5.4).
func (r *RelayClient) claim(uri URI) (target, int) {
	r.waiting.mu.Lock()
	t := r.waiting.expected[uri.SessionID]
	r.waiting.mu.Unlock()
	switch {
	case t == nil || !t.matches(uri) || t.Err() != nil:
		return nil, StatusNoSession
	case !t.bind(r.c):
		return nil, StatusAlreadyBound
	}
	return t, 0
}

// hold keeps the client's connection while no session uses it, and hears of its end.
type hold struct {
	r  *RelayClient
	id string
}

func (h hold) matches(URI) bool       { return false }
func (h hold) bind(*conn) bool        { return false }
func (h hold) attached() string       { return h.id }
func (h hold) trusted() *trust        { return nil }
func (h hold) Bound() <-chan struct{} { return nil }
func (h hold) over() <-chan struct{}  { return h.r.done }
func (h hold) end(err error)          { h.r.end(err) }
func (h hold) expect(*Listener) bool  { return false }
func (h hold) unexpect()              {}
func (h hold) Err() error             { return h.r.Err() }

// Authorize asks the relays, the nearest one first, for a path of one session (RFC 4976 §5.1). It is renewed until it is closed. An error is
// a *StatusError where a relay refused: 401 (username or password), 403, 423 (no time that both want), 501 (no relay is there), 408 (silence).
func (r *RelayClient) Authorize(ctx context.Context) (*RelayPath, error) {
	own := hop(r.c.nc.LocalAddr())
	own.Secure, own.SessionID = r.opt.Relays[0].URI.Secure, NewSessionID()
	if r.opt.Advertise != "" {
		own.Host = bracketed(r.opt.Advertise)
	}
	if own.Port == 0 {
		own.Port = 2855 // RFC 4975 §8.2: a path has explicit ports
	}
	p := &RelayPath{r: r, local: own, done: make(chan struct{})}
	var via Path
	for i, a := range r.opt.Relays {
		g, err := r.authorize(ctx, r.accounts[i], append(slices.Clone(via), a.URI), own, int((r.opt.Expires+time.Second-1)/time.Second))
		if err != nil {
			return nil, fmt.Errorf("relay %s: %w", a.URI.Host, err)
		}
		p.grants, via = append(p.grants, *g), g.via
	}
	r.mu.Lock()
	if r.err != nil {
		r.mu.Unlock()
		return nil, fmt.Errorf("relay: %w", r.Err())
	}
	r.paths[p] = true
	r.mu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.schedule()
	return p, nil
}

// grant is what one relay gave.
type grant struct {
	via     Path // Use-Path: all hops so far, the nearest one first
	from    time.Time
	asked   int           // which time was asked for in the end, in seconds
	expires time.Duration // 0: not said
}

const (
	// maxRounds bounds how often a relay is asked for one thing: challenges, stale nonces and other times are all there may be.
	maxRounds = 8
	// maxExpires is the longest time that counts.
	maxExpires = 24 * time.Hour
)

// authorize asks one relay, to is the way to it, for a path to own that is good for so many seconds; 0: as the relay likes.
func (r *RelayClient) authorize(ctx context.Context, k *credentials, to Path, own URI, expires int) (*grant, error) {
	challenged := false
	for range maxRounds {
		h := &Head{TransactionID: newTransactionID(), Method: AUTH, ToPath: to, FromPath: Path{own}}
		if expires > 0 {
			h.Other = append(h.Other, Header{"Expires", strconv.Itoa(expires)})
		}
		p := k.answer(AUTH, to[len(to)-1].String(), newNonce())
		if p != nil {
			h.Other = append(h.Other, p.field)
		}
		from := time.Now()
		res, err := r.ask(ctx, h)
		if err != nil {
			return nil, err
		}
		switch res.Status {
		case StatusOK:
			if p != nil {
				nonce, err := p.confirm(res.Other)
				if err != nil {
					return nil, err
				}
				k.next(nonce)
			}
			return granted(res, own, from, expires)
		case StatusUnauthorized:
			c, err := strongest(res.Other)
			if err != nil {
				return nil, err
			}
			if challenged && !c.stale || k.username == "" {
				k.challenged(nil)
				return nil, &StatusError{res.Status, res.Comment}
			}
			challenged = true
			k.challenged(c)
		case StatusOutOfBounds: // RFC 4976 §4.6, §6.3: another time, as the relay says
			was := expires
			if n, there := seconds(res.Other, "Max-Expires"); there && (n < expires || expires == 0) {
				expires = n
			}
			if n, there := seconds(res.Other, "Min-Expires"); there && n > expires {
				expires = n
			}
			if expires == was {
				return nil, &StatusError{res.Status, res.Comment}
			}
		default:
			return nil, &StatusError{res.Status, res.Comment}
		}
	}
	return nil, errors.New("the relay asks again and again")
}

// granted reads the 200 to an AUTH.
func granted(res *Head, own URI, from time.Time, asked int) (*grant, error) {
	g := &grant{from: from, asked: asked, expires: time.Duration(asked) * time.Second}
	for _, f := range res.Other {
		if strings.EqualFold(f.Name, "Use-Path") && g.via == nil {
			via, err := ParsePath(f.Value)
			if err != nil {
				return nil, fmt.Errorf("Use-Path: %w", err)
			}
			g.via = via
		}
	}
	if g.via == nil {
		return nil, errors.New("the relay's 200 has no Use-Path")
	}
	if slices.ContainsFunc(g.via, func(u URI) bool { return u.SessionID == "" }) {
		return nil, fmt.Errorf("Use-Path %.200q has a URI without a session id", g.via)
	}
	if err := loops(append(slices.Clone(g.via), own)); err != nil {
		return nil, fmt.Errorf("Use-Path: %w", err)
	}
	if n, there := seconds(res.Other, "Expires"); there {
		if n == 0 {
			return nil, errors.New("the relay's path has expired already")
		}
		g.expires = time.Duration(n) * time.Second
	}
	g.expires = min(g.expires, maxExpires)
	return g, nil
}

// loops refuses a path that comes to the same place twice.
func loops(p Path) error {
	for i, u := range p {
		if slices.ContainsFunc(p[:i], u.Equal) {
			return fmt.Errorf("%w: the path loops at %.200s", errURI, u)
		}
	}
	return nil
}

// seconds reads a field that has a number.
func seconds(fields []Header, name string) (int, bool) {
	for _, f := range fields {
		if strings.EqualFold(f.Name, name) {
			n, err := strconv.ParseUint(f.Value, 10, 31)
			return int(n), err == nil
		}
	}
	return 0, false
}

// ask sends a request and waits for its response.
func (r *RelayClient) ask(ctx context.Context, h *Head) (*Head, error) {
	if err := h.writable(); err != nil {
		return nil, err
	}
	var res *Head
	answer := make(chan error, 1)
	if !r.c.expectHead(h.TransactionID, func(h *Head) { res = h }, func(err error) { answer <- err }) {
		return nil, r.c.err
	}
	r.c.send(h, Complete)
	r.c.arm(h.TransactionID, r.opt.Timeout)
	select {
	case err := <-answer:
		if res != nil {
			return res, nil
		}
		return nil, err
	case <-ctx.Done():
		r.c.settle(nil, h.TransactionID, ctx.Err()) // nobody waits for it any more
		return nil, ctx.Err()
	}
}

// RelayPath is the way by which one session is reached through our relays: NewSession makes the session, Path is for its
// description. It is renewed before it expires, until it is closed, which has to be done when its session is over.
type RelayPath struct {
	r     *RelayClient
	local URI
	done  chan struct{} // closed by end

	mu     sync.Mutex // guards the fields below
	grants []grant    // one for each relay; only their times change
	timer  *time.Timer
	err    error
}

// Local is the session's own URI.
func (p *RelayPath) Local() URI { return p.local }

// Via are the relays in the order in which a request of ours passes them (RFC 4976 §5.1: Use-Path).
func (p *RelayPath) Via() Path {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.grants[len(p.grants)-1].via)
}

// Path is a=path of our description: what a peer's request passes, the outermost relay first, our own URI last (RFC 4976 §5.1).
func (p *RelayPath) Path() Path {
	path := p.Via()
	slices.Reverse(path)
	return append(path, p.local)
}

// Done is closed when the path is over. Its session may live on, but not for long.
func (p *RelayPath) Done() <-chan struct{} { return p.done }

// Err says why the path is over; nil before that. ErrClosed: we closed it, or the client. ErrPathChanged: peers need another one. A
// *StatusError: a relay refused to renew it, or was silent until it had expired (408). Else the connection was lost.
func (p *RelayPath) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Close lets the path expire. Its session is not ended by that. It is idempotent.
func (p *RelayPath) Close() error {
	p.end(ErrClosed)
	return nil
}

func (p *RelayPath) end(err error) {
	p.mu.Lock()
	if p.err != nil {
		p.mu.Unlock()
		return
	}
	p.err = err
	if p.timer != nil {
		p.timer.Stop()
	}
	close(p.done)
	p.mu.Unlock()
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	delete(p.r.paths, p)
}

// NewSession makes a session with the path's Local and Via. Connect or Expect gives it the client's connection.
//
// A response to what it sends is the nearest relay's, hop by hop: that a message has come to the peer is told by success reports
// alone, and that it has not by failure reports (ReportHandler), which may come after Send has returned (RFC 4976 §6). Session.Trust is
// of no use here: the certificate on the connection is the relay's.
func (p *RelayPath) NewSession(opt SessionOptions) *Session {
	opt.Local, opt.Via = p.local, p.Via()
	return NewSession(opt)
}

// Connect makes the path's session active: it sends the empty SEND by which the relays find the peer, and waits for the relay's response.
// After an error the session is over.
func (p *RelayPath) Connect(ctx context.Context, s *Session) error {
	to := s.toPath()
	err := loops(append(Path{s.opt.Local}, to...))
	switch {
	case !s.opt.Local.Equal(p.local):
		err = errors.New("the session is not the path's")
	case len(s.remotePath()) == 0:
		err = errors.New("the remote path is not set")
	case err == nil && !s.bind(p.r.c):
		err = errors.New("bound already or closed")
	}
	if err != nil {
		s.end(err)
		return fmt.Errorf("connect: %w", err)
	}
	return greet(ctx, p.r.c, s, to, s.opt.Local, s.opt.ResponseTimeout)
}

// Expect lets the path's session be bound by the peer's first request for it, which comes by way of the relay. Once its remote path is
// known the session has its BindTimeout to be bound.
func (p *RelayPath) Expect(s *Session) {
	p.r.waiting.Expect(s)
	if err := p.r.Err(); err != nil {
		s.end(err)
	}
}

// schedule waits until the path is to be renewed: at three quarters of the shortest time. p.mu is held.
func (p *RelayPath) schedule() {
	wait := time.Duration(0)
	for _, g := range p.grants {
		if at := time.Until(g.from.Add(g.expires * 3 / 4)); g.expires > 0 && (wait == 0 || at < wait) {
			wait = max(at, time.Millisecond)
		}
	}
	if wait > 0 && p.err == nil {
		p.timer = time.AfterFunc(wait, p.renew)
	}
}

// expiry is when the first of the grants ends; zero: never. p.mu is held.
func (p *RelayPath) expiry() (first time.Time) {
	for _, g := range p.grants {
		if end := g.from.Add(g.expires); g.expires > 0 && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	return first
}

// renew asks for more time. A relay that is silent is asked again while the path is good.
func (p *RelayPath) renew() {
	p.mu.Lock()
	grants, expiry := slices.Clone(p.grants), p.expiry()
	p.mu.Unlock()
	ctx, cancel := context.WithDeadline(context.Background(), expiry)
	defer cancel()
	go func() { // ends with ctx
		select {
		case <-p.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	var err error
	for i := range grants {
		// What is renewed stands in To-Path, and the 200 of msrprelay 1.4 has it as Use-Path again. RFC 4976 knows only a fresh path in a new
		// offer (§9.4), for which ErrPathChanged asks where a relay gives another one.
		var g *grant
		if g, err = p.r.authorize(ctx, p.r.accounts[i], grants[i].via, p.local, grants[i].asked); err == nil && !slices.EqualFunc(g.via, grants[i].via, URI.Equal) {
			err = ErrPathChanged
		}
		if err != nil {
			break
		}
		grants[i] = *g
	}
	status, _ := errors.AsType[*StatusError](err)
	left := time.Until(expiry)
	switch {
	case err == nil:
		p.mu.Lock()
		p.grants = grants
		p.schedule()
		p.mu.Unlock()
	case status != nil && status.Code == StatusTimeout && left > time.Second:
		p.r.opt.Log.Warn("msrp relay silent, asked again", "error", err)
		p.mu.Lock()
		if p.err == nil {
			p.timer = time.AfterFunc(left/2, p.renew)
		}
		p.mu.Unlock()
	case left <= 0 && (status != nil || errors.Is(err, context.DeadlineExceeded)):
		p.end(&StatusError{StatusTimeout, "the relay did not renew the path in time"})
	default:
		p.end(fmt.Errorf("renew: %w", err))
	}
}

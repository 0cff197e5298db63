package smpp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Server is an SMS centre and the account there.
type Server struct {
	HostPort           string
	TLS                bool
	SystemID, Password string
}

// Options of a Client. Zero values take the defaults.
type Options struct {
	// Pair binds a transmitter and a receiver instead of one transceiver (SMPP 3.4 §2.2), for old centres.
	Pair         bool
	SystemType   string
	AddressRange string // of numbers whose messages are wanted; "" lets the centre decide
	// Version is what a bind says: 0x34, the default, or 0x50.
	Version byte
	// Window is how many submissions wait for their answers at once. Default 10.
	Window int
	// Rate is how many submissions a second there are at most; 0 is no limit.
	Rate float64
	// EnquireLink is how long a link may be silent until the centre is asked whether it is there. Default 30 s.
	EnquireLink time.Duration
	// Response is how long an answer may take. Default 10 s.
	Response time.Duration
	// Connect is how long connecting and binding to one centre may take, and how long Submit waits for a link. Default 10 s.
	Connect time.Duration
	// FirstWait and LastWait are the bounds of the time between attempts to connect. Defaults 1 s and a minute.
	FirstWait, LastWait time.Duration
	// Deliver takes a message or a receipt (SM.Receipt tells which). It is acknowledged when Deliver returns, so what must
	// not be lost is on disk by then; after an error the centre sends it again. It is called by several goroutines at once.
	Deliver func(context.Context, *SM) error
	TLS     *tls.Config // nil: the system's roots
	Dial    func(ctx context.Context, network, address string) (net.Conn, error)
	Log     *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Version == 0 {
		o.Version = 0x34
	}
	if o.Window <= 0 {
		o.Window = 10
	}
	for field, def := range map[*time.Duration]time.Duration{
		&o.EnquireLink: defaultEnquireLink, &o.Response: 10 * time.Second, &o.Connect: 10 * time.Second, &o.FirstWait: time.Second, &o.LastWait: time.Minute,
	} {
		if *field <= 0 {
			*field = def
		}
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Client keeps a link to one of several centres, and submits messages over it.
type Client struct {
	servers []Server
	opt     Options
	window  chan struct{} // of Window; never closed
	pace    pace

	mu   sync.Mutex
	up   *link         // nil: there is none now
	news chan struct{} // closed and made anew when up or last changes
	last error         // why there is none
}

// ErrDown is in the error of what was not submitted since no centre could be reached.
var ErrDown = errors.New("no SMS centre can be reached")

// New makes a client of one or more centres, those that are preferred first. Run keeps its link.
func New(servers []Server, opt Options) *Client {
	c := &Client{servers: slices.Clone(servers), opt: opt.withDefaults(), news: make(chan struct{})}
	c.window = make(chan struct{}, c.opt.Window)
	if c.opt.Rate > 0 {
		c.pace.gap = time.Duration(float64(time.Second) / c.opt.Rate)
	}
	return c
}

// Run keeps a link until ctx ends, and then unbinds. When a link is lost it tries the centres in turn, at once the first
// time, and with growing pauses when none of them could be had.
func (c *Client) Run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		begun := time.Now()
		if !c.round(ctx) || time.Since(begun) < c.opt.FirstWait {
			failures++
			sleep(ctx, c.backoff(failures))
		} else {
			failures = 0
		}
	}
	return nil
}

// round binds to the first centre that lets it, and serves until that link is lost. It reports whether one did.
func (c *Client) round(ctx context.Context) bool {
	for _, s := range c.servers {
		links, err := c.bind(ctx, s)
		if err != nil {
			if ctx.Err() == nil {
				c.opt.Log.Warn("SMS centre can't be reached", "smsc", s.HostPort, "error", err)
				c.set(nil, err)
			}
			continue
		}
		c.opt.Log.Info("bound to SMS centre", "smsc", s.HostPort)
		c.set(links[0], nil)
		tx, rx := links[0], links[len(links)-1]
		select {
		case <-tx.done:
		case <-rx.done:
		case <-ctx.Done():
		}
		err = errors.Join(tx.err0(), rx.err0())
		c.set(nil, err)
		if ctx.Err() == nil {
			c.opt.Log.Warn("link to SMS centre lost", "smsc", s.HostPort, "error", err)
		}
		for _, l := range links {
			l.unbind()
		}
		return true
	}
	return false
}

// err0 is why it ended, nil if it hasn't.
func (l *link) err0() error {
	select {
	case <-l.done:
		return l.why()
	default:
		return nil
	}
}

// bind makes the links that Options.Pair asks for, the one that submits first.
func (c *Client) bind(ctx context.Context, s Server) ([]*link, error) {
	if !c.opt.Pair {
		l, err := connect(ctx, s, BindTransceiver, &c.opt)
		return []*link{l}, err
	}
	rx, err := connect(ctx, s, BindReceiver, &c.opt)
	if err != nil {
		return nil, err
	}
	tx, err := connect(ctx, s, BindTransmitter, &c.opt)
	if err != nil {
		rx.unbind()
		return nil, err
	}
	return []*link{tx, rx}, nil
}

func (c *Client) set(l *link, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.up, c.last = l, err
	close(c.news)
	c.news = make(chan struct{})
}

// link waits for a link.
func (c *Client) link(ctx context.Context) (*link, error) {
	timer := time.NewTimer(c.opt.Connect)
	defer timer.Stop()
	for {
		c.mu.Lock()
		l, news, last := c.up, c.news, c.last
		c.mu.Unlock()
		if l != nil {
			return l, nil
		}
		select {
		case <-news:
		case <-timer.C:
			return nil, errors.Join(ErrDown, last)
		case <-ctx.Done():
			return nil, errors.Join(ErrDown, last, ctx.Err())
		}
	}
}

// Submit submits a message and returns the id that the centre gave it. While the centre says that it has too much to do, the
// message waits and is tried again until ctx ends. An error is a *Refusal where the centre refused; with ErrLost in it, the
// message may or may not be on its way; any other means that it is not.
func (c *Client) Submit(ctx context.Context, m *SM) (string, error) {
	for refused := 1; ; refused++ {
		p, err := c.try(ctx, SubmitSM, m)
		if errors.Is(err, errNotSent) {
			if !sleep(ctx, 10*time.Millisecond) { // the link went while it was chosen; there will be another
				return "", fmt.Errorf("%w: %w", ErrDown, ctx.Err())
			}
			continue
		}
		refusal, isRefusal := errors.AsType[*Refusal](err)
		switch {
		case err == nil && p.Status == OK:
			return p.Body.(*ID).MessageID, nil
		case err == nil:
			refusal = &Refusal{SubmitSM, p.Status}
		case !isRefusal || refusal.Command != SubmitSM: // a bind was refused, perhaps
			return "", err
		}
		if !refusal.Status.Busy() {
			return "", refusal
		}
		wait := c.backoff(refused)
		if refusal.Status == Throttled {
			c.pace.hold(wait) // it is about all of us, a full queue about one number
		}
		if !sleep(ctx, wait) {
			return "", fmt.Errorf("%w: %w", refusal, ctx.Err())
		}
	}
}

// Query asks what became of a message.
func (c *Client) Query(ctx context.Context, id string, from Address) (QueryResp, error) {
	p, err := c.try(ctx, QuerySM, &Query{MessageID: id, From: from})
	if err != nil {
		return QueryResp{}, err
	}
	if p.Status != OK || p.Body == nil {
		return QueryResp{}, &Refusal{QuerySM, p.Status}
	}
	return *p.Body.(*QueryResp), nil
}

// Cancel takes back a message that has not been delivered yet.
func (c *Client) Cancel(ctx context.Context, m Cancel) error {
	p, err := c.try(ctx, CancelSM, &m)
	if err == nil && p.Status != OK {
		err = &Refusal{CancelSM, p.Status}
	}
	return err
}

// try sends a command once, within the window and the rate.
func (c *Client) try(ctx context.Context, what Command, body Body) (PDU, error) {
	select {
	case c.window <- struct{}{}:
		defer func() { <-c.window }()
	case <-ctx.Done():
		return PDU{}, ctx.Err()
	}
	if err := c.pace.wait(ctx); err != nil {
		return PDU{}, err
	}
	l, err := c.link(ctx)
	if err != nil {
		return PDU{}, err
	}
	p, err := l.ask(ctx, what, body)
	// SMPP 5.0 §4.8.4.18 (unverified): from 90 on the centre is nearing congestion.
	if id, ok := p.Body.(*ID); ok && err == nil {
		if v, ok := Lookup(id.TLVs, TagCongestionState); ok && len(v) == 1 && v[0] >= 90 {
			c.pace.hold(time.Second)
		}
	}
	return p, err
}

// Probe binds to a centre once and unbinds.
func Probe(ctx context.Context, s Server, opt Options) error {
	opt = opt.withDefaults()
	opt.Deliver = func(context.Context, *SM) error { return errors.New("only a probe") }
	c := &Client{opt: opt}
	links, err := c.bind(ctx, s)
	if err != nil {
		return err
	}
	for _, l := range links {
		l.unbind()
	}
	return nil
}

// backoff doubles with each failure, give or take a quarter, so that clients that were thrown out together don't come
// back together.
func (c *Client) backoff(failures int) time.Duration {
	d := c.opt.LastWait
	if shift := max(failures, 1) - 1; shift < 16 {
		d = min(c.opt.FirstWait<<shift, c.opt.LastWait)
	}
	return d*3/4 + rand.N(d/2+1)
}

// pace spaces submissions out.
type pace struct {
	gap  time.Duration
	mu   sync.Mutex
	next time.Time // the earliest time of the next one
}

// wait returns when it is the caller's turn.
func (p *pace) wait(ctx context.Context) error {
	p.mu.Lock()
	now := time.Now()
	if p.next.Before(now) {
		p.next = now
	}
	turn := p.next
	p.next = p.next.Add(p.gap)
	p.mu.Unlock()
	if d := turn.Sub(now); d > 0 && !sleep(ctx, d) {
		return ctx.Err()
	}
	return nil
}

// hold keeps everybody from submitting for d.
func (p *pace) hold(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until := time.Now().Add(d); until.After(p.next) {
		p.next = until
	}
}

// sleep waits for d or until ctx ends, and reports whether it was d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

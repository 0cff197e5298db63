// Package presence answers "is A online, and can A chat?".
//
// It owns the OPTIONS request that asks (RCC.07 §2.6.1 (unverified), RFC 3261 §11), the table
// that reads the answer, and the feature tags in it (RFC 3840, RFC 3841). One question is
// under way for one person at a time, however many ask, and watchers are told changes
// only. It does not decide who may ask: that is guest's, before anything is sent.
// Start with Board.
package presence

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/sipua"
)

// Wire sends requests. *sipua.Endpoint is one.
type Wire interface {
	// DoAuth returns the final response, after digest authentication where it is asked for.
	DoAuth(ctx context.Context, req *sip.Request, c sipua.Credentials) (*sip.Response, error)
	// Contact is where the gateway is reached by way of hop. user is in its escaped form.
	Contact(user string, hop sip.Uri) sip.Uri
}

// Options of a Board. Core is required.
type Options struct {
	Core    string        // URI of the first hop into the core
	Timeout time.Duration // longest wait for an answer; default 5 s (F26)
	Cache   time.Duration // how long an answer is good; default 1 s
	Period  time.Duration // between the questions on behalf of watchers; default 30 s
	Tags    Tags          // what the gateway says of its guests; default OwnTags
	Allow   string        // methods that the gateway takes, as it answers OPTIONS; "": not told

	// Originate gives the first hop of the account's OPTIONS in place of Core and ServiceRoute, and the fields that say
	// who asks, where the gateway asserts that itself; nil: the account is a user of the core.
	Originate func(context.Context, latchkey.AccountID) (hop string, fields []sip.Header, err error)
	// Hop is where the account's OPTIONS go first in place of Core; "" and nil: to Core.
	Hop func(context.Context, latchkey.AccountID) (string, error)
	// Identity is the account's default public identity (TS 24.229 §5.1.1.2 (unverified)); nil: the account.
	Identity func(context.Context, latchkey.AccountID) (string, error)
	// Credentials answer a challenge to the account's OPTIONS; nil: none does.
	Credentials func(latchkey.AccountID) sipua.Credentials
	// ServiceRoute is the account's route behind the core (RFC 3608 §6.1); nil: none.
	ServiceRoute func(context.Context, latchkey.AccountID) ([]string, error)

	// Returned is told of a watched person who comes online. It must not wait for the Board; nil: nobody is told.
	Returned func(latchkey.Address)

	Log *slog.Logger
}

// Board knows who is online. Close it after use.
type Board struct {
	wire Wire
	opt  Options
	log  *slog.Logger

	mu      sync.Mutex
	closed  bool
	answers map[string]latchkey.Status // by address; kept for Options.Cache
	told    map[string]latchkey.Status // what others told and nobody has asked about since, by address; kept for Options.Timeout
	swept   time.Time                  // when answers was last cleared of old ones
	probes  map[string]*probe          // under way, by address
	watches map[string]*watch          // by address
	running sync.WaitGroup             // probes and watches
}

// probe is one OPTIONS under way and all who wait for it.
type probe struct {
	done   chan struct{} // closed when status is set
	status latchkey.Status
	cancel context.CancelFunc
}

// New makes a Board.
func New(wire Wire, opt Options) *Board {
	if opt.Timeout == 0 {
		opt.Timeout = 5 * time.Second
	}
	if opt.Cache == 0 {
		opt.Cache = time.Second
	}
	if opt.Period == 0 {
		opt.Period = 30 * time.Second
	}
	if opt.Tags.IARI == nil && opt.Tags.ICSI == nil {
		opt.Tags = OwnTags()
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	return &Board{
		wire: wire, opt: opt, log: opt.Log,
		answers: map[string]latchkey.Status{}, told: map[string]latchkey.Status{}, probes: map[string]*probe{}, watches: map[string]*watch{},
	}
}

// Status asks the network on behalf of from how of is, and answers within Options.Timeout
// (R23, F26). No usable answer is latchkey.StatusUnknown, not an error; an error is the
// caller's context or a closed Board. Callers at the same time share one OPTIONS.
func (b *Board) Status(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (latchkey.Status, error) {
	name := of.String()
	b.mu.Lock()
	if known, ok := b.recent(name); ok {
		b.mu.Unlock()
		return known, nil
	}
	p, err := b.probe(from, of)
	b.mu.Unlock()
	if err != nil {
		return latchkey.Status{State: latchkey.StatusUnknown}, err
	}
	select {
	case <-p.done:
		return p.status, nil
	case <-ctx.Done():
		return latchkey.Status{State: latchkey.StatusUnknown}, ctx.Err()
	}
}

// Close ends all questions and watches and waits for them. It is idempotent.
func (b *Board) Close() error {
	b.mu.Lock()
	b.closed = true
	for _, p := range b.probes {
		p.cancel()
	}
	for _, w := range b.watches {
		close(w.stop)
	}
	clear(b.watches)
	b.mu.Unlock()
	b.running.Wait()
	return nil
}

// probe joins the question that is under way or begins one. b.mu is held.
func (b *Board) probe(from latchkey.AccountID, of latchkey.Address) (*probe, error) {
	name := of.String()
	if p := b.probes[name]; p != nil {
		return p, nil
	}
	if b.closed {
		return nil, latchkey.Wrap(latchkey.KindUnavailable, errors.New("presence is closed"), "")
	}
	// The question is everybody's who joins it, so it does not end with the first one's context.
	ctx, cancel := context.WithTimeout(context.Background(), b.opt.Timeout)
	p := &probe{done: make(chan struct{}), cancel: cancel}
	b.probes[name] = p
	b.running.Go(func() { // ends with its timeout, or by Close
		defer cancel()
		asked := time.Now()
		p.status = b.ask(ctx, from, of)
		b.mu.Lock()
		delete(b.probes, name)
		p.status = b.newest(name, p.status, asked)
		b.keep(name, p.status)
		if w := b.watches[name]; w != nil {
			if w.tell(p.status) && p.status.State == latchkey.StatusOnline && b.opt.Returned != nil {
				b.opt.Returned(of)
			}
		}
		b.mu.Unlock()
		close(p.done)
	})
	return p, nil
}

// recent is the last answer, if it is still good. b.mu is held.
func (b *Board) recent(name string) (latchkey.Status, bool) {
	s, ok := b.answers[name]
	if !ok || time.Since(s.Checked) >= b.opt.Cache {
		return latchkey.Status{}, false
	}
	return s, true
}

// keep remembers an answer for a short time. b.mu is held.
func (b *Board) keep(name string, s latchkey.Status) {
	if now := time.Now(); now.Sub(b.swept) >= b.opt.Cache {
		for k, old := range b.answers {
			if now.Sub(old.Checked) >= b.opt.Cache {
				delete(b.answers, k)
			}
		}
		for k, old := range b.told {
			if now.Sub(old.Checked) >= b.opt.Timeout {
				delete(b.told, k)
			}
		}
		b.swept = now
	}
	b.answers[name] = s
}

// ask sends one OPTIONS and reads the answer.
func (b *Board) ask(ctx context.Context, from latchkey.AccountID, of latchkey.Address) latchkey.Status {
	res, err := b.send(ctx, from, of)
	s := latchkey.Status{State: latchkey.StatusUnknown, Checked: time.Now()}
	if err != nil {
		b.log.Info("status unknown", latchkey.LogGuest, from, latchkey.LogInviter, of.Identity(), latchkey.LogError, err)
		return s
	}
	switch code := res.StatusCode; {
	case res.IsSuccess():
		tags := tagsOf(res)
		s.State, s.Chat, s.File = latchkey.StatusOnline, tags.Chat(), tags.File()
		s.FileMSRP, s.FileHTTP = tags.FileMSRP(), tags.FileHTTP()
	case code == sip.StatusTemporarilyUnavailable, code == sip.StatusRequestTimeout:
		s.State = latchkey.StatusOffline // PROTOCOLS B3.01: not registered at present
	case code == sip.StatusNotFound, code == sip.StatusGlobalDoesNotExistAnywhere:
		s.State = latchkey.StatusNotRCS
	default:
		b.log.Info("status unknown", latchkey.LogGuest, from, latchkey.LogInviter, of.Identity(), "code", code)
	}
	return s
}

func (b *Board) send(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (*sip.Response, error) {
	req, err := b.request(ctx, from, of)
	if err != nil {
		return nil, err
	}
	var c sipua.Credentials
	if b.opt.Credentials != nil {
		c = b.opt.Credentials(from)
	}
	return b.wire.DoAuth(ctx, req, c)
}

// request makes the OPTIONS (RFC 3261 §11.1) as RCS clients do (PROTOCOLS B3.02, B5.01).
func (b *Board) request(ctx context.Context, from latchkey.AccountID, of latchkey.Address) (*sip.Request, error) {
	var hop sip.Uri
	if err := sip.ParseUri(b.opt.Core, &hop); err != nil {
		return nil, fmt.Errorf("core %q: %w", b.opt.Core, err)
	}
	req, err := sipua.NewRequest(sip.OPTIONS, of.String(), string(from), of.String())
	if err != nil {
		return nil, err
	}
	who, err := b.identify(ctx, req, from)
	if err != nil {
		return nil, err
	}
	tags := b.opt.Tags.Capabilities()
	req.AppendHeader(&sip.ContactHeader{Address: b.wire.Contact(req.From().Address.User, hop), Params: tags})
	// RFC 3841 §9.2, without require and explicit: a client that doesn't tell what it can is asked, too (B5.03).
	req.AppendHeader(sip.NewHeader("Accept-Contact", "*;"+tags.ToString(';')))
	for _, h := range who {
		req.AppendHeader(h)
	}
	req.AppendHeader(sip.NewHeader("Accept", "application/sdp"))
	return req, nil
}

// identify routes the account's request and makes the fields that say whose it is.
func (b *Board) identify(ctx context.Context, req *sip.Request, from latchkey.AccountID) ([]sip.Header, error) {
	if b.opt.Originate != nil {
		hop, fields, err := b.opt.Originate(ctx, from)
		if err == nil {
			sipua.AddRoute(req, hop)
		}
		return fields, err
	}
	hop := ""
	if b.opt.Hop != nil {
		var err error
		if hop, err = b.opt.Hop(ctx, from); err != nil {
			return nil, err
		}
	}
	sipua.AddRoute(req, cmp.Or(hop, sipua.LooseRoute(b.opt.Core)))
	if b.opt.ServiceRoute != nil {
		routes, err := b.opt.ServiceRoute(ctx, from)
		if err != nil {
			return nil, err
		}
		for _, uri := range routes {
			sipua.AddRoute(req, uri)
		}
	}
	self := string(from)
	if b.opt.Identity != nil {
		var err error
		if self, err = b.opt.Identity(ctx, from); err != nil {
			return nil, err
		}
	}
	// RFC 3325 §9: a trusting core takes our word, others choose among the account's identities.
	return []sip.Header{sip.NewHeader("P-Asserted-Identity", "<"+self+">"), sip.NewHeader("P-Preferred-Identity", "<"+self+">")}, nil
}

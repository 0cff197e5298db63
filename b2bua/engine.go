// Package b2bua owns SIP legs and calls: dialogs with forks, offer and answer, and the
// border between what is trusted and what is not.
//
// A Leg is one dialog with one peer and has a loop of its own; a leg never waits for
// another, so that a later Bridge can join two of them. The package knows nothing of
// guests, messages or MSRP. RFC 3261, 3262, 3311, 3325 and 6026 live here; the tables
// are internal/dialog's, sockets and transactions internal/sipua's.
package b2bua

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// Timers of RFC 3261 §17.1.1.1; Timer H and the life of a cancelled INVITE are 64*T1.
const (
	t1     = 500 * time.Millisecond
	t2     = 4 * time.Second
	timerH = 64 * t1
)

// allow lists what a dialog of ours takes (RFC 3261 §20.5).
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, MESSAGE"

// Options of an Engine.
type Options struct {
	Core    string   // SIP URI of the first hop into the core; every request goes there first
	Trusted []string // hosts whose P-Asserted-Identity is believed (RFC 3325 §5)
	Log     *slog.Logger
}

// Engine makes and takes calls on one endpoint.
type Engine struct {
	sip     *sipua.Endpoint
	core    string
	trusted map[string]bool
	log     *slog.Logger

	mu       sync.Mutex // guards the fields below
	legs     map[string]*Leg
	pending  map[string]*Incoming // INVITEs without a final response, by dialog key
	methods  map[sip.RequestMethod]func(*sipua.Transaction)
	handler  Handler
	draining bool

	running sync.WaitGroup // calls' own goroutines
}

// Handler takes the INVITEs that open dialogs. ServeInvite runs on a goroutine of its own and must
// have refused or answered when it returns.
type Handler interface {
	ServeInvite(*Incoming)
}

// New makes an engine that serves the endpoint.
func New(e *sipua.Endpoint, opt Options) *Engine {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	g := &Engine{
		sip: e, core: sipua.LooseRoute(opt.Core), log: opt.Log, trusted: map[string]bool{},
		legs: map[string]*Leg{}, pending: map[string]*Incoming{}, methods: map[sip.RequestMethod]func(*sipua.Transaction){},
	}
	for _, h := range opt.Trusted {
		g.trusted[strings.ToLower(h)] = true
		if ips, err := net.LookupHost(h); err == nil {
			for _, ip := range ips {
				g.trusted[ip] = true
			}
		}
	}
	e.Handle(g.serve)
	return g
}

// Handle sets who takes new calls.
func (g *Engine) Handle(h Handler) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.handler = h
}

// On sets who takes the requests of a method outside of dialogs: OPTIONS, MESSAGE, REGISTER, NOTIFY.
func (g *Engine) On(method sip.RequestMethod, f func(*sipua.Transaction)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.methods[method] = f
}

// Trusts reports whether the request came from a host whose assertions are believed.
func (g *Engine) Trusts(req *sip.Request) bool {
	host, _, err := net.SplitHostPort(req.Source())
	return err == nil && g.trusted[strings.ToLower(host)]
}

// serve sorts a request: to the leg of its dialog, to the handler, or to a refusal.
func (g *Engine) serve(t *sipua.Transaction) {
	req := t.Request
	if tag, _ := req.To().Params.Get("tag"); tag != "" {
		g.serveInDialog(t, dialog.Key(req.CallID().Value(), tag))
		return
	}
	switch req.Method {
	case sip.INVITE:
		g.serveInvite(t)
	case sip.ACK:
	case sip.CANCEL:
		_ = t.Respond(481, "") // RFC 3261 §9.2: sipgo has matched those that match
	default:
		g.mu.Lock()
		f := g.methods[req.Method]
		g.mu.Unlock()
		if f != nil {
			f(t)
			return
		}
		switch req.Method {
		case sip.BYE, sip.PRACK, sip.UPDATE:
			_ = t.Respond(481, "")
		default:
			_ = t.Respond(405, "", sip.NewHeader("Allow", allow)) // RFC 3261 §8.2.1
		}
	}
}

func (g *Engine) serveInDialog(t *sipua.Transaction, key string) {
	g.mu.Lock()
	leg, in := g.legs[key], g.pending[key]
	g.mu.Unlock()
	switch {
	case leg != nil:
		leg.serve(t)
	case in != nil && t.Request.Method == sip.PRACK:
		in.servePRACK(t)
	case t.Request.Method == sip.ACK:
	case t.Request.Method == sip.BYE && in != nil:
		// RFC 3261 §15.1.2: BYE in an early dialog ends it; the INVITE gets 487.
		_ = t.Respond(200, "")
		in.cancel()
	default:
		_ = t.Respond(481, "")
	}
}

func (g *Engine) add(l *Leg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.legs[l.state.Key()] = l
}

func (g *Engine) drop(l *Leg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.legs, l.key)
}

// Legs is the number of standing dialogs.
func (g *Engine) Legs() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.legs)
}

// Drain refuses new calls with 503 from now on; what stands goes on.
func (g *Engine) Drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
}

// Shutdown drains, hangs up what stands and waits until all calls are over or ctx is.
func (g *Engine) Shutdown(ctx context.Context) error {
	g.Drain()
	g.mu.Lock()
	legs := make([]*Leg, 0, len(g.legs))
	for _, l := range g.legs {
		legs = append(legs, l)
	}
	g.mu.Unlock()
	var byes sync.WaitGroup
	for _, l := range legs {
		byes.Go(func() { _ = l.Bye(ctx, "") })
	}
	byes.Wait()
	return ctx.Err()
}

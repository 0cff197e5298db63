// Package b2bua owns SIP legs and calls: dialogs with forks, offer and answer, and the
// border between what is trusted and what is not.
//
// A Leg is one dialog with one peer that ends here, and has a loop of its own. Bridge carries
// a call on instead: two legs that nothing ties but the order of their messages, without a
// goroutine while they are silent. The package knows nothing of guests, messages or MSRP.
// RFC 3261, 3262, 3311, 3325, 4028, 6026 and 6228 live here; the tables
// are internal/dialog's, sockets and transactions internal/sipua's.
package b2bua

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// timers are those of RFC 3261 §17.1.1.1. They are the transaction layer's own, so that both agree.
type timers struct{ t1, t2 time.Duration }

// h is 64*T1: Timer H, the time for an ACK or PRACK, and the life of a cancelled INVITE.
func (t timers) h() time.Duration { return 64 * t.t1 }

// allow lists what a dialog of ours takes (RFC 3261 §20.5).
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE"

// supported lists the option tags that we understand (RFC 3261 §8.2.2.3).
var supported = []string{"100rel", "path", "timer"}

// carried lists those that are a matter of the two ends, so that a bridge passes them.
var carried = []string{
	"100rel", "199", "answermode", "early-session", "eventlist", "from-change", "gruu", "histinfo", "multiple-refer", "norefersub", "path",
	"precondition", "pref", "recipient-list-invite", "recipient-list-message", "replaces", "resource-priority", "tdialog", "timer",
}

var errShutDown = errors.New("engine is shut down")

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
	timers
	gap time.Duration // gapWait, but in tests

	mu       sync.Mutex // guards the fields below
	legs     map[string]*Leg
	over     map[string]bool      // dialogs that ended less than 64*T1 ago
	incoming map[string]*Incoming // INVITEs without a final response, by dialog
	early    map[string]*early    // dialogs of our own INVITEs without a final response
	bridged  map[string]pairEnd   // dialogs of bridges
	taken    map[string]bool      // INVITEs being served or answered less than 64*T1 ago, and what Route carries on
	fading   []fading             // keys of over and taken
	methods  map[sip.RequestMethod]func(*sipua.Transaction)
	handler  Handler
	draining bool
	closed   bool

	stopped context.Context // ends by stop, in Shutdown
	stop    context.CancelFunc
	calls   sync.WaitGroup // calls under way in either direction; grows under mu and not after closed
	running errands        // goroutines that outlive their caller; they end with their transaction or leg
}

// Handler takes the INVITEs that open dialogs. ServeInvite runs on a goroutine of its own and must
// have refused or answered when it returns.
type Handler interface {
	ServeInvite(*Incoming)
}

// A Passer is a Handler that bridges calls. Passes reports whether it is going to bridge the one that the INVITE opens; then the two ends
// agree on bodies and extensions, where those of a call that we answer must be ours. It must not block.
type Passer interface {
	Passes(invite *sip.Request) bool
}

func passes(h Handler, req *sip.Request) bool {
	p, ok := h.(Passer)
	return ok && p.Passes(req)
}

// New makes an engine that serves the endpoint.
func New(e *sipua.Endpoint, opt Options) *Engine {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	g := &Engine{
		sip: e, core: sipua.LooseRoute(opt.Core), log: opt.Log, trusted: map[string]bool{}, timers: timers{sip.T1, sip.T2}, gap: gapWait,
		legs: map[string]*Leg{}, over: map[string]bool{}, incoming: map[string]*Incoming{}, early: map[string]*early{},
		taken: map[string]bool{}, bridged: map[string]pairEnd{}, methods: map[sip.RequestMethod]func(*sipua.Transaction){},
	}
	g.stopped, g.stop = context.WithCancel(context.Background())
	ctx, cancel := context.WithTimeout(g.stopped, lookupTime)
	defer cancel()
	for _, h := range opt.Trusted {
		g.trusted[canonicalHost(h)] = true
		for _, ip := range e.Lookup(ctx, "sip:"+hostInURI(h)) {
			g.trusted[canonicalHost(ip.String())] = true
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

// Trusts reports whether the request came from a host whose assertions are believed: from its address, or from who has shown a
// certificate of its name.
func (g *Engine) Trusts(req *sip.Request) bool {
	host, _, err := net.SplitHostPort(req.Source())
	return err == nil && g.trusted[canonicalHost(host)] || slices.ContainsFunc(sipua.Identities(req), func(d string) bool { return g.trusted[canonicalHost(d)] })
}

// lookupTime bounds the search for the servers of trusted names.
const lookupTime = 5 * time.Second

// hostInURI writes a host as it stands in a URI.
func hostInURI(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && a.Is6() {
		return "[" + a.String() + "]"
	}
	return host
}

// canonicalHost writes an address in one way only; names in lower case.
func canonicalHost(host string) string {
	if a, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return a.Unmap().WithZone("").String()
	}
	return strings.ToLower(host)
}

// serve sorts a request: to the leg of its dialog, to the handler, or to a refusal.
func (g *Engine) serve(t *sipua.Transaction) {
	req := t.Request
	if req.Method == sip.CANCEL {
		_ = t.Respond(481, "") // RFC 3261 §9.2: those that match never come here
		return
	}
	if unknown := unsupported(req, g.understands(t)); len(unknown) > 0 && req.Method != sip.ACK {
		// RFC 3261 §8.2.2.3: what we can't do must be said.
		_ = t.Respond(420, "", sip.NewHeader("Unsupported", strings.Join(unknown, ", ")))
		return
	}
	if key, within := g.within(t); within {
		g.serveInDialog(t, key)
		return
	}
	switch req.Method {
	case sip.INVITE:
		g.serveInvite(t)
	case sip.ACK:
	default:
		if f := g.method(req.Method); f != nil {
			f(t)
			return
		}
		switch req.Method {
		case sip.BYE, sip.PRACK, sip.UPDATE:
			_ = t.Respond(481, "")
		default:
			g.NotAllowed(t)
		}
	}
}

func (g *Engine) method(m sip.RequestMethod) func(*sipua.Transaction) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.methods[m]
}

// understands lists the option tags that a request may require.
func (g *Engine) understands(t *sipua.Transaction) []string {
	req := t.Request
	if dialog.First(req, "Require") == nil {
		return nil
	}
	key, within := g.within(t)
	g.mu.Lock()
	h, end := g.handler, g.bridged[key]
	g.mu.Unlock()
	if end.pair != nil || !within && req.Method == sip.INVITE && passes(h, req) {
		return carried
	}
	return supported
}

// within is the key of the dialog that a request belongs to, and whether it belongs to one.
func (g *Engine) within(t *sipua.Transaction) (key string, within bool) {
	local, _ := t.Request.To().Params.Get("tag")
	if local == t.Tag {
		return "", false
	}
	remote, _ := t.Request.From().Params.Get("tag")
	return dialog.Key(t.Request.CallID().Value(), local, remote), true
}

// unsupported lists the required option tags that aren't among those understood.
func unsupported(req *sip.Request, understood []string) []string {
	return slices.DeleteFunc(dialog.Tokens(req, "Require"), func(o string) bool {
		return slices.Contains(understood, strings.ToLower(o))
	})
}

// allowed is Allow outside of dialogs.
func (g *Engine) allowed() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var more []string
	for m := range g.methods {
		if !strings.Contains(allow, string(m)) {
			more = append(more, string(m))
		}
	}
	slices.Sort(more)
	return strings.Join(append([]string{allow}, more...), ", ")
}

func (g *Engine) serveInDialog(t *sipua.Transaction, key string) {
	g.mu.Lock()
	leg, in, e, over, end := g.legs[key], g.incoming[key], g.early[key], g.over[key], g.bridged[key]
	g.mu.Unlock()
	switch {
	case end.pair != nil:
		end.pair.serve(end.side, t)
	case leg != nil:
		leg.serve(t)
	case over: // whose INVITE may be known for a moment longer
		answerAfterEnd(t)
	case in != nil:
		in.serve(t)
	case e != nil:
		e.serve(t)
	case t.Request.Method == sip.ACK:
	default:
		if f := g.method(sip.NOTIFY); f != nil && t.Request.Method == sip.NOTIFY {
			f(t) // of a subscription (RFC 6665), whose dialog is not the engine's
			return
		}
		_ = t.Respond(481, "")
	}
}

// add makes a leg known.
func (g *Engine) add(l *Leg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.legs[l.key] = l
}

// drop forgets a leg, but not at once that there was one.
func (g *Engine) drop(l *Leg) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.legs, l.key)
	g.over[l.key] = true
	g.later(g.over, l.key)
}

// later deletes a key after 64*T1, when its peer has no transaction left. g.mu is held.
func (g *Engine) later(m map[string]bool, key string) {
	g.fading = append(g.fading, fading{m, key, time.Now().Add(g.h())})
	if len(g.fading) == 1 {
		time.AfterFunc(g.h(), g.forget)
	}
}

// forget deletes the keys whose time has come, which is the same for all: one timer is enough.
func (g *Engine) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	now, n := time.Now(), 0
	for n < len(g.fading) && !g.fading[n].until.After(now) {
		delete(g.fading[n].from, g.fading[n].key)
		n++
	}
	clear(g.fading[:n])
	if g.fading = g.fading[n:]; len(g.fading) > 0 {
		time.AfterFunc(max(g.fading[0].until.Sub(now), g.h()/256), g.forget)
	} else {
		g.fading = nil
	}
}

// fading is a key that will be deleted.
type fading struct {
	from  map[string]bool
	key   string
	until time.Time
}

// begin counts a call that starts. False: the engine is shut down.
func (g *Engine) begin() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.closed {
		g.calls.Add(1)
	}
	return !g.closed
}

// Legs is the number of standing dialogs.
func (g *Engine) Legs() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.legs)
}

// Drain refuses new calls with 503 from now on, emergencies aside; what stands goes on.
func (g *Engine) Drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.draining = true
}

// unackedEvery is how often Shutdown looks whether the last ACKs have come.
const unackedEvery = 10 * time.Millisecond

// Shutdown drains, cancels what rings, hangs up what stands and waits until all calls are over or ctx is.
// What transactions still repeat then ends with the endpoint.
func (g *Engine) Shutdown(ctx context.Context) error {
	g.Drain()
	g.mu.Lock()
	g.closed = true
	ringing := make([]*Incoming, 0, len(g.incoming))
	for _, in := range g.incoming {
		ringing = append(ringing, in)
	}
	g.mu.Unlock()
	g.stop()
	for _, in := range ringing {
		_ = in.Refuse(503, "", Field{"Retry-After", "5"})
		in.cancel()
	}
	over := make(chan struct{})
	go func() { // ends with the last call, each of which has a timer
		g.calls.Wait()
		close(over)
	}()
	var byes sync.WaitGroup
	hangUp := func() {
		for _, l := range g.standing() {
			byes.Go(func() { _ = l.Bye(ctx, "") })
		}
		for _, p := range g.pairs() {
			byes.Go(func() { p.close(ctx) })
		}
		byes.Wait()
	}
	hangUp()
	select {
	case <-over:
	case <-ctx.Done():
	}
	hangUp() // those answered while we hung up the others
	for {
		n := g.Legs() + g.Bridged()
		if n == 0 {
			return ctx.Err()
		}
		select { // RFC 3261 §15: a BYE may have to wait for an ACK
		case <-time.After(unackedEvery):
		case <-ctx.Done():
			return fmt.Errorf("%d calls are left: %w", n, ctx.Err())
		}
	}
}

func (g *Engine) standing() []*Leg {
	g.mu.Lock()
	defer g.mu.Unlock()
	legs := make([]*Leg, 0, len(g.legs))
	for _, l := range g.legs {
		legs = append(legs, l)
	}
	return legs
}

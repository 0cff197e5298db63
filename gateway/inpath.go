package gateway

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
	"latchkey/storage"
)

// AnchorMode says whose MSRP goes through the gateway.
type AnchorMode string

// Values of option anchor.
const (
	AnchorAlways AnchorMode = "always" // everybody's, so that all chat looks alike (X2)
	AnchorGuests AnchorMode = "guests" // that of guests alone, which ends here anyway
	AnchorNever  AnchorMode = "never"  // the same, said by those who want signalling only (TS 24.247 §8.2.3)
)

// inPath carries what goes through the gateway as an application server: requests between two who are no guests, from a neighbour that is
// trusted (X1, X2). All else is the doorkeeper's.
type inPath struct {
	*doorkeeper
	engine *b2bua.Engine
	border *b2bua.ISC
	db     *storage.DB
	wire   *wire
	anchor AnchorMode
	shed   func(*sipua.Transaction) bool // its Shed, but in tests
	log    *slog.Logger
}

func newInPath(g *Gateway, keeper *doorkeeper) *inPath {
	c := g.config
	border := b2bua.NewISC(b2bua.ISCOptions{
		Own: g.engine.Owns, Trusted: g.engine.TrustsHost, Core: hopHost(c.SIPCore), Host: c.Domain, IOI: c.SIPIOI, ResponseSource: c.SIPResponseSource,
		Services: c.AssertedService,
	})
	return &inPath{doorkeeper: keeper, engine: g.engine, border: border, db: g.db, wire: keeper.wire, anchor: c.Anchor, shed: (*sipua.Transaction).Shed, log: g.log}
}

// serve makes the engine ask here first.
func (p *inPath) serve() {
	p.engine.Handle(p)
	p.engine.On(sip.OPTIONS, p.route(p.doorkeeper.ServeOptions))
	p.engine.On(sip.MESSAGE, p.serveMessage)
	for _, m := range []sip.RequestMethod{sip.SUBSCRIBE, sip.PUBLISH, sip.REFER} {
		p.engine.On(m, p.route(p.engine.NotAllowed))
	}
}

// Passes reports whether a request goes through: it comes from a trusted neighbour, by a Route of ours with one of the neighbour's
// behind it, as on ISC, and is for somebody who is no guest of ours; or it is an emergency. All else is here to stay.
func (p *inPath) Passes(req *sip.Request) bool {
	if !p.engine.Trusts(req) {
		return false
	}
	if sipua.Emergency(req) {
		return true // towards the core, whatever is missing: a loop has its own check
	}
	routes := dialog.Values(req, "Route")
	if len(routes) < 2 || !p.engine.Owns(dialog.URI(routes[0])) {
		return false // without a way back, as TS 24.229 §5.7.5 has it, the core would send it here again
	}
	for _, name := range p.engine.Called(req) {
		if p.isGuest(name) {
			return false
		}
	}
	return true
}

// isGuest reports whether a URI is an account of ours.
func (p *inPath) isGuest(uri string) bool {
	a, err := latchkey.ParseAddress(uri)
	if err != nil {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_, err = p.db.Guest(ctx, latchkey.AccountID(a.Identity()))
	return err == nil || latchkey.KindOf(err) != latchkey.KindNotFound // in doubt it is the doorkeeper's
}

// ServeInvite bridges a call that goes through.
func (p *inPath) ServeInvite(in *b2bua.Incoming) {
	emergency := sipua.Emergency(in.Request())
	if !p.Passes(in.Request()) {
		p.doorkeeper.ServeInvite(in)
		return
	}
	if a := approachOf(in); !emergency && p.invites(in.Context(), &a) {
		p.serveInvite(in, a)
		return
	}
	crossing, refused := p.border.Open(in.Request(), p.engine.Trusts(in.Request()))
	if refused != nil {
		p.log.Info("call not carried on", latchkey.LogCallID, in.CallID(), "code", refused.Code)
		_ = in.Refuse(refused.Code, refused.Reason, refused.Header...)
		return
	}
	on := b2bua.Onward{Border: crossing}
	if p.anchor == AnchorAlways && !emergency && !p.isGuest(crossing.Served.User) { // a guest's session ends here already
		callID := in.CallID()
		media := p.wire.newAnchor(browsers(in.Request()), func(reason string) { p.engine.HangUp(callID, reason) })
		media.reoffer = func(to b2bua.Side, offer func() ([]byte, error), answered func(string, []byte, error)) {
			p.engine.Reoffer(callID, to, offer, answered)
		}
		on.Media = media
	}
	p.log.Debug("call goes through", latchkey.LogCallID, in.CallID(), latchkey.LogICID, crossing.ICID(), "originating", crossing.Served.Originating)
	if err := p.engine.Bridge(in, on); err != nil && !errors.Is(err, context.Canceled) {
		p.log.Info("call went through no further", latchkey.LogCallID, in.CallID(), latchkey.LogError, err)
	}
}

// serveMessage carries a MESSAGE on, unless it is for a guest or makes somebody one.
func (p *inPath) serveMessage(t *sipua.Transaction) {
	if p.Passes(t.Request) && !sipua.Emergency(t.Request) {
		ctx, cancel := context.WithTimeout(context.Background(), pageTimeout)
		defer cancel()
		if m := p.pageOf(t.Request); m.wrong == nil && p.invites(ctx, &m.approach) {
			p.servePage(ctx, t, m)
			return
		}
	}
	p.route(p.doorkeeper.ServeMessage)(t)
}

// route carries a request other than INVITE on if it goes through, and leaves it to next if not.
func (p *inPath) route(next func(*sipua.Transaction)) func(*sipua.Transaction) {
	return func(t *sipua.Transaction) {
		if !p.Passes(t.Request) {
			next(t)
			return
		}
		if t.Request.Method == sip.OPTIONS && p.shed(t) {
			return // a guest's we know; this one would be work for all behind us, too (B2.12)
		}
		crossing, refused := p.border.Open(t.Request, true)
		if refused != nil {
			p.engine.Refuse(t, refused)
			return
		}
		p.engine.Route(t, crossing)
	}
}

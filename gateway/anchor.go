package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

// renewTimeout is how long a call stands whose MSRP was lost: so long has either side to come again by re-INVITE (RFC 4975 §5.4; F38).
const renewTimeout = 30 * time.Second

// anchor takes the MSRP of one call through this gateway (X2, PROTOCOLS B4.17, B4.19): each side has the path of a leg here, and
// whatever else the session descriptions hold passes as it is, file transfers included (RFC 5547). It is b2bua's Media of a bridge.
//
// A call may have several MSRP media, each with a stream. A leg's path changes when its peer's does, so that the other peer, whose path
// stays, keeps its connection (F38).
type anchor struct {
	ports  *msrpPorts
	peers  peerPolicy
	log    *slog.Logger
	hangUp func(reason string) // ends the call; does not block
	// reoffer offers again to one side; it does not block. See b2bua.Engine.Reoffer.
	reoffer func(to b2bua.Side, offer func() ([]byte, error), answered func(fork string, answer []byte, err error))

	ctx  context.Context // ends with Close
	stop context.CancelFunc

	mu      sync.Mutex
	streams map[int]*stream      // by the medium's index
	offers  map[string]*exchange // the last one of each fork; "": the INVITE's own
	kept    *string              // the fork whose 2xx was the first
	sent    [2][]byte            // what each side was told last, until that has come to something
	plain   [2]bool              // this side is offered no CEMA
	told    [2][]byte            // what each side was told last
	ahead   [2]uint64            // so many changes of ours has this side been told of
	web     [2]bool              // this side is a browser, as far as is known
	first   []byte               // the INVITE's offer as it came, until somebody has taken it
}

// stream is one MSRP medium.
type stream struct {
	legs    [2]legPlace // what stands
	joined  *msrp.Anchor
	renewal *time.Timer // ends the call if nobody comes again
}

// legPlace is the leg towards one side, and what that side has said last.
type legPlace struct {
	port   *msrpPort
	place  msrpsdp.Place
	theirs msrpsdp.Media
}

// exchange is an offer and what came of it.
type exchange struct {
	from  b2bua.Side
	next  map[int]*proposal
	done  bool                            // its streams are joined
	forks map[string]map[int]msrpsdp.Role // what the answerer's legs have to do, by fork
}

// proposal is a stream as it is to be after the exchange.
type proposal struct {
	legs    [2]legPlace
	fresh   [2]bool // the leg has a new path
	joined  *msrp.Anchor
	offerer msrpsdp.Role
}

// newAnchor makes the anchor of a call whose sides are browsers or not.
func (w *wire) newAnchor(web [2]bool, hangUp func(reason string)) *anchor {
	a := &anchor{web: web, ports: w.ports, peers: w.peers, log: w.log, hangUp: hangUp, streams: map[int]*stream{}, offers: map[string]*exchange{}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	return a
}

// Offer gives the MSRP media of an offer the places of legs towards the side across, where they are waited for from now on.
func (a *anchor) Offer(fork string, from b2bua.Side, sdp []byte) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if fork == "" && a.kept == nil {
		a.first = sdp
	}
	return a.offer(fork, from, sdp)
}

// offer is Offer. a.mu is held.
func (a *anchor) offer(fork string, from b2bua.Side, sdp []byte) ([]byte, error) {
	media, err := msrpsdp.All(sdp)
	if err != nil || len(media) == 0 {
		a.first = nil
		return sdp, nil // what isn't about MSRP is for the two ends
	}
	x := &exchange{from: from, next: map[int]*proposal{}, forks: map[string]map[int]msrpsdp.Role{}}
	places := map[int]msrpsdp.Place{}
	for _, m := range media {
		switch {
		case m.Port == 0:
			places[m.Index] = msrpsdp.Place{Addr: a.ports.offering(true).host}
			x.next[m.Index] = nil
			continue
		case m.Err != nil:
			a.forget(x)
			return nil, m.Err
		}
		p, err := a.propose(a.streams[m.Index], from, m.Media)
		if err != nil {
			a.forget(x)
			return nil, err
		}
		x.next[m.Index] = p
		places[m.Index] = p.legs[from.Other()].place
	}
	if before := a.offers[fork]; before != nil && !before.done {
		a.forget(before)
	}
	a.offers[fork] = x
	return a.relocate(from.Other(), sdp, places)
}

// relocate writes a description for one side. a.mu is held.
func (a *anchor) relocate(to b2bua.Side, sdp []byte, places map[int]msrpsdp.Place) ([]byte, error) {
	sdp, err := msrpsdp.Relocate(sdp, places, a.ports.offering(true).host)
	next := msrpsdp.Later(sdp, a.ahead[to])
	if before := a.told[to]; bytes.Equal(originLine(next), originLine(before)) && !bytes.Equal(next, before) {
		a.ahead[to]++ // RFC 3264 §8: who wrote it has changed nothing, but our leg has moved
		next = msrpsdp.Later(sdp, a.ahead[to])
	}
	a.sent[to], a.told[to] = next, next
	return next, err
}

// originLine is the o= line of a description.
func originLine(sdp []byte) []byte {
	_, rest, _ := bytes.Cut(sdp, []byte("\r\no="))
	line, _, _ := bytes.Cut(rest, []byte("\r\n"))
	return line
}

// propose says where the legs of a stream are after an offer: where they were, unless the offerer has moved, or the connection is lost.
func (a *anchor) propose(s *stream, from b2bua.Side, m msrpsdp.Media) (*proposal, error) {
	to, p := from.Other(), &proposal{}
	alive := [2]bool{}
	if s != nil {
		p.legs = s.legs
		alive[from] = s.joined.Err() == nil && !msrpsdp.Compare(s.legs[from].theirs, m).Path
		// The connection on the far side may outlive this one's, for a while.
		alive[to] = s.joined.Err() == nil || legOf(s.joined, to).Stands()
		p.legs[to].place.CEMA = p.legs[to].place.CEMA && !a.plain[to]
	}
	p.fresh = [2]bool{!alive[0], !alive[1]}
	a.web[from] = m.WebSocket()
	if p.fresh[to] {
		port := a.ports.like(m.TLS, a.web[to], m.Addr)
		if s != nil && s.legs[to].port.web != nil { // a browser stays one
			port = s.legs[to].port
		}
		p.legs[to] = a.at(port)
		p.legs[to].place.Setup, p.legs[to].place.CEMA = msrpsdp.ActPass, !a.plain[to] && port.web == nil // TS 24.247 §8.3.1; c=/m= are the path's, so it harms nobody
	}
	own := p.legs[from]
	if p.fresh[from] {
		own = a.at(a.ports.like(m.TLS, m.WebSocket(), m.Addr))
	}
	var err error
	if own.place, p.offerer, err = own.place.Answering(m, own.port.carries(m.TLS, m.WebSocket())); err != nil {
		return nil, err
	}
	if own.place.URI.Transport = "tcp"; m.WebSocket() {
		own.place.URI.Transport = "ws"
	}
	own.place.URI.Secure = m.TLS
	if m.TLS {
		own.place.Fingerprint = msrp.FingerprintOf(*a.ports.cert())
	}
	own.theirs = m
	p.legs[from] = own
	if p.fresh[0] || p.fresh[1] {
		p.joined = a.joining(p.legs)
		for side, fresh := range p.fresh {
			leg := p.legs[side]
			if fresh && leg.listens() {
				leg.port.ExpectLeg(legOf(p.joined, b2bua.Side(side)))
			}
		}
	}
	return p, nil
}

// joining makes the session of two legs. All phones that an offer reaches have the same path, so each leg takes nobody's connection but its
// peer's: of a fork that answers and is not kept, none (RFC 4975 §11.7).
func (a *anchor) joining(legs [2]legPlace) *msrp.Anchor {
	var opt [2]msrp.LegOptions
	for side, leg := range legs {
		opt[side] = msrp.LegOptions{Local: leg.place.URI, BindTimeout: bindTimeout, Lenient: true, OnlyRemote: true}
	}
	return msrp.NewAnchor(msrp.AnchorOptions{A: opt[b2bua.SideA], B: opt[b2bua.SideB], Linger: renewTimeout, Log: a.log})
}

// at is a leg with a new path on a port.
func (a *anchor) at(port *msrpPort) legPlace {
	uri := port.NewURI()
	l := legPlace{port: port, place: msrpsdp.Place{Addr: port.host, Port: uri.Port, URI: uri, TLS: port.secure}}
	if port.secure {
		l.place.Fingerprint = msrp.FingerprintOf(*a.ports.cert())
	}
	return l
}

// listens reports whether the peer may connect: the port is of the leg's transport.
func (l legPlace) listens() bool {
	return l.port.carries(l.place.TLS, l.place.URI.Transport == "ws")
}

func legOf(a *msrp.Anchor, side b2bua.Side) *msrp.AnchorLeg {
	if side == b2bua.SideA {
		return a.A()
	}
	return a.B()
}

// Answer gives the media of an answer the places of the legs towards the offerer. The streams are joined once the call stands.
func (a *anchor) Answer(fork string, from b2bua.Side, sdp []byte) ([]byte, error) {
	media, err := msrpsdp.All(sdp)
	a.mu.Lock()
	defer a.mu.Unlock()
	x := a.offers[fork]
	if x == nil || x.from == from {
		x = a.offers[""]
	}
	if err != nil || x == nil || len(x.next) == 0 {
		return sdp, nil
	}
	places, roles := map[int]msrpsdp.Place{}, map[int]msrpsdp.Role{}
	for _, m := range media {
		p, ours := x.next[m.Index]
		switch {
		case !ours:
			continue
		case p == nil || m.Port == 0:
			places[m.Index] = msrpsdp.Place{Addr: a.ports.offering(true).host}
			continue
		case m.Err != nil:
			return nil, m.Err
		}
		role, err := p.legs[from].place.Concluding(m.Media)
		if err != nil {
			return nil, err
		}
		roles[m.Index] = role
		a.web[from] = m.WebSocket()
		places[m.Index] = p.legs[x.from].place
	}
	x.forks[fork] = roles
	sdp, err = a.relocate(x.from, sdp, places)
	if a.kept != nil && *a.kept == fork {
		a.settle(x, fork)
	}
	return sdp, err
}

// Kept joins what the fork that has won has answered, if the answer is there already: with a late offer it comes in the ACK.
func (a *anchor) Kept(fork string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.kept, a.first = &fork, nil
	for _, of := range []string{fork, ""} {
		if x := a.offers[of]; x != nil && x.forks[fork] != nil {
			a.settle(x, fork)
			break
		}
	}
	for of, x := range a.offers {
		if of != fork && of != "" {
			a.forget(x)
			delete(a.offers, of)
		}
	}
}

// Rejected leaves everything as it was.
func (a *anchor) Rejected(fork string, from b2bua.Side) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if x := a.offers[fork]; x != nil && x.from == from && !x.done {
		a.forget(x)
		delete(a.offers, fork)
	}
}

// Close ends all streams.
func (a *anchor) Close() {
	a.stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, x := range a.offers {
		if !x.done {
			a.forget(x)
		}
	}
	for i := range a.streams {
		a.end(i)
	}
}

// forget closes what was opened for an offer that comes to nothing. a.mu is held.
func (a *anchor) forget(x *exchange) {
	for _, p := range x.next {
		if p != nil && p.joined != nil {
			_ = p.joined.Close()
		}
	}
}

// end ends a stream. a.mu is held.
func (a *anchor) end(i int) {
	s := a.streams[i]
	if s == nil {
		return
	}
	if s.renewal != nil {
		s.renewal.Stop()
	}
	_ = s.joined.Close()
	delete(a.streams, i)
}

// settle joins the streams as offer and answer say. a.mu is held.
func (a *anchor) settle(x *exchange, fork string) {
	if x.done {
		return
	}
	x.done = true
	again := false
	for i, p := range x.next {
		role, on := x.forks[fork][i]
		if p == nil || !on {
			if p != nil && p.joined != nil {
				_ = p.joined.Close()
			}
			a.end(i)
			continue
		}
		to := x.from.Other()
		before := a.streams[i]
		moved := before != nil && msrpsdp.Compare(before.legs[to].theirs, role.Peer).Path
		if moved && p.joined == nil { // the answerer has moved by itself
			if leg := legOf(before.joined, to); !role.Active && !isBound(leg) { // and nobody has come yet: what waits for them waits on
				leg.Trust(role.Peer.Fingerprints...)
				leg.SetRemote(role.Remote)
			} else {
				p.joined = a.joining(p.legs)
			}
		}
		p.legs[to].theirs = role.Peer
		if p.joined == nil { // nothing has moved
			before.legs = p.legs
			continue
		}
		s := &stream{legs: p.legs, joined: p.joined}
		for side, r := range map[b2bua.Side]msrpsdp.Role{x.from: p.offerer, to: role} {
			a.connect(s, side, r, before, p.fresh[side] || side == to && moved)
		}
		if before != nil {
			a.end(i)
		}
		a.streams[i] = s
		go a.watch(s) // ends with the anchor, which ends with the call
		again = again || before == nil && p.legs[to].place.CEMA && msrpsdp.FallBack(role.Peer, role.Active, false)
	}
	if to := x.from.Other(); again {
		a.plain[to] = true
		a.fallBack(to)
	} else {
		a.sent = [2][]byte{}
	}
}

func isBound(leg *msrp.AnchorLeg) bool {
	select {
	case <-leg.Bound():
		return true
	default:
		return false
	}
}

// connect brings one leg up: over the connection that stands, or by whichever side is the active one. a.mu is held.
func (a *anchor) connect(s *stream, side b2bua.Side, role msrpsdp.Role, before *stream, fresh bool) {
	leg, at := legOf(s.joined, side), s.legs[side]
	leg.Trust(role.Peer.Fingerprints...)
	leg.SetRemote(role.Remote)
	if !fresh && before != nil && leg.TakeOver(legOf(before.joined, side)) {
		return
	}
	if !role.Active {
		if at.listens() {
			at.port.ExpectLeg(leg)
		}
		return
	}
	go func() { // ends by its timeout, or with the call
		ctx, cancel := context.WithTimeout(a.ctx, bindTimeout)
		defer cancel()
		at.port.ForgetLeg(leg)
		if err := leg.Connect(ctx, a.peers.dial, role.Dial, a.ports.dialTLS(role.Peer)); err != nil {
			a.log.Info("anchored msrp not connected", "side", side.String(), "address", role.Dial, latchkey.LogError, err)
			_ = s.joined.Close()
		}
	}()
}

// watch waits for the end of a stream. A connection that is lost may come again; one that never came, or comes no more, ends the call.
func (a *anchor) watch(s *stream) {
	select {
	case <-s.joined.Done():
	case <-a.ctx.Done():
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	current := false
	for _, other := range a.streams {
		current = current || other == s
	}
	if !current || a.ctx.Err() != nil {
		return
	}
	err := s.joined.Err()
	a.log.Info("anchored msrp lost", latchkey.LogError, err)
	again := renewTimeout
	if errors.Is(err, msrp.ErrNotBound) || errors.Is(err, msrp.ErrClosed) {
		again = 0
	}
	s.renewal = time.AfterFunc(again, func() {
		if a.ctx.Err() == nil {
			a.hangUp(fmt.Sprintf(`SIP;cause=%d;text="Media bearer lost"`, latchkey.KindUnavailable.Row().SIP))
		}
	})
}

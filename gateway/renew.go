package gateway

import (
	"context"
	"errors"
	"time"

	"latchkey"
	"latchkey/msrp"
	"latchkey/msrp/msrpsdp"
)

const (
	// lossGrace is how long the inviter's phone has, once the connection is lost, to hang up or to come again by itself.
	lossGrace = 500 * time.Millisecond
	// renewWithin is how long a re-INVITE of ours may take, ringing at nobody.
	renewWithin = 15 * time.Second
	// maxRenewals is how often in a row a new connection may be lost before any message went over it.
	maxRenewals = 3
)

// current is the channel's session at present, and what is closed when another one takes its place.
func (ch *channel) current() (s *msrp.Session, moved <-chan struct{}) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	return ch.session, ch.moved
}

// stand notes what offer and answer came to, once MSRP is up. From then on the session may get another path.
func (ch *channel) stand(s *msrpsdp.Standing, err error) error {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.standing = s
	return err
}

// fruitful notes that a message went over the connection, so that a loss of it is worth a new one.
func (ch *channel) fruitful() {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.renewals = 0
}

// reoffer answers a re-INVITE of the inviter's phone. It runs in the leg's loop. A new path makes a new session in the same call, over
// which what was under way goes again (RFC 4975 §5.4; F38); port 0 ends the channel; all else leaves the connection as it is.
func (ch *channel) reoffer(offer []byte) (answer []byte, err error) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.standing == nil {
		return nil, errLeaving
	}
	change, err := ch.standing.Change(offer)
	if err != nil {
		return nil, err
	}
	var role msrpsdp.Role
	if change.Off || !change.Path {
		answer, role, _, err = ch.standing.Answer(offer, ch.standing.Local(), msrpsdp.Passive)
		switch {
		case err != nil:
		case change.Off:
			go ch.session.Close() // does not block for long; watch hangs up
		default:
			ch.media = role.Peer
		}
		return answer, err
	}
	for _, port := range ch.wire.ports.answering(offer) {
		next := ch.newSession(port.NewURI())
		if answer, role, _, err = ch.standing.Answer(offer, ch.at(port, next), msrpsdp.Passive); err == nil {
			port.Expect(next)
			ch.move(port, next, role)
			return answer, nil
		}
	}
	return nil, err
}

// at is what our side says of itself when it moves to a new session. ch.mu is held.
func (ch *channel) at(port *msrpPort, next *msrp.Session) msrpsdp.Local {
	local, place := ch.standing.Local(), ch.wire.ports.describe(port, next.Local())
	local.Addr, local.Port, local.URI, local.TLS, local.Fingerprint = place.Addr, place.Port, place.URI, place.TLS, place.Fingerprint
	return local
}

// move makes next the channel's session, which is brought up beside; the one before is over. ch.mu is held.
func (ch *channel) move(port *msrpPort, next *msrp.Session, role msrpsdp.Role) {
	old, from := ch.session, ch.port
	next.Trust(role.Peer.Fingerprints...)
	next.SetRemote(role.Remote) // before anybody sends by it
	ch.session, ch.port, ch.media = next, port, role.Peer
	close(ch.moved)
	ch.moved = make(chan struct{})
	if ch.renewing != nil {
		ch.renewing() // what we were about to ask for is there
	}
	go func() { // ends within bindTimeout, or with the session
		from.Forget(old)
		_ = old.Close()
		if !role.Active {
			return // who does not come in time ends the session
		}
		ctx, cancel := context.WithTimeout(context.Background(), bindTimeout)
		defer cancel()
		port.Forget(next)
		if err := next.Connect(ctx, ch.wire.peers.dial, role.Dial, ch.wire.ports.dialTLS(role.Peer)); err != nil {
			ch.wire.log.Info("msrp not connected again", latchkey.LogCallID, ch.leg.CallID(), "address", role.Dial, latchkey.LogError, err)
			_ = next.Close()
		}
	}()
}

// renew offers the inviter's phone a new path in the same call when the connection of s was lost, unless the phone does so first. False: the
// channel is over.
func (ch *channel) renew(s *msrp.Session, moved <-chan struct{}) bool {
	if !lost(s.Err()) {
		return false
	}
	grace := time.NewTimer(lossGrace)
	defer grace.Stop()
	select {
	case <-moved:
		return true
	case <-ch.leg.Done():
		return false
	case <-grace.C:
	}
	ctx, cancel := context.WithTimeout(context.Background(), renewWithin)
	defer cancel()
	err := ch.offerAgain(ctx, cancel, s)
	if err != nil {
		ch.wire.log.Info("msrp lost and not renewed", latchkey.LogCallID, ch.leg.CallID(), latchkey.LogError, err)
	}
	return err == nil
}

// lost reports whether a session ended since its connection did: not by us, and not by the peer's word.
func lost(err error) bool {
	_, said := errors.AsType[*msrp.StatusError](err)
	return !said && !errors.Is(err, msrp.ErrClosed) && !errors.Is(err, msrp.ErrNotBound) && !errors.Is(err, msrp.ErrFingerprint)
}

var (
	errTooOften = errors.New("the connection is lost again and again")
	errLeaving  = errors.New("the channel is being closed, or is not up yet")
)

// offerAgain sends our re-INVITE for another session than s. It returns nil also where the peer's own was first.
func (ch *channel) offerAgain(ctx context.Context, cancel context.CancelFunc, s *msrp.Session) error {
	ch.mu.Lock()
	if ch.session != s {
		ch.mu.Unlock()
		return nil
	}
	if ch.standing == nil {
		ch.mu.Unlock()
		return errLeaving
	}
	if ch.renewals++; ch.renewals > maxRenewals {
		ch.mu.Unlock()
		return errTooOften
	}
	port, standing := ch.port, ch.standing
	next := ch.newSession(port.NewURI())
	local := ch.at(port, next)
	local.Setup, local.CEMA = msrpsdp.ActPass, port.web == nil
	offer, err := standing.Offer(local)
	ch.renewing = cancel
	ch.mu.Unlock()
	var answer []byte
	if err == nil {
		port.Expect(next)
		answer, err = ch.leg.Reoffer(ctx, offer)
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	ch.renewing = nil
	if first := ch.session != s; first || err != nil {
		port.Forget(next)
		_ = next.Close()
		if first {
			return nil
		}
		return err
	}
	role, _, _, err := standing.Conclude(local, offer, answer)
	switch {
	case err != nil:
	case role.FallBack:
		err = errors.New("the answer's place is not its path's (RFC 6714 §4.2)")
	case ch.standing == nil:
		err = errLeaving
	}
	if err != nil {
		port.Forget(next)
		_ = next.Close()
		return err
	}
	ch.move(port, next, role)
	return nil
}

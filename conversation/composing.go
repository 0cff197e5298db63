package conversation

import (
	"context"
	"errors"
	"time"

	"latchkey"
	"latchkey/cpim"
)

const (
	// composingRefresh is how often an active state is repeated at least (RFC 3994 §3.3: 60 s and up).
	composingRefresh = 60 * time.Second
	// maxLapse bounds how long an inviter's phone may say that somebody types without repeating it.
	maxLapse = 10 * time.Minute
	// minRepeat is how often a lasting state of the inviter is told at most.
	minRepeat = 15 * time.Second
	// idleLapse is how long the end of an inviter's composing is told, to who saw its beginning.
	idleLapse = 24 * time.Hour
)

// composer is one side's composing state and what the other side was told of it. One telling is under way at a
// time, so that active and idle can't overtake each other.
type composer struct {
	active bool
	hold   time.Duration // how long an active state holds without a repeat (RFC 3994 §3.3)
	lapse  *time.Timer   // ends it then

	told    bool // what the other side knows
	toldAt  time.Time
	telling bool
	mute    bool // the other side doesn't understand it
}

// set takes a new state, which lapses after hold if it is active.
func (c *composer) set(active bool, hold time.Duration) {
	c.active, c.hold = active, hold
	c.lapse.Stop()
	if active {
		c.lapse.Reset(hold)
	}
}

// repeat lets the other side be told again of a state that lasts, if the last time is long enough ago.
func (c *composer) repeat(after time.Duration) {
	if c.active && c.told && time.Since(c.toldAt) >= after {
		c.told = false
	}
}

// rest is the state after a message, which both sides know to be idle.
func (c *composer) rest() {
	c.set(false, 0)
	c.told = false
}

// composes notes the inviter's composing state and tells the guest of changes, and of one that lasts before
// the event of it has lapsed.
func (r *room) composes(active bool, hold time.Duration) {
	r.inviter.set(active, min(hold, maxLapse))
	r.inviter.repeat(max(r.inviter.hold/2, minRepeat))
	r.tellComposing()
}

// heard ends the inviter's composing: a message came (RFC 3994 §3.2). Whoever writes is there.
func (r *room) heard() {
	r.idleAgain()
	r.returned()
	r.composes(false, 0)
}

func (r *room) tellComposing() {
	c := &r.inviter
	if c.telling || c.active == c.told || r.ending {
		return
	}
	now := time.Now().UTC()
	e := latchkey.Event{Type: latchkey.ComposingEvent, Time: now, Account: r.rel.Account, From: string(r.rel.Inviter), State: "idle", Lapses: now.Add(idleLapse)}
	if c.active {
		e.State, e.Lapses = "active", now.Add(c.hold)
	}
	c.telling, c.told, c.toldAt = true, c.active, time.Now()
	r.beside(func() func(*room) { // ends with storeTimeout
		ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
		defer cancel()
		if err := r.hall.Post(ctx, e); err != nil {
			r.hall.log.Debug("composing not told", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
		return func(r *room) {
			r.inviter.telling = false
			r.tellComposing()
		}
	})
}

// Composing tells the inviter that the guest is typing, if a channel is open. It opens none.
func (h *Hall) Composing(_ context.Context, rel latchkey.Relation, active bool) error {
	return h.visit(rel, func(r *room) { r.types(active) })
}

// types notes the guest's composing state and sends changes on an open channel. A state that lasts is repeated
// as often as the guest's client does, and half a refresh apart at least.
func (r *room) types(active bool) {
	if r.channel == nil || r.ending {
		return
	}
	r.guest.set(active, cpim.DefaultRefresh)
	r.guest.repeat(composingRefresh / 2)
	r.sendComposing()
}

func (r *room) sendComposing() {
	c, ch := &r.guest, r.channel
	if c.telling || c.active == c.told || c.mute || ch == nil || r.ending {
		return
	}
	c.telling, c.told, c.toldAt = true, c.active, time.Now()
	body := cpim.Composing{Active: c.active, ContentType: "text/plain", Refresh: composingRefresh}.XML()
	r.beside(func() func(*room) { // ends with sendTimeout
		ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
		defer cancel()
		contentType := cpim.ComposingType
		if ch.AcceptsWrapped(contentType) {
			if wrapped, err := wrap(r.rel, contentType, body).Bytes(); err == nil {
				contentType, body = cpim.Type, wrapped
			}
		}
		err := ch.Send(ctx, latchkey.NewToken(), contentType, body)
		if err != nil {
			r.hall.log.Debug("composing not sent", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
		_, refused := errors.AsType[*MSRPRefused](err)
		if no, ok := errors.AsType[*CallRefused](err); ok {
			_, refused = verdict(no.Code)
		}
		return func(r *room) {
			r.guest.telling = false
			// PROTOCOLS B3.11: who doesn't understand it is not told again.
			r.guest.mute = r.guest.mute || refused && r.channel == ch
			r.sendComposing()
		}
	})
}

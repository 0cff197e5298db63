package conversation

import (
	"context"
	"errors"
	"time"

	"latchkey"
	"latchkey/cpim"
)

const (
	dialTimeout  = 90 * time.Second // ringing and a slow connection (F32) included
	sendTimeout  = 60 * time.Second
	storeTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
	// composingRefresh is how often an active state is repeated at least (RFC 3994 §3.3: 60 s and up).
	composingRefresh = 60 * time.Second
)

// room is the loop of one relation. Its fields are touched by its loop alone; what blocks (dial,
// send, store) runs beside it and posts its result back.
type room struct {
	hall  *Hall
	rel   latchkey.Relation
	inbox chan func(*room)

	channel Channel
	dialing context.CancelFunc // of the dial that is out
	busy    bool               // a worker is sending what waits
	again   bool               // something came while it was
	ending  bool               // the relation ends: nothing new starts
	ringing int                // the inviter's own calls that are being taken

	retries   int
	retry     *time.Timer // next attempt to reach the inviter
	idle      *time.Timer // the channel's
	leave     *time.Timer
	composing *time.Timer // the inviter's active state lapses
}

func newRoom(h *Hall, rel latchkey.Relation) *room {
	stopped := func() *time.Timer {
		t := time.NewTimer(time.Hour)
		t.Stop()
		return t
	}
	return &room{
		hall: h, rel: rel, inbox: make(chan func(*room), 64),
		retry: stopped(), idle: stopped(), leave: time.NewTimer(h.opt.LeaveAfter), composing: stopped(),
	}
}

func (r *room) loop() {
	defer func() {
		for _, t := range []*time.Timer{r.retry, r.idle, r.leave, r.composing} {
			t.Stop()
		}
	}()
	for {
		var gone <-chan struct{}
		if r.channel != nil {
			gone = r.channel.Done()
		}
		select {
		case f := <-r.inbox:
			f(r)
			r.leave.Reset(r.hall.opt.LeaveAfter)
		case <-gone:
			r.channel = nil
			r.idle.Stop()
			r.wake() // what was in flight goes again, under the same id (F38)
		case <-r.retry.C:
			r.wake()
		case <-r.idle.C:
			r.hangUp("idle")
		case <-r.composing.C:
			r.tellComposing(false)
		case <-r.leave.C:
			if r.channel != nil || r.dialing != nil || r.busy || r.retries > 0 {
				r.leave.Reset(r.hall.opt.LeaveAfter)
				continue
			}
			if r.hall.leave(r) {
				return
			}
			r.leave.Reset(r.hall.opt.LeaveAfter)
		case <-r.hall.ctx.Done():
			r.shut()
			return
		}
		if r.ending && r.channel == nil && r.dialing == nil && !r.busy && r.hall.leave(r) {
			return
		}
	}
}

// back posts a worker's result to the loop. Unlike Hall.post it waits for room in the mailbox, since
// a result must not be lost; workers aren't loops.
func (r *room) back(f func(*room)) {
	select {
	case r.inbox <- f:
	case <-r.hall.ctx.Done():
	}
}

// wake looks whether anything waits, and sends or dials.
func (r *room) wake() {
	r.retry.Stop()
	switch {
	case r.ending:
	case r.busy:
		r.again = true
	case r.dialing != nil: // the channel's opening will look
	default:
		r.busy, r.again = true, false
		ch := r.channel
		r.hall.running.Go(func() { // ends with its store and send calls, which have deadlines
			result := r.deliver(ch)
			r.back(func(r *room) { r.delivered(ch, result) })
		})
	}
}

// delivery is what a worker comes back with.
type delivery struct {
	needChannel bool
	sent        bool  // something went out
	err         error // the channel or the store failed
}

// deliver sends all that waits on the channel, in order. It runs beside the loop.
func (r *room) deliver(ch Channel) delivery {
	var d delivery
	for {
		ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
		messages, receipts, err := r.hall.store.Waiting(ctx, r.rel.ID)
		cancel()
		if err != nil {
			d.err = err
			return d
		}
		if len(messages) == 0 && len(receipts) == 0 {
			return d
		}
		if ch == nil {
			d.needChannel = true
			return d
		}
		// Receipts first: they are about what came before what the guest wrote.
		for _, receipt := range receipts {
			if d.err = r.sendReceipt(ch, receipt); d.err != nil {
				return d
			}
			d.sent = true
		}
		for _, m := range messages {
			if d.err = r.sendMessage(ch, m); d.err != nil {
				return d
			}
			d.sent = true
		}
	}
}

func (r *room) sendMessage(ch Channel, m latchkey.Message) error {
	body, err := envelope(r.rel, m)
	if err != nil {
		return r.move(m.ID, latchkey.MessageFailed, "It can't be written as a message.")
	}
	if limit := ch.MaxSize(); limit > 0 && int64(len(body)) > limit {
		return r.move(m.ID, latchkey.MessageFailed, "It is too long for the inviter's phone.")
	}
	ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
	defer cancel()
	err = ch.Send(ctx, string(m.ID), cpim.Type, body)
	var refused *MSRPRefused
	if errors.As(err, &refused) {
		switch refused.Code {
		case 413, 415, 403, 400:
			// The peer wants this message not; the session goes on (RFC 4975 §10).
			return r.move(m.ID, latchkey.MessageFailed, "The inviter's phone did not take it.")
		}
	}
	if err != nil {
		return err
	}
	return r.move(m.ID, latchkey.MessageSent, "")
}

func (r *room) sendReceipt(ch Channel, receipt latchkey.Receipt) error {
	id, body, err := notification(r.rel, receipt)
	if err == nil && ch.AcceptsWrapped(cpim.IMDNType) {
		ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
		defer cancel()
		err = ch.Send(ctx, id, cpim.Type, body)
		var refused *MSRPRefused
		if err != nil && !errors.As(err, &refused) {
			return err
		}
	}
	// B5.06: a type that the peer did not list is not sent. Refused or not, it is not sent again.
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	return r.hall.store.ReceiptSent(ctx, receipt)
}

func (r *room) move(id latchkey.MessageID, to latchkey.MessageState, reason string) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	_, err := r.hall.store.Move(ctx, id, to, reason)
	r.hall.wakeStreams(r.rel.Account)
	return err
}

func (r *room) delivered(ch Channel, d delivery) {
	r.busy = false
	if d.sent && r.channel != nil {
		r.idle.Reset(r.hall.opt.IdleTimeout)
	}
	switch {
	case r.ending:
		r.hangUp("")
	case d.err != nil:
		r.hall.log.Info("not delivered yet", latchkey.LogRelation, r.rel.ID, latchkey.LogError, d.err)
		if ch != nil && r.channel == ch {
			r.hangUp("error")
		}
		r.later(0)
	case d.needChannel && r.channel == nil:
		r.dial()
	case d.needChannel || r.again:
		r.wake()
	default:
		r.retries = 0
	}
}

// later sets the next attempt: doubling waits, or what the peer asked for if that is longer.
func (r *room) later(atLeast time.Duration) {
	wait := r.hall.opt.Retry << min(r.retries, 6)
	r.retries++
	r.retry.Reset(max(wait, atLeast))
}

// dial opens a channel beside the loop: late registration first (R26, F27), then the call.
func (r *room) dial() {
	ctx, cancel := context.WithTimeout(r.hall.ctx, dialTimeout)
	r.dialing = cancel
	r.hall.running.Go(func() { // ends with dialTimeout at the latest
		defer cancel()
		ch, err := r.call(ctx)
		posted := false
		r.back(func(r *room) {
			r.dialing = nil
			r.dialed(ch, err)
		})
		posted = r.hall.ctx.Err() == nil
		if !posted && ch != nil {
			closing, done := context.WithTimeout(context.Background(), closeTimeout)
			defer done()
			_ = ch.Close(closing, "")
		}
	})
}

func (r *room) call(ctx context.Context) (Channel, error) {
	if r.hall.registrar != nil {
		if err := r.hall.registrar.Ensure(ctx, r.rel.Account, latchkey.IM); err != nil {
			return nil, err
		}
	}
	id, err := r.hall.store.ConversationID(ctx, r.rel.ID)
	if err != nil {
		return nil, err
	}
	return r.hall.dialer.Dial(ctx, r.rel, CallOptions{ConversationID: id, ContributionID: latchkey.NewToken()}, &receiver{r.hall, r.rel})
}

func (r *room) dialed(ch Channel, err error) {
	if err == nil {
		r.adopt(ch)
		return
	}
	if r.ringing > 0 {
		return // glare: the inviter's own call is being taken, ours was given up (F36)
	}
	if r.channel != nil || r.ending {
		r.wake()
		return
	}
	var refused *CallRefused
	if errors.As(err, &refused) {
		if reason, final := verdict(refused.Code); final {
			r.fail(reason)
			return
		}
		r.later(refused.RetryAfter)
	} else {
		r.later(latchkey.RetryAfter(err))
	}
	r.hall.log.Info("inviter not reached", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
}

// verdict says of a response to an INVITE whether it is the last word, and why in words for the guest
// (F35). Who is merely away (480, 408) or whose network has trouble (5xx) is tried again (F34).
func verdict(code int) (reason string, final bool) {
	switch code {
	case 486, 600:
		return "The inviter is busy.", true
	case 603, 607, 608:
		return "The inviter declined.", true
	case 403:
		return "The network does not allow this chat.", true
	case 404, 604, 410, 484:
		return "The inviter is not known to the network.", true
	case 415, 488, 606:
		return "The inviter's phone can't chat.", true
	case 408, 480, 487, 491:
		return "", false
	}
	if code >= 500 && code < 600 {
		return "", false
	}
	return "The inviter can't be reached.", true
}

// fail gives up all that waits: each message is told as failed, with the reason.
func (r *room) fail(reason string) {
	r.retries = 0
	r.busy = true
	r.hall.running.Go(func() { // ends with its store calls
		ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
		defer cancel()
		messages, receipts, err := r.hall.store.Waiting(ctx, r.rel.ID)
		for _, m := range messages {
			err = errors.Join(err, r.move(m.ID, latchkey.MessageFailed, reason))
		}
		for _, receipt := range receipts {
			err = errors.Join(err, r.hall.store.ReceiptSent(ctx, receipt))
		}
		r.back(func(r *room) { r.delivered(nil, delivery{err: err}) })
	})
}

// adopt takes a channel as the room's. One that stood before is closed: of two, the newer lives (F36).
func (r *room) adopt(ch Channel) {
	if r.ending {
		r.closeAside(ch, "")
		return
	}
	if r.dialing != nil {
		r.dialing()
	}
	if old := r.channel; old != nil {
		r.closeAside(old, "")
	}
	r.channel = ch
	r.retries = 0
	r.idle.Reset(r.hall.opt.IdleTimeout)
	r.wake()
}

// yield gives up a call of ours that is out, since the inviter's own has come.
func (r *room) yield() {
	r.ringing++
	if r.dialing != nil {
		r.dialing()
	}
}

// taken notes that an inviter's call was taken, or wasn't: ch is nil then.
func (r *room) taken(ch Channel) {
	r.ringing--
	if ch != nil {
		r.adopt(ch)
		return
	}
	r.wake()
}

func (r *room) closeAside(ch Channel, reason string) {
	r.hall.running.Go(func() { // ends with closeTimeout
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = ch.Close(ctx, reason)
	})
}

func (r *room) hangUp(reason string) {
	if r.channel == nil {
		return
	}
	ch := r.channel
	r.channel = nil
	r.idle.Stop()
	r.closeAside(ch, reason)
}

// end closes the conversation and closes done when the BYE was answered.
func (r *room) end(done chan struct{}) {
	r.ending = true
	r.retry.Stop()
	r.composing.Stop()
	if r.dialing != nil {
		r.dialing()
	}
	ch := r.channel
	r.channel = nil
	r.idle.Stop()
	r.hall.running.Go(func() { // ends with closeTimeout
		defer close(done)
		if ch != nil {
			ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
			defer cancel()
			_ = ch.Close(ctx, "")
		}
	})
}

// shut is the end of the process: the channel gets its BYE, what waits stays in the store.
func (r *room) shut() {
	if r.channel != nil {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = r.channel.Close(ctx, "")
	}
}

// composes notes the inviter's composing state and tells the guest of changes.
func (r *room) composes(c cpim.Composing) {
	if r.ending {
		return
	}
	if !c.Active {
		r.composing.Stop()
		r.tellComposing(false)
		return
	}
	r.composing.Reset(c.Lapse()) // RFC 3994 §3.3: it lapses without a repeat
	r.tellComposing(true)
}

// heard ends the inviter's composing: a message came (RFC 3994 §3.2).
func (r *room) heard() {
	if r.channel != nil {
		r.idle.Reset(r.hall.opt.IdleTimeout)
	}
	r.composing.Stop()
}

func (r *room) tellComposing(active bool) {
	state := "idle"
	if active {
		state = "active"
	}
	r.hall.running.Go(func() { // ends with storeTimeout
		ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
		defer cancel()
		if err := r.hall.Post(ctx, latchkey.Event{Type: latchkey.ComposingEvent, Account: r.rel.Account, From: string(r.rel.Inviter), State: state}); err != nil {
			r.hall.log.Debug("composing not told", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
	})
}

// typing sends the guest's composing state on an open channel.
func (r *room) typing(active bool) {
	if r.channel == nil || r.ending {
		return
	}
	ch, c := r.channel, cpim.Composing{Active: active, ContentType: "text/plain", Refresh: composingRefresh}
	r.hall.running.Go(func() { // ends with sendTimeout
		ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
		defer cancel()
		contentType, body := cpim.ComposingType, c.XML()
		if ch.AcceptsWrapped(cpim.ComposingType) {
			if wrapped, err := wrap(r.rel, contentType, body).Bytes(); err == nil {
				contentType, body = cpim.Type, wrapped
			}
		}
		if err := ch.Send(ctx, latchkey.NewToken(), contentType, body); err != nil {
			r.hall.log.Debug("composing not sent", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
	})
}

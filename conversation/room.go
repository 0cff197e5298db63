package conversation

import (
	"context"
	"time"

	"latchkey"
)

const (
	dialTimeout  = 90 * time.Second // ringing and a slow connection (F32) included
	sendTimeout  = 60 * time.Second
	storeTimeout = 10 * time.Second
	closeTimeout = 5 * time.Second
	// replaceGrace is how long a channel that another took the place of may finish its message (F36).
	replaceGrace = 3 * time.Second
)

// idleReason is why an idle channel is closed, as a Reason field value (RFC 3326; PROTOCOLS B3.06).
const idleReason = `SIP;cause=200;text="Call completed"`

// room is the loop of one relation. Its fields are touched by its loop alone; what blocks (dial,
// send, store) runs beside it and posts its result back. A loop does not end before all of these
// have come back, so that no channel is left without an owner.
type room struct {
	hall  *Hall
	rel   latchkey.Relation
	inbox chan func(*room)
	more  chan struct{} // a token: something waits in the store. It is never lost to a full inbox
	left  chan struct{} // closed by the loop when it has ended

	channel Channel
	dialing context.CancelFunc               // of our call that is out
	givenUp bool                             // our call was cancelled for the inviter's own (F36)
	ringing map[*receiver]context.CancelFunc // the inviter's own calls that are being taken
	worker  *worker                          // delivers what waits; nil: nobody does
	again   bool                             // something came while it did
	aside   int                              // channels that are being closed, and events that are being told
	ending  bool                             // nothing new starts

	tried    []chan<- struct{} // closed when what waited was sent or could not be
	retries  int
	seen     bool        // the inviter came online while an attempt was under way
	earliest time.Time   // nothing goes out before it
	retry    *time.Timer // next attempt to reach the inviter
	idle     *time.Timer // the channel's
	leave    *time.Timer

	inviter composer
	guest   composer
	freight freight
}

// worker is one delivery beside the loop.
type worker struct {
	stop chan struct{} // closed by the loop: end after the message at hand
	done chan struct{} // closed by the worker
}

func newRoom(h *Hall, rel latchkey.Relation) *room {
	return &room{
		hall: h, rel: rel, inbox: make(chan func(*room), 64), more: make(chan struct{}, 1), left: make(chan struct{}),
		ringing: map[*receiver]context.CancelFunc{},
		retry:   stopped(), idle: stopped(), leave: time.NewTimer(h.opt.LeaveAfter),
		inviter: composer{lapse: stopped()}, guest: composer{lapse: stopped()}, freight: newFreight(),
	}
}

// stopped makes a timer that does not run.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (r *room) loop() {
	defer close(r.left)
	defer r.tell()
	defer func() {
		for _, t := range []*time.Timer{r.retry, r.idle, r.leave, r.inviter.lapse, r.guest.lapse, r.freight.retry} {
			t.Stop()
		}
	}()
	draining := r.hall.draining
	for {
		var gone <-chan struct{}
		if r.channel != nil {
			gone = r.channel.Done()
		}
		select {
		case f := <-r.inbox:
			f(r)
		case <-r.more:
			r.wake()
			r.carry()
		case <-r.freight.retry.C:
			r.carry()
		case <-gone:
			r.lose()
			r.wake() // what was in flight goes again, under the same id (F38)
		case <-r.retry.C:
			r.wake()
		case <-r.idle.C:
			if r.worker != nil {
				r.idle.Reset(r.hall.opt.IdleTimeout)
			} else {
				r.hangUp(idleReason)
			}
		case <-r.inviter.lapse.C:
			r.composes(false, 0)
		case <-r.guest.lapse.C:
			r.types(false)
		case <-draining:
			draining = nil
			r.drain()
		case <-r.leave.C:
			if r.settled() && r.retries == 0 && r.freight.retries == 0 && !r.inviter.active && r.hall.leave(r) {
				return
			}
		}
		if len(r.tried) > 0 && r.worker == nil && r.dialing == nil && len(r.more) == 0 {
			r.tell()
		}
		if r.ending && r.settled() && r.hall.leave(r) {
			return
		}
		r.leave.Reset(r.hall.opt.LeaveAfter)
	}
}

// settled reports whether the room holds no channel and waits for nobody.
func (r *room) settled() bool {
	return r.channel == nil && r.dialing == nil && r.worker == nil && len(r.ringing) == 0 && r.aside == 0 && r.freight.settled()
}

// back posts a result to the loop. Unlike Hall.post it waits for room in the mailbox, since a result must not
// be lost; who calls it is no loop, and is waited for by settled.
func (r *room) back(f func(*room)) { r.inbox <- f }

// beside runs f beside the loop and then, in the loop, what f returned.
func (r *room) beside(f func() func(*room)) {
	r.aside++
	r.hall.running.Go(func() { // f bounds its own time
		then := f()
		r.back(func(r *room) {
			r.aside--
			if then != nil {
				then(r)
			}
		})
	})
}

// wake looks whether anything waits, and sends or dials.
func (r *room) wake() {
	switch {
	case r.ending:
	case r.worker != nil:
		r.again = true
	case r.channel == nil && (r.dialing != nil || len(r.ringing) > 0): // the channel's opening will look
	case time.Now().Before(r.earliest):
		r.retry.Reset(time.Until(r.earliest))
	default:
		r.retry.Stop()
		ch, files := r.channel, r.freight.byHTTP
		if ch != nil {
			r.freight.handed, r.freight.byHTTP = files, nil
		}
		r.work(ch, func(w *worker) delivery { return r.deliver(w, ch, files) })
	}
}

// work runs a worker beside the loop; there is one at a time.
func (r *room) work(ch Channel, f func(*worker) delivery) {
	w := &worker{stop: make(chan struct{}), done: make(chan struct{})}
	r.worker, r.again = w, false
	r.hall.running.Go(func() { // ends with its store and send calls, which have deadlines
		result := f(w)
		close(w.done)
		r.back(func(r *room) { r.delivered(ch, result) })
	})
}

// interrupt ends the worker after the message at hand.
func (r *room) interrupt() {
	if r.worker == nil {
		return
	}
	select {
	case <-r.worker.stop:
	default:
		close(r.worker.stop)
	}
}

func (r *room) delivered(ch Channel, d delivery) {
	r.worker = nil
	if d.sent {
		r.retries = 0
		r.idleAgain()
	}
	if d.spoke {
		r.guest.rest() // RFC 3994 §3.2: a message ends composing
	}
	if d.err != nil {
		r.hall.log.Info("not delivered yet", latchkey.LogRelation, r.rel.ID, latchkey.LogError, d.err)
	}
	r.freight.handed, r.freight.byHTTP = nil, append(d.unsent, r.freight.byHTTP...)
	switch {
	case r.ending:
		r.hangUp("")
	case d.broken:
		fresh := r.channel != nil && r.channel != ch
		if r.channel == ch {
			r.hangUp("")
		}
		// A channel that broke says little about the next one: the first repeat does not wait (F38).
		if fresh || r.retries == 0 {
			r.retries++
			r.wake()
		} else {
			r.later(0)
		}
	case d.err != nil:
		r.later(d.wait)
	case d.needChannel && r.channel == nil:
		if len(r.ringing) == 0 {
			r.dial()
		}
	case d.needChannel || r.again:
		r.wake()
	default:
		r.retries, r.seen = 0, false
	}
}

// later sets the next attempt: doubling waits, or what the peer asked for if that is longer. A new message shortens
// our own wait, but not below the first one, and never the peer's.
func (r *room) later(atLeast time.Duration) {
	if r.seen {
		r.seen, atLeast = false, 0 // what the peer asked for is out of date
	}
	wait := max(r.hall.opt.Retry<<min(r.retries, 6), atLeast)
	r.retries++
	r.earliest = time.Now().Add(max(r.hall.opt.Retry, atLeast))
	r.retry.Reset(wait)
}

// adopt takes a channel as the room's. One that stood before is closed: of two, the newer lives (F36).
func (r *room) adopt(ch Channel) {
	if r.ending {
		r.closeAside(ch, "", nil)
		return
	}
	if old := r.channel; old != nil {
		r.interrupt()
		r.closeAside(old, "", r.worker)
	}
	r.channel, r.earliest, r.seen = ch, time.Time{}, false
	r.guest.rest()
	r.guest.mute = false
	r.idleAgain()
	r.wake()
}

func (r *room) idleAgain() {
	if r.channel != nil {
		r.idle.Reset(r.hall.opt.IdleTimeout)
	}
}

// closeAside closes a channel beside the loop. What a worker has in hand may be sent first.
func (r *room) closeAside(ch Channel, reason string, w *worker) {
	r.beside(func() func(*room) { // ends with replaceGrace and closeTimeout
		if w != nil {
			select {
			case <-w.done:
			case <-time.After(replaceGrace):
			case <-r.hall.ctx.Done():
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		_ = ch.Close(ctx, reason)
		return nil
	})
}

// lose forgets a channel.
func (r *room) lose() {
	r.channel = nil
	r.idle.Stop()
	r.composes(false, 0) // who can't be heard is not typing
}

func (r *room) hangUp(reason string) {
	if ch := r.channel; ch != nil {
		r.lose()
		r.closeAside(ch, reason, nil)
	}
}

// end closes the conversation: the channel at once, whatever is in flight. The loop ends when BYE or CANCEL is
// answered.
func (r *room) end() {
	r.drain()
	r.hangUp("")
}

// drain lets what is in flight finish, starts nothing new and closes the channel. What waits stays in the store.
func (r *room) drain() {
	r.ending = true
	r.retry.Stop()
	r.freight.end()
	r.interrupt()
	if r.dialing != nil {
		r.dialing()
	}
	for _, cancel := range r.ringing {
		cancel()
	}
	if r.worker == nil {
		r.hangUp("")
	}
}

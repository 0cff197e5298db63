package notify

import (
	"context"
	"time"

	"latchkey"
)

// haste is how many parts the waits are cut into of which one is left after an outage: an hour and a quarter, the longest, becomes 70 s.
const haste = 64

// outage is that the server of a channel is away.
type outage struct {
	reason   string    // of the failures; "": it answers
	hastened time.Time // when one last was over
}

// away notes a failure that says nothing about its notice.
func (r *route) away(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.outage.reason = reason
}

// back is what was wrong with the server that has just taken a notice; "" where nothing was, or where it comes and goes so fast that pauses
// are due to it.
func (r *route) back(now time.Time, atLeast time.Duration) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := &r.outage
	reason := o.reason
	if reason == "" || now.Sub(o.hastened) < atLeast {
		return ""
	}
	o.reason, o.hastened = "", now
	return reason
}

// recall learns from the outbox that the server was away when it was tried last, which this process may not have seen.
func (c *Courier) recall(ctx context.Context, r *route) {
	channel, can := r.channel.(Absence)
	store, ok := c.store.(Hastener)
	if !can || !ok {
		return
	}
	reason := channel.Absent()
	within, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	waits, err := store.NoticesWait(within, r.name, reason)
	if err != nil {
		c.log.Warn("outage not recalled", "channel", r.name, latchkey.LogError, err) // what waits comes in its time
	}
	if waits {
		r.away(reason)
	}
}

// hasten has what waits for the server tried soon, now that it has taken a notice.
func (c *Courier) hasten(ctx context.Context, r *route) {
	now := time.Now()
	reason := r.back(now, c.opt.lease())
	if reason == "" {
		return
	}
	c.log.Info("server is back", "channel", r.name, "was", reason)
	store, ok := c.store.(Hastener)
	if !ok {
		return
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	if err := store.HastenNotices(within, r.name, reason, now, now.Add(c.opt.lease()), haste); err != nil {
		c.log.Warn("notices not hastened", "channel", r.name, latchkey.LogError, err) // they come in their time
	}
	r.rouse()
}

package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"latchkey"
)

// Defaults of Options.FirstWait and LastWait.
const (
	firstWait = 5 * time.Second
	lastWait  = time.Hour
)

// writeTimeout is how long one outcome may take to be written down.
const writeTimeout = 10 * time.Second

// backoff is the time to wait after so many attempts: twice as long each time, give or take a quarter, so that what failed
// together doesn't come back together.
func (o Options) backoff(attempts int) time.Duration {
	d := o.LastWait
	if shift := max(attempts, 1) - 1; shift < 16 {
		d = min(o.FirstWait<<shift, o.LastWait)
	}
	return d*3/4 + rand.N(max(d/2, 1))
}

// handle delivers one notice and writes down what became of it.
func (c *Courier) handle(ctx context.Context, r *route, n latchkey.Notice) {
	if !r.begin(n.ID) {
		return
	}
	defer r.end(n.ID)
	log := c.log.With("channel", n.Channel, latchkey.LogRelation, n.Relation, "attempt", n.Attempts)
	if !time.Now().Before(n.Expires) {
		log.Warn("notice expired before it was delivered")
		c.meter.count(n.Channel, expired)
		c.tick(ctx, n, func(ctx context.Context) error {
			return c.store.EndNotice(ctx, n.ID, latchkey.NotificationFailed, "the invitation expired before it could be delivered")
		})
		return
	}
	within, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	begun := time.Now()
	err := r.channel.Deliver(within, n)
	cancel()
	c.meter.took(n.Channel, time.Since(begun))
	if err == nil {
		log.Info("notice delivered")
		c.meter.count(n.Channel, taken)
		c.tick(ctx, n, func(ctx context.Context) error { return c.store.EndNotice(ctx, n.ID, latchkey.NotificationSent, "") })
		c.hasten(ctx, r)
		return
	}
	if ctx.Err() != nil {
		c.meter.count(n.Channel, cut)
		log.Warn("notice was cut off; it is sent again when the claim is over", latchkey.LogError, err)
		return
	}
	reason, permanent := "the invitation could not be delivered", false
	if f, ok := errors.AsType[*Failure](err); ok {
		reason, permanent = f.Reason, f.Permanent
		if f.Away {
			r.away(reason)
		}
	}
	now := time.Now()
	due := now.Add(c.opt.backoff(n.Attempts))
	switch {
	case permanent:
	case !due.Before(n.Expires):
		permanent, reason = true, reason+"; given up, since the invitation expires"
	case now.Sub(n.Created) >= c.opt.GiveUp:
		permanent, reason = true, reason+"; given up after many attempts"
	}
	if permanent {
		c.meter.count(n.Channel, failed)
		log.Warn("notice failed", "reason", reason, latchkey.LogError, err)
		c.tick(ctx, n, func(ctx context.Context) error {
			return c.store.EndNotice(ctx, n.ID, latchkey.NotificationFailed, reason)
		})
		return
	}
	c.meter.count(n.Channel, retried)
	log.Info("notice is tried again", "at", due, latchkey.LogError, err)
	c.tick(ctx, n, func(ctx context.Context) error { return c.store.RetryNotice(ctx, n.ID, due, reason) })
	r.rouse() // it may be due before what the round waits for
}

// tick writes an outcome down and doesn't let go before it is: a notice whose delivery nobody
// remembers is delivered again.
func (c *Courier) tick(ctx context.Context, n latchkey.Notice, write func(context.Context) error) {
	for failures := 1; ; failures++ {
		within, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout) // also for what ended with ctx
		err := write(within)
		cancel()
		if err == nil {
			return
		}
		c.log.Error("outcome of a notice not written", latchkey.LogRelation, n.Relation, latchkey.LogError, err)
		if !sleep(ctx, min(c.opt.backoff(failures), time.Minute)) {
			return
		}
	}
}

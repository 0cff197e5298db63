package notify

import (
	"context"
	"sync"
	"time"

	"latchkey"
)

// serve makes rounds for one channel: claim as many notices as there are free workers, and
// when nothing is due wait until something is.
func (c *Courier) serve(ctx context.Context, r *route) {
	late, cut := context.WithCancel(context.WithoutCancel(ctx))
	var workers sync.WaitGroup
	defer func() {
		timer := time.AfterFunc(c.opt.Grace, cut)
		workers.Wait()
		timer.Stop()
		cut()
	}()
	c.recall(ctx, r)
	for failures := 0; ; {
		free := r.enter(ctx)
		if free == 0 {
			return
		}
		now := time.Now()
		notices, err := c.store.ClaimNotices(ctx, r.name, now, now.Add(c.opt.lease()), free)
		r.leave(free - len(notices))
		for _, n := range notices {
			workers.Go(func() { // ends with the delivery, which ends with late
				defer r.leave(1)
				c.handle(late, r, n)
			})
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failures++
			c.log.Error("outbox not read", "channel", r.name, latchkey.LogError, err)
			sleep(ctx, c.opt.backoff(failures))
		case len(notices) == 0:
			failures = 0
			c.rest(ctx, r)
		}
	}
}

// rest waits until a notice is due, somebody calls Wake, or ctx ends.
func (c *Courier) rest(ctx context.Context, r *route) {
	wait := c.opt.Poll
	if next, err := c.store.NextNotice(ctx, r.name); err == nil && !next.IsZero() {
		wait = min(wait, max(time.Until(next), 10*time.Millisecond))
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.wake:
	case <-ctx.Done():
	}
}

// rouse ends the rest of the round, or keeps it from the next one.
func (r *route) rouse() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// enter waits for a free worker and takes all that are free; 0: ctx is over.
func (r *route) enter(ctx context.Context) int {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n := 1; ; n++ {
		select {
		case r.slots <- struct{}{}:
		default:
			return n
		}
	}
}

func (r *route) leave(n int) {
	for range n {
		<-r.slots
	}
}

// begin reports whether nobody here is at the notice already: its outcome may not be written down
// yet though the claim is over.
func (r *route) begin(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.underway[id] {
		return false
	}
	r.underway[id] = true
	return true
}

func (r *route) end(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.underway, id)
}

// sleep waits for d or until ctx ends, and reports whether it was d.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

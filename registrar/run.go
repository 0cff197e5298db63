package registrar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"latchkey"
)

// idle is how long Run sleeps when nothing is planned; a change wakes it before.
const idle = time.Hour

// Run refreshes registrations, repeats what failed and finishes what is leaving, until ctx
// ends. It begins Options.Rate acts in a second at most, so that the morning after a long
// outage is no flood for the core, and has Options.Parallel under way.
func (r *Registrar) Run(ctx context.Context) error {
	pace := rate.NewLimiter(rate.Limit(r.opt.Rate), 1)
	slots := make(chan struct{}, r.opt.Parallel)
	var acts sync.WaitGroup
	defer acts.Wait()
	for {
		k, err := r.next(ctx)
		if err != nil {
			return nil // ctx is over, as it should be
		}
		if pace.Wait(ctx) != nil {
			return nil
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		acts.Go(func() { // ends with its request, which ends with ctx
			defer func() { <-slots }()
			if err := r.act(ctx, k); err != nil && ctx.Err() == nil {
				r.log.Warn("registration failed", latchkey.LogGuest, k.account, "server", k.server, latchkey.LogError, err)
			}
		})
	}
}

// next waits for the earliest registration to be due and takes it off the schedule.
func (r *Registrar) next(ctx context.Context) (key, error) {
	for {
		k, ok, at := r.schedule.take(time.Now())
		if ok {
			return k, ctx.Err()
		}
		wait := idle
		if !at.IsZero() {
			wait = time.Until(at)
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-r.schedule.changed:
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return key{}, ctx.Err()
		}
	}
}

// act does what is due for one registration. If it can't be read, it is looked at again later.
func (r *Registrar) act(ctx context.Context, k key) error {
	release, err := r.turns.take(ctx, k.account)
	if err != nil {
		return err
	}
	defer release()
	regs, err := r.store.Registrations(ctx, k.account)
	if err != nil {
		r.schedule.set(k, time.Now().Add(backoff(1)))
		return fmt.Errorf("registration of %s: %w", k.account, err)
	}
	reg := find(regs, k.server)
	switch now := time.Now(); {
	case reg == nil || reg.Due.IsZero():
		return nil // it was dropped or refused meanwhile
	case reg.Due.After(now):
		r.schedule.set(k, reg.Due) // somebody else saw to it meanwhile
		return nil
	case reg.State == latchkey.RegistrationLeaving:
		return r.leave(ctx, reg)
	}
	return r.renew(ctx, reg, r.opt.Timeout)
}

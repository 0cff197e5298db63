package registrar

import (
	"context"
	"fmt"
	"time"

	"latchkey"
)

// Run refreshes registrations, repeats what failed and finishes what is leaving, until ctx
// ends. It begins Options.Rate acts in a second at most, so that the morning after a long
// outage is no flood for the core, and has Options.Parallel under way.
func (r *Registrar) Run(ctx context.Context) error {
	r.schedule.run(ctx, r.opt.Rate, r.opt.Parallel, func(ctx context.Context, k key) {
		if err := r.act(ctx, k); err != nil && ctx.Err() == nil {
			r.log.Warn("registration failed", latchkey.LogGuest, k.account, "server", k.server, latchkey.LogError, err)
		}
	})
	return nil
}

// act does what is due for one registration. If it can't be read, it is looked at again later.
func (r *Registrar) act(ctx context.Context, k key) error {
	release, err := r.turns.Take(ctx, k.account)
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

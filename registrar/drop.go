package registrar

import (
	"context"
	"errors"
	"fmt"
	"time"

	"latchkey"
)

// Drop takes the account back (B1.23): Expires 0 at the interaction servers, then at the
// core. The wish is a row first. A server that doesn't answer in time is left to Run, which
// repeats until it answers or the registration is over by itself; Drop does not wait
// for that. Dropping what isn't kept is no error.
func (r *Registrar) Drop(ctx context.Context, account latchkey.AccountID) error {
	regs, release, err := r.begin(ctx, account)
	if err != nil {
		return err
	}
	defer release()
	r.opt.Left(account)
	var core *latchkey.Registration
	var others []latchkey.Server
	for i := range regs {
		reg := &regs[i]
		if reg.State == latchkey.RegistrationLeaving {
			continue // Run is at it
		}
		reg.State, reg.Failures, reg.Due = latchkey.RegistrationLeaving, 0, time.Now().Add(r.opt.Timeout)
		if err := r.save(ctx, reg); err != nil {
			return err
		}
		if reg.Server == latchkey.CoreServer {
			core = reg
		} else {
			others = append(others, reg.Server)
		}
	}
	err = r.each(others, func(s latchkey.Server) error { return r.leave(ctx, find(regs, s)) })
	if core != nil {
		err = first(err, r.leave(ctx, core))
	}
	return err
}

// leave takes one registration back, or plans the next attempt. Only the store can fail it.
func (r *Registrar) leave(ctx context.Context, reg *latchkey.Registration) error {
	now := time.Now()
	if !now.Before(reg.Held) {
		return r.forget(ctx, reg)
	}
	if wait := r.holds.left(reg.Server, now); wait > 0 {
		reg.Due = now.Add(wait)
		return r.save(ctx, reg)
	}
	_, res, err := r.send(ctx, reg, reg.Hop, 0, r.opt.Timeout)
	if err == nil && res.IsSuccess() {
		r.log.Debug("deregistered", latchkey.LogGuest, reg.Account, "server", reg.Server)
		return r.forget(ctx, reg)
	}
	if err == nil {
		err = &refusal{res.StatusCode, res.Reason, retryAfter(res)}
	}
	err = r.failed(ctx, reg, err)
	r.log.Info("deregistration failed", latchkey.LogGuest, reg.Account, "server", reg.Server, latchkey.LogError, err)
	if reg.State == latchkey.RegistrationRefused {
		return r.forget(ctx, reg) // the server has the last word; there is nothing more to do
	}
	reg.State = latchkey.RegistrationLeaving
	if reg.Due.After(reg.Held) {
		reg.Due = reg.Held // by then it has ended by itself
	}
	return r.save(ctx, reg)
}

// Resume plans all registrations of the store. Call it once, before Run.
func (r *Registrar) Resume(ctx context.Context) error {
	var aliases []latchkey.Registration
	err := r.store.EachRegistration(ctx, func(reg latchkey.Registration) error {
		if r.hops[reg.Server] == "" || r.server(reg.Server) != reg.Server {
			aliases = append(aliases, reg)
			return nil
		}
		r.schedule.set(key{reg.Account, reg.Server}, reg.Due)
		return nil
	})
	if err != nil {
		return fmt.Errorf("resume registrations: %w", err)
	}
	for _, reg := range aliases {
		// The configuration has one server now where it had two. The contact is the same in both
		// registrations, so taking this one back would end the other; it runs out by itself.
		err = errors.Join(err, r.forget(ctx, &reg))
	}
	return err
}

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
	release, err := r.turns.take(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	defer release()
	bindings, err := r.store.Bindings(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	var others []Server
	for i := range bindings {
		b := &bindings[i]
		b.State, b.Failures, b.Due = Leaving, 0, time.Now().Add(r.opt.Timeout)
		if err := r.save(ctx, b); err != nil {
			return err
		}
		if b.Server != Core {
			others = append(others, b.Server)
		}
	}
	err = r.each(others, func(s Server) error { return r.leave(ctx, find(bindings, s)) })
	if core := find(bindings, Core); core != nil {
		err = first(err, r.leave(ctx, core))
	}
	return err
}

// leave takes one binding back, or plans the next attempt. Only the store can fail it.
func (r *Registrar) leave(ctx context.Context, b *Binding) error {
	now := time.Now()
	if !now.Before(b.Held) {
		return r.forget(ctx, b)
	}
	if wait := r.holds.left(b.Server, now); wait > 0 {
		b.Due = now.Add(wait)
		return r.save(ctx, b)
	}
	_, res, err := r.send(ctx, b, 0, r.opt.Timeout)
	if err == nil && res.IsSuccess() {
		r.log.Debug("deregistered", latchkey.LogGuest, b.Account, "server", b.Server)
		return r.forget(ctx, b)
	}
	if err == nil {
		err = &refusal{res.StatusCode, res.Reason, retryAfter(res)}
	}
	err = r.failed(ctx, b, err)
	r.log.Info("deregistration failed", latchkey.LogGuest, b.Account, "server", b.Server, latchkey.LogError, err)
	if b.State == Refused {
		return r.forget(ctx, b) // the server has the last word; there is nothing more to do
	}
	b.State = Leaving
	if b.Due.After(b.Held) {
		b.Due = b.Held // by then it has ended by itself
	}
	return r.save(ctx, b)
}

// Resume plans all bindings of the store. Call it once, before Run.
func (r *Registrar) Resume(ctx context.Context) error {
	var aliases []Binding
	err := r.store.EachBinding(ctx, func(b Binding) error {
		if r.hops[b.Server] == "" || r.server(b.Server) != b.Server {
			aliases = append(aliases, b)
			return nil
		}
		r.schedule.set(key{b.Account, b.Server}, b.Due)
		return nil
	})
	if err != nil {
		return fmt.Errorf("resume registrations: %w", err)
	}
	for _, b := range aliases {
		// The configuration has one server now where it had two. The contact is the same in both
		// bindings, so taking this one back would end the other; it runs out by itself.
		err = errors.Join(err, r.forget(ctx, &b))
	}
	return err
}

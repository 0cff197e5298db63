package registrar

import (
	"context"
	"fmt"
	"sync"
	"time"

	"latchkey"
)

// Keep registers the account at the core and then at the server of each interaction, and
// from then on Run keeps it so. What stands already is left alone (F07).
//
// The core must agree: if it refuses or is silent, the error says so and nothing of a new
// account is left (F12). An interaction server that is down is no error: Run and Ensure
// go on trying (F13).
func (r *Registrar) Keep(ctx context.Context, account latchkey.AccountID, interactions []latchkey.Interaction) error {
	release, err := r.turns.take(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	defer release()
	bindings, err := r.store.Bindings(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	core, fresh := revive(bindings, account, Core)
	if err := r.stand(ctx, core, r.opt.Timeout); err != nil {
		if fresh {
			return first(err, r.abandon(ctx, core))
		}
		return err
	}
	r.each(r.interactionServers(interactions), func(s Server) error {
		b, _ := revive(bindings, account, s)
		if err := r.stand(ctx, b, r.opt.Patience); err != nil {
			r.log.Warn("interaction server will be tried again", latchkey.LogGuest, account, "server", s, latchkey.LogError, err)
		}
		return nil
	})
	return nil
}

// Ensure registers the account late where it is needed now: at the core and at the server of the
// interaction (R26, F27). An account that Keep never saw is refused.
func (r *Registrar) Ensure(ctx context.Context, account latchkey.AccountID, interaction latchkey.Interaction) error {
	needed := append([]Server{Core}, r.interactionServers([]latchkey.Interaction{interaction})...)
	standing := func() ([]Binding, bool, error) {
		bindings, err := r.store.Bindings(ctx, account)
		for _, s := range needed {
			if b := find(bindings, s); b == nil || !b.Standing(time.Now()) {
				return bindings, false, err
			}
		}
		return bindings, true, err
	}
	if _, ok, err := standing(); ok || err != nil {
		return err
	}
	release, err := r.turns.take(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	defer release()
	bindings, ok, err := standing()
	if ok || err != nil {
		return err
	}
	if err := known(bindings, account); err != nil {
		return err
	}
	for _, s := range needed {
		b, _ := revive(bindings, account, s)
		if err := r.stand(ctx, b, r.opt.Timeout); err != nil {
			return err
		}
	}
	return nil
}

// Confirm is the SIP authentication behind a login (R21, patent steps 503-504): a REGISTER with
// digest at the core and at each of the account's interaction servers, all of which must
// agree. Logins of one account at the same time share it.
func (r *Registrar) Confirm(ctx context.Context, account latchkey.AccountID) error {
	return r.flights.share(ctx, account, func() error { return r.confirm(ctx, account) })
}

func (r *Registrar) confirm(ctx context.Context, account latchkey.AccountID) error {
	release, err := r.turns.take(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	defer release()
	bindings, err := r.store.Bindings(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	if err := known(bindings, account); err != nil {
		return err
	}
	again := func(s Server) error { return r.renew(ctx, find(bindings, s), r.opt.Timeout) }
	if err := again(Core); err != nil {
		return err
	}
	var others []Server
	for _, b := range bindings {
		if b.Server != Core && b.State != Leaving {
			others = append(others, b.Server)
		}
	}
	return r.each(others, again)
}

// stand makes b a standing registration if it isn't one.
func (r *Registrar) stand(ctx context.Context, b *Binding, timeout time.Duration) error {
	if b.Standing(time.Now()) {
		return nil
	}
	return r.renew(ctx, b, timeout)
}

// renew registers b and stores what came of it.
func (r *Registrar) renew(ctx context.Context, b *Binding, timeout time.Duration) error {
	return first(r.register(ctx, b, timeout), r.save(ctx, b))
}

// abandon undoes a binding whose first REGISTER failed: it is forgotten where the server surely
// has none, else taken back by Run.
func (r *Registrar) abandon(ctx context.Context, b *Binding) error {
	if !time.Now().Before(b.Held) {
		return r.forget(ctx, b)
	}
	b.State, b.Due = Leaving, time.Now().Add(backoff(1))
	return r.save(ctx, b)
}

// each runs f for all servers at once, waits, and returns the first error.
func (r *Registrar) each(servers []Server, f func(Server) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { errs[i] = f(s) })
	}
	all.Wait()
	return first(errs...)
}

// revive finds the account's binding or makes a new one. A binding on its way out
// comes back with its Call-ID; it counts as fresh, as a new one does.
func revive(bindings []Binding, account latchkey.AccountID, s Server) (b *Binding, fresh bool) {
	b = find(bindings, s)
	if b == nil {
		return newBinding(account, s), true
	}
	if b.State == Leaving {
		b.State = Wanted
		return b, true
	}
	return b, false
}

// known refuses accounts that were never kept, or that are leaving: a login that
// crosses a farewell must not bring the registration back.
func known(bindings []Binding, account latchkey.AccountID) error {
	if core := find(bindings, Core); core == nil || core.State == Leaving {
		return latchkey.Wrap(latchkey.KindRegistrationFailed, fmt.Errorf("%s is not kept registered", account), "")
	}
	return nil
}

// first is the first error there is; a later one would hide the kind of the first.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

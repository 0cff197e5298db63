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
	regs, release, err := r.begin(ctx, account)
	if err != nil {
		return err
	}
	defer release()
	core, fresh := revive(regs, account, latchkey.CoreServer)
	if err := r.stand(ctx, core, r.opt.Timeout); err != nil {
		if fresh {
			return first(err, r.abandon(ctx, core))
		}
		return err
	}
	r.each(r.interactionServers(interactions), func(s latchkey.Server) error {
		reg, _ := revive(regs, account, s)
		if err := r.stand(ctx, reg, r.opt.Patience); err != nil {
			r.log.Warn("interaction server will be tried again", latchkey.LogGuest, account, "server", s, latchkey.LogError, err)
		}
		return nil
	})
	return nil
}

// Ensure registers the account late where it is needed now: at the core and at the server of the
// interaction (R26, F27). An account that Keep never saw is refused.
func (r *Registrar) Ensure(ctx context.Context, account latchkey.AccountID, interaction latchkey.Interaction) error {
	needed := append([]latchkey.Server{latchkey.CoreServer}, r.interactionServers([]latchkey.Interaction{interaction})...)
	standing := func() ([]latchkey.Registration, bool, error) {
		regs, err := r.store.Registrations(ctx, account)
		for _, s := range needed {
			if reg := find(regs, s); reg == nil || !reg.Standing(time.Now()) {
				return regs, false, err
			}
		}
		return regs, true, err
	}
	if _, ok, err := standing(); ok || err != nil {
		return err
	}
	release, err := r.turns.Take(ctx, account)
	if err != nil {
		return fmt.Errorf("registration of %s: %w", account, err)
	}
	defer release()
	regs, ok, err := standing()
	if ok || err != nil {
		return err
	}
	if err := known(regs, account); err != nil {
		return err
	}
	for _, s := range needed {
		reg, _ := revive(regs, account, s)
		if err := r.stand(ctx, reg, r.opt.Timeout); err != nil {
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
	regs, release, err := r.begin(ctx, account)
	if err != nil {
		return err
	}
	defer release()
	if err := known(regs, account); err != nil {
		return err
	}
	again := func(s latchkey.Server) error { return r.renew(ctx, find(regs, s), r.opt.Timeout) }
	if err := again(latchkey.CoreServer); err != nil {
		return err
	}
	var others []latchkey.Server
	for _, reg := range regs {
		if reg.Server != latchkey.CoreServer && reg.State != latchkey.RegistrationLeaving {
			others = append(others, reg.Server)
		}
	}
	return r.each(others, again)
}

// stand makes reg a standing registration if it isn't one.
func (r *Registrar) stand(ctx context.Context, reg *latchkey.Registration, timeout time.Duration) error {
	if reg.Standing(time.Now()) {
		return nil
	}
	return r.renew(ctx, reg, timeout)
}

// renew registers reg and stores what came of it.
func (r *Registrar) renew(ctx context.Context, reg *latchkey.Registration, timeout time.Duration) error {
	return first(r.register(ctx, reg, timeout), r.save(ctx, reg))
}

// abandon undoes a registration whose first REGISTER failed: it is forgotten where the server surely
// has none, else taken back by Run.
func (r *Registrar) abandon(ctx context.Context, reg *latchkey.Registration) error {
	if !time.Now().Before(reg.Held) {
		return r.forget(ctx, reg)
	}
	reg.State, reg.Due = latchkey.RegistrationLeaving, time.Now().Add(backoff(1))
	return r.save(ctx, reg)
}

// each runs f for all servers at once, waits, and returns the first error.
func (r *Registrar) each(servers []latchkey.Server, f func(latchkey.Server) error) error {
	errs := make([]error, len(servers))
	var all sync.WaitGroup
	for i, s := range servers {
		all.Go(func() { errs[i] = f(s) })
	}
	all.Wait()
	return first(errs...)
}

// revive finds the account's registration or makes a new one. A registration on its way out
// comes back with its Call-ID; it counts as fresh, as a new one does.
func revive(regs []latchkey.Registration, account latchkey.AccountID, s latchkey.Server) (reg *latchkey.Registration, fresh bool) {
	reg = find(regs, s)
	if reg == nil {
		return newRegistration(account, s), true
	}
	if reg.State == latchkey.RegistrationLeaving {
		reg.State = latchkey.RegistrationWanted
		return reg, true
	}
	return reg, false
}

// known refuses accounts that were never kept, or that are leaving: a login that
// crosses a farewell must not bring the registration back.
func known(regs []latchkey.Registration, account latchkey.AccountID) error {
	if core := find(regs, latchkey.CoreServer); core == nil || core.State == latchkey.RegistrationLeaving {
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

package guest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"latchkey"
)

// Farewell ends a relation (R29, R30; patent steps 515-518): passwords and logins are dead at once, then the
// conversation is closed, then an account without another relation is deregistered and, unless it is
// to be kept, deleted. A second call, or one for a relation that is gone, does nothing.
//
// What the caller's context or a crash interrupts is finished by Run or Resume.
func (d *Desk) Farewell(ctx context.Context, id latchkey.RelationID, cause latchkey.Cause) error {
	rel, err := d.store.Relation(ctx, id)
	if latchkey.Is(err, latchkey.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return d.end(ctx, rel.Account, cause, func(r latchkey.Relation) bool { return r.ID == id })
}

// Logout ends all relations of an account; the guest has left.
func (d *Desk) Logout(ctx context.Context, account latchkey.AccountID) error {
	return d.end(ctx, account, latchkey.GuestLeft, func(latchkey.Relation) bool { return true })
}

// Withdraw ends an inviter's relation to an account. Without one it is KindNotFound.
func (d *Desk) Withdraw(ctx context.Context, inviter latchkey.InviterID, account latchkey.AccountID) error {
	relations, err := d.store.Relations(ctx, account)
	if err != nil {
		return err
	}
	for _, r := range relations {
		if r.Inviter == inviter {
			return d.Farewell(ctx, r.ID, latchkey.Withdrawn)
		}
	}
	return latchkey.Errorf(latchkey.KindNotFound, "you have not invited this account")
}

// WithdrawAll ends all relations of an inviter, who has logged out (F57).
func (d *Desk) WithdrawAll(ctx context.Context, inviter latchkey.InviterID) error {
	rows, err := d.store.Invitations(ctx, inviter)
	if err != nil {
		return err
	}
	return each(rows, func(row latchkey.Invitation) error { return d.Farewell(ctx, row.ID, latchkey.InviterLeft) })
}

// InvitedBy lists the live relations of an inviter, whichever of the inviter's names address is.
func (d *Desk) InvitedBy(ctx context.Context, address latchkey.Address) ([]latchkey.Relation, error) {
	all, err := d.store.RelationsOf(ctx, latchkey.InviterID(address.Identity()), address.Number())
	return slices.DeleteFunc(all, func(r latchkey.Relation) bool { return !r.Names(address) }), err
}

// Left ends all relations of an inviter whom the core has seen off (R30). It is WithdrawAll for one who is known by
// any name.
func (d *Desk) Left(ctx context.Context, address latchkey.Address) error {
	relations, err := d.InvitedBy(ctx, address)
	if err != nil {
		return err
	}
	return each(relations, func(r latchkey.Relation) error { return d.Farewell(ctx, r.ID, latchkey.InviterLeft) })
}

// each runs f for all items, a few at a time since each may wait for the core, and joins
// the errors.
func each[T any](items []T, f func(T) error) error {
	failures := make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(16)
	for i, item := range items {
		group.Go(func() error { failures[i] = f(item); return nil })
	}
	_ = group.Wait() // the functions keep their errors themselves
	return errors.Join(failures...)
}

// end turns the chosen live relations of an account into ending ones and finishes them.
func (d *Desk) end(ctx context.Context, account latchkey.AccountID, cause latchkey.Cause, chosen func(latchkey.Relation) bool) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opt.Patience)
	defer cancel()
	// Dead at once, also while another flow of this account waits for the core.
	if err := d.beginEnding(ctx, account, cause, chosen); err != nil {
		return err
	}
	release, err := d.turn(ctx, account)
	if err != nil || release == nil {
		return err
	}
	defer release()
	return d.finish(ctx, account)
}

func (d *Desk) beginEnding(ctx context.Context, account latchkey.AccountID, cause latchkey.Cause, chosen func(latchkey.Relation) bool) error {
	relations, err := d.store.Relations(ctx, account)
	if err != nil {
		return err
	}
	var ids []latchkey.RelationID
	for _, r := range relations {
		if chosen(r) {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	_, err = d.store.BeginEnding(ctx, ids, cause)
	return err
}

// turn takes the turn of an account's guest; nil where there is no such guest.
func (d *Desk) turn(ctx context.Context, account latchkey.AccountID) (release func(), err error) {
	g, err := d.store.Guest(ctx, account)
	if latchkey.Is(err, latchkey.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return d.turns.Take(ctx, g.Identifier.Value)
}

// finish takes the asked and ending relations of an account to their end. The caller has the
// turn, so an asked one is a flow that failed or died, and is undone.
func (d *Desk) finish(ctx context.Context, account latchkey.AccountID) error {
	relations, causes, err := d.store.Unsettled(ctx, account)
	if err != nil || len(relations) == 0 {
		return err
	}
	var over []latchkey.Relation
	var failed error
	for i, r := range relations {
		if r.State == latchkey.Ending { // of an asked one nobody was told
			if err := d.conversations.Close(ctx, r, causes[i]); err != nil {
				failed = errors.Join(failed, fmt.Errorf("close conversation of %s: %w", r.ID, err))
				continue
			}
			d.log.Info("relation ended", latchkey.LogRelation, r.ID, latchkey.LogInviter, r.Inviter, latchkey.LogGuest, r.Account, latchkey.LogCause, causes[i])
		}
		over = append(over, r)
	}
	standing, err := d.store.Relations(ctx, account)
	if err != nil {
		return errors.Join(failed, err)
	}
	if len(standing) == 0 && failed == nil {
		if err := d.registrar.Drop(ctx, account); err != nil {
			return fmt.Errorf("deregister %s: %w", account, err)
		}
	}
	remove, err := d.removes(ctx, account, over)
	if err != nil {
		return errors.Join(failed, err)
	}
	ids := make([]latchkey.RelationID, len(over))
	for i, r := range over {
		ids[i] = r.ID
	}
	return errors.Join(failed, d.store.End(ctx, account, ids, remove))
}

// removes tells whether an account goes with the last of the given relations. An account that is to
// be kept goes, too, where it was made for an invitation that came to nothing: one write made both.
func (d *Desk) removes(ctx context.Context, account latchkey.AccountID, over []latchkey.Relation) (bool, error) {
	if !d.opt.KeepAccount {
		return true, nil
	}
	g, err := d.store.Guest(ctx, account)
	if err != nil {
		return false, err
	}
	for _, r := range over {
		if r.State != latchkey.Asked || !r.Created.Equal(g.Created) {
			return false, nil
		}
	}
	return true, nil
}

// Resume finishes or undoes what a crash interrupted. Call it once, before Run; what fails
// then is tried again by Run.
func (d *Desk) Resume(ctx context.Context) error {
	return d.settle(ctx)
}

// settle finishes all relations that are asked or ending and nobody is at.
func (d *Desk) settle(ctx context.Context) error {
	accounts, err := d.store.UnsettledAccounts(ctx)
	if err != nil {
		return err
	}
	return each(accounts, func(account latchkey.AccountID) error {
		if err := d.settleOne(ctx, account); err != nil {
			d.log.Warn("account is not settled yet", latchkey.LogGuest, account, latchkey.LogError, err)
		}
		return ctx.Err()
	})
}

func (d *Desk) settleOne(ctx context.Context, account latchkey.AccountID) error {
	ctx, cancel := context.WithTimeout(ctx, d.opt.Patience)
	defer cancel()
	release, err := d.turn(ctx, account)
	if err != nil || release == nil {
		return err
	}
	defer release()
	return d.finish(ctx, account)
}

// How Run spends its time.
const (
	sweepEvery  = time.Minute
	sweepAtOnce = 500
	remember    = 30 * 24 * time.Hour // how long an expired password is told from a wrong one
)

// Run ends relations when their validity is over (F58), and finishes what failed before, until
// ctx ends. It returns nil.
func (d *Desk) Run(ctx context.Context) error {
	var tidied time.Time
	for ctx.Err() == nil {
		err := d.sweep(ctx)
		if time.Since(tidied) >= sweepEvery {
			tidied = time.Now()
			err = errors.Join(err, d.settle(ctx), d.store.Purge(ctx, tidied, remember))
		}
		next, nextErr := d.store.NextExpiry(ctx)
		err = errors.Join(err, nextErr)
		// What begins while Run sleeps is not over before its lifetime is.
		wait := min(sweepEvery, d.opt.Lifetime)
		if err == nil && !next.IsZero() {
			wait = min(wait, max(time.Until(next), 10*time.Millisecond))
		}
		if err != nil && ctx.Err() == nil {
			d.log.Error("sweep of relations", latchkey.LogError, err)
			wait = max(wait, time.Second)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
	return nil
}

// sweep ends the relations whose validity is over.
func (d *Desk) sweep(ctx context.Context) error {
	for {
		over, err := d.store.Expired(ctx, time.Now(), sweepAtOnce)
		if err != nil {
			return err
		}
		err = each(over, func(r latchkey.Relation) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return d.Farewell(ctx, r.ID, latchkey.ValidityOver)
		})
		if err != nil || len(over) < sweepAtOnce {
			return err
		}
	}
}

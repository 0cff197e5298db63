package guest

import (
	"context"
	"net/netip"
	"time"

	"latchkey"
	"latchkey/internal/secret"
)

// Login is what a guest gets who has logged in (R22): who invited, and a token that stands for
// the password until Expires.
type Login struct {
	Guest     latchkey.Guest
	Relations []latchkey.Relation
	Token     latchkey.Secret
	Expires   time.Time
}

// Authenticate checks account and password, without SIP. The account may lack its scheme. What is
// wrong is KindUnauthorized, whatever it is; a password that was right until its invitation expired
// is KindExpired; too many failures are KindTooManyRequests (S4).
func (d *Desk) Authenticate(ctx context.Context, account, password string, from netip.Addr) (latchkey.Guest, error) {
	id := accountOf(account)
	var g latchkey.Guest
	var expired bool
	err := d.opt.Guard.Try(string(id), from, func() (bool, error) {
		var ok bool
		var err error
		g, ok, expired, err = d.match(ctx, id, password)
		return ok || expired, err
	})
	if err != nil {
		return latchkey.Guest{}, err
	}
	if expired {
		return latchkey.Guest{}, latchkey.Errorf(latchkey.KindExpired, "the invitation is no longer valid; ask for a new one")
	}
	return g, nil
}

// match takes the same steps, and so the same time, whether the account exists or not (F21).
func (d *Desk) match(ctx context.Context, id latchkey.AccountID, password string) (g latchkey.Guest, ok, expired bool, err error) {
	g, err = d.store.Guest(ctx, id)
	if err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
		return g, false, false, err
	}
	exists := err == nil
	salts, hashes, valid, err := d.store.Passwords(ctx, id, time.Now())
	if err != nil {
		return g, false, false, err
	}
	if len(salts) == 0 {
		d.matches(secret.Hash{Salt: "none", Sum: "none"}, password)
	}
	for i := range salts {
		if d.matches(secret.Hash{Salt: salts[i], Sum: hashes[i]}, password) {
			ok = ok || valid[i] && exists
			expired = expired || !valid[i]
		}
	}
	return g, ok, expired && !ok, nil
}

// accountOf reads an account as people write it, with or without sip:. What is no address
// names no account.
func accountOf(s string) latchkey.AccountID {
	for _, prefix := range []string{"", "sip:"} {
		if a, err := latchkey.ParseAddress(prefix + s); err == nil {
			return latchkey.AccountID(a.Identity())
		}
	}
	return ""
}

// Login lets a guest in (R20-R22): the password is checked against the account table, then core and
// interaction servers must agree, and only then is there a token.
func (d *Desk) Login(ctx context.Context, account, password string, from netip.Addr) (Login, error) {
	g, err := d.Authenticate(ctx, account, password, from)
	if err != nil {
		return Login{}, err
	}
	if err := d.registrar.Confirm(ctx, g.Account); err != nil {
		return Login{}, err
	}
	relations, err := d.Relations(ctx, g.Account)
	if err != nil {
		return Login{}, err
	}
	if len(relations) == 0 { // all ended while the core was asked
		return Login{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	l := Login{Guest: g, Relations: relations, Token: latchkey.Secret(secret.Token())}
	for _, r := range relations {
		if r.Expires.After(l.Expires) {
			l.Expires = r.Expires
		}
	}
	err = d.store.AddLogin(ctx, g.Account, secret.Index(l.Token.Reveal()), time.Now(), l.Expires)
	if latchkey.Is(err, latchkey.KindNotFound) {
		return Login{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	if err != nil {
		return Login{}, err
	}
	d.log.Info("guest logged in", latchkey.LogGuest, g.Account, "relations", len(relations))
	return l, nil
}

// ByToken is the guest whom a login's token stands for.
func (d *Desk) ByToken(ctx context.Context, token string) (latchkey.Guest, error) {
	g, err := d.store.GuestByLogin(ctx, secret.Index(token), time.Now())
	if latchkey.Is(err, latchkey.KindNotFound) {
		return latchkey.Guest{}, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return g, err
}

// Relations lists who may be reached by the account, oldest relation first.
func (d *Desk) Relations(ctx context.Context, account latchkey.AccountID) ([]latchkey.Relation, error) {
	all, err := d.store.Relations(ctx, account)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	valid := all[:0]
	for _, r := range all {
		if !r.Expired(now) {
			valid = append(valid, r)
		}
	}
	return valid, nil
}

// Authorize is the gate between an account and an inviter, in both directions (R31). Without a
// live relation between the two the error is KindNoRelation, and nobody may be asked or told anything.
func (d *Desk) Authorize(ctx context.Context, account latchkey.AccountID, peer latchkey.Address) (latchkey.Relation, error) {
	relations, err := d.Relations(ctx, account)
	if err != nil {
		return latchkey.Relation{}, err
	}
	for _, r := range relations {
		if r.Names(peer) {
			return r, nil
		}
	}
	return latchkey.Relation{}, latchkey.Errorf(latchkey.KindNoRelation, "")
}

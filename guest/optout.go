package guest

import (
	"context"
	"net/netip"
	"net/url"
	"time"

	"latchkey"
	"latchkey/internal/secret"
)

// optOutKey is the name of the key under which people who opted out are kept, and their tokens are made.
const optOutKey = "opt-out"

// OptOut notes that a person is never to be written to again, by anybody, and ends what relates them (X8). The inviters see
// a guest who has left. Once more is no error.
func (d *Desk) OptOut(ctx context.Context, who latchkey.Identifier) error {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return err
	}
	return d.optOut(ctx, key, secret.Person(key, who), "", func(ctx context.Context) (latchkey.Guest, error) { return d.store.GuestBy(ctx, who) })
}

// optOut writes the wish down before it ends anything, so that an invitation which begins meanwhile either sees the wish or is
// ended with the rest.
func (d *Desk) optOut(ctx context.Context, key []byte, person string, account latchkey.AccountID, find func(context.Context) (latchkey.Guest, error)) error {
	g, err := find(ctx)
	if err == nil {
		account = g.Account
	} else if !latchkey.Is(err, latchkey.KindNotFound) {
		return err
	}
	if err := d.store.AddOptOut(ctx, person, secret.Person(key, holder(account)), time.Now()); err != nil {
		return err
	}
	d.log.Info("a person opted out")
	// Twice, since what was being asked for at the first time is live at the second: the turn was waited for.
	for range 2 {
		g, err := find(ctx)
		if latchkey.Is(err, latchkey.KindNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := d.end(ctx, g.Account, latchkey.GuestOptedOut, func(latchkey.Relation) bool { return true }); err != nil {
			return err
		}
	}
	return nil
}

// holder is an account as one that secret.Person can hash.
func holder(account latchkey.AccountID) latchkey.Identifier {
	return latchkey.Identifier{Kind: "account", Value: string(account)}
}

// OptOutLink is the address of the page on which the person of an account opts out. Its token stands for that person's
// wish (RFC 8058): it lets its holder opt out and in again and nothing else, for ever, since people clean up old mail.
func (d *Desk) OptOutLink(ctx context.Context, account latchkey.AccountID, who latchkey.Identifier) (string, error) {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return "", err
	}
	return d.opt.PublicURL + "/rcsgw/invitee/optout/" + url.PathEscape(string(account)) + "?token=" + secret.PersonToken(key, string(account), secret.Person(key, who)), nil
}

// OptOutByToken opts the person out for whom OptOutLink made the token.
func (d *Desk) OptOutByToken(ctx context.Context, account, token string) error {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return err
	}
	id := accountOf(account)
	person, ok := secret.PersonOf(key, string(id), token)
	if !ok {
		return latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return d.optOut(ctx, key, person, id, func(ctx context.Context) (latchkey.Guest, error) {
		g, err := d.store.Guest(ctx, id)
		if err == nil && secret.Person(key, g.Identifier) != person {
			return g, latchkey.Errorf(latchkey.KindNotFound, "") // the account is another person's by now
		}
		return g, err
	})
}

// OptOutByPassword opts the guest out whose invitation has the password.
func (d *Desk) OptOutByPassword(ctx context.Context, account, password string, from netip.Addr) error {
	g, err := d.Authenticate(ctx, account, password, from)
	if latchkey.Is(err, latchkey.KindExpired) {
		// The password of one who has opted out already, or else of one whose invitation is over.
		if person, findErr := d.personOf(ctx, account); findErr == nil && person != "" {
			return nil
		}
	}
	if err != nil {
		return err
	}
	return d.OptOut(ctx, g.Identifier)
}

// OptIn takes back what a person said by OptOut.
func (d *Desk) OptIn(ctx context.Context, who latchkey.Identifier) error {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return err
	}
	return d.optIn(ctx, secret.Person(key, who))
}

// OptInByToken is OptIn for who has the token.
func (d *Desk) OptInByToken(ctx context.Context, account, token string) error {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return err
	}
	person, ok := secret.PersonOf(key, string(accountOf(account)), token)
	if !ok {
		return latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	return d.optIn(ctx, person)
}

// OptInByPassword is OptInByToken for who has a password that was right, as long as it is remembered.
func (d *Desk) OptInByPassword(ctx context.Context, account, password string, from netip.Addr) error {
	if _, err := d.Authenticate(ctx, account, password, from); err != nil && !latchkey.Is(err, latchkey.KindExpired) {
		return err
	}
	person, err := d.personOf(ctx, account)
	if err != nil || person == "" {
		return err
	}
	return d.optIn(ctx, person)
}

func (d *Desk) optIn(ctx context.Context, person string) error {
	d.log.Info("a person opted in again")
	return d.store.RemoveOptOut(ctx, person)
}

// personOf is who opted out and had the account then, or "".
func (d *Desk) personOf(ctx context.Context, account string) (string, error) {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return "", err
	}
	return d.store.OptedOutBy(ctx, secret.Person(key, holder(accountOf(account))))
}

// wantsNone reports whether a person has opted out.
func (d *Desk) wantsNone(ctx context.Context, who latchkey.Identifier) (bool, error) {
	key, err := d.store.Key(ctx, optOutKey)
	if err != nil {
		return false, err
	}
	return d.store.OptedOut(ctx, secret.Person(key, who))
}

package guest

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"

	"latchkey"
)

// Callee tells whom an inviter means who calls somebody by SIP (R1). names are the URIs of who is called, most telling
// first: a number as tel: or in a SIP URI (RFC 3261 §19.1.6), or a mailbox as sip:b_at_cc.com@… or sip:b%40cc.com@….
//
// A registered user is KindAlreadyRegistered, with the URI to call instead, or KindOffline where that was called already: such a call is
// not the desk's. KindNoRelation: the names tell nobody, or an account of others under its own URI. Only those know it whom a
// relation has told, so that who has none is a stranger (R31).
func (d *Desk) Callee(ctx context.Context, inviter latchkey.InviterID, names []string) (latchkey.Identifier, error) {
	var found latchkey.Identifier
	for _, name := range names {
		a, err := latchkey.ParseAddress(name)
		if err != nil {
			continue
		}
		if s, registered, err := d.RegisteredURI(ctx, a); err != nil {
			return found, err
		} else if registered && s.URI.SameIdentity(a) {
			return found, latchkey.Errorf(latchkey.KindOffline, "%s is a registered user", s.URI)
		} else if registered {
			e := latchkey.Errorf(latchkey.KindAlreadyRegistered, "%s is a registered user", s.URI)
			e.URI = s.URI.String()
			return found, e
		}
		if !isPhone(a) {
			others, err := d.store.Relations(ctx, latchkey.AccountID(a.Identity()))
			if err != nil {
				return found, err
			}
			related := func(r latchkey.Relation) bool { return r.Inviter == inviter } // since the caller looked
			if len(others) > 0 && !slices.ContainsFunc(others, related) {
				return latchkey.Identifier{}, latchkey.Wrap(latchkey.KindNoRelation, errors.New("an account of others under its own uri"), "")
			}
		}
		if id, ok := d.identify(a); ok && found.IsZero() {
			found = id
		}
	}
	if found.IsZero() {
		return found, latchkey.Wrap(latchkey.KindNoRelation, errors.New("the uri names neither number nor mailbox"), "")
	}
	return found, nil
}

// isPhone reports whether the address says itself that it is a number.
func isPhone(a latchkey.Address) bool {
	return a.Scheme() == "tel" || strings.HasSuffix(a.String(), ";user=phone") || strings.Contains(a.String(), ";user=phone;")
}

// identify reads the identifier that a URI stands for, as nameFor writes it and as phones do.
func (d *Desk) identify(a latchkey.Address) (latchkey.Identifier, bool) {
	host := strings.Trim(a.Host(), "[]")
	if _, err := netip.ParseAddr(host); err == nil {
		return latchkey.Identifier{}, false // a contact, not a name
	}
	if number := a.Number(); number != "" {
		id, err := latchkey.ParseTel(number)
		return id, err == nil
	}
	mailbox := a.User()
	if at := strings.LastIndex(mailbox, "_at_"); strings.Contains(mailbox, "@") {
		// as phones write it
	} else if d.opt.Scheme == Identical && host != d.domain() {
		mailbox += "@" + host
	} else if at > 0 {
		mailbox = mailbox[:at] + "@" + mailbox[at+len("_at_"):]
	}
	id, err := latchkey.ParseMail(mailbox)
	return id, err == nil
}

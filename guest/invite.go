package guest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"latchkey"
	"latchkey/internal/secret"
)

// Limits of what an inviter may write.
const (
	maxName = 80
	maxNote = 500
)

// InviteRequest is "please invite B" (patent step 203). Name is what the inviter calls the guest.
// The zero Channel means: as the identifier says (R8).
type InviteRequest struct {
	Inviter      latchkey.Subscriber
	Identifier   latchkey.Identifier
	Interactions []latchkey.Interaction // none: im
	Name, Note   string
	Channel      latchkey.Channel
	Language     string // BCP 47 tag that the invitation is written in; "": the inviter's own
	Speaks       string // the inviter's BCP 47 tag where the directory has none, or ""
}

// Invited is a relation as its inviter sees it. Created: this request made it.
type Invited struct {
	latchkey.Relation
	Identifier   latchkey.Identifier
	Created      bool
	Registered   bool // the account is registered at the core
	Notification latchkey.NotificationState
	Reason       string // why the notification failed, in words for the inviter
	GuestState   latchkey.GuestState
}

// Invite relates the inviter with the guest whom the identifier reaches, registers the guest's
// account and queues an invitation (patent steps 203-209). The same invitation again gives the
// same relation; a new link is sent if the last one failed or is older than Options.ResendAfter.
// If the core refuses, nothing is left behind (F12).
func (d *Desk) Invite(ctx context.Context, req InviteRequest) (Invited, error) {
	req, err := d.check(req)
	if err != nil {
		return Invited{}, err
	}
	// Judge before anything is allotted (R3, patent step 204).
	if !d.opt.Policy.Allows(req.Inviter) {
		return Invited{}, latchkey.Errorf(latchkey.KindNotAllowed, "your subscription does not include invitations")
	}
	if !d.opt.Targets.Allows(req.Identifier) {
		return Invited{}, latchkey.Errorf(latchkey.KindNotAllowed, "invitations to this address are not allowed here")
	}
	if b, registered, err := d.Registered(ctx, req.Identifier); err != nil {
		return Invited{}, err
	} else if registered {
		e := latchkey.Errorf(latchkey.KindAlreadyRegistered, "%s is a registered user; write to them directly", req.Identifier)
		e.URI = b.URI.String()
		return Invited{}, e
	}
	// Whoever is registered needs no channel (R10), so this comes second.
	if !slices.Contains(d.opt.Channels, req.Channel) {
		return Invited{}, latchkey.Errorf(latchkey.KindBadRequest, "channel: invitations by %s are not set up here", req.Channel)
	}
	if d.opt.OptedOut == Refuse {
		if out, err := d.wantsNone(ctx, req.Identifier); err != nil {
			return Invited{}, err
		} else if out {
			return Invited{}, latchkey.Errorf(latchkey.KindNotAllowed, "this person takes no invitations")
		}
	}
	release, err := d.turns.Take(ctx, req.Identifier.Value)
	if err != nil {
		return Invited{}, err
	}
	defer release()
	rel, err := d.ask(ctx, req)
	if err != nil {
		return Invited{}, err
	}
	if rel.State == latchkey.Asked {
		return d.begin(ctx, rel, req)
	}
	return d.again(ctx, rel, req)
}

// check brings a request into form.
func (d *Desk) check(req InviteRequest) (InviteRequest, error) {
	if req.Identifier.IsZero() {
		return req, latchkey.Errorf(latchkey.KindBadIdentifier, "an e-mail address or a telephone number is needed")
	}
	if req.Inviter.URI.IsZero() {
		return req, latchkey.Errorf(latchkey.KindUnauthorized, "")
	}
	var interactions []latchkey.Interaction
	for _, i := range []latchkey.Interaction{latchkey.IM, latchkey.File} { // one order, none twice
		if slices.Contains(req.Interactions, i) || len(req.Interactions) == 0 && i == latchkey.IM {
			interactions = append(interactions, i)
		}
	}
	for _, i := range req.Interactions {
		if _, err := latchkey.ParseInteraction(string(i)); err != nil {
			return req, err
		}
	}
	req.Interactions = interactions
	req.Name, req.Note = plain(req.Name, false), plain(req.Note, true)
	if utf8.RuneCountInString(req.Name) > maxName {
		return req, latchkey.Errorf(latchkey.KindBadRequest, "name: is longer than %d characters", maxName)
	}
	if utf8.RuneCountInString(req.Note) > maxNote {
		return req, latchkey.Errorf(latchkey.KindBadRequest, "note: is longer than %d characters", maxNote)
	}
	switch {
	case req.Channel == "" && req.Identifier.Kind == latchkey.Tel:
		req.Channel = latchkey.BySMS
		if !slices.Contains(d.opt.Channels, latchkey.BySMS) && slices.Contains(d.opt.Channels, latchkey.ByMMS) {
			req.Channel = latchkey.ByMMS
		}
	case req.Channel == "":
		req.Channel = latchkey.ByMail
	case (req.Channel == latchkey.ByMail) != (req.Identifier.Kind == latchkey.Mail):
		return req, latchkey.Errorf(latchkey.KindBadRequest, "channel: %s does not reach %s", req.Channel, req.Identifier)
	}
	return req, nil
}

// plain drops what has no place in a line of text: control characters, and those that turn the
// direction of the text around it (S9).
func plain(s string, lines bool) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' && lines:
			return r
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r), r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x2028, r == 0x2029, r == utf8.RuneError:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	return strings.TrimSpace(s)
}

// ask writes down the guest and the relation, or finds those that stand. A relation that is
// ending or over is ended first: the turn is ours, so nobody else is at it.
func (d *Desk) ask(ctx context.Context, req InviteRequest) (latchkey.Relation, error) {
	now := time.Now()
	for range 3 {
		var sipPassword latchkey.Secret
		g, err := d.store.GuestBy(ctx, req.Identifier)
		if latchkey.Is(err, latchkey.KindNotFound) {
			g = latchkey.Guest{Identifier: req.Identifier, Created: now}
			g.Account, sipPassword, err = d.allot(ctx, req.Identifier)
		}
		if err != nil {
			return latchkey.Relation{}, err
		}
		want := relationOf(req, g.Account, now, d.opt.Lifetime)
		_, rel, err := d.store.Ask(ctx, g, want)
		switch {
		case latchkey.Is(err, latchkey.KindConflict) && d.opt.Scheme == Allotted:
			return latchkey.Relation{}, latchkey.Wrap(latchkey.KindDirectoryFailed, fmt.Errorf("the directory allots %s to two people", g.Account), "")
		case latchkey.Is(err, latchkey.KindConflict):
			// The name is another guest's: the operator changed the scheme.
			if g.Account, err = d.serial(ctx); err == nil {
				want.Account = g.Account
				_, rel, err = d.store.Ask(ctx, g, want)
			}
		case err == nil && sipPassword != "":
			// A crash before this leaves a relation that is asked for, which Resume undoes together with the account.
			err = d.store.KeepSIPPassword(ctx, g.Account, sipPassword)
		}
		switch {
		case err != nil:
			return latchkey.Relation{}, err
		case rel.State == latchkey.Live && rel.Expired(now):
			if _, err := d.store.BeginEnding(ctx, []latchkey.RelationID{rel.ID}, latchkey.ValidityOver); err != nil {
				return latchkey.Relation{}, err
			}
		case rel.State != latchkey.Ending:
			return rel, nil
		}
		if err := d.finish(ctx, g.Account); err != nil {
			return latchkey.Relation{}, err
		}
	}
	return latchkey.Relation{}, latchkey.Errorf(latchkey.KindBusy, "")
}

func relationOf(req InviteRequest, account latchkey.AccountID, now time.Time, lifetime time.Duration) latchkey.Relation {
	return latchkey.Relation{
		ID: latchkey.NewRelationID(), Account: account, State: latchkey.Asked,
		Inviter: req.Inviter.ID(), InviterUID: req.Inviter.UID, InviterName: plain(req.Inviter.Name, false), InviterTel: req.Inviter.Tel,
		Interactions: req.Interactions, Note: req.Note, Created: now, Expires: now.Add(lifetime),
	}
}

// begin registers the account of a relation that is asked for and makes it live.
func (d *Desk) begin(ctx context.Context, rel latchkey.Relation, req InviteRequest) (Invited, error) {
	fresh := relationOf(req, rel.Account, time.Now(), d.opt.Lifetime)
	fresh.ID, fresh.Created = rel.ID, rel.Created // a crash may have left this one; what it asked for is out of date
	n, err := d.notify(ctx, fresh, req)
	if err != nil {
		return Invited{}, errors.Join(err, d.undo(ctx, rel, n.ID))
	}
	d.log.Info("relation begins", latchkey.LogRelation, rel.ID, latchkey.LogInviter, rel.Inviter, latchkey.LogGuest, rel.Account, "channel", req.Channel)
	if err := d.conversations.Open(ctx, n.relation); err != nil {
		d.log.Error("guest was not told of a relation", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
	}
	return Invited{Relation: n.relation, Identifier: req.Identifier, Created: true, Registered: true,
		Notification: latchkey.NotificationQueued, GuestState: d.guestState(latchkey.Invitation{Relation: n.relation})}, nil
}

// again answers an invitation to somebody whom the inviter has invited before (F08).
func (d *Desk) again(ctx context.Context, rel latchkey.Relation, req InviteRequest) (Invited, error) {
	was, err := d.store.Invitation(ctx, rel.ID)
	if err != nil {
		return Invited{}, err
	}
	wanted := rel
	for _, i := range req.Interactions {
		if !rel.Allows(i) {
			wanted.Interactions = append(slices.Clip(wanted.Interactions), i)
		}
	}
	switch {
	case was.Notification == latchkey.NotificationFailed || time.Since(was.Notified) >= d.opt.ResendAfter:
		fresh := relationOf(req, rel.Account, rel.Created, 0)
		fresh.ID, fresh.Expires, fresh.Interactions = rel.ID, time.Now().Add(d.opt.Lifetime), wanted.Interactions
		n, err := d.notify(ctx, fresh, req)
		if err != nil {
			return Invited{}, errors.Join(err, d.refund(ctx, n.ID))
		}
		wanted, was.Notification, was.Reason = n.relation, latchkey.NotificationQueued, ""
		d.log.Info("invitation is sent again", latchkey.LogRelation, rel.ID, latchkey.LogInviter, rel.Inviter, latchkey.LogGuest, rel.Account)
	case len(wanted.Interactions) > len(rel.Interactions):
		if err := d.registrar.Keep(ctx, rel.Account, wanted.Interactions); err != nil {
			return Invited{}, err
		}
		if err := d.store.Renew(ctx, wanted); err != nil {
			return Invited{}, err
		}
	}
	was.Relation = wanted
	return d.invited(was), nil
}

// clocks is how far those of several nodes may be apart.
const clocks = 90 * time.Second

// queued is what notify has written down.
type queued struct {
	ID       string // of the allowance that was spent; "" if none was
	relation latchkey.Relation
}

// notify spends the inviter's allowance, registers the account, and makes the relation live
// together with a password and a notice that carries it. The allowance's id is set also where
// an error came after it.
func (d *Desk) notify(ctx context.Context, rel latchkey.Relation, req InviteRequest) (queued, error) {
	id := latchkey.NewToken()
	// The allowance counts for longer than it takes to come to Settle, here or at a node with another clock.
	ctx, cancel := context.WithTimeout(ctx, d.opt.Registering)
	defer cancel()
	wait, err := d.store.Spend(ctx, id, rel.Inviter, req.Identifier, time.Now(), d.opt.Registering+clocks, *d.opt.Quota)
	if err != nil {
		return queued{}, err
	}
	if wait > 0 {
		e := latchkey.Errorf(latchkey.KindQuota, "too many invitations; try again later")
		e.RetryAfter = wait
		return queued{}, e
	}
	if err := d.registrar.Keep(ctx, rel.Account, rel.Interactions); err != nil {
		return queued{ID: id}, fmt.Errorf("register %s: %w", rel.Account, err)
	}
	out, err := d.wantsNone(ctx, req.Identifier)
	if err != nil {
		return queued{ID: id}, err
	}
	password, hash := secret.New()
	rel.State = latchkey.Live
	n := latchkey.Notice{
		ID: id, Relation: rel.ID, Channel: req.Channel, Recipient: req.Identifier.Value, GuestName: req.Name,
		Account: rel.Account, Inviter: rel.Inviter, InviterName: rel.InviterName, Note: latchkey.Text(rel.Note),
		Link: d.link(rel.Account, password), Created: time.Now(), Expires: rel.Expires, Language: cmp.Or(req.Language, req.Inviter.Language),
		Speaks: cmp.Or(req.Inviter.Language, req.Speaks, req.Language),
	}
	n.Due = n.Created.Add(d.opt.Merge)
	if out {
		n.Link = "" // so it never goes, and for its inviter it has gone (F18)
	}
	if err := d.store.Settle(ctx, rel, hash.Salt, hash.Sum, n); err != nil {
		return queued{ID: id}, err
	}
	d.opt.Notify()
	return queued{id, rel}, nil
}

// link is the invitation link (R7, patent ¶87). In a fragment the password is sent to no server.
func (d *Desk) link(account latchkey.AccountID, password latchkey.Secret) latchkey.Secret {
	sep := "?"
	if d.opt.LinkStyle == Fragment {
		sep = "#"
	}
	return latchkey.Secret(d.opt.PublicURL + "/rcsgw/invitee/session/" + url.PathEscape(string(account)) + sep + "passwd=" + password.Reveal())
}

// undo leaves nothing of a relation that never became live, nor of its account if that has no
// other. The caller may be gone by now.
func (d *Desk) undo(ctx context.Context, rel latchkey.Relation, allowance string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), d.opt.Patience)
	defer cancel()
	return errors.Join(d.refund(ctx, allowance), d.finish(ctx, rel.Account))
}

func (d *Desk) refund(ctx context.Context, allowance string) error {
	if allowance == "" {
		return nil
	}
	return d.store.Refund(context.WithoutCancel(ctx), allowance)
}

// Invitations lists whom an inviter has invited, newest first.
func (d *Desk) Invitations(ctx context.Context, inviter latchkey.InviterID) ([]Invited, error) {
	rows, err := d.store.Invitations(ctx, inviter)
	if err != nil {
		return nil, fmt.Errorf("invitations of %s: %w", inviter, err)
	}
	all := make([]Invited, len(rows))
	for i, row := range rows {
		all[i] = d.invited(row)
	}
	return all, nil
}

func (d *Desk) invited(v latchkey.Invitation) Invited {
	return Invited{Relation: v.Relation, Identifier: v.Identifier, Registered: true, Notification: v.Notification, Reason: v.Reason, GuestState: d.guestState(v)}
}

func (d *Desk) guestState(v latchkey.Invitation) latchkey.GuestState {
	switch {
	case d.opt.Online(v.Account):
		return latchkey.GuestOnline
	case v.LastLogin.IsZero():
		return latchkey.GuestInvited
	}
	return latchkey.GuestOffline
}

// Registered tells whether the identifier is a registered user's (R10, patent steps 201-203).
func (d *Desk) Registered(ctx context.Context, id latchkey.Identifier) (latchkey.Subscriber, bool, error) {
	return found(d.directory.Find(ctx, id))
}

// RegisteredURI is Registered for a SIP or TEL URI.
func (d *Desk) RegisteredURI(ctx context.Context, a latchkey.Address) (latchkey.Subscriber, bool, error) {
	return found(d.directory.FindURI(ctx, a))
}

func found(s latchkey.Subscriber, err error) (latchkey.Subscriber, bool, error) {
	if latchkey.Is(err, latchkey.KindNotFound) {
		return latchkey.Subscriber{}, false, nil
	}
	if err != nil {
		return latchkey.Subscriber{}, false, fmt.Errorf("directory: %w", err)
	}
	return s, true, nil
}

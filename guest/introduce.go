package guest

import (
	"context"

	"latchkey"
)

// Introduction is what it comes to when a registered user turns by SIP to somebody who isn't one (R1).
type Introduction struct {
	Inviter    latchkey.Subscriber
	Identifier latchkey.Identifier
}

// Introduction tells which of those who are asserted turns to whom of those who are called, as Callee tells it. nil: nobody of the former is registered.
func (d *Desk) Introduction(ctx context.Context, asserted, called []string) (*Introduction, error) {
	for _, identity := range asserted {
		a, err := latchkey.ParseAddress(identity)
		if err != nil {
			continue
		}
		s, registered, err := d.RegisteredURI(ctx, a)
		if err != nil {
			return nil, err
		}
		if registered {
			identifier, err := d.Callee(ctx, s.ID(), called)
			if err != nil {
				return nil, err
			}
			return &Introduction{s, identifier}, nil
		}
	}
	return nil, nil
}

// Introduce invites by the rules of all (R3-R8), in the languages of an Accept-Language value. word is what the inviter is to be told of that; "":
// nothing, since the two are related already. KindNoRelation, too: there is no way to reach this person.
func (d *Desk) Introduce(ctx context.Context, i Introduction, languages string) (rel latchkey.Relation, word string, err error) {
	invited, err := d.Invite(ctx, InviteRequest{Inviter: i.Inviter, Identifier: i.Identifier, Speaks: latchkey.PreferredLanguage(languages)})
	switch {
	case latchkey.Is(err, latchkey.KindBadRequest):
		return rel, "", latchkey.Wrap(latchkey.KindNoRelation, err, "")
	case err != nil:
		return rel, "", err
	case invited.Created:
		word = Announcement(languages, i.Identifier)
	}
	return invited.Relation, word, nil
}

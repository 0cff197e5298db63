package gateway

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"latchkey"
	"latchkey/b2bua"
	"latchkey/guest"
	"latchkey/msrp/msrpsdp"
)

// approach is how somebody turns to somebody: an INVITE or MESSAGE outside of any dialog.
type approach struct {
	called, asserted []string // names of who is called; identities that a trusted neighbour asserts of the caller
	languages        string   // Accept-Language
	chat             bool     // it asks for a chat or says something, and so may be an invitation

	found *guest.Introduction // what it comes to, once that has been looked up
}

// meet finds the relation of an approach. Where there is none, a registered user's approach to somebody who isn't registered
// is an invitation, and word is what the user is to be told of that.
func (d *doorkeeper) meet(ctx context.Context, a approach) (rel latchkey.Relation, word string, err error) {
	rel, err = d.relate(ctx, a.called, a.asserted)
	if !latchkey.Is(err, latchkey.KindNoRelation) {
		return rel, "", err
	}
	if lookedUp := d.introduces(ctx, &a); lookedUp != nil {
		err = lookedUp
	}
	if a.found == nil {
		return rel, "", err
	}
	return d.desk.Introduce(ctx, *a.found, a.languages)
}

// introduces looks up what an approach comes to, unless that is known: found stays nil where it is no invitation. An error says whom it is
// meant for instead.
func (d *doorkeeper) introduces(ctx context.Context, a *approach) (err error) {
	if a.found == nil && d.inviteBySIP && a.chat {
		a.found, err = d.desk.Introduction(ctx, a.asserted, a.called)
	}
	return err
}

// invites reports whether an approach that could go on through the core is an invitation: a registered user's to somebody whom the
// directory does not know, and who can be reached by mail or telephone.
func (d *doorkeeper) invites(ctx context.Context, a *approach) bool {
	return d.introduces(ctx, a) == nil && a.found != nil
}

func approachOf(in *b2bua.Incoming) approach {
	return approach{called: in.Called(), asserted: in.Asserted(), languages: in.Header("Accept-Language"), chat: asksToChat(in.Offer())}
}

// asksToChat reports whether an offer is for MSRP without a file: not every call is the beginning of a chat.
func asksToChat(offer []byte) bool {
	media, err := msrpsdp.Parse(offer)
	return err == nil && media.File == nil
}

// refusal is how an error of ours looks in SIP: the table's code, when to try again, and, of a registered user, where
// they are (R10; RFC 3261 §21.3.3).
func refusal(err error) (code int, fields []b2bua.Field) {
	code = latchkey.KindOf(err).Row().SIP
	if wait := latchkey.RetryAfter(err); wait > 0 {
		fields = append(fields, b2bua.Field{Name: "Retry-After", Value: strconv.Itoa(int((wait + time.Second - 1) / time.Second))})
	}
	if e, ok := errors.AsType[*latchkey.Error](err); ok && e.URI != "" {
		fields = append(fields, b2bua.Field{Name: "Contact", Value: "<" + e.URI + ">"})
	}
	if code == latchkey.KindUnsupportedMedia.Row().SIP {
		fields = append(fields, b2bua.Field{Name: "Accept", Value: strings.Join(pageTypes, ", ")})
	}
	return code, fields
}

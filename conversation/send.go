package conversation

import (
	"context"
	"time"
	"unicode/utf8"

	"latchkey"
	"latchkey/cpim"
)

// Outgoing is what a guest sends.
type Outgoing struct {
	ClientID string // the client's own id; a repeat under it is not sent twice
	Text     latchkey.Text
}

// Send stores a guest's message and lets the relation's loop deliver it. When it returns without an error the
// message is on disk (X4). repeated: the ClientID was used for the same text before.
func (h *Hall) Send(ctx context.Context, rel latchkey.Relation, out Outgoing) (m latchkey.Message, repeated bool, err error) {
	text := out.Text.Reveal()
	switch {
	case !rel.Allows(latchkey.IM):
		return m, false, latchkey.Errorf(latchkey.KindNoRelation, "the invitation is not for messages")
	case text == "":
		return m, false, latchkey.Errorf(latchkey.KindBadRequest, "message: is empty")
	case len(text) > h.opt.MaxText:
		return m, false, latchkey.Errorf(latchkey.KindTooLarge, "message: is longer than %d octets", h.opt.MaxText)
	case !utf8.ValidString(text):
		return m, false, latchkey.Errorf(latchkey.KindBadRequest, "message: is not valid UTF-8")
	case len(out.ClientID) > 128:
		return m, false, latchkey.Errorf(latchkey.KindBadRequest, "id: is longer than 128 characters")
	}
	if err := h.reachable(ctx, rel); err != nil {
		return m, false, err
	}
	m = latchkey.Message{
		ID: latchkey.NewMessageID(), Relation: rel.ID, Account: rel.Account, Inviter: rel.Inviter, Direction: latchkey.ToInviter,
		ContentType: "text/plain", Text: out.Text, State: latchkey.MessageAccepted, ClientID: out.ClientID, Time: time.Now().UTC(),
	}
	m, repeated, err = h.store.AddToInviter(ctx, m)
	if err != nil {
		return m, false, err
	}
	if !repeated {
		h.nudge(rel)
	}
	return m, repeated, nil
}

// reachable is KindOffline where the operator wants guests to send only while the inviter is online, who isn't (R25).
func (h *Hall) reachable(ctx context.Context, rel latchkey.Relation) error {
	if !h.opt.RequireOnline {
		return nil
	}
	status, err := h.presence.Status(ctx, rel.Account, rel.Inviter.Address())
	if err == nil && status.State != latchkey.StatusOnline {
		err = latchkey.Errorf(latchkey.KindOffline, "The inviter is offline; try again when they are back.")
	}
	return err
}

// wrap puts a content into CPIM between guest and inviter.
func wrap(rel latchkey.Relation, contentType string, body []byte) *cpim.Message {
	return &cpim.Message{
		From: cpim.Party{URI: string(rel.Account)}, To: cpim.Party{URI: string(rel.Inviter)},
		DateTime: time.Now(), ContentType: contentType, Body: body,
	}
}

// envelope is a guest's message as it goes to the inviter: CPIM that asks for both notifications
// (RFC 5438 §7.1.1; F28).
func envelope(rel latchkey.Relation, m latchkey.Message) ([]byte, error) {
	e := wrap(rel, "text/plain; charset=utf-8", []byte(m.Text.Reveal()))
	e.DateTime = m.Time
	e.MessageID = string(m.ID)
	e.Disposition = []cpim.Disposition{cpim.PositiveDelivery, cpim.Display}
	return e.Bytes()
}

// notification is a receipt as it goes to the inviter: an IMDN in CPIM that asks for nothing itself
// (RFC 5438 §7.2.1).
func notification(rel latchkey.Relation, r latchkey.Receipt) (id string, body []byte, err error) {
	n := cpim.Notification{MessageID: r.RemoteID, DateTime: r.Time, RecipientURI: string(rel.Account), Kind: cpim.DeliveryNotification, Status: cpim.Delivered}
	if r.Displayed {
		n.Kind, n.Status = cpim.DisplayNotification, cpim.Displayed
	}
	e := wrap(rel, cpim.IMDNType, n.XML())
	// The receipt's own id is made from the message's, so that a repeat after a crash is a repeat.
	e.MessageID = string(r.Message) + ".d"
	if r.Displayed {
		e.MessageID = string(r.Message) + ".r"
	}
	e.ContentHeaders = []cpim.Header{{Name: "Content-Disposition", Value: "notification"}}
	body, err = e.Bytes()
	return e.MessageID, body, err
}

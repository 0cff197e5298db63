package conversation

import (
	"cmp"
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey"
	"latchkey/cpim"
)

// receiver takes what comes on a relation's channels. It is the Receiver port's other side.
type receiver struct {
	hall *Hall
	rel  latchkey.Relation
	id   string // of a message that has none of its own; "": none
}

// Receive stores what an inviter sent. When it returns nil, the message and its event are on disk, so the
// inviter's phone may get its 200 (step 513, X4).
func (v *receiver) Receive(ctx context.Context, _ Channel, contentType string, body []byte) error {
	switch media(contentType) {
	case cpim.Type:
		m, err := cpim.Parse(body)
		if err != nil {
			return latchkey.Wrap(latchkey.KindBadRequest, err, "")
		}
		return v.unwrap(ctx, m)
	case cpim.ComposingType:
		return v.composing(body)
	}
	return v.message(ctx, contentType, body, "", false, false)
}

func (v *receiver) unwrap(ctx context.Context, m *cpim.Message) error {
	if m.Notifies() {
		return v.notified(ctx, m)
	}
	body, err := m.Decoded()
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	if m.Content() == cpim.ComposingType {
		return v.composing(body)
	}
	if m.Content() == cpim.FileTransferType && v.hall.opt.Porter != nil {
		return v.offered(ctx, m, body)
	}
	return v.message(ctx, m.ContentType, body, m.MessageID, m.Wants(cpim.PositiveDelivery), m.Wants(cpim.Display))
}

// message stores a message for the guest. What is no text is told as a notice rather than lost.
func (v *receiver) message(ctx context.Context, contentType string, body []byte, remoteID string, wantDelivered, wantDisplayed bool) error {
	text := string(body)
	if t := media(contentType); t != "text/plain" && t != "" || !utf8.ValidString(text) {
		text = "[" + media(contentType) + ": this kind of message can't be shown here]"
	}
	if text == "" {
		return nil
	}
	now := time.Now().UTC()
	m := latchkey.Message{
		ID: latchkey.NewMessageID(), Relation: v.rel.ID, Account: v.rel.Account, Inviter: v.rel.Inviter, Direction: latchkey.ToGuest,
		ContentType: "text/plain", Text: latchkey.Text(text), State: latchkey.MessageAccepted, Time: now,
		RemoteID: cmp.Or(remoteID, v.id), WantDelivered: wantDelivered && remoteID != "", WantDisplayed: wantDisplayed && remoteID != "",
	}
	e := latchkey.Event{
		Type: latchkey.MessageEvent, Time: now, Account: v.rel.Account, From: string(v.rel.Inviter),
		Message: &latchkey.EventMessage{ID: m.ID, Text: text, Type: m.ContentType},
	}
	repeated, err := v.hall.store.AddToGuest(ctx, m, e)
	if err != nil {
		return err
	}
	if repeated {
		return nil // RFC 5438 §7.2.1: taken before, not told twice
	}
	v.hall.wakeStreams(v.rel.Account)
	v.hall.opt.News(e)
	v.hall.tell(v.rel, func(r *room) { r.heard() }) // RFC 3994 §3.2: a message ends composing
	return nil
}

// notified moves our messages as the inviter's IMDNs say.
func (v *receiver) notified(ctx context.Context, m *cpim.Message) error {
	notifications, err := m.Notifications()
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	for _, n := range notifications {
		var to latchkey.MessageState
		reason := ""
		switch {
		case n.Kind == cpim.DeliveryNotification && n.Status == cpim.Delivered:
			to = latchkey.MessageDelivered
		case n.Kind == cpim.DisplayNotification && n.Status == cpim.Displayed:
			to = latchkey.MessageDisplayed
		case n.Kind == cpim.DeliveryNotification && (n.Status == cpim.Failed || n.Status == cpim.Forbidden || n.Status == cpim.ErrorSeen):
			to, reason = latchkey.MessageFailed, "The inviter's network could not deliver it."
		default:
			continue
		}
		moved, err := v.hall.store.Move(ctx, v.rel.ID, latchkey.MessageID(n.MessageID), to, reason)
		if latchkey.Is(err, latchkey.KindNotFound) { // a file that was offered by HTTP, or nothing of ours
			moved, err = v.hall.store.MoveFile(ctx, v.rel.ID, latchkey.FileID(n.MessageID), fileState(to), reason)
		}
		if err != nil && !latchkey.Is(err, latchkey.KindNotFound) {
			return err
		}
		if moved {
			v.hall.wakeStreams(v.rel.Account)
		}
	}
	return nil
}

// fileState is what an IMDN says of a file.
func fileState(s latchkey.MessageState) latchkey.FileState {
	return map[latchkey.MessageState]latchkey.FileState{
		latchkey.MessageDelivered: latchkey.FileDelivered, latchkey.MessageDisplayed: latchkey.FileDisplayed, latchkey.MessageFailed: latchkey.FileFailed,
	}[s]
}

func (v *receiver) composing(body []byte) error {
	c, err := cpim.ParseComposing(body)
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	v.hall.tell(v.rel, func(r *room) { r.composes(c.Active, c.Lapse()) })
	return nil
}

// tell is post where it does no harm if the room is too busy.
func (h *Hall) tell(rel latchkey.Relation, f func(*room)) {
	if _, err := h.post(rel, f); err != nil {
		h.log.Debug("room not told", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
	}
}

func media(contentType string) string {
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

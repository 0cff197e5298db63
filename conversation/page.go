package conversation

import (
	"context"
	"time"

	"latchkey"
	"latchkey/cpim"
)

// Arrival is one message of an inviter outside of any channel (SIP MESSAGE).
type Arrival struct {
	ID          string // stands for an imdn.Message-ID where the message has none, so that a repeat is a repeat
	ContentType string
	Body        []byte
}

// Arrived takes a message for a relation that the caller has authorized. When it returns nil, the message is on disk and waits for the guest,
// who may be away (X4, PROTOCOLS B3.14); notifications and composing have been told.
func (h *Hall) Arrived(ctx context.Context, rel latchkey.Relation, a Arrival) error {
	if !rel.Allows(latchkey.IM) {
		return latchkey.Errorf(latchkey.KindNoRelation, "")
	}
	v := &receiver{hall: h, rel: rel, id: a.ID}
	return v.Receive(ctx, nil, a.ContentType, a.Body)
}

// Tell sends the inviter a word of the system in the conversation, on the open channel or by SIP MESSAGE. It asks for no
// notification, is no message of the guest, and is sent once, or not at all.
func (h *Hall) Tell(rel latchkey.Relation, text string) {
	h.tell(rel, func(r *room) { r.announce(latchkey.NewMessageID(), text, func(error) {}) })
}

// Convey is Tell for a word that must not be lost: it returns nil when the inviter's side has it. Who repeats it under the same id may
// have it shown once. A *CallRefused that is Final says that a repeat would end the same.
func (h *Hall) Convey(ctx context.Context, rel latchkey.Relation, id latchkey.MessageID, text string) error {
	over := make(chan error, 1)
	if _, err := h.post(rel, func(r *room) { r.announce(id, text, func(err error) { over <- err }) }); err != nil {
		return err
	}
	select {
	case err := <-over:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// announce sends a word, and says at the end, from outside of the loop or from within, how it went.
func (r *room) announce(id latchkey.MessageID, text string, over func(error)) {
	e := wrap(r.rel, "text/plain; charset=utf-8", []byte(text))
	e.DateTime, e.MessageID = time.Now(), string(id)
	body, err := e.Bytes()
	if err == nil && r.ending {
		err = latchkey.Errorf(latchkey.KindNoRelation, "")
	}
	if err != nil {
		over(err)
		return
	}
	ch := r.channel
	r.beside(func() func(*room) { // ends with sendTimeout
		taken := true
		if ch != nil {
			taken, err = r.send(ch, e.MessageID, body)
		} else {
			err = r.page(cpim.Type, body)
		}
		if err == nil && !taken {
			err = &CallRefused{Code: 415, Reason: "not taken in the session"}
		}
		if err != nil {
			r.hall.log.Info("inviter not told", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
		over(err)
		return nil
	})
}

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
	h.tell(rel, func(r *room) { r.announce(text) })
}

func (r *room) announce(text string) {
	e := wrap(r.rel, "text/plain; charset=utf-8", []byte(text))
	e.DateTime, e.MessageID = time.Now(), string(latchkey.NewMessageID())
	body, err := e.Bytes()
	if err != nil || r.ending {
		return
	}
	ch := r.channel
	r.beside(func() func(*room) { // ends with sendTimeout
		if ch != nil {
			_, err = r.send(ch, e.MessageID, body)
		} else {
			err = r.page(cpim.Type, body)
		}
		if err != nil {
			r.hall.log.Info("inviter not told", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
		}
		return nil
	})
}

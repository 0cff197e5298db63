package conversation

import (
	"context"
	"errors"

	"latchkey"
	"latchkey/cpim"
)

// CutOff is the end of an inviter's file in the middle, of which a part is kept: the inviter's phone may go on with it (RFC 5547 §8.1).
type CutOff struct {
	File latchkey.StoredFile
	Got  int64 // octets that are here
}

// Error tells it.
func (e *CutOff) Error() string { return "the file did not come to its end, and its beginning is kept" }

// IncomingFile is an inviter's INVITE that offers a file, not answered yet.
type IncomingFile interface {
	CallID() string
	// Answer makes room for the file and answers the call. What could not be answered is left to Refuse.
	Answer(ctx context.Context) error
	// Take returns when the file is complete on disk, its event with it, or when it won't be: *CutOff where a part of it is kept. The
	// call is over then. It gives up when ctx ends.
	Take(ctx context.Context) error
	Refuse(code int, reason string) error
}

// FileArrived wakes the guest's streams: an inviter's file is complete, or failed, and its event is in the store.
func (h *Hall) FileArrived(f latchkey.StoredFile) {
	h.wakeStreams(f.Account)
	if f.State != latchkey.FileFailed {
		h.opt.News(latchkey.Event{Type: latchkey.FileEvent, Time: f.Time, Account: f.Account, From: string(f.Inviter), File: f.Event()})
	}
}

// ServeFile takes an inviter's INVITE that offers a file, for a relation that the caller has authorized. It returns when the call is
// answered or refused; the file comes beside it, and ends with the relation at the latest.
func (h *Hall) ServeFile(ctx context.Context, rel latchkey.Relation, call IncomingFile) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	taking, stop := context.WithCancel(h.ctx)
	r, err := h.admitFile(ctx, rel, call, func() { cancel(); stop() })
	if err == nil {
		err = call.Answer(ctx)
	}
	over := func(err error) {
		if cut, ok := errors.AsType[*CutOff](err); ok && taking.Err() == nil {
			h.tellCutOff(rel, cut)
		}
		stop()
		if err != nil {
			h.log.Info("file not taken", latchkey.LogRelation, rel.ID, latchkey.LogCallID, call.CallID(), latchkey.LogError, err)
		}
		h.wakeStreams(rel.Account)
		if r != nil {
			r.back(func(r *room) { delete(r.freight.arriving, call) })
		}
	}
	if err != nil {
		_ = call.Refuse(latchkey.KindOf(err).Row().SIP, "")
		over(err)
		return
	}
	h.running.Go(func() { over(call.Take(taking)) }) // ends with the file, or with stop; the room waits for it
}

// tellCutOff tells the guest that an inviter's file has come in part, which is no news once that is erased.
func (h *Hall) tellCutOff(rel latchkey.Relation, cut *CutOff) {
	e := latchkey.Event{Type: latchkey.DeliveryEvent, Account: rel.Account, From: string(rel.Inviter), Lapses: cut.File.Expires, File: cut.File.Event()}
	e.File.State, e.File.Sent, e.File.Reason = latchkey.FileReceiving, cut.Got, "The connection broke. What came is kept until the inviter's phone goes on."
	ctx, cancel := context.WithTimeout(h.ctx, storeTimeout)
	defer cancel()
	if err := h.Post(ctx, e); err != nil {
		h.log.Warn("guest not told of a part of a file", latchkey.LogRelation, rel.ID, latchkey.LogError, err)
	}
}

func (h *Hall) admitFile(ctx context.Context, rel latchkey.Relation, call IncomingFile, stop func()) (*room, error) {
	if !rel.Allows(latchkey.File) {
		return nil, latchkey.Errorf(latchkey.KindNotAllowed, "the invitation is not for files")
	}
	if _, err := h.store.ConversationID(ctx, rel.ID); err != nil {
		return nil, err // it is ending
	}
	return h.post(rel, func(r *room) {
		if r.freight.arriving[call] = stop; r.ending {
			stop()
		}
	})
}

// offered takes a message that tells where a file of the inviter's is to be fetched (PROTOCOLS B3.13). Nil: it will be, whatever
// happens to us.
func (v *receiver) offered(ctx context.Context, m *cpim.Message, body []byte) error {
	if !v.rel.Allows(latchkey.File) {
		return latchkey.Errorf(latchkey.KindNotAllowed, "the invitation is not for files")
	}
	t, err := cpim.ParseFileTransfer(body)
	if err != nil {
		return latchkey.Wrap(latchkey.KindBadRequest, err, "")
	}
	preview := ""
	if t.Thumbnail != nil {
		preview = t.Thumbnail.URL
	}
	known := m.MessageID != ""
	return v.hall.opt.Porter.Promised(ctx, latchkey.StoredFile{
		Relation: v.rel.ID, Account: v.rel.Account, Inviter: v.rel.Inviter, Direction: latchkey.ToGuest,
		Name: t.File.Name, Size: t.File.Size, Type: t.File.ContentType, Source: latchkey.Secret(t.File.URL), RemoteID: m.MessageID,
		WantDelivered: known && m.Wants(cpim.PositiveDelivery), WantDisplayed: known && m.Wants(cpim.Display),
	}, preview)
}

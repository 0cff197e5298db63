package conversation

import (
	"context"
	"errors"

	"latchkey"
	"latchkey/cpim"
)

// refusesRange reports whether a part of a file was not acceptable.
func refusesRange(err error) bool {
	refused, ok := errors.AsType[*CallRefused](err)
	return ok && (refused.Code == 488 || refused.Code == 606)
}

// fileVerdict says of what a carriage came to whether it is the last word, and why in words for the guest.
func fileVerdict(err error) (reason string, final bool) {
	if refused, ok := errors.AsType[*CallRefused](err); ok {
		switch refused.Code {
		case 413:
			return "It is too large for the inviter's phone.", true
		case 415, 488, 606:
			return "The inviter's phone can't take this file.", true
		case 603, 607, 608:
			return "The inviter declined the file.", true
		case 403:
			return "The network does not allow this file.", true
		}
		return verdict(refused.Code)
	}
	if refused, ok := errors.AsType[*MSRPRefused](err); ok {
		switch refused.Code {
		case 413:
			return "The inviter stopped the file.", true
		case 415:
			return "The inviter's phone can't take this file.", true
		case 400, 403:
			return "The inviter's phone did not take it.", true
		}
	}
	if _, ok := errors.AsType[*HungUp](err); ok {
		return "The inviter stopped the file.", true
	}
	if latchkey.Is(err, latchkey.KindNotFound) {
		return "It is not there any more.", true
	}
	return "", false
}

func (r *room) sentFile(f latchkey.StoredFile) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	_, err := r.hall.store.MoveFile(ctx, r.rel.ID, f.ID, latchkey.FileSent, "")
	return r.told(err)
}

func (r *room) failFile(f latchkey.StoredFile, reason string) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	return r.told(r.hall.opt.Porter.Fail(ctx, f, reason))
}

// refusedFile is failFile for what the inviter's side won't have.
func (r *room) refusedFile(f latchkey.StoredFile, reason string, why error) error {
	r.hall.log.Info("file refused", latchkey.LogRelation, r.rel.ID, latchkey.LogFile, f.ID, latchkey.LogError, why)
	return r.failFile(f, reason)
}

// told wakes the streams after an event of a file. One that was erased meanwhile needs none.
func (r *room) told(err error) error {
	r.hall.wakeStreams(r.rel.Account)
	if latchkey.Is(err, latchkey.KindNotFound) {
		return nil
	}
	return err
}

// sendDocument tells the inviter's phone on the chat where a file is to be fetched.
func (r *room) sendDocument(w *worker, ch Channel, f latchkey.StoredFile, d *delivery) {
	if w.stopped() {
		return
	}
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	contentType, document, err := r.hall.opt.Porter.Document(ctx, f)
	cancel()
	if err != nil {
		d.err = err
		return
	}
	if !ch.AcceptsWrapped(contentType) { // B5.06: a type that the peer did not list is not sent
		d.err = r.failFile(f, "The inviter's phone can't take files.")
		return
	}
	e := wrap(r.rel, contentType, document)
	e.MessageID, e.Disposition = string(f.ID), []cpim.Disposition{cpim.PositiveDelivery, cpim.Display}
	body, err := e.Bytes()
	if err != nil {
		d.err = r.failFile(f, "It can't be written as a message.")
		return
	}
	switch taken, err := r.send(ch, string(f.ID), body); {
	case err != nil:
		d.err, d.broken = err, true
	case !taken:
		d.err = r.failFile(f, "The inviter's phone did not take it.")
	default:
		d.sent = true
		d.err = r.sentFile(f)
	}
}

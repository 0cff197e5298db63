package conversation

import (
	"context"
	"errors"
	"time"

	"latchkey"
	"latchkey/cpim"
)

// delivery is what a worker comes back with.
type delivery struct {
	needChannel bool
	sent        bool          // something went out on the channel
	spoke       bool          // a message of the guest did
	broken      bool          // the channel is of no use any more
	held        bool          // the inviter's phone takes no pages: receipts wait for the next channel
	err         error         // the channel's or the store's
	wait        time.Duration // how long the peer wants to be left alone

	unsent []latchkey.StoredFile // of those that go by HTTP
}

// deliver sends all that waits on the channel, in order, and where the files are. Receipts alone are no reason to open one. It
// runs beside the loop.
func (r *room) deliver(w *worker, ch Channel, files []latchkey.StoredFile) (d delivery) {
	defer func() {
		if ch != nil {
			d.unsent = files
		}
	}()
	for {
		messages, receipts, err := r.waiting()
		if err != nil {
			d.err = err
			return d
		}
		if len(messages) == 0 && len(receipts) == 0 && len(files) == 0 {
			return d
		}
		if ch == nil && len(messages)+len(files) > 0 {
			d.needChannel = true
			return d
		}
		// Receipts first: they are about what came before what the guest wrote.
		for _, receipt := range receipts {
			if r.sendReceipt(w, ch, receipt, &d); d.err != nil || d.held || w.stopped() {
				return d
			}
		}
		for _, m := range messages {
			if r.sendMessage(w, ch, m, &d); d.err != nil || w.stopped() {
				return d
			}
		}
		for len(files) > 0 {
			if r.sendDocument(w, ch, files[0], &d); d.err != nil || w.stopped() {
				return d
			}
			files = files[1:]
		}
	}
}

func (w *worker) stopped() bool {
	select {
	case <-w.stop:
		return true
	default:
		return false
	}
}

func (r *room) waiting() ([]latchkey.Message, []latchkey.Receipt, error) {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	return r.hall.store.Waiting(ctx, r.rel.ID)
}

func (r *room) sendMessage(w *worker, ch Channel, m latchkey.Message, d *delivery) {
	if w.stopped() {
		return
	}
	body, err := envelope(r.rel, m)
	if err != nil {
		d.err = r.move(m.ID, latchkey.MessageFailed, "It can't be written as a message.")
		return
	}
	if limit := ch.MaxSize(); limit > 0 && int64(len(body)) > limit {
		d.err = r.move(m.ID, latchkey.MessageFailed, "It is too long for the inviter's phone.")
		return
	}
	taken, err := r.send(ch, string(m.ID), body)
	refused, again := r.refused(err, d)
	switch {
	case again:
	case refused != "":
		d.err = r.move(m.ID, latchkey.MessageFailed, refused)
	case err != nil:
		d.err, d.broken = err, true
	case !taken:
		d.err = r.move(m.ID, latchkey.MessageFailed, "The inviter's phone did not take it.")
	default:
		d.sent, d.spoke = true, true
		d.err = r.move(m.ID, latchkey.MessageSent, "")
	}
}

// refused reads the refusal of a single message, if err is one: for good, with a reason in words for the guest, or to
// be sent again.
func (r *room) refused(err error, d *delivery) (reason string, again bool) {
	refused, ok := errors.AsType[*CallRefused](err)
	if !ok {
		return "", false
	}
	reason, final := r.judge(refused)
	if !final {
		d.err, d.wait = err, refused.RetryAfter
	}
	return reason, !final
}

// sendReceipt sends an IMDN on the channel. Without one, or where the peer did not list the type, it goes by SIP
// MESSAGE (PROTOCOLS B5.06, B5.07).
func (r *room) sendReceipt(w *worker, ch Channel, receipt latchkey.Receipt, d *delivery) {
	if w.stopped() {
		return
	}
	id, body, err := notification(r.rel, receipt)
	channeled := ch != nil && ch.AcceptsWrapped(cpim.IMDNType)
	switch {
	case err != nil: // it can't be written, now or later
		err = nil
	case channeled:
		_, err = r.send(ch, id, body)
	default:
		err = r.page(cpim.Type, body)
	}
	refused, again := r.refused(err, d)
	switch {
	case again:
		return
	case refused != "" && ch == nil:
		d.held = true // its phone may take it on a channel
		return
	case refused == "" && err != nil:
		d.err, d.broken = err, channeled
		return
	}
	d.sent = d.sent || channeled
	// Taken or not, it does not go twice.
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	d.err = r.hall.store.ReceiptSent(ctx, receipt)
}

// page sends one message outside of any channel, from an account that is registered (R26).
func (r *room) page(contentType string, body []byte) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
	defer cancel()
	if err := r.register(ctx); err != nil {
		return err
	}
	return r.hall.dialer.Page(ctx, r.rel, contentType, body)
}

// send sends one CPIM message. Not taken: the peer does not want this one, and the session goes on (RFC 4975
// §10). An error means that the channel is broken.
func (r *room) send(ch Channel, id string, body []byte) (taken bool, err error) {
	ctx, cancel := context.WithTimeout(r.hall.ctx, sendTimeout)
	defer cancel()
	err = ch.Send(ctx, id, cpim.Type, body)
	if refused, ok := errors.AsType[*MSRPRefused](err); ok {
		switch refused.Code {
		case 400, 403, 413, 415:
			return false, nil
		}
	}
	return err == nil, err
}

func (r *room) move(id latchkey.MessageID, to latchkey.MessageState, reason string) error {
	ctx, cancel := context.WithTimeout(r.hall.ctx, storeTimeout)
	defer cancel()
	_, err := r.hall.store.Move(ctx, r.rel.ID, id, to, reason)
	r.hall.wakeStreams(r.rel.Account)
	return err
}

// fail gives up the messages that wait: each is told as failed, with the reason. Receipts go without a channel.
func (r *room) fail(reason string) {
	files := r.freight.byHTTP
	r.freight.handed, r.freight.byHTTP = files, nil
	r.work(nil, func(w *worker) (d delivery) {
		for _, f := range files {
			if d.err = r.failFile(f, reason); d.err != nil {
				return d
			}
		}
		for !w.stopped() {
			messages, _, err := r.waiting()
			if err != nil {
				d.err = err
				return d
			}
			if len(messages) == 0 {
				return r.deliver(w, nil, nil)
			}
			for _, m := range messages {
				if d.err = r.move(m.ID, latchkey.MessageFailed, reason); d.err != nil {
					return d
				}
			}
		}
		return d
	})
}

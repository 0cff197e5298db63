package conversation

import (
	"context"
	"errors"

	"latchkey"
)

// dial opens a channel beside the loop: late registration first (R26, F27), then the call.
func (r *room) dial() {
	ctx, cancel := context.WithTimeout(r.hall.ctx, dialTimeout)
	r.dialing, r.givenUp = cancel, false
	r.hall.running.Go(func() { // ends with dialTimeout at the latest
		defer cancel()
		ch, err := r.call(ctx)
		r.back(func(r *room) { r.dialed(ch, err) })
	})
}

func (r *room) call(ctx context.Context) (Channel, error) {
	if err := r.register(ctx); err != nil {
		return nil, err
	}
	id, err := r.hall.store.ConversationID(ctx, r.rel.ID)
	if err != nil {
		return nil, err
	}
	return r.hall.dialer.Dial(ctx, r.rel, CallOptions{ConversationID: id, ContributionID: latchkey.NewToken()}, &receiver{hall: r.hall, rel: r.rel})
}

// register registers the account late where it isn't (R26, F27).
func (r *room) register(ctx context.Context) error {
	if r.hall.registrar == nil {
		return nil
	}
	return r.hall.registrar.Ensure(ctx, r.rel.Account, latchkey.IM)
}

func (r *room) dialed(ch Channel, err error) {
	r.dialing = nil
	if r.givenUp || r.ending {
		if err == nil {
			r.closeAside(ch, "", nil) // the 200 crossed our CANCEL (F36, F42)
		}
		r.wake()
		return
	}
	if err == nil {
		r.adopt(ch)
		return
	}
	r.hall.log.Info("inviter not reached", latchkey.LogRelation, r.rel.ID, latchkey.LogError, err)
	if refused, ok := errors.AsType[*CallRefused](err); ok {
		if reason, final := r.judge(refused); final {
			r.fail(reason)
			return
		}
		r.later(refused.RetryAfter)
		return
	}
	if latchkey.Is(err, latchkey.KindNoRelation) {
		return // it is ending, and Close is on its way
	}
	r.later(latchkey.RetryAfter(err))
}

// judge is verdict, with what follows for the relation: 607 and 608 say that the inviter, or their network, does not want to hear from this
// guest (RFC 8197 §4, RFC 8688 §3.1; PROTOCOLS B2.16).
func (r *room) judge(refused *CallRefused) (reason string, final bool) {
	if unwanted := refused.Code == 607 || refused.Code == 608; unwanted && r.hall.opt.Unwanted != nil {
		r.hall.opt.Unwanted(r.rel)
	}
	return verdict(refused.Code)
}

// verdict says of a response to an INVITE or MESSAGE whether it is the last word, and why in words for the guest
// (F35). Who is merely away (480, 408) or whose network has trouble (5xx) is tried again (F34).
func verdict(code int) (reason string, final bool) {
	switch code {
	case 486, 600:
		return "The inviter is busy.", true
	case 603:
		return "The inviter declined.", true
	case 607, 608:
		return "The inviter does not want messages from you.", true
	case 403:
		return "The network does not allow this chat.", true
	case 404, 604, 410, 484:
		return "The inviter is not known to the network.", true
	case 405, 415, 488, 501, 606:
		return "The inviter's phone can't chat.", true
	case 413, 513:
		return "It is too long for the inviter's phone.", true
	case 408, 480, 487, 491:
		return "", false
	}
	if code >= 500 && code < 600 {
		return "", false
	}
	return "The inviter can't be reached.", true
}

// yield makes room for the inviter's own call: ours that is out is given up (F36), unless theirs is for one message. cancel
// ends the taking.
func (r *room) yield(v *receiver, cancel context.CancelFunc, whole bool) {
	r.ringing[v] = cancel
	if r.ending {
		cancel()
	}
	if r.dialing != nil && whole {
		r.givenUp = true
		r.dialing()
	}
}

// taken notes that an inviter's call was taken, or wasn't: ch is nil then.
func (r *room) taken(v *receiver, ch Channel) {
	delete(r.ringing, v)
	if ch != nil {
		r.adopt(ch)
		return
	}
	r.wake()
}

// ServeCall takes an inviter's INVITE for a relation that the caller has authorized (F31). It returns when the
// call is up or refused. On glare, the inviter's call wins and ours is given up (F36). A call for one message takes
// nobody's place, and ServeCall returns when it is over.
func (h *Hall) ServeCall(ctx context.Context, rel latchkey.Relation, call IncomingCall) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	hold, release := context.WithTimeout(h.ctx, h.opt.IdleTimeout)
	defer release()
	v := &receiver{hall: h, rel: rel}
	one, ok := call.(OneMessage)
	single := ok && one.IsOneMessage()
	r, err := h.post(rel, func(r *room) { r.yield(v, func() { cancel(); release() }, !single) })
	var ch Channel
	if err == nil {
		ch, err = v.take(ctx, call)
	}
	if err != nil {
		h.log.Info("call not taken", latchkey.LogRelation, rel.ID, latchkey.LogCallID, call.CallID(), latchkey.LogError, err)
		_ = call.Refuse(latchkey.KindOf(err).Row().SIP, "")
	} else if single {
		select {
		case <-ch.Done():
		case <-hold.Done():
		}
		closing, done := context.WithTimeout(context.Background(), closeTimeout)
		_ = ch.Close(closing, "")
		done()
		ch = nil
	}
	if r != nil {
		r.back(func(r *room) { r.taken(v, ch) })
	}
}

// take answers a call that the room knows of. A relation that began to end before is refused here; one that
// does so later finds the room, and ends the call there.
func (v *receiver) take(ctx context.Context, call IncomingCall) (Channel, error) {
	if !v.rel.Allows(latchkey.IM) {
		return nil, latchkey.Errorf(latchkey.KindNoRelation, "")
	}
	if _, err := v.hall.store.ConversationID(ctx, v.rel.ID); err != nil {
		return nil, err
	}
	// B3.04: a first message beside the offer is delivered once, before the 200 promises it.
	if contentType, body := call.FirstMessage(); len(body) > 0 {
		if err := v.Receive(ctx, nil, contentType, body); err != nil {
			return nil, err
		}
	}
	ch, err := call.Accept(ctx, v)
	if err != nil {
		return nil, err // not ch: an interface that holds a nil pointer is not nil
	}
	return ch, nil
}

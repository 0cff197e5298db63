package registrar

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// timerN() is how long after a SUBSCRIBE the NOTIFY may take (RFC 6665 §4.1.2.4): 64*T1.
func timerN() time.Duration { return 64 * sip.T1 }

// subscription is one to reg-event, with the dialog that it makes (RFC 6665 §4.1). NOTIFYs come in on goroutines of
// their own; SUBSCRIBEs leave in Lookout.act, one at a time.
type subscription struct {
	of       watching
	callID   string
	localTag string

	mu         sync.Mutex // guards the fields below
	state      *dialog.State
	bound      bool   // a NOTIFY made the dialog; of those of a fork the first one counts (RFC 3680 §4.9, RFC 6665 §5.4.9)
	seq        uint32 // highest CSeq used, while there is no dialog
	log        reglog
	since      time.Time // when it was bound
	brief      int       // how many before it ended as soon as they stood
	told       bool      // a NOTIFY came since the last SUBSCRIBE
	awaited    bool      // one is, that a SUBSCRIBE was promised
	doubtful   bool      // the full state is to be asked for
	asked      bool      // and was asked for
	due        time.Time // of the next SUBSCRIBE
	expires    time.Time // zero: there is none at the notifier
	minExpires time.Duration
	failures   int
	loss       *Loss  // what is new of the guest's own contact, until act takes it
	lost       bool   // the last that act took was that it is lost
	ownSaid    uint64 // version of the newest document that named it, in this dialog
	news       bool   // a NOTIFY came that act has not seen
	came       bool   // the user was there since act looked, who may have left again
	ended      bool   // by the notifier, who has nothing more to say
	unwanted   bool
	closed     bool
	left       bool // closed by us: the last NOTIFY is yet to come
}

// open makes the subscription of one who has none.
func (l *Lookout) open(w watching) *subscription {
	sub := &subscription{of: w, callID: sipua.NewToken(), localTag: sipua.NewToken(), due: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subs[w] = sub
	l.dialogs[dialog.Key(sub.callID, sub.localTag, "")] = sub
	return sub
}

// drop forgets a subscription.
func (l *Lookout) drop(sub *subscription) {
	sub.set(func() { sub.closed = true })
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs[sub.of] == sub {
		delete(l.subs, sub.of)
	}
	if key := dialog.Key(sub.callID, sub.localTag, ""); !sub.left {
		delete(l.dialogs, key)
	} else {
		time.AfterFunc(timerN(), func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			delete(l.dialogs, key)
		})
	}
}

// renewed replaces a subscription that is over by one with a dialog of its own, which goes on with what it knows to be
// in doubt.
func (l *Lookout) renewed(sub *subscription) *subscription {
	l.drop(sub)
	fresh := l.open(sub.of)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	fresh.minExpires, fresh.failures, fresh.unwanted = sub.minExpires, sub.failures, sub.unwanted
	fresh.loss, fresh.lost = sub.loss, sub.lost
	return fresh
}

// subscribe sends a SUBSCRIBE, which opens the subscription, renews it, or fetches the full state (RFC 6665 §4.1.2).
func (l *Lookout) subscribe(ctx context.Context, sub *subscription) error {
	res, asked, err := l.send(ctx, sub, sub.wants(l.opt.Expires))
	if err == nil && res.StatusCode == sip.StatusIntervalToBrief {
		if least := seconds(headerValue(res, "Min-Expires")); least > asked { // RFC 6665 §4.2.1.1, RFC 3261 §10.2.8
			sub.set(func() { sub.minExpires = least })
			res, asked, err = l.send(ctx, sub, sub.wants(l.opt.Expires))
		}
	}
	now := time.Now()
	switch {
	case err != nil:
		return l.subscribeLater(sub, 0, err)
	case res.IsSuccess():
		granted := asked
		if v := headerValue(res, "Expires"); v != "" {
			granted = min(asked, seconds(v))
		}
		l.schedule.set(sub.of, sub.accepted(now, granted))
		return nil
	case res.StatusCode == sip.StatusCallTransactionDoesNotExists: // 481: RFC 6665 §4.1.2.3, the subscription is over
		if sub.inDialog() {
			return l.subscribe(ctx, l.renewed(sub))
		}
	case slices.Contains([]int{sip.StatusMethodNotAllowed, badEvent, sip.StatusNotImplemented, sip.StatusForbidden}, res.StatusCode):
		// Nobody will ever say more. What is unconfirmed stays so (PROTOCOLS B1.04).
		l.drop(sub)
		l.schedule.set(sub.of, time.Time{})
		return fmt.Errorf("%w: %d %s", errNoRegEvent, res.StatusCode, res.Reason)
	}
	return l.subscribeLater(sub, retryAfter(res), fmt.Errorf("subscribe: %d %s", res.StatusCode, res.Reason))
}

func (l *Lookout) subscribeLater(sub *subscription, after time.Duration, err error) error {
	fresh := l.renewed(sub) // a dialog of which nobody knows whether it stands is not gone on with
	fresh.mu.Lock()
	fresh.failures++
	fresh.due = time.Now().Add(max(after, backoff(fresh.failures)))
	due := fresh.due
	fresh.mu.Unlock()
	l.schedule.set(fresh.of, due)
	return err
}

// unsubscribe ends a subscription at its notifier and forgets it, whatever the answer. It brings one more NOTIFY, which is
// answered as all are (RFC 6665 §4.1.2.3).
func (l *Lookout) unsubscribe(ctx context.Context, sub *subscription) error {
	defer l.drop(sub)
	l.schedule.set(sub.of, time.Time{})
	if !sub.standing() {
		return nil
	}
	sub.set(func() { sub.left = true })
	_, _, err := l.send(ctx, sub, 0)
	return err
}

// send sends one SUBSCRIBE and returns the final response.
func (l *Lookout) send(ctx context.Context, sub *subscription, expires time.Duration) (*sip.Response, time.Duration, error) {
	req, err := l.request(ctx, sub)
	if err != nil {
		return nil, expires, err
	}
	e := sip.ExpiresHeader(expires / time.Second)
	req.AppendHeader(&e)
	ctx, cancel := context.WithTimeout(ctx, l.opt.Timeout)
	defer cancel()
	sub.set(func() { sub.asked, sub.told = true, false })
	var c sipua.Credentials
	if sub.of.self && l.opt.Credentials != nil {
		c = l.opt.Credentials(latchkey.AccountID(sub.of.identity))
	}
	res, err := l.wire.DoAuth(ctx, req, c)
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.seq = max(sub.seq, req.CSeq().SeqNo)
	if sub.state != nil {
		sub.state.LocalSeq = max(sub.state.LocalSeq, sub.seq)
	}
	if err == nil && res.IsSuccess() {
		if sub.state == nil {
			sub.state, _ = dialog.FromResponse(req, res) // a NOTIFY may take its place (RFC 6665 §4.4.1)
		} else if req.To().Params.Has("tag") {
			sub.state.Refresh(res) // RFC 6665 §3.1: SUBSCRIBE refreshes the target, too
		}
	}
	return res, expires, err
}

// request makes the SUBSCRIBE (RFC 3680 §4): in the dialog, or the first one, which goes to the user's own identity in the name
// of the gateway, or of the guest.
func (l *Lookout) request(ctx context.Context, sub *subscription) (*sip.Request, error) {
	hop, err := parseHop(l.opt.Core)
	if err != nil {
		return nil, err
	}
	self, assertion := l.opt.Self, "P-Asserted-Identity" // TS 24.229 §5.7.1.1 (unverified)
	if sub.of.self {
		self, assertion = sub.of.identity, "P-Preferred-Identity"
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	var req *sip.Request
	if sub.state != nil {
		req = sub.state.Request(sip.SUBSCRIBE)
	} else {
		if req, err = sipua.NewRequest(sip.SUBSCRIBE, sub.of.identity, self, sub.of.identity); err != nil {
			return nil, err
		}
		*req.CallID() = sip.CallIDHeader(sub.callID)
		req.From().Params.Remove("tag")
		req.From().Params.Add("tag", sub.localTag)
		req.CSeq().SeqNo = sub.seq + 1
		first := ""
		if sub.of.self && l.opt.Hop != nil {
			if first, err = l.opt.Hop(ctx, latchkey.AccountID(sub.of.identity)); err != nil {
				return nil, err
			}
		}
		sipua.AddRoute(req, cmp.Or(first, sipua.LooseRoute(hop.String())))
		if sub.of.self && l.opt.ServiceRoute != nil {
			routes, err := l.opt.ServiceRoute(ctx, latchkey.AccountID(sub.of.identity))
			if err != nil {
				return nil, err
			}
			for _, uri := range routes {
				sipua.AddRoute(req, uri)
			}
		}
	}
	req.AppendHeader(&sip.ContactHeader{Address: l.wire.Contact(req.From().Address.User, hop)})
	req.AppendHeader(sip.NewHeader("Event", "reg"))
	req.AppendHeader(sip.NewHeader("Accept", reginfoType))
	req.AppendHeader(sip.NewHeader(assertion, "<"+self+">"))
	return req, nil
}

// set changes the subscription.
func (s *subscription) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// accepted notes a 2xx and returns when to look again: in time for a refresh, but first for the NOTIFY.
func (s *subscription) accepted(now time.Time, granted time.Duration) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expires = now.Add(granted)
	s.due = now.Add(refreshAfter(granted))
	switch {
	case s.doubtful && !s.asked: // the doubt is younger than this SUBSCRIBE
		s.due = now
	case s.doubtful || !s.log.heard || !s.told: // RFC 6665 §4.1.2.2, §4.1.2.4: a refresh, too, without a NOTIFY has failed
		s.awaited = true
		if n := now.Add(timerN()); n.Before(s.due) {
			s.due = n
		}
	default:
		s.failures = 0
	}
	if s.news {
		return now
	}
	return s.due
}

// begin is act's look at what came.
func (s *subscription) begin() (ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news = false
	return s.ended
}

func (s *subscription) wants(expires time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return max(expires, s.minExpires)
}

// next is when the subscription is to be seen to, and whether that is for a SUBSCRIBE: a NOTIFY that came while act was at it
// comes first.
func (s *subscription) next() (at time.Time, subscribe bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.news {
		return time.Now(), false
	}
	return s.due, !s.due.After(time.Now())
}

// silent reports whether the notifier said 200 and then nothing (RFC 6665 §4.1.2.4: no NOTIFY in time is a failure).
func (s *subscription) silent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.awaited
}

func (s *subscription) inDialog() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != nil
}

func (s *subscription) standing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != nil && time.Now().Before(s.expires)
}

func (s *subscription) isUnwanted() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unwanted
}

// said is the verdict, undecided while it is in doubt.
func (s *subscription) said() verdict {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubtful {
		return undecided
	}
	v, _ := s.log.verdict(s.of.identity)
	return v
}

// takeCame reports whether the user was there since it was asked for last: one who comes and goes between two looks has left all the
// same. While the verdict is in doubt, that waits.
func (s *subscription) takeCame() (came bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.doubtful {
		came, s.came = s.came, false
	}
	return came
}

// doubt makes what was said so far count for nothing, until the full state is told anew.
func (s *subscription) doubt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubtful, s.asked, s.due = true, false, time.Now()
}

// heardOwn notes what a document says of the guest's own contact. That it is there takes back a loss which act has not seen; where act has,
// it is news. s.mu is held.
func (s *subscription) heardOwn(l Loss) {
	s.loss = nil
	if l.Event != "" || s.lost {
		s.loss = &l
	}
}

// takeLoss takes what is new of the guest's own contact, or nil.
func (s *subscription) takeLoss() *Loss {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.loss
	if s.loss = nil; l != nil {
		s.lost = l.Event != "" && l.Event != shortened
	}
	return l
}

// adopt gives a NOTIFY to the dialog. 481: it belongs to another one, which that ends; 500: it was overtaken (RFC 3261 §12.2.2), which ends nothing.
func (s *subscription) adopt(req *sip.Request) (code int) {
	remote, _ := req.From().Params.Get("tag")
	if s.closed && !s.left || s.bound && s.state.RemoteTag != remote {
		return sip.StatusCallTransactionDoesNotExists
	}
	if !s.bound {
		seq := s.seq
		if s.state != nil {
			seq = max(seq, s.state.LocalSeq)
		}
		s.state = dialog.FromRequest(req, s.localTag)
		s.state.LocalSeq, s.bound, s.since = seq, true, time.Now()
		return sip.StatusOK
	}
	if s.state.Take(req) != nil {
		return sip.StatusInternalServerError
	}
	if c := req.Contact(); c != nil && c.Address.Host != "" {
		s.state.Target = c.Address // RFC 6665 §3.2: NOTIFY refreshes the target
	}
	return sip.StatusOK
}

// subscriptionState reads Subscription-State (RFC 6665 §4.1.3).
func subscriptionState(req *sip.Request) (state, reason string, expires, after time.Duration) {
	h := req.GetHeader("Subscription-State")
	if h == nil {
		return "active", "", 0, 0 // a notifier that forgets it is not made to suffer for it
	}
	state, _, _ = strings.Cut(h.Value(), ";")
	return strings.ToLower(strings.TrimSpace(state)), strings.ToLower(parameter(h.Value(), "reason")),
		seconds(parameter(h.Value(), "expires")), min(time.Hour, seconds(parameter(h.Value(), "retry-after")))
}

package registrar

import (
	"cmp"
	"mime"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// reginfoType is the body of the reg-event package (RFC 3680 §4.5).
const reginfoType = "application/reginfo+xml"

// badEvent is 489 (RFC 6665 §8.3.2).
const badEvent = 489

// ServeNOTIFY takes the news of a subscription. The answer leaves at once; what follows from the news is
// Run's.
func (l *Lookout) ServeNOTIFY(t *sipua.Transaction) {
	req := t.Request
	if !l.opt.Trusts(req) {
		_ = t.Respond(sip.StatusForbidden, "")
		return
	}
	local, _ := req.To().Params.Get("tag")
	l.mu.Lock()
	sub := l.dialogs[dialog.Key(req.CallID().Value(), local, "")]
	l.mu.Unlock()
	if sub == nil {
		_ = t.Respond(sip.StatusCallTransactionDoesNotExists, "") // RFC 6665 §4.1.3
		return
	}
	if h := req.GetHeader("Event"); h == nil || !strings.EqualFold(strings.TrimSpace(strings.Split(h.Value(), ";")[0]), "reg") {
		_ = t.Respond(badEvent, "") // without Allow-Events, which would name us a notifier (RFC 6665 §4.4.4)
		return
	}
	info, code := notified(req)
	if code == sip.StatusUnsupportedMediaType {
		_ = t.Respond(code, "", sip.NewHeader("Accept", reginfoType))
		return
	}
	sub.mu.Lock()
	if code := sub.adopt(req); code != sip.StatusOK {
		sub.mu.Unlock()
		_ = t.Respond(code, "")
		return
	}
	if sub.closed {
		sub.mu.Unlock()
		_ = t.Respond(sip.StatusOK, "") // the last one
		return
	}
	report, due := l.hear(sub, req, info)
	sub.mu.Unlock()
	if code == 0 {
		code = sip.StatusOK
	}
	_ = t.Respond(code, "")
	if report != nil {
		if address, err := latchkey.ParseAddress(sub.of.identity); err == nil && !sub.of.self {
			l.opt.Told(address, *report)
		}
	}
	l.schedule.set(sub.of, due)
}

// notified reads the document of a NOTIFY; nil: it has none. A code refuses it.
func notified(req *sip.Request) (*reginfo, int) {
	if len(req.Body()) == 0 {
		return nil, 0
	}
	h := req.GetHeader("Content-Type")
	if h == nil {
		return nil, sip.StatusBadRequest
	}
	if kind, _, err := mime.ParseMediaType(h.Value()); err != nil || kind != reginfoType {
		return nil, sip.StatusUnsupportedMediaType
	}
	info, err := parseReginfo(req.Body())
	if err != nil {
		return nil, sip.StatusBadRequest
	}
	return info, 0
}

// hear takes the news and says when to look at the subscription again. sub.mu is held.
func (l *Lookout) hear(sub *subscription, req *sip.Request, info *reginfo) (report *Report, due time.Time) {
	now := time.Now()
	sub.news, sub.told, sub.awaited = true, true, false
	due = now // something may follow from it
	if info != nil {
		before, _ := sub.log.verdict(sub.of.identity)
		gap, stale := sub.log.take(info)
		// A gap hides nothing of this: what the newest document says of a contact holds, and one that says nothing of it takes nothing back.
		if loss, told := l.ownContact(sub, info); told && !stale && info.version >= sub.ownSaid {
			loss.Heard, sub.ownSaid = now, info.version
			sub.heardOwn(loss)
		}
		switch {
		case gap:
			// RFC 3680 §5.2: what was missed comes with the full state, for which a refresh asks.
			sub.doubtful, sub.asked, sub.due = true, false, now
		case stale:
		default:
			// Doubt ends with a full state that was asked for after it began.
			if info.full && (sub.asked || !sub.doubtful) {
				sub.doubtful, sub.failures = false, 0
			}
			v, features := sub.log.verdict(sub.of.identity)
			sub.came = sub.came || v == present && !sub.doubtful
			if !sub.doubtful && (v != before || v == present) {
				report = &Report{Online: v == present, Features: features, At: now}
			}
		}
	} else if len(req.Body()) > 0 {
		sub.failures++
		sub.doubtful, sub.asked, sub.due = true, false, now.Add(backoff(sub.failures)) // a document that can't be read: it is asked for again
	}
	if !sub.doubtful && sub.log.heard {
		sub.due = sub.refreshAt(now)
	}
	state, reason, expires, after := subscriptionState(req)
	if state != "terminated" {
		if expires > 0 && !sub.doubtful {
			sub.expires = now.Add(expires)
			sub.due = sub.refreshAt(now)
		}
		return report, due
	}
	l.over(sub, reason, after)
	return report, due
}

// over takes a subscription that the notifier has ended (RFC 6665 §4.1.3). The next one has a dialog of its own and
// counts its versions anew; what this one has said stays said. sub.mu is held.
func (l *Lookout) over(sub *subscription, reason string, after time.Duration) {
	l.mu.Lock()
	delete(l.dialogs, dialog.Key(sub.callID, sub.localTag, ""))
	sub.callID, sub.localTag = sipua.NewToken(), sipua.NewToken()
	l.dialogs[dialog.Key(sub.callID, sub.localTag, "")] = sub
	l.mu.Unlock()
	now := time.Now()
	// A notifier that ends each one as soon as it stands is not asked again and again.
	if sub.brief++; sub.bound && now.Sub(sub.since) > timerN() {
		sub.brief = 0
	}
	sub.state, sub.bound, sub.seq, sub.expires = nil, false, 0, time.Time{}
	sub.ownSaid = 0
	sub.log.restarted = true
	if sub.due = now; sub.brief > 1 {
		sub.due = now.Add(backoff(sub.brief - 1))
	}
	switch reason {
	case "deactivated", "timeout": // at once
	case "rejected", "noresource", "invariant": // there is nobody to ask
		sub.ended = true
	case "probation", "giveup":
		sub.due = sub.due.Add(max(after, backoff(1)))
	default:
		sub.due = sub.due.Add(after)
	}
}

// ownContact finds what became of the guest's own contact, or that it was shortened. Not told: the document does not name it.
func (l *Lookout) ownContact(sub *subscription, info *reginfo) (loss Loss, told bool) {
	hop, err := parseHop(l.opt.Core)
	if err != nil || !sub.of.self {
		return loss, false
	}
	for _, reg := range info.registrations {
		if a, err := latchkey.ParseAddress(reg.aor); err != nil || a.Identity() != sub.of.identity {
			continue
		}
		for _, c := range reg.contacts {
			var u sip.Uri
			if sip.ParseUri(c.uri, &u) != nil || !sameContact(u, l.wire.Contact(u.User, hop)) {
				continue
			}
			if told = true; c.state != "terminated" {
				if loss = (Loss{}); c.event == shortened {
					loss = Loss{Event: shortened, After: c.expires, CallID: c.callID, CSeq: c.cseq}
				}
				return loss, true
			}
			loss = Loss{Event: cmp.Or(c.event, unexplained), After: c.retryAfter, CallID: c.callID, CSeq: c.cseq}
		}
	}
	return loss, told
}

// refreshAt is when the subscription is to be renewed; while its 2xx is not there, that says so. s.mu is held.
func (s *subscription) refreshAt(now time.Time) time.Time {
	if s.expires.IsZero() {
		return now.Add(timerN())
	}
	return now.Add(refreshAfter(s.expires.Sub(now)))
}

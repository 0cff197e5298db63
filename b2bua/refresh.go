package b2bua

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey"
	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// refresh is the session timer of one dialog (RFC 4028), and what its refreshes are made of. A dialog
// without a timer has none of Go's either.
type refresh struct {
	timer  dialog.Timer
	clock  *time.Timer // of the refresh or of the end
	due    time.Time   // when the dialog is hung up
	missed bool        // the last refresh got no answer
	update bool        // the peer takes UPDATE
	least  uint32      // the longest Min-SE that came in the dialog (RFC 4028 §7.4); 0: none
	sent   []byte      // the description that it got last, where it takes none
}

// timedOut is the Reason of a BYE after a session timer (RFC 3326).
const timedOut = `SIP;cause=408;text="Session timer ran out"`

// learn notes whether the peer takes UPDATE, which refreshes without a word on the session, and what it names as the least interval (RFC 4028 §7.4).
func (r *refresh) learn(m message) {
	if timed(m) && len(m.GetHeaders("Min-SE")) > 0 {
		r.least = max(r.least, dialog.MinInterval(m))
	}
	if allow := dialog.Tokens(m, "Allow"); len(allow) > 0 {
		r.update = strings.Contains(strings.ToUpper(strings.Join(allow, " ")), "UPDATE")
		if r.update {
			r.sent = nil
		}
	}
}

// ask writes into an INVITE or UPDATE of ours what it says of the timer: the one that stands goes on, and no interval is shorter than the
// least that came in this dialog (RFC 4028 §7.4).
func (r *refresh) ask(req *sip.Request) {
	if t := r.timer; t.Interval != 0 {
		t.Interval = max(t.Interval, r.least)
		req.AppendHeader(sip.NewHeader("Session-Expires", t.Ask()))
	}
	if r.least != 0 {
		req.AppendHeader(sip.NewHeader("Min-SE", fmt.Sprint(r.least)))
	}
}

// tooBrief reports whether a response refuses an interval that can be longer, and notes how long (RFC 4028 §7.3).
func (r *refresh) tooBrief(res *sip.Response) bool {
	if n := dialog.MinInterval(res); res.StatusCode == 422 && n > max(r.timer.Interval, r.least) {
		r.least = n
		return true
	}
	return false
}

// later is how long a refresh waits that was refused: half of the time that is left, since RFC 4028 §10 wants it not asked for continuously.
func (r *refresh) later() time.Duration { return max(5*time.Second, time.Until(r.due)/2) }

// keep notes the description that went to the peer.
func (r *refresh) keep(sdp []byte) {
	if r.sent = nil; !r.update {
		r.sent = bytes.Clone(sdp)
	}
}

// stop ends the timer.
func (r *refresh) stop() {
	if r.clock != nil {
		r.clock.Stop()
	}
	r.clock, r.timer = nil, dialog.Timer{}
}

// start begins the timer anew: refreshes by us at half of the interval, the end where none comes.
func (r *refresh) start(t dialog.Timer, turn func(func()), refresh, expire func()) {
	r.stop()
	if r.timer = t; t.Interval == 0 {
		return
	}
	r.missed = false
	r.due = time.Now().Add(t.Expiry())
	if t.Ours {
		r.after(t.Refresh(), turn, func() {
			r.after(time.Until(r.due), turn, expire)
			refresh()
		})
		return
	}
	r.after(t.Expiry(), turn, expire)
}

// after runs f in a turn of the dialog's, unless the timer was set anew meanwhile.
func (r *refresh) after(d time.Duration, turn func(func()), f func()) {
	var clock *time.Timer
	clock = time.AfterFunc(d, func() {
		turn(func() {
			if r.clock == clock {
				f()
			}
		})
	})
	r.clock = clock
}

// standBackFor is how long to wait after a 491: the owner of the Call-ID 2.1 to 4 s, the other one up to 2 s (RFC 3261 §14.1).
func standBackFor(owner bool) time.Duration {
	if owner {
		return 2100*time.Millisecond + rand.N(1900*time.Millisecond)
	}
	return rand.N(2 * time.Second)
}

// start gives one dialog of a pair its timer.
func (p *pair) start(s Side, t dialog.Timer) {
	p.ends[s].refresh.start(t, p.turns.do, func() { p.refresh(s) }, func() { p.expire(s) })
}

// expire hangs up: nobody has refreshed (F40).
func (p *pair) expire(s Side) {
	p.engine.log.Info("session timer ran out", latchkey.LogCallID, p.ends[s].state.CallID, "side", s.String())
	p.send(p.hangUp(s, nil, timedOut))
}

// refresh refreshes a dialog of a pair by UPDATE, or by a re-INVITE where the peer takes none.
func (p *pair) refresh(s Side) {
	e := &p.ends[s]
	if p.over {
		return
	}
	if p.invite != nil { // which refreshes this dialog, too, or is over soon
		p.refreshIn(s, time.Second)
		return
	}
	method := sip.UPDATE
	if !e.update && len(e.sent) > 0 {
		method = sip.INVITE
	}
	req := p.own(s, method, e.sent)
	e.ask(req)
	if method == sip.UPDATE {
		p.engine.running.Go(func() { // ends with its transaction
			ctx, cancel := context.WithTimeout(context.Background(), p.engine.h())
			defer cancel()
			res, err := p.engine.sip.Do(ctx, req)
			p.turns.do(func() { p.refreshDone(s, res, err) })
		})
		return
	}
	c := &crossing{bridge: p.bridge, from: s.Other(), out: req, pair: p, other: map[string]*sip.Request{}, acked: make(chan struct{})}
	p.ask(c)
}

// ask begins an INVITE of our own within the pair.
func (p *pair) ask(c *crossing) {
	req := c.out // of the transaction, from now on
	p.invite = c
	c.prepare()
	p.engine.running.Go(func() { // ends with its transaction
		if tx, err := p.engine.sip.Start(context.Background(), req); err != nil {
			c.inv.final(nil, err)
		} else {
			c.inv.read(tx)
		}
	})
}

// refreshIn tries again a little later; the end stays where it is.
func (p *pair) refreshIn(s Side, wait time.Duration) {
	e := &p.ends[s]
	due := e.due
	time.AfterFunc(wait, func() {
		p.turns.do(func() {
			if !p.over && e.due.Equal(due) {
				p.refresh(s)
			}
		})
	})
}

// refreshed is the end of a re-INVITE of our own.
func (c *crossing) refreshed(res *sip.Response, lost error) {
	p := c.pair
	callee := c.from.Other()
	if p.invite == c {
		p.invite = nil
	}
	if res != nil && res.IsSuccess() {
		p.ends[callee].state.Refresh(res)
		c.ack = p.ends[callee].state.ACK(c.out.CSeq().SeqNo)
		_ = c.engine.sip.SendACK(c.ack, false)
	}
	if c.concluded != nil {
		c.concluded(res, lost)
	} else {
		p.refreshDone(callee, res, lost)
	}
	p.follow(callee)
	p.follow(c.from)
}

// refreshDone takes what a refresh was answered.
func (p *pair) refreshDone(s Side, res *sip.Response, err error) {
	e := &p.ends[s]
	switch {
	case p.over:
	case res == nil && !e.silent(err): // tried again until it is time for the end
		p.refreshIn(s, 5*time.Second)
	case res == nil, res.StatusCode == 481, res.StatusCode == 408:
		p.expire(s)
	case res.IsSuccess():
		e.state.Refresh(res)
		e.heard(res)
		p.start(s, dialog.Granted(res))
	case e.tooBrief(res):
		p.refresh(s)
	case res.StatusCode == 491:
		p.refreshIn(s, standBackFor(s == SideB)) // side B's Call-ID is ours
	default:
		p.refreshIn(s, e.later())
	}
}

// silent reports whether the peer has left two refreshes without an answer: then it is gone (RFC 3261 §12.2.1.2).
func (r *refresh) silent(err error) bool {
	again := r.missed
	r.missed = errors.Is(err, sipua.ErrTimeout)
	return again && r.missed
}

// agreeTo writes into a 2xx what Asked has decided (RFC 4028 §9).
func agreeTo(res *sip.Response, field string, require bool) {
	if field == "" {
		return
	}
	res.AppendHeader(sip.NewHeader("Session-Expires", field))
	if require {
		tags := append(dialog.Tokens(res, "Require"), "timer")
		res.RemoveHeader("Require")
		res.AppendHeader(sip.NewHeader("Require", strings.Join(tags, ", ")))
	}
}

// askAgain makes a request that was refused with 422 one with the longer interval.
func askAgain(req *sip.Request, interval uint32) {
	for _, name := range []string{"Session-Expires", "Min-SE"} {
		req.RemoveHeader(name)
		req.AppendHeader(sip.NewHeader(name, fmt.Sprint(interval)))
	}
}

func minSE() sip.Header { return sip.NewHeader("Min-SE", fmt.Sprint(dialog.MinSE)) }

// keepTime gives the leg its session timer.
func (l *Leg) keepTime(t dialog.Timer) {
	if l.Cause() == "" {
		l.session.start(t, func(f func()) { l.post(f) }, l.refresh, l.expire)
	}
}

// expire hangs up: nobody has refreshed (F40).
func (l *Leg) expire() {
	l.engine.log.Info("session timer ran out", latchkey.LogCallID, l.callID)
	l.engine.running.Go(func() { _ = l.bye(context.Background(), timedOut, "timeout") }) // ends with its transaction
}

// refresh refreshes the leg by UPDATE, or by a re-INVITE where the peer takes none.
func (l *Leg) refresh() {
	if l.offering || l.Cause() != "" { // an offer refreshes, too
		l.refreshIn(time.Second)
		return
	}
	if !l.session.update {
		local := l.local
		l.engine.running.Go(func() { // ends with its transaction
			ctx, cancel := context.WithTimeout(context.Background(), l.engine.h())
			defer cancel()
			if _, err := l.Reoffer(ctx, local); err != nil {
				l.post(func() { l.refreshIn(l.session.later()) })
			}
		})
		return
	}
	req := l.state.Request(sip.UPDATE)
	l.engine.contact(req, req.From().Address)
	req.RemoveHeader("Supported")
	req.AppendHeader(sip.NewHeader("Supported", "100rel, timer")) // as in the INVITE (RFC 4028 §7.4)
	l.session.ask(req)
	l.engine.running.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), l.engine.h())
		defer cancel()
		res, err := l.engine.sip.DoAuthNext(ctx, req, l.creds, l.nextSeq)
		l.post(func() { l.refreshed(res, err) })
	})
}

// nextSeq numbers a repeat with credentials.
func (l *Leg) nextSeq() (seq uint32) {
	l.do(func() {
		l.state.LocalSeq++
		seq = l.state.LocalSeq
	})
	return seq
}

// refreshIn tries again a little later; the end stays where it is.
func (l *Leg) refreshIn(wait time.Duration) {
	due := l.session.due
	time.AfterFunc(wait, func() {
		l.post(func() {
			if l.Cause() == "" && l.session.due.Equal(due) {
				l.refresh()
			}
		})
	})
}

// refreshed takes what a refresh was answered.
func (l *Leg) refreshed(res *sip.Response, err error) {
	switch {
	case l.Cause() != "":
	case res == nil && !l.session.silent(err):
		l.refreshIn(5 * time.Second)
	case res == nil, res.StatusCode == 481, res.StatusCode == 408:
		l.expire()
	case res.IsSuccess():
		l.state.Refresh(res)
		l.session.learn(res)
		l.keepTime(dialog.Granted(res))
	case l.session.tooBrief(res):
		l.refresh()
	case res.StatusCode == 491:
		l.refreshIn(standBackFor(l.caller))
	default:
		l.refreshIn(l.session.later())
	}
}

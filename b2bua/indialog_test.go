package b2bua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"latchkey/internal/dialog"
	"latchkey/internal/sipua"
)

// dialogs runs a test on a dialog that we opened and on one that the peer opened, over UDP and TCP.
func dialogs(t *testing.T, reoffer func([]byte) ([]byte, error), f func(t *testing.T, s *side, leg *Leg, d *talk)) {
	both(t, func(t *testing.T, s *side) {
		inv := invite()
		inv.OnReoffer = reoffer
		leg, d := s.called(inv)
		f(t, s, leg, d)
		leg, d = s.answered("call", AnswerOptions{OnReoffer: reoffer})
		f(t, s, leg, d)
	})
}

// own is our SDP in a dialog, theirs the peer's.
func own(l *Leg) string {
	if l.caller {
		return offer1
	}
	return answer1
}

func theirs(l *Leg) string {
	if l.caller {
		return answer1
	}
	return offer1
}

// RFC 3261 §14.2: without a hook the standing session is confirmed and any other is 488.
func TestReinviteConfirmsTheStandingSession(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		same := strings.Replace(theirs(leg), "o=- ", "o=- 9", 1) // another version
		res := d.ask("INVITE", same)
		if res.code() != 200 || res.body != own(leg) || res.get("Content-Type") != "application/sdp" || res.get("Contact") == "" {
			t.Errorf("re-INVITE = %s", res.raw)
		}
		d.send("ACK", "")
		no := d.ask("INVITE", offer2)
		if no.code() != 488 {
			t.Errorf("re-INVITE with another session = %s, want 488", no.first)
		}
		d.acknowledge(no)
		no = d.ask("INVITE", "hi", "Content-Type: text/plain")
		if no.code() != 415 {
			t.Errorf("re-INVITE with text = %s, want 415", no.first)
		}
		d.acknowledge(no)
		if string(leg.RemoteSDP()) != theirs(leg) || leg.Cause() != "" {
			t.Errorf("after a refusal: RemoteSDP = %q, Cause %q", leg.RemoteSDP(), leg.Cause())
		}
		for _, c := range []struct {
			body, want string
			code       int
		}{{"", "", 200}, {theirs(leg), own(leg), 200}, {offer2, "", 488}} {
			if res := d.ask("UPDATE", c.body); res.code() != c.code || res.body != c.want {
				t.Errorf("UPDATE %q = %s %q, want %d", c.body, res.first, res.body, c.code)
			}
		}
	})
}

// The hook answers another session, by re-INVITE and by UPDATE; its refusal and its fall are seen by the peer only.
func TestHookAnswersANewOffer(t *testing.T) {
	t.Parallel()
	hook := func(offer []byte) ([]byte, error) {
		switch {
		case strings.Contains(string(offer), "message 666"):
			panic("oh")
		case strings.Contains(string(offer), "message 13"):
			return nil, nil
		case string(offer) != offer2:
			return nil, errors.New("no")
		}
		return []byte(answer2), nil
	}
	dialogs(t, hook, func(t *testing.T, s *side, leg *Leg, d *talk) {
		for body, code := range map[string]int{
			strings.Replace(offer1, "message 9", "message 77", 1): 488, strings.Replace(offer1, "message 9", "message 13", 1): 488,
			strings.Replace(offer1, "message 9", "message 666", 1): 500,
		} {
			no := d.ask("INVITE", body)
			if no.code() != code {
				t.Errorf("re-INVITE = %s, want %d", no.first, code)
			}
			d.acknowledge(no)
		}
		for _, method := range []string{"UPDATE", "INVITE"} {
			if res := d.ask(method, offer2); res.code() != 200 || res.body != answer2 {
				t.Errorf("%s = %s %q, want the hook's answer", method, res.first, res.body)
			}
			if method == "INVITE" {
				d.send("ACK", "")
			}
			if string(leg.RemoteSDP()) != offer2 {
				t.Errorf("RemoteSDP = %q", leg.RemoteSDP())
			}
		}
	})
}

// B2.06: a re-INVITE without offer gets ours, and its ACK brings the answer; meanwhile the peer offers nothing else.
func TestReinviteWithoutOffer(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		res := d.ask("INVITE", "")
		if res.code() != 200 || res.body != own(leg) {
			t.Errorf("re-INVITE = %s %q", res.first, res.body)
		}
		invited := d.seq
		if res := d.ask("UPDATE", theirs(leg)); res.code() != 491 {
			t.Errorf("UPDATE with an offer while ours is open = %s, want 491", res.first)
		}
		if res := d.ask("UPDATE", ""); res.code() != 200 {
			t.Errorf("UPDATE without one = %s", res.first)
		}
		d.out(d.text("ACK", invited, answer2))
		until(t, func() bool { return string(leg.RemoteSDP()) == answer2 })
		if res := d.ask("UPDATE", answer2); res.code() != 200 {
			t.Errorf("UPDATE after the answer = %s", res.first)
		}
	})
}

func until(t *testing.T, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to be")
		}
	}
}

// RFC 3261 §13.3.1.4: the 200 of a re-INVITE is repeated until its own ACK.
func TestReinvitesOKIsRepeated(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		ok := d.ask("INVITE", "")
		s.w.again(ok)
		d.out(d.text("ACK", d.seq-1, "")) // of the first INVITE, whose 200 crossed it
		s.w.again(ok)
		s.w.again(ok)
		d.send("ACK", theirs(leg))
		until(t, func() bool { free := false; leg.do(func() { free = !leg.offering && len(leg.acks) == 0 }); return free })
	})
}

// RFC 3261 §14.2: without the ACK of a re-INVITE the dialog is hung up.
func TestReinviteWithoutACKEndsTheDialog(t *testing.T) {
	t.Parallel()
	bothWith(t, impatient, func(t *testing.T, s *side) {
		leg, d := s.answered("call", AnswerOptions{})
		begin := time.Now()
		s.w.again(d.ask("INVITE", theirs(leg)))
		b := s.w.expect("BYE")
		if d := time.Since(begin); d < s.engine.h() {
			t.Errorf("BYE after %v, want %v", d, s.engine.h())
		}
		b.answer("200 OK", "", "")
		ended(t, leg, "timeout")
	})
}

// RFC 3261 §12.2.2: a re-INVITE or UPDATE moves the remote target.
func TestTargetIsRefreshed(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		moved := "sip:new@" + s.w.addr + ";transport=" + s.network
		if res := d.ask("UPDATE", "", "Contact: <"+moved+">"); res.code() != 200 {
			t.Errorf("UPDATE = %s", res.first)
		}
		done := bye(leg)
		b := s.w.expect("BYE")
		if b.uri() != moved {
			t.Errorf("BYE to %s, want %s", b.uri(), moved)
		}
		b.answer("200 OK", "", "")
		<-done
	})
}

// Order by CSeq (RFC 3261 §12.2.2): neighbours that overtake each other are put right, a number that is missing is not
// waited for long, one that is old is 500.
func TestRequestsAreTakenInTheirOrder(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		if res := d.ask("OPTIONS", ""); res.code() != 200 {
			t.Fatalf("OPTIONS = %s", res.first)
		}
		leg.do(func() { s.engine.gap = patience }) // however slow the machine is
		// BYE, and behind it on the wire what was sent before it.
		n := d.seq
		d.out(d.text("BYE", n+4, ""))
		d.out(d.text("OPTIONS", n+3, ""))
		d.out(d.text("UPDATE", n+2, ""))
		d.out(d.text("OPTIONS", n+1, ""))
		for i, method := range []string{"OPTIONS", "UPDATE", "OPTIONS", "BYE"} {
			if res := d.final(method, n+1+i); res.code() != 200 {
				t.Errorf("%s, number %d of 4 = %s", method, i+1, res.first)
			}
		}
		ended(t, leg, "peer")
	})
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		d.ask("OPTIONS", "")
		const gap = 1500 * time.Millisecond
		n := d.seq
		begin := time.Now()
		held, both := make(chan struct{}), make(chan struct{})
		leg.post(func() { s.engine.gap = gap; close(held); <-both }) // so that both wait, however slow the machine is
		<-held
		for i, seq := range []int{n + 9, n + 5} {
			d.out(d.text("OPTIONS", seq, ""))
			until(t, func() bool { leg.mu.Lock(); defer leg.mu.Unlock(); return len(leg.queue) > i })
		}
		close(both)
		if res := d.final("OPTIONS", n+5); res.code() != 200 {
			t.Errorf("OPTIONS after a gap = %s", res.first)
		}
		if res := d.final("OPTIONS", n+9); res.code() != 200 {
			t.Errorf("OPTIONS after a gap = %s", res.first)
		}
		if d := time.Since(begin); d < gap {
			t.Errorf("a gap is waited for %v, want %v", d, gap)
		}
		d.out(d.text("OPTIONS", n+3, ""))
		if res := d.final("OPTIONS", n+3); res.first != "SIP/2.0 500 CSeq Out Of Order" {
			t.Errorf("OPTIONS that is too late = %s, want 500", res.first)
		}
	})
}

// What waits behind a gap when the dialog ends is answered.
func TestEndAnswersWhatWaits(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	leg, d := s.answered("call", AnswerOptions{})
	d.out(d.text("OPTIONS", d.seq+5, ""))
	until(t, func() bool {
		n := 0
		leg.do(func() { n = len(leg.waiting) })
		return n > 0 || len(s.w.unread()) > 0
	})
	leg.end("error")
	if res := d.final("OPTIONS", d.seq+5); res.code() != 481 && res.code() != 200 {
		t.Errorf("OPTIONS = %s", res.first)
	}
}

// B5.09: a BYE that crosses ours is 200, also when ours is answered already; all else is 481 then.
func TestByeThatCrossesOurs(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		done := bye(leg)
		b := s.w.expect("BYE")
		if res := d.ask("BYE", ""); res.code() != 200 {
			t.Errorf("crossing BYE = %s", res.first)
		}
		b.answer("481 Call/Transaction Does Not Exist", "", "")
		if err := <-done; err != nil {
			t.Errorf("Bye = %v", err)
		}
		ended(t, leg, "bye")
		for method, code := range map[string]int{"BYE": 200, "OPTIONS": 481, "UPDATE": 481} {
			if res := d.ask(method, ""); res.code() != code {
				t.Errorf("%s after the end = %s, want %d", method, res.first, code)
			}
		}
		d.send("ACK", "")
	})
}

// A dialog that is over is forgotten after 64*T1.
func TestEndedDialogIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSideWith(t, "udp", impatient)
	leg, d := s.answered("call", AnswerOptions{})
	d.ask("BYE", "")
	ended(t, leg, "peer")
	until(t, func() bool {
		s.engine.mu.Lock()
		defer s.engine.mu.Unlock()
		return len(s.engine.over)+len(s.engine.taken)+len(s.engine.incoming) == 0
	})
	if res := d.ask("BYE", ""); res.code() != 481 {
		t.Errorf("BYE much later = %s, want 481", res.first)
	}
}

// Requests that need no state.
func TestOtherRequestsInADialog(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		for method, code := range map[string]int{"OPTIONS": 200, "INFO": 405, "MESSAGE": 405, "PRACK": 400} {
			if method == "PRACK" && leg.caller {
				code = 481
			}
			if res := d.ask(method, ""); res.code() != code || code == 405 && res.get("Allow") != allow {
				t.Errorf("%s = %s, Allow %q; want %d", method, res.first, res.get("Allow"), code)
			}
		}
		if res := d.ask("OPTIONS", "", "Require: foo"); res.code() != 420 || res.get("Unsupported") != "foo" {
			t.Errorf("OPTIONS with Require = %s", res.first)
		}
		d.cancel(d.text("INVITE", d.seq, offer1))
		if res := d.final("CANCEL", d.seq); res.code() != 481 {
			t.Errorf("CANCEL of nothing = %s, want 481", res.first)
		}
	})
}

// offering is a Reoffer under way.
func offering(ctx context.Context, l *Leg, sdp string) func() (string, error) {
	type outcome struct {
		answer []byte
		err    error
	}
	done := make(chan outcome, 1)
	go func() { // ends with the re-INVITE
		b, err := l.Reoffer(ctx, []byte(sdp))
		done <- outcome{b, err}
	}()
	return func() (string, error) {
		o := <-done
		return string(o.answer), o.err
	}
}

// B2.05, RFC 4028 §7.4: our re-INVITE supports what the INVITE did, so its answer may come in a reliable 1xx (RFC 3262 §5), which gets one PRACK however often
// it comes; the answer is the first one.
func TestReofferIsAnsweredByAReliableResponse(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		wait := offering(ctxOf(t), leg, offer2)
		m := s.w.expect("INVITE")
		if m.get("Supported") != "100rel, timer" || len(m.all("Supported")) != 1 {
			t.Errorf("re-INVITE\n%s", m.raw)
		}
		progress := m.response("183 Session Progress", "", answer2, "Require: 100rel", "RSeq: 7")
		m.reply(progress)
		m.reply(progress)
		prack := s.w.expect("PRACK")
		if want := fmt.Sprint("7 ", m.seq(), " INVITE"); prack.get("RAck") != want || prack.seq() != m.seq()+1 || prack.get("To") != d.local {
			t.Errorf("PRACK, want RAck %s\n%s", want, prack.raw)
		}
		prack.answer("200 OK", "", "")
		m.answer("180 Ringing", "", "", "Require: 100rel", "RSeq: 9") // out of order
		m.answer("200 OK", "", "", "Contact: <"+d.contact()+">")
		s.w.expect("ACK")
		if answer, err := wait(); err != nil || answer != answer2 || string(leg.RemoteSDP()) != answer2 {
			t.Errorf("Reoffer = %q, %v; RemoteSDP = %q", answer, err, leg.RemoteSDP())
		}
		s.w.silent()
	})
}

// RFC 3261 §14.1: our re-INVITE, accepted, refused, and asked for credentials.
func TestReoffer(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		leg.creds = sipua.Credentials{Username: "b", Password: "s3cret"}
		wait := offering(ctxOf(t), leg, offer2)
		m := s.w.expect("INVITE")
		if m.body != offer2 || m.get("To") != d.local || m.get("Contact") == "" || m.get("Content-Type") != "application/sdp" {
			t.Errorf("re-INVITE\n%s", m.raw)
		}
		// RFC 3261 §14.2, RFC 3311 §5.2: glare.
		no := d.ask("INVITE", theirs(leg))
		if no.code() != 491 {
			t.Errorf("the peer's re-INVITE = %s, want 491", no.first)
		}
		d.acknowledge(no)
		if res := d.ask("UPDATE", theirs(leg)); res.code() != 491 {
			t.Errorf("the peer's UPDATE = %s, want 491", res.first)
		}
		if res := d.ask("UPDATE", ""); res.code() != 200 {
			t.Errorf("UPDATE without an offer = %s", res.first)
		}
		if _, err := leg.Reoffer(ctxOf(t), []byte(offer2)); err == nil {
			t.Error("a second Reoffer is fine")
		}
		m.answer("401 Unauthorized", "", "", `WWW-Authenticate: Digest realm="cc.com", nonce="n1"`)
		s.w.expect("ACK")
		m2 := s.w.expect("INVITE")
		if m2.seq() != m.seq()+1 || !strings.Contains(m2.get("Authorization"), `nonce="n1"`) || m2.body != offer2 {
			t.Errorf("with credentials\n%s", m2.raw)
		}
		moved := "sip:moved@" + s.w.addr + ";transport=" + s.network
		ok := m2.response("200 OK", "", answer2, "Contact: <"+moved+">")
		m2.reply(ok)
		ack := s.w.expect("ACK")
		if ack.uri() != moved || ack.seq() != m2.seq() || ack.branch() == m2.branch() {
			t.Errorf("ACK\n%s", ack.raw)
		}
		if got, err := wait(); err != nil || got != answer2 {
			t.Errorf("Reoffer = %q, %v", got, err)
		}
		m2.reply(ok)
		s.w.again(ack)
		if string(leg.RemoteSDP()) != answer2 {
			t.Errorf("RemoteSDP = %q", leg.RemoteSDP())
		}
		wait = offering(ctxOf(t), leg, offer1)
		s.w.expect("INVITE").answer("488 Not Acceptable Here", "", "")
		s.w.expect("ACK")
		_, err := wait()
		if no, refused := errors.AsType[*Refused](err); !refused || no.Code != 488 || leg.Cause() != "" || string(leg.RemoteSDP()) != answer2 {
			t.Errorf("Reoffer = %v, Cause %q, RemoteSDP %q; want 488 and no change", err, leg.Cause(), leg.RemoteSDP())
		}
		if res := d.ask("UPDATE", ""); res.code() != 200 {
			t.Errorf("UPDATE afterwards = %s", res.first)
		}
	})
}

// RFC 3261 §14.1: after a 491 the peer's own offer may come first, and then ours is tried again.
func TestReofferIsTriedAgainAfterGlare(t *testing.T) {
	for _, caller := range []bool{true, false} {
		t.Run(fmt.Sprint("caller ", caller), func(t *testing.T) {
			timedTest(t, func(t *testing.T, x *crossroads) {
				x.engine.Handle(x.side)
				var leg *Leg
				var d *talk
				if caller {
					leg, d = x.called(invite())
				} else {
					leg, d = x.answered("call", AnswerOptions{})
				}
				wait := offering(ctxOf(t), leg, offer2)
				m := x.w.expect("INVITE")
				begin := time.Now()
				m.answer("491 Request Pending", "", "")
				x.w.expect("ACK")
				if caller { // it stands back for 2.1 s at least
					until(t, func() bool { free := false; leg.do(func() { free = !leg.offering }); return free })
					if res := d.ask("INVITE", theirs(leg)); res.code() != 200 {
						t.Errorf("the peer's re-INVITE = %s", res.first)
					}
					d.send("ACK", "")
				}
				m2 := x.w.expect("INVITE")
				if d := time.Since(begin); caller && (d < 2100*time.Millisecond || d > 4*time.Second) || !caller && d > 2*time.Second || m2.seq() <= m.seq() {
					t.Errorf("tried again after %v with CSeq %d after %d", d, m2.seq(), m.seq())
				}
				m2.answer("200 OK", "", answer2, x.contact())
				x.w.expect("ACK")
				if got, err := wait(); err != nil || got != answer2 {
					t.Errorf("Reoffer = %q, %v", got, err)
				}
			})
		})
	}
}

// RFC 3261 §9, §14: who leaves cancels; a 200 that crosses is acknowledged, and then its session stands.
func TestReofferIsCancelled(t *testing.T) {
	t.Parallel()
	dialogs(t, nil, func(t *testing.T, s *side, leg *Leg, d *talk) {
		for _, crossing := range []bool{false, true} {
			ctx, cancel := context.WithCancel(ctxOf(t))
			wait := offering(ctx, leg, offer2)
			m := s.w.expect("INVITE")
			cancel()
			if _, err := wait(); !errors.Is(err, context.Canceled) {
				t.Errorf("Reoffer = %v", err)
			}
			m.answer("183 Session Progress", "", "")
			c := s.w.expect("CANCEL")
			if c.branch() != m.branch() || c.seq() != m.seq() {
				t.Errorf("CANCEL\n%s", c.raw)
			}
			c.answer("200 OK", "", "")
			want := theirs(leg)
			if crossing {
				want = answer2
				m.answer("200 OK", "", answer2, s.contact())
			} else {
				m.answer("487 Request Terminated", "", "")
			}
			s.w.expect("ACK")
			until(t, func() bool { free := false; leg.do(func() { free = !leg.offering }); return free })
			if string(leg.RemoteSDP()) != want || leg.Cause() != "" {
				t.Errorf("RemoteSDP = %q, want %q", leg.RemoteSDP(), want)
			}
		}
	})
}

// RFC 3261 §12.2.1.2: 481, 408 or silence means that the dialog is gone.
func TestReofferToNobodyEndsTheLeg(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	for status, cause := range map[string]string{"481 Call/Transaction Does Not Exist": "error", "408 Request Timeout": "error", "": "timeout"} {
		leg, _ := s.called(invite())
		wait := offering(ctxOf(t), leg, offer2)
		m := s.w.expect("INVITE")
		if status != "" {
			m.answer(status, "", "")
			s.w.expect("ACK")
		}
		s.w.expect("BYE").answer("481 Call/Transaction Does Not Exist", "", "")
		if _, err := wait(); err == nil || cause == "timeout" && !errors.Is(err, sipua.ErrTimeout) {
			t.Errorf("%s: Reoffer = %v", status, err)
		}
		ended(t, leg, cause)
		if _, err := leg.Reoffer(ctxOf(t), []byte(offer2)); err == nil {
			t.Error("Reoffer after the end is fine")
		}
	}
	// The peer hangs up meanwhile.
	leg, d := s.answered("call", AnswerOptions{})
	wait := offering(ctxOf(t), leg, offer2)
	m := s.w.expect("INVITE")
	d.ask("BYE", "")
	m.answer("487 Request Terminated", "", "")
	s.w.expect("ACK")
	if _, err := wait(); err == nil {
		t.Error("Reoffer = nil though the peer has hung up")
	}
}

// RFC 3261 §15: nothing is offered in a dialog that is over, though its loop has still something to do.
func TestNoReinviteFollowsTheEnd(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	leg, d := s.called(invite())
	held, both := make(chan struct{}), make(chan struct{})
	leg.post(func() { close(held); <-both })
	<-held
	waits := func() bool { leg.mu.Lock(); defer leg.mu.Unlock(); return len(leg.queue) > 0 }
	wait := offering(ctxOf(t), leg, offer2)
	until(t, waits) // to begin
	leg.post(func() {
		until(t, waits) // for its request
		leg.end("error")
	})
	close(both)
	if _, err := wait(); !errors.Is(err, errOver) {
		t.Errorf("Reoffer = %v, want %v", err, errOver)
	}
	if res := d.ask("OPTIONS", ""); res.code() != 481 { // what was sent before is there
		t.Errorf("OPTIONS = %s, want 481", res.first)
	}
}

// Shutdown hangs up what stands, cancels and refuses what rings, in both directions, and then takes and makes no calls.
func TestShutdownEndsAllCalls(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		leg, _ := s.called(invite())
		leg2, _ := s.answered("stands", AnswerOptions{})
		out := s.call(invite())
		m := s.w.expect("INVITE")
		m.answer("180 Ringing", "a9", "")
		in := s.caller("rings")
		in.send("INVITE", offer1)
		s.incoming()
		over := make(chan error, 1)
		go func() { over <- s.engine.Shutdown(ctxOf(t)) }() // ends with the calls
		for range 2 {
			s.w.expect("BYE").answer("200 OK", "", "")
		}
		s.w.expect("CANCEL").answer("200 OK", "", "")
		m.answer("487 Request Terminated", "a9", "")
		s.w.expect("ACK")
		no := in.final("INVITE", 1)
		if no.code() != 503 || no.get("Retry-After") == "" {
			t.Errorf("INVITE that rang = %s", no.first)
		}
		in.acknowledge(no)
		if err := <-over; err != nil {
			t.Errorf("Shutdown = %v", err)
		}
		if _, err := out.wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v", err)
		}
		ended(t, leg, "bye")
		ended(t, leg2, "bye")
		if _, err := s.engine.Call(ctxOf(t), invite()); err == nil {
			t.Error("Call after Shutdown is fine")
		}
		late := s.caller("late")
		no = late.ask("INVITE", offer1)
		if no.code() != 503 {
			t.Errorf("INVITE after Shutdown = %s", no.first)
		}
		late.acknowledge(no)
		if err := s.engine.Shutdown(ctxOf(t)); err != nil {
			t.Errorf("second Shutdown = %v", err)
		}
	})
}

// Shutdown does not outlast its context.
func TestShutdownEndsWithItsContext(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	s.called(invite())
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan error, 1)
	go func() { over <- s.engine.Shutdown(ctx) }() // ends with its context
	s.w.expect("BYE")
	cancel()
	if err := <-over; !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown with a peer that doesn't answer = %v", err)
	}
}

// A loop takes its posts in order, and after its end says so.
func TestLegTakesPostsInOrder(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	leg := s.engine.newLeg(&dialog.State{CallID: "x"}, legParts{caller: true})
	var got []int
	for i := range 1000 {
		if !leg.post(func() { got = append(got, i) }) {
			t.Fatal("post = false while the leg stands")
		}
	}
	leg.do(func() {})
	if len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d posts were done, in order: %v", len(got), slices.IsSorted(got))
	}
	n := 0
	go leg.end("error")
	for leg.do(func() { n++ }) { // each true was done
		n--
	}
	if n != 0 {
		t.Errorf("%d more done than said", n)
	}
	if leg.post(func() {}) {
		t.Error("post = true after the end")
	}
}

// Timers are the transaction layer's.
func TestTimersAreThoseOfTheTransactions(t *testing.T) {
	s := newSide(t, "udp")
	if g := New(s.ua, Options{}); g.t1 != sip.T1 || g.t2 != sip.T2 || g.gap != gapWait {
		t.Errorf("t1 %v, t2 %v, gap %v", g.t1, g.t2, g.gap)
	}
	if got := fmt.Sprint(timers{500 * time.Millisecond, 4 * time.Second}.h()); got != "32s" {
		t.Errorf("64*T1 = %s", got)
	}
}

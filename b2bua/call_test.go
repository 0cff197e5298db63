package b2bua

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/sipua"
)

// A call of ours, from INVITE to BYE: fields, tags, numbers and the route set (RFC 3261 §8.1.1, §12, §13.2, §15).
func TestCallIsSetUpAndHungUp(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		inv := invite()
		inv.Route = []string{"<sip:service.example;lr;x=1>"}
		inv.Header = []Field{{"Conversation-ID", "conv"}}
		progress := make(chan int, 8)
		inv.OnProgress = func(code int) { progress <- code }
		r := s.call(inv)
		m := s.w.expect("INVITE")
		if m.uri() != "sip:a@cc.com" || m.body != offer1 || m.seq() != 1 || m.get("Max-Forwards") != "70" || m.get("Content-Type") != "application/sdp" ||
			m.get("Conversation-ID") != "conv" || m.get("Supported") != "100rel, timer" || !strings.Contains(m.get("Allow"), "PRACK, UPDATE") {
			t.Errorf("INVITE\n%s", m.raw)
		}
		core := "<sip:" + s.w.addr + ";transport=" + s.network + ";lr>"
		if got, want := m.all("Route"), []string{core, "<sip:service.example;lr;x=1>"}; !slices.Equal(got, want) {
			t.Errorf("Route = %q, want %q", got, want)
		}
		if !strings.HasPrefix(m.get("Via"), "SIP/2.0/"+strings.ToUpper(s.network)+" 127.0.0.1:") || !strings.HasPrefix(m.branch(), "z9hG4bK") ||
			param(m.get("From"), "tag") == "" || strings.Contains(m.get("To"), "tag=") {
			t.Errorf("Via %q, From %q, To %q", m.get("Via"), m.get("From"), m.get("To"))
		}
		m.answer("100 Trying", "", "")
		m.answer("180 Ringing", "a1", "")
		if code := <-progress; code != 180 {
			t.Errorf("OnProgress(%d), want 180", code)
		}
		// The topmost proxy is the one next to the callee; two stand in one field.
		here := "sip:" + s.w.addr + ";transport=" + s.network + ";lr"
		m.answer("200 OK", "a1", answer1, `Record-Route: "two, of" <sip:far.example;lr>, <sip:mid.example;lr;a=x>`, "Record-Route: <"+here+">", "Contact: <sip:a@phone.example:5070>")
		ack := s.w.expect("ACK")
		routes := []string{"<" + here + ">", "<sip:mid.example;lr;a=x>", "<sip:far.example;lr>"}
		check := func(n *text, seq int) {
			t.Helper()
			if n.uri() != "sip:a@phone.example:5070" || n.seq() != seq || n.get("Call-ID") != m.get("Call-ID") || n.get("From") != m.get("From") ||
				n.get("To") != m.get("To")+";tag=a1" || n.branch() == m.branch() {
				t.Errorf("%s within the dialog:\n%s", n.method(), n.raw)
			}
			if !slices.Equal(n.all("Route"), routes) {
				t.Errorf("%s: Route = %q, want %q", n.method(), n.all("Route"), routes)
			}
		}
		check(ack, 1)
		leg, err := r.wait(t)
		if err != nil {
			t.Fatalf("Call = %v", err)
		}
		if string(leg.RemoteSDP()) != answer1 || leg.CallID() != m.get("Call-ID") || s.engine.Legs() != 1 || leg.Cause() != "" {
			t.Errorf("leg: SDP %q, Call-ID %q of %d legs, cause %q", leg.RemoteSDP(), leg.CallID(), s.engine.Legs(), leg.Cause())
		}
		if len(progress) > 0 {
			t.Errorf("OnProgress(%d), too", <-progress)
		}
		done := make(chan error, 1)
		go func() { done <- leg.Bye(ctxOf(t), `SIP;cause=200;text="Call completed"`) }() // ends with the answer
		b := s.w.expect("BYE")
		check(b, 2)
		if b.get("Reason") != `SIP;cause=200;text="Call completed"` {
			t.Errorf("Reason = %q", b.get("Reason"))
		}
		b.answer("200 OK", "", "")
		if err := <-done; err != nil {
			t.Errorf("Bye = %v", err)
		}
		ended(t, leg, "bye")
		if err := leg.Bye(ctxOf(t), ""); err != nil || s.engine.Legs() != 0 {
			t.Errorf("second Bye = %v, %d legs are left", err, s.engine.Legs())
		}
	})
}

// RFC 3261 §12.2.1.1: a strict router gets the request with itself in the R-URI and the target at the end of the Route.
func TestStrictRouterIsTheNextHop(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	r := s.call(invite())
	m := s.w.expect("INVITE")
	m.answer("200 OK", "a1", answer1, "Record-Route: <sip:far.invalid;lr>", "Record-Route: <sip:"+s.w.addr+">", "Contact: <sip:a@phone.invalid>")
	ack := s.w.expect("ACK") // sent to a name that is not there, it would never come
	if want := []string{"<sip:far.invalid;lr>", "<sip:a@phone.invalid>"}; ack.uri() != "sip:"+s.w.addr || !slices.Equal(ack.all("Route"), want) {
		t.Errorf("ACK to %s by %q, want %q", ack.uri(), ack.all("Route"), want)
	}
	leg, err := r.wait(t)
	if err != nil {
		t.Fatalf("Call = %v", err)
	}
	done := bye(leg)
	b := s.w.expect("BYE")
	if b.uri() != "sip:"+s.w.addr {
		t.Errorf("BYE to %s", b.uri())
	}
	b.answer("200 OK", "", "")
	if err := <-done; err != nil {
		t.Errorf("Bye = %v", err)
	}
}

// RFC 3261 §13.2.2.4, RFC 6026 §7.2: each repeat of the 2xx gets the same ACK again; a broken one is nothing at all.
func TestRepeatedOKIsAcknowledgedAgain(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		r := s.call(invite())
		m := s.w.expect("INVITE")
		ok := m.response("200 OK", "a1", answer1, s.contact())
		m.reply(ok)
		ack := s.w.expect("ACK")
		if _, err := r.wait(t); err != nil {
			t.Fatalf("Call = %v", err)
		}
		for range 3 {
			m.reply(ok)
			s.w.again(ack)
		}
		// Without To, with somebody else's Call-ID, with two Vias: once a way to end the whole process.
		m.reply(strings.Replace(ok, "To: ", "X-To: ", 1))
		m.reply(strings.Replace(ok, "Call-ID: ", "Call-ID: x", 1))
		m.reply(strings.Replace(ok, "Via: ", "Via: "+m.get("Via")+"\r\nVia: ", 1))
		m.reply(ok)
		s.w.again(ack)
	})
}

// RFC 3261 §8.1.3.3: a response that does not fit is as good as none, also as the first one.
func TestResponseThatDoesNotFitIsNone(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	r := s.call(invite())
	m := s.w.expect("INVITE")
	m.reply(strings.Replace(m.response("183 Session Progress", "x", "", "Require: 100rel", "RSeq: 1"), "To: ", "X-To: ", 1))
	m.reply(strings.Replace(m.response("200 OK", "x", answer1), "To: ", "X-To: ", 1))
	m.answer("200 OK", "a1", answer1, s.contact())
	if ack := s.w.expect("ACK"); param(ack.get("To"), "tag") != "a1" {
		t.Errorf("ACK to %q", ack.get("To"))
	}
	if _, err := r.wait(t); err != nil {
		t.Errorf("Call = %v", err)
	}
	r = s.call(invite())
	m = s.w.expect("INVITE")
	m.reply(strings.Replace(m.response("486 Busy Here", "x", ""), "Call-ID: ", "Call-ID: x", 1))
	s.w.expect("ACK") // sipgo's
	if _, err := r.wait(t); !errors.Is(err, sipua.ErrMisfit) {
		t.Errorf("Call = %v, want %v", err, sipua.ErrMisfit)
	}
}

// F41, B2.04: of two devices that answer the first is kept; the second is acknowledged and hung up, with its own tag, routes and target.
func TestSecondAnswerOfAForkIsHungUp(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		r := s.call(invite())
		m := s.w.expect("INVITE")
		m.answer("180 Ringing", "a1", "", s.contact())
		m.answer("180 Ringing", "a2", "", s.contact())
		m.answer("200 OK", "a1", answer1, s.contact())
		ack1 := s.w.expect("ACK")
		leg, err := r.wait(t)
		if err != nil {
			t.Fatalf("Call = %v", err)
		}
		here := "<sip:" + s.w.addr + ";transport=" + s.network + ";lr>"
		second := m.response("200 OK", "a2", answer2, "Record-Route: <sip:two.example;lr>, "+here, "Contact: <sip:a@second.example>")
		m.reply(second)
		ack2 := s.w.expect("ACK")
		b := s.w.expect("BYE")
		for n, seq := range map[*text]int{ack2: 1, b: 2} {
			if n.uri() != "sip:a@second.example" || param(n.get("To"), "tag") != "a2" || n.seq() != seq || !slices.Equal(n.all("Route"), []string{here, "<sip:two.example;lr>"}) {
				t.Errorf("to the second device:\n%s", n.raw)
			}
		}
		// Its own BYE crosses ours, and must not end the first device's dialog, which has the same Call-ID and From tag.
		two := s.talkOf(m, "a2", ack2.reply)
		if res := two.ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE of the second device = %s", res.first)
		}
		b.answer("200 OK", "", "")
		m.reply(second)
		s.w.again(ack2)
		m.answer("200 OK", "a1", answer1, s.contact())
		s.w.again(ack1)
		if leg.Cause() != "" || string(leg.RemoteSDP()) != answer1 {
			t.Errorf("the first leg: cause %q, SDP %q", leg.Cause(), leg.RemoteSDP())
		}
		if res := s.talkOf(m, "a1", ack1.reply).ask("OPTIONS", ""); res.code() != 200 {
			t.Errorf("OPTIONS of the first device = %s", res.first)
		}
	})
}

// F42, B2.03: CANCEL only after a 1xx; 487 ends it.
func TestCancelWaitsForAProvisionalResponse(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		r := s.call(invite())
		m := s.w.expect("INVITE")
		r.leave()
		if _, err := r.wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want %v", err, context.Canceled)
		}
		if s.network == "udp" {
			s.w.again(m) // the INVITE is repeated, and still nothing else came
		}
		s.w.silent()
		m.answer("180 Ringing", "a1", "")
		c := s.w.expect("CANCEL")
		if c.uri() != m.uri() || c.get("Via") != m.get("Via") || len(c.all("Via")) != 1 || c.get("From") != m.get("From") || c.get("To") != m.get("To") ||
			c.get("Call-ID") != m.get("Call-ID") || c.seq() != m.seq() || !slices.Equal(c.all("Route"), m.all("Route")) {
			t.Errorf("CANCEL\n%s\nof\n%s", c.raw, m.raw)
		}
		c.answer("200 OK", "a1", "")
		m.answer("180 Ringing", "a1", "") // no second CANCEL
		m.answer("487 Request Terminated", "a1", "")
		ack := s.w.expect("ACK")
		if ack.branch() != m.branch() || param(ack.get("To"), "tag") != "a1" {
			t.Errorf("ACK of the 487:\n%s", ack.raw)
		}
		if s.engine.Legs() != 0 {
			t.Errorf("%d legs", s.engine.Legs())
		}
	})
}

// F42, B2.03: the 200 crosses the CANCEL; it is acknowledged and hung up.
func TestOKThatCrossesTheCancelIsHungUp(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		inv := invite()
		rings := make(chan struct{})
		inv.OnProgress = func(int) { close(rings) }
		r := s.call(inv)
		m := s.w.expect("INVITE")
		m.answer("180 Ringing", "a1", "")
		<-rings
		r.leave()
		if _, err := r.wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("Call = %v, want %v", err, context.Canceled)
		}
		c := s.w.expect("CANCEL")
		m.answer("200 OK", "a1", answer1, s.contact())
		c.answer("481 Call/Transaction Does Not Exist", "x", "")
		if ack := s.w.expect("ACK"); param(ack.get("To"), "tag") != "a1" || ack.branch() == m.branch() {
			t.Errorf("ACK\n%s", ack.raw)
		}
		b := s.w.expect("BYE")
		if param(b.get("To"), "tag") != "a1" || b.seq() != 2 {
			t.Errorf("BYE\n%s", b.raw)
		}
		b.answer("200 OK", "", "")
	})
}

// RFC 3261 §9.1: 64*T1 after the CANCEL a silent peer counts as gone.
func TestCancelledInviteDoesNotWaitForever(t *testing.T) {
	t.Parallel()
	s := newSideWith(t, "udp", impatient)
	r := s.call(invite())
	m := s.w.expect("INVITE")
	m.answer("180 Ringing", "a1", "")
	begin := time.Now()
	r.leave()
	c := s.w.expect("CANCEL")
	c.answer("200 OK", "a1", "")
	if _, err := r.wait(t); !errors.Is(err, context.Canceled) {
		t.Errorf("Call = %v", err)
	}
	over := make(chan struct{})
	go func() { // ends with the transaction
		s.engine.calls.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(patience):
		t.Fatal("the INVITE's reader stays")
	}
	if d := time.Since(begin); d < s.engine.h() {
		t.Errorf("given up after %v, want %v", d, s.engine.h())
	}
}

// RFC 3261 §17.1.1.2: timer B.
func TestSilentPeerIsATimeout(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	r := s.call(invite())
	s.w.again(s.w.expect("INVITE"))
	if _, err := r.wait(t); !errors.Is(err, sipua.ErrTimeout) {
		t.Errorf("Call = %v, want %v", err, sipua.ErrTimeout)
	}
}

// F35: refusals come back with code, phrase and Retry-After.
func TestRefusalComesBack(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		for _, c := range []struct {
			status, field string
			want          Refused
		}{
			{"486 Busy Here", "", Refused{486, "Busy Here", 0, nil}},
			{"480 Away", "Retry-After: 90 (lunch);duration=60", Refused{480, "Away", 90 * time.Second, nil}},
			{"302 Moved", "Retry-After: soon", Refused{302, "Moved", 0, nil}},
			{"503 Full", "Retry-After: 99999999999", Refused{503, "Full", 0, nil}},
		} {
			r := s.call(invite())
			m := s.w.expect("INVITE")
			m.answer(c.status, "a1", "", slices.DeleteFunc([]string{c.field}, func(f string) bool { return f == "" })...)
			if ack := s.w.expect("ACK"); ack.branch() != m.branch() {
				t.Errorf("ACK of a refusal has branch %s, want the INVITE's", ack.branch())
			}
			_, err := r.wait(t)
			no, ok := errors.AsType[*Refused](err)
			if ok && no.Response != nil && no.Response.StatusCode == no.Code {
				no.Response = nil
			}
			if !ok || *no != c.want {
				t.Errorf("%s: Call = %v, want %v", c.status, err, &c.want)
			}
		}
	})
}

// B2.05, RFC 3262 §4: a reliable 1xx is acknowledged once, in order, each fork by itself; its SDP is the answer.
func TestReliableResponsesAreAcknowledged(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		r := s.call(invite())
		m := s.w.expect("INVITE")
		reliable := func(tag string, rseq int, sdp string) string {
			return m.response("183 Session Progress", tag, sdp, s.contact(), "Require: 100rel", fmt.Sprint("RSeq: ", rseq),
				"Record-Route: <sip:"+s.w.addr+";lr;transport="+s.network+";fork="+tag+">")
		}
		prack := func(tag, rack string, seq int) *text {
			t.Helper()
			p := s.w.expect("PRACK")
			if p.get("RAck") != rack || p.seq() != seq || param(p.get("To"), "tag") != tag || !strings.Contains(p.get("Route"), "fork="+tag) || p.uri() != inside(s.contact()) {
				t.Errorf("PRACK, want %s as %d to %s:\n%s", rack, seq, tag, p.raw)
			}
			return p
		}
		first := reliable("a1", 4711, answer1)
		m.reply(first)
		p := prack("a1", "4711 1 INVITE", 2)
		m.reply(first) // its repeat
		p.answer("200 OK", "", "")
		m.reply(reliable("a2", 9, ""))
		prack("a2", "9 1 INVITE", 2).answer("200 OK", "", "")
		m.reply(reliable("a1", 4713, "")) // the one before it is lost
		m.reply(reliable("a1", 4712, ""))
		prack("a1", "4712 1 INVITE", 3).answer("200 OK", "", "")
		m.reply(reliable("a1", 4713, ""))
		prack("a1", "4713 1 INVITE", 4).answer("200 OK", "", "")
		m.answer("183 Session Progress", "a1", "", "RSeq: 4714")                     // does not require it
		m.answer("180 Ringing", "a1", "", "Require: 100rel", "RSeq: 99999999999999") // no number
		m.answer("200 OK", "a1", "", s.contact())                                    // the answer was in the 183
		s.w.expect("ACK")
		leg, err := r.wait(t)
		if err != nil {
			t.Fatalf("Call = %v", err)
		}
		if string(leg.RemoteSDP()) != answer1 {
			t.Errorf("RemoteSDP = %q, want that of the 183", leg.RemoteSDP())
		}
		done := bye(leg)
		b := s.w.expect("BYE")
		if b.seq() != 5 {
			t.Errorf("CSeq of BYE = %d, want 5, since PRACKs have used 2 to 4", b.seq())
		}
		b.answer("200 OK", "", "")
		<-done
	})
}

// RFC 3261 §22.2, §17.1.1.3: the repeat with credentials has its own number and branch; the 401's ACK stays that of the first INVITE.
func TestChallengedCallIsRepeatedWithCredentials(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ status, challenge, credentials string }{
		{"401 Unauthorized", "WWW-Authenticate", "Authorization"},
		{"407 Proxy Authentication Required", "Proxy-Authenticate", "Proxy-Authorization"},
	} {
		t.Run(c.credentials, func(t *testing.T) {
			s := newSide(t, "udp")
			inv := invite()
			inv.Credentials = sipua.Credentials{Username: "b", Password: "s3cret"}
			r := s.call(inv)
			m := s.w.expect("INVITE")
			no := m.response(c.status, "x", "", c.challenge+`: Digest realm="cc.com", nonce="n1", algorithm=MD5, qop="auth"`)
			m.reply(no)
			ack := s.w.expect("ACK")
			m2 := s.w.expect("INVITE")
			if ack.branch() != m.branch() || ack.seq() != 1 {
				t.Errorf("ACK of the challenge:\n%s", ack.raw)
			}
			if a := m2.get(c.credentials); m2.seq() != 2 || m2.branch() == m.branch() || m2.get("Call-ID") != m.get("Call-ID") || m2.get("From") != m.get("From") ||
				m2.body != offer1 || !strings.Contains(a, `username="b"`) || !strings.Contains(a, `nonce="n1"`) || strings.Contains(m2.raw, "s3cret") {
				t.Errorf("INVITE with credentials:\n%s", m2.raw)
			}
			m.reply(no) // the ACK was lost
			s.w.again(ack)
			m2.answer("200 OK", "a1", answer1, s.contact())
			if ack := s.w.expect("ACK"); ack.seq() != 2 {
				t.Errorf("CSeq of the ACK = %d", ack.seq())
			}
			leg, err := r.wait(t)
			if err != nil {
				t.Fatalf("Call = %v", err)
			}
			// BYE is challenged, too.
			done := bye(leg)
			b := s.w.expect("BYE")
			b.answer(c.status, "", "", c.challenge+`: Digest realm="cc.com", nonce="n2", algorithm=MD5, qop="auth"`)
			b2 := s.w.expect("BYE")
			if b.seq() != 3 || b2.seq() != 4 || !strings.Contains(b2.get(c.credentials), `nonce="n2"`) {
				t.Errorf("BYE %d, then %d with %q", b.seq(), b2.seq(), b2.get(c.credentials))
			}
			b2.answer("200 OK", "", "")
			<-done
		})
	}
	t.Run("refused for good", func(t *testing.T) {
		s := newSide(t, "udp")
		inv := invite()
		inv.Credentials = sipua.Credentials{Username: "b", Password: "wrong"}
		r := s.call(inv)
		for range 2 {
			m := s.w.expect("INVITE")
			m.answer("401 Unauthorized", "x", "", `WWW-Authenticate: Digest realm="cc.com", nonce="`+m.branch()+`"`)
			s.w.expect("ACK")
		}
		_, err := r.wait(t)
		if no, ok := errors.AsType[*Refused](err); !ok || no.Code != 401 {
			t.Errorf("Call = %v, want 401 after one try", err)
		}
	})
}

// B2.06, RFC 3261 §13.2.2.4: without an offer in the INVITE that of the 2xx is answered in the ACK.
func TestLateOfferIsAnsweredInTheACK(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		inv := invite()
		inv.Body = nil
		if _, err := s.engine.Call(ctxOf(t), inv); err == nil {
			t.Error("Call without offer and OnOffer is fine")
		}
		inv.OnOffer = func(offer []byte) ([]byte, error) {
			if string(offer) != offer2 {
				return nil, errors.New("not that")
			}
			return []byte(answer2), nil
		}
		r := s.call(inv)
		m := s.w.expect("INVITE")
		if m.body != "" || m.get("Content-Type") != "" || m.get("Content-Length") != "0" || m.get("Supported") != "timer" {
			t.Errorf("INVITE without offer:\n%s", m.raw)
		}
		m.answer("200 OK", "a1", offer2, s.contact())
		if ack := s.w.expect("ACK"); ack.body != answer2 || ack.get("Content-Type") != "application/sdp" {
			t.Errorf("ACK\n%s", ack.raw)
		}
		if leg, err := r.wait(t); err != nil || string(leg.RemoteSDP()) != offer2 {
			t.Errorf("Call = %v, %v", leg, err)
		}
		// An offer that can't be answered: the 2xx is acknowledged all the same.
		r = s.call(inv)
		m = s.w.expect("INVITE")
		m.answer("200 OK", "a1", offer1, s.contact())
		s.w.expect("ACK")
		s.w.expect("BYE").answer("200 OK", "", "")
		if _, err := r.wait(t); err == nil || err.Error() != "not that" {
			t.Errorf("Call = %v, want OnOffer's error", err)
		}
	})
}

// RFC 3311 §5.2, RFC 3261 §15: what the callee may ask before it answers, and its CSeq goes on in the confirmed dialog.
func TestCalleeAsksInTheEarlyDialog(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		inv := invite()
		rings := make(chan int, 8)
		inv.OnProgress = func(code int) { rings <- code }
		r := s.call(inv)
		m := s.w.expect("INVITE")
		m.answer("183 Session Progress", "a1", answer1, s.contact(), "Require: 100rel", "RSeq: 1")
		p := s.w.expect("PRACK")
		d := s.talkOf(m, "a1", p.reply)
		p.answer("200 OK", "", "")
		for _, c := range []struct {
			method, body string
			code         int
		}{{"OPTIONS", "", 200}, {"UPDATE", "", 200}, {"UPDATE", offer2, 488}, {"BYE", "", 481}, {"PRACK", "", 481}} {
			if res := d.ask(c.method, c.body); res.code() != c.code {
				t.Errorf("%s %.4s = %s, want %d", c.method, c.body, res.first, c.code)
			}
		}
		m.answer("180 Ringing", "a2", "")
		for <-rings != 180 {
		}
		d2 := s.talkOf(m, "a2", p.reply)
		if res := d2.ask("OPTIONS", ""); res.code() != 200 {
			t.Errorf("OPTIONS of the second device = %s", res.first)
		}
		if res := d2.ask("UPDATE", offer2); res.code() != 491 {
			t.Errorf("UPDATE while our offer is open = %s, want 491", res.first)
		}
		m.answer("200 OK", "a1", "", s.contact())
		s.w.expect("ACK")
		if _, err := r.wait(t); err != nil {
			t.Fatalf("Call = %v", err)
		}
		d.out(d.text("OPTIONS", 101, ""))
		if res := d.final("OPTIONS", 101); res.code() != 500 && res.code() != 200 {
			t.Errorf("old CSeq = %s", res.first)
		}
		if res := d.ask("OPTIONS", ""); res.code() != 200 {
			t.Errorf("OPTIONS = %s", res.first)
		}
		if res := d2.ask("OPTIONS", ""); res.code() != 481 {
			t.Errorf("OPTIONS of the device that did not answer = %s, want 481", res.first)
		}
	})
}

// S7: nothing that a caller puts into a field may begin another one.
func TestLineEndsInFieldsAreRefused(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	for name, spoil := range map[string]func(*Invite){
		"value": func(i *Invite) { i.Header = []Field{{"Subject", "x\r\nP-Asserted-Identity: <sip:boss@cc.com>"}} },
		"name":  func(i *Invite) { i.Header = []Field{{"X: y\r\nSubject", "x"}} },
		"to":    func(i *Invite) { i.To = "sip:a@cc.com\r\nSubject: x" },
		"from":  func(i *Invite) { i.From = "sip:b@guest.example> SIP/2.0\r\n" },
	} {
		inv := invite()
		spoil(&inv)
		if _, err := s.engine.Call(ctxOf(t), inv); err == nil {
			t.Errorf("Call with a line end in the %s is fine", name)
		}
	}
	leg, _ := s.called(invite())
	if err := leg.Bye(ctxOf(t), "SIP;cause=200\r\nX: y"); err == nil || leg.Cause() != "" {
		t.Errorf("Bye with a line end in the reason = %v", err)
	}
}

// A peer that answers by itself, for many calls at once in both directions, under the race detector.
func TestManyCallsAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		const n = 50
		s.w.mu.Lock()
		s.w.auto = true // answers INVITE and BYE alike; it has no Contact then
		s.w.mu.Unlock()
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				leg, err := s.engine.Call(ctxOf(t), invite())
				if err != nil {
					t.Errorf("Call = %v", err)
					return
				}
				if err := leg.Bye(ctxOf(t), ""); err != nil {
					t.Errorf("Bye = %v", err)
				}
			})
		}
		all.Wait()
		if s.engine.Legs() != 0 {
			t.Errorf("%d legs are left", s.engine.Legs())
		}
		go func() { // ends with the last call
			for range n {
				in := <-s.calls
				go func() {
					_, _ = in.Answer(context.Background(), AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
				}()
			}
		}()
		for i := range n {
			all.Go(func() {
				d := s.caller(fmt.Sprint("many", i))
				ok := d.ask("INVITE", offer1)
				if ok.code() != 200 {
					t.Errorf("INVITE = %s", ok.raw)
					return
				}
				d.opened(ok)
				d.send("ACK", "")
				if res := d.ask("BYE", ""); res.code() != 200 {
					t.Errorf("BYE = %s\nafter\n%s", res.raw, ok.raw)
				}
			})
		}
		all.Wait()
		until(t, func() bool { return s.engine.Legs() == 0 })
	})
}

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

	"latchkey/internal/sipua"
)

// A call of the peer's, from INVITE to BYE: one To tag in all responses, the route set in the order of the request (RFC 3261 §12.1.1).
func TestPeersCallIsAnsweredAndHungUp(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call-1")
		here := "<sip:" + s.w.addr + ";transport=" + s.network + ";lr>"
		d.send("INVITE", offer1, "Record-Route: "+here+", <sip:far.example;lr>", "Contact: <sip:a@phone.example>", "Conversation-ID: conv")
		in := s.incoming()
		if in.CallID() != "call-1" || in.Header("Conversation-ID") != "conv" || in.Header("X") != "" || string(in.Offer()) != offer1 || in.Request().Method != sip.INVITE {
			t.Errorf("Incoming: %q, %q, %q", in.CallID(), in.Header("Conversation-ID"), in.Offer())
		}
		if err := in.Progress(180); err != nil {
			t.Errorf("Progress = %v", err)
		}
		ringing := s.w.expect("180 INVITE")
		p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1), Header: []Field{{"Subject", "hi"}}})
		ok := s.w.expect("200 INVITE")
		if ok.body != answer1 || ok.get("Content-Type") != "application/sdp" || ok.get("Subject") != "hi" || !strings.Contains(ok.get("Allow"), "UPDATE") ||
			param(ok.get("To"), "tag") == "" || ok.get("To") != ringing.get("To") || !slices.Equal(ok.all("Record-Route"), []string{here, "<sip:far.example;lr>"}) {
			t.Errorf("200\n%s\nafter\n%s", ok.raw, ringing.raw)
		}
		if c := inside(ok.get("Contact")); !strings.HasPrefix(c, "sip:b@127.0.0.1:") || strings.Contains(c, "transport=tcp") != (s.network == "tcp") {
			t.Errorf("Contact = %q over %s", c, s.network)
		}
		d.opened(ok)
		d.send("ACK", "")
		leg, err := p.wait(t)
		if err != nil {
			t.Fatalf("Answer = %v", err)
		}
		if string(leg.RemoteSDP()) != offer1 {
			t.Errorf("RemoteSDP = %q", leg.RemoteSDP())
		}
		if _, err := in.Answer(ctxOf(t), AnswerOptions{}); err == nil {
			t.Error("a second Answer is fine")
		}
		if err := in.Progress(183); err == nil {
			t.Error("Progress after Answer is fine")
		}
		if err := in.Refuse(486, ""); err != nil {
			t.Errorf("Refuse after Answer = %v", err)
		}
		if res := d.ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		ended(t, leg, "peer")
		if string(leg.RemoteSDP()) != offer1 || leg.Bye(ctxOf(t), "") != nil {
			t.Errorf("after the end: RemoteSDP = %q", leg.RemoteSDP())
		}
		// And hung up by us.
		d.callID = "call-2"
		d.remote = "<sip:b@guest.example>"
		d.send("INVITE", offer1, "Record-Route: "+here+", <sip:far.example;lr>", "Contact: <sip:a@phone.example>")
		p = pick(ctxOf(t), s.incoming(), AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		ok = d.final("INVITE", d.seq)
		d.opened(ok)
		d.send("ACK", "")
		if leg, err = p.wait(t); err != nil {
			t.Fatalf("Answer = %v", err)
		}
		done := bye(leg)
		b := s.w.expect("BYE")
		if b.uri() != "sip:a@phone.example" || !slices.Equal(b.all("Route"), []string{here, "<sip:far.example;lr>"}) || b.get("From") != ok.get("To") || b.get("To") != d.local {
			t.Errorf("BYE\n%s", b.raw)
		}
		b.answer("200 OK", "", "")
		if err := <-done; err != nil {
			t.Errorf("Bye = %v", err)
		}
	})
}

// B1.13, RFC 7315 §4.6: what we send within a call that came in has the icid of its INVITE, and our own orig-ioi in place of the caller's.
// An icid that nobody trusted gave counts for nothing.
func TestDialogKeepsTheCallersChargingVector(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		for i, c := range []struct {
			field, ioi, want string
			stranger         bool
		}{
			{`icid-value="a;b";icid-generated-at=home.example;orig-ioi="Type 3cc.com"`, "Type 3guest.example", `icid-value="a;b";icid-generated-at=home.example;orig-ioi="Type 3guest.example"`, false},
			{`orig-ioi=cc.com; icid-value=x;term-ioi=y`, "", `icid-value=x`, false},
			{`orig-ioi=cc.com`, "Type 3guest.example", "", false},
			{`icid-value=x`, "Type 3guest.example", "", true},
		} {
			trusted := s.engine.trusted
			if c.stranger {
				s.engine.trusted = nil
			}
			d := s.caller(fmt.Sprint("call", i))
			d.send("INVITE", offer1, "P-Charging-Vector: "+c.field)
			in := s.incoming()
			p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1), Always: in.Charging(c.ioi)})
			d.opened(d.final("INVITE", 1))
			d.send("ACK", "")
			leg, err := p.wait(t)
			if err != nil {
				t.Fatalf("Answer = %v", err)
			}
			done := bye(leg)
			b := s.w.expect("BYE")
			if got := b.get("P-Charging-Vector"); got != c.want {
				t.Errorf("INVITE with %s: BYE with %q, want %q", c.field, got, c.want)
			}
			b.answer("200 OK", "", "")
			if err := <-done; err != nil {
				t.Errorf("Bye = %v", err)
			}
			s.engine.trusted = trusted
		}
	})
}

// RFC 3261 §13.3.1.4: the 200 is repeated until the ACK with its number is there.
func TestOKIsRepeatedUntilItsACK(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", offer1)
		p := pick(ctxOf(t), s.incoming(), AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		ok := d.final("INVITE", 1)
		s.w.again(ok)
		s.w.again(ok)
		d.opened(ok)
		d.out(d.text("ACK", 77, "")) // of something else
		s.w.again(ok)
		s.w.again(ok)
		select {
		case <-p.over:
			t.Fatal("Answer returns without the ACK")
		default:
		}
		d.send("ACK", "")
		if _, err := p.wait(t); err != nil {
			t.Errorf("Answer = %v", err)
		}
		d.send("ACK", "") // of a repeat
		if res := d.ask("OPTIONS", ""); res.code() != 200 {
			t.Errorf("OPTIONS = %s", res.first)
		}
	})
}

// RFC 3261 §13.3.1.4, §15: without ACK in 64*T1 there is a BYE, and not before.
func TestCallWithoutACKIsHungUp(t *testing.T) {
	t.Parallel()
	bothWith(t, impatient, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", offer1)
		in, begin := s.incoming(), time.Now()
		p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		s.w.again(d.final("INVITE", 1))
		b := s.w.expect("BYE")
		if d := time.Since(begin); d < s.engine.h() {
			t.Errorf("BYE after %v, want %v", d, s.engine.h())
		}
		b.answer("200 OK", "", "")
		if _, err := p.wait(t); !errors.Is(err, sipua.ErrTimeout) {
			t.Errorf("Answer = %v, want %v", err, sipua.ErrTimeout)
		}
	})
}

// RFC 3261 §15: who gives up before the ACK hangs up once it is there.
func TestByeWaitsForTheACK(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", offer1)
		ctx, cancel := context.WithCancel(ctxOf(t))
		p := pick(ctx, s.incoming(), AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		ok := d.final("INVITE", 1)
		cancel()
		if _, err := p.wait(t); !errors.Is(err, context.Canceled) {
			t.Errorf("Answer = %v", err)
		}
		s.w.again(ok)
		s.w.silent() // no BYE
		d.opened(ok)
		d.send("ACK", "")
		s.w.expect("BYE").answer("200 OK", "", "")
	})
}

// B2.06: our offer in the 200, the answer in the ACK.
func TestLateOfferTakesTheAnswerFromTheACK(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", "")
		in := s.incoming()
		if in.Offer() != nil {
			t.Errorf("Offer = %q", in.Offer())
		}
		p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(offer1)})
		d.opened(d.final("INVITE", 1))
		d.send("ACK", answer1)
		leg, err := p.wait(t)
		if err != nil || string(leg.RemoteSDP()) != answer1 {
			t.Errorf("Answer = %v, %v, want the SDP of the ACK", leg, err)
		}
	})
}

// B2.05, RFC 3262 §3: a reliable 1xx is repeated until its own PRACK; the next one waits for it.
func TestReliableResponseIsRepeatedUntilPRACK(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", offer1, "Require: 100rel")
		in := s.incoming()
		if err := in.Progress(183); err != nil {
			t.Fatalf("Progress = %v", err)
		}
		one := s.w.expect("183 INVITE")
		if one.get("Require") != "100rel" || one.get("RSeq") == "" || one.get("RSeq") == "0" || one.get("Contact") == "" {
			t.Errorf("reliable 183\n%s", one.raw)
		}
		s.w.again(one)
		s.w.again(one)
		d.opened(one)
		next := make(chan error, 1)
		go func() { next <- in.Progress(180) }() // ends by the PRACK
		for rack, code := range map[string]int{
			one.get("RSeq") + " 2 INVITE": 481, one.get("RSeq") + " 1 BYE": 481, "1 1 INVITE": 481, "x 1 INVITE": 400, one.get("RSeq") + " 1": 400, "": 400,
		} {
			if res := d.ask("PRACK", "", "RAck: "+rack); res.code() != code {
				t.Errorf("PRACK with RAck %q = %s, want %d", rack, res.first, code)
			}
		}
		if res := d.ask("PRACK", ""); res.code() != 400 {
			t.Errorf("PRACK without RAck = %s", res.first)
		}
		s.w.again(one)
		s.w.silent() // no 180 yet
		if res := d.ask("PRACK", "", "RAck: "+one.get("RSeq")+"  1 INVITE"); res.code() != 200 {
			t.Errorf("PRACK = %s", res.first)
		}
		if err := <-next; err != nil {
			t.Errorf("Progress = %v", err)
		}
		two := s.w.expect("180 INVITE")
		var n, m int
		_, _ = fmt.Sscan(one.get("RSeq")+" "+two.get("RSeq"), &n, &m)
		if m != n+1 {
			t.Errorf("RSeq %d after %d", m, n)
		}
		s.w.forget()
		s.w.again(two)
		for range 3 {
			s.w.forget()
			if res := d.ask("OPTIONS", ""); res.code() != 200 {
				t.Errorf("OPTIONS in the early dialog = %s", res.first)
			}
		}
		s.w.mu.Lock()
		for _, m := range s.w.arrived {
			if m.raw == one.raw {
				t.Error("the 183 is repeated though it has its PRACK")
			}
		}
		s.w.mu.Unlock()
		// Its PRACK comes after the 200, and is answered all the same.
		p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		d.final("INVITE", 1)
		if res := d.ask("PRACK", "", "RAck: "+two.get("RSeq")+" 1 INVITE"); res.code() != 200 {
			t.Errorf("PRACK after the 200 = %s", res.first)
		}
		d.out(d.text("ACK", 1, ""))
		if _, err := p.wait(t); err != nil {
			t.Errorf("Answer = %v", err)
		}
		if res := d.ask("PRACK", "", "RAck: "+two.get("RSeq")+" 1 INVITE"); res.code() != 481 {
			t.Errorf("second PRACK = %s, want 481", res.first)
		}
	})
}

// RFC 3262 §3: without a PRACK in 64*T1 the INVITE is refused.
func TestCallWithoutPRACKIsRefused(t *testing.T) {
	t.Parallel()
	s := newSideWith(t, "udp", impatient)
	d := s.caller("call")
	d.send("INVITE", offer1, "Require: 100rel")
	in := s.incoming()
	if err := in.Progress(180); err != nil {
		t.Fatalf("Progress = %v", err)
	}
	s.w.expect("180 INVITE")
	no := d.final("INVITE", 1)
	if no.code() != 504 {
		t.Errorf("INVITE = %s, want 504", no.first)
	}
	<-in.Context().Done()
	d.acknowledge(no)
}

// acknowledge sends the ACK of a refusal: it belongs to the INVITE's transaction (RFC 3261 §17.1.1.3).
func (d *talk) acknowledge(no *text) {
	d.out(fmt.Sprintf("ACK %s SIP/2.0\r\nVia: %s\r\nMax-Forwards: 70\r\nFrom: %s\r\nTo: %s\r\nCall-ID: %s\r\nCSeq: %d ACK\r\nContent-Length: 0\r\n\r\n",
		d.target, no.get("Via"), no.get("From"), no.get("To"), d.callID, no.seq()))
}

// RFC 3261 §14.2, §15.1.2, RFC 3311 §5.2: what may come in the dialog that our 180 opened.
func TestEarlyDialogOfTheCaller(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		d.send("INVITE", offer1)
		in := s.incoming()
		if err := in.Progress(180); err != nil {
			t.Fatalf("Progress = %v", err)
		}
		ringing := s.w.expect("180 INVITE")
		d.opened(ringing)
		for _, c := range []struct {
			method, body string
			code         int
		}{{"OPTIONS", "", 200}, {"UPDATE", "", 200}, {"UPDATE", offer2, 500}, {"INFO", "", 405}, {"INVITE", offer2, 500}} {
			res := d.ask(c.method, c.body)
			if res.code() != c.code || c.code == 500 && res.get("Retry-After") == "" {
				t.Errorf("%s %.3s = %s, want %d", c.method, c.body, res.first, c.code)
			}
			if c.method == "INVITE" {
				d.acknowledge(res)
			}
		}
		d.out(d.text("OPTIONS", 2, ""))
		if res := d.final("OPTIONS", 2); res.code() != 500 && res.code() != 200 {
			t.Errorf("OPTIONS with an old CSeq = %s", res.first)
		}
		if res := d.ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE = %s", res.first)
		}
		no := d.final("INVITE", 1)
		if no.code() != 487 || no.get("To") != ringing.get("To") {
			t.Errorf("INVITE = %s to %s, want 487 to %s", no.first, no.get("To"), ringing.get("To"))
		}
		d.acknowledge(no)
		select {
		case <-in.Context().Done():
		case <-time.After(patience):
			t.Error("the context goes on")
		}
	})
}

func (d *talk) cancel(invite string, fields ...string) {
	c := strings.Replace(invite, "INVITE ", "CANCEL ", 1)
	c = strings.Replace(c, " INVITE\r\n", " CANCEL\r\n", 1)
	head, _, _ := strings.Cut(c, "Contact: ")
	var b strings.Builder
	b.WriteString(head)
	d.out(finish(&b, "", fields))
}

// RFC 3261 §9.2: CANCEL ends what rings, with the To tag that the 180 had (§8.2.6.2), and nothing after it counts.
func TestCallerCancels(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		inv := d.text("INVITE", 1, offer1)
		d.seq = 1
		d.out(inv)
		in := s.incoming()
		if err := in.Progress(180); err != nil {
			t.Fatalf("Progress = %v", err)
		}
		ringing := s.w.expect("180 INVITE")
		d.cancel(inv)
		if res := d.final("CANCEL", 1); res.code() != 200 {
			t.Errorf("CANCEL = %s", res.first)
		}
		no := d.final("INVITE", 1)
		if no.code() != 487 || no.get("To") != ringing.get("To") {
			t.Errorf("INVITE = %s to %s, want 487 to %s", no.first, no.get("To"), ringing.get("To"))
		}
		<-in.Context().Done()
		if _, err := in.Answer(ctxOf(t), AnswerOptions{}); err == nil {
			t.Error("Answer after CANCEL is fine")
		}
		if err := in.Progress(183); err == nil {
			t.Error("Progress after CANCEL is fine")
		}
		if s.network == "udp" {
			s.w.again(no)
		}
		d.acknowledge(no)
		d.cancel(d.text("INVITE", 9, offer1))
		if res := d.final("CANCEL", 9); res.code() != 481 {
			t.Errorf("CANCEL of nothing = %s, want 481", res.first)
		}
		if s.engine.Legs() != 0 {
			t.Errorf("%d legs", s.engine.Legs())
		}
	})
}

// F42: we are called under the transaction's lock when the caller cancels; there we wait for nothing. Once a deadlock.
func TestCancelWaitsForNoLock(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		d := s.caller("call")
		inv := d.text("INVITE", 1, offer1)
		d.seq = 1
		d.out(inv)
		in := s.incoming()
		in.mu.Lock() // as Progress and Refuse do while they send
		d.cancel(inv)
		d.final("CANCEL", 1)
		no := d.final("INVITE", 1)
		in.mu.Unlock()
		if no.code() != 487 {
			t.Errorf("INVITE = %s, want 487", no.first)
		}
		if s.network == "udp" {
			// A 200 that comes too late is neither sent nor repeated instead of the 487.
			_ = in.t.Send(in.t.Response(200, ""))
			if err := in.send(in.t.Response(180, "")); !errors.Is(err, errCancelled) {
				t.Errorf("send = %v", err)
			}
			s.w.again(no)
		}
		d.acknowledge(no)
	})
}

// F42: CANCEL and 200 cross on our side: the one or the other wins, and both sides agree on which.
func TestCancelRacesWithAnswer(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	answered, refused := 0, 0
	for i := range 100 {
		d := s.caller(fmt.Sprint("race", i))
		inv := d.text("INVITE", 1, offer1)
		d.seq = 1
		d.out(inv)
		in := s.incoming()
		_ = in.Progress(180)
		s.w.pick("180", func(m *text) bool { return m.is("180 INVITE") && m.get("Call-ID") == d.callID })
		cancelled := make(chan struct{})
		go func() { // ends at once
			defer close(cancelled)
			d.cancel(inv)
		}()
		p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
		res := d.final("INVITE", 1)
		<-cancelled
		d.final("CANCEL", 1)
		if res.code() == 200 {
			d.opened(res)
			d.send("ACK", "")
		} else {
			d.acknowledge(res)
		}
		leg, err := p.wait(t)
		switch {
		case res.code() == 200 && err == nil:
			answered++
			if res := d.ask("BYE", ""); res.code() != 200 {
				t.Errorf("BYE = %s", res.first)
			}
			ended(t, leg, "peer")
		case res.code() == 487 && err != nil:
			refused++
		default:
			t.Errorf("INVITE = %s, but Answer = %v", res.first, err)
		}
	}
	t.Logf("%d answered, %d cancelled", answered, refused)
	s.w.mu.Lock()
	s.w.arrived = slices.DeleteFunc(s.w.arrived, func(m *text) bool { return m.is("487 INVITE") }) // repeated as ours until the ACK came
	s.w.mu.Unlock()
	if n := s.engine.Legs(); n != 0 {
		t.Errorf("%d legs are left", n)
	}
}

// What never reaches a handler (RFC 3261 §8.2).
func TestInviteThatIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		mixed := "--b\r\nContent-Type: text/plain\r\n\r\nhi\r\n--b--\r\n"
		for _, c := range []struct {
			name         string
			body         string
			fields       []string
			code         int
			field, value string
		}{
			{"extension", offer1, []string{"Require: 100rel, timer, x-any", "Require: precondition"}, 420, "Unsupported", "x-any, precondition"},
			{"media type", "hi", []string{"Content-Type: text/plain"}, 415, "Accept", "application/sdp, multipart/mixed"},
			{"parts", mixed, []string{"Content-Type: multipart/mixed;boundary=b"}, 415, "Accept", "application/sdp, multipart/mixed"},
			{"no boundary", mixed, []string{"Content-Type: multipart/mixed"}, 415, "Accept", "application/sdp, multipart/mixed"},
			{"coding", offer1, []string{"Content-Encoding: gzip"}, 415, "Accept-Encoding", "identity"},
		} {
			d := s.caller("refused " + c.name)
			res := d.ask("INVITE", c.body, c.fields...)
			if res.code() != c.code || res.get(c.field) != c.value || param(res.get("To"), "tag") == "" || res.get("Server") != "Latchkey" {
				t.Errorf("%s: %s with %s %q, want %d with %q", c.name, res.first, c.field, res.get(c.field), c.code, c.value)
			}
			d.acknowledge(res)
		}
		d := s.caller("optional")
		res := make(chan *text, 1)
		go func() { // ends with the refusal below
			res <- d.ask("INVITE", "hi", "Content-Type: text/plain", "Content-Disposition: render; handling=optional")
		}()
		_ = s.incoming().Refuse(486, "Not Now", Field{"Retry-After", "5"})
		if no := <-res; no.first != "SIP/2.0 486 Not Now" || no.get("Retry-After") != "5" {
			t.Errorf("INVITE with an optional body = %s", no.first)
		} else {
			d.acknowledge(no)
		}
		select {
		case in := <-s.calls:
			t.Errorf("%s reached the handler", in.CallID())
		default:
		}
	})
}

// RFC 3261 §8.2.2.2: the same INVITE by another branch is 482; a repeat on the same one is none.
func TestMergedInviteIsALoop(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	d := s.caller("call")
	first := d.text("INVITE", 1, offer1)
	d.seq = 1
	d.out(first)
	in := s.incoming()
	d.out(first)
	d.out(d.text("INVITE", 1, offer1))
	no := d.final("INVITE", 1)
	if no.code() != 482 {
		t.Errorf("merged INVITE = %s, want 482", no.first)
	}
	d.acknowledge(no)
	p := pick(ctxOf(t), in, AnswerOptions{ContentType: "application/sdp", Body: []byte(answer1)})
	d.opened(d.final("INVITE", 1))
	d.out(first) // B2.01, RFC 6026 §7.1: absorbed after the 200, too
	d.send("ACK", "")
	if _, err := p.wait(t); err != nil {
		t.Errorf("Answer = %v", err)
	}
	if res := d.ask("OPTIONS", ""); res.code() != 200 {
		t.Errorf("OPTIONS = %s", res.first)
	}
	select {
	case <-s.calls:
		t.Error("the handler got the call twice")
	default:
	}
}

// Requests that belong to nothing (RFC 3261 §8.2.1, §12.2.2).
func TestRequestsOutsideOfDialogs(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		s.engine.On(sip.MESSAGE, func(tx *sipua.Transaction) { _ = tx.Respond(202, "") })
		for _, c := range []struct {
			method, to string
			code       int
		}{
			{"MESSAGE", "", 202}, {"OPTIONS", "", 405}, {"FOO", "", 501}, {"BYE", "", 481}, {"PRACK", "", 481}, {"UPDATE", "", 481},
			{"BYE", ";tag=x", 481}, {"INVITE", ";tag=x", 481}, {"MESSAGE", ";tag=x", 481},
		} {
			d := s.caller("lost " + c.method + c.to)
			d.remote += c.to
			res := d.ask(c.method, "")
			if res.code() != c.code {
				t.Errorf("%s to %s = %s, want %d", c.method, d.remote, res.first, c.code)
			}
			if allow := res.get("Allow"); c.code == 405 && allow != "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, MESSAGE" {
				t.Errorf("Allow = %q", allow)
			}
			if c.method == "INVITE" {
				d.acknowledge(res)
			}
		}
		d := s.caller("lost")
		d.remote += ";tag=x"
		d.send("ACK", "")
		d.remote = "<sip:b@guest.example>"
		d.send("ACK", "")
		if res := d.ask("MESSAGE", "", "Require: foo"); res.code() != 420 {
			t.Errorf("MESSAGE with Require = %s, want 420", res.first)
		}
	})
}

// 503 with Retry-After while there is nobody to take calls; what stands goes on.
func TestDrainRefusesNewCalls(t *testing.T) {
	t.Parallel()
	both(t, func(t *testing.T, s *side) {
		leg, d := s.answered("stands", AnswerOptions{})
		s.engine.Drain()
		n := s.caller("new")
		n.remote += ";tag=" // is none
		res := n.ask("INVITE", offer1)
		if res.code() != 503 || res.get("Retry-After") != "5" || param(res.get("To"), "tag") == "" {
			t.Errorf("INVITE while draining = %s, Retry-After %q", res.first, res.get("Retry-After"))
		}
		n.acknowledge(res)
		if res := d.ask("INVITE", offer1); res.code() != 200 {
			t.Errorf("re-INVITE while draining = %s", res.first)
		}
		d.send("ACK", "")
		if res := d.ask("BYE", ""); res.code() != 200 {
			t.Errorf("BYE while draining = %s", res.first)
		}
		ended(t, leg, "peer")
	})
}

type handlerFunc func(*Incoming)

func (f handlerFunc) ServeInvite(in *Incoming) { f(in) }

// A handler that forgets to answer, or fails, still answers.
func TestHandlerThatForgets(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	for name, h := range map[string]Handler{
		"none":    nil,
		"forgets": handlerFunc(func(*Incoming) {}),
		"panics":  handlerFunc(func(*Incoming) { panic("oh") }),
	} {
		s.engine.Handle(h)
		d := s.caller(name)
		want := 500
		if h == nil {
			want = 503
		}
		res := d.ask("INVITE", offer1)
		if res.code() != want {
			t.Errorf("%s: INVITE = %s, want %d", name, res.first, want)
		}
		d.acknowledge(res)
	}
}

// The caller's connection breaks while it rings.
func TestLostConnectionEndsTheIncomingCall(t *testing.T) {
	t.Parallel()
	s := newSide(t, "tcp")
	d := s.caller("call")
	d.send("INVITE", offer1)
	in := s.incoming()
	s.w.HangUp()
	select {
	case <-in.Context().Done():
	case <-time.After(patience):
		t.Error("the context goes on")
	}
}

// S11, F63, RFC 3325 §5: only a trusted neighbour's word counts, and in it only the URI, not what somebody chose as a name.
func TestAssertedIdentity(t *testing.T) {
	t.Parallel()
	s := newSide(t, "udp")
	for _, c := range []struct {
		name    string
		source  string
		fields  []string
		want    []string
		trusted []string
	}{
		{"trusted", "127.0.0.1:5060", []string{"<sip:a@cc.com>", "<tel:+8613800000001>"}, []string{"sip:a@cc.com", "tel:+8613800000001"}, nil},
		{"in one field", "127.0.0.1:5060", []string{`"Alice" <sip:a@cc.com>, <tel:+86138>`}, []string{"sip:a@cc.com", "tel:+86138"}, nil},
		{"without brackets", "127.0.0.1:5060", []string{"sip:a@cc.com;x=y"}, []string{"sip:a@cc.com"}, nil},
		{"name with a comma", "127.0.0.1:5060", []string{`"A, <sip:boss@cc.com>, B" <sip:a@cc.com>`}, []string{"sip:a@cc.com"}, nil},
		{"name with a quote", "127.0.0.1:5060", []string{`"A\", <sip:boss@cc.com>, \"" <sip:a@cc.com>`}, []string{"sip:a@cc.com"}, nil},
		{"nothing", "127.0.0.1:5060", nil, nil, nil},
		{"broken", "127.0.0.1:5060", []string{`"A`, "<sip:a@cc.com", ","}, nil, nil},
		{"stranger", "192.0.2.7:5060", []string{"<sip:a@cc.com>"}, nil, nil},
		{"no source", "x", []string{"<sip:a@cc.com>"}, nil, nil},
		{"by name", "127.0.0.1:1", []string{"<sip:a@cc.com>"}, []string{"sip:a@cc.com"}, []string{"LocalHost"}},
		{"IPv6", "[2001:db8::1]:1", []string{"<sip:a@cc.com>"}, []string{"sip:a@cc.com"}, []string{"2001:DB8:0::1"}},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:1", []string{"<sip:a@cc.com>"}, []string{"sip:a@cc.com"}, []string{"192.0.2.1"}},
		{"nobody is trusted", "127.0.0.1:1", []string{"<sip:a@cc.com>"}, nil, []string{}},
	} {
		g := s.engine
		if c.trusted != nil {
			g = New(s.ua, Options{Trusted: c.trusted})
		}
		req, err := sipua.NewRequest(sip.INVITE, "sip:b@1.2.3.4", "sip:x@x", "sip:b@guest.example")
		if err != nil {
			t.Fatal(err)
		}
		req.SetSource(c.source)
		for _, f := range c.fields {
			req.AppendHeader(sip.NewHeader("P-Asserted-Identity", f))
		}
		req.AppendHeader(sip.NewHeader("P-Called-Party-ID", `"b" <sip:real@guest.example>`))
		if got := g.Asserted(req); !slices.Equal(got, c.want) {
			t.Errorf("%s: Asserted = %q, want %q", c.name, got, c.want)
		}
		called := []string{"sip:real@guest.example", "sip:b@1.2.3.4", "sip:b@guest.example"}
		if !g.Trusts(req) {
			called = called[1:]
		}
		if got := g.Called(req); !slices.Equal(got, called) {
			t.Errorf("%s: Called = %q, want %q", c.name, got, called)
		}
	}
	s.engine.sip.Handle(s.engine.serve)
	d := s.caller("call")
	d.send("INVITE", offer1, "P-Asserted-Identity: <sip:a@cc.com>")
	in := s.incoming()
	if !slices.Equal(in.Asserted(), []string{"sip:a@cc.com"}) || len(in.Called()) != 2 {
		t.Errorf("Incoming: Asserted = %q, Called = %q", in.Asserted(), in.Called())
	}
	_ = in.Refuse(404, "")
	d.acknowledge(d.final("INVITE", 1))
}

// B3.04, RFC 5621 §4.2: the parts of an INVITE's body, and parts of parts.
func TestBodyParts(t *testing.T) {
	for _, c := range []struct{ name, contentType, body, ask, want string }{
		{"single", "application/sdp", "v=0", "application/sdp", "v=0"},
		{"case and parameter", "Application/SDP;charset=utf-8", "v=0", "application/sdp", "v=0"},
		{"other", "text/plain", "hi", "application/sdp", ""},
		{"mixed", `multipart/mixed; boundary="b"`, "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b\r\nContent-Type: message/cpim\r\n\r\nFrom: x\r\n--b--\r\n", "message/cpim", "From: x"},
		{"preamble", "multipart/mixed;boundary=b", "hello\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--", "application/sdp", "v=0"},
		{"nested", "multipart/mixed;boundary=b", "--b\r\nContent-Type: multipart/related;boundary=c\r\n\r\n--c\r\nContent-Type: image/png\r\n\r\nx\r\n--c\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--c--\r\n--b--", "application/sdp", "v=0"},
		{"behind a nested one", "multipart/mixed;boundary=b", "--b\r\nContent-Type: multipart/related;boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--", "application/sdp", "v=0"},
		{"too deep", "multipart/mixed;boundary=b", strings.Repeat("--b\r\nContent-Type: multipart/mixed;boundary=b\r\n\r\n", 100000) + "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--", "application/sdp", ""},
		{"cut off", "multipart/mixed;boundary=b", "--b\r\nContent-Type: application/sdp\r\n\r\nv=0", "application/sdp", ""},
		{"no boundary", "multipart/mixed", "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--", "application/sdp", ""},
		{"garbage type", "///", "v=0", "application/sdp", ""},
		{"empty", "application/sdp", "", "application/sdp", ""},
		{"17th part", "multipart/mixed;boundary=b", strings.Repeat("--b\r\n\r\nx\r\n", 16) + "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--", "application/sdp", ""},
	} {
		req := sip.NewRequest(sip.INVITE, sip.Uri{})
		req.AppendHeader(sip.NewHeader("Content-Type", c.contentType))
		req.SetBody([]byte(c.body))
		if got := bodyPart(req, c.ask); string(got) != c.want {
			t.Errorf("%s: bodyPart = %q, want %q", c.name, got, c.want)
		}
	}
	if bodyPart(sip.NewRequest(sip.INVITE, sip.Uri{}), "application/sdp") != nil {
		t.Error("a part of nothing")
	}
}

// No body makes bodyPart fail, and what it finds is in the body.
func FuzzBodyPart(f *testing.F) {
	f.Add("application/sdp", "v=0")
	f.Add("multipart/mixed;boundary=b", "--b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--b--")
	f.Add(`multipart/related;boundary="a b"`, "--a b\r\ncontent-type:application/sdp\r\n\r\n\r\n--a b--")
	f.Add("multipart/mixed;boundary=b", "--b\r\nContent-Type: multipart/related;boundary=c\r\n\r\n--c\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n--c--\r\n--b--")
	f.Add("multipart/mixed;boundary=", "--\r\n\r\n--")
	f.Fuzz(func(t *testing.T, contentType, body string) {
		req := sip.NewRequest(sip.INVITE, sip.Uri{})
		req.AppendHeader(sip.NewHeader("Content-Type", contentType))
		req.SetBody([]byte(body))
		if got := bodyPart(req, sdpType); !strings.Contains(body, string(got)) {
			t.Errorf("bodyPart(%q, %q) = %q", contentType, body, got)
		}
		understood(req)
	})
}

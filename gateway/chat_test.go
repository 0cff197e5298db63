package gateway_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// F27, R26: an account that the interaction server does not know is registered there before the INVITE.
func TestLateRegistrationComesBeforeTheCall(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.IM.Fault("REGISTER", &imstest.Fault{Code: 500})
	b := w.Guest()
	w.IM.Fault("REGISTER", nil)
	w.IM.Forget()
	b.Send(gatewaytest.Alice, "abcdefg")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].Text != "abcdefg" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	registers, invites := w.IM.Requests("REGISTER"), w.Core.Requests("INVITE")
	if len(registers) == 0 || registers[0].Final != 200 || len(invites) != 1 || !registers[0].Time.Before(invites[0].Time) {
		t.Errorf("REGISTERs %v and %d INVITEs, want a REGISTER and then one INVITE", statuses(registers), len(invites))
	}
	if n := len(a.Events("message")) + len(a.Events("repeat")); n != 1 {
		t.Errorf("Alice got the message %d times", n)
	}
}

// F28, B3.04, B3.05, B3.08, B4.05: the first message opens a chat as RCS clients do. Whether Alice's phone connects or is connected to
// is the phone's choice (F33). The phone's own wire code looks at SDP, MSRP and CPIM; what is wrong fails the test at its end.
func TestFirstMessageOpensTheChat(t *testing.T) {
	t.Parallel()
	for _, setup := range []string{"active", "passive"} {
		for _, reliable := range []bool{false, true} {
			t.Run(fmt.Sprint(setup, " reliable ", reliable), func(t *testing.T) {
				t.Parallel()
				w := gatewaytest.New(t, gatewaytest.Plan{})
				m := imstest.Manner{Setup: setup}
				if reliable { // the 180 wants a PRACK (RFC 3262)
					m.Reliable, m.RingFor = true, 50*time.Millisecond
				}
				a := w.Phone(gatewaytest.Alice, m)
				b := w.Guest()
				b.Login().Wants(200)
				sent := b.Send(gatewaytest.Alice, "abcdefg")
				got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
				if err != nil || got[0].Text != "abcdefg" || got[0].ID != sent.ID || got[0].Peer != gatewaytest.GuestURI || got[0].Wants != "positive-delivery, display" {
					t.Fatalf("Alice got %+v, %v", got, err)
				}
				b.Delivery(sent.ID, "delivered")
				a.Display(gatewaytest.GuestURI, sent.ID)
				b.Delivery(sent.ID, "displayed")
				invites := a.Invites()
				if len(invites) != 1 {
					t.Fatalf("%d INVITEs", len(invites))
				}
				invite, sdp := invites[0], string(invites[0].Body)
				for name, want := range map[string]string{
					"Contribution-ID": "", "Conversation-ID": "", "Contact": "<sip:", "Accept-Contact": "oma.cpm.session",
					"P-Asserted-Identity": gatewaytest.GuestURI, "Content-Type": "application/sdp", "Supported": "100rel",
				} {
					if v := invite.Get(name); v == "" || !strings.Contains(v, want) {
						t.Errorf("INVITE has %s: %q, want %q in it", name, v, want)
					}
				}
				for _, want := range []string{"m=message ", "a=accept-types:message/cpim", "message/imdn+xml", "a=setup:actpass", "a=path:msrp://127.0.0.1:", "a=msrp-cema"} {
					if !strings.Contains(sdp, want) {
						t.Errorf("the offer lacks %q:\n%s", want, sdp)
					}
				}
				if n := strings.Count(sdp, "m="); n != 1 {
					t.Errorf("%d media lines", n)
				}
				if n := len(a.Requests("PRACK")); reliable && n != 1 || !reliable && n != 0 {
					t.Errorf("%d PRACKs", n)
				}
				// F33, B4.04: the active side binds the session at once with an empty SEND.
				if setup == "passive" {
					if bound := a.Events("bound"); len(bound) != 1 || bound[0].Text != "1-0/0" {
						t.Errorf("first SEND of the session: %+v, want Byte-Range 1-0/0", bound)
					}
				}
			})
		}
	}
}

// F33, B4.04, B5.04.
func TestActiveGatewayBindsWithAnEmptySENDBeforeAnyMessage(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Setup: "passive"})
	b := w.Guest()
	// Alice calls and says nothing: the empty SEND does not wait for a message.
	a.Behave(func(m *imstest.Manner) { m.Setup = "" })
	if _, err := a.Call(w.Within(gatewaytest.Patience), b.Account); err != nil {
		t.Fatal(err)
	}
	if err := a.HangUp(w.Within(gatewaytest.Patience), b.Account); err != nil {
		t.Fatal(err)
	}
	a.Behave(func(m *imstest.Manner) { m.Setup = "passive" })
	b.Send(gatewaytest.Alice, "one")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	bound := a.Events("bound")
	if len(bound) == 0 || bound[len(bound)-1].Text != "1-0/0" {
		t.Errorf("first SENDs %+v, want an empty one", bound)
	}
}

// F29: later messages use the channel that is open, in order.
func TestLaterMessagesUseTheOpenChannel(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	var want []string
	for i := range 20 {
		text := fmt.Sprint("message ", i)
		want = append(want, text)
		b.Send(gatewaytest.Alice, text)
	}
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", len(want))
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, e := range got {
		texts = append(texts, e.Text)
	}
	if !slices.Equal(texts, want) {
		t.Errorf("Alice got %q", texts)
	}
	if n := len(a.Invites()); n != 1 {
		t.Errorf("%d INVITEs, want one", n)
	}
}

// A repeat under the same id is not sent twice; the same id for another text is refused.
func TestRepeatedMessageIsSentOnce(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	body := `{"to":"sip:a@cc.com","message":"once","id":"m-1"}`
	first := b.Do("POST", "/rcsgw/invitee/message", body).Wants(202)
	again := b.Do("POST", "/rcsgw/invitee/message", body).Wants(200)
	var m, n gatewaytest.Sent
	first.Into(&m)
	again.Into(&n)
	if m.ID != n.ID {
		t.Errorf("ids %s and %s", m.ID, n.ID)
	}
	if a := b.Do("POST", "/rcsgw/invitee/message", strings.Replace(body, "once", "twice", 1)).Wants(409); a.Problem() != "conflict" {
		t.Errorf("problem %s", a.Problem())
	}
	b.Send(gatewaytest.Alice, "after")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2)
	if err != nil || got[0].Text != "once" || got[1].Text != "after" {
		t.Errorf("Alice got %+v, %v", got, err)
	}
}

// F30, R27, B3.10: Alice's answer wakes whoever listens, and her phone learns each step once.
func TestAnswersReachTheGuestAndAreReceipted(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "hello")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	stream := b.Stream()
	id, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "and hello to you")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(a.Events("receipt")); n != 0 {
		t.Errorf("%d receipts before the guest's client has the message", n)
	}
	if line := stream.Until("and hello to you"); !strings.Contains(line, `"type":"message"`) || !strings.Contains(line, gatewaytest.Alice) {
		t.Errorf("SSE %s", line)
	}
	ours := b.Message("and hello to you")
	b.Do("GET", fmt.Sprintf("/rcsgw/invitee/events?after=%d&wait=0", b.Last), "").Wants(200)
	receipts, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 1)
	if err != nil || receipts[0].ID != id || receipts[0].Status != "delivered" {
		t.Fatalf("receipts %+v, %v", receipts, err)
	}
	for range 2 {
		b.Do("POST", "/rcsgw/invitee/read", `{"id":"`+ours+`"}`).Wants(204)
	}
	if receipts, err = a.Wait(w.Within(gatewaytest.Patience), "receipt", 2); err != nil || receipts[1].ID != id || receipts[1].Status != "displayed" {
		t.Fatalf("receipts %+v, %v", receipts, err)
	}
	// What would come twice would come before the answer to the next message.
	sent := b.Send(gatewaytest.Alice, "bye")
	b.Delivery(sent.ID, "delivered")
	if n := len(a.Events("receipt")); n != 2 {
		t.Errorf("%d receipts, want delivered and displayed once each", n)
	}
}

// F31, R31, S12, B3.04: Alice may open the chat, with a first message beside the offer; a stranger may not, and the guest
// learns nothing of it.
func TestInvitersCallIsTakenAndAStrangersIsNot(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a, x := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Stranger, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	if _, err := x.Send(w.Within(gatewaytest.Patience), b.Account, "psst"); err == nil {
		t.Error("the stranger's message was taken")
	} else if !strings.Contains(err.Error(), "404") && !strings.Contains(err.Error(), "403") {
		t.Errorf("the gatewaytest.Stranger got %v, want 404 or 403", err)
	}
	if res, err := x.Options(w.Within(gatewaytest.Patience), b.Account); err != nil || res.Status == 200 {
		t.Errorf("the stranger's OPTIONS got %v, %v", res, err)
	}
	if res, err := a.Options(w.Within(gatewaytest.Patience), b.Account); err != nil || res.Status != 200 || !strings.Contains(res.Get("Contact"), "rcse.im") || !strings.Contains(res.Get("Contact"), "rcse.ft") || !strings.Contains(res.Get("Contact"), "rcs.fthttp") {
		t.Errorf("Alice's OPTIONS got %v, %v; want 200 with the guest's tags", res, err)
	}
	if _, err := a.CallWith(w.Within(gatewaytest.Patience), b.Account, "in the INVITE"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "on the channel"); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, e := range b.Events(func(e gatewaytest.Event) bool { return e.Type == "message" && e.Message.Text == "on the channel" }) {
		if e.Type == "message" {
			texts = append(texts, e.Message.Text)
		}
	}
	if !slices.Equal(texts, []string{"in the INVITE", "on the channel"}) {
		t.Errorf("the guest got %q", texts)
	}
	// The guest's answer goes back on Alice's channel.
	b.Send(gatewaytest.Alice, "answer")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	if n := len(a.Invites()); n != 0 {
		t.Errorf("%d INVITEs to Alice, who had called herself", n)
	}
}

// R31, S7, S12: a guest reaches inviters only, whatever stands in "to".
func TestGuestReachesNobodyElse(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	x := w.Phone(gatewaytest.Stranger, imstest.Manner{})
	b := w.Guest()
	for to, status := range map[string]int{
		gatewaytest.Stranger: 403, gatewaytest.Carol: 403, "sip:a@cc.com.evil.example": 403, "tel:+8613800000004": 403,
		"sip:a@cc.com?Route=%3Csip:x@cc.com%3E": 400, "sip:a@cc.com;maddr=10.0.0.1": 400, "sip:a@cc.com\r\nX: y": 400, "": 400,
	} {
		body := fmt.Sprintf(`{"to":%q,"message":"hi"}`, to)
		if a := b.Do("POST", "/rcsgw/invitee/message", body); a.Status != status {
			t.Errorf("to %q: %d %s, want %d", to, a.Status, a.Body, status)
		}
	}
	if n := len(w.Core.Requests("INVITE")) + len(w.Core.Requests("OPTIONS")); n != 0 || len(x.Invites()) != 0 {
		t.Errorf("%d SIP requests left", n)
	}
}

// F37, B5.09: after Alice's BYE the next message opens a new call of the same conversation.
func TestNextMessageAfterABYEOpensANewCall(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	first := b.Send(gatewaytest.Alice, "one")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	b.Delivery(first.ID, "delivered")
	if err := a.HangUp(w.Within(gatewaytest.Patience), b.Account); err != nil {
		t.Fatalf("the BYE was answered with %v", err)
	}
	b.Send(gatewaytest.Alice, "two")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2)
	if err != nil || got[1].Text != "two" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	invites := a.Invites()
	if len(invites) != 2 {
		t.Fatalf("%d INVITEs, want 2", len(invites))
	}
	if invites[0].Get("Conversation-ID") != invites[1].Get("Conversation-ID") {
		t.Error("the Conversation-ID has changed")
	}
	for _, name := range []string{"Contribution-ID", "Call-ID"} {
		if invites[0].Get(name) == invites[1].Get(name) {
			t.Errorf("the second call has the first one's %s", name)
		}
	}
}

// F35: a refusal is an event with a reason, and never silence.
func TestRefusalIsToldWithAReason(t *testing.T) {
	t.Parallel()
	for _, code := range []int{486, 603, 488, 415, 404} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{AnswerCode: code})
			b := w.Guest()
			sent := b.Send(gatewaytest.Alice, "hello?")
			if e := b.Delivery(sent.ID, "failed"); e.Message.Reason == "" {
				t.Error("no reason")
			}
			want := 1
			if code == 488 { // once more without CEMA
				want = 2
			}
			if n := len(a.Invites()); n != want {
				t.Errorf("%d INVITEs, want %d", n, want)
			}
		})
	}
}

// F36: both call at once. Alice's call lives and ours is cancelled; nothing is lost or doubled on the way.
func TestCrossingCallsLeaveOneSession(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{RingFor: gatewaytest.Patience})
	b := w.Guest()
	b.Login().Wants(200)
	sent := b.Send(gatewaytest.Alice, "from the guest")
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Invites()) == 1 })
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "from Alice"); err != nil {
		t.Fatal(err)
	}
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	came, delivered := false, false
	b.Events(func(e gatewaytest.Event) bool { // in either order
		came = came || e.Type == "message" && e.Message.Text == "from Alice"
		delivered = delivered || e.Type == "delivery" && e.Message.ID == sent.ID && e.Message.State == "delivered"
		return came && delivered
	})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Requests("CANCEL")) == 1 })
	b.Send(gatewaytest.Alice, "one more")
	if got, err = a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "one more" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	if n := len(a.Invites()); n != 1 || len(a.Events("repeat")) != 0 {
		t.Errorf("%d INVITEs, repeats %+v; want one and none", n, a.Events("repeat"))
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Dialogs() == 1 }) // the answer to the INVITE that was cancelled takes another way
}

// F34, X4: Alice is offline; the message waits, over a restart too, and goes out when she is back.
func TestMessageWaitsForTheInviterOverARestart(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	sent := b.Send(gatewaytest.Alice, "when you are back")
	if _, err := w.Core.WaitRequests(w.Within(gatewaytest.Patience), "INVITE", 1); err != nil {
		t.Fatal(err)
	}
	w.Stop()
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Start()
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID || got[0].Text != "when you are back" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Delivery(sent.ID, "delivered")
	if n := len(a.Events("message")) + len(a.Events("repeat")); n != 1 {
		t.Errorf("the message came %d times", n)
	}
}

// F34: the guest is connected and so Alice is watched; when she is seen to be back, what waits goes out, whatever time the network
// had named.
func TestMessageGoesOutWhenTheInviterIsSeen(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Stream() // while it is open, Alice is asked about
	b.Events(func(e gatewaytest.Event) bool { return e.Type == "status" && e.Status == "offline" })
	w.Core.Fault("INVITE", &imstest.Fault{Code: 480, Times: 1, Fields: []imstest.Field{{Name: "Retry-After", Value: "600"}}})
	b.Send(gatewaytest.Alice, "when you are back")
	if _, err := w.Core.WaitRequests(w.Within(gatewaytest.Patience), "INVITE", 1); err != nil {
		t.Fatal(err)
	}
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { // asking tells all who watch
		var is struct{ Status string }
		b.Do("GET", "/rcsgw/invitee/status/"+gatewaytest.Alice, "").Wants(200).Into(&is)
		return is.Status == "online"
	})
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "when you are back" {
		t.Errorf("Alice got %+v, %v", got, err)
	}
}

// R25, R33.
func TestOnlinePolicyRefusesMessagesAndFilesToWhoIsOffline(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--require-online"}})
	b := w.FileGuest()
	if a := b.Upload(gatewaytest.Alice, "a.txt", "text/plain", strings.NewReader("hi")).Wants(409); a.Problem() != "offline" || w.Rows("file") != 0 {
		t.Errorf("problem %s, and %d files", a.Problem(), w.Rows("file"))
	}
	if a := b.Do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"hi"}`).Wants(409); a.Problem() != "offline" {
		t.Errorf("problem %s", a.Problem())
	}
	if n := len(w.Core.Requests("INVITE")); n != 0 {
		t.Errorf("%d INVITEs", n)
	}
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	imstest.Eventually(t, gatewaytest.Patience, func() bool { // the last answer is good for a second
		return b.Do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"there you are"}`).Status == 202
	})
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "there you are" {
		t.Errorf("Alice got %+v, %v", got, err)
	}
	b.SendFile(gatewaytest.Alice, "a.txt", "text/plain", strings.NewReader("hi"))
	sentTo(t, w, a, 1)
}

// F43, S8: what people write arrives as they wrote it.
func TestTextArrivesAsItWasWritten(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	texts := []string{
		"MSRP abcd SEND\r\n-------abcd$\r\n", "Content-Type: text/html\r\n\r\n<b>", "imdn.Message-ID: x\r\nTo: <sip:x@cc.com>",
		"\U0001F511\U0001F469\u200d\U0001F680 \u0645\u0631\u062d\u0628\u0627 \u4f60\u597d", " leading and trailing \n\n", strings.Repeat("0123456789", 9_900),
	}
	for _, text := range texts {
		b.Send(gatewaytest.Alice, text)
	}
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", len(texts))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range got {
		if e.Text != texts[i] {
			t.Errorf("message %d arrived as %.80q with %d octets, want %.80q with %d", i, e.Text, len(e.Text), texts[i], len(texts[i]))
		}
	}
	b.Do("POST", "/rcsgw/invitee/message", fmt.Sprintf(`{"to":%q,"message":%q}`, gatewaytest.Alice, strings.Repeat("x", 101_000))).Wants(413)
}

// F39, B3.11: typing is told both ways, and lapses.
func TestTypingIsToldBothWays(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Send(gatewaytest.Alice, "hello")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	b.Do("POST", "/rcsgw/invitee/composing", `{"to":"sip:a@cc.com","state":"active"}`).Wants(204)
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "composing", 1); err != nil || !got[0].Active {
		t.Fatalf("Alice saw %+v, %v", got, err)
	}
	for _, active := range []bool{true, false} {
		if err := a.Composing(w.Within(gatewaytest.Patience), b.Account, active); err != nil {
			t.Fatal(err)
		}
		state := map[bool]string{true: "active", false: "idle"}[active]
		b.Events(func(e gatewaytest.Event) bool {
			return e.Type == "composing" && e.From == gatewaytest.Alice && e.State == state
		})
	}
}

// F38, F36: the connection breaks, and the next message still arrives, once.
func TestBrokenConnectionLosesNothing(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	for i := range 3 {
		text := fmt.Sprint("message ", i)
		b.Send(gatewaytest.Alice, text)
		got, err := a.Wait(w.Within(gatewaytest.Patience), "message", i+1)
		if err != nil || got[i].Text != text {
			t.Fatalf("Alice got %+v, %v", got, err)
		}
		a.Cut(b.Account)
	}
	// Both sides call at once (F36). Alice's phone may find its call cancelled by its own rules; it then sends again,
	// as people do.
	sent := b.Send(gatewaytest.Alice, "from the guest")
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "from Alice"); err != nil {
		if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "from Alice"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 4)
	if err != nil || got[3].ID != sent.ID {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	b.Message("from Alice")
}

// R4: an invitation for files registers the account at the file server alone, and does not let messages through.
func TestInvitationForFilesIsNotForMessages(t *testing.T) {
	t.Parallel()
	files := gatewaytest.NewCore(t, imstest.CoreOptions{Domains: []string{"guest.example"}, Open: true})
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--file-server=" + files.URI()}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"b@cc.com","interactions":["file"]}`).Wants(201)
	b := w.Invited(1)
	if len(files.Bindings(gatewaytest.GuestURI)) != 1 || len(w.IM.Bindings(gatewaytest.GuestURI)) != 0 {
		t.Errorf("bindings: file server %v, IM server %v", files.Bindings(gatewaytest.GuestURI), w.IM.Bindings(gatewaytest.GuestURI))
	}
	b.Do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"hi"}`).Wants(403)
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "hi"); err == nil {
		t.Error("Alice's chat was taken")
	}
	if n := len(a.Invites()); n != 0 {
		t.Errorf("%d INVITEs", n)
	}
}

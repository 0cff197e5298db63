package gateway_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// refusedWith is the code of a phone's request that was refused; 0: it wasn't.
func refusedWith(t *testing.T, err error) int {
	t.Helper()
	if no, ok := errors.AsType[*imstest.Refusal](err); ok {
		return no.Status
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

// R14, R26, R27, B2.13, B3.08-B3.10: with a plain IM system all of a conversation goes by MESSAGE: texts and notifications, both ways. The
// account is registered at that system alone.
func TestPagerModeTalksByMESSAGEAlone(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Plain: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{PageCode: 202})
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
	page := a.Requests("MESSAGE")[0]
	for name, want := range map[string]string{
		"Content-Type": "message/cpim", "P-Preferred-Service": "oma.cpm.msg", "Accept-Contact": "oma.cpm.msg", "Conversation-ID": "", "Contribution-ID": "",
		"P-Asserted-Identity": gatewaytest.GuestURI,
	} {
		if v := page.Get(name); v == "" || !strings.Contains(v, want) {
			t.Errorf("MESSAGE has %s: %q, want %q in it", name, v, want)
		}
	}
	// Alice answers, and learns each step once.
	id, err := a.SendPage(w.Within(gatewaytest.Patience), b.Account, "hijklmn")
	if err != nil {
		t.Fatal(err)
	}
	ours := b.Message("hijklmn")
	b.Do("POST", "/rcsgw/invitee/read", `{"id":"`+ours+`"}`).Wants(204)
	receipts, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 2)
	if err != nil || receipts[0].ID != id || receipts[0].Status != "delivered" || receipts[1].ID != id || receipts[1].Status != "displayed" {
		t.Errorf("Alice's receipts %+v, %v", receipts, err)
	}
	// F39, both ways.
	if err := a.PageComposing(w.Within(gatewaytest.Patience), b.Account, true); err != nil {
		t.Fatal(err)
	}
	b.Events(func(e gatewaytest.Event) bool {
		return e.Type == "composing" && e.State == "active" && e.From == gatewaytest.Alice
	})
	b.Do("POST", "/rcsgw/invitee/composing", `{"to":"sip:a@cc.com","state":"active"}`).Wants(204)
	if typing, err := a.Wait(w.Within(gatewaytest.Patience), "composing", 1); err != nil || !typing[0].Active {
		t.Errorf("Alice saw %+v, %v", typing, err)
	}
	if n := len(w.Core.Requests("INVITE")); n != 0 || len(w.IM.Requests("")) != 0 {
		t.Errorf("%d INVITEs, and %d requests to another server", n, len(w.IM.Requests("")))
	}
}

// R14: the order of a conversation is that in which it was written, also where one message is too long for SIP.
func TestPagedMessagesKeepTheirOrder(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Plain: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	var want []string
	for i := range 12 {
		text := fmt.Sprint("message ", i)
		if i%5 == 2 {
			text += strings.Repeat(" long", 1000)
		}
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
		t.Errorf("Alice got %.40q", texts)
	}
}

// B2.13, F43: what is longer than a MESSAGE may be goes in a call of its own, INVITE, one message and BYE, in either direction; the
// text is the same, whatever is in it.
func TestLongTextGoesInACallOfItsOwn(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Plain: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	long := "-------x$\r\nFrom: <sip:evil>\r\n\r\nContent-Type: text/html\r\n\r\n \U0001F511 " + strings.Repeat("ünd so weiter ", 6000) + "."
	sent := b.Send(gatewaytest.Alice, long)
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].Text != long || got[0].ID != sent.ID {
		t.Fatalf("Alice got %d messages, %v", len(got), err)
	}
	b.Delivery(sent.ID, "delivered")
	invites := a.Invites()
	if len(invites) != 1 || !strings.Contains(invites[0].Get("Accept-Contact"), "oma.cpm.largemsg") || !strings.Contains(invites[0].Get("P-Preferred-Service"), "oma.cpm.largemsg") {
		t.Fatalf("%d INVITEs, want one for oma.cpm.largemsg", len(invites))
	}
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "hangup", 1); err != nil {
		t.Errorf("no BYE after the message: %v", err)
	}
	if _, err := a.SendLarge(w.Within(gatewaytest.Patience), b.Account, long); err != nil {
		t.Fatal(err)
	}
	b.Message(long)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Dialogs() == 0 })
	// What follows is short again.
	b.Send(gatewaytest.Alice, "short")
	if got, err = a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "short" || len(a.Invites()) != 1 {
		t.Errorf("Alice got %d messages, %v, and %d INVITEs", len(got), err, len(a.Invites()))
	}
}

// B2.13: in mode session, too, Alice's phone may call for one large message; the chat that is open stays, and carries on.
func TestLargeMessageLeavesTheChatAlone(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "one")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("large ", 2000)
	if _, err := a.SendLarge(w.Within(gatewaytest.Patience), b.Account, long); err != nil {
		t.Fatal(err)
	}
	b.Message(long)
	b.Send(gatewaytest.Alice, "two")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil || got[1].Text != "two" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	if n := len(a.Invites()); n != 1 || len(a.Events("hangup")) != 0 {
		t.Errorf("%d INVITEs, and %d BYEs; want the first call to stand", n, len(a.Events("hangup")))
	}
}

// F35, F34 in pager mode: a refusal for good is told with its reason and concerns that message; who is away gets it later, under the same id.
func TestRefusedPageIsToldOrRepeated(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Plain: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{PageCode: 603})
	b := w.Guest()
	for code, reason := range map[int]string{486: "busy", 603: "declined", 403: "allow", 404: "not known", 415: "can't chat", 488: "can't chat"} {
		a.Behave(func(m *imstest.Manner) { m.PageCode = code })
		sent := b.Send(gatewaytest.Alice, fmt.Sprint("refused with ", code))
		if e := b.Delivery(sent.ID, "failed"); !strings.Contains(e.Message.Reason, reason) {
			t.Errorf("after %d: reason %q, want %q in it", code, e.Message.Reason, reason)
		}
	}
	refused := len(a.Requests("MESSAGE"))
	a.Behave(func(m *imstest.Manner) { m.PageCode = 480 })
	sent := b.Send(gatewaytest.Alice, "later")
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(a.Requests("MESSAGE")) > refused })
	a.Behave(func(m *imstest.Manner) { m.PageCode = 0 })
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].ID != sent.ID || len(got) != 1 {
		t.Errorf("Alice got %+v, %v", got, err)
	}
	b.Delivery(sent.ID, "delivered")
}

// F14, R14: a MESSAGE is authenticated like any other request.
func TestChallengedPageIsAnswered(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Plain: true, Args: []string{"--sip-auth=shared:s3cret"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	w.Core.Fault("MESSAGE", &imstest.Fault{Code: 407, Times: 1, Fields: []imstest.Field{{Name: "Proxy-Authenticate", Value: `Digest realm="cc.com", nonce="n1", qop="auth"`}}})
	b.Send(gatewaytest.Alice, "hello")
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != "hello" {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	if auth := a.Requests("MESSAGE")[0].Get("Proxy-Authorization"); !strings.Contains(auth, `username="b_at_cc.com@guest.example"`) || !strings.Contains(auth, `nonce="n1"`) {
		t.Errorf("Proxy-Authorization: %q", auth)
	}
}

// R27, R31, B3.14, F31: in mode session, too, Alice's MESSAGE is stored before it is accepted, and told to a guest who was away; a
// stranger's is refused and leaves no trace.
func TestPageWaitsForTheGuest(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a, x := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Stranger, imstest.Manner{})
	b := w.Guest()
	if err := a.Page(w.Within(gatewaytest.Patience), b.Account, "text/plain;charset=UTF-8", []byte("bare")); err != nil {
		t.Fatal(err)
	}
	body := []byte("From: <sip:a@cc.com>\r\nTo: <sip:b@cc.com>\r\nDateTime: 2026-01-01T00:00:00Z\r\nNS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: m1\r\n\r\nContent-Type: text/plain\r\n\r\nwrapped")
	for _, callID := range []string{"one", "two"} { // RFC 5438 §7.2.1: the name of the message counts
		if res, err := a.PageAs(w.Within(gatewaytest.Patience), b.Account, "message/cpim", body, callID); err != nil || res.Status != 202 {
			t.Fatalf("MESSAGE = %v, %v, want 202", res, err)
		}
	}
	for range 2 { // RFC 3261 §8.1.1.4: that of the request, where the message has none
		if _, err := a.PageAs(w.Within(gatewaytest.Patience), b.Account, "text/plain", []byte("nameless"), "three"); err != nil {
			t.Fatal(err)
		}
	}
	if code := refusedWith(t, x.Page(w.Within(gatewaytest.Patience), b.Account, "text/plain", []byte("psst"))); code != 404 && code != 403 {
		t.Errorf("the stranger's MESSAGE got %d", code)
	}
	res, err := a.PageAs(w.Within(gatewaytest.Patience), b.Account, "image/png", []byte("x"), "four")
	if refusedWith(t, err) != 415 || !strings.Contains(res.Get("Accept"), "message/cpim") {
		t.Errorf("a picture got %v", res)
	}
	if code := refusedWith(t, a.Page(w.Within(gatewaytest.Patience), b.Account, "message/cpim", []byte("no envelope"))); code != 400 {
		t.Errorf("a broken envelope got %d", code)
	}
	w.Stop()
	w.Start()
	b.Login().Wants(200)
	var texts []string
	for _, e := range b.Events(func(e gatewaytest.Event) bool { return e.Message.Text == "nameless" }) {
		if e.Type == "message" {
			texts = append(texts, e.Message.Text)
		}
	}
	if !slices.Equal(texts, []string{"bare", "wrapped", "nameless"}) || w.Rows("message") != 3 {
		t.Errorf("the guest got %q, and there are %d messages", texts, w.Rows("message"))
	}
	if w.Rows("relation") != 1 || len(w.Mail.Mails()) != 1 {
		t.Error("the stranger's message made a relation")
	}
}

// B5.07, B3.14: a receipt that comes due when Alice has hung up goes by MESSAGE, and no call is made for it; so does one to a
// phone that lists no IMDN (B5.06).
func TestReceiptAfterTheBYEGoesByMESSAGE(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	b := w.Guest()
	b.Login().Wants(200)
	id, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "read me later")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.HangUp(w.Within(gatewaytest.Patience), b.Account); err != nil {
		t.Fatal(err)
	}
	ours := b.Message("read me later")
	b.Do("POST", "/rcsgw/invitee/read", `{"id":"`+ours+`"}`).Wants(204)
	receipts, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 2)
	if err != nil || receipts[0].ID != id || receipts[0].Status+receipts[1].Status != "delivereddisplayed" {
		t.Errorf("Alice's receipts %+v, %v", receipts, err)
	}
	if pages, calls := len(a.Requests("MESSAGE")), len(a.Invites()); pages != 2 || calls != 0 {
		t.Errorf("%d MESSAGEs and %d INVITEs, want 2 and none", pages, calls)
	}
	a.Behave(func(m *imstest.Manner) { m.NoWrappedIMDN = true })
	if _, err := a.Send(w.Within(gatewaytest.Patience), b.Account, "no IMDN in here"); err != nil {
		t.Fatal(err)
	}
	b.Do("POST", "/rcsgw/invitee/read", `{"id":"`+b.Message("no IMDN in here")+`"}`).Wants(204)
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "receipt", 4); err != nil || len(a.Requests("MESSAGE")) != 4 || !a.Chatting(b.Account) {
		t.Errorf("%d MESSAGEs, %v, chatting %v; want 4 beside the chat", len(a.Requests("MESSAGE")), err, a.Chatting(b.Account))
	}
}

// B2.16, RFC 8197: 607 and 608 end the relation, in either mode, and the guest is told why; another inviter is no part of that.
func TestUnwantedGuestLosesTheRelation(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"session", "pager"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--interaction-mode=" + mode}})
			w.Phone(gatewaytest.Alice, imstest.Manner{AnswerCode: 607, PageCode: 608})
			w.Guest()
			w.InviteAs(gatewaytest.Carol).Wants(201)
			b := w.Invited(2) // with Carol's link: the one of Alice dies with the relation
			b.Login().Wants(200)
			b.Send(gatewaytest.Alice, "hello")
			all := b.Events(func(e gatewaytest.Event) bool { return e.Type == "inviter" && e.State == "removed" })
			if e := all[len(all)-1]; e.URI != gatewaytest.Alice || e.Reason != "unwanted" {
				t.Errorf("event %+v, want Alice removed as unwanted", e)
			}
			b.Do("POST", "/rcsgw/invitee/message", `{"to":"sip:a@cc.com","message":"please"}`).Wants(403)
			imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Rows("relation") == 1 })
		})
	}
}

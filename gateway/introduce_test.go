package gateway_test

import (
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// sue is a suspended subscriber.
const sue = "sip:s@cc.com"

// heard are the messages of the guest's stream up to the one with the text.
func heard(b *gatewaytest.Guest, last string) (all []string) {
	for _, e := range b.Events(func(e gatewaytest.Event) bool { return e.Type == "message" && e.Message.Text == last }) {
		if e.Type == "message" {
			all = append(all, e.From+" "+e.Message.Text)
		}
	}
	return all
}

// R1, R2, R7, R8, R12: Alice's stock phone opens a chat with somebody who is not registered. The chat is taken, the person is invited, Alice
// is told so in the chat, and what she wrote is there after the login.
func TestChatWithSomebodyUnregisteredInvitesThem(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{AS: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{Language: "de-AT, en;q=0.5"})
	if _, err := a.CallWith(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "in the INVITE"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Send(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "on the channel"); err != nil {
		t.Fatal(err)
	}
	told, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || !strings.Contains(told[0].Text, gatewaytest.GuestMail) || !strings.Contains(told[0].Text, "Einladung") || told[0].Wants != "" || told[0].Peer != gatewaytest.GuestURI {
		t.Errorf("Alice was told %+v, %v; want a word in German that asks for no receipt", told, err)
	}
	b := w.Invited(1)
	if b.Account != gatewaytest.GuestURI {
		t.Errorf("account %s", b.Account)
	}
	b.Login().Wants(200)
	if got := heard(b, "on the channel"); strings.Join(got, "; ") != "sip:a@cc.com in the INVITE; sip:a@cc.com on the channel" {
		t.Errorf("the guest got %q", got)
	}
	// From here on it is a chat like any other, and Alice calls the account's phone.
	sent := b.Send(gatewaytest.Alice, "hello Alice")
	if _, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2); err != nil {
		t.Fatal(err)
	}
	b.Delivery(sent.ID, "delivered")
	if n := len(a.Events("message")); n != 2 || len(w.Mail.Mails()) != 1 || w.Rows("relation") != 1 || len(a.Invites()) != 0 {
		t.Errorf("Alice got %d messages, and there are %d mails, %d relations, %d INVITEs to her", n, len(w.Mail.Mails()), w.Rows("relation"), len(a.Invites()))
	}
}

// R1, R11, B3.14: the same by MESSAGE, whatever form the mailbox has; another inviter of the same guest is one more relation. Who is told, is told by MESSAGE.
func TestPageToSomebodyUnregisteredInvitesThem(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{AS: true})
	a, c := w.Phone(gatewaytest.Alice, imstest.Manner{}), w.Phone(gatewaytest.Carol, imstest.Manner{Language: "tlh"})
	res, err := a.PageAs(w.Within(gatewaytest.Patience), "sip:b%40cc.com@guest.example", "text/plain", []byte("from Alice"), "one")
	if err != nil || res.Status != 202 {
		t.Fatalf("MESSAGE = %v, %v, want 202", res, err)
	}
	if told, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || !strings.Contains(told[0].Text, "b@cc.com is not a user here yet") {
		t.Errorf("Alice was told %+v, %v", told, err)
	}
	// Alice's next one finds the relation under this name, too, and invites nobody.
	if _, err := a.SendPage(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "once more"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.SendPage(w.Within(gatewaytest.Patience), "sip:b%40cc.com@cc.com", "from Carol"); err != nil {
		t.Fatal(err)
	}
	if told, err := c.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || !strings.Contains(told[0].Text, "An invitation") {
		t.Errorf("Carol was told %+v, %v", told, err)
	}
	b := w.Invited(2)
	b.Login().Wants(200)
	if got := heard(b, "from Carol"); strings.Join(got, "; ") != "sip:a@cc.com from Alice; sip:a@cc.com once more; sip:c@cc.com from Carol" {
		t.Errorf("the guest got %q", got)
	}
	if n := len(a.Events("message")); n != 1 || w.Rows("guest") != 1 || w.Rows("relation") != 2 {
		t.Errorf("Alice was told %d times; %d accounts, %d relations", n, w.Rows("guest"), w.Rows("relation"))
	}
}

// R1, R3, R10, F04, F06: the rules are those of any invitation, and where they say no, nothing is left.
func TestApproachIsRefusedByTheRules(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, who, to string
		args          []string
		code          int
		contact       string
	}{
		{name: "suspended", who: sue, to: gatewaytest.GuestURI, code: 403},
		{name: "no level", who: gatewaytest.Alice, to: gatewaytest.GuestURI, args: []string{"--invite-policy=level:4"}, code: 403},
		{name: "no subscriber", who: "sip:nobody@cc.com", to: gatewaytest.GuestURI, code: 404},
		{name: "registered, by mail", who: gatewaytest.Alice, to: "sip:dora_at_mail.example@guest.example", code: 302, contact: "<sip:d@cc.com>"},
		{name: "registered, by number", who: gatewaytest.Alice, to: "tel:+8613800000004", code: 302, contact: "<sip:d@cc.com>"},
		{name: "registered, by name", who: gatewaytest.Alice, to: "sip:l@cc.com", code: 480},
		{name: "a number without SMS", who: gatewaytest.Alice, to: "tel:+8613900000001", code: 404},
		{name: "nobody at all", who: gatewaytest.Alice, to: "sip:nobody@guest.example", code: 404},
		{name: "switched off", who: gatewaytest.Alice, to: gatewaytest.GuestURI, args: []string{"--invite-by-sip=false"}, code: 404},
		{name: "not from a trusted host", who: gatewaytest.Alice, to: gatewaytest.GuestURI, args: []string{"--sip-trusted=192.0.2.1"}, code: 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := gatewaytest.New(t, gatewaytest.Plan{AS: true, Args: c.args})
			a := w.Phone(c.who, imstest.Manner{})
			res, err := a.PageAs(w.Within(gatewaytest.Patience), c.to, "text/plain", []byte("hello?"), "one")
			if refusedWith(t, err) != c.code || res.Get("Contact") != c.contact {
				t.Errorf("MESSAGE = %d with Contact %q, want %d %q", res.Status, res.Get("Contact"), c.code, c.contact)
			}
			if _, err := a.CallWith(w.Within(gatewaytest.Patience), c.to, "hello?"); refusedWith(t, err) != c.code {
				t.Errorf("INVITE = %v, want %d", err, c.code)
			}
			w.Nothing(c.name)
			if n := len(a.Events("message")); n != 0 {
				t.Errorf("%d words were told", n)
			}
		})
	}
}

// R1, F12: where the core refuses the account, so is the approach, and nothing is left.
func TestApproachFailsWithTheRegistration(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{AS: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Core.Fault("REGISTER", &imstest.Fault{Code: 403, OnlyFor: gatewaytest.GuestURI})
	if _, err := a.SendPage(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "hello?"); refusedWith(t, err) != 502 {
		t.Errorf("MESSAGE = %v, want 502", err)
	}
	w.Nothing("after the refusal")
}

// R1: neither typing nor a receipt is an approach, and nor is a call without a chat.
func TestOnlyWordsAreAnApproach(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{AS: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	if code := refusedWith(t, a.PageComposing(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, true)); code != 404 {
		t.Errorf("composing got %d", code)
	}
	if code := refusedWith(t, a.Deliver(gatewaytest.GuestURI, "m1")); code != 404 {
		t.Errorf("a receipt got %d", code)
	}
	w.Nothing("after composing and a receipt")
}

// F08, R1: many messages at once to one person are one invitation and one word to Alice.
func TestManyApproachesAtOnceAreOne(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{AS: true})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	const n = 8
	errs := make(chan error, n)
	for range n {
		go func() { // ends with the answer
			_, err := a.SendPage(w.Within(gatewaytest.Patience), gatewaytest.GuestURI, "hello?")
			errs <- err
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Errorf("MESSAGE: %v", err)
		}
	}
	b := w.Invited(1)
	b.Login().Wants(200)
	b.Send(gatewaytest.Alice, "yes")
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 2)
	if err != nil || len(got) != 2 {
		t.Errorf("Alice got %+v, %v, want one word and the answer", got, err)
	}
	if m := len(w.Mail.Mails()); m != 1 || w.Rows("relation") != 1 || w.Rows("message") != n+1 {
		t.Errorf("%d mails, %d relations, %d messages; want 1, 1, %d", m, w.Rows("relation"), w.Rows("message"), n+1)
	}
}

package main

import (
	"fmt"
	"net/mail"
	"os"
	"strings"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// messageIDs are those of the mails to a recipient.
func messageIDs(t *testing.T, sink *imstest.MailSink, to string) (ids []string) {
	t.Helper()
	for _, m := range sink.Mails() {
		if m.To != to {
			continue
		}
		msg, err := mail.ReadMessage(strings.NewReader(string(m.Raw)))
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, msg.Header.Get("Message-ID"))
	}
	return ids
}

// X4, F19, F59: killed when the mail server has the mail and the gateway doesn't know, the next process repeats it once, under
// the same Message-ID.
func TestKillBetweenSendAndTickOffRepeatsTheSameMail(t *testing.T) {
	t.Parallel()
	next, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{Routes: map[string]string{"cc.com": next.Addr()}})
	hose, err := imstest.NewHose(p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(hose.Close)
	w := serves(t, gatewaytest.Plan{Args: []string{"--mail=smtp://" + hose.Addr()}})
	hose.Behave(imstest.HoseManner{Withhold: "250 2.0.0 Ok: queued"})
	w.InviteAs(gatewaytest.Alice).Wants(201)
	imstest.Eventually(t, gatewaytest.Patience, func() bool { _, _, withheld := hose.Counts(); return withheld == 1 })
	w.Kill()
	if n := w.Count("SELECT count(*) FROM outbox WHERE state = 'queued' AND attempts = 1 AND due > unixepoch() * 1000000"); n != 1 {
		t.Fatalf("%d notices are claimed, want the one under way", n)
	}
	w.Change("UPDATE outbox SET due = 1") // as when the claim has run out
	hose.Behave(imstest.HoseManner{})
	w.Start()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outbox WHERE state = 'sent'") == 1 })
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(next.Mails()) == 2 })
	w.Kill()
	w.Start()
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"later@cc.com"}`).Wants(201)
	if _, err := next.Wait(w.Within(gatewaytest.Patience), "later@cc.com", 1); err != nil {
		t.Fatal(err)
	}
	if ids := messageIDs(t, next, gatewaytest.GuestMail); len(ids) != 2 || ids[0] == "" || ids[0] != ids[1] {
		t.Errorf("the guest got %q, want one mail twice", ids)
	}
}

// F19: a mail server that is away gets what has waited when it is back, each mail once. LATCHKEY_TEST_OUTAGE=10m says how long
// it is away; docs/explanation/mail-outage.md has what came of that.
func TestMailServerIsAwayForAWhile(t *testing.T) {
	t.Parallel()
	outage := 4 * time.Second
	if s := os.Getenv("LATCHKEY_TEST_OUTAGE"); s != "" {
		var err error
		if outage, err = time.ParseDuration(s); err != nil {
			t.Fatal(err)
		}
	}
	next, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{Routes: map[string]string{"cc.com": next.Addr()}})
	w := serves(t, gatewaytest.Plan{Args: []string{"--mail=smtp://" + p.Addr()}})
	p.Stop()
	const n = 50
	start := time.Now()
	for i := range n {
		w.Do("POST", "/rcsgw/invitee/user", []string{gatewaytest.Alice, gatewaytest.Carol}[i%2], gatewaytest.Password, fmt.Sprintf(`{"email":"g%d@cc.com"}`, i)).Wants(201)
	}
	imstest.Eventually(t, outage+gatewaytest.Patience, func() bool {
		return time.Since(start) > outage && w.Count("SELECT count(*) FROM outbox WHERE state = 'queued' AND reason = 'the mail server can''t be reached'") == n
	})
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	var first, half time.Duration
	imstest.Eventually(t, 2*outage+3*gatewaytest.Patience, func() bool { // pauses have grown to as long as it was away, and more
		switch got := len(next.Mails()); {
		case got > 0 && first == 0:
			first = time.Since(back)
		case got >= n/2 && half == 0:
			half = time.Since(back)
		}
		return len(next.Mails()) >= n && w.Count("SELECT count(*) FROM outbox WHERE state = 'sent'") == n
	})
	t.Logf("away for %v with %d invitations: after it was back the first mail came after %v, half after %v, all after %v; attempts %d to %d",
		back.Sub(start).Round(time.Second), n, first.Round(time.Second), half.Round(time.Second), time.Since(back).Round(time.Second),
		w.Count("SELECT min(attempts) FROM outbox"), w.Count("SELECT max(attempts) FROM outbox"))
	for i := range n {
		if ids := messageIDs(t, next, fmt.Sprintf("g%d@cc.com", i)); len(ids) != 1 {
			t.Errorf("g%d@cc.com got %q, want one mail", i, ids)
		}
	}
}

// X4, F59: killed before the inviter could be told that an invitation has failed, the gateway tells it after its next start, once.
func TestKilledGatewayTellsTheOutcome(t *testing.T) {
	t.Parallel()
	w := serves(t, gatewaytest.Plan{})
	w.Mail.RefuseTo("nobody@cc.com", 550, "5.1.1")
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"nobody@cc.com"}`).Wants(201) // Alice has no phone yet
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome") == 1 })
	w.Kill()
	w.Change("UPDATE outcome SET due = 1") // as when the claim has run out
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Start()
	const want = "The invitation to nobody@cc.com could not be delivered: there is no such mailbox (550)."
	if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != want {
		t.Fatalf("Alice got %+v, %v, want %q", got, err, want)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told > 0") == 1 })
	w.Kill()
	w.Start()
	w.Stop()
	if n := len(a.Events("message")) + len(a.Events("repeat")); n != 1 {
		t.Errorf("Alice's phone got %d messages, want one", n)
	}
}

package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

// inviteIn asks for an invitation as Alice whose client speaks a language.
func inviteIn(t *testing.T, w *gatewaytest.World, language, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(w.Within(gatewaytest.Patience), "POST", w.URL()+"/rcsgw/invitee/user", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.SetBasicAuth(gatewaytest.Alice, gatewaytest.Password)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept-Language", language)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Fatalf("%s: %s", body, res.Status)
	}
}

// mailStates is what Alice sees of her invitations by mail, in order.
func mailStates(w *gatewaytest.World) (got []string) {
	var list struct {
		Invitations []struct {
			Invitee              struct{ Email string }
			Notification, Reason string
		}
	}
	w.Do("GET", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(200).Into(&list)
	for _, i := range list.Invitations {
		got = append(got, strings.TrimSpace(i.Invitee.Email+" "+i.Notification+" "+i.Reason))
	}
	slices.Sort(got)
	return got
}

// F19, S10: Postfix takes the invitations, the next server refuses some, and what Postfix then reports to the address of
// each mail moves its invitation, with the reason; a delay does not. Alice hears of each end in her chat, once, in her own language, though the
// mail was in the guest's.
func TestPostfixBouncesMoveTheirInvitations(t *testing.T) {
	t.Parallel()
	next, err := imstest.NewMailSink("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(next.Close)
	listen := gatewaytest.FreePort(t)
	p := imstest.NewPostfix(t, imstest.PostfixOptions{
		Routes:    map[string]string{"cc.com": next.Addr(), "xn--bcher-kva.example": next.Addr(), "bücher.example": next.Addr(), "bounce.example": "lmtp:" + listen},
		Mailboxes: []string{"box@kept.example"},
		More:      []string{"delay_warning_time = 1s", "queue_run_delay = 1s", "minimal_backoff_time = 1s", "maximal_backoff_time = 1s"},
	})
	next.RefuseTo("nobody@cc.com", 550, "5.1.1")
	next.RefuseTo("jürgen@bücher.example", 550, "5.1.1")
	next.RefuseTo("full@cc.com", 552, "5.2.2")
	next.RefuseTo("late@cc.com", 450, "4.2.0")
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--mail=smtp://" + p.Addr(), "--mail-bounce=lmtp:" + listen, "--mail-bounce-domain=bounce.example"}})
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	for _, email := range []string{"nobody@cc.com", "jürgen@bücher.example", "full@cc.com", "late@cc.com", "box@kept.example"} {
		inviteIn(t, w, "de, en;q=0.5", `{"email":"`+email+`","language":"fr"}`)
	}
	want := func(late string) {
		t.Helper()
		all := []string{"box@kept.example delivered", "full@cc.com failed the mailbox is full (5.2.2)", late,
			"nobody@cc.com failed there is no such mailbox (5.1.1)", "jürgen@bücher.example failed there is no such mailbox (5.1.1)"}
		slices.Sort(all)
		var got []string
		imstest.Eventually(t, 3*gatewaytest.Patience, func() bool { got = mailStates(w); return slices.Equal(got, all) })
	}
	imstest.Eventually(t, 3*gatewaytest.Patience, func() bool { return strings.Contains(w.Log.String(), `action=delayed status=4.2.0`) })
	want("late@cc.com sent")
	next.RefuseTo("late@cc.com", 0, "")
	if _, err := next.Wait(w.Within(3*gatewaytest.Patience), "late@cc.com", 1); err != nil {
		t.Fatalf("%v\n%s", err, p.Log())
	}
	want("late@cc.com sent") // handed on, which is no delivery
	if m := p.Mails("box@kept.example"); len(m) != 1 || !strings.Contains(m[0], "Content-Language: fr") {
		t.Errorf("the mailbox has %q, want one in French", m)
	}
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 4)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range got {
		told = append(told, e.Text)
	}
	slices.Sort(told)
	if all := []string{
		"Die Einladung an box@kept.example wurde zugestellt.", "Die Einladung an full@cc.com konnte nicht zugestellt werden: das Postfach ist voll (5.2.2).",
		"Die Einladung an jürgen@bücher.example konnte nicht zugestellt werden: dieses Postfach gibt es nicht (5.1.1).",
		"Die Einladung an nobody@cc.com konnte nicht zugestellt werden: dieses Postfach gibt es nicht (5.1.1).",
	}; !slices.Equal(told, all) {
		t.Errorf("Alice was told %q, want %q", told, all)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told = 0") == 0 })
	all := w.Metrics()
	for _, line := range []string{
		`latchkey_notify_attempts_total{channel="email",outcome="taken"} 5`, `latchkey_notify_attempts_total{channel="chat",outcome="taken"} 4`,
		`latchkey_notify_attempts_total{channel="email",outcome="failed"} 0`, `latchkey_notify_reports_total{channel="email",state="failed"} 3`,
		`latchkey_notify_reports_total{channel="email",state="delivered"} 1`, `latchkey_notify_queue_notices{channel="email"} 0`,
		`latchkey_notify_queue_notices{channel="chat"} 0`, `latchkey_notify_attempt_seconds_count{channel="email"} 5`,
	} {
		if !strings.Contains(all, line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	w.Stop()
	if n := len(a.Events("message")) + len(a.Events("repeat")); n != 4 {
		t.Errorf("Alice's phone got %d messages, want 4", n)
	}
}

// Issue 8, line 1, X4: the gateway dies before Alice's phone could be told, and while it was being told. After the next start she is, under
// the same Message-ID.
func TestOutcomeOutlivesTheProcess(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{})
	w.Mail.RefuseTo("nobody@cc.com", 550, "5.1.1")
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"email":"nobody@cc.com"}`).Wants(http.StatusCreated)
	notified(t, w, gatewaytest.Alice, "failed")
	// Alice has no phone: the core says so, and it is tried again.
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return strings.Contains(w.Log.String(), `msg="notice is tried again"`) && w.Count("SELECT count(*) FROM outcome WHERE told = 0 AND attempts = 1") == 1
	})
	w.Stop()
	w.Change("UPDATE outcome SET due = 1")
	a := w.Phone(gatewaytest.Alice, imstest.Manner{})
	w.Start()
	got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1)
	if err != nil || got[0].Text != "The invitation to nobody@cc.com could not be delivered: there is no such mailbox (550)." {
		t.Fatalf("Alice got %+v, %v", got, err)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told > 0") == 1 })
	// As a kill between send and tick-off leaves it.
	w.Stop()
	w.Change("UPDATE outcome SET told = 0, due = 1")
	w.Start()
	again, err := a.Wait(w.Within(gatewaytest.Patience), "repeat", 1)
	if err != nil || again[0].ID != got[0].ID {
		t.Fatalf("Alice got %+v, %v; want the same message again", again, err)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told > 0") == 1 })
	w.Stop()
	w.Start()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Count("SELECT count(*) FROM outcome WHERE told = 0") == 0 })
	w.Stop()
	if n := len(a.Events("message")) + len(a.Events("repeat")); n != 2 {
		t.Errorf("Alice's phone got %d messages, want two with one id", n)
	}
}

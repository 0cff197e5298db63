package gateway_test

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/gateway/gatewaytest"
	"latchkey/imstest"
)

const (
	telephone = "+8613900000001"
	byNumber  = `{"tel":"+8613900000001"}`
)

// centre is an SMS centre and the option that names it.
func centre(t *testing.T, settings string) (*imstest.SMSC, string) {
	t.Helper()
	s, err := imstest.NewSMSC("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		for _, v := range s.Violations() {
			t.Errorf("the SMS centre saw: %s", v)
		}
	})
	return s, "--sms=smpp://latchkey:secret@" + s.Addr() + "?" + settings
}

// notified waits until an inviter sees a notification's state, and gives the reason.
func notified(t *testing.T, w *gatewaytest.World, inviter, state string) string {
	t.Helper()
	var last struct {
		Invitations []struct{ Notification, Reason string }
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		w.Do("GET", "/rcsgw/invitee/user", inviter, gatewaytest.Password, "").Wants(http.StatusOK).Into(&last)
		return len(last.Invitations) == 1 && last.Invitations[0].Notification == state
	})
	return last.Invitations[0].Reason
}

// F02, R8, R9, B3.15: a telephone number gets one SMS with a link that works, and no mail; its account is made from the number, and
// the inviter sees it delivered.
func TestNumberGetsAnSMS(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "from=Latchkey")
	s.Behave(imstest.SMSCManner{Receipt: "DELIVRD", Decimal: true})
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option, "--public-url=https://chat.example.com"}})
	var got struct{ Account, Notification string }
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated).Into(&got)
	if got.Account != "sip:+8613900000001@guest.example" || got.Notification != "queued" {
		t.Errorf("answer %+v", got)
	}
	m, err := s.Wait(w.Within(gatewaytest.Patience), telephone, 1)
	if err != nil {
		t.Fatal(err)
	}
	if m.Parts != 0 || m.Coding != 0 || m.From != "Latchkey" || m.TON != [2]byte{5, 1} || !strings.HasPrefix(m.Text, "Alice invites you to chat: https://chat.example.com/") {
		t.Errorf("SMS %+v, want one in the GSM alphabet from Latchkey", m)
	}
	if b := w.LinkedBy(m.Links()); b.Account != got.Account {
		t.Errorf("link to %s, want %s", b.Account, got.Account)
	} else {
		b.Login().Wants(http.StatusOK)
	}
	notified(t, w, gatewaytest.Alice, "delivered")
	if n := len(w.Mail.Mails()); n != 0 || len(s.Taken()) != 1 {
		t.Errorf("%d mails and %d SMS, want none and one", n, len(s.Taken()))
	}
	// R8: an address is still mailed.
	w.InviteAs(gatewaytest.Alice).Wants(http.StatusCreated)
	w.Invited(1)
	if len(s.Taken()) != 1 {
		t.Error("an SMS went out for a mailbox")
	}
}

// F02: where the link is too long for one SMS it comes whole at the other end, in any way of sending long ones.
func TestLongInvitationIsWholeAgainOnTheHandset(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ long, parts string }{{"udh", "2"}, {"udh16", "2"}, {"sar", "2"}, {"payload", "0"}} {
		t.Run(c.long, func(t *testing.T) {
			t.Parallel()
			s, option := centre(t, "long="+c.long)
			s.Behave(imstest.SMSCManner{Receipt: "DELIVRD"})
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option, "--public-url=https://chat.example.com/" + strings.Repeat("long/", 20)}})
			w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
			m, err := s.Wait(w.Within(gatewaytest.Patience), telephone, 1)
			if err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(m.Parts) != c.parts || len(m.Links()) != 1 || w.LinkedBy(m.Links()).Password == "" {
				t.Errorf("%d parts, want %s: %q", m.Parts, c.parts, m.Text)
			}
			notified(t, w, gatewaytest.Alice, "delivered")
		})
	}
}

// F19: what the network says about the message, and what the centre says to it, is seen by the inviter, in words.
func TestInviterSeesWhatBecameOfTheSMS(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		manner        imstest.SMSCManner
		state, reason string
	}{
		"no receipt":    {imstest.SMSCManner{}, "sent", ""},
		"delivered":     {imstest.SMSCManner{Receipt: "DELIVRD"}, "delivered", ""},
		"early":         {imstest.SMSCManner{Receipt: "DELIVRD", Early: true}, "delivered", ""},
		"by data_sm":    {imstest.SMSCManner{Receipt: "DELIVRD", Data: true, Decimal: true}, "delivered", ""},
		"expired":       {imstest.SMSCManner{Receipt: "EXPIRED"}, "failed", "the telephone was not reached in time"},
		"undelivered":   {imstest.SMSCManner{Receipt: "UNDELIV", Early: true, Data: true}, "failed", "the message could not be delivered to that number"},
		"on its way":    {imstest.SMSCManner{Receipt: "ENROUTE"}, "sent", ""},
		"no such":       {imstest.SMSCManner{Answer: func(int, imstest.SMS) uint32 { return 0x0b }}, "failed", "the SMS centre does not know that number"},
		"misconfigured": {imstest.SMSCManner{Answer: func(int, imstest.SMS) uint32 { return 0x0a }}, "queued", "the SMS centre refuses the message"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, option := centre(t, "")
			s.Behave(c.manner)
			w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}})
			a := w.Phone(gatewaytest.Alice, imstest.Manner{})
			w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
			var reason string
			imstest.Eventually(t, gatewaytest.Patience, func() bool {
				reason = notified(t, w, gatewaytest.Alice, c.state)
				return reason == c.reason && (c.manner.Receipt == "" || len(s.Acks()) > 0)
			})
			for _, code := range s.Acks() {
				if code != 0 {
					t.Errorf("a receipt was answered with %#x", code)
				}
			}
			// Issue 8, line 1: Alice's phone is told in the chat, once, and only of the end.
			want := map[string]string{"delivered": "The invitation to " + telephone + " was delivered.", "failed": "The invitation to " + telephone + " could not be delivered: " + c.reason + "."}[c.state]
			if want != "" {
				if got, err := a.Wait(w.Within(gatewaytest.Patience), "message", 1); err != nil || got[0].Text != want || got[0].Wants != "" {
					t.Errorf("Alice's phone got %+v, %v, want %q", got, err, want)
				}
			}
			w.Stop()
			if n := len(a.Events("message")) + len(a.Events("repeat")); n > 1 || want == "" && n > 0 {
				t.Errorf("Alice's phone got %+v", a.Events("message"))
			}
		})
	}
}

// Receipts are durable: one that comes after a restart counts.
func TestReceiptAfterARestartCounts(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "")
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
	notified(t, w, gatewaytest.Alice, "sent")
	s.Behave(imstest.SMSCManner{Decimal: true}) // in the base that the answer was not in
	w.Stop()
	w.Start()
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(s.Binds()) == 2 })
	if err := s.Report(s.Taken()[0], "DELIVRD"); err != nil {
		t.Fatal(err)
	}
	notified(t, w, gatewaytest.Alice, "delivered")
}

// F19: where one part of two was refused for now, only that one is sent again, with the reference of the other.
func TestOnlyThePartThatIsMissingIsSentAgain(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "")
	s.Behave(imstest.SMSCManner{Receipt: "DELIVRD", Answer: func(nth int, _ imstest.SMS) uint32 {
		if nth == 2 {
			return 0x08 // ESME_RSYSERR
		}
		return 0
	}})
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option, "--public-url=https://chat.example.com/" + strings.Repeat("long/", 20)}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
	notified(t, w, gatewaytest.Alice, "delivered")
	taken := s.Taken()
	if len(taken) != 2 || s.Submissions() != 3 || taken[0].Part != 1 || taken[1].Part != 2 || taken[0].Ref != taken[1].Ref {
		t.Errorf("%d parts taken of %d submissions, want 2 of 3: %+v", len(taken), s.Submissions(), taken)
	}
}

// X4, R8: a process that is killed after the centre took the SMS and before that is written down repeats it once, with the same
// reference.
func TestKillBetweenSubmissionAndTickOffRepeatsTheSameSMS(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "")
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}, Command: serveCommand(t)})
	var once sync.Once
	answered, killed := make(chan struct{}), make(chan struct{})
	s.Behave(imstest.SMSCManner{Answer: func(int, imstest.SMS) uint32 {
		once.Do(func() { <-answered; w.Kill(); close(killed) })
		return 0
	}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
	close(answered)
	<-killed
	w.Change("UPDATE outbox SET due = 0") // the claim of the dead would hold for a minute and a half
	w.Start()
	notified(t, w, gatewaytest.Alice, "sent")
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(s.Taken()) == 2 })
	first, second := s.Taken()[0], s.Taken()[1]
	if a, b := first.TLVs[0x204], second.TLVs[0x204]; len(a) != 2 || string(a) != string(b) || first.Text != second.Text {
		t.Errorf("repeat %q with reference %x after %q with %x", second.Text, b, first.Text, a)
	}
	if n := w.Count("SELECT count(*) FROM submission"); n != 1 {
		t.Errorf("%d submissions, want 1", n)
	}
}

// X8, F18: an SMS that says STOP, in any of several languages, opts its sender out; others don't. Who opted out gets no more SMS, and
// the inviter is told what is told of everybody.
func TestStopIsUnderstood(t *testing.T) {
	t.Parallel()
	s, option := centre(t, "region=DE")
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}})
	invite := func(number string) {
		w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"tel":"`+number+`"}`).Wants(http.StatusCreated)
	}
	said := []string{"Who is this? stop it", "STOP", " stop. ", "Arrêt", "退订", "إلغاء"}
	for i, text := range said {
		number := fmt.Sprintf("+49171123450%d", i)
		invite(number)
		if _, err := s.Wait(w.Within(gatewaytest.Patience), number, 1); err != nil {
			t.Fatal(err)
		}
		imstest.Eventually(t, gatewaytest.Patience, func() bool { return s.Deliver(number[1:], "12345", text) == nil })
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return len(s.Acks()) == 6 })
	if n, left := w.Rows("opt_out"), w.Rows("relation"); n != 5 || left != 1 {
		t.Errorf("%d people are left alone and %d relations stand, want 5 and 1", n, left)
	}
	for i := range said {
		if i > 0 {
			invite(fmt.Sprintf("+49171123450%d", i))
		}
	}
	// START takes it back, for who says it.
	if err := s.Deliver("491711234501", "12345", "Start!"); err != nil {
		t.Fatal(err)
	}
	imstest.Eventually(t, gatewaytest.Patience, func() bool { return w.Rows("opt_out") == 4 })
	w.Do("DELETE", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, "").Wants(http.StatusNoContent)
	invite("+491711234501")
	if _, err := s.Wait(w.Within(gatewaytest.Patience), "+491711234501", 2); err != nil {
		t.Fatal(err)
	}
	invite("+491711234599")
	if _, err := s.Wait(w.Within(gatewaytest.Patience), "+491711234599", 1); err != nil {
		t.Fatal(err)
	}
	if n := len(s.Taken()); n != len(said)+2 {
		t.Errorf("%d SMS went out, want %d: nothing to who said stop", n, len(said)+2)
	}
	if strings.Contains(w.Log.String(), "Who is this") {
		t.Error("the text of an SMS is in the log")
	}
}

// R8: three hundred invitations of one inviter go out at the rate that the operator has set, each once, and the single one of another is
// not behind them.
func TestManyInvitationsGoOutAtTheRateAndInTurns(t *testing.T) {
	t.Parallel()
	const n, rate = 300, 60
	s, option := centre(t, fmt.Sprintf("rate=%d&window=20", rate))
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{option}})
	w.Stop()
	w.QueueSMS(gatewaytest.Carol, n)
	begun := time.Now()
	w.Start()
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Alice, gatewaytest.Password, `{"tel":"+491711234567"}`).Wants(http.StatusCreated)
	asked := len(s.Taken())
	if _, err := s.Wait(w.Within(gatewaytest.Patience), "+491711234567", 1); err != nil {
		t.Fatal(err)
	}
	// It waits for what the workers have in hand: as many as the window.
	at := slices.IndexFunc(s.Taken(), func(m imstest.SMS) bool { return m.To == "491711234567" })
	if asked > n-100 || at > asked+50 {
		t.Fatalf("the single one was asked for after %d, and came as number %d", asked, at)
	}
	imstest.Eventually(t, 3*gatewaytest.Patience, func() bool {
		return len(s.Taken()) >= n+1 && w.Count("SELECT count(*) FROM outbox WHERE state = 'queued'") == 0
	})
	if took := time.Since(begun); took < n*time.Second/rate {
		t.Errorf("%d messages took %v at %d a second", n, took, rate)
	}
	numbers := map[string]bool{}
	for _, m := range s.Taken() {
		numbers[m.To] = true
	}
	if len(numbers) != n+1 || len(s.Taken()) != n+1 {
		t.Errorf("%d messages to %d numbers, want %d to as many", len(s.Taken()), len(numbers), n+1)
	}
}

// R8: an MMS centre that answers slowly, or an SMS centre that is away, holds up no mail.
func TestAwayCentreHoldsUpNoMail(t *testing.T) {
	t.Parallel()
	w := gatewaytest.New(t, gatewaytest.Plan{Args: []string{"--sms=smpp://latchkey:secret@" + gatewaytest.FreePort(t)}})
	w.Do("POST", "/rcsgw/invitee/user", gatewaytest.Carol, gatewaytest.Password, byNumber).Wants(http.StatusCreated)
	w.InviteAs(gatewaytest.Alice).Wants(http.StatusCreated)
	w.Invited(1)
	imstest.Eventually(t, gatewaytest.Patience, func() bool {
		return notified(t, w, gatewaytest.Carol, "queued") == "the SMS centre can't be reached"
	})
}

// serveCommand is latchkey serve, built for this test.
func serveCommand(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "latchkey")
	if out, err := exec.Command("go", "build", "-o", path, "latchkey/cmd/latchkey").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return []string{path, "serve"}
}
